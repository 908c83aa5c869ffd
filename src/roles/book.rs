//! The role book: what was read of each role, how old it is, and when it is read again.
//!
//! [`Book::stored`] answers from memory and never waits; it is on the path of every pod. [`Book::entry`] and
//! [`Book::fresh`] read when memory is not enough. At most one read of a role is under way at a time: whoever needs it
//! shares it, and it goes on as long as anybody does. [`Book::run`] (`keeper`) keeps the book: it drives reads to their end
//! when those who began them have left, reads ahead what ServiceAccounts name, and refreshes what is in use.
//!
//! A failed read never removes what is known: the old copy serves until it is too old. What an answer means is not the
//! book's affair.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::{Notify, mpsc};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::age::{Age, backoff};
use super::observe::{ReadObserver, ReadResult, RoleState, RoleSummary};
use super::pacer::{Lane, Pacer};
use super::shelf::{Shelf, Slot, Standing};
use super::source::{Answer, Pace, RoleDocument, RoleSource, SourceHealth};
use crate::iam::{Policy, RoleArn};

/// How the book ages.
#[derive(Clone, Debug)]
pub struct BookSettings {
    /// `--trust-ttl`: how long a copy is fresh (60 s).
    pub ttl: Duration,
    /// `--trust-max-stale`: how old a copy may serve (1 h).
    pub max_stale: Duration,
    /// `--trust-read-timeout`: the longest wait of an admission (700 ms).
    pub read_timeout: Duration,
    /// How many roles are kept (bounded).
    pub capacity: usize,
}

/// What is known of a role's trust.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Its policy.
    Policy {
        /// Parsed.
        policy: Arc<Policy>,
        /// The role's tags, when given.
        tags: Option<Arc<[(String, String)]>>,
    },
    /// It does not exist.
    NoSuchRole {
        /// What may have been meant: one line, e.g. that a role of that name exists under another path.
        hint: Option<Arc<str>>,
    },
    /// It was read, and its document breaks IAM's grammar: one line that says how. At admission as good as unknown.
    Malformed(Arc<str>),
    /// It could not be read, or is too old: one line that says why.
    Unknown(Arc<str>),
}

/// An answer of the book.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is known.
    pub trust: Trust,
    /// When it was read; none when it never was.
    pub read_at: Option<Instant>,
    /// The source that told it.
    pub source: Option<&'static str>,
}

/// A copy this young is as good as a read of now: an edit of a trust policy takes longer to reach every part of AWS.
const AS_GOOD_AS_NOW: Duration = Duration::from_secs(5);

/// The longest that one source may take for one role, whoever still waits for it.
const LONGEST_READ: Duration = Duration::from_secs(10);

/// How many unfinished reads the keeper takes over at most; more are driven by those who wait for them alone.
pub(super) const ADOPTED_READS: usize = 1024;

/// This many failed reads in a row are the source's fault rather than that of a role.
const FAILING: u32 = 3;

/// The role book.
#[derive(Debug)]
pub struct Book {
    pub(super) core: Arc<Core>,
}

