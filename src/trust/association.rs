//! EKS Pod Identity associations: which role the pods of a ServiceAccount get through EKS Auth.
//!
//! EKS Auth assumes the association's role as the service `pods.eks.amazonaws.com` and, where the association has a target role,
//! assumes that role with the credentials of the first. Each of these hops is evaluated separately; the worse verdict counts.

use std::fmt;
use std::sync::Arc;

use super::arn::{AccountId, Partition, RoleArn};
use super::web_identity::is_region;
use crate::support::text::is_hidden;

/// An EKS Pod Identity association, as `DescribePodIdentityAssociation` returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// The cluster that it belongs to. None: not known, and so nothing that depends on it is.
    pub cluster: Option<ClusterArn>,
    /// The namespace of the pods.
    pub namespace: Arc<str>,
    /// The name of their ServiceAccount, which need not exist.
    pub service_account: Arc<str>,
    /// `a-…`; none where it is not created yet.
    pub id: Option<Arc<str>>,
    /// The primary role, in the account of the cluster.
    pub role: RoleArn,
    /// The role that is assumed with the credentials of the primary role, in any account.
    pub target_role: Option<RoleArn>,
    /// Whether sessions are tagged with cluster, namespace, ServiceAccount and pod.
    pub session_tags: SessionTags,
    /// What EKS sends as `sts:ExternalId` to the target role, where it is known.
    pub external_id: Option<Arc<str>>,
}

/// Whether EKS Auth tags the sessions of an association (`disableSessionTags`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionTags {
    /// Six tags, all of them transitive.
    #[default]
    Enabled,
    /// None.
    Disabled,
}

/// Which of the two roles of an association is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// `roleArn`, assumed by the service `pods.eks.amazonaws.com`.
    Primary,
    /// `targetRoleArn`, assumed by the primary role.
    Target,
}

/// What is known of a pod's name when it is admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodName<'a> {
    /// The name.
    Known(&'a str),
    /// `generateName`: how the name begins.
    Beginning(&'a str),
    /// Nothing.
    #[default]
    Unknown,
}

impl Association {
    /// The role of a hop; none where there is no target role.
    #[must_use]
    pub const fn role_of(&self, hop: Hop) -> Option<&RoleArn> {
        match hop {
            Hop::Primary => Some(&self.role),
            Hop::Target => self.target_role.as_ref(),
        }
    }

    /// The hops that there are, in their order.
    pub fn hops(&self) -> impl Iterator<Item = (Hop, &RoleArn)> {
        [Hop::Primary, Hop::Target]
            .into_iter()
            .filter_map(|hop| Some((hop, self.role_of(hop)?)))
    }
}

impl Hop {
    /// The word in formats and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Target => "target",
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The ARN of an EKS cluster, `arn:PARTITION:eks:REGION:ACCOUNT:cluster/NAME`; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClusterArn {
    // INVARIANT: six parts, the last of them `cluster/NAME`. Only `parse` makes one.
    text: Arc<str>,
}

/// The longest name of a cluster, in characters.
const LONGEST_NAME: usize = 100;

impl ClusterArn {
    /// Parses the ARN of a cluster.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ClusterArnError> {
        Self::check(text, "cluster/").map(|_| Self { text: text.into() })
    }

    /// The cluster of an association, by the association's ARN `arn:PARTITION:eks:REGION:ACCOUNT:podidentityassociation/CLUSTER/ID`.
    #[must_use]
    pub fn of_association(arn: &str) -> Option<Self> {
        let (rest, _id) = arn.rsplit_once('/')?;
        let name = Self::check(rest, "podidentityassociation/").ok()?;
        let (owner, _) = rest.rsplit_once(':')?;
        Some(Self {
            text: format!("{owner}:cluster/{name}").into(),
        })
    }

    /// The ARN of a cluster, from its parts.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn compose(
        partition: &Partition,
        region: &str,
        account: &AccountId,
        name: &str,
    ) -> Result<Self, ClusterArnError> {
        Self::parse(&format!("arn:{partition}:eks:{region}:{account}:cluster/{name}"))
    }

    /// The cluster's name in an ARN whose resource begins like this.
    fn check<'a>(text: &'a str, resource: &str) -> Result<&'a str, ClusterArnError> {
        if text.chars().any(|c| c.is_whitespace() || is_hidden(c)) {
            return Err(ClusterArnError::Blank);
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let [arn, partition, service, region, account, rest] = parts.as_slice() else {
            return Err(ClusterArnError::NotAClusterArn);
        };
        let name = rest.strip_prefix(resource);
        match name {
            Some(name)
                if *arn == "arn"
                    && Partition::parse(partition).is_some()
                    && *service == "eks"
                    && is_region(region)
                    && AccountId::parse(account).is_some()
                    && is_cluster_name(name) =>
            {
                Ok(name)
            }
            _ => Err(ClusterArnError::NotAClusterArn),
        }
    }

    /// The whole ARN, as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `aws`, `aws-cn` …
    #[must_use]
    pub fn partition(&self) -> &str {
        self.part(1)
    }

    /// `us-west-2` …
    #[must_use]
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// Twelve digits.
    #[must_use]
    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    fn part(&self, index: usize) -> &str {
        self.text.split(':').nth(index).unwrap_or_default()
    }
}

