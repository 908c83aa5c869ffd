//! The programs that tests of a cluster run: etcd, kube-apiserver, kube-controller-manager, kubectl and helm, and an OCI registry.
//!
//! Those in the folder `KUBEBUILDER_ASSETS` are taken, as envtest does. What it lacks is built by Go from the modules that
//! `tests/e2e/` pins, once: the result is kept in the user's cache folder under a name that changes with the pins.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The oldest Go that fetches the toolchain a module asks for.
const OLDEST_GO: (u32, u32) = (1, 21);

/// How the folders of builds begin.
const UNFINISHED: &str = "building-";

/// Versions are stamped as in a release: the API server refuses to start without one.
const KUBERNETES_VERSION: &str = "-X k8s.io/component-base/version.gitVersion=v1.36.3 \
                                  -X k8s.io/client-go/pkg/version.gitVersion=v1.36.3";

/// helm alone, for tests that only render the chart.
pub fn helm() -> Result<PathBuf, Missing> {
    find(&HELM, &[Tool::Helm]).map(|mut found| found.remove(&Tool::Helm).expect("what was asked for"))
}

/// Helm 3, which many users and tools still have.
pub fn helm_3() -> Result<PathBuf, Missing> {
    find(&HELM_3, &[Tool::Helm3]).map(|mut found| found.remove(&Tool::Helm3).expect("what was asked for"))
}

/// kubectl alone, for tests that need no cluster.
pub fn kubectl() -> Result<PathBuf, Missing> {
    find(&CONTROL_PLANE, &[Tool::Kubectl]).map(|mut found| found.remove(&Tool::Kubectl).expect("what was asked for"))
}

/// All that a control plane, its user and the user of the chart need.
pub fn control_plane() -> Result<Programs, Missing> {
    let mut found = find(
        &CONTROL_PLANE,
        &[Tool::Etcd, Tool::ApiServer, Tool::ControllerManager, Tool::Kubectl],
    )?;
    let mut take = |tool| found.remove(&tool).expect("what was asked for");
    Ok(Programs {
        etcd: take(Tool::Etcd),
        api_server: take(Tool::ApiServer),
        controller_manager: take(Tool::ControllerManager),
        kubectl: take(Tool::Kubectl),
        helm: helm()?,
    })
}

/// The webhook that EKS runs in its control planes, on a loopback address.
pub fn eks_webhook() -> Result<PathBuf, Missing> {
    find(&EKS_WEBHOOK, &[Tool::EksWebhook])
        .map(|mut found| found.remove(&Tool::EksWebhook).expect("what was asked for"))
}

/// The controller of JobSet, with its webhooks.
pub fn jobset() -> Result<PathBuf, Missing> {
    find(&JOBSET, &[Tool::JobSet]).map(|mut found| found.remove(&Tool::JobSet).expect("what was asked for"))
}

/// The controller of Argo Workflows, without listeners.
pub fn argo_workflows() -> Result<PathBuf, Missing> {
    find(&ARGO_WORKFLOWS, &[Tool::ArgoWorkflows])
        .map(|mut found| found.remove(&Tool::ArgoWorkflows).expect("what was asked for"))
}

/// Evaluates the queries of a Grafana dashboard with the query engine of Prometheus.
pub fn dashboard_queries() -> Result<PathBuf, Missing> {
    find(&DASHBOARD, &[Tool::Dashboard]).map(|mut found| found.remove(&Tool::Dashboard).expect("what was asked for"))
}

/// Chromium, from `CHROMIUM` or as it is called where it is installed.
pub fn chromium() -> Result<PathBuf, Missing> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let in_path = |name: &str| {
        std::env::split_paths(&folders)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    };
    named
        .filter(|file| file.is_file())
        .or_else(|| {
            ["chromium", "chromium-browser", "google-chrome"]
                .iter()
                .find_map(|name| in_path(name))
        })
        .ok_or_else(|| Missing::Tool("Chromium is missing; install the package chromium, or set CHROMIUM".to_owned()))
}

