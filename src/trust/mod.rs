//! The trust policy language: role ARNs, policy documents, and whether a web identity or EKS Pod Identity may
//! assume a role.
//!
//! Everything here is a total function over plain values: no I/O, no async, no clock, no environment. It cannot fail, only
//! answer. The rules are IAM's; each is stated next to the code that implements it.

mod action;
mod arn;
mod association;
mod condition;
mod edit;
mod evaluate;
mod explain;
mod glob;
mod grant;
mod json;
mod judge;
mod lint;
mod mismatch;
mod policy;
mod provider;
mod request;
mod size;
mod ternary;
mod verdict;
mod web_identity;
mod wrapped;

pub use self::arn::{AccountId, Partition, RoleArn, RoleArnError};
pub use self::association::{Association, ClusterArn, ClusterArnError, Hop, PodName, SessionTags, is_cluster_name};
pub use self::edit::Edit;
pub use self::explain::Explanation;
pub use self::explain::fault::{AssociationFault, Carried, Fault, Part, Requirement, StatementLabel};
pub use self::grant::{Addition, AssociationGrant, EditError, Grant, Merged, to_terraform};
pub use self::judge::{Judgment, judge, judge_association};
pub(crate) use self::lint::lint_issuer;
pub use self::lint::{Lint, lint, lint_association};
pub use self::mismatch::Mismatch;
pub use self::policy::{Origin, Policy, PolicyError};
pub use self::provider::{Provider, judge_provider};
pub use self::request::{Context, SessionName};
pub use self::size::size;
pub(crate) use self::size::{DEFAULT_QUOTA, LARGEST_QUOTA};
pub use self::verdict::{Cause, Verdict};
pub use self::web_identity::{Audience, Issuer, IssuerError, Subject, WebIdentity};
pub(crate) use self::web_identity::{is_region, partition_of_region};
pub(crate) use self::wrapped::unwrapped;
