//! The web identity that a projected ServiceAccount token carries: issuer, subject, audience.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The claims that identify the holder of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebIdentity {
    /// Who issued the token.
    pub issuer: Issuer,
    /// The identity that the token is issued to.
    pub subject: Subject,
    /// The service that the token is meant for.
    pub audience: Audience,
}

/// A cluster's OIDC issuer without `https://`. A trailing slash is part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issuer(Arc<str>);

impl Issuer {
    /// Parses an issuer, with or without `https://`.
    ///
    /// # Errors
    /// When it is empty, has another scheme, blanks or control characters, or a query or fragment.
    pub fn parse(text: &str) -> Result<Self, IssuerError> {
        let issuer = match text.split_at_checked("https://".len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https://") => rest,
            _ => text,
        };
        if issuer.is_empty() {
            return Err(IssuerError::Empty);
        }
        if issuer.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(IssuerError::Blank);
        }
        if issuer.contains("://") {
            return Err(IssuerError::Scheme);
        }
        if issuer.contains(['?', '#']) {
            return Err(IssuerError::QueryOrFragment);
        }
        if issuer.starts_with('/') {
            return Err(IssuerError::NoHost);
        }
        Ok(Self(issuer.into()))
    }
    /// Without the scheme.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The Region in an EKS issuer (`oidc.eks.REGION.amazonaws.com…`, `oidc-eks.REGION.api.aws…`), else none. What
    /// follows the Region is the partition's own affair.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        let host = self.0.split('/').next()?;
        let rest = host
            .strip_prefix("oidc.eks.")
            .or_else(|| host.strip_prefix("oidc-eks."))?;
        let (region, domain) = rest.split_once('.')?;
        (is_region(region) && !domain.is_empty()).then_some(region)
    }
}

/// The partition of a Region, by how the Region's name begins; the longer beginnings first.
const PARTITIONS: [(&str, &str); 8] = [
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-iso-", "aws-iso"),
    ("eusc-", "aws-eusc"),
    ("", "aws"),
];

/// The partition of a Region: `aws-cn` for `cn-north-1`.
pub(crate) fn partition_of_region(region: &str) -> &'static str {
    PARTITIONS
        .iter()
        .find(|(start, _)| region.starts_with(start))
        .map_or("aws", |(_, partition)| partition)
}

