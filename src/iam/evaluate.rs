//! The judgement: may the holder of this web identity assume this role?

use super::explain::Explanation;
use super::{Policy, RoleArn, Verdict, WebIdentity};

/// What else is known of the request that the pod will make.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Now, in seconds since the epoch; none: time cannot be known.
    pub now: Option<i64>,
    /// The role's tags, when the source of the policy gave them.
    pub role_tags: Option<&'a [(String, String)]>,
    /// The session name that the pod will ask for.
    pub session_name: SessionName<'a>,
}

/// What is known of `sts:RoleSessionName`, which the caller of STS chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionName<'a> {
    /// Nothing but its alphabet.
    #[default]
    Unknown,
    /// The pod's own `AWS_ROLE_SESSION_NAME`: named in reasons, yet still not known, because a program may choose another.
    Suggested(&'a str),
    /// Judge as if it were this (to ask whether the policy would refuse the name that rolegate wants to set).
    Assumed(&'a str),
}

/// A verdict with its reasons.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Never [`Verdict::Unknown`].
    pub verdict: Verdict,
    /// Why, unless trusted. Boxed: a trusted judgement allocates nothing.
    pub explanation: Option<Box<Explanation>>,
}

/// Judges one web identity against a role's trust policy. Pure and total.
#[must_use]
pub fn judge(_policy: &Policy, _role: &RoleArn, _identity: &WebIdentity, _context: &Context<'_>) -> Judgement {
    todo!()
}
