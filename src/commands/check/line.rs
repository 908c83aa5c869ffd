//! The fields that all lines of `--batch` have in common.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::commands::judgment::report::not_stored;
use crate::trust::Policy;

/// The policy of a line.
///
/// # Errors
/// That IAM would not store it.
pub(super) fn policy_of(raw: &RawValue) -> Result<Policy, String> {
    let raw = raw.get();
    let policy = match raw.starts_with('"') {
        true => Policy::parse_encoded(&serde_json::from_str::<Cow<'_, str>>(raw).map_err(|error| unreadable(&error))?),
        false => Policy::parse(raw),
    };
    // The writer of the line writes the policy, too: it must be one that IAM would store.
    let policy = policy.and_then(|policy| match policy.unstorable().first() {
        Some(objection) => Err(objection.clone()),
        None => Ok(policy),
    });
    policy.map_err(|error| not_stored(&error))
}

/// serde_json counts lines of what it was given, which is always the first here; the column helps.
pub(super) fn unreadable(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("the line is not a valid request ({what}, column {})", error.column())
}
