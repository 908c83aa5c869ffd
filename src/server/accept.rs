//! The accept loop: passes each connection to its own task, and shuts down gracefully.
//!
//! It serves any [`tower::Service`]. Nothing here waits for a client except in that client's own task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::BoxError;
use tracing::{debug, info, warn};

use super::connection::{HttpService, drive};
use super::connections::{Connections, Place};
use super::limits::Limits;
use super::shutdown::Lifecycle;
use crate::support::backoff::Backoff;
use crate::support::platform;
use crate::support::state_log::StateLog;

/// What the connections of a listener speak.
#[derive(Clone)]
pub enum Transport {
    /// HTTPS.
    Tls(TlsAcceptor),
    /// HTTP, for the admin server.
    Plain,
}

/// A listener and how its connections are driven.
pub struct Server {
    /// Accepts.
    pub listener: TcpListener,
    /// What the connections speak.
    pub transport: Transport,
    /// What each client may ask of it.
    pub limits: Arc<Limits>,
    /// When it drains and stops.
    pub life: Lifecycle,
    /// Those open.
    pub connections: Connections,
}

impl Server {
    /// Serves until the life stops, and returns when every connection is closed. While it drains, connections are still
    /// accepted, and each closes after its next response. `service` makes the service of one peer's connection.
    pub async fn serve<S, B>(self, service: impl Fn(SocketAddr) -> S)
    where
        S: HttpService<B>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let Self {
            listener,
            transport,
            limits,
            life,
            connections,
        } = self;
        let tasks = TaskTracker::new();
        let mut accepting = Accepting::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = life.stopped() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    accepting.failed(&error, &connections).await;
                    continue;
                }
            };
            accepting.succeeded();
            let Some(place) = connections.admit(peer) else { continue };
            let (transport, service, limits, life) = (transport.clone(), service(peer), limits.clone(), life.clone());
            tasks.spawn(connection(stream, peer, place, transport, service, limits, life));
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
}

async fn connection<S, B>(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    transport: Transport,
    service: S,
    limits: Arc<Limits>,
    life: Lifecycle,
) where
    S: HttpService<B>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    // A response is one write; waiting for more to send only delays it.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "failed to set TCP_NODELAY");
    }
    let ended = match transport {
        Transport::Plain => drive(stream, service, place.activity(), &limits, &life).await,
        Transport::Tls(acceptor) => {
            let handshake = timeout(limits.handshake, acceptor.accept(stream));
            let stream = tokio::select! {
                stream = handshake => stream,
                () = life.stopped() => return,
                () = place.activity().chosen() => return,
            };
            match stream {
                Ok(Ok(stream)) => drive(stream, service, place.activity(), &limits, &life).await,
                Ok(Err(error)) => {
                    debug!(%peer, %error, "TLS handshake failed");
                    return;
                }
                Err(_) => {
                    debug!(%peer, "TLS handshake timed out");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "connection ended early");
    }
}

/// How accepting goes. Errors of accept pass; what helps is to wait a little and, when descriptors ran out, to close a connection that is
/// not in use.
#[derive(Debug)]
struct Accepting {
    state: StateLog,
    backoff: Backoff,
}

/// The pause after the first of several errors.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

impl Accepting {
    fn new() -> Self {
        Self {
            state: StateLog::default(),
            backoff: Backoff::new(FIRST_PAUSE, Duration::from_secs(1)),
        }
    }

    async fn failed(&mut self, error: &io::Error, connections: &Connections) {
        // These concern the one connection that was about to be accepted.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        ) {
            return;
        }
        if self.state.failed() {
            warn!(
                %error, open = connections.open(),
                "failed to accept connections; retrying. If file descriptors ran out, unused and idle connections are closed"
            );
        }
        if platform::is_out_of_descriptors(error) && connections.release_descriptor() {
            // The connection's task closes it in a moment.
            sleep(FIRST_PAUSE).await;
            return;
        }
        sleep(self.backoff.next()).await;
    }

    fn succeeded(&mut self) {
        if let Some(failures) = self.state.recovered() {
            info!(failures, "accepting connections again");
            self.backoff.reset();
        }
    }
}
