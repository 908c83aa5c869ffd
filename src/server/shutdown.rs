//! Shutdown: the process serves, then drains, then stops.

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

/// The state of the process. Clones share it, and it only moves forward.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    // Read once per request: an atomic, because a `CancellationToken` takes a lock.
    age: AtomicU8,
    draining: CancellationToken,
    stopping: CancellationToken,
}

impl Lifecycle {
    /// Serving.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to drain: no longer ready, and each connection closes after its next answer.
    pub fn drain(&self) {
        self.0.age.fetch_max(DRAINING, Ordering::SeqCst);
        self.0.draining.cancel();
    }

    /// Ends the drain: idle connections close now.
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
    pub(crate) async fn drained(&self) {
        self.0.draining.cancelled().await;
    }

    /// Resolves when the drain is over.
    pub async fn stopped(&self) {
        self.0.stopping.cancelled().await;
    }
}

/// How a process ended after a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Gracefully: it drained, and its last answers were sent.
    Graceful,
    /// Immediately, on a second signal.
    Immediate,
}

/// The signals that end the process: SIGTERM, which Kubernetes sends, and SIGINT, which a terminal does.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Replaces the signals' default action, which ends the process immediately.
    ///
    /// # Errors
    /// The operating system refuses.
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

/// Runs `work` (all servers of the process) until a signal arrives: then `life` drains for `drain` and stops, which ends `work`. A
/// second signal does not wait for any of that.
pub async fn run_until_signalled(
    life: &Lifecycle,
    drain: Duration,
    mut signal: impl AsyncFnMut(),
    work: impl Future<Output = ()>,
) -> Ending {
    let orderly = async {
        let shut_down = async {
            life.drained().await;
            info!(drain = ?drain, "shutting down: not ready, closing each connection after its next answer");
            tokio::time::sleep(drain).await;
            life.stop();
        };
        tokio::join!(work, shut_down);
    };
    let mut orderly = std::pin::pin!(orderly);
    tokio::select! {
        () = &mut orderly => return Ending::Graceful,
        () = signal() => life.drain(),
    }
    tokio::select! {
        () = orderly => Ending::Graceful,
        () = signal() => {
            info!("second signal received: exiting immediately");
            Ending::Immediate
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifecycle_only_moves_forward() {
        let life = Lifecycle::new();
        assert!(!life.is_draining());
        life.stop();
        life.drain();
        assert!(life.is_draining() && life.is_stopping());
    }
}
