//! Events for refusals, and for roles that stop trusting a ServiceAccount. `kubectl describe serviceaccount` shows them.
//!
//! When a Job's pod is refused, the refusal is in the Job's own Events, but a pod that a person or an operator creates leaves no trace in
//! the cluster. So each refusal is also reported by an Event (`events.k8s.io/v1`) on the ServiceAccount: one per ServiceAccount and cause
//! in ten minutes, whose series counts the others. A controller retries a refused pod eight times in the first second; this must slow down
//! neither the API server nor an admission.
//!
//! A change of trust that affects running pods ([`Events::record_trust`]) is reported in the same way, with its own limits.
//!
//! [`Events::record`] puts a refusal into a bounded queue and never waits. [`EventWriter::run`] owns everything else: it aggregates the
//! queued refusals (`pending`) and sends one request at a time (`write`), within its rate limit.

mod key;
mod pending;
mod write;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::key::{SeriesKey, Topic};
use self::pending::{Added, Pending};
use self::write::{EventClient, Job, Outcome, Request};
use super::metrics::{EventCounters, EventResult, TrustChange};
use crate::decision::messages;
use crate::kubernetes::service_accounts::ServiceAccounts;
use crate::support::backoff::Backoff;
use crate::support::pace::{Pace, PaceLimit};
use crate::support::state_log::StateLog;
use crate::support::text;
use crate::trust::Cause;

/// The longest note that the API server takes, in bytes.
const NOTE_BYTES: usize = 1024;

/// The longest `reportingInstance` that the API server takes, in bytes.
const INSTANCE_BYTES: usize = 128;

/// The capacity of the queue, about 1.5 MB. It is emptied between requests and during them, so that it fills only when thousands of
/// refusals arrive at once.
const QUEUE: usize = 1024;

/// The pace of writing.
#[derive(Clone, Copy, Debug)]
pub struct EventTiming {
    /// How long a series collects refusals for the same cause.
    pub window: Duration,
    /// How long refusals are collected before a series is updated: at most one PATCH per series in this time.
    pub gather: Duration,
    /// The timeout of a request.
    pub request: Duration,
    /// The longest pause after a first failure. Pauses double with each further failure, and have jitter.
    pub shortest_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// The number of requests in a burst.
    pub burst: u32,
    /// The time between requests after a burst.
    pub refill: Duration,
    /// The number of requests in a burst for one namespace.
    pub namespace_burst: u32,
    /// The time between requests for one namespace after a burst.
    pub namespace_refill: Duration,
    /// How long shutdown waits for refusals that are not reported yet.
    pub ending: Duration,
}

impl Default for EventTiming {
    /// Series of 10 minutes that are updated every 5 seconds at most; 10 requests per second over time, little for an API server, and one
    /// per second for each namespace.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(600),
            gather: Duration::from_secs(5),
            request: Duration::from_secs(5),
            shortest_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            burst: 50,
            refill: Duration::from_millis(100),
            namespace_burst: 25,
            namespace_refill: Duration::from_secs(1),
            ending: Duration::from_secs(2),
        }
    }
}

/// A pod whose creation was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The name of its ServiceAccount.
    pub service_account: &'a str,
    /// The ServiceAccount's uid, if it is known; otherwise the writer reads it, once per series.
    pub uid: Option<&'a Arc<str>>,
    /// Why; none if it could not be determined.
    pub cause: Option<Cause>,
    /// The message that the author of the pod received: the refusal, and the fix on a line of its own.
    pub message: &'a str,
}

/// A role that no longer trusts a ServiceAccount, or trusts it again.
#[derive(Clone, Copy, Debug)]
pub struct TrustChanged<'a> {
    /// The ServiceAccount's namespace.
    pub namespace: &'a str,
    /// Its name.
    pub service_account: &'a str,
    /// What changed.
    pub change: TrustChange,
    /// Of the role and its policy. Replicas that saw the same change have the same number, and so report one Event.
    pub digest: u64,
    /// Why: the message of a refusal, or one line.
    pub message: &'a str,
}

