//! The rate of calls to a source over the network, and whose call is next.

mod queue;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use self::queue::{Place, Queue};
use super::age::pauses;
use crate::support::backoff::Backoff;
use crate::support::coalesce::{Priority, SharedPriority};
use crate::support::sliding_window::SlidingWindow;

/// The window in which calls are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// This many failed calls in a row are the source's fault rather than that of a role.
pub(crate) const FAILING: u32 = 3;

/// At least so many calls a second are left to reads of single roles.
const READS_PER_SECOND: usize = 2;

/// What a call is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// A read of one role, or of one OIDC provider.
    Read {
        /// When that was read last, whether it failed or not.
        last: Option<Instant>,
    },
    /// A page of a listing.
    List,
}

/// Lets through at most so many calls in any second, because AWS enforces such a limit, and none while the source throttles. The calls
/// are shared fairly between those that wait ([`queue`]), and spread over the second while some wait: a refusal, which goes first, soon
/// finds one free.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    per_second: usize,
    state: Mutex<State>,
    /// Notified when a refusal has to wait for a call.
    refusal_waits: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    calls: SlidingWindow,
    queue: Queue,
    /// When the last call was let through.
    last: Option<Instant>,
    /// So many calls a second are left to listings.
    reserved: usize,
    /// No call before this: the source throttled.
    resume: Option<Instant>,
    throttled: Backoff,
    /// Failed calls in a row, of any roles.
    failures: u32,
    /// No call in the background before this: the source fails.
    resume_background: Option<Instant>,
    failing: Backoff,
}

/// How an attempt to make a call ended.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Admitted,
    /// To be tried again at this moment.
    At(Instant),
    /// Others are next. To be tried again when one of them has left.
    Later,
}

impl RateLimiter {
    pub(crate) fn new(per_second: NonZeroU32, refusal_waits: Arc<Notify>) -> Self {
        Self {
            per_second: usize::try_from(per_second.get()).unwrap_or(usize::MAX),
            state: Mutex::new(State {
                calls: SlidingWindow::new(WINDOW),
                queue: Queue::default(),
                last: None,
                reserved: 0,
                resume: None,
                throttled: pauses(),
                failures: 0,
                resume_background: None,
                failing: pauses(),
            }),
            refusal_waits,
        }
    }

    /// Waits until a call may be made. Cancel-safe: one that is dropped while it waits has used nothing.
    pub(crate) async fn acquire(&self, call: Call, shared: &SharedPriority) {
        let mut joins = shared.joins();
        let mut waiter = Waiter::new(self, call, shared);
        loop {
            let now = Instant::now();
            let (priority, leaves) = shared.at(now);
            let retry = match waiter.attempt(priority, now) {
                Attempt::Admitted => return,
                Attempt::At(when) => Some(when),
                Attempt::Later => None,
            };
            if priority == Priority::Urgent {
                self.refusal_waits.notify_one();
            }
            let retry = retry.into_iter().chain(leaves).min();
            tokio::select! {
                () = waiter.wake.notified() => {}
                () = joins.next() => {}
                () = until(retry) => {}
            }
        }
    }

    /// Leaves the calls of a listing to listings, so that refusals that wait can share one at once; none where a listing takes too many.
    pub(crate) fn reserve_for_listing(&self, calls: usize) {
        let can_be_shared = self.can_share_listing(calls);
        self.state().reserved = if can_be_shared { calls } else { 0 };
    }

    /// Whether the calls of a listing fit into a second, next to those of other reads.
    pub(crate) const fn can_share_listing(&self, calls: usize) -> bool {
        calls.saturating_add(READS_PER_SECOND) <= self.per_second
    }

    /// How many roles wait for a call that are about to be refused.
    pub(crate) fn waiting_refusals(&self) -> usize {
        self.state().queue.waiting(Priority::Urgent)
    }

    /// The source throttled a call.
    pub(crate) fn throttled(&self, now: Instant) {
        let mut state = self.state();
        state.resume = Some(now + state.throttled.next());
    }

