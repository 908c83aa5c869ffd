//! What can be wrong with a statement, as plain values. `decision/messages` turns them into sentences.

use crate::trust::condition::Condition;
use crate::trust::mismatch::Mismatch;
use crate::trust::policy::Statement;
use crate::trust::verdict::{Cause, Verdict};

/// A statement, as people find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementLabel {
    /// From 1.
    pub number: usize,
    /// Its `Sid`, if it has one.
    pub sid: Option<String>,
}

impl StatementLabel {
    pub(super) fn of(statement: &Statement) -> Self {
        Self {
            number: statement.number,
            sid: statement.sid.as_deref().map(str::to_owned),
        }
    }
}

/// A condition as written: operator, key, values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The operator.
    pub operator: String,
    /// The key.
    pub key: String,
    /// The first values; at most [`Requirement::MAX_VALUES`].
    pub values: Vec<String>,
    /// How many more there are.
    pub more: usize,
    /// Whether the operator is negated (`StringNotEquals`, `NotIpAddress` …).
    pub negated: bool,
}

impl Requirement {
    /// How many values are kept for display.
    pub const MAX_VALUES: usize = 3;

    pub(super) fn of(condition: &Condition) -> Self {
        let values = condition.values.iter().map(|value| value.text.to_string());
        Self {
            operator: condition.operator_text.to_string(),
            key: condition.key.as_str().to_owned(),
            values: values.take(Self::MAX_VALUES).collect(),
            more: condition.values.len().saturating_sub(Self::MAX_VALUES),
            negated: condition.operator.test.is_negated(),
        }
    }
}

/// What a request contains under the key of a condition that is false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Nothing: it is a claim that STS does not pass on.
    UnknownClaim,
    /// Nothing: the key names the issuer but no claim.
    NoClaim,
    /// Nothing: a request with a web identity never carries the key.
    Absent,
    /// This.
    Text(String),
    /// A time that has passed.
    PastTime,
    /// A session name, none of which can match.
    SessionName,
    /// A text that begins so.
    Beginning(String),
    /// These, under a key that holds several.
    Several(Vec<String>),
    /// Several, under an operator without `ForAllValues:` and `ForAnyValue:`, which matches none of them.
    SeveralForOneValue,
    /// Whatever it is, the condition is false.
    Anything,
}

/// One thing that is wrong. [`Fault::cause`] is what metrics and logs count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The account has no OIDC provider for the issuer.
    NoProvider,
    /// The provider does not list the audience among its client IDs.
    AudienceNotRegistered {
        /// The client IDs that it lists.
        listed: Vec<String>,
    },
    /// A Deny statement matches.
    Denied {
        /// Its conditions, which hold.
        conditions: Vec<Requirement>,
        /// How many more it has.
        more: usize,
    },
    /// No statement allows anything.
    NothingAllowed,
    /// The statement trusts services or AWS principals only.
    PrincipalType {
        /// `Service` principals.
        services: Vec<String>,
        /// `AWS` principals.
        aws: Vec<String>,
        /// An OIDC provider that is listed under `AWS` or `Service`, after the element's name.
        misplaced_provider: Option<(&'static str, String)>,
    },
    /// The statement trusts another provider.
    Provider {
        /// The nearest `Federated` principal.
        found: String,
        /// How it differs.
        mismatches: Vec<Mismatch>,
    },
    /// A condition key of another issuer.
    ProviderInKey {
        /// The condition.
        requirement: Requirement,
        /// The issuer in the key.
        owner: String,
        /// How it differs.
        mismatches: Vec<Mismatch>,
    },
    /// The statement allows another action.
    Action {
        /// As written.
        actions: Vec<String>,
        /// Whether they are excluded (`NotAction`) rather than allowed.
        excluded: bool,
    },
    /// A condition key holds the provider's ARN instead of the issuer.
    ProviderArnInKey {
        /// The key.
        key: String,
    },
    /// The subject is written under `:aud`.
    SubjectUnderAudienceKey {
        /// The value that is a subject.
        value: String,
        /// Whether the audience is under `:sub` in turn.
        swapped: bool,
    },
    /// `*` or `?` under an operator that takes them literally.
    WildcardTakenLiterally {
        /// The condition.
        requirement: Requirement,
        /// The value with the wildcard.
        value: String,
        /// Whether it would match as a pattern.
        would_match: bool,
    },
    /// Another subject.
    Subject {
        /// The condition; its first value is the nearest.
        requirement: Requirement,
        /// How the nearest value differs.
        mismatches: Vec<Mismatch>,
        /// Whether the key lacks its claim (`ISSUER` for `ISSUER:sub`).
        key_without_claim: bool,
    },
    /// Another audience.
    Audience {
        /// The condition.
        requirement: Requirement,
        /// How its only value differs; empty where it is simply another one.
        mismatches: Vec<Mismatch>,
        /// Whether the key lacks its claim.
        key_without_claim: bool,
    },
    /// Another condition is false.
    Condition {
        /// The condition.
        requirement: Requirement,
        /// What the request carries.
        carried: Carried,
    },
    /// It depends on what only STS knows.
    DependsOn {
        /// The conditions; empty where a Deny for any AWS principal might or might not apply to a web identity.
        conditions: Vec<Requirement>,
        /// How many more conditions of the statement cannot be known.
        more: usize,
        /// Whether the statement denies.
        denies: bool,
        /// How many other statements are as open.
        other_statements: usize,
        /// The pod's own session name, and the verdict with it.
        session_name: Option<(String, Verdict)>,
    },
    /// What keeps EKS Pod Identity out.
    Association(AssociationFault),
}