/// Where admissions record refusals.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Queued>,
    counters: EventCounters,
}

/// A refusal in the queue.
#[derive(Debug)]
struct Queued {
    key: SeriesKey,
    uid: Option<Arc<str>>,
    note: Box<str>,
    at: Timestamp,
}

impl Events {
    /// The queue and its writer. `instance` is the name of this replica, usually its pod's.
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
            client: EventClient {
                client,
                accounts,
                instance: text::prefix_bytes(instance, INSTANCE_BYTES).to_owned(),
                window: timing.window,
            },
            pending: Pending::new(&timing),
            timing,
            counters: counters.clone(),
            health: std::array::from_fn(|_| Health::new(&timing)),
            full: StateLog::default(),
        };
        (Self { queue, counters }, writer)
    }

    /// Queues a refusal; never waits.
    pub fn record(&self, refusal: &Refusal<'_>) {
        let key = SeriesKey {
            namespace: refusal.namespace.into(),
            service_account: refusal.service_account.into(),
            topic: Topic::Refused(refusal.cause),
        };
        self.queue(key, refusal.uid.cloned(), refusal.message);
    }

    /// Queues a change of trust; never waits. The writer reads the ServiceAccount's uid.
    pub fn record_trust(&self, changed: &TrustChanged<'_>) {
        let key = SeriesKey {
            namespace: changed.namespace.into(),
            service_account: changed.service_account.into(),
            topic: Topic::Trust {
                change: changed.change,
                digest: changed.digest,
            },
        };
        self.queue(key, None, changed.message);
    }

    fn queue(&self, key: SeriesKey, uid: Option<Arc<str>>, message: &str) {
        let queued = Queued {
            key,
            uid,
            // `kubectl describe` shows a table.
            note: messages::one_line(message, NOTE_BYTES).into(),
            at: Timestamp::now(),
        };
        match self.queue.try_send(queued) {
            // The writer has ended: the process is shutting down.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => self.counters.count(EventResult::Dropped, 1),
        }
    }
}

/// Writes Events. [`EventWriter::run`] must be awaited to its end.
#[derive(Debug)]
pub struct EventWriter {
    refusals: mpsc::Receiver<Queued>,
    client: EventClient,
    pending: Pending,
    timing: EventTiming,
    counters: EventCounters,
    /// Of each kind of [`Request`].
    health: [Health; 3],
    /// Whether there are too many series.
    full: StateLog,
}

impl EventWriter {
    /// Writes until `stop` is cancelled or all [`Events`] are dropped; then writes what is left, for a short time.
    pub async fn run(mut self, stop: CancellationToken) {
        let limit = PaceLimit {
            burst: self.timing.burst,
            refill: self.timing.refill,
        };
        let mut pace = Pace::new(limit, Instant::now());
        loop {
            let now = Instant::now();
            let next_request = self.next_request(&pace, now);
            tokio::select! {
                () = stop.cancelled() => break,
                refusal = self.refusals.recv() => match refusal {
                    Some(refusal) => self.add_all(refusal),
                    None => break,
                },
                () = sleep_until(next_request.unwrap_or(now)), if next_request.is_some() => {
                    let now = Instant::now();
                    if let Some(job) = self.next_job(now) {
                        pace.take(now);
                        self.pending.count_request(&job, now);
                        self.write(job).await;
                    }
                }
            }
        }
        self.finish().await;
    }

