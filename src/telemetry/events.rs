//! Events of refusals: what `kubectl describe serviceaccount` shows.
//!
//! A Job that is refused has the refusal in its own events, but a pod that a person or an operator creates leaves no trace
//! in the cluster. So each refusal is also told of by an Event (`events.k8s.io/v1`) about the ServiceAccount: one for a
//! ServiceAccount and a cause in ten minutes, whose series then counts the rest. A controller tries a refused pod again
//! eight times in the first second; neither the API server nor an admission may feel that.
//!
//! [`Events::record`] puts a refusal into a bounded queue and never waits. [`EventWriter::run`] owns everything else: it
//! adds up what the queue brings (`ledger`) and makes one request at a time (`write`), at its own pace.

mod ledger;
mod write;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::ledger::{Heard, Key, Ledger};
use self::write::{Job, Outcome, Request, Writing};
use super::metrics::{EventCounters, EventResult};
use crate::decision::messages;
use crate::kubernetes::service_accounts::ServiceAccounts;
use crate::support::text;
use crate::trust::Cause;

/// The longest note that the API server takes, in bytes.
const NOTE_BYTES: usize = 1024;

/// The longest `reportingInstance` that the API server takes, in bytes.
const INSTANCE_BYTES: usize = 128;

/// Refusals that may wait for the writer; some 1.5 MB at most. It takes them up between two requests as well as during one,
/// so the queue fills only when thousands come at once.
const QUEUE: usize = 1024;

/// How often and how much is written.
#[derive(Clone, Copy, Debug)]
pub struct EventTiming {
    /// For so long after it began, a series takes up what else is refused for the same cause.
    pub window: Duration,
    /// How long refusals gather before a series is updated: at most one PATCH of a series in this time.
    pub gather: Duration,
    /// Time for one request.
    pub request: Duration,
    /// The pause after a request that failed; doubled with each that follows.
    pub shortest_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// Requests that may follow each other without a pause.
    pub burst: u32,
    /// The time in which one more becomes possible after a burst.
    pub refill: Duration,
    /// The longest that the end waits for what is not written yet.
    pub ending: Duration,
}

impl Default for EventTiming {
    /// Series of 10 minutes, updated every 5 seconds at most; 10 requests a second over time, which no API server notices.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(600),
            gather: Duration::from_secs(5),
            request: Duration::from_secs(5),
            shortest_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            burst: 50,
            refill: Duration::from_millis(100),
            ending: Duration::from_secs(2),
        }
    }
}

/// A pod that was refused and was to be created.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The name of its ServiceAccount.
    pub service_account: &'a str,
    /// The ServiceAccount's uid, when it was asked for; else the writer asks for it, once a series.
    pub uid: Option<&'a Arc<str>>,
    /// Why; none when nothing could be known.
    pub cause: Option<Cause>,
    /// What the author read: the refusal, and the way out on a line of its own.
    pub message: &'a str,
}

/// The side of the Events that admissions tell of refusals.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Noted>,
    counters: EventCounters,
}

/// A refusal as it waits in the queue.
#[derive(Debug)]
struct Noted {
    key: Key,
    uid: Option<Arc<str>>,
    note: Box<str>,
    at: Timestamp,
}

impl Events {
    /// Both sides. `instance` is this process's name among the replicas, usually the pod's.
    #[must_use]
    pub fn new(
        client: kube::Client,
        accounts: Arc<ServiceAccounts>,
        instance: &str,
        timing: EventTiming,
        counters: EventCounters,
    ) -> (Self, EventWriter) {
        let (queue, refusals) = mpsc::channel(QUEUE);
        let writer = EventWriter {
            refusals,
            writing: Writing {
                client,
                accounts,
                instance: text::prefix_bytes(instance, INSTANCE_BYTES).to_owned(),
                window: timing.window,
            },
            ledger: Ledger::new(timing.window, timing.gather),
            timing,
            counters: counters.clone(),
            trouble: [Trouble::default(), Trouble::default(), Trouble::default()],
            losing: false,
        };
        (Self { queue, counters }, writer)
    }

    /// Queues a refusal; never waits.
    pub fn record(&self, refusal: &Refusal<'_>) {
        let noted = Noted {
            key: Key {
                namespace: refusal.namespace.into(),
                service_account: refusal.service_account.into(),
                cause: refusal.cause,
            },
            uid: refusal.uid.cloned(),
            // `kubectl describe` shows a table.
            note: messages::one_line(refusal.message, NOTE_BYTES).into(),
            at: Timestamp::now(),
        };
        match self.queue.try_send(noted) {
            // Nobody listens any more: the process ends.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => self.counters.count(EventResult::Dropped, 1),
        }
    }
}

/// The side that writes Events. [`EventWriter::run`] must be awaited to its end.
#[derive(Debug)]
pub struct EventWriter {
    refusals: mpsc::Receiver<Noted>,
    writing: Writing,
    ledger: Ledger,
    timing: EventTiming,
    counters: EventCounters,
    /// Of each [`Request`].
    trouble: [Trouble; 3],
    losing: bool,
}

