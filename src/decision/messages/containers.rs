//! Messages about a container whose identity is missing or cannot be checked: the clause of line 1, and the fix.

use crate::pod::effective::{NoIdentity, Unverifiable};
use crate::support::text;

/// The longest name or value of a container in line 1, in characters.
const SHOWN: usize = 63;

/// `"main"`, or `"main" (and 3 more)`.
fn named(container: &str, others: usize) -> String {
    let name = text::quote_within(container, SHOWN);
    match others {
        0 => name,
        others => format!("{name} (and {others} more)"),
    }
}

/// The clause and the fix for a container whose role or token is not known.
pub(super) fn unverifiable(container: &str, others: usize, why: &Unverifiable<'_>) -> (String, String) {
    let container = named(container, others);
    let shown = |value: &str| text::quote_within(value, SHOWN);
    match why {
        Unverifiable::Value(variable) => (
            format!(": container {container} gets {variable} from outside the pod, so its IAM role cannot be checked"),
            format!("set {variable} to a literal value, or remove it"),
        ),
        Unverifiable::NotARoleArn(value) => (
            format!(
                ": container {container} sets AWS_ROLE_ARN to {}, which is not a role ARN",
                shown(value)
            ),
            "set AWS_ROLE_ARN to the ARN of an IAM role, or remove it".to_owned(),
        ),
        Unverifiable::ApiServerToken => (
            format!(
                ": container {container} sets AWS_WEB_IDENTITY_TOKEN_FILE to the API server's token: AWS STS refuses it unless its \
                 audience is registered in IAM"
            ),
            "remove AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE from the container; rolegate sets both".to_owned(),
        ),
        Unverifiable::TokenFile(path) => (
            format!(
                ": container {container} sets AWS_WEB_IDENTITY_TOKEN_FILE to {}, where no projected token is mounted",
                shown(path)
            ),
            "mount a projected token there, or remove AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(),
        ),
    }
}

/// The clause and the fix for a container with a credentials server of its own.
pub(super) fn own_credentials(container: &str, others: usize, variable: &str) -> (String, String) {
    (
        format!(
            ": container {} takes its credentials from {variable}, which cannot be checked",
            named(container, others)
        ),
        format!("remove {variable} from the container"),
    )
}

/// The clause and the fix for a container without an identity. Without `why`, an annotation leaves it out.
pub(super) fn no_identity(container: &str, others: usize, why: Option<NoIdentity>) -> (String, String) {
    let container = named(container, others);
    match why {
        None => (
            format!(
                ": container {container} is excluded by an annotation of the pod, but this namespace requires an IAM role"
            ),
            "remove the container from the annotation skip-containers, or add it to include-containers".to_owned(),
        ),
        Some(why) => (
            format!(
                ": this namespace requires an IAM role, but container {container} sets {}",
                why.what()
            ),
            why.fix(),
        ),
    }
}
