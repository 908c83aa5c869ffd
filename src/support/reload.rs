//! Content that is read again while serving: from files at an interval, or from an object whenever it changes.
//!
//! After an edit that cannot be used, the last good content stays in use. The edit is logged and counted once, however often it is read.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at};

/// How often role files, manifests and credentials are read again, so that an edit takes effect soon; certificates have an interval of
/// their own (`certs::files`).
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// The time within which a file that is being written is expected to change again.
const SETTLING: Duration = Duration::from_millis(20);

/// How often files may change while they are read before they are taken as they are.
const SETTLE_ATTEMPTS: usize = 5;

/// Where content is read from, and how it is understood.
pub(crate) trait Source: Send + Sync + 'static {
    /// What is compared to detect an edit: the bytes, since a mounted ConfigMap or Secret changes by a swap of symbolic links.
    type Content: PartialEq + Send;
    /// What is made of it.
    type Value: Send + Sync;
    /// Why it cannot be used: one line that names the file.
    type Error: Display;

    /// Its name in log lines.
    fn name(&self) -> String;
    /// Reads the content. Blocks.
    fn read(&self) -> Result<Self::Content, Self::Error>;
    /// Checks and converts the content.
    fn parse(&self, content: &Self::Content) -> Result<Self::Value, Self::Error>;
    /// The same at the start, when there is no last good content that would be better.
    fn parse_first(&self, content: &Self::Content) -> Result<Self::Value, Self::Error> {
        self.parse(content)
    }
}

/// The value of a source that is read again.
#[derive(Debug)]
pub(crate) struct Reloaded<S: Source> {
    source: S,
    last: LastGood<S::Value, S::Content>,
}

/// The result of reading again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// The content is the same.
    Unchanged,
    /// There is a new value.
    Changed,
    /// The content cannot be read or used; the previous value is kept.
    Failed,
}

impl<S: Source> Reloaded<S> {
    /// Reads the source for the first time.
    ///
    /// # Errors
    /// There is no last good content yet: what is wrong with it.
    pub(crate) fn load(source: S) -> Result<Arc<Self>, S::Error> {
        let content = source.read()?;
        let value = source.parse_first(&content)?;
        Ok(Arc::new(Self {
            last: LastGood::new(source.name(), value, content),
            source,
        }))
    }

    /// The last good value.
    pub(crate) fn value(&self) -> Arc<S::Value> {
        self.last.value()
    }

    /// The last good value, for a short look.
    pub(crate) fn peek(&self) -> Guard<Arc<S::Value>> {
        self.last.peek()
    }

    /// The number of edits that could not be used.
    pub(crate) fn failures(&self) -> u64 {
        self.last.failures()
    }

    /// Changes with each new value.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.last.changes()
    }

    /// Where it is read from.
    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    /// Reads again, on a thread that may block.
    pub(crate) async fn reload(self: &Arc<Self>) -> Reload {
        let this = Arc::clone(self);
        // It is cancelled only when the runtime ends.
        tokio::task::spawn_blocking(move || this.reload_now())
            .await
            .unwrap_or(Reload::Unchanged)
    }

    /// Reads again at this interval until dropped, and calls `changed` with each new value.
    pub(crate) async fn poll(self: Arc<Self>, every: Duration, changed: impl Fn(&S::Value)) {
        let every = every.max(Duration::from_millis(1));
        let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.reload().await == Reload::Changed {
                changed(&self.peek());
            }
        }
    }

    /// An editor empties a file before it writes it, and some files belong together: different content is read again until it is the
    /// same twice.
    fn reload_now(&self) -> Reload {
        let read = || self.source.read().map_err(|error| error.to_string());
        let mut now = read();
        if self.last.is_same(&now) {
            return Reload::Unchanged;
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
        self.last.update(now, |content| {
            self.source.parse(content).map_err(|error| error.to_string())
        })
    }
}

/// The last good value, and the content that was seen last.
#[derive(Debug)]
pub(crate) struct LastGood<T, C> {
    name: String,
    value: ArcSwap<T>,
    seen: Mutex<Result<C, String>>,
    version: watch::Sender<u64>,
    failures: AtomicU64,
}

