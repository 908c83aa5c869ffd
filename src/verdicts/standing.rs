//! The stored verdicts on one ServiceAccount: the last one that was certain, and the one that the gauge shows.

use crate::telemetry::metrics::TrustChange;
use crate::trust::{Cause, Verdict};

/// A verdict with its cause.
pub(super) type Shown = (Verdict, Option<Cause>);

/// The verdicts on one ServiceAccount so far. Nothing is known of a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    settled: Option<(Settled, Basis)>,
    shown: Option<Shown>,
}

/// A verdict that is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Trusted,
    NotTrusted,
}

/// What a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// A web identity.
    WebIdentity,
    /// The same, but an EKS Pod Identity association, which would come before it, could not be read.
    PerhapsWebIdentity,
    /// An EKS Pod Identity association.
    Association,
}

impl Basis {
    /// Whether the ServiceAccount might have had the other identity all along, so that a difference is not a change.
    const fn might_be(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::PerhapsWebIdentity, Self::Association) | (Self::Association, Self::PerhapsWebIdentity)
        )
    }
}

impl Standing {
    /// Takes a new verdict. It is a change only if the last certain verdict was the opposite: an outage in between is not a change, nor is
    /// the first verdict.
    pub(super) fn take(&mut self, verdict: Verdict, cause: Option<Cause>, basis: Basis) -> Option<TrustChange> {
        self.shown = Some((verdict, cause));
        if self.settled.is_some_and(|(_, before)| before.might_be(basis)) {
            self.settled = None;
        }
        let settled = match verdict {
            Verdict::Trusted => Settled::Trusted,
            Verdict::NotTrusted => Settled::NotTrusted,
            Verdict::Undecided | Verdict::Unknown => return None,
        };
        let (before, _) = self.settled.replace((settled, basis))?;
        match (before, settled) {
            (Settled::Trusted, Settled::NotTrusted) => Some(TrustChange::Lost),
            (Settled::NotTrusted, Settled::Trusted) => Some(TrustChange::Restored),
            (Settled::Trusted, Settled::Trusted) | (Settled::NotTrusted, Settled::NotTrusted) => None,
        }
    }

    /// Whether the last certain verdict is about an identity that might be another one.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(self.settled, Some((_, Basis::PerhapsWebIdentity)))
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
        let take = |verdict: &Verdict| standing.take(*verdict, None, WebIdentity);
        verdicts.iter().map(take).collect()
    }

    use Basis::{Association, PerhapsWebIdentity, WebIdentity};

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
    fn another_identity_is_a_change_unless_it_might_have_been_the_same_all_along() {
        let all = [WebIdentity, PerhapsWebIdentity, Association];
        for before in all {
            for now in all {
                let mut standing = Standing::default();
                assert_eq!(standing.take(Trusted, None, before), None);
                let expected = match (before, now) {
                    (PerhapsWebIdentity, Association) | (Association, PerhapsWebIdentity) => None,
                    _ => Some(Lost),
                };
                assert_eq!(standing.take(NotTrusted, None, now), expected, "{before:?} {now:?}");
                assert_eq!(standing.take(Trusted, None, now), Some(Restored));
            }
        }
    }

    #[test]
    fn doubt_about_a_new_identity_forgets_what_was_certain_of_the_other() {
        let mut standing = Standing::default();
        standing.take(Trusted, None, PerhapsWebIdentity);
        assert_eq!(standing.take(Unknown, None, Association), None);
        assert_eq!(standing.take(NotTrusted, None, Association), None);
    }

    #[test]
    fn the_gauge_shows_doubt() {
        let mut standing = Standing::default();
        assert_eq!(standing.shown(), None);
        standing.take(Trusted, None, WebIdentity);
        standing.take(Unknown, None, WebIdentity);
        assert_eq!(standing.shown(), Some((Unknown, None)));
        standing.take(NotTrusted, Some(Cause::WrongSubject), WebIdentity);
        assert_eq!(standing.shown(), Some((NotTrusted, Some(Cause::WrongSubject))));
    }
}
