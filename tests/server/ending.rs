//! How a server ends.

use std::time::Duration;

use rolegate::server::limits::Limits;
use rolegate::server::shutdown::{Lifecycle, run_until_signalled};

use crate::rig::{roomy, server, soon};

#[tokio::test]
async fn while_it_drains_it_serves_and_closes_each_connection_after_its_answer() {
    let server = server(roomy()).await;
    let (mut pooled, mut idle) = (server.client().connect().await, server.client().connect().await);
    assert!(!pooled.post("/mutate", "{}").await.closes());
    assert!(!idle.post("/mutate", "{}").await.closes());

    server.life.drain();
    let answer = pooled.post("/mutate", "{}").await;
    assert_eq!(answer.body, "{}");
    assert!(answer.closes());
    pooled.until_closed().await;
    let answer = server.client().connect().await.post("/mutate", "{}").await;
    assert_eq!(
        (answer.code, answer.closes()),
        (200, true),
        "new connections are accepted still"
    );
    assert!(!server.task.is_finished());

    server.life.stop();
    idle.until_closed().await;
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn requests_in_flight_at_shutdown_are_answered() {
    let server = server(roomy()).await;
    let mut connection = server.client().connect().await;
    let in_flight = tokio::spawn(async move { connection.post("/validate/workloads", "{}").await });
    server.until_waiting(1).await;
    server.life.stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!server.task.is_finished());
    server.let_answer(1);
    let answer = soon(in_flight).await.unwrap();
    assert_eq!((answer.code, answer.closes()), (200, true));
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn nothing_delays_shutdown_forever() {
    let server = server(Limits {
        stop: Duration::from_millis(50),
        ..roomy()
    })
    .await;
    let mut connection = server.client().connect().await;
    tokio::spawn(async move { connection.post("/validate/workloads", "{}").await });
    let _silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    server.until_waiting(1).await;
    server.life.stop();
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn a_signal_drains_and_then_stops() {
    let life = Lifecycle::new();
    let ending = run_until_signalled(&life, Duration::from_millis(20), async {}, life.stopped());
    soon(ending).await;
    assert!(life.is_draining() && life.is_stopping());
}
