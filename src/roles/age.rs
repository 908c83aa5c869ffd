//! How old a copy may be, and how long to wait after failures. Pure: the clock is an argument.

use std::time::Duration;

/// What the age of a copy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Age {
    /// It serves, and nobody needs to read again.
    Fresh,
    /// It serves while it is read again in the background.
    Stale,
    /// It no longer serves.
    TooOld,
}

impl Age {
    /// Sorts an age: fresh until `ttl`, stale up to and including `max_stale`, then too old.
    #[must_use]
    pub fn of(age: Duration, ttl: Duration, max_stale: Duration) -> Self {
        if age < ttl {
            Self::Fresh
        } else if age <= max_stale {
            Self::Stale
        } else {
            Self::TooOld
        }
    }
}

/// The shortest pause after a failed read. IAM's throttling lets one through again within about that time.
pub(super) const SHORTEST_BACKOFF: Duration = Duration::from_millis(200);
/// The longest: a source that recovers is noticed within this.
pub(super) const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// The pause after the `failures`-th failure in a row (from 1): doubles from 0.2 s to 5 s. `jitter`, from 0 to 1, takes up to
/// half of it off, so that what failed together is not tried again together.
pub(super) fn backoff(failures: u32, jitter: f64) -> Duration {
    let doubled = SHORTEST_BACKOFF.saturating_mul(2_u32.saturating_pow(failures));
    let longest = doubled.min(LONGEST_BACKOFF);
    longest.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_fresh_then_stale_then_too_old() {
        let ttl = Duration::from_secs(60);
        let max_stale = Duration::from_secs(3600);
        for (seconds, expected) in [
            (0, Age::Fresh),
            (59, Age::Fresh),
            (60, Age::Stale),
            (3600, Age::Stale),
            (3601, Age::TooOld),
        ] {
            assert_eq!(
                Age::of(Duration::from_secs(seconds), ttl, max_stale),
                expected,
                "{seconds} s"
            );
        }
    }

    #[test]
    fn a_copy_is_fresh_for_its_ttl_even_when_stale_ones_may_not_serve() {
        let ttl = Duration::from_secs(60);
        assert_eq!(Age::of(Duration::from_secs(59), ttl, Duration::ZERO), Age::Fresh);
        assert_eq!(Age::of(Duration::from_secs(60), ttl, Duration::ZERO), Age::TooOld);
    }

    #[test]
    fn pauses_double_and_stay_between_a_fifth_of_a_second_and_five() {
        let longest: Vec<_> = (1..=7).map(|failures| backoff(failures, 0.0).as_millis()).collect();
        assert_eq!(longest, [400, 800, 1600, 3200, 5000, 5000, 5000]);
        for failures in [1, 2, 5, 31, 32, 33, u32::MAX] {
            for jitter in [0.0, 0.3, 1.0] {
                let pause = backoff(failures, jitter);
                assert!(
                    pause >= SHORTEST_BACKOFF && pause <= LONGEST_BACKOFF,
                    "{failures}, {jitter}: {pause:?}"
                );
            }
        }
    }
}
