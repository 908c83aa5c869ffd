//! The decision: identity, verdict and mode in, answer out. The one place where a verdict becomes an action.

use std::fmt;
use std::str::FromStr;

/// What a namespace asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Refuse on evidence.
    Enforce,
    /// Inject and warn.
    Warn,
    /// Inject and only record.
    Audit,
}

impl Mode {
    /// The word of the label, of the path and of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "enforce" => Ok(Self::Enforce),
            "warn" => Ok(Self::Warn),
            "audit" => Ok(Self::Audit),
            _ => Err("expected enforce, warn or audit".to_owned()),
        }
    }
}

/// What was done with a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Identity was (or already is) in the pod.
    Inject,
    /// Admitted untouched: nothing asks for identity.
    None,
    /// Refused.
    Deny,
    /// Admitted untouched by its skip label.
    Skipped,
    /// EKS Pod Identity.
    PodIdentity,
    /// The review could not be answered (4xx, 5xx).
    Error,
}

impl Action {
    /// The word of metrics and audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::None => "none",
            Self::Deny => "deny",
            Self::Skipped => "skipped",
            Self::PodIdentity => "pod-identity",
            Self::Error => "error",
        }
    }
}
