//! The role cache: the policy of each role, how old it is, and when it is read again.
//!
//! [`RoleCache::cached`] reads memory and never waits; every pod uses it. [`RoleCache::entry`] and [`RoleCache::fresh`] read from the
//! sources if memory is not enough. Reads run in tasks of the cache, at most one per role: a caller joins the read in flight if its result
//! is fresh enough for the caller (`support::coalesce`), and the read continues when its callers leave. [`RoleCache::run`] reads the roles
//! of ServiceAccounts ahead of time, refreshes those that are in use, and finally awaits every task.
//!
//! A failed read never removes what is known: the old copy is used until it is too old. The cache does not interpret policies.
//!
//! Each file depends only on those before it: `changes` (which roles changed), `entry` (one role), `store` (all of them), `fetch` (the
//! sources and their pace), `read` and `list` (from the sources into the entries), `schedule`, `providers`, `refresh`.

pub(super) mod changes;
pub(super) mod entry;
mod fetch;
mod fingerprint;
mod list;
pub(super) mod providers;
mod read;
mod refresh;
mod schedule;
mod store;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::changes::{Changed, Changes};
use self::entry::{Answered, CachedRole, Reference, RoleCacheSettings, RoleEntry, RoleTrust, Trust};
use self::fetch::Fetcher;
use self::list::{Lister, Pass, report};
use self::providers::{FreshProvider, KnownProvider, Providers};
use self::read::{Reader, Unread};
use self::refresh::Refresher;
use self::store::Store;
use super::observe::{ReadObserver, RoleState, RoleSummary};
use super::source::RoleSource;
use crate::support::age::{Freshness, as_good_as_now};
use crate::support::coalesce::{Caller, Priority, SharedPriority};
use crate::trust::{Issuer, RoleArn};

/// How often a command that waits for a listing is shown how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// The role cache.
#[derive(Debug)]
pub struct RoleCache {
    settings: RoleCacheSettings,
    store: Store,
    reader: Reader,
    providers: Providers,
    /// Wakes the refresher: a stale copy is in use, an admission has read a role, or a refusal waits for a call.
    wake: Arc<Notify>,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl RoleCache {
    /// An empty cache over sources, asked in this order.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn RoleSource>>, settings: RoleCacheSettings) -> Arc<Self> {
        Self::with_observer(sources, settings, Arc::new(()))
    }

    /// An empty cache whose reads are observed.
    #[must_use]
    pub fn with_observer(
        sources: Vec<Arc<dyn RoleSource>>,
        settings: RoleCacheSettings,
        observer: Arc<dyn ReadObserver>,
    ) -> Arc<Self> {
        let (wake, tasks, end) = (Arc::new(Notify::new()), TaskTracker::new(), CancellationToken::new());
        let changes = Arc::new(Changes::new(settings.capacity));
        let fetcher = Arc::new(Fetcher::new(sources, observer, &wake, changes));
        Arc::new(Self {
            store: Store::new(settings.capacity),
            reader: Reader::new(Arc::clone(&fetcher), Arc::clone(&wake), tasks.clone(), end.clone()),
            providers: Providers::new(fetcher, settings.clone(), tasks.clone(), end.clone()),
            settings,
            wake,
            tasks,
            end,
        })
    }

    /// From memory when it may still serve (fresh or stale); never waits. None: never read, or too old.
    #[must_use]
    pub fn cached(&self, role: &RoleArn) -> Option<RoleEntry> {
        let now = Instant::now();
        self.store.peek(role, |cached| self.serve(cached, now)).flatten()
    }

    fn serve(&self, cached: &CachedRole, now: Instant) -> Option<RoleEntry> {
        let answer = cached.trust.answer();
        let answer = answer.as_deref()?;
        let freshness = self.settings.freshness(answer, now);
        if freshness == Freshness::TooOld {
            return None;
        }
        cached.mark_used(self.store.clock().millis(now));
        if freshness == Freshness::Stale && cached.notify_once() {
            self.wake.notify_one();
        }
        Some(answer.entry())
    }

    /// What is in memory of a role and of the OIDC provider of its account, for an evaluation that no pod waits for. None: one of them was
    /// never read.
    pub(crate) fn in_memory(&self, role: &RoleArn) -> Option<(Trust, KnownProvider)> {
        let trust = self.trust_in_memory(role)?;
        let provider = match &trust {
            Trust::Policy { .. } => self.providers.in_memory(role, Instant::now())?,
            Trust::NoSuchRole { .. } | Trust::Malformed(_) | Trust::Unknown(_) => KnownProvider::Unknown,
        };
        Some((trust, provider))
    }

