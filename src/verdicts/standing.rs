//! What is remembered of the verdicts on one ServiceAccount: the last that was certain, and the one that the gauge shows.

use crate::telemetry::metrics::TrustChange;
use crate::trust::{Cause, Verdict};

/// A verdict with its cause.
pub(super) type Shown = (Verdict, Option<Cause>);

/// The verdicts on one ServiceAccount so far. Nothing is known of a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    settled: Option<Settled>,
    shown: Option<Shown>,
}

/// A verdict that is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Trusted,
    NotTrusted,
}

impl Standing {
    /// Takes a new verdict. It is a change only if the last certain verdict was the opposite: an outage in between is not a change, nor is
    /// the first verdict.
    pub(super) fn take(&mut self, verdict: Verdict, cause: Option<Cause>) -> Option<TrustChange> {
        self.shown = Some((verdict, cause));
        let settled = match verdict {
            Verdict::Trusted => Settled::Trusted,
            Verdict::NotTrusted => Settled::NotTrusted,
            Verdict::Undecided | Verdict::Unknown => return None,
        };
        match (self.settled.replace(settled)?, settled) {
            (Settled::Trusted, Settled::NotTrusted) => Some(TrustChange::Lost),
            (Settled::NotTrusted, Settled::Trusted) => Some(TrustChange::Restored),
            (Settled::Trusted, Settled::Trusted) | (Settled::NotTrusted, Settled::NotTrusted) => None,
        }
    }

    /// The last verdict.
    pub(super) const fn shown(&self) -> Option<Shown> {
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The changes that these verdicts make, one after the other.
    fn changes(verdicts: &[Verdict]) -> Vec<Option<TrustChange>> {
        let mut standing = Standing::default();
        verdicts.iter().map(|verdict| standing.take(*verdict, None)).collect()
    }

    use TrustChange::{Lost, Restored};
    use Verdict::{NotTrusted, Trusted, Undecided, Unknown};

    #[test]
    fn only_a_certain_verdict_after_its_opposite_is_a_change() {
        let all = [Trusted, Undecided, Unknown, NotTrusted];
        for before in all {
            for now in all {
                let expected = match (before, now) {
                    (Trusted, NotTrusted) => Some(Lost),
                    (NotTrusted, Trusted) => Some(Restored),
                    _ => None,
                };
                assert_eq!(changes(&[before, now]), [None, expected], "{before} {now}");
            }
        }
    }

    #[test]
    fn doubt_keeps_the_last_certain_verdict() {
        for doubt in [Undecided, Unknown] {
            assert_eq!(changes(&[Trusted, doubt, doubt, Trusted]), [None; 4]);
            assert_eq!(changes(&[Trusted, doubt, NotTrusted]), [None, None, Some(Lost)]);
            assert_eq!(changes(&[NotTrusted, doubt, Trusted]), [None, None, Some(Restored)]);
            assert_eq!(changes(&[doubt, NotTrusted, doubt]), [None; 3]);
        }
    }

    #[test]
    fn each_change_is_one() {
        assert_eq!(
            changes(&[Trusted, NotTrusted, NotTrusted, Trusted, Trusted, NotTrusted]),
            [None, Some(Lost), None, Some(Restored), None, Some(Lost)]
        );
    }

    #[test]
    fn the_gauge_shows_doubt() {
        let mut standing = Standing::default();
        assert_eq!(standing.shown(), None);
        standing.take(Trusted, None);
        standing.take(Unknown, None);
        assert_eq!(standing.shown(), Some((Unknown, None)));
        standing.take(NotTrusted, Some(Cause::WrongSubject));
        assert_eq!(standing.shown(), Some((NotTrusted, Some(Cause::WrongSubject))));
    }
}
