//! In what a name in a policy differs from the one that was needed, in words: the mistakes that people make.

use super::glob;
use super::key::begins_with;
use super::web_identity::{Issuer, SERVICE_ACCOUNT, is_region};
use super::{RoleArn, Subject};
use crate::support::text::quote;

/// A difference: how far off (0 is nearest) and what it is.
pub(crate) struct Difference {
    pub(crate) distance: usize,
    pub(crate) words: String,
}

impl Difference {
    fn new(distance: usize, words: impl Into<String>) -> Self {
        Self {
            distance,
            words: words.into(),
        }
    }
    fn joined(differences: Vec<String>) -> Self {
        Self {
            distance: differences.len(),
            words: differences.join(", "),
        }
    }
}

/// How a `Federated` principal differs from the ARN of the issuer's provider in the role's account.
pub(crate) fn of_provider(found: &str, role: &RoleArn, issuer: &Issuer) -> Difference {
    let mut parts = found.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (arn, partition, service, region, account, resource) = (next(), next(), next(), next(), next(), next());
    if arn != "arn" {
        let is_issuer = found == issuer.as_str() || begins_with(found, "https://");
        let words = if is_issuer {
            "an issuer's URL, not the ARN of its provider"
        } else {
            "another identity provider"
        };
        return Difference::new(6, words);
    }
    let Some(name) = resource.strip_prefix("oidc-provider/") else {
        let words = if resource.starts_with("saml-provider/") {
            "a SAML provider"
        } else {
            "no OIDC provider"
        };
        return Difference::new(6, words);
    };
    let mut differences = Vec::new();
    if partition != role.partition() {
        differences.push(format!(
            "another partition ({} instead of {})",
            quote(partition),
            role.partition()
        ));
    }
    if service != "iam" || !region.is_empty() {
        differences.push("it does not begin with arn:PARTITION:iam::".to_owned());
    }
    if account != role.account() {
        differences.push(format!(
            "another account ({} instead of the role's {}, where STS looks for the provider)",
            quote(account),
            role.account()
        ));
    }
    if name != issuer.as_str() {
        differences.push(of_issuer(name, issuer).words);
    }
    Difference::joined(differences)
}

/// How an issuer in a policy differs from the token's.
pub(crate) fn of_issuer(found: &str, issuer: &Issuer) -> Difference {
    let wanted = issuer.as_str();
    if begins_with(found, "https://") {
        let rest = found.get("https://".len()..).unwrap_or_default();
        let words = "https:// is left in".to_owned();
        return if rest == wanted {
            Difference::joined(vec![words])
        } else {
            Difference::joined(vec![words, of_issuer_without_scheme(rest, wanted).words])
        };
    }
    of_issuer_without_scheme(found, wanted)
}

fn of_issuer_without_scheme(found: &str, wanted: &str) -> Difference {
    if found.trim_end_matches('/') == wanted.trim_end_matches('/') {
        let words = if found.len() < wanted.len() {
            "the slash at its end is missing"
        } else {
            "a slash at its end is too much"
        };
        return Difference::new(1, words);
    }
    if found.eq_ignore_ascii_case(wanted) {
        return Difference::new(1, "it differs in upper and lower case");
    }
    let (Some(found), Some(wanted)) = (EksIssuer::parse(found), EksIssuer::parse(wanted)) else {
        return Difference::new(4, "another issuer");
    };
    let mut differences = Vec::new();
    if found.form != wanted.form {
        differences.push(format!(
            "it says {} where {} belongs",
            found.form.as_str(),
            wanted.form.as_str()
        ));
    }
    if found.region != wanted.region {
        differences.push(format!(
            "another Region ({} instead of {})",
            quote(found.region),
            quote(wanted.region)
        ));
    }
    if found.cluster != wanted.cluster {
        differences.push(format!(
            "another cluster (id {} instead of {})",
            quote(found.cluster),
            quote(wanted.cluster)
        ));
    }
    if differences.is_empty() {
        differences.push("another domain or path".to_owned());
    }
    Difference::joined(differences)
}

/// The ways in which EKS issuers are written, the wrong one of a well-known README included.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EksForm {
    Classic,
    DualStack,
    Swapped,
}

impl EksForm {
    fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "oidc.eks.REGION.amazonaws.com",
            Self::DualStack => "oidc-eks.REGION.api.aws",
            Self::Swapped => "oidc.REGION.eks.amazonaws.com",
        }
    }
}

struct EksIssuer<'a> {
    form: EksForm,
    region: &'a str,
    cluster: &'a str,
}

impl<'a> EksIssuer<'a> {
    fn parse(issuer: &'a str) -> Option<Self> {
        let (host, path) = issuer.split_once('/')?;
        let (form, region) = if let Some(rest) = host.strip_prefix("oidc.eks.") {
            (EksForm::Classic, rest.split('.').next()?)
        } else if let Some(rest) = host.strip_prefix("oidc-eks.") {
            (EksForm::DualStack, rest.split('.').next()?)
        } else {
            let (region, domain) = host.strip_prefix("oidc.")?.split_once('.')?;
            domain.strip_prefix("eks.")?;
            (EksForm::Swapped, region)
        };
        // Guides print the word REGION.
        (is_region(region) || region.eq_ignore_ascii_case("region")).then_some(())?;
        Some(Self {
            form,
            region,
            cluster: path.rsplit('/').next()?,
        })
    }
}

/// Whether a value's wildcards are to be read as such.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Pattern,
    Literal,
}

