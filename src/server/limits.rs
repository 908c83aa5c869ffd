//! The server's limits on clients: times, bytes and counts.

use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// The server's limits. [`Limits::default`] is what `rolegate serve` uses; tests shrink them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest TLS handshake, from accept to the last message.
    pub handshake: Duration,
    /// The longest wait for the headers of a request: from its first byte, and on a new connection from the end of the handshake. It does
    /// not apply to a connection that is idle between two requests.
    pub header: Duration,
    /// The longest wait for a request's body, from the end of the headers.
    pub body: Duration,
    /// The largest body in bytes. A pod of 1.2 MB, full of characters that JSON escapes, makes a review of 14.4 MB.
    pub body_bytes: usize,
    /// How many bytes beyond [`Limits::body_bytes`] are read and discarded, so that a client that writes its whole body before it
    /// reads receives the 413 rather than a reset.
    pub drained_bytes: usize,
    /// The bytes of all bodies that are held at the same time. A quarter is for small bodies only.
    pub held_bytes: usize,
    /// Open connections, including those in their handshake. At the limit, an idle connection is closed for a new one.
    pub connections: usize,
    /// The same, of the admin listener.
    pub admin_connections: usize,
    /// Bodies that did not arrive together with the headers and are being read. If there are more, the slowest request is rejected with
    /// 503.
    pub bodies: usize,
    /// Requests between the end of their body and their response; further ones are rejected with 503. A quarter is reserved for small
    /// bodies.
    pub in_flight: usize,
    /// At this age, a connection is closed after its next response, so that load moves to replicas that started later.
    pub age: Duration,
    /// Each connection's age is up to this much shorter or longer, so that clients do not all reconnect at once.
    pub age_jitter: Duration,
    /// How long a connection of that age can wait for its next response before it is closed.
    pub close_grace: Duration,
    /// `--drain`: how long connections and requests are still accepted after SIGTERM, because API servers continue to use pooled
    /// connections to a pod that is terminating.
    pub drain: Duration,
    /// After the drain, the longest wait for requests in flight.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(5),
            body: Duration::from_secs(10),
            body_bytes: 16 * MIB,
            drained_bytes: 16 * MIB,
            held_bytes: 64 * MIB,
            connections: 4096,
            admin_connections: 256,
            bodies: 1024,
            in_flight: 1024,
            age: Duration::from_secs(300),
            age_jitter: Duration::from_secs(30),
            close_grace: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            stop: Duration::from_secs(10),
        }
    }
}