/// An OCI registry, for what is published to one.
pub fn registry() -> Result<PathBuf, Missing> {
    find(&REGISTRY, &[Tool::Registry]).map(|mut found| found.remove(&Tool::Registry).expect("what was asked for"))
}

/// What checks the files of a release.
pub fn release() -> Result<ReleaseTools, Missing> {
    let mut found = find(&RELEASE, &[Tool::Actionlint, Tool::Krew, Tool::ValidateKrewManifest])?;
    let mut take = |tool| found.remove(&tool).expect("what was asked for");
    Ok(ReleaseTools {
        actionlint: take(Tool::Actionlint),
        krew: take(Tool::Krew),
        validate_krew_manifest: take(Tool::ValidateKrewManifest),
    })
}

/// What checks the files of a release.
#[derive(Clone, Debug)]
pub struct ReleaseTools {
    pub actionlint: PathBuf,
    pub krew: PathBuf,
    pub validate_krew_manifest: PathBuf,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    pub etcd: PathBuf,
    pub api_server: PathBuf,
    pub controller_manager: PathBuf,
    pub kubectl: PathBuf,
    pub helm: PathBuf,
}

/// Why a program is not available.
#[derive(Debug)]
pub enum Missing {
    /// There is no Go that could build it.
    Go(String),
    /// Something else that is installed with the system is missing.
    Tool(String),
    /// It could not be built or installed.
    Build(String),
}

impl Missing {
    /// Reports on standard error what is not run, bypassing the capture of test output. Where a skipped test would go unseen it fails
    /// instead: with `CI` set, and when what builds it is there but failed.
    pub fn skip(&self, what: &str) {
        match self {
            Self::Go(_) | Self::Tool(_) if std::env::var_os("CI").is_none() => {
                say(&format!("\n==== NOT RUN: {what}: {self}\n"));
            }
            Self::Go(_) | Self::Tool(_) | Self::Build(_) => panic!("{what} cannot run: {self}"),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Go(why) => write!(
                f,
                "{why}; install Go {}.{} or later (go.dev/dl), or set KUBEBUILDER_ASSETS to a folder that holds the programs",
                OLDEST_GO.0, OLDEST_GO.1
            ),
            Self::Tool(why) | Self::Build(why) => write!(f, "{why}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    Etcd,
    ApiServer,
    ControllerManager,
    Kubectl,
    Helm,
    Helm3,
    EksWebhook,
    JobSet,
    ArgoWorkflows,
    Dashboard,
    Registry,
    Actionlint,
    Krew,
    ValidateKrewManifest,
}

impl Tool {
    /// The file's name, envtest's.
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::Helm3 => "helm3",
            Self::EksWebhook => "eks-webhook",
            Self::JobSet => "jobset",
            Self::ArgoWorkflows => "argo-workflows",
            Self::Dashboard => "dashboard",
            Self::Registry => "registry",
            Self::Actionlint => "actionlint",
            Self::Krew => "krew",
            Self::ValidateKrewManifest => "validate-krew-manifest",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::ControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
            Self::Helm3 => "helm.sh/helm/v3/cmd/helm",
            Self::EksWebhook | Self::ArgoWorkflows | Self::Dashboard => ".",
            Self::JobSet => "sigs.k8s.io/jobset",
            Self::Registry => "github.com/distribution/distribution/v3/cmd/registry",
            Self::Actionlint => "github.com/rhysd/actionlint/cmd/actionlint",
            Self::Krew => "sigs.k8s.io/krew/cmd/krew",
            Self::ValidateKrewManifest => "sigs.k8s.io/krew/cmd/validate-krew-manifest",
        }
    }

    /// What `go build -o FOLDER/` calls it.
    fn built_name(self) -> &'static str {
        match self {
            Self::Etcd => "server",
            Self::Helm3 => "helm",
            other => other.name(),
        }
    }
}

