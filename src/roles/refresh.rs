//! The refresher of the role cache: the one task that reads in the background.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::pending;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::{BoxStream, FuturesUnordered, SelectAll, select_all, unfold};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::age::Age;
use super::cache::{Core, Held, RoleCache, Trust};
use super::fetch::{ADOPTED_READS, InFlight, trust_of};
use super::limiter::Priority;
use super::list::{ListPass, ListSchedule, ListStep};
use super::source::{Answer, RoleDocument, namesake_hint};
use super::store::{CachedRole, Reference};
use crate::trust::RoleArn;

/// How often the refresher asks which roles ServiceAccounts name. A pod whose role it has not heard of yet reads it itself.
const WANTED_EVERY: Duration = Duration::from_secs(10);

/// The shortest pause between two looks at all roles.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How many background reads are under way at once. Few: a slow source should not find all its connections taken.
const READS_AT_ONCE: usize = 4;

impl RoleCache {
    /// Keeps the role cache until `stop`: reads ahead the roles that `wanted` names, refreshes what is in use at its time to live,
    /// reads again what a source says has changed, and runs the sources' own background work. The only task of the role cache;
    /// whoever starts it awaits it.
    pub async fn run(self: Arc<Self>, wanted: impl Fn() -> Vec<RoleArn> + Send, stop: CancellationToken) {
        let core = &self.core;
        let sources = join_all(core.sources.iter().map(|reader| reader.source.run(stop.clone())));
        let keep = async {
            let mut refresher = Refresher::new(core);
            tokio::select! {
                () = stop.cancelled() => {}
                () = refresher.keep(wanted) => {}
            }
        };
        tokio::join!(sources, keep);
    }
}

impl RoleCache {
    /// Lists every source over the network once, for these roles first of all. `progress` is told the number of roles so far,
    /// once it takes longer than a second. A listing that fails leaves its roles to be read one by one.
    pub async fn list(&self, wanted: &[RoleArn], progress: impl Fn(usize)) {
        let core = &self.core;
        let now_ms = core.millis(Instant::now());
        for role in wanted {
            core.store.place(role, Reference::Wanted, now_ms);
        }
        let remote = core
            .sources
            .iter()
            .enumerate()
            .filter(|(_, reader)| reader.limiter.is_some());
        for (order, reader) in remote {
            let Some(mut pass) = ListPass::begin(order, reader) else {
                continue;
            };
            loop {
                let next_progress = pass.next_progress();
                tokio::select! {
                    step = pass.step() => match step {
                        ListStep::Stumble => {}
                        ListStep::Page { roles, begun } => core.take_page(&mut pass, roles, begun).await,
                        ListStep::End => {
                            core.take_absences(&pass);
                            break;
                        }
                        ListStep::Abandoned(_) => break,
                    },
                    () = sleep_until(next_progress) => {
                        progress(pass.roles);
                        pass.next_progress = Instant::now() + PROGRESS_EVERY;
                    }
                }
            }
        }
    }
}

/// How often somebody who waits is told how far a listing is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

struct Refresher<'a> {
    core: &'a Arc<Core>,
    /// Roles whose time has come, not begun yet.
    due: VecDeque<Arc<CachedRole>>,
    /// Reads of OIDC providers under way, and when to look for the next.
    providers: FuturesUnordered<BoxFuture<'a, ()>>,
    /// Background reads under way.
    reads: FuturesUnordered<InFlight>,
    /// Every read under way comes here too, so that it ends even when nobody waits for it.
    adopted: FuturesUnordered<InFlight>,
    adoptions: mpsc::Receiver<InFlight>,
    /// The places of sources that say that something changed.
    changes: SelectAll<BoxStream<'static, usize>>,
    /// The listing under way.
    listing: Option<ListPass<'a>>,
    /// The places of sources to list next.
    to_list: VecDeque<usize>,
    /// Sources that can list, as far as is known.
    listers: Vec<ListSchedule>,
    next_look: Instant,
    next_wanted: Instant,
}