/// One thing that keeps EKS Pod Identity out of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssociationFault {
    /// The statement trusts no service `pods.eks.amazonaws.com`, or, at the target role, no AWS principal.
    PrincipalType {
        /// `Federated` principals.
        federated: Vec<String>,
        /// `Service` principals.
        services: Vec<String>,
        /// `AWS` principals.
        aws: Vec<String>,
    },
    /// At the target role: the statement trusts other AWS principals than the primary role.
    PrimaryRole {
        /// `AWS` principals.
        aws: Vec<String>,
    },
    /// The statement does not allow `sts:AssumeRole`.
    Action {
        /// As written.
        actions: Vec<String>,
        /// Whether they are excluded (`NotAction`) rather than allowed.
        excluded: bool,
    },
    /// The statement does not allow `sts:TagSession`.
    TagSession {
        /// As written.
        actions: Vec<String>,
        /// Whether they are excluded (`NotAction`) rather than allowed.
        excluded: bool,
    },
    /// A condition is false.
    Condition {
        /// What it is about.
        part: Part,
        /// The condition.
        requirement: Requirement,
        /// What the request carries.
        carried: Carried,
    },
    /// Session tags are disabled and the policy does not allow `sts:TagSession`: whether EKS needs it then is not documented.
    TagSessionUnclear,
}

/// The part of a request of EKS Auth that a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The cluster or its account.
    Cluster,
    /// The namespace, the ServiceAccount or the pod.
    Subject,
    /// The external ID.
    ExternalId,
    /// The primary role.
    PrimaryRole,
    /// A session tag, while session tags are disabled.
    DisabledTags,
    /// Anything else.
    Other,
}

impl Fault {
    /// The cause that the fault is counted as; none for what is not a fault but cannot be known.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        Some(match self {
            Self::NoProvider => Cause::ProviderNotFound,
            Self::AudienceNotRegistered { .. } => Cause::AudienceNotRegistered,
            Self::Denied { .. } => Cause::ExplicitDeny,
            Self::PrincipalType { .. } => Cause::WrongPrincipalType,
            Self::Provider { .. } | Self::ProviderInKey { .. } => Cause::WrongProvider,
            Self::Action { .. } => Cause::WrongAction,
            Self::ProviderArnInKey { .. } => Cause::ProviderArnInConditionKey,
            Self::SubjectUnderAudienceKey { .. } => Cause::AudienceKeyForSubject,
            Self::WildcardTakenLiterally { .. } => Cause::WildcardInStringEquals,
            Self::Subject { .. } => Cause::WrongSubject,
            Self::Audience { .. } => Cause::WrongAudience,
            Self::NothingAllowed | Self::Condition { .. } => Cause::OtherCondition,
            Self::DependsOn { .. } => return None,
            Self::Association(fault) => return fault.cause(),
        })
    }
}

impl AssociationFault {
    fn cause(&self) -> Option<Cause> {
        Some(match self {
            Self::PrincipalType { .. } => Cause::WrongPrincipalType,
            Self::PrimaryRole { .. } => Cause::WrongPrimaryRole,
            Self::Action { .. } => Cause::WrongAction,
            Self::TagSession { .. } => Cause::TagSessionNotAllowed,
            Self::Condition { part, .. } => match part {
                Part::Cluster => Cause::WrongCluster,
                Part::Subject => Cause::WrongSubject,
                Part::ExternalId => Cause::WrongExternalId,
                Part::PrimaryRole => Cause::WrongPrimaryRole,
                Part::DisabledTags => Cause::SessionTagsDisabled,
                Part::Other => Cause::OtherCondition,
            },
            Self::TagSessionUnclear => return None,
        })
    }
}
