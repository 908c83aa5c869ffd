//! Request coalescing: callers that need the same value at about the same time share one read of it.
//!
//! The module depends on one property: **a result is valid for every caller whose `as_of` is not later than the moment at which the read
//! began.** What the read found may have changed at any moment after that, so a later caller must not get it. Therefore:
//!
//! - A caller joins the read in flight unless that read began before the caller's `as_of`. All callers that it began too early for
//!   share the next read, so a key has at most two rounds at a time.
//! - A read never begins while another read of its key is in flight.
//! - A read runs in a task of its own. It continues when the caller that started it leaves; after its owner has ended, it continues only
//!   while a caller is waiting.
//! - A read is as urgent as its most urgent caller, also while it is waiting, until the last of them has left.
//! - No result is kept. A caller that keeps one must compare the moment at which its read began with the next caller's `as_of`.
//!
//! Single-flight libraries also share results of reads that began before the caller asked, which is why none of them is used.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shares::Shares;

/// How a question ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<V> {
    /// It was answered.
    Done {
        /// The answer.
        value: V,
        /// When its read began: the answer is true as of this moment or later.
        began: Instant,
    },
    /// Too many reads were in flight: no permit within half of the time that was left. The other half is for the answer.
    Busy,
    /// No answer arrived in time, or the read was stopped.
    TimedOut,
}

/// What a caller requires of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    as_of: Option<Instant>,
    deadline: Option<Instant>,
    priority: Priority,
}

impl Caller {
    /// Any read in flight will do.
    pub(crate) const fn any() -> Self {
        Self {
            as_of: None,
            deadline: None,
            priority: Priority::Foreground,
        }
    }

    /// The read must begin at this moment, which is not in the future, or later.
    pub(crate) const fn as_of(as_of: Instant) -> Self {
        Self {
            as_of: Some(as_of),
            ..Self::any()
        }
    }

    /// The caller leaves at this moment. Without a deadline it is the caller that bounds its waiting.
    pub(crate) const fn by(self, deadline: Instant) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }

    /// No request is waiting for the answer.
    pub(crate) const fn in_background(self) -> Self {
        Self {
            priority: Priority::Background,
            ..self
        }
    }

    /// The request is refused unless the answer prevents it.
    pub(crate) const fn urgent(self) -> Self {
        Self {
            priority: Priority::Urgent,
            ..self
        }
    }
}

/// Who is waiting for a read, the least urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// Nothing but the upkeep of a cache.
    Background,
    /// A request.
    Foreground,
    /// A request that is refused unless the answer prevents it.
    Urgent,
}

/// The priority of a read, shared with the reader: it rises while the read is waiting when a more urgent caller joins it, and is that
/// of the background when the last request has left.
#[derive(Clone, Debug)]
pub(crate) struct SharedPriority(Arc<watch::Sender<Demand>>);

/// What the callers of a read require together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Demand {
    /// The highest.
    priority: Priority,
    /// When the last request leaves; none when one of them does not say, or when there is none.
    leaves: Option<Instant>,
}

impl SharedPriority {
    /// Of requests that do not leave.
    pub(crate) fn of(priority: Priority) -> Self {
        let leaves = None;
        Self(Arc::new(watch::Sender::new(Demand { priority, leaves })))
    }

    fn for_caller(caller: Caller) -> Self {
        let shared = Self::of(Priority::Background);
        shared.raise(caller.priority, caller.deadline);
        shared
    }

    /// A request of this priority, which does not leave, is waiting too.
    pub(crate) fn raise_to(&self, priority: Priority) {
        self.raise(priority, None);
    }

    fn raise(&self, priority: Priority, leaves: Option<Instant>) {
        if priority == Priority::Background {
            return;
        }
        self.0.send_if_modified(|demand| {
            let before = *demand;
            demand.leaves = match before.priority {
                Priority::Background => leaves,
                Priority::Foreground | Priority::Urgent => before.leaves.zip(leaves).map(|(one, other)| one.max(other)),
            };
            demand.priority = before.priority.max(priority);
            *demand != before
        });
    }

    /// The highest priority so far.
    pub(crate) fn highest(&self) -> Priority {
        self.0.borrow().priority
    }

    /// The priority at this moment, and when that ends because the last request leaves.
    pub(crate) fn at(&self, now: Instant) -> (Priority, Option<Instant>) {
        let Demand { priority, leaves } = *self.0.borrow();
        match leaves {
            Some(leaves) if leaves <= now => (Priority::Background, None),
            _ => (priority, leaves),
        }
    }

