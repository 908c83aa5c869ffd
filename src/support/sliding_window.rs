//! Limits the number of events in any time window.
//!
//! It stores the times of the last events instead of counting tokens: a token bucket would allow twice as many in the window after a pause.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// When the events of the last window were let through.
#[derive(Debug)]
pub(crate) struct SlidingWindow {
    window: Duration,
    /// Oldest first.
    recent: VecDeque<Instant>,
}

impl SlidingWindow {
    pub(crate) const fn new(window: Duration) -> Self {
        Self {
            window,
            recent: VecDeque::new(),
        }
    }

    /// Lets an event through, unless there were `limit` or more within the window; then returns when to try again.
    pub(crate) fn admit(&mut self, limit: usize, now: Instant) -> Result<(), Instant> {
        while self.recent.front().is_some_and(|oldest| *oldest + self.window <= now) {
            self.recent.pop_front();
        }
        // With `limit` or more in the window, this is the one that has to leave it first.
        match self
            .recent
            .len()
            .checked_sub(limit)
            .and_then(|index| self.recent.get(index))
        {
            Some(leaves) => Err(*leaves + self.window),
            None => {
                self.recent.push_back(now);
                Ok(())
            }
        }
    }

    /// Forgets the oldest event, so that one more is let through.
    pub(crate) fn forget_oldest(&mut self) {
        self.recent.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(1);

    #[test]
    fn an_event_is_let_through_when_the_oldest_has_left_the_window() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = SlidingWindow::new(WINDOW);
        assert_eq!(window.admit(2, at(0)), Ok(()));
        assert_eq!(window.admit(2, at(300)), Ok(()));
        assert_eq!(window.admit(2, at(999)), Err(at(1000)));
        assert_eq!(window.admit(2, at(1000)), Ok(()));
        assert_eq!(window.admit(2, at(1000)), Err(at(1300)));
    }

    #[test]
    fn a_lower_limit_waits_for_as_many_events_as_exceed_it() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = SlidingWindow::new(WINDOW);
        for millis in [0, 100, 200] {
            assert_eq!(window.admit(3, at(millis)), Ok(()));
        }
        assert_eq!(window.admit(1, at(300)), Err(at(1200)));
        assert_eq!(window.admit(4, at(300)), Ok(()));
    }

    #[test]
    fn a_forgotten_event_makes_room_for_one() {
        let now = Instant::now();
        let mut window = SlidingWindow::new(WINDOW);
        assert_eq!(window.admit(1, now), Ok(()));
        assert_eq!(window.admit(1, now), Err(now + WINDOW));
        window.forget_oldest();
        assert_eq!(window.admit(1, now), Ok(()));
        assert_eq!(window.admit(1, now), Err(now + WINDOW));
    }
}