    /// A call failed. After a few in a row it is the source that fails and not a role: the background pauses for longer each
    /// time, else a thousand roles would each try again every few seconds.
    pub(crate) fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILING {
            state.resume_background = Some(now + state.failing.next());
        }
    }

    /// The source answered.
    pub(crate) fn answered(&self) {
        let mut state = self.state();
        if state.failures > 0 {
            state.failures = 0;
            state.failing.reset();
        }
        state.throttled.reset();
        if state.resume_background.take().is_some() {
            state.queue.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Lets the first of its line through now, or returns when to try again.
    fn attempt(&mut self, per_second: usize, waiter: &WaiterState, now: Instant) -> Attempt {
        let WaiterState { call, priority, .. } = *waiter;
        if !self.queue.is_first(priority, waiter.place) {
            return Attempt::Later;
        }
        if let Some(resume) = self.resume.filter(|resume| *resume > now) {
            return Attempt::At(resume);
        }
        let paused = self.resume_background.filter(|resume| *resume > now);
        if let (Priority::Background, Some(resume)) = (priority, paused) {
            return Attempt::At(resume);
        }
        let Some(next) = self.queue.next(paused.is_some()) else {
            return Attempt::Later;
        };
        let is_shared_listing = matches!((call, priority), (Call::List, Priority::Urgent));
        if next.priority != priority && !is_shared_listing {
            return Attempt::Later;
        }
        let share = per_second / 5;
        let left = match priority {
            Priority::Urgent => 0,
            _ if next.is_overdue => 0,
            // One fifth is left to refusals, another to all admissions.
            Priority::Foreground => share,
            Priority::Background => share * 2,
        };
        let reserved = match call {
            Call::Read { .. } => self.reserved,
            Call::List => 0,
        };
        let interval = WINDOW / u32::try_from(per_second).unwrap_or(u32::MAX);
        let spread = self.last.map(|last| last + interval).filter(|next| *next > now);
        if let (Call::Read { .. }, true, Some(next)) = (call, waiter.has_waited, spread) {
            return Attempt::At(next);
        }
        match self
            .calls
            .admit(per_second.saturating_sub(left.max(reserved)).max(1), now)
        {
            Ok(()) => {
                self.last = Some(now);
                self.queue.served(priority);
                Attempt::Admitted
            }
            Err(when) => Attempt::At(when),
        }
    }
}

/// Waits in the line of its priority, which may change.
struct Waiter<'a> {
    limiter: &'a RateLimiter,
    state: WaiterState,
    wake: Arc<Notify>,
}

struct WaiterState {
    call: Call,
    priority: Priority,
    place: Place,
    /// Whether it was not let through at once.
    has_waited: bool,
}

impl<'a> Waiter<'a> {
    fn new(limiter: &'a RateLimiter, call: Call, shared: &SharedPriority) -> Self {
        let wake = Arc::default();
        let (priority, _) = shared.at(Instant::now());
        let last = match call {
            Call::Read { last } => last,
            Call::List => None,
        };
        let mut state = limiter.state();
        let place = state.queue.place(last);
        state.queue.join(priority, place, &wake);
        drop(state);
        let waiter = WaiterState {
            call,
            priority,
            place,
            has_waited: false,
        };
        Self {
            limiter,
            state: waiter,
            wake,
        }
    }

    fn attempt(&mut self, priority: Priority, now: Instant) -> Attempt {
        let mut state = self.limiter.state();
        if self.state.priority != priority {
            state.queue.leave(self.state.priority, self.state.place);
            state.queue.join(priority, self.state.place, &self.wake);
            self.state.priority = priority;
        }
        let attempt = state.attempt(self.limiter.per_second, &self.state, now);
        self.state.has_waited |= attempt != Attempt::Admitted;
        attempt
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.limiter.state().queue.leave(self.state.priority, self.state.place);
    }
}

