//! The rate of calls to a source over the network.

use std::num::NonZeroU32;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::age::pauses;
use crate::support::backoff::Backoff;
use crate::support::coalesce::{Priority, SharedPriority};
use crate::support::sliding_window::SlidingWindow;

/// The window in which calls are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// This many failed calls in a row are the source's fault rather than that of a role.
pub(super) const FAILING: u32 = 3;

/// Lets through at most so many calls in any second, because AWS enforces such a limit, and none while the source throttles.
#[derive(Debug)]
pub(super) struct RateLimiter {
    per_second: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls: SlidingWindow,
    /// No call before this: the source throttled.
    resume: Option<Instant>,
    throttled: Backoff,
    /// Failed calls in a row, of any roles.
    failures: u32,
    /// No call in the background before this: the source fails.
    resume_background: Option<Instant>,
    failing: Backoff,
}

impl RateLimiter {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self {
            per_second: usize::try_from(per_second.get()).unwrap_or(usize::MAX),
            state: Mutex::new(State {
                calls: SlidingWindow::new(WINDOW),
                resume: None,
                throttled: pauses(),
                failures: 0,
                resume_background: None,
                failing: pauses(),
            }),
        }
    }

    /// Waits until a call may be made. Cancel-safe: one that is dropped while it waits has used nothing.
    pub(super) async fn acquire(&self, shared: &SharedPriority) {
        loop {
            let priority = shared.current();
            let Err(when) = self.try_acquire(priority, Instant::now()) else {
                return;
            };
            match priority {
                Priority::Foreground => sleep_until(when).await,
                Priority::Background => {
                    let _raised = timeout_at(when, shared.raised()).await;
                }
            }
        }
    }

    /// The source throttled a call.
    pub(super) fn throttled(&self, now: Instant) {
        let mut state = self.state();
        state.resume = Some(now + state.throttled.next());
    }

    /// A call failed. After a few in a row it is the source that fails and not a role: the background pauses for longer each
    /// time, else a thousand roles would each try again every few seconds.
    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILING {
            state.resume_background = Some(now + state.failing.next());
        }
    }

    /// The source answered.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        if state.failures > 0 {
            state.failures = 0;
            state.failing.reset();
        }
        state.throttled.reset();
        state.resume_background = None;
    }

    /// Acquires now, or returns when to try again.
    fn try_acquire(&self, priority: Priority, now: Instant) -> Result<(), Instant> {
        let mut state = self.state();
        if let Some(resume) = state.resume.filter(|resume| *resume > now) {
            return Err(resume);
        }
        if let (Priority::Background, Some(resume)) = (priority, state.resume_background.filter(|resume| *resume > now))
        {
            return Err(resume);
        }
        let limit = match priority {
            Priority::Foreground => self.per_second,
            // Two fifths are left to admissions.
            Priority::Background => self.per_second.saturating_sub(self.per_second / 5 * 2).max(1),
        };
        state.calls.admit(limit, now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn five_a_second() -> RateLimiter {
        RateLimiter::new(NonZeroU32::new(5).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_calls_than_allowed() {
        let limiter = five_a_second();
        let mut calls = Vec::new();
        for _ in 0..23 {
            limiter.acquire(&SharedPriority::of(Priority::Foreground)).await;
            calls.push(Instant::now());
        }
        for (index, start) in calls.iter().enumerate() {
            let within = calls.iter().skip(index).filter(|call| **call < *start + WINDOW).count();
            assert!(within <= 5, "{within} calls in the second after call {index}");
        }
        assert_eq!(*calls.last().unwrap() - calls[0], Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn background_calls_leave_room_for_admissions() {
        let limiter = five_a_second();
        let start = Instant::now();
        for _ in 0..3 {
            limiter.acquire(&SharedPriority::of(Priority::Background)).await;
        }
        assert!(limiter.try_acquire(Priority::Background, start).is_err());
        assert!(limiter.try_acquire(Priority::Foreground, start).is_ok());
        assert!(limiter.try_acquire(Priority::Foreground, start).is_ok());
        assert_eq!(limiter.try_acquire(Priority::Foreground, start), Err(start + WINDOW));
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
        tokio::join!(limiter.acquire(&priority), raise);
        assert_eq!(start.elapsed(), Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_per_second_is_enough_for_background_calls_too() {
        let limiter = RateLimiter::new(NonZeroU32::MIN);
        let start = Instant::now();
        assert!(limiter.try_acquire(Priority::Background, start).is_ok());
        assert_eq!(limiter.try_acquire(Priority::Background, start), Err(start + WINDOW));
    }

    #[tokio::test(start_paused = true)]
    async fn only_background_calls_pause_while_a_source_fails() {
        let limiter = five_a_second();
        let start = Instant::now();
        limiter.failed(start);
        limiter.failed(start);
        assert!(limiter.try_acquire(Priority::Background, start).is_ok());
        for (round, longest) in (1..).zip([400, 800, 1600, 3200, 5000, 5000]) {
            limiter.failed(start);
            let pause = limiter.try_acquire(Priority::Background, start).unwrap_err() - start;
            assert!(
                pause.as_millis() <= longest && pause.as_millis() >= longest / 2,
                "{pause:?}"
            );
            // Each in a second of its own, so that only the failures could delay it.
            assert!(
                limiter
                    .try_acquire(Priority::Foreground, start + round * WINDOW)
                    .is_ok()
            );
        }
        limiter.answered();
        assert!(limiter.try_acquire(Priority::Background, start + 8 * WINDOW).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_pause_for_longer_each_time_a_source_throttles() {
        let limiter = five_a_second();
        let start = Instant::now();
        for (failures, longest) in [(1, 400), (2, 800), (3, 1600)] {
            limiter.throttled(start);
            let resume = limiter.try_acquire(Priority::Foreground, start).unwrap_err();
            let pause = (resume - start).as_millis();
            assert!(
                pause >= longest / 2 && pause <= longest,
                "failure {failures}: {pause} ms"
            );
        }
        limiter.answered();
        limiter.throttled(start);
        assert!(limiter.try_acquire(Priority::Foreground, start).unwrap_err() <= start + Duration::from_millis(400));
    }
}
