//! The role sources that `--role-source` names.

use super::serve::RoleSourceSpec;
use crate::iam::RoleArn;

/// What was found where a role's policy was looked for.
pub(crate) enum Found {
    /// Its policy, percent-encoded or plain.
    Document {
        /// The text.
        text: String,
        /// The role's tags, when the source gives them.
        tags: Option<Vec<(String, String)>>,
        /// Where it stands.
        origin: String,
    },
    /// It surely does not exist.
    NoSuchRole {
        /// Who says so.
        origin: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// It could not be read: one line that says why.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Reads one role through the sources, in their order.
///
/// # Errors
/// When a source cannot be opened at all: which, and why.
pub(crate) fn read(_specs: &[RoleSourceSpec], _role: &RoleArn) -> Result<Found, String> {
    Err("role sources cannot be read yet: give --policy FILE".to_owned())
}
