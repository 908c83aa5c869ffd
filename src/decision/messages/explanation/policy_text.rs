//! Parts of a policy in a sentence: lists, values and conditions.

use crate::support::text::{self, quote};
use crate::trust::Requirement;

/// How many of several values, services, actions … are named.
const MAX_SHOWN: usize = 3;

pub(super) fn list<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    let texts: Vec<&str> = texts.into_iter().map(String::as_str).collect();
    text::list(texts.into_iter(), MAX_SHOWN)
}

pub(super) fn quoted_list(texts: &[String]) -> String {
    text::quoted_list(texts.iter().map(String::as_str), MAX_SHOWN)
}

/// `"A", "B" and 2 others`.
pub(super) fn values(requirement: &Requirement) -> String {
    let shown: Vec<String> = requirement.values.iter().map(|value| quote(value)).collect();
    let shown = if shown.is_empty() {
        "[]".to_owned()
    } else {
        shown.join(" or ")
    };
    match requirement.more {
        0 => shown,
        1 => format!("{shown} or 1 other"),
        more => format!("{shown} or {more} others"),
    }
}

/// `A, B and 2 more`, as written in the policy.
pub(super) fn values_bare(requirement: &Requirement) -> String {
    let shown: Vec<_> = requirement.values.iter().map(|value| text::visible(value)).collect();
    let shown = shown.join(", ");
    match (requirement.negated, requirement.more) {
        (true, _) => format!("all but {shown}"),
        (false, 0) => shown,
        (false, more) => format!("{shown} and {more} more"),
    }
}

/// `StringEquals "KEY": "VALUE"`.
pub(super) fn long_requirement(requirement: &Requirement) -> String {
    format!(
        "{} {}: {}",
        text::value_within(&requirement.operator, 60),
        quote(&requirement.key),
        values(requirement)
    )
}

/// `aws:PrincipalOrgID (StringEquals)`.
pub(super) fn short_requirement(requirement: &Requirement) -> String {
    format!(
        "{} ({})",
        text::value(&requirement.key),
        text::value_within(&requirement.operator, 60)
    )
}

pub(super) fn requirements(conditions: &[Requirement]) -> String {
    let shown: Vec<String> = conditions.iter().map(long_requirement).collect();
    shown.join(" and ")
}
