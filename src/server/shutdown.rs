//! The three ages of the process: it serves, it drains, it stops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

// 0 is serving.
const DRAINING: u8 = 1;
const STOPPING: u8 = 2;

/// Where the process is in its life. Clones share one life; it only ever moves forward.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    // Read once a request: an atomic, because asking a `CancellationToken` takes a lock.
    age: AtomicU8,
    draining: CancellationToken,
    stopping: CancellationToken,
}

impl Lifecycle {
    /// A life that begins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// SIGTERM came: not ready any more; each connection closes after its next answer.
    pub fn drain(&self) {
        self.0.age.fetch_max(DRAINING, Ordering::SeqCst);
        self.0.draining.cancel();
    }

    /// The drain is over: what is idle closes now.
    pub fn stop(&self) {
        self.drain();
        self.0.age.fetch_max(STOPPING, Ordering::SeqCst);
        self.0.stopping.cancel();
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.age.load(Ordering::Relaxed) >= DRAINING
    }

    /// Whether the drain is over.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.age.load(Ordering::Relaxed) >= STOPPING
    }

    /// Resolves when the drain begins.
    pub async fn drained(&self) {
        self.0.draining.cancelled().await;
    }

    /// Resolves when the drain is over.
    pub async fn stopped(&self) {
        self.0.stopping.cancelled().await;
    }
}

/// How a process that was told to end has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order: it drained, and its last answers went out.
    InOrder,
    /// At once, on a second signal.
    AtOnce,
}

/// The signals that end the process: SIGTERM, which Kubernetes sends, and SIGINT, which a terminal does.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from their default, which would end the process on the spot.
    ///
    /// # Errors
    /// The operating system does not let us.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs `work` (all servers of the process) until a signal came and what follows from it is done: `life` drains for
/// `drain`, then stops, and `work` ends of itself. A second signal does not wait for any of that.
pub async fn run_until_signalled(
    life: &Lifecycle,
    drain: Duration,
    mut signal: impl AsyncFnMut(),
    work: impl Future<Output = ()>,
) -> Ending {
    let orderly = async {
        let shut_down = async {
            life.drained().await;
            info!(drain = ?drain, "shutting down: not ready any more, closing each connection after its next answer");
            tokio::time::sleep(drain).await;
            life.stop();
        };
        tokio::join!(work, shut_down);
    };
    let mut orderly = std::pin::pin!(orderly);
    tokio::select! {
        () = &mut orderly => return Ending::InOrder,
        () = signal() => life.drain(),
    }
    tokio::select! {
        () = orderly => Ending::InOrder,
        () = signal() => {
            info!("a second signal: ending at once");
            Ending::AtOnce
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_only_moves_forward() {
        let life = Lifecycle::new();
        assert!(!life.is_draining());
        life.stop();
        life.drain();
        assert!(life.is_draining() && life.is_stopping());
    }
}
