//! The cache entry of one key: the last result, the failure since then, and for a role, whether it is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::fingerprint::Fingerprint;
use crate::support::age::{Freshness, pauses};
use crate::support::backoff::Backoff;
use crate::trust::{Policy, RoleArn};

/// How the role cache ages.
#[derive(Clone, Debug)]
pub struct RoleCacheSettings {
    /// `--trust-ttl`: how long a copy is fresh (60 s).
    pub ttl: Duration,
    /// `--trust-max-stale`: how old a copy may serve (1 h).
    pub max_stale: Duration,
    /// `--trust-read-timeout`: the longest wait of an admission (700 ms).
    pub read_timeout: Duration,
    /// How many roles are kept at most.
    pub capacity: usize,
}

/// What is known of a role's trust.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Its policy.
    Policy {
        /// Parsed.
        policy: Arc<Policy>,
        /// The role's tags, when the source gives them.
        tags: Option<Arc<[(String, String)]>>,
    },
    /// It does not exist.
    NoSuchRole {
        /// What may have been meant: one line, e.g. that a role of that name exists under another path.
        hint: Option<Arc<str>>,
    },
    /// It was read, and its document breaks IAM's grammar: one line that says how. For an admission the same as unknown.
    Malformed(Arc<str>),
    /// It could not be read, or is too old: one line that says why.
    Unknown(Arc<str>),
}

/// An answer of the role cache.
#[derive(Clone, Debug)]
pub struct RoleEntry {
    /// What is known.
    pub trust: Trust,
    /// When it was read; none when it never was.
    pub read_at: Option<Instant>,
    /// The source that it was read from.
    pub source: Option<&'static str>,
    /// The age of the copy, where a read before a refusal had no turn.
    pub copy_age: Option<Duration>,
}

impl RoleEntry {
    pub(super) const fn unknown(reason: Arc<str>) -> Self {
        Self {
            trust: Trust::Unknown(reason),
            read_at: None,
            source: None,
            copy_age: None,
        }
    }
}

/// How the sources answered for a role.
#[derive(Debug)]
pub(super) struct RoleTrust {
    pub(super) trust: Trust,
    /// Of the document that `trust` was parsed from, where the role exists.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) source: Option<&'static str>,
    /// The position of the source among the sources; past the last when none of them knew the role.
    pub(super) order: usize,
}

impl RoleTrust {
    /// Whether an evaluation of this might come to another result. A policy that was not parsed again is the same policy.
    pub(super) fn differs_from(&self, before: &Self) -> bool {
        match (&before.trust, &self.trust) {
            (
                Trust::Policy { policy, tags },
                Trust::Policy {
                    policy: now,
                    tags: tags_now,
                },
            ) => !Arc::ptr_eq(policy, now) || tags != tags_now,
            (Trust::NoSuchRole { .. }, Trust::NoSuchRole { .. }) => false,
            (Trust::Malformed(_) | Trust::Unknown(_), Trust::Malformed(_) | Trust::Unknown(_)) => false,
            _ => true,
        }
    }
}

/// An answer, and when its read began. A copy's age counts from there: what the source saw is at least this young.
#[derive(Debug)]
pub(super) struct Answered<T> {
    pub(super) value: T,
    pub(super) began: Instant,
}

impl Answered<RoleTrust> {
    pub(super) fn entry(&self) -> RoleEntry {
        RoleEntry {
            trust: self.value.trust.clone(),
            read_at: Some(self.began),
            source: self.value.source,
            copy_age: None,
        }
    }
}

impl RoleCacheSettings {
    /// What the age of an answer allows.
    pub(super) fn freshness<T>(&self, answer: &Answered<T>, now: Instant) -> Freshness {
        let age = now.saturating_duration_since(answer.began);
        Freshness::of(age, self.ttl, self.max_stale)
    }

    /// The age of an answer, where a refusal may use it although it could not be read again.
    pub(super) fn age_for_refusal<T>(&self, answer: &Answered<T>, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(answer.began);
        (age < self.ttl).then_some(age)
    }

    /// When a caller that arrived at this moment stops waiting: at the read timeout, or at `deadline` if that is sooner.
    pub(super) fn limit(&self, arrived: Instant, deadline: Instant) -> Instant {
        arrived
            .checked_add(self.read_timeout)
            .map_or(deadline, |limit| limit.min(deadline))
    }
}

/// The last answer for a key, and the failure since.
#[derive(Debug)]
pub(super) struct Cached<T> {
    /// Swapped whole, so that a reader never waits for a writer.
    answer: ArcSwapOption<Answered<T>>,
    /// Rare, hence in a box.
    failure: Mutex<Option<Box<Failure>>>,
}

/// The last read failed.
#[derive(Debug)]
struct Failure {
    reason: Arc<str>,
    /// When that read began.
    began: Instant,
    /// When it ended.
    at: Instant,
    /// None for a source that answers from memory: asking it again is useless until it reports a change.
    paused_until: Option<Instant>,
    backoff: Backoff,
}

/// Whether a failed read is followed by a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    BackOff,
    None,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self {
            answer: ArcSwapOption::empty(),
            failure: Mutex::default(),
        }
    }
}

impl<T> Cached<T> {
    pub(super) fn answer(&self) -> Guard<Option<Arc<Answered<T>>>> {
        self.answer.load()
    }

    /// When the read of the last answer began.
    pub(super) fn began(&self) -> Option<Instant> {
        self.answer().as_deref().map(|answer| answer.began)
    }

    /// When the last read began, whether it failed or not.
    pub(super) fn tried_at(&self) -> Option<Instant> {
        let failed = self.failure().as_ref().map(|failure| failure.began);
        self.began().max(failed)
    }

