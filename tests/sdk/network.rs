//! Network namespaces with the servers, in which runc starts containers.
//!
//! A namespace is held by a process of its own: this test program, started again by `unshare`. It runs one container at a time, so that
//! what arrives at its servers is from that container. It ends when its standard input closes, as happens when the test process ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::calls::Arrival;
use crate::servers;

/// The argument that starts the program in order to keep a network namespace alive.
pub(crate) const PLAY: &str = "play-servers";

/// How long a container may run.
const LIMIT: Duration = Duration::from_secs(10);

/// The files of the servers, in the folder of the tests.
pub(crate) const CERTIFICATE: &str = "servers.crt";
pub(crate) const KEY: &str = "servers.key";

/// A container that ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// None when it was stopped after [`LIMIT`].
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) arrivals: Vec<Arrival>,
}

/// A namespace.
pub(crate) struct Network {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Network {
    /// With the certificate and runc's state in this folder.
    pub(crate) fn start(folder: &Path) -> Self {
        let mut process = Command::new("unshare")
            .args(["--net", "--"])
            .arg(std::env::current_exe().unwrap())
            .arg(PLAY)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        Self { process, stdin, stdout }
    }

    /// Runs the container of a bundle.
    pub(crate) fn run(&mut self, bundle: &Path) -> Run {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!(
            "rolegate-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let job = serde_json::to_string(&(id, bundle)).unwrap();
        writeln!(self.stdin.as_mut().unwrap(), "{job}").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .expect("the process that holds the namespace answers; its standard error says why it did not")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.process.wait();
    }
}

/// Keeps a network namespace alive. This runs in the started process.
pub(crate) fn play(folder: &Path) {
    ip(&["link", "set", "lo", "up"]);
    for address in servers::ADDRESSES {
        if address.contains("::") {
            // Not tentative at first.
            assert!(
                !servers::has_ipv6() || ip(&["address", "add", address, "dev", "lo", "nodad"]),
                "cannot add {address}"
            );
        } else {
            assert!(ip(&["address", "add", address, "dev", "lo"]), "cannot add {address}");
        }
    }
    let read = |name| fs::read(folder.join(name)).expect("written before");
    let arrivals = servers::start(&read(CERTIFICATE), &read(KEY));
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let (id, bundle): (String, std::path::PathBuf) = serde_json::from_str(&line).expect("a job");
        let mut run = run(&folder.join("runc"), &id, &bundle);
        run.arrivals = arrivals.take();
        println!("{}", serde_json::to_string(&run).unwrap());
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip")
        .args(arguments)
        .status()
        .is_ok_and(|status| status.success())
}

fn run(state: &Path, id: &str, bundle: &Path) -> Run {
    let runc = || {
        let mut command = Command::new("runc");
        command.arg("--root").arg(state).stdin(Stdio::null());
        command
    };
    let mut container = runc()
        .args(["run", "--bundle"])
        .arg(bundle)
        .arg(id)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runc");
    let mut stdout = container.stdout.take().unwrap();
    let mut stderr = container.stderr.take().unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = container.try_wait().unwrap() {
            break Some(status.code().unwrap_or(-1));
        }
        if begun.elapsed() > LIMIT {
            let _ = runc().args(["delete", "--force", id]).output();
            let _ = container.kill();
            let _ = container.wait();
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let (mut printed, mut errors) = (Vec::new(), Vec::new());
    stdout.read_to_end(&mut printed).unwrap();
    stderr.read_to_end(&mut errors).unwrap();
    Run {
        status,
        stdout: String::from_utf8_lossy(&printed).into_owned(),
        stderr: String::from_utf8_lossy(&errors).into_owned(),
        arrivals: Vec::new(),
    }
}
