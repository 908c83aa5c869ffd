//! The OIDC provider: it does not exist, or the statement trusts another one, or something else.

use super::ExplanationText;
use super::mismatch::phrases;
use super::policy_text::{list, long_requirement};
use crate::support::text::{self, quote};
use crate::trust::{Mismatch, Requirement};

/// Line 1 about an account without the provider.
pub(super) fn missing_clause(about: &ExplanationText<'_>) -> String {
    format!(
        "account {} has no OIDC provider for the cluster's issuer",
        about.role.account()
    )
}

pub(super) fn missing(about: &ExplanationText<'_>) -> String {
    format!(
        "account {} has no OIDC provider for {}",
        about.role.account(),
        about.identity.issuer
    )
}

/// Line 1 about a statement that trusts another provider.
pub(super) fn other_provider_clause(found: &str, mismatches: &[Mismatch]) -> String {
    issuer_clause("the OIDC provider in its trust policy", mismatches).unwrap_or_else(|| {
        let issuer = found.split_once(":oidc-provider/").map_or(found, |(_, issuer)| issuer);
        match mismatches {
            [Mismatch::Saml] => "its trust policy names a SAML provider instead of an OIDC provider".to_owned(),
            [Mismatch::OtherIssuer | Mismatch::Path | Mismatch::OtherProvider] => {
                format!("its trust policy names another OIDC provider, {}", text::value(issuer))
            }
            _ => format!("its trust policy names another OIDC provider: {}", phrases(mismatches)),
        }
    })
}

pub(super) fn other_provider(about: &ExplanationText<'_>, found: &str, mismatches: &[Mismatch]) -> String {
    format!(
        "trusts another provider, {}: {}; the token's provider is {}",
        quote(found),
        phrases(mismatches),
        quote(&about.role.provider_arn(&about.identity.issuer))
    )
}

/// Line 1 about a condition key of another issuer.
pub(super) fn other_key_clause(owner: &str, mismatches: &[Mismatch]) -> String {
    issuer_clause("a condition key of its trust policy", mismatches).unwrap_or_else(|| {
        let what = "its trust policy has a condition key of another issuer";
        match mismatches {
            [Mismatch::OtherIssuer | Mismatch::Path] => format!("{what}, {}", text::value(owner)),
            _ => format!("{what}: {}", phrases(mismatches)),
        }
    })
}

pub(super) fn other_key(about: &ExplanationText<'_>, requirement: &Requirement, mismatches: &[Mismatch]) -> String {
    format!(
        "requires {}, where the key is not of the token's issuer {}: {}",
        long_requirement(requirement),
        quote(about.identity.issuer.as_str()),
        phrases(mismatches)
    )
}

/// Line 1 about a statement that trusts services or AWS principals only.
pub(super) fn no_provider_clause(services: &[String], aws: &[String]) -> String {
    if services.is_empty() && *aws == ["*"] {
        return "its trust policy allows only AWS principals (*)".to_owned();
    }
    format!("its trust policy allows only {}", list(services.iter().chain(aws)))
}

pub(super) fn no_provider(services: &[String], aws: &[String]) -> String {
    let part = |what: &str, principals: &[String]| {
        let plural = if principals.len() == 1 { "" } else { "s" };
        (!principals.is_empty()).then(|| format!("{what}{plural} {}", list(principals)))
    };
    let trusted = [part("the service", services), part("the AWS principal", aws)];
    let trusted: Vec<String> = trusted.into_iter().flatten().collect();
    format!("trusts {}, not an OIDC provider", trusted.join(" and "))
}

pub(super) fn misplaced(element: &str, found: &str) -> String {
    format!(
        "lists the OIDC provider {} under {element}; it belongs under Federated",
        quote(found)
    )
}

pub(super) fn arn_in_key(key: &str) -> String {
    format!(
        "has the provider's ARN in the condition key {}, where the issuer belongs; no token has such a key",
        quote(key)
    )
}

/// A clause about the cluster, where it is another one, or about how the text is written; none about anything else.
fn issuer_clause(what: &str, mismatches: &[Mismatch]) -> Option<String> {
    let cluster = mismatches.iter().find_map(|one| match one {
        Mismatch::Cluster { found, needed } => {
            let names = if what.starts_with("the ") {
                "its trust policy"
            } else {
                what
            };
            Some(format!(
                "{names} names EKS cluster {}, not {}",
                text::value(found),
                text::value(needed)
            ))
        }
        _ => None,
    });
    let is_wrong = mismatches.iter().any(is_misspelled);
    cluster.or_else(|| is_wrong.then(|| format!("{what} is wrong: {}", phrases(mismatches))))
}

/// Whether it is the way the text is written, and not another provider.
fn is_misspelled(mismatch: &Mismatch) -> bool {
    matches!(
        mismatch,
        Mismatch::Scheme(_)
            | Mismatch::SlashBefore
            | Mismatch::SlashMissing
            | Mismatch::SlashAdded
            | Mismatch::SlashBeforeClaim
            | Mismatch::ProviderPath
            | Mismatch::ClaimAdded(_)
            | Mismatch::NoIssuer
            | Mismatch::Part
            | Mismatch::Case
            | Mismatch::Placeholder
            | Mismatch::Wildcard
            | Mismatch::AnyProvider
            | Mismatch::BareIssuer
            | Mismatch::ArnStart
            | Mismatch::Blank
            | Mismatch::Quotes
    )
}
