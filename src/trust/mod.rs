//! The trust policy language: role ARNs, policy documents, and whether a web identity may assume a role.
//!
//! Everything here is a total function over plain values: no I/O, no async, no clock, no environment. It cannot fail, only
//! answer. The rules are IAM's; each is stated beside the code that keeps it.

pub mod arn;
mod condition;
pub mod edit;
pub mod evaluate;
pub mod explain;
mod glob;
mod json;
mod key;
pub mod lint;
mod literal;
pub mod mismatch;
mod not_json;
pub mod policy;
pub mod provider;
mod service_prefixes;
pub mod size;
mod storable;
mod truth;
mod value;
pub mod verdict;
pub mod web_identity;
pub mod wrapped;

pub use arn::{AccountId, Partition, RoleArn, RoleArnError};
pub use edit::{Edit, Grant};
pub use evaluate::{Context, Judgment, SessionName, judge};
pub use explain::{Carried, Explanation, Fault, Requirement, StatementLabel};
pub use lint::{Lint, lint, lint_issuer};
pub use policy::{Origin, Policy, PolicyError};
pub use provider::{Provider, judge_provider, provider_command};
pub use verdict::{Cause, Verdict};
pub use web_identity::{Audience, Issuer, IssuerError, Subject, WebIdentity};