impl Drop for Refresher<'_> {
    fn drop(&mut self) {
        *self.core.adopter.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<'a> Refresher<'a> {
    fn new(core: &'a Arc<Core>) -> Self {
        let (adopter, adoptions) = mpsc::channel(ADOPTED_READS);
        *core.adopter.lock().unwrap_or_else(PoisonError::into_inner) = Some(adopter);
        let changes = core.sources.iter().enumerate().filter_map(|(order, reader)| {
            let receiver = reader.source.changes()?;
            let told = unfold(receiver, move |mut receiver| async move {
                receiver.changed().await.ok().map(|()| (order, receiver))
            });
            Some(told.boxed())
        });
        let now = Instant::now();
        let places = 0..core.sources.len();
        Self {
            core,
            due: VecDeque::new(),
            providers: FuturesUnordered::new(),
            reads: FuturesUnordered::new(),
            adopted: FuturesUnordered::new(),
            adoptions,
            changes: select_all(changes),
            listing: None,
            to_list: places.clone().collect(),
            listers: places.map(ListSchedule::new).collect(),
            next_look: now,
            next_wanted: now,
        }
    }

    async fn keep(&mut self, wanted: impl Fn() -> Vec<RoleArn> + Send) {
        loop {
            self.begin_listing();
            self.begin_reads();
            let (progress, is_listing) = (self.next_progress(), self.is_listing());
            tokio::select! {
                // What is wanted comes before the first page: a listing that ends before it is known who is missing from it
                // answers for nobody.
                biased;
                () = sleep_until(self.next_wanted) => self.take_wanted(&wanted()),
                Some(flight) = self.adoptions.recv() => self.adopted.push(flight),
                Some(order) = self.changes.next(), if !self.changes.is_empty() => self.mark_changed(order),
                Some(_) = self.reads.next(), if !self.reads.is_empty() => self.look_when_done(),
                Some(()) = self.providers.next(), if !self.providers.is_empty() => {}
                Some(_) = self.adopted.next(), if !self.adopted.is_empty() => self.look_when_done(),
                Some(step) = step_of(&mut self.listing) => self.take_step(step).await,
                () = self.core.nudge.notified() => self.look_soon(),
                () = sleep_until(progress.unwrap_or(self.next_look)), if progress.is_some() => self.tell_progress(),
                () = sleep_until(self.next_look), if !is_listing => self.look(),
            }
        }
    }

    fn begin_listing(&mut self) {
        while self.listing.is_none() {
            let Some(order) = self.to_list.pop_front() else { return };
            let core = self.core;
            let Some(reader) = core.sources.get(order) else { return };
            self.listing = ListPass::begin(order, reader);
            if self.listing.is_none() {
                self.listers.retain(|schedule| schedule.order != order);
            }
        }
    }

    /// Whether a listing is about to answer what is due.
    fn is_listing(&self) -> bool {
        self.listing.as_ref().is_some_and(|pass| !pass.stumbles())
    }

    fn next_progress(&self) -> Option<Instant> {
        self.listing.as_ref().map(ListPass::next_progress)
    }

    fn tell_progress(&mut self) {
        if let Some(pass) = &mut self.listing {
            pass.tell_progress();
        }
    }

    /// Begins reads of due roles, unless a listing is about to answer them all.
    fn begin_reads(&mut self) {
        while !self.is_listing() && self.reads.len() < READS_AT_ONCE {
            let Some(cached) = self.due.pop_front() else { return };
            if matches!(self.due_at(&cached, Instant::now()), Some(at) if at <= Instant::now()) {
                self.reads.push(self.core.read(&cached, Priority::Background));
            }
        }
    }

    /// What was read just now is due again some time: only a look finds out when.
    fn look_when_done(&mut self) {
        if self.due.is_empty() {
            self.look_soon();
        }
    }

    fn look_soon(&mut self) {
        self.next_look = self.next_look.min(Instant::now() + LOOK_EVERY);
    }

    /// Looks at every role: which are due, which may go, and when to look again.
    fn look(&mut self) {
        let now = Instant::now();
        let mut next = now + WANTED_EVERY;
        let mut forgotten = Vec::new();
        let mut due = Vec::new();
        self.core.store.for_each(|cached| {
            if self.is_forgotten(cached, now) {
                forgotten.push(cached.role.clone());
                return;
            }
            match self.due_at(cached, now) {
                Some(at) if at <= now && cached.is_being_read() => {}
                Some(at) if at <= now => due.push((at, Arc::clone(cached))),
                Some(at) => next = next.min(at),
                None => {}
            }
        });
        for role in &forgotten {
            self.core.store.remove(role);
        }
        self.list_instead(&due, now);
        // The longest due first, so that none waits for ever when reads are slow.
        due.sort_unstable_by_key(|(at, _)| *at);
        self.due = due.into_iter().map(|(_, cached)| cached).collect();
        self.next_look = next.max(now + LOOK_EVERY);
    }

    /// Many roles of a source over the network are cheaper to list.
    fn list_instead(&mut self, due: &[(Instant, Arc<CachedRole>)], now: Instant) {
        if self.listing.is_some() {
            return;
        }
        let core = self.core;
        let worth_it = |schedule: &&ListSchedule| {
            let Some(reader) = core.sources.get(schedule.order) else {
                return false;
            };
            // Roles of another account do not become fresh by it.
            let concerned = || {
                due.iter()
                    .filter(|(_, cached)| reader.source.knows(&cached.role).is_none())
            };
            reader.limiter.is_some() && schedule.is_worth(concerned().count(), now)
        };
        self.to_list = self
            .listers
            .iter()
            .filter(worth_it)
            .map(|schedule| schedule.order)
            .collect();
    }

    /// When a role is read next; none when nobody needs it.
    fn due_at(&self, cached: &CachedRole, now: Instant) -> Option<Instant> {
        let ttl = self.core.settings.ttl;
        let held = cached.held.load();
        let used = cached.used.load(Ordering::Relaxed);
        let in_use = cached.wanted.load(Ordering::Relaxed)
            || held.as_deref().is_some_and(|held| used > self.core.millis(held.begun));
        if !in_use {
            return None;
        }
        let changed = cached.changed.load(Ordering::Acquire);
        match (&cached.refresh_state().failure, held.as_deref()) {
            (Some(failure), _) if failure.retry_at > now => Some(failure.retry_at),
            _ if changed => Some(now),
            // After a failure of a source that answers from memory there is no use in asking before it says that it changed.
            (Some(failure), _) if failure.retry_at == failure.at => Some(after(failure.at, ttl)),
            (Some(failure), _) => Some(failure.retry_at),
            (None, Some(held)) => Some(after(held.begun, ttl)),
            (None, None) => Some(now),
        }
    }

    /// Nobody names it, nobody asked for it for as long as a copy may serve, and its copy serves no more.
    fn is_forgotten(&self, cached: &CachedRole, now: Instant) -> bool {
        if cached.wanted.load(Ordering::Relaxed) {
            return false;
        }
        let kept = u64::try_from(self.core.settings.max_stale.as_millis()).unwrap_or(u64::MAX);
        let unused = cached.used.load(Ordering::Relaxed).saturating_add(kept) < self.core.millis(now);
        unused
            && cached
                .held
                .load()
                .as_deref()
                .is_none_or(|held| self.core.age_of(held, now) == Age::TooOld)
    }

    /// Marks what a source at this place answered, or could answer now, and looks at once.
    fn mark_changed(&mut self, order: usize) {
        self.core.store.for_each(|cached| {
            let may_differ = cached.held.load().as_deref().is_none_or(|held| held.order >= order);
            if may_differ {
                cached.changed.store(true, Ordering::Release);
            }
        });
        self.next_look = Instant::now();
    }

    fn take_wanted(&mut self, wanted: &[RoleArn]) {
        let now = Instant::now();
        self.next_wanted = now + WANTED_EVERY;
        let capacity = self.core.store.capacity();
        if wanted.len() > capacity {
            debug!(
                wanted = wanted.len(),
                capacity, "more roles are named than the role cache holds; the rest is read on demand"
            );
        }
        let wanted: HashSet<_> = wanted.iter().take(capacity).collect();
        self.core
            .store
            .for_each(|cached| cached.wanted.store(wanted.contains(&cached.role), Ordering::Relaxed));
        self.core.want_providers(wanted.iter().copied());
        self.read_providers(now);
        let now_ms = self.core.millis(now);
        for role in wanted {
            self.core.store.place(role, Reference::Wanted, now_ms);
        }
        self.next_look = now;
    }

    /// Reads OIDC providers whose time has come. As often as this is called is soon enough.
    fn read_providers(&mut self, now: Instant) {
        if !self.providers.is_empty() {
            return;
        }
        let core = self.core;
        for account in core.due_providers(now) {
            let read = async move { core.read_provider(&account, now, Priority::Background).await };
            self.providers.push(read.boxed());
        }
    }

    async fn take_step(&mut self, step: ListStep) {
        match step {
            ListStep::Stumble => {}
            ListStep::Page { roles, begun } => self.take_page(roles, begun).await,
            ListStep::End => {
                let Some(pass) = self.listing.take() else { return };
                self.core
                    .observer
                    .roles_listed(pass.source, Some(pass.roles), pass.begun.elapsed());
                self.core.take_absences(&pass);
                if let Some(schedule) = self.listers.iter_mut().find(|schedule| schedule.order == pass.order) {
                    schedule.ended(&pass, self.core.settings.ttl);
                }
                self.look_soon();
            }
            ListStep::Abandoned(failure) => {
                let Some(pass) = self.listing.take() else { return };
                self.core.observer.roles_listed(pass.source, None, pass.begun.elapsed());
                if let Some(schedule) = self.listers.iter_mut().find(|schedule| schedule.order == pass.order) {
                    schedule.failed(&pass, &failure, self.core.settings.ttl);
                }
                self.look_soon();
            }
        }
    }

    async fn take_page(&mut self, roles: Vec<(RoleArn, RoleDocument)>, begun: Instant) {
        if let Some(pass) = &mut self.listing {
            self.core.take_page(pass, roles, begun).await;
        }
    }
}

/// What became of a role of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filled {
    /// It is kept, or something better is.
    Kept,
    /// Its policy hangs on what listings do not tell; it is read by itself.
    NeedsMore,
}

