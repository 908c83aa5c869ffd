//! The keeper of the book: the one task that reads in the background.

use std::collections::{HashSet, VecDeque};
use std::future::pending;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::{BoxStream, FuturesUnordered, SelectAll, select_all, unfold};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::age::Age;
use super::book::{Book, Core, Held};
use super::pacer::Lane;
use super::reads::{ADOPTED_READS, Flight, Reader, trust_of};
use super::shelf::{Slot, Standing};
use super::source::{Answer, Listing, RoleDocument};
use crate::iam::RoleArn;

/// How often the keeper asks which roles ServiceAccounts name. A pod whose role it has not heard of yet reads it itself.
const WANTED_EVERY: Duration = Duration::from_secs(10);

/// The shortest pause between two looks at all roles.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How many background reads are under way at once. Few: a slow source should not find all its connections taken.
const READS_AT_ONCE: usize = 4;

/// With more roles due than this, one listing is cheaper than reading each (IAM lists 1000 roles a call).
const LIST_ABOVE: usize = 20;

impl Book {
    /// Keeps the book until `stop`: reads ahead the roles that `wanted` names, refreshes what is in use at its time to live,
    /// reads again what a source says has changed, and runs the sources' own background work. The only task of the book;
    /// whoever starts it awaits it.
    pub async fn run(self: Arc<Self>, wanted: impl Fn() -> Vec<RoleArn> + Send, stop: CancellationToken) {
        let core = &self.core;
        let sources = join_all(core.sources.iter().map(|reader| reader.source.run(stop.clone())));
        let keep = async {
            let mut keeper = Keeper::new(core);
            tokio::select! {
                () = stop.cancelled() => {}
                () = keeper.keep(wanted) => {}
            }
        };
        tokio::join!(sources, keep);
    }
}

struct Keeper<'a> {
    core: &'a Arc<Core>,
    /// Roles whose time has come, not begun yet.
    due: VecDeque<Arc<Slot>>,
    /// Background reads under way.
    reads: FuturesUnordered<Flight>,
    /// Every read under way comes here too, so that it ends even when nobody waits for it.
    adopted: FuturesUnordered<Flight>,
    adoptions: mpsc::Receiver<Flight>,
    /// The places of sources that say that something changed.
    changes: SelectAll<BoxStream<'static, usize>>,
    /// The listing under way.
    listing: Option<BoxFuture<'a, Listed>>,
    /// The places of sources to list next.
    to_list: VecDeque<usize>,
    /// The places of sources that can list, as far as is known.
    listers: Vec<usize>,
    last_listed: Option<Instant>,
    next_look: Instant,
    next_wanted: Instant,
}