    /// Sends one request, and keeps emptying the queue.
    async fn write(&mut self, job: Job) {
        let request = job.request();
        let client = self.client.clone();
        let mut work = std::pin::pin!(tokio::time::timeout(self.timing.request, async {
            client.write(&job).await
        }));
        let mut is_open = true;
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                refusal = self.refusals.recv(), if is_open => match refusal {
                    Some(refusal) => self.add_all(refusal),
                    None => is_open = false,
                },
            }
        };
        let outcome = outcome.unwrap_or_else(|_| Outcome::Failed("no response in time".to_owned()));
        self.account_for(&job, request, outcome);
    }

    fn account_for(&mut self, job: &Job, request: Request, outcome: Outcome) {
        let now = Instant::now();
        let Some(health) = self.health.get_mut(request as usize) else {
            return;
        };
        match &outcome {
            Outcome::Failed(why) => {
                self.counters.count(EventResult::Failed, 1);
                health.failed(request, why, now);
            }
            Outcome::Rejected(why) => {
                self.counters.count(EventResult::Failed, 1);
                warn!(
                    namespace = &*job.key.namespace,
                    service_account = &*job.key.service_account,
                    "cannot report this ServiceAccount's {} by Events: {why}",
                    job.key.topic
                );
            }
            Outcome::NoObject | Outcome::Uid(_) => health.succeeded(request),
            Outcome::Reached { result, .. } => {
                if let Some(result) = result {
                    self.counters.count(*result, 1);
                }
                health.succeeded(request);
            }
        }
        self.pending.record_outcome(job, outcome, now);
    }

    /// Adds this refusal and all that are queued: many refusals are added in one go.
    fn add_all(&mut self, refusal: Queued) {
        self.add(refusal);
        while let Ok(refusal) = self.refusals.try_recv() {
            self.add(refusal);
        }
    }

    fn add(&mut self, refusal: Queued) {
        let party = Box::<str>::from(self.client.accounts.party(&refusal.key.namespace));
        match self.pending.add(refusal, &party, Instant::now()) {
            Added::ToSeries => {}
            Added::NewSeries => {
                self.full.recovered();
            }
            Added::Full => {
                self.counters.count(EventResult::Dropped, 1);
                if self.full.failed() {
                    warn!(
                        "too many ServiceAccounts have refused pods or changes of trust; further ones of these namespaces are not reported by Events"
                    );
                }
            }
        }
    }

    /// When to send the next request; none while there is nothing to write.
    fn next_request(&self, pace: &Pace, now: Instant) -> Option<Instant> {
        let due = self.pending.due(now, |request| {
            self.health.get(request as usize).and_then(|health| health.paused_until)
        })?;
        Some(due.max(pace.next(now)))
    }

    fn next_job(&self, now: Instant) -> Option<Job> {
        self.pending.next(now, |request| {
            self.health.get(request as usize).and_then(|health| health.paused_until)
        })
    }

    /// Writes what is not reported yet, without waiting until it is due.
    async fn finish(mut self) {
        let deadline = Instant::now() + self.timing.ending;
        while let Ok(refusal) = self.refusals.try_recv() {
            self.add_all(refusal);
        }
        // A request that failed is not repeated.
        for mut job in self.pending.unreported() {
            loop {
                let Ok(outcome) = timeout_at(deadline, self.client.write(&job)).await else {
                    return;
                };
                let key = job.key.clone();
                let request = job.request();
                self.account_for(&job, request, outcome);
                // A name that is taken and an unknown uid require a further request.
                match self.pending.job(&key) {
                    Some(next) if (&next.stage, &next.uid) != (&job.stage, &job.uid) => job = next,
                    _ => break,
                }
            }
        }
    }
}

/// Whether one kind of request works, and until when it is paused after a failure.
#[derive(Debug)]
struct Health {
    log: StateLog,
    backoff: Backoff,
    paused_until: Option<Instant>,
}

impl Health {
    fn new(timing: &EventTiming) -> Self {
        Self {
            log: StateLog::default(),
            backoff: Backoff::new(timing.shortest_pause, timing.longest_pause),
            paused_until: None,
        }
    }

    fn failed(&mut self, request: Request, why: &str, now: Instant) {
        if self.log.failed() {
            warn!("cannot {request}, retrying: {why}");
        }
        self.paused_until = Some(now + self.backoff.next());
    }

    fn succeeded(&mut self, request: Request) {
        self.paused_until = None;
        if self.log.recovered().is_some() {
            self.backoff.reset();
            info!("can {request} again");
        }
    }
}
