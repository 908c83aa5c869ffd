//! How the program starts, is observed and ends.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::program::{Folder, Program};
use crate::reviews::{creation, job_pod};

fn folder() -> Folder {
    let folder = Folder::new();
    let arn = folder.role("worker", &Folder::trusting("jobs", "worker"));
    folder.account("jobs", "worker", &[("eks.amazonaws.com/role-arn", &arn)]);
    folder.account("other", "worker", &[("eks.amazonaws.com/role-arn", &arn)]);
    folder
}

#[tokio::test]
async fn a_terminated_program_drains_and_ends_with_zero() {
    let folder = folder();
    let mut program = Program::serve(&folder, &["--drain", "1s"]);
    assert_eq!(program.get("/readyz").await.0, 200);
    program.signal("TERM");
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (status, _) = program
        .post("/mutate", creation(&job_pod("jobs", "worker")).to_string())
        .await;
    assert_eq!(status, 200, "API servers go on using a pod that is ending");
    assert_eq!(program.get("/readyz").await.0, 503);
    assert_eq!(program.wait().code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

/// A log that names one mode misleads: webhook configurations choose the path by the label of the namespace.
#[tokio::test]
async fn the_log_says_at_startup_that_the_path_has_the_mode() {
    let folder = folder();
    let program = Program::serve(&folder, &["--mode", "warn"]);
    let line: Value = serde_json::from_str(&program.wait_for_log("serving reviews over HTTPS")).unwrap();
    assert_eq!((&line["default_mode"], line.get("mode")), (&"warn".into(), None));
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .contains("the path of a review has its mode"),
        "{line}"
    );
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let folder = folder();
    let mut program = Program::serve(&folder, &["--drain", "1m"]);
    program.signal("TERM");
    tokio::time::sleep(Duration::from_millis(200)).await;
    program.signal("TERM");
    program.wait();
}

#[tokio::test]
async fn a_self_signed_certificate_is_made_where_none_is_given() {
    let folder = folder();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_rolegate"))
        .args([
            "serve",
            "--issuer",
            "oidc.example.com",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .args(["--standalone", folder.path().to_str().unwrap()])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = output;
    let log = std::io::BufReader::new(child.stderr.take().unwrap());
    let line = std::io::BufRead::lines(log)
        .map_while(Result::ok)
        .find(|line| line.contains("reviews over HTTPS"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.is_some());
}

#[tokio::test]
async fn every_answer_is_counted_and_written_to_the_audit_log() {
    let folder = folder();
    let audit = folder.path().join("audit.log");
    let mut program = Program::serve(&folder, &["--audit-log", audit.to_str().unwrap(), "--drain", "0s"]);
    program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "worker")))
        .await;
    program
        .review("/mutate/enforce", &creation(&job_pod("other", "worker")))
        .await;
    program
        .review("/mutate/warn", &creation(&job_pod("other", "worker")))
        .await;
    for (labels, expected) in [
        (r#"action="inject",verdict="trusted",cause="",mode="enforce""#, 1.0),
        (
            r#"action="deny",verdict="not-trusted",cause="wrong-subject",mode="enforce""#,
            1.0,
        ),
        (
            r#"action="inject",verdict="not-trusted",cause="wrong-subject",mode="warn""#,
            1.0,
        ),
    ] {
        let sample = format!("rolegate_decisions_total{{{labels}}}");
        assert_eq!(
            program.metric(&sample).await,
            Some(expected),
            "{sample}\n{}",
            program.get("/metrics").await.1
        );
    }
    program.signal("TERM");
    program.wait();
    let text = std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[1]["verdict"], "not-trusted");
    assert_eq!(lines[1]["cause"], "wrong-subject");
    assert_eq!(lines[1]["namespace"], "other");
    assert_eq!(lines[1]["action"], "deny");
}

#[tokio::test]
async fn a_refusal_is_one_line_of_the_log_and_an_injection_none() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "worker")))
        .await;
    program
        .review("/mutate/enforce", &creation(&job_pod("other", "worker")))
        .await;
    program.wait_for_log("wrong-subject");
    assert_eq!(program.log_lines("wrong-subject").len(), 1);
    assert!(program.log_lines("\"jobs\"").is_empty());
}

#[tokio::test]
async fn the_roles_page_lists_what_the_cache_holds() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "worker")))
        .await;
    let (status, body) = program.get("/roles").await;
    assert_eq!(status, 200);
    let json: Value = serde_json::from_str(&body).unwrap();
    let role = &json[0];
    assert_eq!(role["arn"], "arn:aws:iam::111122223333:role/worker");
    assert_eq!(role["state"], "fresh");
    assert_eq!(role["holds"], "policy");
    let schema: Value = serde_json::from_str(include_str!("../../docs/reference/roles.schema.json")).unwrap();
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        fields(role),
        fields(&schema["items"]["properties"]),
        "the schema names each field"
    );
}

#[tokio::test]
async fn clients_that_stay_on_the_admin_port_do_not_keep_probes_out() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let mut held = Vec::new();
    for _ in 0..300 {
        let mut stream = tokio::net::TcpStream::connect(program.admin).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        held.push(stream);
    }
    assert_eq!(program.get("/livez").await.0, 200);
    let (_, metrics) = program.get("/metrics").await;
    let idle = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"rolegate_connections_closed_total{reason="idle"} "#))
        .unwrap();
    assert!(idle.parse::<u32>().unwrap() >= 300 - 256, "{idle}");
    assert_eq!(
        program.log_lines("the connection limit is reached").len(),
        1,
        "once, not per connection"
    );
}

#[tokio::test]
async fn the_limit_on_open_files_is_raised() {
    let folder = folder();
    let mut command = std::process::Command::new("sh");
    let rolegate = env!("CARGO_BIN_EXE_rolegate");
    let issuer = crate::program::ISSUER;
    command.args(["-c", r#"ulimit -Sn 64 && exec "$@""#, "sh", rolegate]);
    command.args([
        "serve",
        "--issuer",
        issuer,
        "--standalone",
        folder.path().to_str().unwrap(),
    ]);
    let program = Program::start(command, &folder, &[]).unwrap_or_else(|(status, log)| panic!("{status}: {log}"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|column| files.split_whitespace().nth(column).unwrap());
    assert_eq!(soft, hard, "{files}");
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_stops_the_start_by_name() {
    let folder = folder();
    let (fifo, sparse) = (folder.path().join("fifo"), folder.path().join("sparse"));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    std::fs::File::create(&sparse).unwrap().set_len(3 << 30).unwrap();
    let files = [
        (fifo.to_str().unwrap(), "it is a FIFO, not a regular file"),
        (sparse.to_str().unwrap(), "it is longer than 16 MiB"),
        ("/dev/zero", "it is a device, not a regular file"),
        ("/proc/self", "it is a directory, not a regular file"),
    ];
    for (file, expected) in files {
        for name in ["tls.crt", "tls.key"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
            std::os::unix::fs::symlink(file, folder.path().join(name)).unwrap();
            let (status, log) = Program::try_serve(&folder, &[]).err().expect("it does not start");
            assert_eq!(status.code(), Some(2), "{name} {file}: {log}");
            assert!(log.contains(name) && log.contains(expected), "{name} {file}: {log}");
            folder.renew_certificate();
        }
        for flag in ["--client-ca", "--container-credentials-config"] {
            let (status, log) = Program::try_serve(&folder, &[flag, file])
                .err()
                .expect("it does not start");
            assert_eq!(status.code(), Some(2), "{flag} {file}: {log}");
            assert!(log.contains(file) && log.contains(expected), "{flag} {file}: {log}");
        }
    }
}