struct Listed {
    order: usize,
    begun: Instant,
    listing: Listing,
}

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        *self.core.adopter.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<'a> Keeper<'a> {
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
        // A listing skips the sources before it, which is right only while they answer from memory and are asked all the same.
        let answers_from_memory = |reader: &Reader| reader.pacer.is_none();
        let before_first_remote = core
            .sources
            .iter()
            .take_while(|reader| answers_from_memory(reader))
            .count();
        let listers: Vec<_> = (0..core.sources.len())
            .filter(|order| *order <= before_first_remote)
            .collect();
        Self {
            core,
            due: VecDeque::new(),
            reads: FuturesUnordered::new(),
            adopted: FuturesUnordered::new(),
            adoptions,
            changes: select_all(changes),
            listing: None,
            to_list: listers.iter().copied().collect(),
            listers,
            last_listed: None,
            next_look: now,
            next_wanted: now,
        }
    }

    async fn keep(&mut self, wanted: impl Fn() -> Vec<RoleArn> + Send) {
        loop {
            self.begin_listing();
            self.begin_reads();
            tokio::select! {
                Some(listed) = finish(&mut self.listing) => self.take_listing(listed).await,
                Some(_) = self.reads.next(), if !self.reads.is_empty() => self.look_when_done(),
                Some(_) = self.adopted.next(), if !self.adopted.is_empty() => self.look_when_done(),
                Some(flight) = self.adoptions.recv() => self.adopted.push(flight),
                Some(order) = self.changes.next(), if !self.changes.is_empty() => self.mark_changed(order),
                () = self.core.nudge.notified() => self.look_soon(),
                () = sleep_until(self.next_wanted) => self.take_wanted(&wanted()),
                () = sleep_until(self.next_look), if self.listing.is_none() => self.look(),
            }
        }
    }

    fn begin_listing(&mut self) {
        if self.listing.is_some() {
            return;
        }
        let Some(order) = self.to_list.pop_front() else { return };
        let core = self.core;
        let Some(reader) = core.sources.get(order) else { return };
        self.listing = Some(Box::pin(async move {
            let begun = Instant::now();
            let listing = reader.source.list().await;
            Listed { order, begun, listing }
        }));
    }

    /// Begins reads of due roles, unless a listing is about to answer them all.
    fn begin_reads(&mut self) {
        while self.listing.is_none() && self.reads.len() < READS_AT_ONCE {
            let Some(slot) = self.due.pop_front() else { return };
            if matches!(self.due_at(&slot, Instant::now()), Some(at) if at <= Instant::now()) {
                self.reads.push(self.core.read(&slot, Lane::Background));
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
        self.core.shelf.for_each(|slot| {
            if self.is_forgotten(slot, now) {
                forgotten.push(slot.role.clone());
                return;
            }
            match self.due_at(slot, now) {
                Some(at) if at <= now && slot.is_being_read() => {}
                Some(at) if at <= now => due.push((at, Arc::clone(slot))),
                Some(at) => next = next.min(at),
                None => {}
            }
        });
        for role in &forgotten {
            self.core.shelf.remove(role);
        }
        self.list_instead(due.len(), now);
        // The longest due first, so that none waits for ever when reads are slow.
        due.sort_unstable_by_key(|(at, _)| *at);
        self.due = due.into_iter().map(|(_, slot)| slot).collect();
        self.next_look = next.max(now + LOOK_EVERY);
    }

    /// Many roles of a source over the network are cheaper to list.
    fn list_instead(&mut self, due: usize, now: Instant) {
        let recently = self
            .last_listed
            .is_some_and(|last| after(last, self.core.settings.ttl / 2) > now);
        if due <= LIST_ABOVE || recently {
            return;
        }
        let remote = |order: &&usize| {
            self.core
                .sources
                .get(**order)
                .is_some_and(|reader| reader.pacer.is_some())
        };
        self.to_list = self.listers.iter().filter(remote).copied().collect();
    }

    /// When a role is read next; none when nobody needs it.
    fn due_at(&self, slot: &Slot, now: Instant) -> Option<Instant> {
        let ttl = self.core.settings.ttl;
        let held = slot.held.load();
        let used = slot.used.load(Ordering::Relaxed);
        let in_use = slot.wanted.load(Ordering::Relaxed)
            || held.as_deref().is_some_and(|held| used > self.core.millis(held.begun));
        if !in_use {
            return None;
        }
        let changed = slot.changed.load(Ordering::Acquire);
        match (&slot.upkeep().failure, held.as_deref()) {
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
    fn is_forgotten(&self, slot: &Slot, now: Instant) -> bool {
        if slot.wanted.load(Ordering::Relaxed) {
            return false;
        }
        let kept = u64::try_from(self.core.settings.max_stale.as_millis()).unwrap_or(u64::MAX);
        let unused = slot.used.load(Ordering::Relaxed).saturating_add(kept) < self.core.millis(now);
        unused
            && slot
                .held
                .load()
                .as_deref()
                .is_none_or(|held| self.core.age_of(held, now) == Age::TooOld)
    }

    /// Marks what a source at this place answered, or could answer now, and looks at once.
    fn mark_changed(&mut self, order: usize) {
        self.core.shelf.for_each(|slot| {
            let may_differ = slot.held.load().as_deref().is_none_or(|held| held.order >= order);
            if may_differ {
                slot.changed.store(true, Ordering::Release);
            }
        });
        self.next_look = Instant::now();
    }

    fn take_wanted(&mut self, wanted: &[RoleArn]) {
        let now = Instant::now();
        self.next_wanted = now + WANTED_EVERY;
        let capacity = self.core.shelf.capacity();
        if wanted.len() > capacity {
            debug!(
                wanted = wanted.len(),
                capacity, "more roles are named than the role book holds; the rest is read on demand"
            );
        }
        let wanted: HashSet<_> = wanted.iter().take(capacity).collect();
        self.core
            .shelf
            .for_each(|slot| slot.wanted.store(wanted.contains(&slot.role), Ordering::Relaxed));
        let now_ms = self.core.millis(now);
        for role in wanted {
            self.core.shelf.place(role, Standing::Wanted, now_ms);
        }
        self.next_look = now;
    }

    async fn take_listing(&mut self, listed: Listed) {
        self.listing = None;
        let Listed { order, begun, listing } = listed;
        let Some(reader) = self.core.sources.get(order) else {
            return;
        };
        let source = reader.source.name();
        let took = begun.elapsed();
        match listing {
            None => self.listers.retain(|lister| *lister != order),
            Some(Err(reason)) => {
                self.last_listed = Some(Instant::now());
                self.core.observer.roles_listed(source, None, took);
                warn!(
                    source,
                    reason, "the roles could not be listed; they are read one by one"
                );
            }
            Some(Ok(roles)) => {
                self.last_listed = Some(Instant::now());
                self.core.observer.roles_listed(source, Some(roles.len()), took);
                for (index, (role, document)) in roles.into_iter().enumerate() {
                    self.core.fill(order, begun, &role, &document).await;
                    // Thousands of policies are parsed here; admissions on this thread go first.
                    if index % 64 == 63 {
                        yield_now().await;
                    }
                }
            }
        }
        self.look_soon();
    }
}

impl Core {
    /// Takes one role of a listing: a role that is kept already or named by a ServiceAccount, any other while there is room.
    async fn fill(&self, order: usize, begun: Instant, role: &RoleArn, document: &RoleDocument) {
        for earlier in self.sources.iter().take(order) {
            if earlier.source.read(role).await != Answer::NotMine {
                return;
            }
        }
        let known = self.shelf.look(role, |_| ()).is_some();
        if !known && self.shelf.len() >= self.shelf.capacity() {
            return;
        }
        let slot = self.shelf.place(role, Standing::Unwanted, self.millis(begun));
        let newer = slot.held.load().as_deref().is_some_and(|held| held.begun > begun);
        if newer {
            return;
        }
        let source = self.sources.get(order).map(|reader| reader.source.name());
        let trust = trust_of(role, document);
        slot.keep(Arc::new(Held {
            trust,
            source,
            order,
            begun,
        }));
    }
}

/// A moment later; a time to live may be so long that the clock cannot say when it ends.
fn after(moment: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    moment.checked_add(duration.min(FAR)).unwrap_or(moment)
}

/// The listing under way; never, when there is none.
async fn finish(listing: &mut Option<BoxFuture<'_, Listed>>) -> Option<Listed> {
    match listing {
        Some(listing) => Some(listing.await),
        None => pending().await,
    }
}
