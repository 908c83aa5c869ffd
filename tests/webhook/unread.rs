//! Output that is not read, disks that are full, and signals: nothing of it stops reviews or the end of the program.

use std::cell::RefCell;
use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream;
use serde_json::Value;

use crate::program::{Folder, ISSUER, PATIENCE, Program, eventually};
use crate::reviews::{creation, job_pod};

/// With a ServiceAccount whose role does not trust it.
fn folder() -> Folder {
    let folder = Folder::new();
    let arn = folder.role("worker", &Folder::trusting("jobs", "worker"));
    folder.account("other", "worker", &[("eks.amazonaws.com/role-arn", &arn)]);
    folder
}

/// Posts this many pods, eight at a time. Each is refused, with one line in the log and one in the audit log.
async fn refuse(program: &Program, count: usize) {
    let review = creation(&job_pod("other", "worker"));
    let reviews = stream::iter(0..count).map(|_| program.review("/mutate/enforce", &review));
    let answers = reviews.buffer_unordered(8).for_each(async |answer| {
        assert_eq!(answer["allowed"], false, "{answer}");
    });
    tokio::time::timeout(PATIENCE, answers)
        .await
        .unwrap_or_else(|_| panic!("{count} reviews were not answered"));
}

async fn dropped_log_lines(program: &Program) -> f64 {
    program.metric("rolegate_log_lines_dropped_total").await.unwrap()
}

/// Refuses pods until lines of the log are dropped.
async fn fill_the_log(program: &Program) {
    for _ in 0..20 {
        refuse(program, 200).await;
        if dropped_log_lines(program).await > 0.0 {
            return;
        }
    }
    panic!("no line was dropped");
}

