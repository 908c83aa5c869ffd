//! What is too wide in a policy, even where it trusts.

use super::{Policy, RoleArn, WebIdentity};

/// Something in a statement that applies to the identity's provider that lets in more than was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// A closed word: `no-subject-condition`, `no-audience-condition`, `wildcard-subject`, `for-all-values-absent-key`.
    pub code: &'static str,
    /// One line for people; names the statement.
    pub message: String,
}

/// The lints of a policy, for the statements that trust the identity's provider.
#[must_use]
pub fn lint(_policy: &Policy, _role: &RoleArn, _identity: &WebIdentity) -> Vec<Lint> {
    todo!()
}
