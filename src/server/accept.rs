//! The server: accepts, hands each connection to a task of its own, and ends in order.
//!
//! It knows nothing of reviews; a [`Service`] does. Nothing here waits for a client except in that client's own task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::connection::drive;
use super::limits::Limits;
use super::shutdown::Lifecycle;

/// A response: one write, whole.
pub type Reply = Response<Full<Bytes>>;

/// What answers the requests of all connections.
pub trait Service: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> impl Future<Output = Reply> + Send;
}

/// What the connections of a listener speak.
#[derive(Clone)]
pub enum Transport {
    /// HTTPS.
    Tls(TlsAcceptor),
    /// HTTP, for the admin server.
    Plain,
}

/// How many connections are open. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<AtomicUsize>);

impl Connections {
    /// Those open now, in their handshake or beyond.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn enter(&self, limit: usize) -> Option<Open> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let open = Open(self.clone());
        (before < limit).then_some(open)
    }
}

/// One open connection, counted until it is dropped.
struct Open(Connections);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a listener until `life` stops, and returns when every connection is closed. While `life` drains, connections are
/// still accepted, and each closes after its next answer.
pub async fn serve<S: Service>(
    listener: TcpListener,
    transport: Transport,
    service: Arc<S>,
    limits: Arc<Limits>,
    life: Lifecycle,
    connections: Connections,
) {
    let tasks = TaskTracker::new();
    let mut accepting = Accepting::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = life.stopped() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accepting.failed(&error).await;
                continue;
            }
        };
        accepting.succeeded();
        let Some(open) = connections.enter(limits.connections) else {
            debug!(%peer, limit = limits.connections, "closed a connection at accept: too many are open");
            continue;
        };
        let (transport, service, limits, life) = (transport.clone(), service.clone(), limits.clone(), life.clone());
        tasks.spawn(async move {
            let _open = open;
            connection(stream, peer, transport, service, limits, life).await;
        });
    }
    drop(listener);
    tasks.close();
    // Each connection closes itself within `limits.stop`; the second more is for one that a handler blocks.
    if timeout(limits.stop + Duration::from_secs(1), tasks.wait())
        .await
        .is_err()
    {
        warn!(left = tasks.len(), "connections were still open at the end");
    }
}

async fn connection<S: Service>(
    stream: TcpStream,
    peer: SocketAddr,
    transport: Transport,
    service: Arc<S>,
    limits: Arc<Limits>,
    life: Lifecycle,
) {
    // An answer is one write; waiting for more to send only delays it.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let ended = match transport {
        Transport::Plain => drive(stream, peer, service, &limits, &life).await,
        Transport::Tls(acceptor) => {
            let handshake = timeout(limits.handshake, acceptor.accept(stream));
            let stream = tokio::select! {
                stream = handshake => stream,
                () = life.stopped() => return,
            };
            match stream {
                Ok(Ok(stream)) => drive(stream, peer, service, &limits, &life).await,
                Ok(Err(error)) => {
                    debug!(%peer, %error, "the TLS handshake failed");
                    return;
                }
                Err(_) => {
                    debug!(%peer, "the TLS handshake took too long");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "the connection ended early");
    }
}

/// How accepting goes. Errors of accept (too many open files, for one) pass; what helps is to wait a little, and what a
/// log needs is the change, not each failure.
#[derive(Debug, Default)]
struct Accepting {
    failures: u32,
}

impl Accepting {
    async fn failed(&mut self, error: &io::Error) {
        // These concern the one connection that was about to be accepted.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        ) {
            return;
        }
        if self.failures == 0 {
            warn!(%error, "cannot accept connections; trying on");
        }
        let pause = Duration::from_millis(5) * 2_u32.pow(self.failures.min(7));
        self.failures = self.failures.saturating_add(1);
        sleep(pause).await;
    }

    fn succeeded(&mut self) {
        if self.failures > 0 {
            info!(failures = self.failures, "accepting connections again");
            self.failures = 0;
        }
    }
}
