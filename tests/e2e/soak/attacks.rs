//! Clients that hold connections, do not send their bodies, or forge reviews.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use super::client::{Client, connect_from, server_name};
use super::honest::Honest;
use crate::release::Release;
use crate::reviews::{applied, creation, job_pod};

const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const IDLE_CONNECTIONS: usize = 4300;
const ADMIN_CONNECTIONS: usize = 4096;
const SMALL_BODIES: usize = 1024;
const LARGE_BODIES: usize = 4;
const LARGE_BODY: usize = 16 << 20;

/// Descriptors of the test process for everything else.
const OTHER_DESCRIPTORS: usize = 1000;

/// Connections that are being opened at the same time, per replica.
const OPENERS: usize = 8;

/// Between two forged reviews of one client.
const FORGERY_INTERVAL: Duration = Duration::from_millis(20);

const REFUSAL_INTERVAL: Duration = Duration::from_millis(4);

/// Clients that send reviews, per replica.
const FLOODERS: usize = 4;

/// The longest that an attacker waits for anything.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Attackers {
    clients: Vec<Client>,
    admins: Vec<SocketAddr>,
    runtime: Runtime,
}

impl Attackers {
    pub(crate) fn new(release: &Release, honest: &Honest) -> Self {
        let replicas = release.replicas();
        let clients: Vec<_> = replicas
            .iter()
            .map(|replica| Client {
                trust: honest.trust.clone(),
                source: SOURCE,
                target: replica.ports["8443"],
            })
            .collect();
        raise_descriptors(OTHER_DESCRIPTORS + IDLE_CONNECTIONS * clients.len());
        Self {
            clients,
            admins: replicas.iter().map(|replica| replica.admin).collect(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// Connections that each completed one request.
    pub(crate) fn hold_idle_connections(&self, end: Instant) {
        self.on_each(end, |client| hold(IDLE_CONNECTIONS, move || idle(client.clone())));
    }

    pub(crate) fn hold_admin_connections(&self, end: Instant) {
        self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for admin in self.admins.clone() {
                tasks.spawn(hold(ADMIN_CONNECTIONS, move || idle_admin(admin)));
            }
            sleep(end.saturating_duration_since(Instant::now())).await;
        });
    }

    /// Bodies of which one byte arrives, again when they are answered.
    pub(crate) fn stall_small_bodies(&self, end: Instant) {
        self.stall(end, SMALL_BODIES, 1000, 1);
    }

    pub(crate) fn stall_large_bodies(&self, end: Instant) {
        self.stall(end, LARGE_BODIES, LARGE_BODY, LARGE_BODY - 10);
    }

    fn stall(&self, end: Instant, count: usize, length: usize, sent: usize) {
        self.on_each(end, |client| async move {
            let mut tasks = JoinSet::new();
            for _ in 0..count {
                let client = client.clone();
                tasks.spawn(async move {
                    loop {
                        // Rejected or closed: it begins again.
                        if let Ok(Ok(mut stream)) = timeout(PATIENCE, stall(&client, length, sent)).await {
                            let _ = timeout(PATIENCE, stream.read(&mut [0; 1024])).await;
                        }
                        sleep(Duration::from_millis(200)).await;
                    }
                });
            }
            tasks.join_all().await;
        });
    }

    /// Reviews that no API server sent: pods of namespaces that do not exist, and ServiceAccounts with unknown roles.
    pub(crate) fn forge_reviews(&self, end: Instant) {
        self.flood(end, FORGERY_INTERVAL, forged);
    }

    /// Pods that are refused, each with a line in the log.
    pub(crate) fn cause_refusals(&self, end: Instant, namespace: &str, service_account: &str) {
        let review = Bytes::from(creation(&job_pod(namespace, service_account)).to_string());
        self.flood(end, REFUSAL_INTERVAL, move |_| ("/mutate/enforce", review.clone()));
    }

    fn flood(
        &self,
        end: Instant,
        pause: Duration,
        review: impl Fn(usize) -> (&'static str, Bytes) + Clone + Send + 'static,
    ) {
        self.on_each(end, |client| {
            let review = review.clone();
            async move {
                let mut tasks = JoinSet::new();
                for _ in 0..FLOODERS {
                    tasks.spawn(flood(client.clone(), pause, review.clone()));
                }
                tasks.join_all().await;
            }
        });
    }

    /// Runs an attack on each replica until the end; its connections are closed then.
    fn on_each<F>(&self, end: Instant, attack: impl Fn(Client) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for client in self.clients.clone() {
                tasks.spawn(attack(client));
            }
            sleep(end.saturating_duration_since(Instant::now())).await;
            // Dropping it aborts the attacks.
        });
    }
}