    /// Reports callers that join from here on.
    pub(crate) fn joins(&self) -> Joins {
        Joins(self.0.subscribe())
    }
}

/// Callers that join a read.
#[derive(Debug)]
pub(crate) struct Joins(watch::Receiver<Demand>);

impl Joins {
    /// Waits until a caller has joined that may change the priority.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// One read, as seen by the function that reads.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    callers: Arc<Mutex<Callers>>,
    priority: SharedPriority,
}

/// What the callers of one read require together.
#[derive(Debug)]
struct Callers {
    /// The latest of their moments; none when any read will do for all of them.
    as_of: Option<Instant>,
    /// The latest of their deadlines; none when one of them has none.
    deadline: Option<Instant>,
    began: Option<Instant>,
    /// Whether the read waits until it may look.
    waits_for_turn: bool,
}

impl Reading {
    fn for_caller(caller: Caller) -> Self {
        Self {
            callers: Arc::new(Mutex::new(Callers {
                as_of: caller.as_of,
                deadline: caller.deadline,
                began: None,
                waits_for_turn: false,
            })),
            priority: SharedPriority::for_caller(caller),
        }
    }

    /// Begins to read and returns the moment as of which the answer must be true: `window` ago, so that reads of several keys can
    /// share what one of them found, but not before the moment that a caller requires. Callers that require a later moment get the
    /// next read from here on. Only the first call counts; the others return the same moment.
    ///
    /// A read that never calls this has looked at nothing, and counts as begun when it ends.
    pub(crate) fn begin(&self, window: Duration) -> Instant {
        let mut callers = self.callers.lock();
        let now = Instant::now();
        let earliest = now.checked_sub(window).unwrap_or(now);
        let required = callers.as_of;
        *callers
            .began
            .get_or_insert_with(|| required.map_or(earliest, |as_of| as_of.max(earliest)))
    }

    /// Waits for the turn of the read. Until then, [`Reading::is_answered_as_of`] can end it.
    pub(crate) async fn wait_for_turn(&self, turn: impl Future<Output = ()>) {
        self.callers.lock().waits_for_turn = true;
        turn.await;
        self.callers.lock().waits_for_turn = false;
    }

    /// Whether an answer that another read found is good for all callers of this one, which waits for its turn. If so, this read counts
    /// as begun when that one began: callers that require a later moment get the next read.
    pub(crate) fn is_answered_as_of(&self, began: Instant) -> bool {
        let mut callers = self.callers.lock();
        let required = callers.began.max(callers.as_of);
        if !callers.waits_for_turn || required.is_some_and(|required| required > began) {
            return false;
        }
        callers.began.get_or_insert(began);
        true
    }

    /// Whether it has not looked yet.
    fn waits(&self) -> bool {
        let callers = self.callers.lock();
        callers.waits_for_turn || callers.began.is_none()
    }

    /// The highest priority of its callers.
    pub(crate) const fn priority(&self) -> &SharedPriority {
        &self.priority
    }

    /// When the last caller leaves; none when one of them does not say.
    fn deadline(&self) -> Option<Instant> {
        self.callers.lock().deadline
    }

    /// Takes a caller in, unless the read began too early for it.
    fn admit(&self, caller: Caller) -> Admitted {
        let mut callers = self.callers.lock();
        if callers
            .began
            .is_some_and(|began| caller.as_of.is_some_and(|as_of| as_of > began))
        {
            return Admitted::TooLate;
        }
        callers.as_of = callers.as_of.max(caller.as_of);
        callers.deadline = callers.deadline.zip(caller.deadline).map(|(one, other)| one.max(other));
        Admitted::Joined
    }
}

#[derive(PartialEq, Eq)]
enum Admitted {
    Joined,
    TooLate,
}