impl Core {
    async fn take_page(&self, pass: &mut ListPass<'_>, roles: Vec<(RoleArn, RoleDocument)>, begun: Instant) {
        for (index, (role, document)) in roles.into_iter().enumerate() {
            if self.fill(pass.order, begun, &role, &document).await == Filled::NeedsMore {
                pass.left_out.insert(role);
            }
            // Thousands of policies are parsed here; admissions on this thread go first.
            if index % 64 == 63 {
                yield_now().await;
            }
        }
    }

    /// Takes one role of a listing: a role that is kept already or named by a ServiceAccount, any other while there is room.
    async fn fill(&self, order: usize, begun: Instant, role: &RoleArn, document: &RoleDocument) -> Filled {
        for earlier in self.sources.iter().take(order) {
            let is_elsewhere = |answer: &Answer| matches!(answer, Answer::NotMine | Answer::CannotRead(_));
            let left_to_others = match (earlier.source.knows(role), &earlier.limiter) {
                (Some(answer), _) => is_elsewhere(&answer),
                (None, None) => is_elsewhere(&earlier.source.read(role, begun).await),
                (None, Some(_)) => false,
            };
            if !left_to_others {
                return Filled::Kept;
            }
        }
        let known = self.store.look(role, |_| ()).is_some();
        if !known && self.store.len() >= self.store.capacity() {
            return Filled::Kept;
        }
        let cached = self.store.place(role, Reference::Unwanted, self.millis(begun));
        let newer = cached.held.load().as_deref().is_some_and(|held| held.begun > begun);
        if newer {
            return Filled::Kept;
        }
        let trust = trust_of(document);
        if matches!(&trust, Trust::Policy { policy, tags: None } if policy.mentions_role_tags()) {
            return Filled::NeedsMore;
        }
        let source = self.sources.get(order).map(|reader| reader.source.name());
        cached.keep(Arc::new(Held {
            trust,
            source,
            order,
            begun,
        }));
        Filled::Kept
    }

