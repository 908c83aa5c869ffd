//! What a pod's request of `AssumeRoleWithWebIdentity` is known to be.

use super::arn::RoleArn;
use super::web_identity::WebIdentity;

/// Everything that is known of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) role: &'a RoleArn,
    pub(crate) identity: &'a WebIdentity,
    pub(crate) context: &'a Context<'a>,
}

/// What else is known of the request that the pod will make.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Now, in seconds since the epoch; none: time cannot be known.
    pub now: Option<i64>,
    /// The role's tags, when the source of the policy gave them.
    pub role_tags: Option<&'a [(String, String)]>,
    /// The session name that the pod will request.
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
    /// Judge as if it were this (to ask whether the policy would refuse the name that rolegate is about to set).
    Assumed(&'a str),
}