/// With fewer descriptors, the attacks would not take all connections.
fn raise_descriptors(required: usize) {
    let required = u64::try_from(required).unwrap();
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= required) {
        return;
    }
    let raised = Rlimit {
        current: Some(required),
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        panic!("the attacks require {required} open files ({error}): raise the limit (ulimit -Hn)");
    }
}

/// Opens so many connections, some at a time, and keeps those that could be opened.
async fn hold<T, F>(count: usize, open: impl Fn() -> F + Clone + Send + 'static)
where
    T: Send + 'static,
    F: Future<Output = std::io::Result<T>> + Send + 'static,
{
    let opened = Arc::new(AtomicUsize::new(0));
    let mut openers = JoinSet::new();
    for _ in 0..OPENERS {
        let (open, opened) = (open.clone(), Arc::clone(&opened));
        openers.spawn(async move {
            let mut held = Vec::new();
            while opened.fetch_add(1, Ordering::Relaxed) < count {
                if let Ok(Ok(connection)) = timeout(PATIENCE, open()).await {
                    held.push(connection);
                }
            }
            std::future::pending::<()>().await;
            drop(held);
        });
    }
    openers.join_all().await;
}

async fn idle(client: Client) -> std::io::Result<TlsStream<TcpStream>> {
    let mut stream = client.stream().await?;
    stream.write_all(head(2).as_bytes()).await?;
    stream.write_all(b"{}").await?;
    stream.flush().await?;
    let _ = stream.read(&mut [0; 1024]).await?;
    Ok(stream)
}

async fn idle_admin(admin: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = connect_from(SOURCE, admin).await?;
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await?;
    let _ = stream.read(&mut [0; 1024]).await?;
    Ok(stream)
}

fn head(length: usize) -> String {
    format!(
        "POST /mutate/enforce HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
        server_name()
    )
}

/// Begins a request whose body of `length` bytes stops after `sent` bytes.
async fn stall(client: &Client, length: usize, sent: usize) -> std::io::Result<TlsStream<TcpStream>> {
    let mut stream = client.stream().await?;
    stream.write_all(head(length).as_bytes()).await?;
    let piece = vec![b'x'; sent.min(1 << 20)];
    let mut left = sent;
    while left > 0 {
        let next = left.min(piece.len());
        stream.write_all(&piece[..next]).await?;
        left -= next;
    }
    stream.flush().await?;
    Ok(stream)
}

async fn flood(client: Client, pause: Duration, review: impl Fn(usize) -> (&'static str, Bytes)) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut connection = None;
    loop {
        let (path, body) = review(NEXT.fetch_add(1, Ordering::Relaxed));
        if connection.is_none() {
            connection = timeout(PATIENCE, client.connect()).await.ok().and_then(Result::ok);
        }
        if let Some(open) = &mut connection {
            let answer = timeout(PATIENCE, open.post(path, body)).await;
            if !matches!(answer, Ok(Ok(_))) {
                connection = None;
            }
        }
        sleep(pause).await;
    }
}

fn forged(number: usize) -> (&'static str, Bytes) {
    let (namespace, account) = (format!("forged-{number}"), format!("account-{number}"));
    let (path, review) = if number.is_multiple_of(2) {
        ("/mutate/enforce", creation(&job_pod(&namespace, &account)))
    } else {
        let role = format!("arn:aws:iam::444455556666:role/forged-{number}");
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {
                "name": account, "namespace": namespace,
                "annotations": {"eks.amazonaws.com/role-arn": role},
            },
        });
        let review = applied("", "v1", "ServiceAccount", "serviceaccounts", &account);
        ("/validate/workloads", review)
    };
    (path, Bytes::from(review.to_string()))
}
