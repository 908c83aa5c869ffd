//! What is known of the request by which a role is assumed: who makes it, and what it carries.

use std::ops::Deref;

use super::action::Action;
use super::arn::RoleArn;
use super::association::{Association, Hop, PodName};
use super::web_identity::WebIdentity;

/// Everything that is known of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) role: &'a RoleArn,
    pub(crate) caller: Caller<'a>,
    pub(crate) context: &'a Context<'a>,
}

/// Who makes the request, and so its action.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller<'a> {
    /// The holder of a token, by `AssumeRoleWithWebIdentity`.
    WebIdentity(&'a WebIdentity),
    /// EKS Auth for an association, by `AssumeRole`, which also needs `TagSession`.
    PodIdentity(PodIdentity<'a>),
}

/// A request of EKS Auth, as one of the actions that it needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PodIdentity<'a> {
    pub(crate) hop: Hop,
    pub(crate) action: Action,
    pub(crate) association: &'a Association,
    pub(crate) pod_name: PodName<'a>,
}

impl Request<'_> {
    /// The action that the role's policy must allow.
    pub(crate) const fn action(&self) -> Action {
        match self.caller {
            Caller::WebIdentity(_) => Action::AssumeRoleWithWebIdentity,
            Caller::PodIdentity(PodIdentity { action, .. }) => action,
        }
    }
}

/// A request with a web identity, where its claims matter: explanations and edits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WebRequest<'a> {
    pub(crate) identity: &'a WebIdentity,
    request: Request<'a>,
}

impl<'a> WebRequest<'a> {
    pub(crate) const fn new(role: &'a RoleArn, identity: &'a WebIdentity, context: &'a Context<'a>) -> Self {
        Self {
            identity,
            request: Request {
                role,
                caller: Caller::WebIdentity(identity),
                context,
            },
        }
    }
}

impl<'a> Deref for WebRequest<'a> {
    type Target = Request<'a>;

    fn deref(&self) -> &Request<'a> {
        &self.request
    }
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
    /// Evaluate as if it were this (to ask whether the policy would refuse the name that rolegate is about to set).
    Assumed(&'a str),
}
