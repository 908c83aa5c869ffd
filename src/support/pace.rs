//! Limits the rate of requests: a burst, then one per interval.

use std::time::Duration;

use tokio::time::Instant;

/// How fast requests can follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaceLimit {
    /// The number of requests in a burst, at least 1.
    pub(crate) burst: u32,
    /// The time between requests after a burst.
    pub(crate) refill: Duration,
}

/// The requests so far, as the moment at which a whole burst is possible again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    full_at: Instant,
    limit: PaceLimit,
}

impl Pace {
    pub(crate) fn new(limit: PaceLimit, now: Instant) -> Self {
        Self { full_at: now, limit }
    }

    /// When the next request is possible.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        let ahead = self.limit.refill * (self.limit.burst.max(1) - 1);
        now + self.full_at.saturating_duration_since(now + ahead)
    }

    /// Counts a request.
    pub(crate) fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.limit.refill;
    }

    /// When a whole burst is possible again: the later, the more was requested lately.
    pub(crate) const fn full_at(&self) -> Instant {
        self.full_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_one_request_per_interval() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let limit = PaceLimit {
            burst: 3,
            refill: second,
        };
        let mut pace = Pace::new(limit, start);
        for _ in 0..3 {
            assert_eq!(pace.next(start), start);
            pace.take(start);
        }
        assert_eq!(pace.next(start), start + second);
        pace.take(start + second);
        assert_eq!(pace.next(start + second), start + 2 * second);
        // After a rest, a burst is possible again, and not more.
        let later = start + 100 * second;
        assert_eq!(pace.next(later), later);
        for _ in 0..3 {
            pace.take(later);
        }
        assert_eq!(pace.next(later), later + second);
    }
}
