//! How often a source over the network is asked.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::age::backoff;

/// The window in which reads are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// This many failed reads in a row are the source's fault rather than that of a role.
pub(super) const FAILING: u32 = 3;

/// Who waits for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    /// An admission: may use every read of the window.
    Admission,
    /// Read-ahead and refresh: leave two fifths of the window to admissions.
    Background,
}

/// How urgent a read is: it may become more so while it waits for its turn, when an admission joins it.
#[derive(Clone, Debug)]
pub(super) struct Urgency(CancellationToken);

impl Urgency {
    pub(super) fn of(priority: Priority) -> Self {
        let urgency = Self(CancellationToken::new());
        urgency.raise_to(priority);
        urgency
    }

    /// Somebody of this priority waits, too.
    pub(super) fn raise_to(&self, priority: Priority) {
        if priority == Priority::Admission {
            self.0.cancel();
        }
    }

    pub(super) fn priority(&self) -> Priority {
        if self.0.is_cancelled() {
            Priority::Admission
        } else {
            Priority::Background
        }
    }
}

/// Lets through at most so many reads in any second, and none while the source asked to be left alone.
///
/// It remembers when the last reads were let through instead of counting tokens: a bucket that refills would allow twice the
/// rate in the second after a pause, and the limit is one that AWS enforces.
#[derive(Debug)]
pub(super) struct RateLimiter {
    per_second: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the reads of the last second were let through, oldest first.
    recent: VecDeque<Instant>,
    /// Nothing goes before this.
    resume: Option<Instant>,
    /// How often in a row the source asked to be left alone.
    throttled: u32,
    /// How often in a row it failed, of whatever roles.
    failed: u32,
    /// Nothing in the background goes before this.
    resume_background: Option<Instant>,
}

impl RateLimiter {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self {
            per_second: usize::try_from(per_second.get()).unwrap_or(usize::MAX),
            state: Mutex::default(),
        }
    }

    /// Waits for its turn. Cancel-safe: one that is dropped while it waits has used nothing.
    pub(super) async fn turn(&self, urgency: &Urgency) {
        loop {
            let priority = urgency.priority();
            let Err(when) = self.take(priority, Instant::now()) else {
                return;
            };
            match priority {
                Priority::Admission => sleep_until(when).await,
                Priority::Background => {
                    let _raised = timeout_at(when, urgency.0.cancelled()).await;
                }
            }
        }
    }

    /// The source asked to be left alone.
    pub(super) fn throttled(&self, now: Instant) {
        let mut state = self.state();
        state.throttled = state.throttled.saturating_add(1);
        state.resume = Some(now + backoff(state.throttled, fastrand::f64()));
    }

    /// A read failed. After a few in a row it is the source that fails and not a role: the background leaves it alone for
    /// longer each time, else a thousand roles would each try again every few seconds.
    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failed = state.failed.saturating_add(1);
        if let Some(beyond) = state.failed.checked_sub(FAILING) {
            state.resume_background = Some(now + backoff(beyond + 1, fastrand::f64()));
        }
    }

    /// The source answered.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.throttled = 0;
        state.failed = 0;
        state.resume_background = None;
    }

    /// Takes a turn now, or says when to try again.
    fn take(&self, priority: Priority, now: Instant) -> Result<(), Instant> {
        let mut state = self.state();
        if let Some(resume) = state.resume.filter(|resume| *resume > now) {
            return Err(resume);
        }
        if let (Priority::Background, Some(resume)) = (priority, state.resume_background.filter(|resume| *resume > now))
        {
            return Err(resume);
        }
        while state.recent.front().is_some_and(|oldest| *oldest + WINDOW <= now) {
            state.recent.pop_front();
        }
        let limit = match priority {
            Priority::Admission => self.per_second,
            Priority::Background => self.per_second.saturating_sub(self.per_second / 5 * 2).max(1),
        };
        // With `limit` or more in the window, this is the one whose leaving makes room.
        match state
            .recent
            .len()
            .checked_sub(limit)
            .and_then(|index| state.recent.get(index))
        {
            Some(leaves) => Err(*leaves + WINDOW),
            None => {
                state.recent.push_back(now);
                Ok(())
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn five_a_second() -> RateLimiter {
        RateLimiter::new(NonZeroU32::new(5).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_sees_more_reads_than_allowed() {
        let limiter = five_a_second();
        let mut turns = Vec::new();
        for _ in 0..23 {
            limiter.turn(&Urgency::of(Priority::Admission)).await;
            turns.push(Instant::now());
        }
        for (index, start) in turns.iter().enumerate() {
            let within = turns.iter().skip(index).filter(|turn| **turn < *start + WINDOW).count();
            assert!(within <= 5, "{within} reads in the second after read {index}");
        }
        assert_eq!(*turns.last().unwrap() - turns[0], Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn background_reads_leave_room_for_admissions() {
        let limiter = five_a_second();
        let start = Instant::now();
        for _ in 0..3 {
            limiter.turn(&Urgency::of(Priority::Background)).await;
        }
        assert!(limiter.take(Priority::Background, start).is_err());
        assert!(limiter.take(Priority::Admission, start).is_ok());
        assert!(limiter.take(Priority::Admission, start).is_ok());
        assert_eq!(limiter.take(Priority::Admission, start), Err(start + WINDOW));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_admission_joins_goes_at_its_pace() {
        let limiter = five_a_second();
        let start = Instant::now();
        for _ in 0..6 {
            limiter.failed(start);
        }
        let urgency = Urgency::of(Priority::Background);
        let raise = async {
            sleep_until(start + Duration::from_millis(10)).await;
            urgency.raise_to(Priority::Background);
            sleep_until(start + Duration::from_millis(20)).await;
            urgency.raise_to(Priority::Admission);
        };
        tokio::join!(limiter.turn(&urgency), raise);
        assert_eq!(start.elapsed(), Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn one_read_a_second_is_enough_for_background_reads_too() {
        let limiter = RateLimiter::new(NonZeroU32::MIN);
        let start = Instant::now();
        assert!(limiter.take(Priority::Background, start).is_ok());
        assert_eq!(limiter.take(Priority::Background, start), Err(start + WINDOW));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_fails_is_left_alone_by_the_background_only() {
        let limiter = five_a_second();
        let start = Instant::now();
        limiter.failed(start);
        limiter.failed(start);
        assert!(limiter.take(Priority::Background, start).is_ok());
        for (round, longest) in (1..).zip([400, 800, 1600, 3200, 5000, 5000]) {
            limiter.failed(start);
            let pause = limiter.take(Priority::Background, start).unwrap_err() - start;
            assert!(
                pause.as_millis() <= longest && pause.as_millis() >= longest / 2,
                "{pause:?}"
            );
            // Each in a second of its own, so that only the failures could be in the way.
            assert!(limiter.take(Priority::Admission, start + round * WINDOW).is_ok());
        }
        limiter.answered();
        assert!(limiter.take(Priority::Background, start + 8 * WINDOW).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_source_is_left_alone_longer_each_time() {
        let limiter = five_a_second();
        let start = Instant::now();
        for (failures, longest) in [(1, 400), (2, 800), (3, 1600)] {
            limiter.throttled(start);
            let resume = limiter.take(Priority::Admission, start).unwrap_err();
            let pause = (resume - start).as_millis();
            assert!(
                pause >= longest / 2 && pause <= longest,
                "failure {failures}: {pause} ms"
            );
        }
        limiter.answered();
        limiter.throttled(start);
        assert!(limiter.take(Priority::Admission, start).unwrap_err() <= start + Duration::from_millis(400));
    }
}