impl<T, C: PartialEq> LastGood<T, C> {
    /// Starts with a value and the content it was made of. `name` is its name in log lines.
    pub(crate) fn new(name: String, value: T, content: C) -> Self {
        Self {
            name,
            value: ArcSwap::from_pointee(value),
            seen: Mutex::new(Ok(content)),
            version: watch::Sender::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// The last good value.
    pub(crate) fn value(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// The last good value, for a short look.
    pub(crate) fn peek(&self) -> Guard<Arc<T>> {
        self.value.load()
    }

    /// Changes with each new value.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The number of edits that could not be used.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn is_same(&self, now: &Result<C, String>) -> bool {
        *self.seen.lock() == *now
    }

    /// Compares the content with what was seen last, and parses it when it differs.
    pub(crate) fn update(&self, now: Result<C, String>, parse: impl FnOnce(&C) -> Result<T, String>) -> Reload {
        let mut seen = self.seen.lock();
        if *seen == now {
            return Reload::Unchanged;
        }
        let parsed = match &now {
            Ok(content) => parse(content),
            Err(why) => Err(why.clone()),
        };
        *seen = now;
        match parsed {
            Ok(value) => {
                self.value.store(Arc::new(value));
                self.version.send_modify(|version| *version += 1);
                tracing::info!("reloaded {}", self.name);
                Reload::Changed
            }
            Err(why) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("failed to reload {}; keeping the previous contents: {why}", self.name);
                Reload::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content that a test edits; what begins with `good` can be used.
    struct Edited(Mutex<Vec<Result<&'static str, &'static str>>>);

    impl Edited {
        /// Each read returns the next of these; the last one remains.
        fn will_read(&self, reads: &[Result<&'static str, &'static str>]) {
            *self.0.lock() = reads.iter().rev().copied().collect();
        }
    }

    impl Source for Edited {
        type Content = &'static str;
        type Value = String;
        type Error = String;

        fn name(&self) -> String {
            "test content".to_owned()
        }

        fn read(&self) -> Result<&'static str, String> {
            let mut reads = self.0.lock();
            let read = if reads.len() > 1 {
                reads.pop().unwrap()
            } else {
                reads[0]
            };
            read.map_err(str::to_owned)
        }

        fn parse(&self, content: &&'static str) -> Result<String, String> {
            let good = content.starts_with("good").then(|| (*content).to_owned());
            good.ok_or_else(|| "it is not good".to_owned())
        }
    }

    fn loaded() -> Arc<Reloaded<Edited>> {
        Reloaded::load(Edited(Mutex::new(vec![Ok("good 1")]))).unwrap()
    }

    #[test]
    fn an_edit_is_taken_or_counted_once_and_the_last_good_value_stays() {
        let content = loaded();
        for (step, (read, expected, value, failures)) in [
            (Ok("good 1"), Reload::Unchanged, "good 1", 0),
            (Ok("good 2"), Reload::Changed, "good 2", 0),
            (Ok("bad"), Reload::Failed, "good 2", 1),
            (Ok("bad"), Reload::Unchanged, "good 2", 1),
            (Ok("worse"), Reload::Failed, "good 2", 2),
            (Err("missing"), Reload::Failed, "good 2", 3),
            (Err("missing"), Reload::Unchanged, "good 2", 3),
            (Ok("good 2"), Reload::Changed, "good 2", 3),
            (Ok("good 2"), Reload::Unchanged, "good 2", 3),
        ]
        .into_iter()
        .enumerate()
        {
            content.source().will_read(&[read]);
            assert_eq!(content.reload_now(), expected, "step {step}");
            assert_eq!((content.peek().as_str(), content.failures()), (value, failures));
        }
    }

    #[test]
    fn content_that_is_being_written_is_read_until_it_is_the_same_twice() {
        let content = loaded();
        content.source().will_read(&[Ok(""), Ok("ba"), Ok("good 2")]);
        assert_eq!(content.reload_now(), Reload::Changed);
        assert_eq!((content.peek().as_str(), content.failures()), ("good 2", 0));
    }

    #[test]
    fn there_is_nothing_to_keep_at_the_start() {
        for read in [Ok("bad"), Err("missing")] {
            assert!(Reloaded::load(Edited(Mutex::new(vec![read]))).is_err());
        }
    }

    #[tokio::test]
    async fn polling_reports_each_new_value() {
        let content = loaded();
        content.source().will_read(&[Ok("good 2")]);
        let (send, mut received) = tokio::sync::mpsc::unbounded_channel();
        let poll = Arc::clone(&content).poll(Duration::from_millis(1), move |value| send.send(value.clone()).unwrap());
        tokio::select! {
            () = poll => panic!("polling ended"),
            value = received.recv() => assert_eq!(value.as_deref(), Some("good 2")),
        }
        assert!(received.try_recv().is_err());
    }
}