/// A module that pins tools.
struct Module {
    folder: &'static str,
    linker_flags: &'static str,
    /// What the first build costs on two cores.
    cost: &'static str,
}

const CONTROL_PLANE: Module = Module {
    folder: "control-plane",
    linker_flags: KUBERNETES_VERSION,
    cost: "up to 7 minutes on two cores, 870 MB of modules",
};

const HELM: Module = Module {
    folder: "helm",
    linker_flags: "",
    cost: "up to 3 minutes on two cores",
};

const HELM_3: Module = Module {
    folder: "helm-3",
    // Stamped as in a release: the version of Kubernetes that a chart is rendered for without a cluster.
    linker_flags: "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37",
    cost: "up to 3 minutes on two cores",
};

const EKS_WEBHOOK: Module = Module {
    folder: "eks-webhook",
    linker_flags: "",
    cost: "up to 3 minutes on two cores",
};

const JOBSET: Module = Module {
    folder: "jobset",
    linker_flags: "",
    cost: "up to 3 minutes on two cores",
};

const ARGO_WORKFLOWS: Module = Module {
    folder: "argo-workflows",
    linker_flags: "",
    cost: "up to 5 minutes on two cores",
};

const DASHBOARD: Module = Module {
    folder: "dashboard",
    linker_flags: "",
    cost: "up to 3 minutes on two cores",
};

const REGISTRY: Module = Module {
    folder: "registry",
    linker_flags: "",
    cost: "up to 3 minutes on two cores",
};

const RELEASE: Module = Module {
    folder: "release",
    linker_flags: "",
    cost: "up to 2 minutes on two cores",
};

impl Module {
    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/e2e")
            .join(self.folder)
    }

    /// Where its programs are kept: another pin, machine or way of building is another folder.
    fn cache(&self) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        for file in ["go.mod", "go.sum"] {
            fs::read(self.path().join(file))
                .expect("the pins are part of the repository")
                .hash(&mut hasher);
        }
        // One of our own, for a module that has one.
        fs::read(self.path().join("main.go")).ok().hash(&mut hasher);
        (self.linker_flags, std::env::consts::OS, std::env::consts::ARCH).hash(&mut hasher);
        cache_folder()
            .join("rolegate")
            .join(format!("{}-{:016x}", self.folder, hasher.finish()))
    }
}

/// The user's cache folder, or a temporary one for a user without a home.
pub(super) fn cache_folder() -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
}

fn find(module: &Module, wanted: &[Tool]) -> Result<BTreeMap<Tool, PathBuf>, Missing> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let mut found = BTreeMap::new();
    let mut to_build = Vec::new();
    for tool in wanted {
        let given = assets
            .iter()
            .map(|folder| folder.join(tool.name()))
            .find(|path| path.is_file());
        match given {
            Some(path) => {
                found.insert(*tool, path);
            }
            None => to_build.push(*tool),
        }
    }
    let cache = module.cache();
    build(module, &cache, &to_build)?;
    found.extend(to_build.into_iter().map(|tool| (tool, cache.join(tool.name()))));
    Ok(found)
}