    /// What a listing of every role did not name does not exist.
    fn take_absences(&self, pass: &ListPass<'_>) {
        let Some(reader) = self.sources.get(pass.order) else {
            return;
        };
        let mut absent = Vec::new();
        let mut present: HashMap<String, RoleArn> = HashMap::new();
        self.store.for_each(|cached| {
            if !reader.source.lists_every_role_like(&cached.role) || pass.left_out.contains(&cached.role) {
                return;
            }
            let held = cached.held.load();
            match held.as_deref() {
                Some(held) if held.begun >= pass.begun => {
                    if matches!(held.trust, Trust::Policy { .. } | Trust::Malformed(_)) {
                        present.insert(cached.role.name().to_ascii_lowercase(), cached.role.clone());
                    }
                }
                // An earlier source may answer for it.
                Some(held) if held.order < pass.order => {}
                None if pass.order > 0 && !self.is_left_to(pass.order, &cached.role) => {}
                _ => absent.push(Arc::clone(cached)),
            }
        });
        let source = Some(reader.source.name());
        for cached in absent {
            let namesake = present.get(&cached.role.name().to_ascii_lowercase());
            cached.keep(Arc::new(Held {
                trust: Trust::NoSuchRole {
                    hint: namesake.map(namesake_hint),
                },
                source,
                order: pass.order,
                begun: pass.begun,
            }));
        }
    }

    /// Whether every source before this one says at once that a role is not its own.
    fn is_left_to(&self, order: usize, role: &RoleArn) -> bool {
        let mut earlier = self.sources.iter().take(order);
        earlier.all(|reader| matches!(reader.source.knows(role), Some(Answer::NotMine | Answer::CannotRead(_))))
    }
}

/// A moment later; a time to live may be so long that the clock cannot say when it ends.
fn after(moment: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    moment.checked_add(duration.min(FAR)).unwrap_or(moment)
}

/// What the listing under way says next; never, when there is none.
async fn step_of(listing: &mut Option<ListPass<'_>>) -> Option<ListStep> {
    match listing {
        Some(pass) => Some(pass.step().await),
        None => pending().await,
    }
}
