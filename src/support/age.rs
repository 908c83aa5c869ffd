//! How old a copy may be, and how long to wait after failures.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::backoff::Backoff;

/// What the age of a copy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It serves, and does not need to be read again.
    Fresh,
    /// It serves while it is read again in the background.
    Stale,
    /// It no longer serves.
    TooOld,
}

impl Freshness {
    /// Fresh until `ttl`, stale up to and including `max_stale`, then too old.
    pub(crate) fn of(age: Duration, ttl: Duration, max_stale: Duration) -> Self {
        if age < ttl {
            Self::Fresh
        } else if age <= max_stale {
            Self::Stale
        } else {
            Self::TooOld
        }
    }
}

/// A copy younger than this of what is read over the network is as good as a read of now, so that refusals of one role cost at most a
/// call per second. What is read from the disk or from memory costs nothing, and is read again.
pub(crate) const AS_GOOD_AS_NOW: Duration = Duration::from_secs(1);

/// The earliest moment at which a read may have begun that is as good as one that begins now.
pub(crate) fn as_good_as_now(now: Instant) -> Instant {
    let younger = AS_GOOD_AS_NOW - Duration::from_nanos(1);
    now.checked_sub(younger).unwrap_or(now)
}

/// The shortest pause after a failed read. IAM's throttling lets a call through again within about that time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// The longest: the recovery of a source is noticed within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The pauses after failures in a row: at most 0.4 s, then twice as long each time, up to 5 s. Jitter takes off up to half.
pub(crate) fn pauses() -> Backoff {
    Backoff::new(2 * SHORTEST_PAUSE, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_fresh_then_stale_then_too_old() {
        let ttl = Duration::from_secs(60);
        let max_stale = Duration::from_secs(3600);
        for (seconds, expected) in [
            (0, Freshness::Fresh),
            (59, Freshness::Fresh),
            (60, Freshness::Stale),
            (3600, Freshness::Stale),
            (3601, Freshness::TooOld),
        ] {
            assert_eq!(
                Freshness::of(Duration::from_secs(seconds), ttl, max_stale),
                expected,
                "{seconds} s"
            );
        }
    }

    #[test]
    fn a_copy_is_fresh_for_its_ttl_even_when_stale_copies_must_not_serve() {
        let ttl = Duration::from_secs(60);
        let of = |seconds| Freshness::of(Duration::from_secs(seconds), ttl, Duration::ZERO);
        assert_eq!((of(59), of(60)), (Freshness::Fresh, Freshness::TooOld));
    }
}
