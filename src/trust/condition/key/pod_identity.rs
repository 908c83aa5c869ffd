//! The values of condition keys in a request of EKS Auth.
//!
//! EKS Auth assumes the primary role as a service, for a cluster (`aws:SourceArn`, `aws:SourceAccount`), and tags the session with
//! six tags, all of them transitive. It assumes the target role as the primary role, where the transitive tags are tags of the request
//! again. What the AWS documentation does not state counts as unknown, so that nothing is refused because of it.
//!
//! The key of a tag ignores case in the name of a condition key: `aws:RequestTag/Team` is also about the tag `team` (IAM
//! reference, "Condition keys that require tag keys"). `sts:ExternalId` and `sts:RoleSessionName` are keys of `AssumeRole`, not
//! of `TagSession` (service authorization reference of STS).

use super::{ConditionKey, Given, Kind};
use crate::support::text::starts_with_ignore_case;
use crate::trust::action::Action;
use crate::trust::association::{Association, Hop, PodName, SessionTags};
use crate::trust::request::{PodIdentity, Request};

/// A tag that EKS Auth gives to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trust) enum SessionTag {
    ClusterArn,
    ClusterName,
    Namespace,
    ServiceAccount,
    PodName,
    PodUid,
}

/// The keys of the tags.
const TAGS: [(&str, SessionTag); 6] = [
    ("eks-cluster-arn", SessionTag::ClusterArn),
    ("eks-cluster-name", SessionTag::ClusterName),
    ("kubernetes-namespace", SessionTag::Namespace),
    ("kubernetes-service-account", SessionTag::ServiceAccount),
    ("kubernetes-pod-name", SessionTag::PodName),
    ("kubernetes-pod-uid", SessionTag::PodUid),
];
const TAG_KEYS: &[&str] = &[
    "eks-cluster-arn",
    "eks-cluster-name",
    "kubernetes-namespace",
    "kubernetes-service-account",
    "kubernetes-pod-name",
    "kubernetes-pod-uid",
];

/// What a key is about, for an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trust) enum About {
    /// `aws:RequestTag/…` of one of the tags.
    RequestTag(SessionTag),
    /// `aws:RequestTag/…` of another tag.
    OtherRequestTag,
    /// `aws:PrincipalTag/…` of one of the tags.
    PrincipalTag(SessionTag),
    /// `aws:TagKeys`.
    TagKeys,
    /// `sts:TransitiveTagKeys`.
    TransitiveTagKeys,
    /// `aws:SourceArn`.
    SourceArn,
    /// `aws:SourceAccount`.
    SourceAccount,
    /// `sts:ExternalId`.
    ExternalId,
    /// `aws:PrincipalArn`.
    PrincipalArn,
    /// `aws:PrincipalAccount`.
    PrincipalAccount,
    /// `aws:PrincipalType`.
    PrincipalType,
    /// Anything else.
    Other,
}

const NAMED: [(&str, About); 8] = [
    ("aws:TagKeys", About::TagKeys),
    ("sts:TransitiveTagKeys", About::TransitiveTagKeys),
    ("aws:SourceArn", About::SourceArn),
    ("aws:SourceAccount", About::SourceAccount),
    ("sts:ExternalId", About::ExternalId),
    ("aws:PrincipalArn", About::PrincipalArn),
    ("aws:PrincipalAccount", About::PrincipalAccount),
    ("aws:PrincipalType", About::PrincipalType),
];
const REQUEST_TAG: &str = "aws:RequestTag/";
const PRINCIPAL_TAG: &str = "aws:PrincipalTag/";