/// Whether EKS takes a text as the name of a cluster: 1 to 100 of letters, digits, `-` and `_`, beginning with a letter or digit.
#[must_use]
pub fn is_cluster_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl fmt::Display for ClusterArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ClusterArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl std::str::FromStr for ClusterArn {
    type Err = ClusterArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Why a text is not the ARN of an EKS cluster. `Display` is a sentence fragment without the value itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterArnError {
    /// A blank or a character that does not print.
    #[error("it contains whitespace or another character that does not print; remove it")]
    Blank,
    /// Not such an ARN.
    #[error("it is not the ARN of an EKS cluster; write arn:aws:eks:REGION:ACCOUNT:cluster/NAME")]
    NotAClusterArn,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_of_a_cluster_has_its_parts() {
        let arn = ClusterArn::parse("arn:aws-cn:eks:cn-north-1:111122223333:cluster/my_cluster-1").unwrap();
        assert_eq!(
            (arn.partition(), arn.region(), arn.account(), arn.name()),
            ("aws-cn", "cn-north-1", "111122223333", "my_cluster-1")
        );
        let of_association =
            "arn:aws-cn:eks:cn-north-1:111122223333:podidentityassociation/my_cluster-1/a-abcdefghijklmnop1";
        assert_eq!(ClusterArn::of_association(of_association), Some(arn));
    }

    #[test]
    fn what_is_not_the_arn_of_a_cluster_is_refused() {
        for text in [
            "",
            "my-cluster",
            "arn:aws:eks:us-west-2:111122223333:nodegroup/my-cluster",
            "arn:aws:eks:us-west-2:111122223333:cluster/",
            "arn:aws:eks:us-west-2:111122223333:cluster/a/b",
            "arn:aws:eks:us-west-2:1111:cluster/a",
            "arn:aws:eks::111122223333:cluster/a",
            "arn:aws:iam:us-west-2:111122223333:cluster/a",
            "arn:aws:eks:us-west-2:111122223333:cluster/-a",
            "arn:aws:eks:us-west-2:111122223333:cluster/é",
        ] {
            assert_eq!(ClusterArn::parse(text), Err(ClusterArnError::NotAClusterArn), "{text}");
        }
        let long = format!("arn:aws:eks:us-west-2:111122223333:cluster/{}", "a".repeat(101));
        assert!(ClusterArn::parse(&long).is_err());
        assert_eq!(
            ClusterArn::parse("arn:aws:eks:us-west-2:111122223333:cluster/a\n"),
            Err(ClusterArnError::Blank)
        );
        assert_eq!(
            ClusterArn::of_association("arn:aws:eks:us-west-2:111122223333:cluster/a"),
            None
        );
    }
}
