//! The grammar of a trust policy: JSON text to a compiled [`Policy`], or why IAM would refuse to store it.

use std::fmt;

/// A well-formed trust policy, compiled for evaluation.
#[derive(Debug)]
pub struct Policy {}

impl Policy {
    /// Parses a policy document from its JSON text. Takes time and space linear in its length, whatever it holds.
    ///
    /// # Errors
    /// Where and how it breaks IAM's grammar.
    pub fn parse(_json: &str) -> Result<Self, PolicyError> {
        todo!()
    }
    /// Parses a document as `GetRole` and `ListRoles` hand it out: percent-encoded (`+` stays `+`). Text that starts
    /// with `{` after white space is taken as it is.
    ///
    /// # Errors
    /// As [`Policy::parse`].
    pub fn parse_encoded(_text: &str) -> Result<Self, PolicyError> {
        todo!()
    }
    /// Whether any statement asks for `sts:RoleSessionName`.
    #[must_use]
    pub fn mentions_role_session_name(&self) -> bool {
        todo!()
    }
}

/// Why a document is no trust policy. `Display` is one line: the place (`Statement[1].Condition.StringEqual`) and what was
/// expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {}

impl fmt::Display for PolicyError {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl std::error::Error for PolicyError {}
