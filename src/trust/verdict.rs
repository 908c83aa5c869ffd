//! Verdicts and causes: closed lists that metrics, audit log, command line and documentation share.

use std::fmt;

/// What is known about whether a role trusts a web identity, or EKS Pod Identity for an association. Ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The trust policy allows it.
    Trusted,
    /// It depends on something that only STS can know.
    Undecided,
    /// The policy could not be read, or is malformed. The evaluator itself never answers this.
    Unknown,
    /// The trust policy would not let it.
    NotTrusted,
}

/// Why a pod is not served. The first thirteen are causes of [`Verdict::NotTrusted`], as are those of the trust policies of an EKS
/// Pod Identity association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// No role of that ARN exists.
    RoleNotFound,
    /// The account has no OIDC provider for the issuer.
    ProviderNotFound,
    /// The provider does not list the audience among its client IDs.
    AudienceNotRegistered,
    /// A `Deny` statement matches.
    ExplicitDeny,
    /// Trusts a service or an AWS principal only.
    WrongPrincipalType,
    /// Trusts another OIDC provider.
    WrongProvider,
    /// Allows another action.
    WrongAction,
    /// A condition key holds the provider's ARN instead of the issuer.
    ProviderArnInConditionKey,
    /// The subject is written under `:aud`.
    AudienceKeyForSubject,
    /// `*` or `?` under an operator that takes them literally.
    WildcardInStringEquals,
    /// Another namespace, name or case, or no `system:serviceaccount:`.
    WrongSubject,
    /// Another audience.
    WrongAudience,
    /// Another condition is false.
    OtherCondition,
    /// The ServiceAccount has no role, and one is required.
    NoRole,
    /// The annotation is not a role ARN.
    MalformedAnnotation,
    /// The pod already holds something else where the token belongs.
    Conflict,
    /// The ServiceAccount has an association, and the pod was not set up for it.
    AssociationNotInjected,
    /// The pod is set up for EKS Pod Identity, and its ServiceAccount has no association.
    NoAssociation,
    /// EKS Pod Identity does not serve the kind of node that the pod runs on.
    UnsupportedCompute,
    /// The target role of an association trusts another role than its primary role.
    WrongPrimaryRole,
    /// Lets EKS Pod Identity assume the role, but not tag the session.
    TagSessionNotAllowed,
    /// A condition on session tags, which the association disables.
    SessionTagsDisabled,
    /// Another EKS cluster, or another account of the cluster.
    WrongCluster,
    /// Another external ID.
    WrongExternalId,
    /// A container does not, or might not, use its identity.
    IdentityNotUsed,
}

impl Verdict {
    /// The word in metrics, logs and responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Undecided => "undecided",
            Self::Unknown => "unknown",
            Self::NotTrusted => "not-trusted",
        }
    }
}

impl Cause {
    /// Every cause, in the order in which they are documented.
    pub const ALL: [Self; 25] = [
        Self::RoleNotFound,
        Self::ProviderNotFound,
        Self::AudienceNotRegistered,
        Self::ExplicitDeny,
        Self::WrongPrincipalType,
        Self::WrongProvider,
        Self::WrongAction,
        Self::ProviderArnInConditionKey,
        Self::AudienceKeyForSubject,
        Self::WildcardInStringEquals,
        Self::WrongSubject,
        Self::WrongAudience,
        Self::OtherCondition,
        Self::NoRole,
        Self::MalformedAnnotation,
        Self::Conflict,
        Self::AssociationNotInjected,
        Self::NoAssociation,
        Self::UnsupportedCompute,
        Self::WrongPrimaryRole,
        Self::TagSessionNotAllowed,
        Self::SessionTagsDisabled,
        Self::WrongCluster,
        Self::WrongExternalId,
        Self::IdentityNotUsed,
    ];

    /// The word in metrics, logs and responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoleNotFound => "role-not-found",
            Self::ProviderNotFound => "provider-not-found",
            Self::AudienceNotRegistered => "audience-not-registered",
            Self::ExplicitDeny => "explicit-deny",
            Self::WrongPrincipalType => "wrong-principal-type",
            Self::WrongProvider => "wrong-provider",
            Self::WrongAction => "wrong-action",
            Self::ProviderArnInConditionKey => "provider-arn-in-condition-key",
            Self::AudienceKeyForSubject => "audience-key-for-subject",
            Self::WildcardInStringEquals => "wildcard-in-string-equals",
            Self::WrongSubject => "wrong-subject",
            Self::WrongAudience => "wrong-audience",
            Self::OtherCondition => "other-condition",
            Self::NoRole => "no-role",
            Self::MalformedAnnotation => "malformed-annotation",
            Self::Conflict => "conflict",
            Self::AssociationNotInjected => "association-not-injected",
            Self::NoAssociation => "no-association",
            Self::UnsupportedCompute => "unsupported-compute",
            Self::WrongPrimaryRole => "wrong-primary-role",
            Self::TagSessionNotAllowed => "tag-session-not-allowed",
            Self::SessionTagsDisabled => "session-tags-disabled",
            Self::WrongCluster => "wrong-cluster",
            Self::WrongExternalId => "wrong-external-id",
            Self::IdentityNotUsed => "identity-not-used",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