impl ConditionKey {
    /// What it is about, for an association.
    pub(in crate::trust) fn about(&self) -> About {
        let tag = |prefix: &str| {
            let name = starts_with_ignore_case(&self.text, prefix).then(|| self.text.get(prefix.len()..))??;
            Some(
                TAGS.iter()
                    .find(|(tag, _)| tag.eq_ignore_ascii_case(name))
                    .map(|(_, tag)| *tag),
            )
        };
        if let Some(tag) = tag(REQUEST_TAG) {
            return tag.map_or(About::OtherRequestTag, About::RequestTag);
        }
        if let Some(tag) = tag(PRINCIPAL_TAG) {
            // A role has tags of its own.
            return tag.map_or(About::Other, About::PrincipalTag);
        }
        let named = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(&self.text));
        named.map_or(About::Other, |(_, about)| *about)
    }

    /// What a request of EKS Auth carries under it.
    pub(super) fn given_by_pod_identity<'a>(&self, request: &Request<'a>, of: &PodIdentity<'a>) -> Given<'a> {
        match self.kind {
            // Claims are keys of a request with a token.
            Kind::Claim => return Given::Absent,
            Kind::RoleTag => return self.role_tag(request),
            Kind::SecureTransport => return Given::Text("true".into()),
            Kind::CurrentTime => return Given::CurrentTime,
            Kind::EpochTime => return Given::EpochTime,
            Kind::SessionName => {
                return match of.action {
                    Action::TagSession => Given::Unknown,
                    _ => Given::SessionName,
                };
            }
            Kind::Account if self.text.eq_ignore_ascii_case("aws:ResourceAccount") => {
                return Given::Text(request.role.account().into());
            }
            _ => {}
        }
        let PodIdentity {
            hop,
            action,
            association,
            pod_name,
        } = *of;
        let has_tags = association.session_tags == SessionTags::Enabled;
        match (self.about(), hop) {
            (About::RequestTag(_) | About::OtherRequestTag | About::TagKeys | About::TransitiveTagKeys, _)
                if !has_tags =>
            {
                Given::Absent
            }
            (About::OtherRequestTag, _) => Given::Absent,
            (About::RequestTag(tag), _) => tag_of(tag, association, pod_name),
            (About::PrincipalTag(tag), Hop::Target) if has_tags => tag_of(tag, association, pod_name),
            (About::TagKeys, _) | (About::TransitiveTagKeys, Hop::Primary) => Given::Set(TAG_KEYS),
            (About::SourceArn, Hop::Primary) => known(association.cluster.as_ref().map(|cluster| cluster.as_str())),
            (About::SourceAccount, Hop::Primary) => {
                known(association.cluster.as_ref().map(|cluster| cluster.account()))
            }
            (About::PrincipalArn, Hop::Target) => Given::Text(association.role.as_str().into()),
            (About::PrincipalAccount, Hop::Target) => Given::Text(association.role.account().into()),
            (About::PrincipalType, Hop::Target) => Given::Text("AssumedRole".into()),
            // With session tags, it is not documented that an external ID is sent.
            (About::ExternalId, Hop::Target) if !has_tags && action == Action::AssumeRole => {
                let external_id = association.external_id.as_deref();
                external_id.map_or(Given::Unknown, |text| Given::Text(text.into()))
            }
            _ => Given::Unknown,
        }
    }
}

fn tag_of<'a>(tag: SessionTag, association: &'a Association, pod_name: PodName<'a>) -> Given<'a> {
    let cluster = association.cluster.as_ref();
    match tag {
        SessionTag::ClusterArn => known(cluster.map(|cluster| cluster.as_str())),
        SessionTag::ClusterName => known(cluster.map(|cluster| cluster.name())),
        SessionTag::Namespace => Given::Text((&*association.namespace).into()),
        SessionTag::ServiceAccount => Given::Text((&*association.service_account).into()),
        SessionTag::PodName => match pod_name {
            PodName::Known(name) => Given::Text(name.into()),
            PodName::Beginning(beginning) => Given::Beginning(kept(beginning)),
            PodName::Unknown => Given::Beginning(""),
        },
        SessionTag::PodUid => Given::Beginning(""),
    }
}

/// A key that is there; what it holds is not always known.
fn known(text: Option<&str>) -> Given<'_> {
    text.map_or(Given::Beginning(""), |text| Given::Text(text.into()))
}

/// What the API server keeps of `generateName` before it adds five characters, for a name of at most 63.
fn kept(beginning: &str) -> &str {
    const KEPT: usize = 58;
    match beginning.char_indices().nth(KEPT) {
        Some((end, _)) => beginning.get(..end).unwrap_or_default(),
        None => beginning,
    }
}
