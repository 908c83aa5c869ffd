//! ARNs of roles and of OIDC providers.

use std::fmt;
use std::sync::Arc;

use super::web_identity::Issuer;

/// An AWS partition: `aws`, `aws-cn`, `aws-us-gov` … an open set of `[a-z0-9-]+`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition(Arc<str>);

impl Partition {
    /// Parses a partition: one or more of `a-z`, `0-9` and `-`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (!text.is_empty() && text.bytes().all(fits)).then(|| Self(text.into()))
    }
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An AWS account: exactly twelve digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// Parses an account: twelve ASCII digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| Self(text.into()))
    }
    /// The twelve digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The ARN of an IAM role, `arn:PARTITION:iam::ACCOUNT:role[/PATH]/NAME`, parsed once; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleArn {
    text: Arc<str>,
    // the room's author adds what makes partition(), account(), path() and name() cheap, or computes them
}

impl RoleArn {
    /// Parses a role ARN.
    ///
    /// # Errors
    /// What is wrong with it, and the likely mistake.
    pub fn parse(_text: &str) -> Result<Self, RoleArnError> {
        todo!()
    }
    /// The ARN made of `[path/]name` in an account (`--compose-role-arn`).
    ///
    /// # Errors
    /// As [`RoleArn::parse`].
    pub fn compose(_partition: &Partition, _account: &AccountId, _path_and_name: &str) -> Result<Self, RoleArnError> {
        todo!()
    }
    /// The whole ARN, as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// `aws`, `aws-cn` …
    #[must_use]
    pub fn partition(&self) -> &str {
        todo!()
    }
    /// Twelve digits.
    #[must_use]
    pub fn account(&self) -> &str {
        todo!()
    }
    /// With both slashes; `/` when there is none.
    #[must_use]
    pub fn path(&self) -> &str {
        todo!()
    }
    /// The name alone, what `GetRole` takes.
    #[must_use]
    pub fn name(&self) -> &str {
        todo!()
    }
    /// The ARN that the OIDC provider of an issuer has in this role's account and partition.
    #[must_use]
    pub fn provider_arn(&self, _issuer: &Issuer) -> String {
        todo!()
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Why a text is no role ARN. `Display` is one sentence fragment for the author, without the value itself, e.g.
/// `it is the ARN of an instance profile; annotate the role it holds` (control characters never appear in it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleArnError {
    // the room's author lists the mistakes worth naming
}

impl fmt::Display for RoleArnError {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl std::error::Error for RoleArnError {}
