//! What STS needs in addition to the trust policy: an OIDC provider for the issuer in the role's account, which lists the audience.
//!
//! STS looks at the provider before the policy, so its faults come first.

use super::explain::Explanation;
use super::explain::fault::Fault;
use super::judge::Judgment;
use super::verdict::Verdict;
use super::web_identity::WebIdentity;

/// What is known of the OIDC provider that an issuer has in a role's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider<'a> {
    /// It exists, with these client IDs.
    Registered(&'a [Box<str>]),
    /// It does not exist.
    Missing,
}

/// What is wrong with the provider; none when nothing is.
#[must_use]
pub fn judge_provider(provider: Provider<'_>, identity: &WebIdentity) -> Option<Judgment> {
    let fault = match provider {
        Provider::Missing => Fault::NoProvider,
        Provider::Registered(client_ids) => {
            let audience = identity.audience.as_str();
            if client_ids.iter().any(|id| **id == *audience) {
                return None;
            }
            Fault::AudienceNotRegistered {
                listed: client_ids.iter().map(ToString::to_string).collect(),
            }
        }
    };
    Some(Judgment {
        verdict: Verdict::NotTrusted,
        explanation: Some(Box::new(Explanation::of(fault))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Audience, Cause, Issuer, Subject};

    const ISSUER: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

    fn identity(audience: &str) -> WebIdentity {
        WebIdentity {
            issuer: Issuer::parse(ISSUER).unwrap(),
            subject: Subject::service_account("jobs", "loader"),
            audience: Audience::new(audience),
        }
    }

    fn ids(ids: &[&str]) -> Vec<Box<str>> {
        ids.iter().map(|id| Box::from(*id)).collect()
    }

    fn cause(provider: Provider<'_>, audience: &str) -> Option<Cause> {
        judge_provider(provider, &identity(audience))?.explanation?.cause
    }

    #[test]
    fn the_audience_must_be_registered_as_written() {
        let sts = ids(&["other", "sts.amazonaws.com"]);
        assert_eq!(cause(Provider::Registered(&sts), "sts.amazonaws.com"), None);
        for audience in ["STS.amazonaws.com", "sts.amazonaws.com.cn", "oth", ""] {
            assert_eq!(
                cause(Provider::Registered(&sts), audience),
                Some(Cause::AudienceNotRegistered),
                "{audience}"
            );
        }
        assert_eq!(
            cause(Provider::Registered(&[]), "sts.amazonaws.com"),
            Some(Cause::AudienceNotRegistered)
        );
        assert_eq!(
            cause(Provider::Missing, "sts.amazonaws.com"),
            Some(Cause::ProviderNotFound)
        );
    }
}