/// Shares reads, one at a time per key.
#[derive(Debug)]
pub(crate) struct Coalescer<K, V> {
    flights: Arc<Mutex<HashMap<K, Flight<V>>>>,
    permits: Permits,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// How many reads can be in flight.
#[derive(Clone, Debug)]
enum Permits {
    Unlimited,
    Limited(Arc<Semaphore>),
    Shared(Shares),
}

/// The rounds of one key.
#[derive(Debug)]
struct Flight<V> {
    current: Round<V>,
    /// For callers that the current read began too early for.
    next: Option<Round<V>>,
}

/// The callers that share one answer.
#[derive(Debug)]
struct Round<V> {
    reading: Reading,
    outcome: watch::Sender<Option<Outcome<V>>>,
}

impl<K, V> Coalescer<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Reads in tasks of `tasks`, whose owner cancels `end` and then awaits them: from then on, reads that no caller is waiting for
    /// are dropped. Until then a read ends by itself.
    pub(crate) fn new(tasks: TaskTracker, end: CancellationToken) -> Self {
        Self {
            flights: Arc::default(),
            permits: Permits::Unlimited,
            tasks,
            end,
        }
    }

    /// At most `concurrency` reads at a time. So that none holds its permit for ever, a read is given up at the latest deadline of
    /// the callers for which it began.
    pub(crate) fn limited(concurrency: usize, tasks: TaskTracker, end: CancellationToken) -> Self {
        Self {
            permits: Permits::Limited(Arc::new(Semaphore::new(concurrency))),
            ..Self::new(tasks, end)
        }
    }

    /// Limited by permits and paces that several parties share ([`Coalescer::ask_for`]). Reads are given up as by [`Coalescer::limited`].
    pub(crate) fn shared(shares: Shares, tasks: TaskTracker, end: CancellationToken) -> Self {
        Self {
            permits: Permits::Shared(shares),
            ..Self::new(tasks, end)
        }
    }

    /// Joins a read of `key` that began at or after the moment that the caller requires, or that has not begun yet; else reads.
    /// Every caller of a key passes the same function, which calls [`Reading::begin`] just before it looks.
    ///
    /// Cancel-safe: the read goes on.
    pub(crate) async fn ask<R, F>(&self, key: K, caller: Caller, read: R) -> Outcome<V>
    where
        R: Fn(Reading) -> F + Send + 'static,
        F: Future<Output = V> + Send + 'static,
    {
        self.ask_for("", key, caller, read).await
    }

    /// As [`Coalescer::ask`], with a permit of this party. All callers of a key name the same one.
    pub(crate) async fn ask_for<R, F>(&self, party: &str, key: K, caller: Caller, read: R) -> Outcome<V>
    where
        R: Fn(Reading) -> F + Send + 'static,
        F: Future<Output = V> + Send + 'static,
    {
        let mut outcome = self.join(party, key, caller, read);
        match by(caller.deadline, outcome.wait_for(Option::is_some)).await {
            Some(Ok(outcome)) => outcome.clone().unwrap_or(Outcome::TimedOut),
            Some(Err(_)) | None => Outcome::TimedOut,
        }
    }

    /// Whether a read of `key` is in flight.
    pub(crate) fn is_reading(&self, key: &K) -> bool {
        self.flights.lock().contains_key(key)
    }

    /// Whether a read of `key` is in flight that has not looked yet: it waits for its turn.
    pub(crate) fn waits_for_turn(&self, key: &K) -> bool {
        let flights = self.flights.lock();
        flights.get(key).is_some_and(|flight| flight.current.reading.waits())
    }

    fn join<R, F>(&self, party: &str, key: K, caller: Caller, read: R) -> watch::Receiver<Option<Outcome<V>>>
    where
        R: Fn(Reading) -> F + Send + 'static,
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get_mut(&key) {
            return flight.join(caller);
        }
        let current = Round::new(caller);
        let outcome = current.outcome.subscribe();
        flights.insert(key.clone(), Flight { current, next: None });
        let landing = Landing {
            flights: Arc::clone(&self.flights),
            key: Some(key),
        };
        self.tasks
            .spawn(fly(landing, self.permits.clone(), party.into(), self.end.clone(), read));
        outcome
    }
}

impl<V> Flight<V> {
    fn join(&mut self, caller: Caller) -> watch::Receiver<Option<Outcome<V>>> {
        // Also a caller that the current read does nothing for waits for its end.
        self.current.reading.priority.raise(caller.priority, caller.deadline);
        if self.current.reading.admit(caller) == Admitted::Joined {
            return self.current.outcome.subscribe();
        }
        let next = self.next.get_or_insert_with(|| Round::new(caller));
        // The next read has not begun.
        let _joined = next.reading.admit(caller);
        next.reading.priority.raise(caller.priority, caller.deadline);
        next.outcome.subscribe()
    }
}