    /// What is in memory of a role, for an evaluation that no pod waits for. It does not count as a use, so it does not cause reads. None:
    /// it was never read.
    pub(crate) fn trust_in_memory(&self, role: &RoleArn) -> Option<Trust> {
        let now = Instant::now();
        let trust = self.store.peek(role, |cached| {
            let answer = cached.trust.answer();
            match answer.as_deref() {
                Some(answer) if self.settings.freshness(answer, now) != Freshness::TooOld => {
                    Some(answer.value.trust.clone())
                }
                Some(_) => {
                    let reason = cached.trust.failure_reason();
                    Some(Trust::Unknown(
                        reason.unwrap_or_else(|| "the copy of its trust policy is too old".into()),
                    ))
                }
                None => cached.trust.failure_reason().map(Trust::Unknown),
            }
        });
        trust.flatten()
    }

    /// From now on, changes are collected for [`RoleCache::take_changes`].
    pub(crate) fn follow_changes(&self) {
        self.reader.fetcher().changes().follow();
    }

    /// What changed since this was called last.
    pub(crate) fn take_changes(&self) -> Changed {
        self.reader.fetcher().changes().take()
    }

    /// Waits until something changed.
    pub(crate) async fn changed(&self) {
        self.reader.fetcher().changes().changed().await;
    }

    /// From memory, else read once, coalesced, by `deadline` (and the read timeout).
    pub async fn entry(&self, role: &RoleArn, deadline: Instant) -> RoleEntry {
        if let Some(entry) = self.cached(role) {
            return entry;
        }
        let arrived = Instant::now();
        let limit = self.settings.limit(arrived, deadline);
        let cached = self.used(role, arrived);
        match self.reader.read(&cached, Caller::any(), limit).await {
            Ok(answer) => answer.entry(),
            Err(unread) => RoleEntry::unknown(unread.into_reason()),
        }
    }

    /// Read again before a refusal, unless the copy came over the network and is under 1 s old. A read that fails is `Unknown`. One that
    /// gets no turn is not, while the copy is fresh: else callers could prevent a refusal with reads of other roles.
    pub async fn fresh(&self, role: &RoleArn, deadline: Instant) -> RoleEntry {
        let arrived = Instant::now();
        let limit = self.settings.limit(arrived, deadline);
        let cached = self.used(role, arrived);
        let recently = as_good_as_now(arrived);
        // What costs no call is always read again. Which source answers is not known before.
        let is_good = |answer: &Answered<RoleTrust>| {
            let is_remote = self.reader.fetcher().is_remote(answer.value.order);
            answer.began >= if is_remote { recently } else { arrived }
        };
        if let Some(answer) = cached.trust.answer().as_deref().filter(|answer| is_good(answer)) {
            return answer.entry();
        }
        // What is not known cannot be refused.
        let is_known = cached.trust.answer().is_some();
        let as_of = |as_of| {
            let caller = Caller::as_of(as_of);
            if is_known { caller.urgent() } else { caller }
        };
        let mut caller = as_of(recently);
        loop {
            match self.reader.read(&cached, caller, limit).await {
                Ok(answer) if is_good(&answer) => return answer.entry(),
                Ok(_) => caller = as_of(arrived),
                Err(Unread::Failed(reason)) => return RoleEntry::unknown(reason),
                Err(Unread::NoTurn(reason)) => return self.without_turn(&cached, reason),
            }
        }
    }

    /// What a refusal uses whose read had no turn: the copy while it is fresh, unless the last read failed.
    fn without_turn(&self, cached: &CachedRole, reason: Arc<str>) -> RoleEntry {
        if let Some(failure) = cached.trust.failure_reason() {
            return RoleEntry::unknown(failure);
        }
        let answer = cached.trust.answer();
        let copy = answer.as_deref().and_then(|answer| {
            let copy_age = Some(self.settings.age_for_refusal(answer, Instant::now())?);
            Some(RoleEntry {
                copy_age,
                ..answer.entry()
            })
        });
        copy.unwrap_or_else(|| RoleEntry::unknown(reason))
    }

    /// The entry of a role that is being asked for.
    fn used(&self, role: &RoleArn, now: Instant) -> Arc<CachedRole> {
        let cached = self.store.entry(role, Reference::Unreferenced, now);
        cached.mark_used(self.store.clock().millis(now));
        cached
    }

    /// When a caller that asks now stops waiting: at the read timeout, or at `deadline` if that is sooner.
    #[must_use]
    pub fn limit(&self, deadline: Instant) -> Instant {
        self.settings.limit(Instant::now(), deadline)
    }

    /// From now on the OIDC provider of this issuer is known, too, in each account whose roles are asked for, where a source
    /// can read it. Only the first call counts.
    pub fn check_providers_of(&self, issuer: Issuer) {
        self.providers.check(issuer);
    }

    /// What is known of the OIDC provider of a role's account. Waits, by `deadline` (and the read timeout), only when it was never
    /// read.
    pub async fn provider(&self, role: &RoleArn, deadline: Instant) -> KnownProvider {
        self.providers.known(role, deadline).await
    }

