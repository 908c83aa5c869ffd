//! A role as a file defines it.

use std::sync::Arc;

use crate::roles::source::RoleDocument;
use crate::trust::RoleArn;

/// A role of a file.
#[derive(Clone, Debug)]
pub(super) struct FoundRole {
    pub(super) key: RoleKey,
    pub(super) trust: FoundTrust,
}

/// Which role it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RoleKey {
    /// By its whole ARN.
    Arn(RoleArn),
    /// By what its ARN will be or is made of, in whatever partition.
    Parts {
        /// None: a plan that does not say in which account.
        account: Option<Arc<str>>,
        /// Path, with both slashes, and name.
        path_and_name: Arc<str>,
    },
}

/// What the file defines as its trust policy.
#[derive(Clone, Debug)]
pub(super) enum FoundTrust {
    Document(RoleDocument),
    /// Why it is not known: one line.
    Unknown(Arc<str>),
}

/// Whether it is a service-linked role or one that IAM Identity Center reserves.
pub(super) fn is_of_aws(arn: &str) -> bool {
    arn.contains(":role/aws-service-role/") || arn.contains(":role/aws-reserved/")
}
