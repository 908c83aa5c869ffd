//! What is read from files and ConfigMaps while serving: the last good content stays, a bad edit is said once and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

/// The time in which a file that is being written is expected to change again.
const SETTLING: Duration = Duration::from_millis(20);

/// How often a file may change while it is read before it is taken as it is.
const SETTLE_ATTEMPTS: usize = 5;

/// The value last read well, and what was read last.
#[derive(Debug)]
pub(crate) struct LastGood<T, S> {
    /// Named in log lines.
    what: String,
    value: ArcSwap<T>,
    seen: Mutex<Result<S, String>>,
    failures: AtomicU64,
}

/// What a refresh came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// The source reads as before.
    Unchanged,
    /// There is a new value.
    Changed,
    /// The source cannot be read or understood; the old value stays.
    Failed,
}

impl<T, S: PartialEq> LastGood<T, S> {
    /// Starts with a value, and the source it was read from.
    pub(crate) fn new(what: String, value: T, seen: S) -> Self {
        Self {
            what,
            value: ArcSwap::from_pointee(value),
            seen: Mutex::new(Ok(seen)),
            failures: AtomicU64::new(0),
        }
    }

    /// The value last read well.
    pub(crate) fn value(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// A look at the value, without keeping it.
    pub(crate) fn peek(&self) -> arc_swap::Guard<Arc<T>> {
        self.value.load()
    }

    /// How many edits were bad: each counts once, however often it is read.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// As [`LastGood::refresh`], for files, which an editor empties before it writes: what differs is read again until it
    /// reads the same twice. Blocks; at most [`SETTLING`] as often as [`SETTLE_ATTEMPTS`] says.
    pub(crate) fn refresh_settled(
        &self,
        read: impl Fn() -> Result<S, String>,
        parse: impl FnOnce(&S) -> Result<T, String>,
    ) -> Refreshed {
        let mut now = read();
        if *self.seen.lock().unwrap_or_else(PoisonError::into_inner) == now {
            return Refreshed::Unchanged;
        }
        for _ in 0..SETTLE_ATTEMPTS {
            std::thread::sleep(SETTLING);
            let again = read();
            let settled = again == now;
            now = again;
            if settled {
                break;
            }
        }
        self.refresh(now, parse)
    }

    /// Compares what the source holds now with what it held, and parses it when it differs.
    pub(crate) fn refresh(&self, now: Result<S, String>, parse: impl FnOnce(&S) -> Result<T, String>) -> Refreshed {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Refreshed::Unchanged;
        }
        let parsed = match &now {
            Ok(source) => parse(source),
            Err(why) => Err(why.clone()),
        };
        *seen = now;
        match parsed {
            Ok(value) => {
                self.value.store(Arc::new(value));
                tracing::info!("read {} anew", self.what);
                Refreshed::Changed
            }
            Err(why) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    "cannot use {} as changed, the last good content stays in use: {why}",
                    self.what
                );
                Refreshed::Failed
            }
        }
    }
}