impl Book {
    /// An empty book over sources, asked in this order.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn RoleSource>>, settings: BookSettings) -> Arc<Self> {
        Self::observed(sources, settings, Arc::new(()))
    }

    /// An empty book whose reads somebody counts.
    #[must_use]
    pub fn observed(
        sources: Vec<Arc<dyn RoleSource>>,
        settings: BookSettings,
        observer: Arc<dyn ReadObserver>,
    ) -> Arc<Self> {
        let sources = sources
            .into_iter()
            .map(|source| Reader {
                pacer: match source.pace() {
                    Pace::Memory => None,
                    Pace::Remote { per_second } => Some(Pacer::new(per_second)),
                },
                source,
                failures: AtomicU32::new(0),
            })
            .collect();
        let shelf = Shelf::new(settings.capacity);
        Arc::new(Self {
            core: Arc::new(Core {
                sources,
                settings,
                observer,
                shelf,
                opened: Instant::now(),
                nudge: Notify::new(),
                adopter: Mutex::new(None),
            }),
        })
    }

    /// From memory when it may still serve (fresh or stale); never waits. None: unseen or too old.
    #[must_use]
    pub fn stored(&self, role: &RoleArn) -> Option<Entry> {
        let now = Instant::now();
        self.core.shelf.look(role, |slot| self.core.serve(slot, now)).flatten()
    }

    /// From memory, else read once, coalesced, by `deadline` (and the read timeout).
    pub async fn entry(&self, role: &RoleArn, deadline: Instant) -> Entry {
        if let Some(entry) = self.stored(role) {
            return entry;
        }
        let arrived = Instant::now();
        let limit = self.core.limit(arrived, deadline);
        let slot = self.core.place(role, Standing::Unwanted, arrived);
        match self.core.read_by(&slot, limit).await {
            Ok(told) => told.entry(),
            Err(reason) => Entry::unknown(reason),
        }
    }

    /// Read afresh before a refusal, unless the copy is under 5 s old. A read that fails is `Unknown`.
    pub async fn fresh(&self, role: &RoleArn, deadline: Instant) -> Entry {
        let arrived = Instant::now();
        let limit = self.core.limit(arrived, deadline);
        let slot = self.core.place(role, Standing::Unwanted, arrived);
        // A read that began before the question came may have seen the policy of before the edit that the question is about.
        let young_enough = |begun: Instant| begun + AS_GOOD_AS_NOW > arrived;
        if let Some(held) = slot.held.load().as_deref().filter(|held| young_enough(held.begun)) {
            return held.entry();
        }
        loop {
            match self.core.read_by(&slot, limit).await {
                Err(reason) => return Entry::unknown(reason),
                Ok(told) if young_enough(told.begun()) => return told.entry(),
                // It shared a read that had begun long ago; the next one is new.
                Ok(_) => {}
            }
        }
    }

    /// What the book holds, sorted by ARN: the page `/roles`.
    #[must_use]
    pub fn snapshot(&self) -> Vec<RoleSummary> {
        let now = Instant::now();
        let mut summaries = Vec::with_capacity(self.core.shelf.len());
        self.core
            .shelf
            .for_each(|slot| summaries.extend(self.core.summary(slot, now)));
        summaries.sort_unstable_by(|left, right| left.arn.cmp(&right.arn));
        summaries
    }

    /// How well each source keeps up with what it watches: for metrics.
    #[must_use]
    pub fn sources(&self) -> Vec<(&'static str, SourceHealth)> {
        self.core
            .sources
            .iter()
            .map(|reader| (reader.source.name(), reader.source.health()))
            .collect()
    }

    /// How many roles are in each state: the metric `role_book_roles`.
    #[must_use]
    pub fn counts(&self) -> [(RoleState, usize); 4] {
        let now = Instant::now();
        let mut counts = RoleState::ALL.map(|state| (state, 0));
        self.core.shelf.for_each(|slot| {
            let state = self.core.state(slot, now);
            for (counted, count) in &mut counts {
                *count += usize::from(Some(*counted) == state);
            }
        });
        counts
    }
}

impl Entry {
    fn unknown(reason: Arc<str>) -> Self {
        Self {
            trust: Trust::Unknown(reason),
            read_at: None,
            source: None,
        }
    }
}

/// What the book and its keeper share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) sources: Vec<Reader>,
    pub(super) settings: BookSettings,
    pub(super) observer: Arc<dyn ReadObserver>,
    pub(super) shelf: Shelf,
    opened: Instant,
    /// A stale copy is in use and nobody reads it again.
    pub(super) nudge: Notify,
    /// Where reads go on when nobody waits for them any more; none while no keeper runs.
    pub(super) adopter: Mutex<Option<mpsc::Sender<Flight>>>,
}

/// A source and its pace.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) source: Arc<dyn RoleSource>,
    /// None for a source that answers from memory.
    pub(super) pacer: Option<Pacer>,
    /// Failed reads in a row, of whatever roles.
    failures: AtomicU32,
}

/// An answer that the book keeps.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) trust: Trust,
    pub(super) source: Option<&'static str>,
    /// The place of the source among the sources; past the last when none of them knew the role.
    pub(super) order: usize,
    /// When its read began. A copy's age counts from here: what the source saw is at least this young.
    pub(super) begun: Instant,
}