    pub(super) fn failure_reason(&self) -> Option<Arc<str>> {
        self.failure().as_ref().map(|failure| Arc::clone(&failure.reason))
    }

    /// Until when there is a pause after a failure, and the failure.
    pub(super) fn pause(&self, now: Instant) -> Option<(Instant, Arc<str>)> {
        let failure = self.failure();
        let failure = failure.as_ref()?;
        let until = failure.paused_until.filter(|until| *until > now)?;
        Some((until, Arc::clone(&failure.reason)))
    }

    /// Keeps an answer. One that began earlier than what is kept changes nothing: a listing and a read may overtake each other. Returns
    /// whether it is news: the first, one after a failure, or one that `differs` from what was kept.
    pub(super) fn keep(&self, answer: Arc<Answered<T>>, differs: impl FnOnce(&T, &T) -> bool) -> bool {
        let mut failure = self.failure();
        if self.began().is_some_and(|kept| kept > answer.began) {
            return false;
        }
        let before = self.answer.swap(Some(Arc::clone(&answer)));
        failure.take().is_some() || before.is_none_or(|before| differs(&before.value, &answer.value))
    }

    /// Records a failed read. The last answer stays.
    pub(super) fn fail(&self, reason: Arc<str>, began: Instant, pause: Pause) {
        let mut failure = self.failure();
        let at = Instant::now();
        let mut backoff = failure.take().map_or_else(pauses, |failure| failure.backoff);
        let paused_until = match pause {
            Pause::BackOff => Some(at + backoff.next()),
            Pause::None => None,
        };
        *failure = Some(Box::new(Failure {
            reason,
            began,
            at,
            paused_until,
            backoff,
        }));
    }

    fn failure(&self) -> MutexGuard<'_, Option<Box<Failure>>> {
        self.failure.lock()
    }
}

/// The role cache's own clock: milliseconds since it was opened, from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn millis(self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.0).as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

/// Whether ServiceAccounts name a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Referenced,
    Unreferenced,
}

/// One role.
#[derive(Debug)]
pub(super) struct CachedRole {
    pub(super) arn: RoleArn,
    pub(super) trust: Cached<RoleTrust>,
    /// When it was last asked for, by the role cache's clock.
    used: AtomicU64,
    referenced: AtomicBool,
    /// Whether its source has reported a change since the last read of it began.
    changed: AtomicBool,
    /// Whether the refresher was notified that a stale copy is in use.
    notified: AtomicBool,
}

impl CachedRole {
    pub(super) fn new(arn: RoleArn, reference: Reference, used: u64) -> Self {
        Self {
            arn,
            trust: Cached::default(),
            used: AtomicU64::new(used),
            referenced: AtomicBool::new(reference == Reference::Referenced),
            changed: AtomicBool::new(false),
            notified: AtomicBool::new(false),
        }
    }

    /// It was asked for at this moment of the role cache's clock.
    pub(super) fn mark_used(&self, now: u64) {
        // Looked at before it is written, so that many readers of one role do not pass its cache line around.
        if self.used.load(Ordering::Relaxed) != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn set_referenced(&self, reference: Reference) {
        self.referenced
            .store(reference == Reference::Referenced, Ordering::Relaxed);
    }

    pub(super) fn is_referenced(&self) -> bool {
        self.referenced.load(Ordering::Relaxed)
    }

    /// Its source reported a change.
    pub(super) fn mark_changed(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// True for the first use of a stale copy since the last read began: the refresher must be notified.
    pub(super) fn notify_once(&self) -> bool {
        !self.notified.swap(true, Ordering::Relaxed)
    }

    /// A read is about to begin: what is reported from here on calls for another.
    pub(super) fn begin_read(&self) {
        self.changed.store(false, Ordering::Release);
        self.notified.store(false, Ordering::Relaxed);
    }

    /// When it is read next in the background; none when it is not in use.
    pub(super) fn due_at(&self, ttl: Duration, clock: Clock, now: Instant) -> Option<Instant> {
        let began = self.trust.began();
        let in_use = self.is_referenced() || began.is_some_and(|began| self.used() > clock.millis(began));
        if !in_use {
            return None;
        }
        if let Some((until, _)) = self.trust.pause(now) {
            return Some(until);
        }
        if self.changed.load(Ordering::Acquire) {
            return Some(now);
        }
        Some(match (self.trust.failure().as_deref(), began) {
            (Some(failure), _) => failure.paused_until.unwrap_or_else(|| after(failure.at, ttl)),
            (None, Some(began)) => after(began, ttl),
            (None, None) => now,
        })
    }

    /// No ServiceAccount names it, it was not asked for as long as a copy may serve, and its copy no longer serves. That a role does not
    /// exist serves only while it is fresh: a refusal reads it again.
    pub(super) fn is_expired(&self, settings: &RoleCacheSettings, clock: Clock, now: Instant) -> bool {
        if self.is_referenced() {
            return false;
        }
        let answer = self.trust.answer();
        let is_absent = |answer: &Answered<RoleTrust>| {
            matches!(answer.value.trust, Trust::NoSuchRole { .. } | Trust::Unknown(_)) && self.trust.failure().is_none()
        };
        let is_absent = answer.as_deref().is_some_and(is_absent);
        let kept = if is_absent { settings.ttl } else { settings.max_stale };
        let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let is_unused = self.used().saturating_add(kept) < clock.millis(now);
        let serves = |answer: &Answered<RoleTrust>| settings.freshness(answer, now) != Freshness::TooOld;
        is_unused && (is_absent || !answer.as_deref().is_some_and(serves))
    }
}

/// A moment later; a time to live may be so long that the clock cannot express its end.
fn after(moment: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    moment.checked_add(duration.min(FAR)).unwrap_or(moment)
}