/// How a value that does not match a subject differs from it.
pub(crate) fn of_subject(found: &str, subject: &Subject, reading: Reading) -> Difference {
    let wanted = subject.as_str();
    let fits = |found: &str, wanted: &str| match reading {
        Reading::Pattern => glob::matches(found, wanted),
        Reading::Literal => found == wanted,
    };
    if found != found.trim() && fits(found.trim(), wanted) {
        let place = if found.trim_end() == found { "beginning" } else { "end" };
        return Difference::new(0, format!("it has a blank at its {place}"));
    }
    if fits(&found.to_lowercase(), &wanted.to_lowercase()) {
        return Difference::new(1, "it differs in upper and lower case");
    }
    if !found.starts_with(SERVICE_ACCOUNT) {
        let with_prefix = format!("{SERVICE_ACCOUNT}{}", found.replacen('/', ":", 1));
        if fits(&with_prefix, wanted) {
            return Difference::new(1, format!("{SERVICE_ACCOUNT} is missing"));
        }
        let is_service_account = wanted.starts_with(SERVICE_ACCOUNT);
        return if is_service_account {
            Difference::new(5, format!("it does not begin with {SERVICE_ACCOUNT}"))
        } else {
            Difference::new(5, "another subject")
        };
    }
    let parts = Subject::from_text(found);
    let (Some((namespace, name)), Some((own_namespace, own_name))) =
        (parts.namespace_and_name(), subject.namespace_and_name())
    else {
        return Difference::new(4, "another subject");
    };
    match (fits(namespace, own_namespace), fits(name, own_name)) {
        (false, true) => Difference::new(
            2,
            format!(
                "another namespace ({} instead of {})",
                quote(namespace),
                quote(own_namespace)
            ),
        ),
        (true, false) => Difference::new(
            2,
            format!("another name ({} instead of {})", quote(name), quote(own_name)),
        ),
        _ => Difference::new(3, "another namespace and another name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "EXAMPLED539D4633E53DE1B71EXAMPLE";

    fn of(found: &str, issuer: &str) -> String {
        of_issuer(found, &Issuer::parse(issuer).unwrap()).words
    }

    #[test]
    fn an_issuers_mistakes_are_told_apart() {
        let classic = format!("oidc.eks.us-west-2.amazonaws.com/id/{ID}");
        let dual_stack = format!("oidc-eks.us-west-2.api.aws/id/{ID}");
        for (found, words) in [
            (format!("https://{classic}"), "https:// is left in".to_owned()),
            (
                "https://oidc.eks.us-west-2.amazonaws.com/id/B".to_owned(),
                format!("https:// is left in, another cluster (id \"B\" instead of \"{ID}\")"),
            ),
            (format!("{classic}/"), "a slash at its end is too much".to_owned()),
            (classic.to_lowercase(), "it differs in upper and lower case".to_owned()),
            (
                format!("oidc.eks.eu-west-1.amazonaws.com/id/{ID}"),
                "another Region (\"eu-west-1\" instead of \"us-west-2\")".to_owned(),
            ),
            (
                format!("oidc.us-west-2.eks.amazonaws.com/id/{ID}"),
                "it says oidc.REGION.eks.amazonaws.com where oidc.eks.REGION.amazonaws.com belongs".to_owned(),
            ),
            (
                dual_stack.clone(),
                "it says oidc-eks.REGION.api.aws where oidc.eks.REGION.amazonaws.com belongs".to_owned(),
            ),
            (
                "token.actions.githubusercontent.com".to_owned(),
                "another issuer".to_owned(),
            ),
            (
                format!("oidc.eks.us-west-2.amazonaws.com.cn/id/{ID}"),
                "another domain or path".to_owned(),
            ),
        ] {
            assert_eq!(of(&found, &classic), words, "{found}");
        }
        assert_eq!(
            of(&classic, &dual_stack),
            "it says oidc.eks.REGION.amazonaws.com where oidc-eks.REGION.api.aws belongs"
        );
        assert_eq!(
            of("issuer.example", "issuer.example/"),
            "the slash at its end is missing"
        );
    }

    #[test]
    fn a_subjects_mistakes_are_told_apart() {
        let subject = Subject::service_account("prod", "app");
        for (found, reading, words) in [
            (
                "system:serviceaccount:prod:app ",
                Reading::Literal,
                "it has a blank at its end",
            ),
            (
                "\tsystem:serviceaccount:prod:app",
                Reading::Literal,
                "it has a blank at its beginning",
            ),
            (
                "system:serviceaccount:prod:App",
                Reading::Literal,
                "it differs in upper and lower case",
            ),
            ("prod:app", Reading::Literal, "system:serviceaccount: is missing"),
            ("prod/app", Reading::Literal, "system:serviceaccount: is missing"),
            ("prod:*", Reading::Pattern, "system:serviceaccount: is missing"),
            (
                "dev:app",
                Reading::Literal,
                "it does not begin with system:serviceaccount:",
            ),
            (
                "system:serviceaccount:dev:app",
                Reading::Literal,
                "another namespace (\"dev\" instead of \"prod\")",
            ),
            (
                "system:serviceaccount:dev:a*",
                Reading::Pattern,
                "another namespace (\"dev\" instead of \"prod\")",
            ),
            (
                "system:serviceaccount:prod:web",
                Reading::Literal,
                "another name (\"web\" instead of \"app\")",
            ),
            (
                "system:serviceaccount:dev:web",
                Reading::Literal,
                "another namespace and another name",
            ),
            (
                "system:serviceaccount:dev:app ",
                Reading::Literal,
                "another namespace and another name",
            ),
            ("system:serviceaccount:prod", Reading::Literal, "another subject"),
        ] {
            assert_eq!(of_subject(found, &subject, reading).words, words, "{found}");
        }
    }
}