impl EventWriter {
    /// Writes until `stop` is cancelled or nobody can refuse any more; then writes what is left, for a short time.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut allowance = Allowance::new(&self.timing);
        loop {
            let now = Instant::now();
            let wake = self.wake(&allowance, now);
            tokio::select! {
                () = stop.cancelled() => break,
                noted = self.refusals.recv() => match noted {
                    Some(noted) => self.heed(noted),
                    None => break,
                },
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {
                    if let Some(job) = self.next_job(Instant::now()) {
                        allowance.take(Instant::now());
                        self.write(job).await;
                    }
                }
            }
        }
        self.finish().await;
    }

    /// Makes one request; what is refused meanwhile is added up.
    async fn write(&mut self, job: Job) {
        let request = job.request();
        let writing = self.writing.clone();
        let mut work = std::pin::pin!(tokio::time::timeout(self.timing.request, async {
            writing.write(&job).await
        }));
        let mut open = true;
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                noted = self.refusals.recv(), if open => match noted {
                    Some(noted) => self.heed(noted),
                    None => open = false,
                },
            }
        };
        let outcome = outcome.unwrap_or_else(|_| Outcome::Failed("no answer in time".to_owned()));
        self.account_for(&job, request, outcome);
    }

    fn account_for(&mut self, job: &Job, request: Request, outcome: Outcome) {
        let now = Instant::now();
        let Some(trouble) = self.trouble.get_mut(request as usize) else {
            return;
        };
        match &outcome {
            Outcome::Failed(why) => {
                self.counters.count(EventResult::Failed, 1);
                trouble.failed(request, why, &self.timing, now);
            }
            Outcome::Impossible(why) => {
                self.counters.count(EventResult::Failed, 1);
                warn!(
                    namespace = &*job.key.namespace,
                    service_account = &*job.key.service_account,
                    "no Event tells of this ServiceAccount's refused pods: {why}"
                );
            }
            Outcome::Pointless | Outcome::Account(_) => trouble.succeeded(request),
            Outcome::Now { result, .. } => {
                if let Some(result) = result {
                    self.counters.count(*result, 1);
                }
                trouble.succeeded(request);
            }
        }
        self.ledger.settle(job, outcome, now);
    }

    /// Adds up what waits, this one first: a storm is added up in one go.
    fn heed(&mut self, noted: Noted) {
        self.add_up(noted);
        while let Ok(noted) = self.refusals.try_recv() {
            self.add_up(noted);
        }
    }

    fn add_up(&mut self, noted: Noted) {
        match self.ledger.heed(noted, Instant::now()) {
            Heard::Counted => {}
            Heard::Begun => self.losing = false,
            Heard::Full => {
                self.counters.count(EventResult::Dropped, 1);
                if !std::mem::replace(&mut self.losing, true) {
                    warn!("pods of too many ServiceAccounts are refused; no Events tell of further ones");
                }
            }
        }
    }

    /// When the next request is to be made; none while there is nothing to write.
    fn wake(&self, allowance: &Allowance, now: Instant) -> Option<Instant> {
        let due = self
            .ledger
            .due(|request| self.trouble.get(request as usize).and_then(|trouble| trouble.until))?;
        Some(due.max(allowance.next(now)))
    }

    fn next_job(&self, now: Instant) -> Option<Job> {
        self.ledger.next(now, |request| {
            self.trouble.get(request as usize).and_then(|trouble| trouble.until)
        })
    }

    /// Writes what is known and not written, without waiting for its time.
    async fn finish(mut self) {
        let deadline = Instant::now() + self.timing.ending;
        while let Ok(noted) = self.refusals.try_recv() {
            self.heed(noted);
        }
        // A request that failed is not made again.
        for mut job in self.ledger.unwritten() {
            loop {
                let Ok(outcome) = timeout_at(deadline, self.writing.write(&job)).await else {
                    return;
                };
                let key = job.key.clone();
                let request = job.request();
                self.account_for(&job, request, outcome);
                // A name that is taken, or an unknown uid, needs a further step.
                match self.ledger.job(&key) {
                    Some(next) if (&next.stage, &next.uid) != (&job.stage, &job.uid) => job = next,
                    _ => break,
                }
            }
        }
    }
}

/// What is wrong with one kind of request, said when it changes.
#[derive(Debug, Default)]
struct Trouble {
    pause: Duration,
    until: Option<Instant>,
}

impl Trouble {
    fn failed(&mut self, request: Request, why: &str, timing: &EventTiming, now: Instant) {
        if self.until.is_none() {
            warn!("cannot {request} of refusals: {why}");
        }
        self.pause = (self.pause * 2).clamp(timing.shortest_pause, timing.longest_pause);
        self.until = Some(now + self.pause);
    }

    fn succeeded(&mut self, request: Request) {
        if self.until.take().is_some() {
            self.pause = Duration::ZERO;
            info!("can {request} of refusals again");
        }
    }
}

/// How many requests may be made now: a burst, and then one in a while.
#[derive(Debug)]
struct Allowance {
    /// When the whole burst is possible again.
    full_at: Instant,
    refill: Duration,
    burst: Duration,
}

impl Allowance {
    fn new(timing: &EventTiming) -> Self {
        Self {
            full_at: Instant::now(),
            refill: timing.refill,
            burst: timing.refill * timing.burst.max(1),
        }
    }

    /// When the next request is possible.
    fn next(&self, now: Instant) -> Instant {
        let latest = now + self.burst - self.refill;
        now + self.full_at.saturating_duration_since(latest)
    }

    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.refill;
    }
}
