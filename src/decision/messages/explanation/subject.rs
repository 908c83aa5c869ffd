//! The subject: another one, in the wrong place, or with a wildcard that is not expanded.

use super::mismatch::phrases;
use super::policy_text::{long_requirement, values};
use super::{ExplanationText, SERVICE_ACCOUNT};
use crate::support::text::{self, quote};
use crate::trust::{Mismatch, Requirement};

/// Line 1 about another subject.
pub(super) fn other_subject_clause(requirement: &Requirement, mismatches: &[Mismatch]) -> String {
    let first = requirement.values.first().map_or("", String::as_str);
    if requirement.negated || requirement.values.is_empty() {
        return format!(
            "its trust policy excludes it ({} {})",
            text::value_within(&requirement.operator, 60),
            values(requirement)
        );
    }
    match mismatches {
        [Mismatch::SeveralInOne] => {
            return "its trust policy has several subjects in one string instead of a list".to_owned();
        }
        [Mismatch::VariableUnderOldVersion, ..] => {
            return "its trust policy has a variable as the subject, but not the Version \"2012-10-17\"".to_owned();
        }
        _ => {}
    }
    let is_plain = mismatches.iter().all(|one| {
        matches!(
            one,
            Mismatch::Namespace { .. } | Mismatch::Name { .. } | Mismatch::NamespaceAndName
        )
    });
    let account = first
        .strip_prefix(SERVICE_ACCOUNT)
        .and_then(|rest| rest.split_once(':'));
    let others = match requirement
        .values
        .len()
        .saturating_sub(1)
        .saturating_add(requirement.more)
    {
        0 => String::new(),
        1 => " and 1 other".to_owned(),
        others => format!(" and {others} others"),
    };
    match account {
        Some((namespace, name)) if is_plain => {
            format!(
                "its trust policy allows {}{others}",
                text::value(&format!("{namespace}/{name}"))
            )
        }
        _ => {
            format!(
                "its trust policy allows {}{others}: {}",
                quote(first),
                phrases(mismatches)
            )
        }
    }
}

pub(super) fn other_subject(about: &ExplanationText<'_>, requirement: &Requirement, mismatches: &[Mismatch]) -> String {
    let subject = quote(about.identity.subject.as_str());
    if mismatches.is_empty() || requirement.negated {
        return format!(
            "requires {}; the token's subject is {subject}",
            long_requirement(requirement)
        );
    }
    format!(
        "requires the subject {}, the token has {subject}: {}",
        values(requirement),
        phrases(mismatches)
    )
}

pub(super) fn key_without_claim(requirement: &Requirement) -> String {
    format!(
        "has a subject under the key {}, which names the issuer but no claim; no token has such a key",
        quote(&requirement.key)
    )
}

pub(super) fn under_audience_key(about: &ExplanationText<'_>, value: &str) -> String {
    format!(
        "has the subject {} under the key of the audience (:aud); the token's audience is {}",
        quote(value),
        quote(about.identity.audience.as_str())
    )
}

pub(super) fn swapped(about: &ExplanationText<'_>, value: &str) -> String {
    format!(
        "{}; the values of :sub and :aud are swapped",
        under_audience_key(about, value)
    )
}

/// Line 1 about a wildcard under an operator that takes it literally.
pub(super) fn literal_wildcard_clause(requirement: &Requirement, value: &str) -> String {
    let wildcard = if value.contains('*') { '*' } else { '?' };
    let short = value.strip_prefix(SERVICE_ACCOUNT).unwrap_or(value);
    format!(
        "{} does not expand the {wildcard} in {}",
        text::value_within(&requirement.operator, 60),
        quote(short)
    )
}

pub(super) fn literal_wildcard(about: &ExplanationText<'_>, requirement: &Requirement, value: &str) -> String {
    format!(
        "requires {} to equal {} under {}, which does not expand * and ?",
        key_name(about, &requirement.key),
        quote(value),
        text::value_within(&requirement.operator, 60)
    )
}

fn key_name(about: &ExplanationText<'_>, key: &str) -> String {
    let issuer = about.identity.issuer.as_str();
    match key
        .get(..issuer.len())
        .filter(|owner| owner.eq_ignore_ascii_case(issuer))
    {
        Some(owner) => match key.get(owner.len()..).map(str::to_ascii_lowercase).as_deref() {
            Some(":sub") => "the subject".to_owned(),
            Some(":aud") => "the audience".to_owned(),
            _ => quote(key),
        },
        None => quote(key),
    }
}