/// Serves a folder, with standard output in a pipe that is not read.
fn serve_with_unread_stdout(folder: &Folder, flags: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
    command
        .args(["serve", "--standalone", folder.path().to_str().unwrap()])
        .args(["--issuer", &format!("https://{ISSUER}"), "--audit-log", "-"])
        .stdout(Stdio::piped());
    Program::start(command, folder, flags).unwrap_or_else(|(status, log)| panic!("did not start ({status}):\n{log}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_not_read_stops_neither_reviews_nor_the_shutdown() {
    let folder = folder();
    let mut program = Program::serve(&folder, &["--drain", "1s"]);
    program.stop_reading();
    fill_the_log(&program).await;
    assert_eq!(program.get("/livez").await.0, 200);
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_log_lines_are_reported_when_the_log_is_read_again() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    program.stop_reading();
    fill_the_log(&program).await;
    let dropped = dropped_log_lines(&program).await;
    program.resume_reading();
    let line: Value = serde_json::from_str(&program.wait_for_log("log lines were lost")).unwrap();
    assert_eq!(line["dropped"].as_f64(), Some(dropped), "{line}");
    assert_eq!(program.log_lines("log lines were lost").len(), 1);
    for line in program.log_lines("") {
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_program_whose_log_is_not_read() {
    let folder = folder();
    let mut program = Program::serve(&folder, &["--drain", "5m"]);
    program.stop_reading();
    refuse(&program, 200).await;
    program.signal("TERM");
    eventually("it drains", || async {
        (program.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(143));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_log_that_is_not_read_stops_neither_reviews_nor_the_shutdown() {
    let folder = folder();
    let mut program = serve_with_unread_stdout(&folder, &["--drain", "1s"]);
    refuse(&program, 400).await;
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
    program.wait_for_log("the audit log could not be written in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_program_whose_audit_log_is_not_read() {
    let folder = folder();
    let mut program = serve_with_unread_stdout(&folder, &["--drain", "5m"]);
    refuse(&program, 400).await;
    program.signal("TERM");
    eventually("it drains", || async {
        (program.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(143));
}

/// A kubeconfig for this API server, with this user.
fn kubeconfig(server: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters:\n- name: test\n  cluster:\n    server: {server}\n\
         users:\n- name: test\n  user: {user}\ncontexts:\n- name: test\n  context:\n    cluster: test\n    user: test\n"
    )
}

/// Starts the program for the cluster of this kubeconfig, sends it SIGTERM once its start is blocked, and requires that it ends.
fn a_signal_ends_it_when(folder: &Folder, kubeconfig: &str, is_blocked: impl Fn() -> bool) {
    folder.write("kubeconfig", kubeconfig);
    let mut child = Command::new(env!("CARGO_BIN_EXE_rolegate"))
        .env("KUBECONFIG", folder.path().join("kubeconfig"))
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !is_blocked() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    let was_blocked = is_blocked() && child.try_wait().unwrap().is_none();
    let signaled = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let begun = Instant::now();
    let mut ended = None;
    while ended.is_none() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
        ended = child.try_wait().unwrap();
    }
    let _ = child.kill();
    let _ = child.wait();
    assert!(was_blocked && signaled.success());
    assert_eq!(
        ended.and_then(|status| status.code()),
        Some(0),
        "the start was not ended"
    );
}

#[test]
fn a_signal_ends_a_start_that_a_credential_plugin_blocks() {
    let folder = folder();
    // A credential plugin that does not return blocks the thread that runs it.
    let asked = folder.path().join("asked");
    let script = format!("touch '{}'; exec sleep 60", asked.display());
    let user = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh, args: [\"-c\", {script:?}]}}}}"
    );
    a_signal_ends_it_when(&folder, &kubeconfig("http://127.0.0.1:1", &user), || asked.exists());
}

#[test]
fn a_signal_ends_a_start_that_waits_for_an_api_server_that_never_answers() {
    let folder = folder();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    // Connections are accepted and kept; nothing is read or answered.
    let held = RefCell::new(Vec::new());
    a_signal_ends_it_when(&folder, &kubeconfig(&server, "{token: unused}"), || {
        held.borrow_mut().extend(listener.accept().ok());
        !held.borrow().is_empty()
    });
}

#[tokio::test]
async fn signals_without_an_effect_are_logged() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    for name in ["HUP", "USR1", "USR2"] {
        program.signal(name);
        program.wait_for_log(&format!("SIG{name} has no effect; files are reloaded when they change"));
    }
    refuse(&program, 1).await;
}

#[test]
fn an_audit_log_of_another_file_type_is_refused_by_name() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, kind) in [(pipe.as_path(), "a named pipe"), (folder.path(), "a directory")] {
        let path = path.to_str().unwrap();
        let Err((status, log)) = Program::try_serve(&folder, &["--audit-log", path]) else {
            panic!("{kind} was accepted");
        };
        assert_eq!(status.code(), Some(2), "{log}");
        let expected = format!(
            "{path}: this is {kind}; set --audit-log to a regular file, to a character device, or to - for standard output"
        );
        assert!(log.contains(&expected), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_log_to_dev_stdout_is_written_to_standard_output() {
    let folder = folder();
    let lines = folder.path().join("lines");
    // As in a container, where standard output is a pipe.
    let mut command = Command::new("bash");
    command
        .args(["-c", "exec \"$@\" > >(cat > \"$LINES_OF\")", "bash"])
        .env("LINES_OF", &lines)
        .arg(env!("CARGO_BIN_EXE_rolegate"))
        .args(["serve", "--standalone", folder.path().to_str().unwrap()])
        .args(["--issuer", &format!("https://{ISSUER}"), "--audit-log", "/dev/stdout"]);
    let program = Program::start(command, &folder, &["--drain", "0s"])
        .unwrap_or_else(|(status, log)| panic!("did not start ({status}):\n{log}"));
    refuse(&program, 1).await;
    eventually("the line is written", || async {
        let line = fs::read_to_string(&lines).ok().filter(|text| text.ends_with('\n'))?;
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["action"], "deny", "{line}");
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_give_way_when_descriptors_run_out() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    refuse(&program, 1).await;
    let open = fs::read_dir(format!("/proc/{}/fd", program.id())).unwrap().count();
    let limited = Command::new("prlimit")
        .args([format!("--pid={}", program.id()), format!("--nofile={}", open + 20)])
        .status()
        .unwrap();
    assert!(limited.success());
    // Twice as many connections as there are descriptors, all from one address.
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(tokio::net::TcpStream::connect(program.reviews).await.unwrap());
    }
    for _ in 0..5 {
        refuse(&program, 1).await;
    }
    program.wait_for_log("failed to accept connections");
    let mut closed = 0.0;
    for reason in ["unused", "idle"] {
        let sample = format!("rolegate_connections_closed_total{{reason=\"{reason}\"}}");
        closed += program.metric(&sample).await.unwrap();
    }
    assert!(closed > 0.0);
    drop(held);
}

/// A program whose audit log cannot grow beyond a number of bytes, as on a disk that is full.
struct Limited {
    program: Program,
    audit: std::path::PathBuf,
    posted: usize,
}

impl Limited {
    fn start(folder: &Folder) -> Self {
        let audit = folder.path().join("audit.log");
        // With the signal ignored, a write beyond the limit fails.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_rolegate")])
            .args(["serve", "--standalone", folder.path().to_str().unwrap()])
            .args(["--issuer", &format!("https://{ISSUER}")])
            .args(["--audit-log", audit.to_str().unwrap()]);
        let program = Program::start(command, folder, &["--drain", "0s"])
            .unwrap_or_else(|(status, log)| panic!("did not start ({status}):\n{log}"));
        Self {
            program,
            audit,
            posted: 0,
        }
    }

    fn limit(&self, bytes: &str) {
        let status = Command::new("prlimit")
            .args(["--pid", &self.program.id().to_string(), &format!("--fsize={bytes}:")])
            .status()
            .unwrap();
        assert!(status.success());
    }

    async fn refuse(&mut self, count: usize) {
        refuse(&self.program, count).await;
        self.posted += count;
    }

    /// Lets the file grow, and compares it with what was posted and what was counted as lost.
    async fn every_line_is_whole_or_counted(mut self) {
        let before = fs::metadata(&self.audit).unwrap().len();
        self.limit("unlimited");
        self.refuse(1).await;
        let audit = self.audit.clone();
        eventually("lines are written again", || async {
            (fs::metadata(&audit).unwrap().len() > before).then_some(())
        })
        .await;
        self.refuse(9).await;
        self.program.wait_for_log("the audit log is written again");
        let lost = self.program.metric("rolegate_audit_log_dropped_total").await.unwrap();
        self.program.signal("TERM");
        assert_eq!(self.program.wait().code(), Some(0));
        let text = fs::read_to_string(&self.audit).unwrap();
        for line in text.lines() {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        assert!(text.ends_with('\n') && lost > 0.0, "{lost} lost");
        assert_eq!(text.lines().count() + lost as usize, self.posted, "{lost} lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_full_disk_every_line_is_whole_and_lost_lines_are_counted() {
    let folder = folder();
    let mut limited = Limited::start(&folder);
    limited.limit("5000");
    limited.refuse(100).await;
    limited.program.wait_for_log("failed to write the audit log");
    limited.every_line_is_whole_or_counted().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_that_is_freed_by_truncation_leaves_no_part_of_a_line() {
    let folder = folder();
    let mut limited = Limited::start(&folder);
    limited.limit("5000");
    limited.refuse(100).await;
    limited.program.wait_for_log("failed to write the audit log");
    let text = fs::read_to_string(&limited.audit).unwrap();
    // Lines that the operator removes are neither written nor lost.
    limited.posted -= text.lines().filter(|line| line.ends_with('}')).count();
    fs::write(&limited.audit, "").unwrap();
    limited.every_line_is_whole_or_counted().await;
}