impl Held {
    fn entry(&self) -> Entry {
        Entry {
            trust: self.trust.clone(),
            read_at: Some(self.begun),
            source: self.source,
        }
    }
}

/// The read under way for a role, and what failed since the last answer.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    flight: Option<WeakShared<BoxFuture<'static, Told>>>,
    pub(super) failure: Option<Failure>,
}

/// The last read failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: Arc<str>,
    /// How often in a row.
    streak: u32,
    pub(super) at: Instant,
    /// Nobody reads before this. In the past for sources that answer from memory.
    pub(super) retry_at: Instant,
}

/// One read, shared by all who wait for it.
pub(super) type Flight = Shared<BoxFuture<'static, Told>>;

/// How a read ended.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Answer(Arc<Held>),
    Failed { reason: Arc<str>, begun: Instant },
}

impl Told {
    fn begun(&self) -> Instant {
        match self {
            Self::Answer(held) => held.begun,
            Self::Failed { begun, .. } => *begun,
        }
    }

    fn entry(&self) -> Entry {
        match self {
            Self::Answer(held) => held.entry(),
            Self::Failed { reason, .. } => Entry::unknown(Arc::clone(reason)),
        }
    }
}

impl Core {
    /// A role's place, marked as used now.
    pub(super) fn place(&self, role: &RoleArn, standing: Standing, now: Instant) -> Arc<Slot> {
        let now_ms = self.millis(now);
        let slot = self.shelf.place(role, standing, now_ms);
        slot.used.store(now_ms, Ordering::Relaxed);
        slot
    }

    /// Milliseconds of the book's own clock, which starts at 1 when it is opened.
    pub(super) fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    pub(super) fn age_of(&self, held: &Held, now: Instant) -> Age {
        let age = now.saturating_duration_since(held.begun);
        Age::of(age, self.settings.ttl, self.settings.max_stale)
    }

    fn serve(&self, slot: &Slot, now: Instant) -> Option<Entry> {
        let held = slot.held.load();
        let held = held.as_deref()?;
        let age = self.age_of(held, now);
        if age == Age::TooOld {
            return None;
        }
        let now_ms = self.millis(now);
        // Looked at before it is written, so that many readers of one role do not pass its cache line around.
        if slot.used.load(Ordering::Relaxed) != now_ms {
            slot.used.store(now_ms, Ordering::Relaxed);
        }
        if age == Age::Stale && !slot.nudged.swap(true, Ordering::Relaxed) {
            self.nudge.notify_one();
        }
        Some(held.entry())
    }

    fn limit(&self, arrived: Instant, deadline: Instant) -> Instant {
        arrived
            .checked_add(self.settings.read_timeout)
            .map_or(deadline, |limit| limit.min(deadline))
    }

    /// Reads a role for an admission: joins the read under way or begins one, and waits no longer than `limit`.
    async fn read_by(self: &Arc<Self>, slot: &Arc<Slot>, limit: Instant) -> Result<Told, Arc<str>> {
        while let Some((retry_at, reason)) = slot.pause(Instant::now()) {
            if retry_at >= limit {
                return Err(reason);
            }
            sleep_until(retry_at).await;
        }
        let asked = Instant::now();
        let flight = self.read(slot, Lane::Admission);
        timeout_at(limit, flight).await.map_err(|_elapsed| {
            let waited = limit.saturating_duration_since(asked);
            let why = format!(
                "{} did not answer within {} ms",
                self.source_names(),
                waited.as_millis()
            );
            Arc::from(why)
        })
    }

