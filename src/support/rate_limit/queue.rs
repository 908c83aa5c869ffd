//! Reads that wait for a call, and which of them is next.
//!
//! Refusals go first, then reads that other requests wait for, then the background. None of them waits forever: a queue that was passed
//! over a few times in a row is next. Within a queue, the role that was read the longest ago is next, so that the calls are shared fairly
//! between roles, however many requests a client makes for its own roles.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::support::coalesce::Priority;

/// After so many calls for refusals in a row, a read that another request waits for is next.
const FOREGROUND_PASSED_OVER: u32 = 3;

/// After so many calls for requests in a row, a read of the background is next.
const BACKGROUND_PASSED_OVER: u32 = 9;

/// The place of a read in its line: when it was read last, never comes first, then the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    last: Option<Instant>,
    number: u64,
}

/// One line for each priority.
#[derive(Debug, Default)]
pub(super) struct Queue {
    urgent: Line,
    foreground: Line,
    background: Line,
    arrivals: u64,
}

#[derive(Debug, Default)]
struct Line {
    /// Each is woken when it may be next.
    waiting: BTreeMap<Place, Arc<Notify>>,
    /// How many calls in a row went to others while this line was waiting.
    passed_over: u32,
}

/// Which line is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) priority: Priority,
    /// Whether it was passed over too often.
    pub(super) is_overdue: bool,
}

impl Queue {
    /// The place of a read that arrives now.
    pub(super) fn place(&mut self, last: Option<Instant>) -> Place {
        self.arrivals += 1;
        let number = self.arrivals;
        Place { last, number }
    }

    pub(super) fn join(&mut self, priority: Priority, place: Place, wake: &Arc<Notify>) {
        self.line_mut(priority).waiting.insert(place, Arc::clone(wake));
    }

    /// Leaves its line; others may be next.
    pub(super) fn leave(&mut self, priority: Priority, place: Place) {
        let line = self.line_mut(priority);
        line.waiting.remove(&place);
        if line.waiting.is_empty() {
            line.passed_over = 0;
        }
        self.wake();
    }

    /// A call went to this line.
    pub(super) fn served(&mut self, priority: Priority) {
        for (other, line) in [
            (Priority::Urgent, &mut self.urgent),
            (Priority::Foreground, &mut self.foreground),
            (Priority::Background, &mut self.background),
        ] {
            line.passed_over = if other == priority || line.waiting.is_empty() {
                0
            } else {
                line.passed_over.saturating_add(1)
            };
        }
    }

    /// Wakes the first of each line.
    pub(super) fn wake(&self) {
        for line in [&self.urgent, &self.foreground, &self.background] {
            if let Some(wake) = line.waiting.values().next() {
                wake.notify_one();
            }
        }
    }

    pub(super) fn is_first(&self, priority: Priority, place: Place) -> bool {
        self.line(priority).waiting.keys().next() == Some(&place)
    }

    /// The line that is next. The background may be paused.
    pub(super) fn next(&self, is_background_paused: bool) -> Option<Next> {
        let is_background_waiting = !self.background.waiting.is_empty() && !is_background_paused;
        let next = |priority, is_overdue| Some(Next { priority, is_overdue });
        if self.foreground.passed_over >= FOREGROUND_PASSED_OVER {
            next(Priority::Foreground, true)
        } else if self.background.passed_over >= BACKGROUND_PASSED_OVER && is_background_waiting {
            next(Priority::Background, true)
        } else if !self.urgent.waiting.is_empty() {
            next(Priority::Urgent, false)
        } else if !self.foreground.waiting.is_empty() {
            next(Priority::Foreground, false)
        } else if is_background_waiting {
            next(Priority::Background, false)
        } else {
            None
        }
    }

    /// How many reads wait in a line.
    pub(super) fn waiting(&self, priority: Priority) -> usize {
        self.line(priority).waiting.len()
    }

    const fn line(&self, priority: Priority) -> &Line {
        match priority {
            Priority::Urgent => &self.urgent,
            Priority::Foreground => &self.foreground,
            Priority::Background => &self.background,
        }
    }

    const fn line_mut(&mut self, priority: Priority) -> &mut Line {
        match priority {
            Priority::Urgent => &mut self.urgent,
            Priority::Foreground => &mut self.foreground,
            Priority::Background => &mut self.background,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The priorities of the next calls while all lines are waiting.
    fn served(queue: &mut Queue, calls: usize) -> Vec<Priority> {
        let served = (0..calls).map(|_| {
            let next = queue.next(false).unwrap().priority;
            queue.served(next);
            next
        });
        served.collect()
    }

    #[test]
    fn refusals_go_first_and_no_line_waits_forever() {
        let mut queue = Queue::default();
        for priority in [Priority::Background, Priority::Foreground, Priority::Urgent] {
            let place = queue.place(None);
            queue.join(priority, place, &Arc::default());
        }
        let served = served(&mut queue, 100);
        let count = |priority| served.iter().filter(|other| **other == priority).count();
        assert_eq!(served.first(), Some(&Priority::Urgent));
        assert!(count(Priority::Urgent) >= 65, "{served:?}");
        assert!(count(Priority::Foreground) >= 20, "{served:?}");
        assert!(count(Priority::Background) >= 8, "{served:?}");
    }

    #[test]
    fn a_paused_background_is_not_next() {
        let mut queue = Queue::default();
        let place = queue.place(None);
        queue.join(Priority::Background, place, &Arc::default());
        assert_eq!(queue.next(true), None);
        assert!(queue.next(false).is_some());
    }

    #[test]
    fn within_a_line_what_was_read_the_longest_ago_is_first() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let recent = queue.place(Some(now + Duration::from_secs(1)));
        let older = queue.place(Some(now));
        let same = queue.place(Some(now));
        let never = queue.place(None);
        for place in [recent, older, same, never] {
            queue.join(Priority::Urgent, place, &Arc::default());
        }
        for place in [never, older, same, recent] {
            assert!(queue.is_first(Priority::Urgent, place), "{place:?}");
            queue.leave(Priority::Urgent, place);
        }
        assert_eq!(queue.waiting(Priority::Urgent), 0);
    }
}