/// Builds what the cache lacks. Other processes that want the same wait for it.
fn build(module: &Module, cache: &Path, wanted: &[Tool]) -> Result<(), Missing> {
    let lacking = || -> Vec<Tool> {
        let is_lacking = |tool: &&Tool| !cache.join(tool.name()).is_file();
        wanted.iter().filter(is_lacking).copied().collect()
    };
    if lacking().is_empty() {
        return Ok(());
    }
    let go = go()?;
    fs::create_dir_all(cache).expect("the user's cache folder can be written");
    let _turn = wait_for_turn(&cache.join("lock"));
    let lacking = lacking();
    if lacking.is_empty() {
        return Ok(());
    }

    let names: Vec<_> = lacking.iter().map(|tool| tool.name()).collect();
    say(&format!(
        "building {} with Go, once ({}); kept in {}",
        names.join(", "),
        module.cost,
        cache.display()
    ));
    let begun = Instant::now();
    remove_abandoned(cache);
    // Next to its destination, so that a rename suffices, and never half a program under its own name.
    let unfinished = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(cache)
        .expect("the user's cache folder can be written");
    let output = Command::new(go)
        .current_dir(module.path())
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .args(["build", "-trimpath", "-ldflags"])
        .arg(format!("-s -w {}", module.linker_flags).trim())
        .arg("-o")
        .arg(format!("{}/", unfinished.path().display()))
        .args(lacking.iter().map(|tool| tool.package()))
        .output()
        .expect("go was found");
    if !output.status.success() {
        return Err(Missing::Build(format!(
            "`go build` in {} failed ({}):\n{}",
            module.path().display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    for tool in &lacking {
        fs::rename(unfinished.path().join(tool.built_name()), cache.join(tool.name()))
            .expect("go built what it was asked for");
    }
    say(&format!("built in {} s", begun.elapsed().as_secs()));
    Ok(())
}

/// The folder in the cache with these files of a folder of the repository, after `install_in` completed in it.
pub(super) fn install(
    what: &str,
    key: &str,
    source: &str,
    files: &[&str],
    install_in: impl FnOnce(&Path) -> Result<(), Missing>,
) -> Result<PathBuf, Missing> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(source.join(file))
            .expect("the pins are part of the repository")
            .hash(&mut hasher);
    }
    (std::env::consts::OS, std::env::consts::ARCH).hash(&mut hasher);
    let cache = cache_folder().join("rolegate");
    fs::create_dir_all(&cache).expect("the user's cache folder can be written");
    let key = format!("{key}-{:016x}", hasher.finish());
    let (folder, ready) = (cache.join(&key), cache.join(&key).join("ready"));
    let _turn = wait_for_turn(&cache.join(format!("{key}.lock")));
    if ready.exists() {
        return Ok(folder);
    }
    say(&format!("installing {what}, once; kept in {}", folder.display()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the user's cache folder can be written");
    for file in files {
        fs::copy(source.join(file), folder.join(file)).expect("the user's cache folder can be written");
    }
    install_in(&folder)?;
    File::create(ready).expect("the user's cache folder can be written");
    Ok(folder)
}

/// What a command prints, which must succeed.
pub(super) fn run(command: &mut Command, what: &str) -> Result<String, Missing> {
    let output = command
        .output()
        .map_err(|error| Missing::Tool(format!("{what} is missing ({error})")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Missing::Build(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// What a build that was killed left behind; the lock is held.
fn remove_abandoned(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Held until dropped; the system lets go of it when the process ends, however it does.
pub(super) fn wait_for_turn(path: &Path) -> File {
    let lock = File::create(path).expect("the user's cache folder can be written");
    match lock.try_lock() {
        Ok(()) => return lock,
        Err(TryLockError::WouldBlock) => say("another process builds the programs for tests; waiting for it"),
        Err(TryLockError::Error(error)) => panic!("cannot lock {}: {error}", path.display()),
    }
    lock.lock().expect("the lock can be waited for");
    lock
}

/// A Go that is new enough, from the path or where its installer puts it.
pub(super) fn go() -> Result<PathBuf, Missing> {
    let mut seen = Vec::new();
    for candidate in ["go", "/usr/local/go/bin/go"] {
        let Ok(output) = Command::new(candidate).args(["env", "GOVERSION"]).output() else {
            continue;
        };
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if go_version(&version).is_some_and(|version| version >= OLDEST_GO) {
            return Ok(PathBuf::from(candidate));
        }
        seen.push(format!("{candidate} is {version}, which is too old"));
    }
    if seen.is_empty() {
        seen.push("Go is missing".to_owned());
    }
    Err(Missing::Go(seen.join("; ")))
}

/// `go1.26.3` is (1, 26).
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("go")?.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

/// To standard error itself: what a test prints with macros is shown only when it fails.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