    /// Joins the read under way, or begins one.
    pub(super) fn read(self: &Arc<Self>, slot: &Arc<Slot>, lane: Lane) -> Flight {
        let mut upkeep = slot.upkeep();
        if let Some(flight) = upkeep.flight.as_ref().and_then(WeakShared::upgrade) {
            return flight;
        }
        let core = Arc::clone(self);
        let read = Arc::clone(slot);
        let flight = async move { core.ask_and_keep(&read, lane).await }.boxed().shared();
        upkeep.flight = flight.downgrade();
        drop(upkeep);
        if let Some(adopter) = self.adopter.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // When the keeper has its hands full, those who wait drive the read by themselves.
            let _full = adopter.try_send(flight.clone());
        }
        flight
    }

    async fn ask_and_keep(&self, slot: &Slot, lane: Lane) -> Told {
        let mut begun = None;
        let asked = self.ask(slot, lane, &mut begun).await;
        let begun = begun.unwrap_or_else(Instant::now);
        match asked {
            Asked::Answered { trust, order } => {
                let source = self.sources.get(order).map(|reader| reader.source.name());
                let held = Arc::new(Held {
                    trust,
                    source,
                    order,
                    begun,
                });
                slot.keep(Arc::clone(&held));
                slot.upkeep().flight = None;
                Told::Answer(held)
            }
            Asked::Failed { reason, pause } => {
                slot.fail(Arc::clone(&reason), pause);
                Told::Failed { reason, begun }
            }
        }
    }

    /// Asks the sources in their order, until one neither leaves the role to the next nor stays silent.
    async fn ask(&self, slot: &Slot, lane: Lane, begun: &mut Option<Instant>) -> Asked {
        for (order, reader) in self.sources.iter().enumerate() {
            if let Some(pacer) = &reader.pacer {
                pacer.turn(lane).await;
            }
            let asked = Instant::now();
            if begun.is_none() {
                *begun = Some(asked);
                slot.changed.store(false, Ordering::Release);
                slot.nudged.store(false, Ordering::Relaxed);
            }
            let name = reader.source.name();
            let answer = timeout(LONGEST_READ, reader.source.read(&slot.role)).await;
            let result = match &answer {
                Ok(Answer::Role(_)) => ReadResult::Role,
                Ok(Answer::NoSuchRole { .. }) => ReadResult::NoSuchRole,
                Ok(Answer::NotMine) => ReadResult::NotMine,
                Ok(Answer::Failed(_)) => ReadResult::Failed,
                Ok(Answer::Throttled(_)) => ReadResult::Throttled,
                Err(_) => ReadResult::TimedOut,
            };
            self.observer.role_read(name, result, asked.elapsed());
            reader.mind(result);
            reader.log(&slot.role, &answer);
            let reason: Arc<str> = match answer {
                Ok(Answer::NotMine) => continue,
                Ok(Answer::Role(document)) => {
                    return Asked::Answered {
                        trust: trust_of(&slot.role, &document),
                        order,
                    };
                }
                Ok(Answer::NoSuchRole { hint }) => {
                    return Asked::Answered {
                        trust: Trust::NoSuchRole { hint },
                        order,
                    };
                }
                Ok(Answer::Failed(reason) | Answer::Throttled(reason)) => reason,
                Err(_) => format!("{name} did not answer within {} s", LONGEST_READ.as_secs()).into(),
            };
            let pause = if reader.pacer.is_some() {
                Pause::BackOff
            } else {
                Pause::None
            };
            return Asked::Failed { reason, pause };
        }
        let why = match self.sources.len() {
            0 => "there is no role source".to_owned(),
            _ => format!("no role source knows this role (asked: {})", self.source_names()),
        };
        Asked::Answered {
            trust: Trust::Unknown(why.into()),
            order: self.sources.len(),
        }
    }

    fn source_names(&self) -> String {
        let names: Vec<_> = self.sources.iter().map(|reader| reader.source.name()).collect();
        if names.is_empty() {
            "no role source".to_owned()
        } else {
            names.join(", ")
        }
    }

    fn state(&self, slot: &Slot, now: Instant) -> Option<RoleState> {
        match slot.held.load().as_deref().map(|held| self.age_of(held, now)) {
            Some(Age::Fresh) => Some(RoleState::Fresh),
            Some(Age::Stale) => Some(RoleState::Stale),
            Some(Age::TooOld) => Some(RoleState::TooOld),
            None => slot.upkeep().failure.as_ref().map(|_| RoleState::Failed),
        }
    }

    /// None for a role whose first read is still under way.
    fn summary(&self, slot: &Slot, now: Instant) -> Option<RoleSummary> {
        let state = self.state(slot, now)?;
        let failure = slot.upkeep().failure.as_ref().map(|failure| failure.reason.to_string());
        let held = slot.held.load();
        let (holds, why) = match held.as_deref().map(|held| &held.trust) {
            None => (None, None),
            Some(Trust::Policy { .. }) => (Some("policy"), None),
            Some(Trust::NoSuchRole { hint }) => (Some("no-such-role"), hint.clone()),
            Some(Trust::Malformed(reason)) => (Some("malformed"), Some(Arc::clone(reason))),
            Some(Trust::Unknown(reason)) => (Some("unknown"), Some(Arc::clone(reason))),
        };
        Some(RoleSummary {
            arn: slot.role.as_str().to_owned(),
            state,
            holds,
            age_seconds: held
                .as_deref()
                .map(|held| now.saturating_duration_since(held.begun).as_secs()),
            source: held.as_deref().and_then(|held| held.source),
            reason: failure.or_else(|| why.map(|why| why.to_string())),
        })
    }
}

