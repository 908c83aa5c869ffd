//! The role cache: what was read of each role, how old it is, and when it is read again.
//!
//! [`RoleCache::stored`] answers from memory and never waits; it is on the path of every pod. [`RoleCache::entry`] and
//! [`RoleCache::fresh`] read when memory is not enough. At most one read of a role is under way at a time: whoever needs it
//! shares it, and it goes on as long as anybody does (`reads`). [`RoleCache::run`] (`refresher`) keeps the role cache: it drives reads to their end
//! when those who began them have left, reads ahead what ServiceAccounts name, and refreshes what is in use.
//!
//! A failed read never removes what is known: the old copy serves until it is too old. What an answer means is not the
//! cache's affair.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::age::Age;
use super::fetch::{Fetcher, InFlight, ReadOutcome};
use super::observe::{ReadObserver, RoleState, RoleSummary};
use super::providers::{KnownProvider, Providers};
use super::source::RoleSource;
use super::store::{CachedRole, Reference, Store};
use crate::trust::{Issuer, Policy, RoleArn};

/// How the role cache ages.
#[derive(Clone, Debug)]
pub struct RoleCacheSettings {
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

/// An answer of the role cache.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is known.
    pub trust: Trust,
    /// When it was read; none when it never was.
    pub read_at: Option<Instant>,
    /// The source that told it.
    pub source: Option<&'static str>,
}

/// A copy this young of what is read over the network is as good as a read of now: an edit of a trust policy takes longer to
/// reach every part of AWS. What is read from the disk or from memory costs nothing, and is read.
pub(super) const AS_GOOD_AS_NOW: Duration = Duration::from_secs(5);

/// The role cache.
#[derive(Debug)]
pub struct RoleCache {
    pub(super) core: Arc<Core>,
}

