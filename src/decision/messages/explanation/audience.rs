//! The audience: not registered with the provider, or not the one that the statement requires.

use super::ExplanationText;
use super::mismatch::after_colon;
use super::policy_text::{list, long_requirement, values};
use crate::support::text::quote;
use crate::trust::{Mismatch, Requirement};

/// Line 1 about an audience that the provider does not list.
pub(super) fn not_registered_clause(about: &ExplanationText<'_>) -> String {
    format!(
        "the OIDC provider in account {} does not list the audience {}",
        about.role.account(),
        quote(about.identity.audience.as_str())
    )
}

pub(super) fn not_registered(about: &ExplanationText<'_>, listed: &[String]) -> String {
    format!(
        "the OIDC provider {} of account {} does not list the audience {} among its client IDs ({})",
        about.identity.issuer,
        about.role.account(),
        quote(about.identity.audience.as_str()),
        client_ids(listed)
    )
}

/// The client IDs that a provider lists.
pub(super) fn client_ids(listed: &[String]) -> String {
    if listed.is_empty() {
        "none".to_owned()
    } else {
        list(listed)
    }
}

/// Line 1 about another audience.
pub(super) fn other_audience_clause(
    about: &ExplanationText<'_>,
    requirement: &Requirement,
    mismatches: &[Mismatch],
) -> String {
    let audience = quote(about.identity.audience.as_str());
    if requirement.negated {
        return format!("its trust policy excludes the audience {audience}");
    }
    format!(
        "its trust policy requires the audience {}, the token has {audience}{}",
        values(requirement),
        after_colon(mismatches)
    )
}

pub(super) fn other_audience(
    about: &ExplanationText<'_>,
    requirement: &Requirement,
    mismatches: &[Mismatch],
) -> String {
    let audience = quote(about.identity.audience.as_str());
    if requirement.negated {
        return format!(
            "requires {}; the token's audience is {audience}",
            long_requirement(requirement)
        );
    }
    format!(
        "requires the audience {}, the token has {audience}{}",
        values(requirement),
        after_colon(mismatches)
    )
}

pub(super) fn key_without_claim(requirement: &Requirement) -> String {
    format!(
        "has an audience under the key {}, which names the issuer but no claim; no token has such a key",
        quote(&requirement.key)
    )
}
