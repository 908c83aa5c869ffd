//! Conditions that hold where they deny, that do not hold, or that only STS knows.

use super::ExplanationText;
use super::policy_text::{list, long_requirement, requirements, short_requirement};
use crate::support::text::{self, quote};
use crate::trust::{Carried, Requirement, Verdict};

pub(super) fn denied(about: &ExplanationText<'_>, conditions: &[Requirement], more: usize) -> String {
    match (conditions.len(), more) {
        (0, _) => format!("denies every token of {}", quote(about.identity.issuer.as_str())),
        (1, 0) => format!(
            "denies the request, because its condition holds ({})",
            requirements(conditions)
        ),
        (_, 0) => format!(
            "denies the request, because its conditions hold ({})",
            requirements(conditions)
        ),
        (_, more) => format!(
            "denies the request, because its conditions hold ({} and {more} more)",
            requirements(conditions)
        ),
    }
}

/// Line 1 about a condition that is false.
pub(super) fn not_met_clause(about: &ExplanationText<'_>, requirement: &Requirement, carried: &Carried) -> String {
    match carried {
        Carried::Absent => format!(
            "its trust policy requires {}, which no request with a web identity has",
            text::value(&requirement.key)
        ),
        Carried::UnknownClaim => {
            let issuer = about.identity.issuer.as_str();
            let claim = requirement
                .key
                .get(issuer.len().saturating_add(1)..)
                .unwrap_or_default();
            format!(
                "its trust policy requires the claim {}; STS passes on only sub and aud",
                quote(claim)
            )
        }
        carried => format!(
            "its trust policy requires {}; {}",
            short_requirement(requirement),
            carried_by_request(carried)
        ),
    }
}

pub(super) fn not_met(requirement: &Requirement, carried: &Carried) -> String {
    format!(
        "requires {}; {}",
        long_requirement(requirement),
        carried_by_request(carried)
    )
}

fn carried_by_request(carried: &Carried) -> String {
    match carried {
        Carried::UnknownClaim => "STS passes on only the claims sub and aud of a cluster's token".to_owned(),
        Carried::NoClaim => "the key names the issuer but no claim".to_owned(),
        Carried::Absent => "a request with a web identity does not have this key".to_owned(),
        Carried::Text(text) => format!("its value is {}", quote(text)),
        Carried::PastTime => "that time has passed".to_owned(),
        Carried::SessionName => "no session name that STS accepts can match".to_owned(),
        Carried::Beginning(beginning) => format!("its value begins with {}", quote(beginning)),
        Carried::Several(texts) => format!(
            "its values are {}",
            text::quoted_list(texts.iter().map(String::as_str), 6)
        ),
        Carried::SeveralForOneValue => {
            "it has several values, which only an operator with ForAnyValue: or ForAllValues: matches".to_owned()
        }
        Carried::Anything => "this is false for every value".to_owned(),
    }
}

/// Line 1 about a statement that allows or denies only if conditions hold that only STS knows.
pub(super) fn depends_on_clause(about: &ExplanationText<'_>, conditions: &[Requirement], denies: bool) -> String {
    let keys = || list(&about.explanation.undecided_keys);
    match (conditions, denies) {
        ([], _) => format!("{} might deny it; only STS knows", about.statement()),
        (_, true) => format!("{} might deny it, which depends on {}", about.statement(), keys()),
        (_, false) => format!("its trust policy depends on {}, which only STS knows", keys()),
    }
}

pub(super) fn depends_on(
    conditions: &[Requirement],
    more: usize,
    denies: bool,
    other_statements: usize,
    session_name: Option<&(String, Verdict)>,
) -> String {
    let mut sentence = if conditions.is_empty() {
        "denies the principal \"*\"; only STS knows whether that includes a web identity".to_owned()
    } else {
        let is_one = conditions.len().saturating_add(more) == 1;
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "{} if {}{more} {}, which only STS knows",
            if denies { "denies it" } else { "allows it only" },
            requirements(conditions),
            if is_one { "holds" } else { "hold" }
        )
    };
    match other_statements {
        0 => {}
        1 => sentence.push_str("; the same applies to 1 other statement"),
        others => sentence.push_str(&format!("; the same applies to {others} other statements")),
    }
    if let Some((name, verdict)) = session_name {
        let outcome = match verdict {
            Verdict::Trusted => "with which the policy trusts it",
            Verdict::NotTrusted => "with which the policy does not trust it",
            Verdict::Undecided | Verdict::Unknown => "with which it is still undecided",
        };
        sentence.push_str(&format!(
            "; the pod's AWS_ROLE_SESSION_NAME is {}, {outcome}",
            quote(name)
        ));
    }
    sentence
}
