//! How a text in the policy differs from what is needed.

use super::SERVICE_ACCOUNT;
use crate::support::text::{self, quote};
use crate::trust::Mismatch;

/// All differences, separated by commas.
pub(super) fn phrases(mismatches: &[Mismatch]) -> String {
    let phrases: Vec<String> = mismatches.iter().map(phrase).collect();
    phrases.join(", ")
}

/// One difference in words, about the text in the policy.
fn phrase(mismatch: &Mismatch) -> String {
    let instead = |what: &str, found: &str, needed: &str| format!("{what} {} instead of {needed}", text::value(found));
    match mismatch {
        Mismatch::Scheme(scheme) => format!("{scheme} was left in"),
        Mismatch::SlashBefore => "it has an extra slash before the issuer".to_owned(),
        Mismatch::ProviderPath => "an extra oidc-provider/ was left in".to_owned(),
        Mismatch::ClaimAdded(claim) => format!("it has {claim} at its end, which belongs in condition keys only"),
        Mismatch::SlashBeforeClaim => "it has a slash before the claim, where a colon belongs".to_owned(),
        Mismatch::NoIssuer => "the issuer is missing".to_owned(),
        Mismatch::Part => "it is only a part of the issuer".to_owned(),
        Mismatch::SlashMissing => "the slash at its end is missing".to_owned(),
        Mismatch::SlashAdded => "it has an extra slash at its end".to_owned(),
        Mismatch::Case => "it differs in upper and lower case".to_owned(),
        Mismatch::Placeholder => "a placeholder was not filled in".to_owned(),
        Mismatch::Variable => "its variables do not expand to this subject".to_owned(),
        Mismatch::VariableUnderOldVersion => "variables are not replaced unless Version is \"2012-10-17\"".to_owned(),
        Mismatch::Wildcard | Mismatch::AnyProvider => {
            "it has a wildcard, and wildcards are not expanded there".to_owned()
        }
        Mismatch::Host { found, needed, .. } => instead("host", found, needed),
        Mismatch::Region { found, needed } => instead("Region", found, needed),
        Mismatch::Cluster { found, needed } => instead("EKS cluster ID", found, &text::value(needed)),
        Mismatch::Path => "another path".to_owned(),
        Mismatch::OtherIssuer => "another issuer".to_owned(),
        Mismatch::BareIssuer => "it is an issuer, not the ARN of its provider".to_owned(),
        Mismatch::OtherProvider => "another identity provider".to_owned(),
        Mismatch::Saml => "a SAML provider".to_owned(),
        Mismatch::NotAProvider => "it is not the ARN of an OIDC provider".to_owned(),
        Mismatch::Partition { found, needed } => instead("partition", found, needed),
        Mismatch::Account { found, .. } if found.is_empty() => "the account is missing".to_owned(),
        Mismatch::Account { found, needed } => {
            format!("account {} instead of the role's account {needed}", quote(found))
        }
        Mismatch::ArnStart => "it does not start with arn:PARTITION:iam::".to_owned(),
        Mismatch::Blank => "it begins or ends with a space".to_owned(),
        Mismatch::BlankInside => "it contains a space".to_owned(),
        Mismatch::OtherPrefix => format!("it does not start with {SERVICE_ACCOUNT}"),
        Mismatch::NoName => "the name is missing".to_owned(),
        Mismatch::Quotes => "it has quotation marks inside".to_owned(),
        Mismatch::Prefix => format!("{SERVICE_ACCOUNT} is missing"),
        Mismatch::SlashForColon => "it has a slash where a colon belongs".to_owned(),
        Mismatch::NoNamespace => "the namespace is missing".to_owned(),
        Mismatch::SeveralInOne => "several subjects are in one string instead of a list".to_owned(),
        Mismatch::Namespace { found, needed } => format!("namespace {} instead of {}", quote(found), quote(needed)),
        Mismatch::Name { found, needed } => format!("name {} instead of {}", quote(found), quote(needed)),
        Mismatch::NamespaceAndName => "another namespace and name".to_owned(),
        Mismatch::NotAServiceAccount => "it is not the subject of a ServiceAccount".to_owned(),
        Mismatch::OtherSubject => "another subject".to_owned(),
    }
}

/// `: it begins or ends with a space`, where there is anything to say.
pub(super) fn after_colon(mismatches: &[Mismatch]) -> String {
    if mismatches.is_empty() {
        String::new()
    } else {
        format!(": {}", phrases(mismatches))
    }
}
