//! Logs overload: when clients begin to be rejected, and when that ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::support::state_log::StateLog;

/// An overload is over when no client was refused for this long: at its edge, clients are refused and served in turns.
const QUIET: Duration = Duration::from_secs(10);

/// Whether clients are refused for one reason. The caller logs.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    /// Read for each client that is served.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: StateLog,
    last: Option<Instant>,
}

impl Overload {
    /// A client was refused. True when that is news.
    pub(crate) fn refused(&self) -> bool {
        let mut state = self.state.lock();
        state.last = Some(Instant::now());
        self.is_on.store(true, Ordering::Relaxed);
        state.log.failed()
    }

    /// A client was served. How many were refused, when that is over now.
    pub(crate) fn served(&self) -> Option<u32> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state.lock();
        if state.last.is_some_and(|last| last.elapsed() < QUIET) {
            return None;
        }
        self.is_on.store(false, Ordering::Relaxed);
        state.log.recovered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_overload_is_news_once_and_is_over_after_a_quiet_time() {
        let overload = Overload::default();
        assert_eq!(overload.served(), None);
        assert!(overload.refused());
        assert_eq!(overload.served(), None);
        assert!(!overload.refused());
        tokio::time::advance(QUIET).await;
        assert_eq!(overload.served(), Some(2));
        assert_eq!(overload.served(), None);
        assert!(overload.refused());
    }
}
