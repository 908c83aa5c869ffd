//! No client keeps others out: not by connections that it holds, not by bodies that it does not send.

use std::sync::Arc;
use std::time::Duration;

use rolegate::server::descriptors;
use rolegate::server::limits::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::rig::{Client, Connection, NAME, plain_server, post, read_to_end, roomy, server, soon};

const HOLDER: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

/// Connections that each sent one request and stay open.
async fn hold(client: &Client, count: usize) -> Vec<Connection> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = client.connect().await;
        assert_eq!(connection.post("/mutate", "{}").await.code, 200);
        held.push(connection);
    }
    held
}

/// Begins a request whose body of `length` bytes stops after `sent` bytes.
async fn stall(client: &Client, length: usize, sent: usize) -> TlsStream<TcpStream> {
    let mut stream = client.stream().await;
    let head = format!(
        "POST /mutate HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; sent]).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_of_one_address_give_way_to_those_of_another() {
    let limits = Limits {
        connections: 64,
        ..roomy()
    };
    let server = server(limits).await;
    let holder = server.client().from(HOLDER);
    let mut pooled = hold(&server.client().from(OTHER), 1).await;
    // More than the limit: the connections of the address that holds most are closed, not that of the other address, which has been idle
    // longest.
    let held = hold(&holder, 80).await;
    for _ in 0..20 {
        assert!(server.client().from(OTHER).is_served().await);
    }
    assert_eq!(pooled[0].post("/mutate", "{}").await.code, 200);
    assert!(server.connections.open() <= 64 + 64 / 8 + 5);
    let [unused, idle, refused] = server.connections.closed();
    assert_eq!((unused, refused), (("unused", 0), ("refused", 0)));
    assert!(idle.1 >= 17, "{idle:?}");
    drop(held);
}

#[tokio::test]
async fn a_connection_that_never_completed_a_request_gives_way_first() {
    let server = server(Limits {
        connections: 3,
        ..roomy()
    })
    .await;
    let mut used = hold(&server.client(), 2).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    server.until_open(3).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(server.client().is_served().await);
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(server.connections.closed()[0], ("unused", 1));
    for connection in &mut used {
        assert_eq!(connection.post("/mutate", "{}").await.code, 200);
    }
}

#[tokio::test]
async fn a_connection_with_a_request_in_flight_never_gives_way() {
    let server = server(Limits {
        connections: 2,
        ..roomy()
    })
    .await;
    let mut answers = Vec::new();
    for waiting in 1..=2 {
        let mut connection = server.client().connect().await;
        answers.push(tokio::spawn(async move {
            connection.post("/validate/workloads", "{}").await.code
        }));
        server.until_waiting(waiting).await;
    }
    assert!(!server.client().is_served().await);
    assert_eq!(server.connections.closed()[2], ("refused", 1));
    server.let_answer(2);
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap(), 200);
    }
    assert!(server.client().is_served().await);
}

#[tokio::test]
async fn plain_connections_that_were_used_once_give_way_too() {
    let server = plain_server(Limits {
        connections: 50,
        ..roomy()
    })
    .await;
    async fn ask(stream: &mut TcpStream) -> String {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        match soon(stream.read_exact(&mut answer)).await {
            Ok(_) => String::from_utf8(answer).unwrap(),
            Err(error) => error.to_string(),
        }
    }
    let mut held = Vec::new();
    for _ in 0..60 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(ask(&mut stream).await, "HTTP/1.1 404");
        held.push(stream);
    }
    assert!(server.connections.closed()[1].1 >= 10);
}

#[tokio::test]
async fn stalled_bodies_do_not_keep_ordinary_reviews_out() {
    let limits = Limits {
        body_bytes: 1 << 20,
        held_bytes: 4 << 20,
        ..roomy()
    };
    let server = server(limits).await;
    let client = server.client();
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(stall(&client, 1 << 20, (1 << 20) - 10).await);
    }
    let mut connection = client.connect().await;
    for _ in 0..50 {
        assert_eq!(connection.post("/mutate", vec![b'x'; 4_000]).await.code, 200);
    }
    // A large one takes the bytes of one that has stalled.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(connection.post("/mutate", vec![b'x'; 1 << 20]).await.code, 200);
    let reads = stalled.iter_mut().map(|stream| {
        Box::pin(async move {
            let mut first = [0; 12];
            stream.read_exact(&mut first).await.unwrap();
            first
        })
    });
    let (first, ..) = soon(futures::future::select_all(reads)).await;
    assert_eq!(&first, b"HTTP/1.1 503");
}

#[tokio::test]
async fn bodies_of_which_one_byte_arrived_do_not_keep_ordinary_reviews_out() {
    let limits = Limits {
        bodies: 20,
        in_flight: 20,
        ..roomy()
    };
    let server = server(limits).await;
    let client = server.client();
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(stall(&client, 1000, 1).await);
    }
    let mut connection = client.connect().await;
    for _ in 0..50 {
        assert_eq!(connection.post("/mutate", "{}").await.code, 200);
    }
    // A body that comes in pieces takes the place of the slowest.
    let mut pieces = stall(&client, 1000, 500).await;
    let answers = stalled.iter_mut().map(|stream| Box::pin(read_to_end(stream)));
    let (answer, ..) = soon(futures::future::select_all(answers)).await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"),
        "{answer}"
    );
    pieces.write_all(&[b'x'; 500]).await.unwrap();
    let mut first = [0; 12];
    soon(pieces.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

/// Few descriptors mean few connections. If as many bodies as connections could be read, all would have a request in flight.
#[tokio::test]
async fn bodies_of_which_one_byte_arrived_do_not_take_all_connections_where_descriptors_are_few() {
    let limits = descriptors::fit(roomy(), Some(400));
    assert!(limits.connections < 100, "{limits:?}");
    let server = server(limits.clone()).await;
    let holder = server.client().from(HOLDER);
    let mut stalled = Vec::new();
    for _ in 0..limits.connections {
        stalled.push(stall(&holder, 1000, 1).await);
    }
    for _ in 0..20 {
        assert!(server.client().from(OTHER).is_served().await);
    }
    assert_eq!(server.connections.closed()[2], ("refused", 0));
}

#[tokio::test]
async fn a_quarter_of_the_requests_in_flight_is_for_small_reviews() {
    let server = Arc::new(
        server(Limits {
            in_flight: 4,
            ..roomy()
        })
        .await,
    );
    let mut answers = Vec::new();
    for waiting in 1..=3 {
        let mut connection = server.client().connect().await;
        answers.push(tokio::spawn(async move {
            connection
                .send(post("/validate/workloads", vec![b'x'; 100_000]))
                .await
                .code
        }));
        server.until_waiting(waiting).await;
    }
    let mut connection = server.client().connect().await;
    connection
        .post("/mutate", vec![b'x'; 100_000])
        .await
        .status(503, "ServiceUnavailable");
    assert_eq!(connection.post("/mutate", "{}").await.code, 200);
    server.let_answer(3);
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap(), 200);
    }
}
