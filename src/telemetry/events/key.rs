//! The key of an Event: what its occurrences have in common.

use std::fmt;

use crate::telemetry::metrics::TrustChange;
use crate::trust::Cause;

/// The subject of a series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SeriesKey {
    pub(super) namespace: Box<str>,
    pub(super) service_account: Box<str>,
    pub(super) topic: Topic,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// A pod was refused; none if the cause could not be determined.
    Refused(Option<Cause>),
    /// The role's trust changed.
    Trust {
        change: TrustChange,
        /// Of the role and its policy, the same in every replica.
        digest: u64,
    },
}

/// What has room, and a pace in each namespace, of its own: refusals, which anyone who reaches the webhook can cause, and changes of
/// trust, of which one role can cause thousands. Neither can push out the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Share {
    Refusals,
    TrustChanges,
}

impl Topic {
    pub(super) const fn share(self) -> Share {
        match self {
            Self::Refused(_) => Share::Refusals,
            Self::Trust { .. } => Share::TrustChanges,
        }
    }

    /// The reason, for `kubectl get events --field-selector reason=PodRefused`.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Refused(_) => "PodRefused",
            Self::Trust {
                change: TrustChange::Lost,
                ..
            } => "TrustLost",
            Self::Trust {
                change: TrustChange::Restored,
                ..
            } => "TrustRestored",
        }
    }

    /// What rolegate was doing.
    pub(super) const fn action(self) -> &'static str {
        match self {
            Self::Refused(_) => "Admitting",
            Self::Trust { .. } => "JudgingTrust",
        }
    }

    /// The type of the Event.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Refused(_)
            | Self::Trust {
                change: TrustChange::Lost,
                ..
            } => "Warning",
            Self::Trust {
                change: TrustChange::Restored,
                ..
            } => "Normal",
        }
    }
}

/// What could not be reported.
impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused(_) => "refused pods",
            Self::Trust { .. } => "change of trust",
        })
    }
}
