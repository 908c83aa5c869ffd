//! From annotations to the identity that is asked for: keys, precedence, bounds, warnings.

use super::Warning;
use super::view::PodView;
use crate::iam::{AccountId, Audience, Partition, RoleArn, RoleArnError};

/// Token lifetimes that Kubernetes and STS take, in seconds.
pub const EXPIRATION_SECONDS: std::ops::RangeInclusive<u32> = 600..=86_400;

/// How annotations are read.
#[derive(Clone, Debug)]
pub struct AnnotationRules {
    /// With its slash: `eks.amazonaws.com/`.
    pub prefix: String,
    /// Where a bare `path/name` belongs (`--compose-role-arn`); none: a bare name is a mistake.
    pub compose: Option<(Partition, AccountId)>,
}

/// What an identity is made of where no annotation says otherwise.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// `--token-audience`.
    pub audience: Audience,
    /// `--token-expiration`, seconds.
    pub expiration_seconds: u32,
    /// `--sts-regional-endpoints`.
    pub regional_sts: bool,
}

/// What one ServiceAccount's annotations (or its entry in the identity ConfigMap) say, parsed once when read. Lean: a
/// cluster has 100,000 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountIdentity {
    // The room's author decides; the common case (a good role ARN and nothing else) must cost no more than the ARN's text
    // and a few words. Everything rare behind one Option<Box<..>>.
}

impl ServiceAccountIdentity {
    /// Reads annotations; none when no key concerns rolegate (neither ours nor a look-alike).
    #[must_use]
    pub fn from_annotations<'a>(
        _rules: &AnnotationRules,
        _annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Option<Self> {
        todo!()
    }
    /// An entry of the identity ConfigMap: `{"RoleARN":…,"Audience":…,"UseRegionalSTS":…,"TokenExpiration":…}`.
    #[must_use]
    pub fn from_config_map_entry(
        _rules: &AnnotationRules,
        _role_arn: &str,
        _audience: Option<&str>,
        _regional_sts: Option<bool>,
        _token_expiration: Option<i64>,
    ) -> Option<Self> {
        todo!()
    }
    /// Whether a role is asked for, well-formed or not.
    #[must_use]
    pub fn asks_for_role(&self) -> bool {
        todo!()
    }
    /// The role, when one is asked for and well-formed.
    #[must_use]
    pub fn role(&self) -> Option<&RoleArn> {
        todo!()
    }
}

/// A role annotation that is no role ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedRole {
    /// The annotation's key, prefix included.
    pub key: String,
    /// Its value, as written.
    pub value: String,
    /// What is wrong with it.
    pub error: RoleArnError,
}

/// The web identity that a pod is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebIdentityRequest {
    /// The annotated role.
    pub role: RoleArn,
    /// What the token is issued for.
    pub audience: Audience,
    /// Seconds.
    pub expiration_seconds: u32,
    /// `AWS_STS_REGIONAL_ENDPOINTS=regional`.
    pub regional_sts: bool,
}

/// What the annotations of ServiceAccount and pod come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// No role.
    Nothing,
    /// A role.
    WebIdentity(WebIdentityRequest),
    /// An annotation that is no role ARN.
    Malformed(Box<MalformedRole>),
}

/// Resolves what a pod asks for: the pod's annotations win over the ServiceAccount's, those over the defaults. What is out
/// of bounds or unreadable is clamped or defaulted, with a warning.
#[must_use]
pub fn resolve(
    _rules: &AnnotationRules,
    _account: Option<&ServiceAccountIdentity>,
    _pod: &PodView<'_>,
    _defaults: &Defaults,
) -> (Requested, Vec<Warning>) {
    todo!()
}

/// What a pod is given by EKS Pod Identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodIdentityRequest {
    /// Lifetime of the token, seconds.
    pub expiration_seconds: u32,
    /// `AWS_STS_REGIONAL_ENDPOINTS=regional`.
    pub regional_sts: bool,
}

/// Resolves what EKS Pod Identity gives a pod: the pod's annotation wins over the ServiceAccount's, that over the
/// default; `default_seconds` is the default lifetime, jittered by the caller (chance is not for this floor).
#[must_use]
pub fn resolve_pod_identity(
    _rules: &AnnotationRules,
    _account: Option<&ServiceAccountIdentity>,
    _pod: &PodView<'_>,
    _defaults: &Defaults,
    _default_seconds: u32,
) -> (PodIdentityRequest, Vec<Warning>) {
    todo!()
}
