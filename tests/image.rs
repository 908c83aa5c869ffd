//! The container image: `buildah` builds the last stage of the Dockerfile with the program that the other tests run, and the program is
//! started in this root file system as Kubernetes would start it: read-only, not as root, and without anything else.

#![allow(unreachable_pub, reason = "shared with other suites")]

#[allow(dead_code, reason = "this suite needs a part of it")]
#[path = "webhook/program.rs"]
mod program;
#[allow(dead_code, reason = "this suite needs a part of it")]
#[path = "webhook/reviews.rs"]
mod reviews;
mod support;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use program::{Folder, ISSUER, Program, eventually, policy_with};
use reviews::{creation, job_pod};
use serde_json::{Value, json};
use support::fake_api::FakeApi;

const ROLE: (&str, &str) = ("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/worker");

/// A name that nothing but the test's own DNS server knows.
const API_SERVER: &str = "api.rolegate.test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_serves_from_a_read_only_root_and_not_as_root() {
    let Some(image) = image() else { return };
    let folder = folder();
    folder.account("jobs", "worker", &[ROLE]);
    let mut command = image.command(&folder, None);
    command
        .arg("serve")
        .args(["--standalone", folder.path().to_str().unwrap()]);
    command.args(["--issuer", ISSUER]);
    let program = Program::start(command, &folder, &[]).unwrap_or_else(|(status, log)| panic!("{status}:\n{log}"));
    assert_eq!(program.get("/readyz").await.0, 200);
    let response = program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "worker")))
        .await;
    assert!(response["patch"].is_string(), "{response:#}");
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    assert!(status.contains("Uid:\t65532\t65532\t65532\t65532"), "{status}");
    assert!(status.contains("Gid:\t65532\t65532\t65532\t65532"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_resolved_in_an_otherwise_empty_root() {
    let Some(image) = image() else { return };
    let dns = name_server();
    let api = FakeApi::start().await;
    api.set_discovery(Some(&json!({"issuer": format!("https://{ISSUER}")}).to_string()));
    api.put_account("jobs", "worker", &[ROLE]);
    let folder = folder();
    let server = format!("http://{API_SERVER}:{}/", api.address.port());
    folder.write("kubeconfig", &program::kubeconfig(&server));
    readable(folder.path());
    let mut command = image.command(&folder, Some(&dns));
    command.env("KUBECONFIG", folder.path().join("kubeconfig"));
    let roles = format!("files={}", folder.path().join("roles").display());
    command.arg("serve").args(["--role-source", &roles]);
    let program = Program::start(command, &folder, &[]).unwrap_or_else(|(status, log)| panic!("{status}:\n{log}"));
    eventually("readiness", || async {
        (program.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    let response = program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "worker")))
        .await;
    assert!(response["patch"].is_string(), "{response:#}");
}

#[test]
fn nothing_but_the_program_and_what_it_needs_is_in_it() {
    let Some(image) = image() else { return };
    let mut files = BTreeSet::new();
    collect(&image.root, &image.root, &mut files);
    let unexpected: Vec<&String> = files
        .iter()
        .filter(|file| {
            let library = ["lib/", "lib64/", "usr/lib/", "usr/lib64/"]
                .iter()
                .any(|folder| file.starts_with(folder))
                && file.contains(".so");
            let expected = ["rolegate", "etc/nsswitch.conf", "etc/ssl/certs/ca-certificates.crt"];
            !library && !expected.contains(&file.as_str())
        })
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(files.contains("rolegate") && files.contains("etc/ssl/certs/ca-certificates.crt"));
    for file in &files {
        let mode = fs::symlink_metadata(image.root.join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(
            mode & 0o7022,
            0,
            "{file} may be written by others or changes its user: {mode:o}"
        );
    }
}

#[test]
fn its_configuration_says_how_to_run_it() {
    let Some(image) = image() else { return };
    let config = &image.config;
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/rolegate"]));
    let ports: Vec<&String> = config["ExposedPorts"].as_object().unwrap().keys().collect();
    assert_eq!(ports, ["8080/tcp", "8443/tcp"]);
    let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(label("title"), env!("CARGO_PKG_NAME"));
    assert_eq!(label("description"), env!("CARGO_PKG_DESCRIPTION"));
    assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
}

/// What the program is compiled from must reach the builder.
#[test]
fn the_build_context_holds_what_is_compiled_in() {
    let rules = fs::read_to_string(repository().join(".dockerignore")).unwrap();
    let rules: Vec<&str> = rules
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert!(rules.len() > 3, "{rules:?}");
    let mut sources = BTreeSet::new();
    collect(&repository().join("src"), repository(), &mut sources);
    let mut needed: Vec<PathBuf> = ["src", "benches", "image", "Cargo.toml", "Cargo.lock"]
        .iter()
        .map(|name| repository().join(name))
        .collect();
    for source in sources.iter().filter(|source| source.ends_with(".rs")) {
        let text = fs::read_to_string(repository().join(source)).unwrap();
        let folder = repository().join(source).parent().unwrap().to_owned();
        for part in text.split("include_str!(").skip(1) {
            let path = part.split('"').nth(1).unwrap();
            let path = folder.join(path).canonicalize().unwrap();
            needed.push(path);
        }
    }
    for path in needed {
        assert!(path.exists(), "{}", path.display());
        assert!(!is_ignored(&path, &rules), "{} is in .dockerignore", path.display());
    }
}

/// The last rule that matches decides; one that begins with `!` is an exception.
fn is_ignored(path: &Path, rules: &[&str]) -> bool {
    let matches = |rule: &str| match rule.split_once("**/*.") {
        Some(("", extension)) => path.extension().is_some_and(|found| found == extension),
        Some(_) => panic!("the test does not know rules such as {rule}"),
        None => path.starts_with(repository().join(rule.trim_start_matches('/'))),
    };
    let last = rules
        .iter()
        .rev()
        .find(|rule| matches(rule.strip_prefix('!').unwrap_or(rule)));
    last.is_some_and(|rule| !rule.starts_with('!'))
}

/// An image, mounted for reading.
struct Image {
    root: PathBuf,
    config: Value,
}

/// What is put together here stays until the next run: nothing is torn down after the last test.
fn workshop() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("image")
}

/// Put together once for all tests; none where that cannot be.
fn image() -> Option<&'static Image> {
    static IMAGE: LazyLock<Option<Image>> = LazyLock::new(|| match missing() {
        None => Some(Image::build()),
        Some(why) if std::env::var_os("CI").is_none() => {
            // Past the capture of test output, so that it is seen.
            let _ = writeln!(std::io::stderr().lock(), "NOT RUN: tests of the container image: {why}");
            None
        }
        Some(why) => panic!("the container image cannot be tested: {why}"),
    });
    IMAGE.as_ref()
}

fn missing() -> Option<&'static str> {
    if Command::new("buildah").arg("--version").output().is_err() {
        return Some("no buildah (Debian: apt-get install buildah)");
    }
    let id = Command::new("id").arg("-u").output().unwrap();
    (id.stdout != b"0\n").then_some("mounting an image and chroot need root")
}

