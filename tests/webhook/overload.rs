//! Load that the program does not take: what operators see of it, and who is served nevertheless.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::fake_api::{FakeApi, Fault};
use crate::live;
use crate::program::{Folder, PATIENCE, Program, eventually};
use crate::reviews::{creation, job_pod};

const LARGE: usize = 15 << 20;

/// Sends the review of a pod whose ServiceAccount the API server must be asked for, with a body of at least so many bytes.
fn send(program: &Arc<Program>, account: &str, bytes: usize) -> JoinHandle<u16> {
    let mut body = creation(&job_pod("jobs", account)).to_string();
    body.push_str(&" ".repeat(bytes.saturating_sub(body.len())));
    let program = Arc::clone(program);
    tokio::spawn(async move { program.post("/mutate/enforce?timeout=30s", body).await.0 })
}

async fn until_asked_for(api: &FakeApi, account: &str) {
    eventually("the API server is asked", || async {
        api.was_asked_for("jobs", account).then_some(())
    })
    .await;
}

async fn rejected(program: &Program, reason: &str) -> f64 {
    let sample = format!("rolegate_requests_rejected_total{{reason=\"{reason}\"}}");
    program.metric(&sample).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_overload_is_counted_and_logged_once_until_it_is_over() {
    let api = live::api().await;
    // Its labels are known, so only ServiceAccounts are asked for.
    api.put_namespace("jobs", &[]);
    let (_folder, program) = live::serve(&api, &[]).await;
    let program = Arc::new(program);
    for reason in ["bytes", "requests", "slow-body"] {
        assert_eq!(rejected(&program, reason).await, 0.0, "{reason}");
    }

    // Reviews that wait for the API server hold their bytes: three quarters of 64 MiB are for large ones.
    api.fail_gets(Some(Fault::Slow(PATIENCE)));
    let mut waiting = Vec::new();
    for account in ["large-0", "large-1", "large-2"] {
        waiting.push(send(&program, account, LARGE));
        until_asked_for(&api, account).await;
    }
    for _ in 0..2 {
        assert_eq!(send(&program, "refused", LARGE).await.unwrap(), 503);
    }
    assert_eq!(rejected(&program, "bytes").await, 2.0);
    for task in &waiting {
        task.abort();
    }
    // A client that has disconnected releases its bytes and its permit.
    api.fail_gets(None);
    eventually("the bytes are free", || async {
        (send(&program, "free", LARGE).await.unwrap() == 200).then_some(())
    })
    .await;

    // Three stalled bodies occupy the same bytes. A body that arrives takes them from the slowest one.
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut stream = program.stream().await;
        let head = format!(
            "POST /mutate HTTP/1.1\r\nHost: rolegate\r\nContent-Type: application/json\r\nContent-Length: {LARGE}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; LARGE - 1]).await.unwrap();
        stream.flush().await.unwrap();
        stalled.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(send(&program, "moving", LARGE).await.unwrap(), 200);
    let slow = eventually("a body gives way", || async {
        Some(rejected(&program, "slow-body").await).filter(|count| *count > 0.0)
    })
    .await;
    assert!(slow <= 3.0, "{slow}");
    drop(stalled);

    // More reviews than may be in flight.
    api.fail_gets(Some(Fault::Slow(PATIENCE)));
    let before = rejected(&program, "bytes").await;
    let waiting: Vec<_> = (0..1_100)
        .map(|number| send(&program, &format!("small-{number}"), 0))
        .collect();
    eventually("requests are rejected", || async {
        (rejected(&program, "requests").await >= 2.0).then_some(())
    })
    .await;
    for task in &waiting {
        task.abort();
    }
    api.fail_gets(None);
    assert_eq!(rejected(&program, "bytes").await, before);

    for line in [
        "requests in flight hold too many bytes: further requests get 503",
        "bodies arrive slowly while others need space: the slowest get 503",
        "too many requests are in flight: further requests get 503",
    ] {
        program.wait_for_log(line);
        assert_eq!(program.log_lines(line).len(), 1, "{line}");
    }
    eventually("it is over", || async {
        send(&program, "free", 0).await.unwrap();
        let lines = program.log_lines("requests are no longer rejected");
        let reasons = ["bytes", "requests", "slow-body"].map(|reason| format!("\"{reason}\""));
        let has = |reason: &String| lines.iter().filter(|line| line.contains(reason)).count() == 1;
        reasons.iter().all(has).then_some(())
    })
    .await;
}

/// As many as the admin listener takes.
const ADMIN_CONNECTIONS: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_metrics_do_not_keep_probes_out() {
    let folder = Folder::new();
    let program = Program::serve(&folder, &[]);
    let mut held = Vec::new();
    for _ in 0..ADMIN_CONNECTIONS {
        held.push(unread_metrics(&program).await);
    }
    for _ in 0..10 {
        for path in ["/livez", "/readyz"] {
            let answer = tokio::time::timeout(PATIENCE, program.get(path)).await;
            assert_eq!(answer.expect("no answer").0, 200, "{path}");
        }
    }
    drop(held);
}

/// A connection that asks for more metrics than it has room for, and reads none.
async fn unread_metrics(program: &Program) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let mut stream = socket.connect(program.admin).await.unwrap();
    // Pipelined, so that the responses are larger than the buffers of both sides.
    let requests = "GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n".repeat(200);
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut first))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}
