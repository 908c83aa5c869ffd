//! What is served, and what is not.

use tokio::io::AsyncWriteExt as _;

use crate::rig::{NAME, post, read_to_end, roomy, server};

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken() {
    let server = server(roomy()).await;
    const ONLY: [&[&rustls::SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];
    for versions in ONLY {
        let mut connection = server.client().speaking(versions).connect().await;
        assert_eq!(connection.post("/mutate?timeout=5s", "{}").await.body, "{}");
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = server(roomy()).await;
    let mut connection = server.client().connect().await;
    for size in [0, 1, 4_000, 9_000, 70_000, 1_500_000, 15_000_000, 2] {
        let body = "x".repeat(size);
        let answer = connection.post("/mutate/warn", body.clone()).await;
        assert_eq!(answer.code, 200);
        assert!(answer.body == body, "{size} bytes came back as {}", answer.body.len());
        assert!(!answer.closes());
    }
    assert_eq!(server.connections.open(), 1);
}

#[tokio::test]
async fn bodies_arrive_whole_however_they_are_split() {
    let server = server(roomy()).await;
    let mut stream = server.client().stream().await;
    let head = format!("POST /mutate HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\n");
    let pieces = [
        head.clone(),
        "Transfer-Encoding: chunked\r\n\r\n4\r\nab".to_owned(),
        "cd\r\n3\r\n".to_owned(),
        "efg\r\n0\r\n\r\n".to_owned(),
        format!("{head}Connection: close\r\nContent-Length: 4\r\n\r\nwx"),
        "yz".to_owned(),
    ];
    for piece in pieces {
        stream.write_all(piece.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let answers = read_to_end(&mut stream).await;
    assert!(answers.contains("abcdefg") && answers.ends_with("wxyz"), "{answers}");
}

#[tokio::test]
async fn what_is_not_served_gets_a_status_that_says_so() {
    let server = server(roomy()).await;
    let mut connection = server.client().connect().await;

    let answer = connection.post("/", "{}").await;
    assert!(answer.status(404, "NotFound").contains("/mutate"), "{answer:?}");

    let mut get = post("/mutate", "");
    *get.method_mut() = hyper::Method::GET;
    let answer = connection.send(get).await;
    answer.status(405, "MethodNotAllowed");
    assert_eq!(answer.headers["allow"], "POST");

    let mut yaml = post("/mutate", "kind: AdmissionReview");
    yaml.headers_mut()
        .insert("content-type", "application/yaml".parse().unwrap());
    let answer = connection.send(yaml).await;
    assert!(answer.status(415, "UnsupportedMediaType").contains("application/json"));

    // The connection is still good after each of them.
    assert_eq!(connection.post("/mutate", "{}").await.code, 200);
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_not_a_review() {
    let server = server(roomy()).await;
    let mut stream = server.client().stream().await;
    let text = format!(
        "POST /mutate HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("\"Status\""),
        "{answer}"
    );
}
