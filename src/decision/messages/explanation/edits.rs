//! The edits that correct a policy, and what to decide where no edit is sure to help.

use super::{ACTION, ExplanationText};
use crate::support::text::{self, quote};
use crate::trust::{Edit, Fault};

/// All edits on one line; empty where there is none.
pub(super) fn edits(about: &ExplanationText<'_>) -> String {
    let mut edits: Vec<String> = about.explanation.edits.iter().map(|one| edit(about, one)).collect();
    // The same key can appear under two operators.
    edits.dedup();
    edits.join("; ")
}

fn edit(about: &ExplanationText<'_>, edit: &Edit) -> String {
    let provider = || quote(&about.role.provider_arn(&about.identity.issuer));
    let (statement, found, needed) = match edit {
        Edit::AddStatement => return format!("add a statement for {} and keep the others", provider()),
        Edit::AddSubject { statement, key, .. } => {
            let subject = claimed(about, "sub");
            return format!("add {subject} to the values of {} in statement {statement}", quote(key));
        }
        Edit::ReplaceOperator {
            statement,
            operator,
            key,
            with,
        } => {
            return format!(
                "in statement {statement}, use {with} instead of {} for {}, which allows everything that the pattern matches",
                text::value_within(operator, 60),
                quote(key)
            );
        }
        Edit::ReplacePrincipal { statement, found } => (
            statement,
            format!("the Federated principal {}", quote(found)),
            provider(),
        ),
        Edit::MovePrincipal {
            statement,
            element,
            found,
        } => (
            statement,
            format!("the {element} principal {}", quote(found)),
            format!("the Federated principal {}", provider()),
        ),
        Edit::ReplaceAction { statement, found } => (
            statement,
            format!("the action {}", quote(found)),
            format!("\"{ACTION}\""),
        ),
        Edit::ReplaceKey {
            statement, key, claim, ..
        } => {
            let needed = quote(&format!("{}:{claim}", about.identity.issuer));
            (statement, format!("the key {}", quote(key)), needed)
        }
        Edit::ReplaceValue {
            statement,
            key,
            found,
            claim,
            ..
        } => {
            let needed = format!("{} under {}", claimed(about, claim), quote(key));
            (statement, quote(found), needed)
        }
    };
    format!("in statement {statement}, replace {found} with {needed}")
}

/// The value that the token has under a claim.
fn claimed(about: &ExplanationText<'_>, claim: &str) -> String {
    match claim {
        "aud" => quote(about.identity.audience.as_str()),
        _ => quote(about.identity.subject.as_str()),
    }
}

/// What to do where no edit is sure to help.
pub(super) fn without_an_edit(about: &ExplanationText<'_>) -> Option<String> {
    let statement = about.explanation.statement.as_ref().map(|one| one.number);
    match (about.explanation.faults.first()?, statement) {
        (Fault::Denied { .. }, Some(number)) => Some(format!("remove or narrow the Deny in statement {number}")),
        (Fault::NoProvider, _) => Some("create the OIDC provider once per account and cluster".to_owned()),
        (Fault::AudienceNotRegistered { .. }, _) => {
            Some("add the audience to the client IDs of the provider, or correct the audience annotation".to_owned())
        }
        // Something can always be added, and only a Deny is stronger.
        (fault, _) if fault.cause().is_some() => {
            Some("a Deny in the policy might still refuse it after this is corrected".to_owned())
        }
        _ => None,
    }
}