    /// The same before a refusal because of it: read again, unless the copy is under 1 s old.
    ///
    /// # Errors
    /// One line that says why it could not be read.
    pub(crate) async fn fresh_provider(&self, role: &RoleArn, deadline: Instant) -> Result<FreshProvider, Arc<str>> {
        let limit = self.limit(deadline);
        self.providers.fresh(role, limit).await
    }

    /// Keeps the cache up to date until `stop`: reads ahead the roles that `referenced` returns, refreshes what is in use at its
    /// time to live, reads again what a source reports as changed, and runs the sources' own background work. Then it ends as
    /// [`RoleCache::stop`] does.
    pub async fn run(self: Arc<Self>, referenced: impl Fn() -> Vec<RoleArn> + Send, stop: CancellationToken) {
        let sources = self.reader.fetcher().sources();
        let sources = join_all(sources.iter().map(|paced| paced.source.run(stop.clone())));
        let refresh = async {
            {
                let mut refresher =
                    Refresher::new(&self.settings, &self.store, &self.reader, &self.providers, &self.wake);
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = refresher.run(referenced) => {}
                }
            }
            self.stop().await;
        };
        tokio::join!(sources, refresh);
    }

    /// Drops the reads that no caller is waiting for, and awaits the tasks of the others.
    pub async fn stop(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Lists every source over the network once, for these roles first of all. `progress` is called with the number of roles so far,
    /// once it takes longer than a second. After a listing that fails, its roles are left to be read one by one.
    pub async fn list(&self, referenced: &[RoleArn], progress: impl Fn(usize)) {
        let now = Instant::now();
        for role in referenced {
            self.store.entry(role, Reference::Referenced, now);
        }
        let lister = Lister {
            fetcher: self.reader.fetcher(),
            store: &self.store,
        };
        let sources = self.reader.fetcher().sources().iter().enumerate();
        for (order, _) in sources.filter(|(_, paced)| paced.is_remote()) {
            let (sender, passes) = watch::channel(Pass::default());
            let priority = SharedPriority::of(Priority::Background);
            let Some(listed) = lister.list(order, priority, sender) else {
                continue;
            };
            tokio::select! {
                biased;
                _ = listed => {}
                never = report(passes, PROGRESS_EVERY, |pass| progress(pass.roles)) => match never {},
            }
        }
    }

    /// The contents of the role cache, sorted by ARN: the response of `/roles`.
    #[must_use]
    pub fn snapshot(&self) -> Vec<RoleSummary> {
        let now = Instant::now();
        let mut summaries = Vec::with_capacity(self.store.len());
        self.store
            .for_each(|cached| summaries.extend(self.summary(cached, now)));
        summaries.sort_unstable_by(|left, right| left.arn.cmp(&right.arn));
        summaries
    }

    /// How many roles are in each state: the metric `role_cache_roles`.
    #[must_use]
    pub fn counts(&self) -> [(RoleState, usize); 4] {
        let now = Instant::now();
        let mut counts = RoleState::ALL.map(|state| (state, 0));
        self.store.for_each(|cached| {
            let state = self.state(cached, now);
            for (counted, count) in &mut counts {
                *count += usize::from(Some(*counted) == state);
            }
        });
        counts
    }

    fn state(&self, cached: &CachedRole, now: Instant) -> Option<RoleState> {
        let answer = cached.trust.answer();
        match answer.as_deref().map(|answer| self.settings.freshness(answer, now)) {
            Some(Freshness::Fresh) => Some(RoleState::Fresh),
            Some(Freshness::Stale) => Some(RoleState::Stale),
            Some(Freshness::TooOld) => Some(RoleState::TooOld),
            None => cached.trust.failure_reason().map(|_| RoleState::Failed),
        }
    }

    /// None for a role whose first read is still in flight.
    fn summary(&self, cached: &CachedRole, now: Instant) -> Option<RoleSummary> {
        let state = self.state(cached, now)?;
        let answer = cached.trust.answer();
        let answer = answer.as_deref();
        let (holds, why) = match answer.map(|answer| &answer.value.trust) {
            None => (None, None),
            Some(Trust::Policy { .. }) => (Some("policy"), None),
            Some(Trust::NoSuchRole { hint }) => (Some("no-such-role"), hint.clone()),
            Some(Trust::Malformed(reason)) => (Some("malformed"), Some(Arc::clone(reason))),
            Some(Trust::Unknown(reason)) => (Some("unknown"), Some(Arc::clone(reason))),
        };
        Some(RoleSummary {
            arn: cached.arn.as_str().to_owned(),
            state,
            holds,
            age_seconds: answer.map(|answer| now.saturating_duration_since(answer.began).as_secs()),
            source: answer.and_then(|answer| answer.value.source),
            reason: cached.trust.failure_reason().or(why).map(|why| why.to_string()),
        })
    }
}
