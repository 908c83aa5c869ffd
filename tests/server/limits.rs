//! Limits on clients: time, bytes and numbers.

use std::time::Duration;

use rolegate::server::limits::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{NAME, post, read_to_end, roomy, server, soon};

const SHORT: Duration = Duration::from_millis(100);

fn head(more: &str) -> String {
    format!("POST /mutate HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\n{more}\r\n")
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_and_delays_no_other_client() {
    let server = server(Limits {
        handshake: Duration::from_secs(2),
        ..roomy()
    })
    .await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    server.until_open(1).await;
    assert_eq!(server.client().connect().await.post("/mutate", "{}").await.code, 200);
    assert_eq!(read_to_end(&mut silent).await, "");
}

#[tokio::test]
async fn a_request_head_that_never_ends_is_cut() {
    let server = server(Limits {
        header: SHORT,
        ..roomy()
    })
    .await;
    for beginning in ["", "POST /mutate HTTP/1.1\r\nHos"] {
        let mut stream = server.client().stream().await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await;
    }
    server.until_open(0).await;

    // Nor does the second head of a connection, drop by drop.
    let (mut reader, mut writer) = tokio::io::split(server.client().stream().await);
    writer
        .write_all(format!("{}{{}}POST", head("Content-Length: 2\r\n")).as_bytes())
        .await
        .unwrap();
    tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    assert!(read_to_end(&mut reader).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_idle_connection_is_not_cut() {
    let server = server(Limits {
        header: SHORT,
        ..roomy()
    })
    .await;
    let mut connection = server.client().connect().await;
    for _ in 0..3 {
        assert_eq!(connection.post("/mutate", "{}").await.code, 200);
        tokio::time::sleep(SHORT * 2).await;
    }
}

#[tokio::test]
async fn a_body_that_never_ends_gets_a_timeout_status() {
    let server = server(Limits { body: SHORT, ..roomy() }).await;
    for beginning in ["", "{"] {
        let mut stream = server.client().stream().await;
        stream
            .write_all(format!("{}{beginning}", head("Content-Length: 10\r\n")).as_bytes())
            .await
            .unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 408") && answer.contains("\"reason\":\"Timeout\""),
            "{answer}"
        );
    }
    server.until_open(0).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_gets_413_even_if_the_client_writes_it_all_first() {
    let server = server(Limits {
        body_bytes: 1 << 20,
        drained_bytes: 8 << 20,
        ..roomy()
    })
    .await;
    let body = vec![b'x'; 5 << 20];
    let chunk = format!("{:x}\r\n", body.len());
    let bodies = [
        (head(&format!("Content-Length: {}\r\n", body.len())), body.clone()),
        (
            head("Transfer-Encoding: chunked\r\n"),
            [chunk.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat(),
        ),
    ];
    for (head, body) in bodies {
        let mut stream = server.client().stream().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.flush().await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(
            answer.contains("\"reason\":\"RequestEntityTooLarge\"") && answer.contains("1048576 bytes"),
            "{answer}"
        );
    }
    let mut connection = server.client().connect().await;
    assert_eq!(connection.post("/mutate", vec![b'x'; 1 << 20]).await.code, 200);
    connection
        .post("/mutate", vec![b'x'; (1 << 20) + 1])
        .await
        .status(413, "RequestEntityTooLarge");
}

#[tokio::test]
async fn a_client_that_expects_100_continue_is_refused_at_once_whatever_it_asks_for() {
    let server = server(roomy()).await;
    let host = format!("Host: {NAME}");
    let expect = "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    for (request, code) in [
        (format!("POST /nothing HTTP/1.1\r\n{host}\r\n{expect}"), 404),
        (format!("PUT /mutate HTTP/1.1\r\n{host}\r\n{expect}"), 405),
        (
            format!("POST /mutate HTTP/1.1\r\n{host}\r\nContent-Type: text/plain\r\n{expect}"),
            415,
        ),
    ] {
        let mut stream = server.client().stream().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        // `roomy` waits for a body as long as the client here waits for a response.
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_expects_100_continue_is_refused_before_it_sends() {
    let server = server(Limits {
        body_bytes: 100,
        ..roomy()
    })
    .await;
    let mut stream = server.client().stream().await;
    let request = head("Content-Length: 101\r\nExpect: 100-continue\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let mut stream = server.client().stream().await;
    stream
        .write_all(head("Content-Length: 2\r\nExpect: 100-continue\r\n").as_bytes())
        .await
        .unwrap();
    let mut asked = [0; 12];
    soon(stream.read_exact(&mut asked)).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100");
}

#[tokio::test]
async fn all_bodies_together_are_bounded() {
    let server = server(Limits {
        held_bytes: 100_000,
        ..roomy()
    })
    .await;
    let body = vec![b'x'; 60_000];
    let (mut one, mut two) = (server.client().connect().await, server.client().connect().await);
    let held = body.clone();
    let first = tokio::spawn(async move { one.post("/validate/workloads", held).await });
    server.until_waiting(1).await;

    let answer = two.post("/mutate", body.clone()).await;
    answer.status(503, "ServiceUnavailable");
    assert_eq!(
        answer.headers["retry-after"], "1",
        "room comes back; the body is not too large"
    );
    server.let_answer(1);
    assert_eq!(soon(first).await.unwrap().code, 200);
    assert_eq!(server.client().connect().await.post("/mutate", body).await.code, 200);
}

#[tokio::test]
async fn requests_over_the_limit_are_asked_to_retry() {
    let server = server(Limits {
        in_flight: 1,
        ..roomy()
    })
    .await;
    let mut one = server.client().connect().await;
    let first = tokio::spawn(async move { one.post("/validate/workloads", "{}").await });
    server.until_waiting(1).await;

    let mut two = server.client().connect().await;
    let answer = two.post("/mutate", "{}").await;
    answer.status(503, "ServiceUnavailable");
    assert_eq!(answer.headers["retry-after"], "1");

    server.let_answer(1);
    assert_eq!(soon(first).await.unwrap().code, 200);
    assert_eq!(
        two.post("/mutate", "{}").await.code,
        200,
        "the connection is still good"
    );
}

#[tokio::test]
async fn an_old_connection_closes_with_its_next_answer() {
    let server = server(Limits { age: SHORT, ..roomy() }).await;
    let mut connection = server.client().connect().await;
    tokio::time::sleep(SHORT * 3).await;
    let answer = connection.send(post("/mutate", "{}")).await;
    assert_eq!(answer.body, "{}");
    assert!(answer.closes());
    connection.until_closed().await;
    server.until_open(0).await;
}

#[tokio::test]
async fn an_old_connection_that_idles_is_closed() {
    let server = server(Limits {
        age: SHORT,
        close_grace: SHORT,
        ..roomy()
    })
    .await;
    let mut connection = server.client().connect().await;
    connection.until_closed().await;
    server.until_open(0).await;
}
