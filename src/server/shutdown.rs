//! Shutdown: the process serves, then drains, then stops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
#[cfg(unix)]
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

    /// Begins to drain: no longer ready, and each connection closes after its next response.
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

/// Why a process exits before it has shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forced {
    /// A second signal was received.
    SecondSignal,
    /// The shutdown took too long: something is blocked.
    TimedOut,
}

/// The signals of the process: SIGTERM, which Kubernetes sends, and SIGINT, which a terminal does, shut it down. SIGHUP, SIGUSR1 and
/// SIGUSR2, which would end it without a drain, have no effect.
///
/// They are received by a thread that does nothing else: whatever blocks the others, it forces the exit.
#[derive(Debug)]
pub(crate) struct Signals(CancellationToken);

impl Signals {
    /// Replaces the signals' default action, which ends the process immediately. Calls `exit` for a second signal, and `limit` after the
    /// first if the process still exists.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(crate) fn listen(limit: Duration, exit: impl FnOnce(Forced) + Send + 'static) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let shutdown = CancellationToken::new();
        let mut receiver = {
            let _within = runtime.enter();
            Receiver::new()?
        };
        let first = shutdown.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            exit(runtime.block_on(forced(&first, limit, async || receiver.next().await)));
        })?;
        Ok(Self(shutdown))
    }

    /// Resolves when the first signal has been received.
    pub(crate) async fn shutdown(&self) {
        self.0.cancelled().await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    Shutdown,
    #[cfg_attr(not(unix), expect(dead_code, reason = "other systems have no such signals"))]
    Ignored(&'static str),
}

#[cfg(unix)]
struct Receiver {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

#[cfg(unix)]
impl Receiver {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::Shutdown,
            _ = self.interrupt.recv() => Received::Shutdown,
            _ = self.hangup.recv() => Received::Ignored("SIGHUP"),
            _ = self.user1.recv() => Received::Ignored("SIGUSR1"),
            _ = self.user2.recv() => Received::Ignored("SIGUSR2"),
        }
    }
}

/// Ctrl+C.
#[cfg(not(unix))]
struct Receiver(tokio::signal::windows::CtrlC);

#[cfg(not(unix))]
impl Receiver {
    fn new() -> io::Result<Self> {
        Ok(Self(tokio::signal::windows::ctrl_c()?))
    }

    async fn next(&mut self) -> Received {
        self.0.recv().await;
        Received::Shutdown
    }
}

/// Resolves when the exit must be forced. Cancels `shutdown` on the first signal.
async fn forced(shutdown: &CancellationToken, limit: Duration, mut next: impl AsyncFnMut() -> Received) -> Forced {
    let timed_out = async {
        shutdown.cancelled().await;
        tokio::time::sleep(limit).await;
    };
    let mut timed_out = std::pin::pin!(timed_out);
    loop {
        let received = tokio::select! {
            () = &mut timed_out => return Forced::TimedOut,
            received = next() => received,
        };
        match received {
            Received::Ignored(name) => info!("{name} has no effect; files are reloaded when they change"),
            Received::Shutdown if shutdown.is_cancelled() => return Forced::SecondSignal,
            Received::Shutdown => shutdown.cancel(),
        }
    }
}

/// Runs `work` (all servers of the process) until `signal`: then `life` drains for `drain` and stops, which ends `work`.
pub async fn run_until_signalled(
    life: &Lifecycle,
    drain: Duration,
    signal: impl Future<Output = ()>,
    work: impl Future<Output = ()>,
) {
    let orderly = async {
        let shut_down = async {
            life.drained().await;
            info!(drain = ?drain, "shutting down: not ready, closing each connection after its next response");
            tokio::time::sleep(drain).await;
            life.stop();
        };
        tokio::join!(work, shut_down);
    };
    let mut orderly = std::pin::pin!(orderly);
    tokio::select! {
        () = &mut orderly => return,
        () = signal => life.drain(),
    }
    orderly.await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    #[test]
    fn the_lifecycle_only_moves_forward() {
        let life = Lifecycle::new();
        assert!(!life.is_draining());
        life.stop();
        life.drain();
        assert!(life.is_draining() && life.is_stopping());
    }

    /// What forces the exit after these signals, and whether the process was shut down before.
    async fn forced_by(signals: &[Received]) -> (Option<Forced>, bool) {
        let shutdown = CancellationToken::new();
        let (send, mut receive) = unbounded_channel();
        for received in signals {
            send.send(*received).unwrap();
        }
        let forced = forced(&shutdown, Duration::from_secs(20), async || {
            receive.recv().await.unwrap()
        });
        // Time is paused, and passes when there is nothing else to do.
        let forced = tokio::time::timeout(Duration::from_secs(3600), forced).await;
        (forced.ok(), shutdown.is_cancelled())
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_or_a_long_shutdown_forces_the_exit() {
        let (ignored, end) = (Received::Ignored("SIGHUP"), Received::Shutdown);
        assert_eq!(forced_by(&[ignored, ignored]).await, (None, false));
        assert_eq!(forced_by(&[ignored, end]).await, (Some(Forced::TimedOut), true));
        assert_eq!(forced_by(&[end, ignored]).await, (Some(Forced::TimedOut), true));
        assert_eq!(
            forced_by(&[end, ignored, end]).await,
            (Some(Forced::SecondSignal), true)
        );
    }
}