impl<V> Round<V> {
    fn new(caller: Caller) -> Self {
        Self {
            reading: Reading::for_caller(caller),
            outcome: watch::Sender::new(None),
        }
    }
}

/// Reads for one round of a key after the other, until there is none.
async fn fly<K, V, R, F>(mut landing: Landing<K, V>, permits: Permits, party: Box<str>, end: CancellationToken, read: R)
where
    K: Eq + Hash,
    R: Fn(Reading) -> F,
    F: Future<Output = V>,
{
    while let Some((reading, answered)) = landing.current() {
        let value = read(reading.clone());
        let answer = async {
            let patience = reading.deadline().map(half_way_to);
            match &permits {
                Permits::Unlimited => done(value.await, &reading),
                Permits::Limited(permits) => {
                    let permit = by(patience, permits.acquire()).await.and_then(Result::ok);
                    read_with_permit(permit, &reading, value).await
                }
                Permits::Shared(shares) => {
                    let permit = shares.acquire(&party, patience).await;
                    read_with_permit(permit, &reading, value).await
                }
            }
        };
        let abandoned = async {
            end.cancelled().await;
            answered.closed().await;
        };
        let outcome = tokio::select! {
            biased;
            outcome = answer => outcome,
            () = abandoned => Outcome::TimedOut,
        };
        landing.land(outcome);
    }
}

/// Reads while it holds the permit, if there is one.
async fn read_with_permit<P, V>(permit: Option<P>, reading: &Reading, value: impl Future<Output = V>) -> Outcome<V> {
    // Later callers get the next round, also of a read for which there is no permit.
    reading.begin(Duration::ZERO);
    let Some(_permit) = permit else {
        return Outcome::Busy;
    };
    match by(reading.deadline(), value).await {
        Some(value) => done(value, reading),
        None => Outcome::TimedOut,
    }
}

fn done<V>(value: V, reading: &Reading) -> Outcome<V> {
    Outcome::Done {
        value,
        began: reading.begin(Duration::ZERO),
    }
}

/// What the task of a key takes out of the map: round by round, and all at once when the task is stopped or panics, so that no
/// caller waits for an answer that will not come.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Mutex<HashMap<K, Flight<V>>>>,
    /// None when there are no more rounds.
    key: Option<K>,
}

impl<K: Eq + Hash, V> Landing<K, V> {
    /// The read of the current round, and where its answer goes.
    fn current(&self) -> Option<(Reading, watch::Sender<Option<Outcome<V>>>)> {
        let flights = self.flights.lock();
        let Round { reading, outcome } = &flights.get(self.key.as_ref()?)?.current;
        Some((reading.clone(), outcome.clone()))
    }

    /// Answers the current round and makes the next one current.
    fn land(&mut self, outcome: Outcome<V>) {
        let mut flights = self.flights.lock();
        let Some(flight) = self.key.as_ref().and_then(|key| flights.get_mut(key)) else {
            return;
        };
        match flight.next.take() {
            Some(next) => {
                let answered = std::mem::replace(&mut flight.current, next);
                answered.outcome.send_replace(Some(outcome));
            }
            None => {
                let flight = self.key.take().and_then(|key| flights.remove(&key));
                if let Some(Flight { current, .. }) = flight {
                    current.outcome.send_replace(Some(outcome));
                }
            }
        }
    }
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.flights.lock().remove(&key);
        }
    }
}

/// Awaits until the deadline, where there is one.
async fn by<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

