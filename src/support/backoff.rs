//! Exponential backoff: each pause is twice as long as the one before, between a minimum and a maximum, with jitter, so that attempts that
//! failed together are not repeated together.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// The pauses after failures in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    shortest: Duration,
    longest: Duration,
    pauses: ExponentialBackoff,
}

impl Backoff {
    /// Pauses of which the first is at most `shortest`, and none is longer than `longest`. Jitter takes off up to half of each.
    pub(crate) fn new(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            pauses: pauses(shortest, longest),
        }
    }

    /// The pause after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        // It never ends, since the number of attempts is not limited.
        self.pauses.next().unwrap_or(self.longest)
    }

    /// It worked: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.pauses = pauses(self.shortest, self.longest);
    }
}

/// The library adds jitter to a pause, up to as much again.
fn pauses(shortest: Duration, longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(shortest / 2)
        .with_max_delay(longest / 2)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);

    #[test]
    fn pauses_double_up_to_the_longest_and_jitter_takes_off_up_to_half() {
        for _ in 0..100 {
            let mut backoff = Backoff::new(SHORTEST, LONGEST);
            for doubled in [200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
                let doubled = Duration::from_millis(doubled);
                let pause = backoff.next();
                // The library computes in single precision.
                let rounding = Duration::from_micros(10);
                assert!(
                    pause + rounding >= doubled / 2 && pause <= doubled + rounding,
                    "{doubled:?}: {pause:?}"
                );
            }
        }
    }

    #[test]
    fn jitter_differs_between_those_that_failed_together() {
        let pauses: std::collections::BTreeSet<_> = (0..20).map(|_| Backoff::new(LONGEST, LONGEST).next()).collect();
        assert!(pauses.len() > 1, "{pauses:?}");
    }

    #[test]
    fn after_a_success_pauses_are_short_again() {
        let mut backoff = Backoff::new(SHORTEST, LONGEST);
        for _ in 0..10_000 {
            backoff.next();
        }
        backoff.reset();
        assert!(backoff.next() <= SHORTEST);
    }
}
