//! The refresher of the cache: reads the roles of ServiceAccounts ahead of time, refreshes roles that are in use, and removes the others.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, FuturesUnordered, SelectAll, StreamExt as _, select_all, unfold};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

use super::entry::{CachedRole, Reference, RoleCacheSettings};
use super::fetch::PacedSource;
use super::list::{Listed, Lister, Pass, report};
use super::providers::Providers;
use super::read::Reader;
use super::schedule::ListSchedule;
use super::store::Store;
use crate::support::coalesce::{Priority, SharedPriority};
use crate::trust::RoleArn;

/// How often the refresher asks which roles ServiceAccounts name. The first pod of a new ServiceAccount may have to read its role.
const REFERENCES_EVERY: Duration = Duration::from_secs(10);

/// The shortest pause between two looks at all roles.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How many background reads are in flight at once. Few: a slow source should not find all its connections taken.
const READS_AT_ONCE: usize = 4;

/// How often the progress of a slow listing is logged.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Keeps the cache up to date.
pub(super) struct Refresher<'a> {
    settings: &'a RoleCacheSettings,
    store: &'a Store,
    reader: &'a Reader,
    providers: &'a Providers,
    /// A stale copy is in use, or an admission has read a role.
    wake: &'a Notify,
    /// Roles to read, the longest overdue first.
    due: VecDeque<Arc<CachedRole>>,
    /// Background reads in flight.
    reads: FuturesUnordered<BoxFuture<'a, ()>>,
    provider_reads: FuturesUnordered<BoxFuture<'a, ()>>,
    /// The positions of sources that report a change.
    changes: SelectAll<BoxStream<'static, usize>>,
    /// By the position of the source; none for one that cannot list.
    schedules: Vec<Option<ListSchedule>>,
    /// The positions of sources to list next.
    to_list: VecDeque<(usize, Priority)>,
    listing: Option<InProgress<'a>>,
    next_look: Instant,
    next_references: Instant,
}

/// A listing in progress.
struct InProgress<'a> {
    order: usize,
    listed: BoxFuture<'a, Listed>,
    progress: watch::Receiver<Pass>,
    priority: SharedPriority,
}

impl<'a> Refresher<'a> {
    pub(super) fn new(
        settings: &'a RoleCacheSettings,
        store: &'a Store,
        reader: &'a Reader,
        providers: &'a Providers,
        wake: &'a Notify,
    ) -> Self {
        let sources = reader.fetcher().sources();
        let changes = sources.iter().enumerate().filter_map(|(order, paced)| {
            let changes = paced.source.changes()?;
            let changed = unfold(changes, move |mut changes| async move {
                changes.changed().await.ok().map(|()| (order, changes))
            });
            Some(changed.boxed())
        });
        let now = Instant::now();
        Self {
            settings,
            store,
            reader,
            providers,
            wake,
            due: VecDeque::new(),
            reads: FuturesUnordered::new(),
            provider_reads: FuturesUnordered::new(),
            changes: select_all(changes),
            schedules: sources.iter().map(|source| Some(ListSchedule::of(source))).collect(),
            to_list: (0..sources.len()).map(|order| (order, Priority::Background)).collect(),
            listing: None,
            next_look: now,
            next_references: now,
        }
    }

    /// Refreshes until it is dropped. `referenced` returns the roles that ServiceAccounts name.
    pub(super) async fn run(&mut self, referenced: impl Fn() -> Vec<RoleArn> + Send) {
        loop {
            self.list_for_refusals();
            self.begin_listing();
            self.begin_reads();
            let is_listing = self.is_listing();
            tokio::select! {
                // The references come before the first page: a listing that ends before it is known which roles are named proves
                // the absence of none.
                biased;
                () = sleep_until(self.next_references) => self.take_references(&referenced()),
                Some(order) = self.changes.next(), if !self.changes.is_empty() => self.mark_changed(order),
                Some(()) = self.reads.next(), if !self.reads.is_empty() => self.look_when_idle(),
                Some(()) = self.provider_reads.next(), if !self.provider_reads.is_empty() => {}
                listed = next_step(&mut self.listing) => self.take_listed(listed),
                () = self.wake.notified() => self.look_soon(),
                () = sleep_until(self.next_look), if !is_listing => self.look(),
            }
        }
    }