impl Image {
    fn build() -> Self {
        let workshop = workshop();
        if workshop.exists() {
            fs::remove_dir_all(&workshop).unwrap();
        }
        fs::create_dir_all(&workshop).unwrap();
        let root = workshop.join("root");
        run(Command::new(repository().join("image/root.sh"))
            .arg(env!("CARGO_BIN_EXE_rolegate"))
            .arg(&root));
        let buildah = |arguments: &[&str]| {
            // A store of its own, without a registry and without overlayfs, which does not work within a container.
            let mut command = Command::new("buildah");
            command
                .args(["--storage-driver", "vfs", "--root"])
                .arg(workshop.join("store"))
                .arg("--runroot")
                .arg(workshop.join("run"));
            let output = run(command.args(arguments).current_dir(repository()));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let context = format!("root={}", root.display());
        buildah(&[
            "build",
            "--isolation",
            "chroot",
            "--pull-never",
            "--build-context",
            &context,
            "--tag",
            "rolegate:test",
            ".",
        ]);
        let inspected: Value =
            serde_json::from_str(&buildah(&["inspect", "--type", "image", "rolegate:test"])).unwrap();
        let container = buildah(&["from", "--pull-never", "rolegate:test"]);
        let root = PathBuf::from(buildah(&["mount", &container]));
        Self {
            root,
            config: inspected["OCIv1"]["config"].clone(),
        }
    }

    /// The program in this root, which is read-only, with the user that the image names. It sees one folder more, under the
    /// name that it has outside, as a mounted volume; and a `resolv.conf`, as a kubelet gives it.
    fn command(&self, folder: &Folder, resolv_conf: Option<&Path>) -> Command {
        // All mounts are this process's own and end with it. `chroot` takes the place of the shell, so signals arrive.
        const ENTER: &str = "set -eu
            inside=$INSIDE
            mount -t tmpfs tmpfs \"$inside\"
            cp -a \"$ROOT/.\" \"$inside\"
            mkdir -p \"$inside$FOLDER\"
            mount --bind \"$FOLDER\" \"$inside$FOLDER\"
            if [ -n \"$RESOLV_CONF\" ]; then cp \"$RESOLV_CONF\" \"$inside/etc/resolv.conf\"; chmod 644 \"$inside/etc/resolv.conf\"; fi
            mount -o remount,ro \"$inside\"
            if touch \"$inside/etc/written\" 2>/dev/null; then echo 'the root can be written' >&2; exit 1; fi
            exec env -i PATH=\"$PATH\" KUBECONFIG=\"${KUBECONFIG-}\" chroot --userspec=\"$RUN_AS\" \"$inside\" \"$@\"";
        let entrypoint = self.config["Entrypoint"][0].as_str().unwrap();
        readable(folder.path());
        static ROOTS: AtomicUsize = AtomicUsize::new(0);
        let inside = workshop().join(format!("inside-{}", ROOTS.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&inside).unwrap();
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                ENTER,
                "sh",
                entrypoint,
            ])
            .env("ROOT", &self.root)
            .env("INSIDE", inside)
            .env("FOLDER", folder.path())
            .env("RESOLV_CONF", resolv_conf.unwrap_or(Path::new("")))
            .env("RUN_AS", self.config["User"].as_str().unwrap());
        command
    }
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.role("worker", &policy_with(json!({})));
    folder
}

/// A DNS server that knows every name as 127.0.0.1, and the `resolv.conf` that names it.
fn name_server() -> PathBuf {
    // DNS clients ask port 53 and no other, so each test process takes an address of its own from the loopback network.
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = format!("127.83.{high}.{}", low.max(1));
    let socket = UdpSocket::bind((address.as_str(), 53)).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let question = &query[12..length];
            let name_end = question.iter().position(|byte| *byte == 0).unwrap();
            let question = &question[..name_end + 5];
            let wants_v4 = question[name_end + 1..name_end + 3] == [0, 1];
            let mut answer = query[..2].to_vec();
            // A response, recursion available; one question, one answer for an A and none for an AAAA.
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(wants_v4), 0, 0, 0, 0]);
            answer.extend(question);
            if wants_v4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            let _ = socket.send_to(&answer, client);
        }
    });
    let path = workshop().join("resolv.conf");
    fs::write(&path, format!("nameserver {address}\noptions ndots:1\n")).unwrap();
    path
}

/// As a kubelet mounts volumes: every user in the pod can read them.
fn readable(folder: &Path) {
    open_for_all(folder);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            readable(&path);
        } else {
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
    }
}

fn open_for_all(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder, relative to `base`.
fn collect(folder: &Path, base: &Path, files: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, base, files);
        } else {
            files.insert(path.strip_prefix(base).unwrap().to_str().unwrap().to_owned());
        }
    }
}