/// How the sources answered.
enum Asked {
    Answered { trust: Trust, order: usize },
    Failed { reason: Arc<str>, pause: Pause },
}

/// Whether a failure is followed by a pause.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pause {
    BackOff,
    None,
}

impl Reader {
    /// Lets the pace follow how a read ended.
    fn mind(&self, result: ReadResult) {
        match (&self.pacer, result) {
            (Some(pacer), ReadResult::Throttled) => pacer.throttled(Instant::now()),
            (Some(pacer), ReadResult::Role | ReadResult::NoSuchRole | ReadResult::NotMine) => pacer.answered(),
            _ => {}
        }
    }
}

impl Reader {
    /// Logs when the source as a whole begins to fail and when it is over, not each read: one role that cannot be read is
    /// told where it is judged.
    fn log(&self, role: &RoleArn, answer: &Result<Answer, Elapsed>) {
        let source = self.source.name();
        let reason = match answer {
            Ok(Answer::Failed(reason) | Answer::Throttled(reason)) => reason,
            Err(_) => "no answer",
            Ok(_) => {
                if self.failures.swap(0, Ordering::Relaxed) >= FAILING {
                    info!(source, "the role source answers again");
                }
                return;
            }
        };
        debug!(source, %role, reason, "a role could not be read");
        if self.pacer.is_some() && self.failures.fetch_add(1, Ordering::Relaxed) + 1 == FAILING {
            warn!(source, %role, reason, "the role source fails; what was read before serves until it is too old");
        }
    }
}

impl Slot {
    pub(super) fn upkeep(&self) -> std::sync::MutexGuard<'_, Upkeep> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer came. One that began earlier than what is kept changes nothing: a listing and a read may overtake each other.
    pub(super) fn keep(&self, held: Arc<Held>) {
        let mut upkeep = self.upkeep();
        if self.held.load().as_deref().is_some_and(|kept| kept.begun > held.begun) {
            return;
        }
        self.held.store(Some(held));
        upkeep.failure = None;
    }

    /// Whether a read is under way.
    pub(super) fn is_being_read(&self) -> bool {
        self.upkeep().flight.as_ref().and_then(WeakShared::upgrade).is_some()
    }

    fn fail(&self, reason: Arc<str>, pause: Pause) {
        let mut upkeep = self.upkeep();
        let at = Instant::now();
        let streak = upkeep
            .failure
            .as_ref()
            .map_or(0, |failure| failure.streak)
            .saturating_add(1);
        let retry_at = match pause {
            Pause::BackOff => at + backoff(streak, fastrand::f64()),
            Pause::None => at,
        };
        *upkeep = Upkeep {
            flight: None,
            failure: Some(Failure {
                reason,
                streak,
                at,
                retry_at,
            }),
        };
    }

    /// Until when nobody reads after a failure, and why it failed.
    fn pause(&self, now: Instant) -> Option<(Instant, Arc<str>)> {
        let upkeep = self.upkeep();
        let failure = upkeep.failure.as_ref().filter(|failure| failure.retry_at > now)?;
        Some((failure.retry_at, Arc::clone(&failure.reason)))
    }
}

/// Parses a role's document.
pub(super) fn trust_of(role: &RoleArn, document: &RoleDocument) -> Trust {
    match Policy::parse_encoded(&document.policy) {
        Ok(policy) => Trust::Policy {
            policy: Arc::new(policy),
            tags: document.tags.clone(),
        },
        Err(error) => Trust::Malformed(format!("the trust policy of {role} is malformed: {error}").into()),
    }
}
