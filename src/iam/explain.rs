//! Why a role does not (surely) trust a web identity: the nearest statement, its cause, and words for people.

use super::key::Request;
use super::truth::Truth;
use super::{Cause, Policy};

/// The reason of a judgement that is not `trusted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The cause, when not trusted.
    pub cause: Option<Cause>,
    /// One line without control characters: which statement, what it wanted, what it got. It names neither the role nor
    /// the ServiceAccount (the caller does). At most 600 characters.
    pub reason: String,
    /// What would mend it, one line, when that can be told (`use StringLike`, `write … instead of …`).
    pub hint: Option<String>,
    /// For `undecided`: the condition keys that only STS can know, as written, without repetition.
    pub undecided_keys: Vec<String>,
}

pub(crate) fn not_trusted(_policy: &Policy, _request: &Request<'_>, _denies: Truth) -> Explanation {
    Explanation {
        cause: Some(Cause::OtherCondition),
        reason: "no statement applies".to_owned(),
        hint: None,
        undecided_keys: Vec::new(),
    }
}

pub(crate) fn undecided(_policy: &Policy, _request: &Request<'_>, _allows: Truth) -> Explanation {
    Explanation {
        cause: None,
        reason: "it depends on what only STS knows".to_owned(),
        hint: None,
        undecided_keys: Vec::new(),
    }
}