    /// Several roles that are about to be refused share a listing when that takes fewer calls than they do, and few enough to answer
    /// within their budget.
    fn list_for_refusals(&mut self) {
        let now = Instant::now();
        let sources = self.reader.fetcher().sources().iter().zip(&self.schedules).enumerate();
        let worth = sources.filter_map(|(order, (paced, schedule))| {
            let (limiter, schedule) = (paced.limiter()?, schedule.as_ref()?);
            let is_worth_it = limiter.can_share_listing(schedule.calls()?)
                && schedule.is_worth_for_refusals(limiter.waiting_refusals(), now);
            is_worth_it.then_some(order)
        });
        let worth: Vec<_> = worth.collect();
        for order in worth {
            match &self.listing {
                Some(listing) if listing.order == order => listing.priority.raise_to(Priority::Urgent),
                _ if self.to_list.contains(&(order, Priority::Urgent)) => {}
                _ => self.to_list.push_front((order, Priority::Urgent)),
            }
        }
    }

    fn begin_listing(&mut self) {
        while self.listing.is_none() {
            let Some((order, priority)) = self.to_list.pop_front() else {
                return;
            };
            let priority = SharedPriority::of(priority);
            let lister = Lister {
                fetcher: self.reader.fetcher(),
                store: self.store,
            };
            let (sender, progress) = watch::channel(Pass::default());
            match lister.list(order, priority.clone(), sender) {
                Some(listed) => {
                    let listed = logged(self.source(order), listed, progress.clone()).boxed();
                    self.listing = Some(InProgress {
                        order,
                        listed,
                        progress,
                        priority,
                    });
                }
                None => {
                    if let Some(schedule) = self.schedules.get_mut(order) {
                        *schedule = None;
                    }
                }
            }
        }
    }

    /// Whether a listing is about to answer what is due.
    fn is_listing(&self) -> bool {
        let listing = self.listing.as_ref();
        listing.is_some_and(|listing| !listing.progress.borrow().is_stalled)
    }

    /// Takes the result of a listing that has ended; none while it continues.
    fn take_listed(&mut self, listed: Option<Listed>) {
        let Some(listed) = listed else { return };
        let Some(InProgress { order, .. }) = self.listing.take() else {
            return;
        };
        let source = self.source(order);
        if let Some(Some(schedule)) = self.schedules.get_mut(order) {
            schedule.record(source, &listed, self.settings.ttl);
            let paced = self.reader.fetcher().sources().get(order);
            if let Some(limiter) = paced.and_then(PacedSource::limiter) {
                limiter.reserve_for_listing(schedule.calls().unwrap_or(0));
            }
        }
        self.look_soon();
    }

