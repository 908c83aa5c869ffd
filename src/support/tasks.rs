//! Tasks with an owner that stops them and waits until they have ended.

use std::future::Future;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The tasks of a value. Dropping it ends the tasks of [`OwnedTasks::spawn`] without waiting.
#[derive(Debug)]
pub(crate) struct OwnedTasks {
    tracker: TaskTracker,
    end: CancellationToken,
    _end_on_drop: DropGuard,
}

impl OwnedTasks {
    pub(crate) fn new() -> Self {
        let end = CancellationToken::new();
        Self {
            tracker: TaskTracker::new(),
            _end_on_drop: end.clone().drop_guard(),
            end,
        }
    }

    /// For tasks that end by themselves, which [`OwnedTasks::stop`] only waits for.
    pub(crate) fn tracker(&self) -> TaskTracker {
        self.tracker.clone()
    }

    /// Cancelled when the owner ends.
    pub(crate) fn end(&self) -> CancellationToken {
        self.end.clone()
    }

    /// Runs a future until it is done or the owner ends. Must be called within a Tokio runtime.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(self.end.clone().run_until_cancelled_owned(future));
    }

    /// Ends the tasks and waits for their end.
    pub(crate) async fn stop(&self) {
        self.end.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