impl RoleCache {
    /// An empty cache over sources, asked in this order.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn RoleSource>>, settings: RoleCacheSettings) -> Arc<Self> {
        Self::observed(sources, settings, Arc::new(()))
    }

    /// An empty cache whose reads somebody counts.
    #[must_use]
    pub fn observed(
        sources: Vec<Arc<dyn RoleSource>>,
        settings: RoleCacheSettings,
        observer: Arc<dyn ReadObserver>,
    ) -> Arc<Self> {
        let sources = sources.into_iter().map(Fetcher::new).collect();
        let store = Store::new(settings.capacity);
        Arc::new(Self {
            core: Arc::new(Core {
                sources,
                settings,
                observer,
                store,
                providers: Providers::default(),
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
        self.core
            .store
            .look(role, |cached| self.core.serve(cached, now))
            .flatten()
    }

    /// From memory, else read once, coalesced, by `deadline` (and the read timeout).
    pub async fn entry(&self, role: &RoleArn, deadline: Instant) -> Entry {
        if let Some(entry) = self.stored(role) {
            return entry;
        }
        let arrived = Instant::now();
        let limit = self.core.limit(arrived, deadline);
        let cached = self.core.place(role, Reference::Unwanted, arrived);
        match self.core.read_by(&cached, limit).await {
            Ok(told) => told.entry(),
            Err(reason) => Entry::unknown(reason),
        }
    }

    /// Read afresh before a refusal, unless the copy came over the network and is under 5 s old. A read that fails is `Unknown`.
    pub async fn fresh(&self, role: &RoleArn, deadline: Instant) -> Entry {
        let arrived = Instant::now();
        let limit = self.core.limit(arrived, deadline);
        let cached = self.core.place(role, Reference::Unwanted, arrived);
        // A read that began before the question came may have seen the policy of before the edit that the question is about.
        let young_enough = |held: &Held| held.begun >= arrived || held.begun + self.core.as_good_as_now(held) > arrived;
        if let Some(held) = cached.held.load().as_deref().filter(|held| young_enough(held)) {
            return held.entry();
        }
        loop {
            match self.core.read_by(&cached, limit).await {
                Err(reason) => return Entry::unknown(reason),
                Ok(ReadOutcome::Answer(held)) if young_enough(&held) => return held.entry(),
                Ok(ReadOutcome::Failed { reason, begun }) if begun + AS_GOOD_AS_NOW > arrived => {
                    return Entry::unknown(reason);
                }
                // It shared a read that had begun long ago; the next one is new.
                Ok(_) => {}
            }
        }
    }

    /// When whoever asks now stops waiting: at the read timeout, or at `deadline` if that is sooner.
    #[must_use]
    pub fn limit(&self, deadline: Instant) -> Instant {
        self.core.limit(Instant::now(), deadline)
    }

    /// From now on the OIDC provider of this issuer is known, too, in each account whose roles are asked for, where a source
    /// can read it. Only the first call counts.
    pub fn check_providers_of(&self, issuer: Issuer) {
        self.core.check_providers_of(issuer);
    }

    /// What is known of the OIDC provider of a role's account. Waits, by `deadline` (and the read timeout), only when nobody
    /// ever asked.
    pub async fn provider(&self, role: &RoleArn, deadline: Instant) -> KnownProvider {
        self.core.provider(role, deadline).await
    }

    /// The same before a refusal because of it: read afresh, unless the copy is under 5 s old.
    ///
    /// # Errors
    /// One line that says why it could not be read.
    pub async fn provider_afresh(&self, role: &RoleArn, deadline: Instant) -> Result<KnownProvider, Arc<str>> {
        let limit = self.core.limit(Instant::now(), deadline);
        self.core.provider_afresh(role, limit).await
    }

    /// What the role cache holds, sorted by ARN: the page `/roles`.
    #[must_use]
    pub fn snapshot(&self) -> Vec<RoleSummary> {
        let now = Instant::now();
        let mut summaries = Vec::with_capacity(self.core.store.len());
        self.core
            .store
            .for_each(|cached| summaries.extend(self.core.summary(cached, now)));
        summaries.sort_unstable_by(|left, right| left.arn.cmp(&right.arn));
        summaries
    }

    /// How many roles are in each state: the metric `role_cache_roles`.
    #[must_use]
    pub fn counts(&self) -> [(RoleState, usize); 4] {
        let now = Instant::now();
        let mut counts = RoleState::ALL.map(|state| (state, 0));
        self.core.store.for_each(|cached| {
            let state = self.core.state(cached, now);
            for (counted, count) in &mut counts {
                *count += usize::from(Some(*counted) == state);
            }
        });
        counts
    }
}

impl Entry {
    pub(super) fn unknown(reason: Arc<str>) -> Self {
        Self {
            trust: Trust::Unknown(reason),
            read_at: None,
            source: None,
        }
    }
}

/// What the role cache and its refresher share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) sources: Vec<Fetcher>,
    pub(super) settings: RoleCacheSettings,
    pub(super) observer: Arc<dyn ReadObserver>,
    pub(super) store: Store,
    pub(super) providers: Providers,
    opened: Instant,
    /// A stale copy is in use and nobody reads it again.
    pub(super) nudge: Notify,
    /// Where reads go on when nobody waits for them any more; none while no refresher runs.
    pub(super) adopter: Mutex<Option<mpsc::Sender<InFlight>>>,
}

/// An answer that the role cache keeps.
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
    pub(super) fn entry(&self) -> Entry {
        Entry {
            trust: self.trust.clone(),
            read_at: Some(self.begun),
            source: self.source,
        }
    }
}

impl Core {
    /// A role's place, marked as used now.
    pub(super) fn place(&self, role: &RoleArn, reference: Reference, now: Instant) -> Arc<CachedRole> {
        let now_ms = self.millis(now);
        let cached = self.store.place(role, reference, now_ms);
        cached.used.store(now_ms, Ordering::Relaxed);
        cached
    }

    /// Milliseconds of the role cache's own clock, which starts at 1 when it is opened.
    pub(super) fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    pub(super) fn age_of(&self, held: &Held, now: Instant) -> Age {
        let age = now.saturating_duration_since(held.begun);
        Age::of(age, self.settings.ttl, self.settings.max_stale)
    }

    fn serve(&self, cached: &CachedRole, now: Instant) -> Option<Entry> {
        let held = cached.held.load();
        let held = held.as_deref()?;
        let age = self.age_of(held, now);
        if age == Age::TooOld {
            return None;
        }
        let now_ms = self.millis(now);
        // Looked at before it is written, so that many readers of one role do not pass its cache line around.
        if cached.used.load(Ordering::Relaxed) != now_ms {
            cached.used.store(now_ms, Ordering::Relaxed);
        }
        if age == Age::Stale && !cached.nudged.swap(true, Ordering::Relaxed) {
            self.nudge.notify_one();
        }
        Some(held.entry())
    }

    /// How young a copy must be for a refusal.
    fn as_good_as_now(&self, held: &Held) -> Duration {
        let mut asked = self.sources.iter().take(held.order.saturating_add(1));
        if asked.all(|reader| reader.limiter.is_none()) {
            Duration::ZERO
        } else {
            AS_GOOD_AS_NOW
        }
    }

    pub(super) fn limit(&self, arrived: Instant, deadline: Instant) -> Instant {
        arrived
            .checked_add(self.settings.read_timeout)
            .map_or(deadline, |limit| limit.min(deadline))
    }

    fn state(&self, cached: &CachedRole, now: Instant) -> Option<RoleState> {
        match cached.held.load().as_deref().map(|held| self.age_of(held, now)) {
            Some(Age::Fresh) => Some(RoleState::Fresh),
            Some(Age::Stale) => Some(RoleState::Stale),
            Some(Age::TooOld) => Some(RoleState::TooOld),
            None => cached.refresh_state().failure.as_ref().map(|_| RoleState::Failed),
        }
    }

    /// None for a role whose first read is still under way.
    fn summary(&self, cached: &CachedRole, now: Instant) -> Option<RoleSummary> {
        let state = self.state(cached, now)?;
        let failure = cached
            .refresh_state()
            .failure
            .as_ref()
            .map(|failure| failure.reason.to_string());
        let held = cached.held.load();
        let (holds, why) = match held.as_deref().map(|held| &held.trust) {
            None => (None, None),
            Some(Trust::Policy { .. }) => (Some("policy"), None),
            Some(Trust::NoSuchRole { hint }) => (Some("no-such-role"), hint.clone()),
            Some(Trust::Malformed(reason)) => (Some("malformed"), Some(Arc::clone(reason))),
            Some(Trust::Unknown(reason)) => (Some("unknown"), Some(Arc::clone(reason))),
        };
        Some(RoleSummary {
            arn: cached.role.as_str().to_owned(),
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