impl Issuer {
    /// The partition of the Region in an EKS issuer: `aws-cn` for `cn-north-1`. `aws` for any other issuer.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        partition_of_region(self.region().unwrap_or_default())
    }

    /// Why STS cannot fetch the issuer's keys, where its name alone says so: STS asks public HTTPS addresses. A fragment for
    /// people.
    #[must_use]
    pub fn unreachable(&self) -> Option<&'static str> {
        let host_and_port = self.0.split('/').next().unwrap_or_default();
        let (host, port) = match host_and_port.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(']') || host.starts_with('[') => (host, Some(port)),
            _ => (host_and_port, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_internal = ["localhost", "kubernetes"].contains(&host)
            || [".svc", ".local", ".internal", ".localhost"]
                .iter()
                .any(|end| host.ends_with(end))
            || host.contains(".svc.");
        let is_private = host.parse::<IpAddr>().is_ok_and(|address| match address {
            IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
        });
        if is_internal || is_private {
            return Some("its host has no public address, so STS cannot fetch its keys (InvalidIdentityToken)");
        }
        port.filter(|port| *port != "443")
            .map(|_| "it has a port, which IAM does not accept in the URL of an OIDC provider")
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Issuer {
    type Err = IssuerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// `us-west-2`, `us-iso-east-1`, `eusc-de-east-1`: words of small letters, then a number.
pub(crate) fn is_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else {
        return false;
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    is_number && words.contains('-') && words.split('-').all(is_word)
}

/// Why a text is not an issuer. `Display` is a sentence fragment without the value itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// Nothing is there.
    #[error("it is empty; write the cluster's OIDC issuer, e.g. https://oidc.eks.REGION.amazonaws.com/id/ID")]
    Empty,
    /// A scheme other than `https`.
    #[error("its scheme is not https; an OIDC issuer begins with https://")]
    Scheme,
    /// A blank or a control character.
    #[error("it contains whitespace or a control character; remove it")]
    Blank,
    /// A query or a fragment, which OpenID Connect forbids.
    #[error("it has a query or a fragment; an OIDC issuer ends with its path")]
    QueryOrFragment,
    /// A path without a host.
    #[error("it has no host; write https://HOST/PATH")]
    NoHost,
}

/// What every ServiceAccount's subject begins with.
pub(crate) const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The `sub` of a token; for a pod `system:serviceaccount:NAMESPACE:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The subject of a ServiceAccount's tokens.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self([SERVICE_ACCOUNT, namespace, ":", name].concat().into())
    }
    /// Any subject text (`check --batch`).
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }
    /// The whole subject.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Namespace and name, when it is a ServiceAccount's.
    #[must_use]
    pub(crate) fn namespace_and_name(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.0.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `aud` of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Audience(Arc<str>);

impl Audience {
    /// Any text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Partition;

    #[test]
    fn every_known_partition_has_regions() {
        let mut known = Partition::KNOWN.to_vec();
        let mut of_regions = PARTITIONS.map(|(_, partition)| partition).to_vec();
        known.sort_unstable();
        of_regions.sort_unstable();
        assert_eq!(known, of_regions);
    }

    #[test]
    fn an_issuer_is_kept_without_its_scheme_and_with_its_slash() {
        for (text, kept) in [
            (
                "https://oidc.eks.us-west-2.amazonaws.com/id/A",
                "oidc.eks.us-west-2.amazonaws.com/id/A",
            ),
            (
                "oidc.eks.us-west-2.amazonaws.com/id/A",
                "oidc.eks.us-west-2.amazonaws.com/id/A",
            ),
            ("HTTPS://issuer.example/", "issuer.example/"),
            ("issuer.example:8443/a", "issuer.example:8443/a"),
        ] {
            assert_eq!(Issuer::parse(text).unwrap().as_str(), kept);
        }
        for (text, error) in [
            ("", IssuerError::Empty),
            ("https://", IssuerError::Empty),
            ("http://issuer.example", IssuerError::Scheme),
            ("https://https://issuer.example", IssuerError::Scheme),
            ("issuer.example ", IssuerError::Blank),
            ("issuer\u{0}.example", IssuerError::Blank),
            ("issuer.example/?a", IssuerError::QueryOrFragment),
            ("issuer.example/#a", IssuerError::QueryOrFragment),
            ("https:///id/A", IssuerError::NoHost),
        ] {
            assert_eq!(Issuer::parse(text), Err(error), "{text}");
            assert!(error.to_string().starts_with("it"));
        }
    }

    #[test]
    fn an_eks_issuer_contains_its_region() {
        for (issuer, region) in [
            ("oidc.eks.us-west-2.amazonaws.com/id/A", Some("us-west-2")),
            ("oidc.eks.cn-north-1.amazonaws.com.cn/id/A", Some("cn-north-1")),
            ("oidc.eks.us-iso-east-1.c2s.ic.gov/id/A", Some("us-iso-east-1")),
            ("oidc-eks.eu-central-1.api.aws/id/A", Some("eu-central-1")),
            ("oidc.REGION.eks.amazonaws.com/A", None),
            ("oidc.eks.REGION.amazonaws.com/id/A", None),
            ("oidc.eks.amazonaws.com/id/A", None),
            ("oidc.eks.us-west-.amazonaws.com/id/A", None),
            ("oidc.eks.us-west-two.amazonaws.com/id/A", None),
            ("oidc.eks.us-2.amazonaws.com/id/A", None),
            ("oidc.eks.us--2.amazonaws.com/id/A", None),
            ("oidc.eks.US-west-2.amazonaws.com/id/A", None),
            ("oidc.eks.us-west-2", None),
            ("issuer.example/oidc.eks.us-west-2.amazonaws.com", None),
        ] {
            assert_eq!(Issuer::parse(issuer).unwrap().region(), region, "{issuer}");
        }
    }

    #[test]
    fn the_partition_follows_from_the_region_of_an_issuer() {
        for (issuer, partition) in [
            ("oidc.eks.us-west-2.amazonaws.com/id/A", "aws"),
            ("oidc.eks.cn-north-1.amazonaws.com.cn/id/A", "aws-cn"),
            ("oidc.eks.us-gov-west-1.amazonaws.com/id/A", "aws-us-gov"),
            ("oidc.eks.us-iso-east-1.c2s.ic.gov/id/A", "aws-iso"),
            ("oidc.eks.us-isob-east-1.sc2s.sgov.gov/id/A", "aws-iso-b"),
            ("oidc.eks.eu-isoe-west-1.cloud.adc-e.uk/id/A", "aws-iso-e"),
            ("oidc.eks.us-isof-south-1.csp.hci.ic.gov/id/A", "aws-iso-f"),
            ("oidc.eks.eusc-de-east-1.amazonaws.eu/id/A", "aws-eusc"),
            ("issuer.example", "aws"),
        ] {
            assert_eq!(Issuer::parse(issuer).unwrap().partition(), partition, "{issuer}");
        }
    }

    #[test]
    fn an_issuer_that_sts_cannot_reach_is_recognized() {
        for issuer in [
            "kubernetes.default.svc.cluster.local",
            "kubernetes.default.svc",
            "localhost:8443",
            "10.0.0.1",
            "127.0.0.1:6443/a",
            "[fd00::1]:8443",
            "issuer.example:8443/id",
        ] {
            assert!(Issuer::parse(issuer).unwrap().unreachable().is_some(), "{issuer}");
        }
        for issuer in [
            "oidc.eks.us-west-2.amazonaws.com/id/A",
            "issuer.example:443/id",
            "203.0.113.1",
            "s3.amazonaws.com/a:b",
        ] {
            assert_eq!(Issuer::parse(issuer).unwrap().unreachable(), None, "{issuer}");
        }
    }

    #[test]
    fn a_subject_contains_namespace_and_name() {
        assert_eq!(Subject::from_text("a:b").to_string(), "a:b");
        assert_eq!(Audience::new("sts.amazonaws.com").to_string(), "sts.amazonaws.com");
        assert_eq!(
            Subject::service_account("jobs", "default").as_str(),
            "system:serviceaccount:jobs:default"
        );
        for (text, parts) in [
            ("system:serviceaccount:jobs:default", Some(("jobs", "default"))),
            ("system:serviceaccount:jobs", None),
            ("system:serviceaccount::default", None),
            ("system:serviceaccount:jobs:", None),
            ("system:serviceaccount:a:b:c", None),
            ("repo:a:b", None),
        ] {
            assert_eq!(Subject::from_text(text).namespace_and_name(), parts, "{text}");
        }
    }
}
