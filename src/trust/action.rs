//! The actions by which roles are assumed.

/// An action by which a role is assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// By a web identity.
    AssumeRoleWithWebIdentity,
    /// By EKS Auth, at both hops of an association.
    AssumeRole,
    /// With it, for the tags of the session.
    TagSession,
}

/// The action by which a web identity assumes a role.
pub(crate) const ASSUME_ROLE_WITH_WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";

impl Action {
    /// As it is written in policies.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AssumeRoleWithWebIdentity => ASSUME_ROLE_WITH_WEB_IDENTITY,
            Self::AssumeRole => "sts:AssumeRole",
            Self::TagSession => "sts:TagSession",
        }
    }
}