fn half_way_to(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures::future::join_all;
    use proptest::prelude::*;
    use tokio::time::{sleep, sleep_until, timeout};

    use super::*;

    /// Reads that are counted. Each waits for its turn, begins, takes some time and answers with its number.
    #[derive(Debug)]
    struct Oracle {
        coalescer: Coalescer<&'static str, usize>,
        reads: Arc<Reads>,
        waits: Duration,
        takes: Duration,
    }

    #[derive(Debug, Default)]
    struct Reads {
        begun: AtomicUsize,
        finished: AtomicUsize,
        in_flight: AtomicBool,
    }

    impl Oracle {
        fn new(takes: Duration) -> Self {
            Self {
                coalescer: Coalescer::new(TaskTracker::new(), CancellationToken::new()),
                reads: Arc::default(),
                waits: Duration::ZERO,
                takes,
            }
        }

        fn limited(concurrency: usize, takes: Duration) -> Self {
            Self {
                coalescer: Coalescer::limited(concurrency, TaskTracker::new(), CancellationToken::new()),
                ..Self::new(takes)
            }
        }

        async fn ask(&self, key: &'static str, caller: Caller) -> Outcome<usize> {
            let (reads, waits, takes) = (Arc::clone(&self.reads), self.waits, self.takes);
            let read = move |reading: Reading| {
                let reads = Arc::clone(&reads);
                async move {
                    if !waits.is_zero() {
                        sleep(waits).await;
                    }
                    reading.begin(Duration::ZERO);
                    let number = reads.begun.fetch_add(1, Ordering::SeqCst) + 1;
                    sleep(takes).await;
                    reads.finished.fetch_add(1, Ordering::SeqCst);
                    number
                }
            };
            self.coalescer.ask(key, caller, read).await
        }

        /// Asks for what is true now, for as long as `patience`.
        async fn ask_now(&self, key: &'static str, patience: Duration) -> Option<usize> {
            let now = Instant::now();
            number(&self.ask(key, Caller::as_of(now).by(now + patience)).await)
        }

        fn begun(&self) -> usize {
            self.reads.begun.load(Ordering::SeqCst)
        }
    }

    fn number(outcome: &Outcome<usize>) -> Option<usize> {
        match outcome {
            Outcome::Done { value, .. } => Some(*value),
            Outcome::Busy | Outcome::TimedOut => None,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// A caller of the property below: when it arrives, how far back its `as_of` lies, and how long it waits.
    #[derive(Clone, Debug)]
    struct Arrival {
        at: u64,
        back: Option<u64>,
        patience: Option<u64>,
    }

    fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
        let arrival = (0..300_u64, any::<bool>(), 0..40_u64, prop::option::of(0..60_u64)).prop_map(
            |(at, is_any, back, patience)| Arrival {
                at,
                back: (!is_any).then_some(back),
                patience,
            },
        );
        prop::collection::vec(arrival, 1..24)
    }

    proptest! {
        /// The property of the module, for callers that arrive, require and leave as they like, in milliseconds of paused time.
        #[test]
        fn an_answer_is_good_for_callers_whose_moment_is_not_later_than_its_read(
            arrivals in arrivals(),
            waits in 0..10_u64,
            takes in 1..40_u64,
            window in 0..20_u64,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(serve(&arrivals, waits, takes, window));
        }
    }

    async fn serve(arrivals: &[Arrival], waits: u64, takes: u64, window: u64) {
        let millis = Duration::from_millis;
        let tasks = TaskTracker::new();
        let coalescer: Coalescer<(), Instant> = Coalescer::new(tasks.clone(), CancellationToken::new());
        let reads = Arc::new(Reads::default());
        // Far enough from the start of the clock that every moment exists.
        sleep(SECOND).await;
        let start = Instant::now();
        let callers = arrivals.iter().map(|arrival| {
            let (coalescer, reads) = (&coalescer, Arc::clone(&reads));
            async move {
                sleep_until(start + millis(arrival.at)).await;
                let as_of = arrival.back.map(|back| Instant::now() - millis(back));
                let caller = as_of.map_or(Caller::any(), Caller::as_of);
                let read = move |reading: Reading| {
                    let reads = Arc::clone(&reads);
                    async move {
                        assert!(
                            !reads.in_flight.swap(true, Ordering::SeqCst),
                            "two reads of a key at a time"
                        );
                        sleep(millis(waits)).await;
                        let began = reading.begin(millis(window));
                        reads.begun.fetch_add(1, Ordering::SeqCst);
                        sleep(millis(takes)).await;
                        reads.finished.fetch_add(1, Ordering::SeqCst);
                        reads.in_flight.store(false, Ordering::SeqCst);
                        began
                    }
                };
                let asked = coalescer.ask((), caller, read);
                let outcome = match arrival.patience {
                    // Leaves without a word.
                    Some(patience) => timeout(millis(patience), asked).await.ok()?,
                    None => asked.await,
                };
                let Outcome::Done { value, began } = outcome else {
                    panic!("{outcome:?} without a deadline")
                };
                assert_eq!(value, began);
                assert!(as_of.is_none_or(|as_of| began >= as_of), "{arrival:?}: read too early");
                assert!(
                    start.elapsed() <= millis(arrival.at + 2 * (waits + takes)),
                    "{arrival:?} waited for more than two reads"
                );
                Some(began)
            }
        });
        let answers: Vec<_> = join_all(callers).await;
        tasks.close();
        tasks.wait().await;
        assert!(coalescer.flights.lock().is_empty(), "an answer is kept");
        let (begun, finished) = (
            reads.begun.load(Ordering::SeqCst),
            reads.finished.load(Ordering::SeqCst),
        );
        assert_eq!(begun, finished, "a read ended before its answer");
        // No more reads than callers, and none that a caller that stays did not have to wait for or share.
        assert!(begun <= arrivals.len(), "{begun} reads");
        if arrivals.iter().all(|arrival| arrival.patience.is_none()) {
            let mut distinct: Vec<_> = answers.into_iter().flatten().collect();
            distinct.sort_unstable();
            distinct.dedup();
            assert!(
                begun <= distinct.len() || window > 0,
                "{begun} reads for {} answers",
                distinct.len()
            );
            let last = arrivals.iter().map(|arrival| arrival.at).max().unwrap_or_default();
            let back_to_back = usize::try_from(last / (waits + takes)).unwrap() + 2;
            assert!(begun <= back_to_back, "{begun} reads, which overlap");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_arrive_during_a_read_share_the_next_one() {
        let oracle = Oracle::new(SECOND);
        let late = async {
            sleep(SECOND / 2).await;
            tokio::join!(
                oracle.ask_now("a", 10 * SECOND),
                oracle.ask_now("a", 10 * SECOND),
                oracle.ask_now("a", 10 * SECOND)
            )
        };
        let (first, late) = tokio::join!(oracle.ask_now("a", 10 * SECOND), late);
        assert_eq!((first, late), (Some(1), (Some(2), Some(2), Some(2))));
        assert_eq!(oracle.begun(), 2);
        assert!(oracle.coalescer.flights.lock().is_empty(), "an answer is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_require_a_later_read_joins_the_one_in_flight() {
        let oracle = Oracle::new(SECOND);
        let start = Instant::now();
        let late = async {
            sleep(SECOND / 2).await;
            tokio::join!(oracle.ask("a", Caller::as_of(start)), oracle.ask("a", Caller::any()),)
        };
        let (first, late) = tokio::join!(oracle.ask("a", Caller::any()), late);
        let expected = Outcome::Done { value: 1, began: start };
        assert_eq!((&first, &late.0, &late.1), (&expected, &expected, &expected));
        assert_eq!(start.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_waits_for_its_turn_takes_everyone_in() {
        let oracle = Oracle {
            waits: SECOND,
            ..Oracle::new(SECOND)
        };
        let late = async {
            sleep(SECOND / 2).await;
            oracle.ask_now("a", 10 * SECOND).await
        };
        assert_eq!(tokio::join!(oracle.ask_now("a", 10 * SECOND), late), (Some(1), Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_of_a_read_does_not_reach_back_before_the_moment_that_a_caller_requires() {
        sleep(SECOND).await;
        let now = Instant::now();
        let reading = Reading::for_caller(Caller::any());
        assert_eq!(reading.begin(SECOND / 5), now - SECOND / 5);
        assert_eq!(
            reading.begin(Duration::ZERO),
            now - SECOND / 5,
            "only the first call counts"
        );

        let reading = Reading::for_caller(Caller::as_of(now - SECOND / 10));
        assert_eq!(reading.begin(SECOND / 5), now - SECOND / 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_urgent_caller_makes_the_read_that_it_waits_for_urgent() {
        let oracle = Oracle::new(SECOND);
        let priorities = Arc::new(Mutex::new(Vec::new()));
        let ask = |caller| {
            let priorities = Arc::clone(&priorities);
            let read = move |reading: Reading| {
                let priorities = Arc::clone(&priorities);
                async move {
                    reading.begin(Duration::ZERO);
                    let before = reading.priority().highest();
                    sleep(SECOND).await;
                    priorities.lock().push((before, reading.priority().highest()));
                    0
                }
            };
            oracle.coalescer.ask("a", caller, read)
        };
        let urgent = async {
            sleep(SECOND / 2).await;
            ask(Caller::as_of(Instant::now())).await
        };
        tokio::join!(ask(Caller::any().in_background()), urgent);
        assert_eq!(
            *priorities.lock(),
            [
                (Priority::Background, Priority::Foreground),
                (Priority::Foreground, Priority::Foreground)
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_as_urgent_as_the_requests_that_still_wait_for_it() {
        let now = Instant::now();
        let reading = Reading::for_caller(Caller::any().in_background());
        let at = |seconds| reading.priority().at(now + seconds * SECOND).0;
        assert_eq!(at(0), Priority::Background);
        reading.priority().raise(Priority::Urgent, Some(now + SECOND));
        reading.priority().raise(Priority::Foreground, Some(now + 3 * SECOND));
        assert_eq!(
            (at(0), at(2), at(3)),
            (Priority::Urgent, Priority::Urgent, Priority::Background)
        );
        reading.priority().raise_to(Priority::Foreground);
        assert_eq!(at(1000), Priority::Urgent);
    }

    #[tokio::test(start_paused = true)]
    async fn another_answer_ends_only_the_wait_of_a_read_whose_callers_it_is_good_for() {
        sleep(SECOND).await;
        let now = Instant::now();
        let reading = Reading::for_caller(Caller::as_of(now));
        assert!(!reading.is_answered_as_of(now), "it does not wait for its turn");
        let turn = async {
            assert!(!reading.is_answered_as_of(now - SECOND / 2), "too early");
            assert!(reading.is_answered_as_of(now));
            assert!(reading.admit(Caller::as_of(now + SECOND)) == Admitted::TooLate);
        };
        reading.wait_for_turn(turn).await;
        assert!(!reading.is_answered_as_of(now), "it looks itself");
    }

    #[tokio::test(start_paused = true)]
    async fn others_get_their_answer_when_the_first_caller_times_out() {
        for oracle in [Oracle::new(SECOND), Oracle::limited(8, SECOND)] {
            let (first, second) = tokio::join!(oracle.ask_now("a", SECOND / 4), oracle.ask_now("a", 10 * SECOND));
            assert_eq!((first, second), (None, Some(1)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_goes_on_when_its_callers_leave() {
        let oracle = Oracle::new(SECOND);
        assert!(timeout(SECOND / 2, oracle.ask("a", Caller::any())).await.is_err());
        assert!(oracle.coalescer.is_reading(&"a"));
        assert_eq!(number(&oracle.ask("a", Caller::any()).await), Some(1));
        assert!(!oracle.coalescer.is_reading(&"a"));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_end_of_its_owner_a_read_lasts_as_long_as_a_caller_waits() {
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let mut oracle = Oracle::new(SECOND);
        oracle.coalescer = Coalescer::new(tasks.clone(), end.clone());
        let stop = async {
            assert!(timeout(SECOND / 2, oracle.ask("left", Caller::any())).await.is_err());
            end.cancel();
            tasks.close();
            tasks.wait().await;
        };
        let (waited, ()) = tokio::join!(oracle.ask("waiting", Caller::any()), stop);
        assert_eq!(number(&waited), Some(1));
        assert_eq!(oracle.reads.finished.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn over_the_limit_a_caller_waits_for_half_of_its_time_and_is_then_rejected() {
        let oracle = Oracle::limited(1, 10 * SECOND);
        let later = |key, patience| {
            let oracle = &oracle;
            async move {
                tokio::task::yield_now().await;
                let now = Instant::now();
                oracle.ask(key, Caller::as_of(now).by(now + patience)).await
            }
        };
        let (first, second, third) = tokio::join!(
            oracle.ask_now("a", 100 * SECOND),
            later("b", 4 * SECOND),
            later("c", 60 * SECOND)
        );
        assert_eq!((first, second, number(&third)), (Some(1), Outcome::Busy, Some(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_without_an_answer_gives_its_permit_back() {
        let oracle = Oracle::limited(1, 1_000_000 * SECOND);
        assert_eq!(oracle.ask_now("a", SECOND).await, None);
        assert_eq!(oracle.ask_now("a", SECOND).await, None);
        assert_eq!(oracle.begun(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_panics_leaves_no_caller_waiting() {
        let coalescer: Coalescer<&str, usize> = Coalescer::new(TaskTracker::new(), CancellationToken::new());
        let outcome = coalescer
            .ask("a", Caller::any(), |_| async {
                panic!("this line belongs to a test that passes")
            })
            .await;
        assert_eq!(outcome, Outcome::TimedOut);
        assert!(!coalescer.is_reading(&"a"));
    }
}