    fn source(&self, order: usize) -> &'static str {
        let paced = self.reader.fetcher().sources().get(order);
        paced.map_or("", |paced| paced.name())
    }

    /// Begins reads of due roles, unless a listing is about to answer them all.
    fn begin_reads(&mut self) {
        while !self.is_listing() && self.reads.len() < READS_AT_ONCE {
            let Some(role) = self.due.pop_front() else { return };
            let now = Instant::now();
            if self.due_at(&role, now).is_some_and(|at| at <= now) {
                let reader = self.reader;
                self.reads
                    .push(async move { reader.read_in_background(&role).await }.boxed());
            }
        }
    }

    /// A role that was read just now is due again some time: only a look finds out when.
    fn look_when_idle(&mut self) {
        if self.due.is_empty() {
            self.look_soon();
        }
    }

    fn look_soon(&mut self) {
        self.next_look = self.next_look.min(Instant::now() + LOOK_EVERY);
    }

    /// Looks at every role: which are due, which are no longer needed, and when to look again.
    fn look(&mut self) {
        let now = Instant::now();
        let mut next = now + REFERENCES_EVERY;
        let mut expired = Vec::new();
        let mut due = Vec::new();
        self.store.for_each(|role| {
            if role.is_expired(self.settings, self.store.clock(), now) {
                expired.push(role.arn.clone());
                return;
            }
            match self.due_at(role, now) {
                Some(at) if at > now => next = next.min(at),
                Some(at) if !self.reader.is_reading(role) => due.push((at, Arc::clone(role))),
                _ => {}
            }
        });
        for role in &expired {
            self.store.remove(role);
        }
        self.list_instead(&due, now);
        // The longest overdue first, so that no role waits forever when reads are slow.
        due.sort_unstable_by_key(|(at, _)| *at);
        self.due = due.into_iter().map(|(_, role)| role).collect();
        self.next_look = next.max(now + LOOK_EVERY);
    }

    fn due_at(&self, role: &CachedRole, now: Instant) -> Option<Instant> {
        role.due_at(self.settings.ttl, self.store.clock(), now)
    }

    /// Many roles of a source over the network are cheaper to list.
    fn list_instead(&mut self, due: &[(Instant, Arc<CachedRole>)], now: Instant) {
        if self.listing.is_some() {
            return;
        }
        let sources = self.reader.fetcher().sources().iter().zip(&self.schedules).enumerate();
        let to_list = sources.filter_map(|(order, (paced, schedule))| {
            // Roles of another account do not become fresh by it.
            let is_concerned = |role: &&CachedRole| paced.source.knows(&role.arn).is_none();
            let concerned = || due.iter().map(|(_, role)| &**role).filter(is_concerned).count();
            let is_worth_it = paced.is_remote() && schedule.as_ref()?.is_worth(concerned(), now);
            is_worth_it.then_some((order, Priority::Background))
        });
        self.to_list = to_list.collect();
    }

    /// Marks the roles that the source at this position answered for, or could answer for now, and looks at once.
    fn mark_changed(&mut self, order: usize) {
        self.store.for_each(|role| {
            let answer = role.trust.answer();
            if answer.as_deref().is_none_or(|answer| answer.value.order >= order) {
                role.mark_changed();
            }
        });
        self.next_look = Instant::now();
    }

    fn take_references(&mut self, referenced: &[RoleArn]) {
        let now = Instant::now();
        self.next_references = now + REFERENCES_EVERY;
        let capacity = self.store.capacity();
        if referenced.len() > capacity {
            debug!(
                referenced = referenced.len(),
                capacity,
                "ServiceAccounts refer to more roles than the role cache can hold; the rest is read on demand"
            );
        }
        let referenced: HashSet<_> = referenced.iter().take(capacity).collect();
        self.store.for_each(|role| {
            role.set_referenced(if referenced.contains(&role.arn) {
                Reference::Referenced
            } else {
                Reference::Unreferenced
            });
        });
        self.providers.reference(referenced.iter().copied());
        self.read_providers(now);
        for role in referenced {
            self.store.entry(role, Reference::Referenced, now);
        }
        self.next_look = now;
    }

    /// Reads OIDC providers that are due. They are not urgent, so they need no timer of their own.
    fn read_providers(&mut self, now: Instant) {
        if !self.provider_reads.is_empty() {
            return;
        }
        let providers = self.providers;
        for account in providers.due(now) {
            let read = async move { providers.read_in_background(&account).await };
            self.provider_reads.push(read.boxed());
        }
    }
}

/// Waits until a listing ends or makes progress, which may begin or end a stall; forever when no listing is in progress.
async fn next_step(listing: &mut Option<InProgress<'_>>) -> Option<Listed> {
    match listing {
        Some(InProgress { listed, progress, .. }) => tokio::select! {
            biased;
            listed = listed => Some(listed),
            Ok(()) = progress.changed() => None,
        },
        None => std::future::pending().await,
    }
}

/// Logs the progress of a slow listing.
async fn logged(source: &'static str, listed: BoxFuture<'_, Listed>, progress: watch::Receiver<Pass>) -> Listed {
    let began = Instant::now();
    let log = |Pass { roles, calls, .. }| {
        let seconds = began.elapsed().as_secs();
        info!(source, roles, calls, seconds, "listing roles");
    };
    tokio::select! {
        biased;
        listed = listed => listed,
        never = report(progress, PROGRESS_EVERY, log) => match never {},
    }
}