/// Waits until a moment; forever when there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Call = Call::Read { last: None };

    fn a_second(calls: u32) -> RateLimiter {
        RateLimiter::new(NonZeroU32::new(calls).unwrap(), Arc::default())
    }

    fn five_a_second() -> RateLimiter {
        a_second(5)
    }

    /// One attempt to make a call now, or when to try again.
    fn try_acquire(limiter: &RateLimiter, priority: Priority, now: Instant) -> Result<(), Instant> {
        match Waiter::new(limiter, READ, &SharedPriority::of(priority)).attempt(priority, now) {
            Attempt::Admitted => Ok(()),
            Attempt::At(when) => Err(when),
            Attempt::Later => panic!("others are waiting"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_calls_than_allowed() {
        let limiter = five_a_second();
        let mut calls = Vec::new();
        for _ in 0..23 {
            limiter.acquire(READ, &SharedPriority::of(Priority::Urgent)).await;
            calls.push(Instant::now());
        }
        for (index, start) in calls.iter().enumerate() {
            let within = calls.iter().skip(index).filter(|call| **call < *start + WINDOW).count();
            assert!(within <= 5, "{within} calls in the second after call {index}");
        }
        assert_eq!(*calls.last().unwrap() - calls[0], Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_others_wait_for_are_spread_over_the_second() {
        let limiter = five_a_second();
        let start = Instant::now();
        let calls = futures::future::join_all((0..9).map(|_| async {
            limiter.acquire(READ, &SharedPriority::of(Priority::Urgent)).await;
            start.elapsed().as_millis()
        }));
        assert_eq!(calls.await, [0, 0, 0, 0, 0, 1000, 1200, 1400, 1600]);
    }

    #[tokio::test(start_paused = true)]
    async fn background_calls_leave_room_for_admissions_and_these_for_refusals() {
        let limiter = five_a_second();
        let start = Instant::now();
        for _ in 0..3 {
            limiter.acquire(READ, &SharedPriority::of(Priority::Background)).await;
        }
        assert!(try_acquire(&limiter, Priority::Background, start).is_err());
        assert!(try_acquire(&limiter, Priority::Foreground, start).is_ok());
        assert!(try_acquire(&limiter, Priority::Foreground, start).is_err());
        assert!(try_acquire(&limiter, Priority::Urgent, start).is_ok());
        assert_eq!(try_acquire(&limiter, Priority::Urgent, start), Err(start + WINDOW));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_an_admission_joins_goes_at_the_pace_of_admissions() {
        let limiter = five_a_second();
        let start = Instant::now();
        for _ in 0..6 {
            limiter.failed(start);
        }
        let priority = SharedPriority::of(Priority::Background);
        let raise = async {
            sleep_until(start + Duration::from_millis(10)).await;
            priority.raise_to(Priority::Background);
            sleep_until(start + Duration::from_millis(20)).await;
            priority.raise_to(Priority::Foreground);
        };
        tokio::join!(limiter.acquire(READ, &priority), raise);
        assert_eq!(start.elapsed(), Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_per_second_is_enough_for_background_calls_too() {
        let limiter = a_second(1);
        let start = Instant::now();
        assert!(try_acquire(&limiter, Priority::Background, start).is_ok());
        assert_eq!(try_acquire(&limiter, Priority::Background, start), Err(start + WINDOW));
    }

    #[tokio::test(start_paused = true)]
    async fn only_background_calls_pause_while_a_source_fails() {
        let limiter = five_a_second();
        let start = Instant::now();
        limiter.failed(start);
        limiter.failed(start);
        assert!(try_acquire(&limiter, Priority::Background, start).is_ok());
        for (round, longest) in (1..).zip([400, 800, 1600, 3200, 5000, 5000]) {
            limiter.failed(start);
            let pause = try_acquire(&limiter, Priority::Background, start).unwrap_err() - start;
            assert!(
                pause.as_millis() <= longest && pause.as_millis() >= longest / 2,
                "{pause:?}"
            );
            // Each in a second of its own, so that only the failures could delay it.
            assert!(try_acquire(&limiter, Priority::Foreground, start + round * WINDOW).is_ok());
        }
        limiter.answered();
        assert!(try_acquire(&limiter, Priority::Background, start + 8 * WINDOW).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_pause_for_longer_each_time_a_source_throttles() {
        let limiter = five_a_second();
        let start = Instant::now();
        for (failures, longest) in [(1, 400), (2, 800), (3, 1600)] {
            limiter.throttled(start);
            let resume = try_acquire(&limiter, Priority::Foreground, start).unwrap_err();
            let pause = (resume - start).as_millis();
            assert!(
                pause >= longest / 2 && pause <= longest,
                "failure {failures}: {pause} ms"
            );
        }
        limiter.answered();
        limiter.throttled(start);
        assert!(try_acquire(&limiter, Priority::Foreground, start).unwrap_err() <= start + Duration::from_millis(400));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_left_to_a_listing_that_refusals_can_share() {
        let limiter = five_a_second();
        let start = Instant::now();
        limiter.reserve_for_listing(1);
        for _ in 0..4 {
            assert!(try_acquire(&limiter, Priority::Urgent, start).is_ok());
        }
        assert_eq!(try_acquire(&limiter, Priority::Urgent, start), Err(start + WINDOW));
        limiter.acquire(Call::List, &SharedPriority::of(Priority::Urgent)).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        // One that takes all calls cannot be shared.
        limiter.reserve_for_listing(4);
        assert!(try_acquire(&limiter, Priority::Urgent, start + WINDOW).is_ok());
        assert!(!limiter.can_share_listing(4) && limiter.can_share_listing(3));
    }

    #[tokio::test(start_paused = true)]
    async fn of_reads_that_wait_the_one_that_was_read_the_longest_ago_is_next_and_refusals_go_first() {
        let limiter = a_second(1);
        let start = Instant::now();
        assert!(try_acquire(&limiter, Priority::Foreground, start).is_ok());
        let order = Mutex::new(Vec::new());
        let read = |name, last: u64, priority| {
            let (limiter, order) = (&limiter, &order);
            async move {
                let last = Some(start + Duration::from_millis(last));
                limiter
                    .acquire(Call::Read { last }, &SharedPriority::of(priority))
                    .await;
                order.lock().push(name);
            }
        };
        tokio::join!(
            read("background", 0, Priority::Background),
            read("foreground", 0, Priority::Foreground),
            read("refusal, read recently", 20, Priority::Urgent),
            read("refusal", 10, Priority::Urgent),
        );
        let expected = ["refusal", "refusal, read recently", "foreground", "background"];
        assert_eq!(*order.lock(), expected);
        assert_eq!(start.elapsed(), 4 * WINDOW);
        assert_eq!(limiter.waiting_refusals(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_is_dropped_while_it_is_next_does_not_hold_up_the_others() {
        let limiter = a_second(1);
        let start = Instant::now();
        assert!(try_acquire(&limiter, Priority::Foreground, start).is_ok());
        let urgent = SharedPriority::of(Priority::Urgent);
        let leaves = tokio::time::timeout(WINDOW / 2, limiter.acquire(READ, &urgent));
        let stays = SharedPriority::of(Priority::Background);
        let (left, ()) = tokio::join!(leaves, limiter.acquire(READ, &stays));
        assert!(left.is_err());
        assert_eq!(start.elapsed(), WINDOW);
    }
}
