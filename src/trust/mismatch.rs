//! How a name in a policy differs from the one that was needed: the mistakes that people make.
//!
//! Plain values; the sentences are made where all of them are (`decision/messages`).

use super::arn::check_account;
use super::glob;
use super::key::begins_with;
use super::web_identity::{Issuer, SERVICE_ACCOUNT, is_region};
use super::{RoleArn, Subject};

/// One difference. Texts are as they stand in the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// `https://` was left in.
    Scheme,
    /// A slash at the end is missing.
    SlashMissing,
    /// A slash at the end is one too many.
    SlashAdded,
    /// Only upper and lower case differ.
    Case,
    /// A placeholder was never filled in: `${…}`, `<…>`, `$NAME`.
    Placeholder,
    /// `*` or `?` where IAM has no wildcards: in a provider's ARN or a condition key.
    Wildcard,
    /// Another host, with `REGION` for the Region where one was found.
    Host {
        /// In the policy.
        found: String,
        /// What the token's issuer has.
        needed: String,
        /// Whether it is the host that a well-known guide once printed, which never existed.
        never_existed: bool,
    },
    /// Another Region.
    Region {
        /// In the policy.
        found: String,
        /// What the token's issuer has.
        needed: String,
    },
    /// Another EKS cluster.
    Cluster {
        /// The ID in the policy.
        found: String,
        /// The ID of the token's cluster.
        needed: String,
    },
    /// Another path below the same host.
    Path,
    /// An issuer that has nothing in common with the token's.
    OtherIssuer,
    /// An issuer where the ARN of its provider belongs.
    BareIssuer,
    /// An identity provider that is not an OIDC provider of IAM.
    OtherProvider,
    /// A SAML provider.
    Saml,
    /// An ARN of something else.
    NotAProvider,
    /// Another partition.
    Partition {
        /// In the policy.
        found: String,
        /// The role's.
        needed: String,
    },
    /// Another account than the role's, where STS looks for the provider.
    Account {
        /// In the policy.
        found: String,
        /// The role's.
        needed: String,
    },
    /// It does not begin with `arn:PARTITION:iam::`.
    ArnStart,
    /// A blank before or after the text.
    Blank,
    /// Quotation marks inside the text.
    Quotes,
    /// `system:serviceaccount:` is missing.
    Prefix,
    /// A slash between namespace and name, where a colon belongs.
    SlashForColon,
    /// The namespace is missing.
    NoNamespace,
    /// Several subjects in one text, where a list belongs.
    SeveralInOne,
    /// Another namespace.
    Namespace {
        /// In the policy.
        found: String,
        /// The token's.
        needed: String,
    },
    /// Another ServiceAccount of the namespace.
    Name {
        /// In the policy.
        found: String,
        /// The token's.
        needed: String,
    },
    /// Another namespace and another name.
    NamespaceAndName,
    /// It is not the subject of a ServiceAccount.
    NotAServiceAccount,
    /// Another subject, of a form of its own.
    OtherSubject,
}

impl Mismatch {
    /// Whether what has this mistake can stand for nobody, so that correcting it takes nothing away from anybody.
    pub(crate) fn serves_nobody(&self) -> bool {
        match self {
            Self::Scheme
            | Self::Placeholder
            | Self::Wildcard
            | Self::BareIssuer
            | Self::Blank
            | Self::Quotes
            | Self::Prefix
            | Self::SlashForColon
            | Self::NoNamespace
            | Self::SeveralInOne => true,
            Self::Host { never_existed, .. } => *never_existed,
            Self::Account { found, .. } => check_account(found).is_err(),
            _ => false,
        }
    }
}

/// Differences of one text, and how far off it is in all (0 is nearest).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatches {
    pub(crate) distance: usize,
    pub(crate) list: Vec<Mismatch>,
}

impl Mismatches {
    fn one(distance: usize, mismatch: Mismatch) -> Self {
        Self {
            distance,
            list: vec![mismatch],
        }
    }
    fn all(list: Vec<Mismatch>) -> Self {
        Self {
            distance: list.len(),
            list,
        }
    }
    pub(crate) fn serves_nobody(&self) -> bool {
        self.list.iter().any(Mismatch::serves_nobody)
    }
}

/// `${…}`, `<…>`, `$NAME`: what a script or a person should have filled in.
pub(crate) fn holds_placeholder(text: &str) -> bool {
    let holds_pair = |open: &str, close: char| text.split_once(open).is_some_and(|(_, rest)| rest.contains(close));
    let holds_name = || {
        text.split('$')
            .skip(1)
            .any(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
    };
    holds_pair("${", '}') || holds_pair("<", '>') || holds_pair("{{", '}') || holds_name()
}

/// How a `Federated` principal differs from the ARN of the issuer's provider in the role's account.
pub(crate) fn of_provider(found: &str, role: &RoleArn, issuer: &Issuer) -> Mismatches {
    let mut parts = found.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (arn, partition, service, region, account, resource) = (next(), next(), next(), next(), next(), next());
    if arn != "arn" {
        let bare = found.strip_prefix("https://").unwrap_or(found);
        let is_issuer = bare == issuer.as_str() || found != bare || EksIssuer::parse(bare).is_some();
        return match (is_issuer, holds_placeholder(found)) {
            (true, _) => {
                let mut list = vec![Mismatch::BareIssuer];
                if bare != issuer.as_str() {
                    list.extend(of_issuer_without_scheme(bare, issuer.as_str()).list);
                }
                Mismatches::all(list)
            }
            (false, true) => Mismatches::one(6, Mismatch::Placeholder),
            (false, false) => Mismatches::one(6, Mismatch::OtherProvider),
        };
    }
    let Some(name) = resource.strip_prefix("oidc-provider/") else {
        let mismatch = if resource.starts_with("saml-provider/") {
            Mismatch::Saml
        } else {
            Mismatch::NotAProvider
        };
        return Mismatches::one(6, mismatch);
    };
    let mut list = Vec::new();
    if holds_placeholder(found) {
        list.push(Mismatch::Placeholder);
    }
    if glob::has_wildcard(found) {
        list.push(Mismatch::Wildcard);
    }
    // What a placeholder or wildcard stands for differs anyhow.
    let is_plain = |text: &str| !holds_placeholder(text) && !glob::has_wildcard(text);
    if partition != role.partition() && is_plain(partition) {
        list.push(Mismatch::Partition {
            found: partition.to_owned(),
            needed: role.partition().to_owned(),
        });
    }
    if service != "iam" || !region.is_empty() {
        list.push(Mismatch::ArnStart);
    }
    if account != role.account() && is_plain(account) {
        list.push(Mismatch::Account {
            found: account.to_owned(),
            needed: role.account().to_owned(),
        });
    }
    if name != issuer.as_str() && is_plain(name) {
        list.extend(of_issuer(name, issuer).list);
    }
    Mismatches::all(list)
}

/// How an issuer in a policy differs from the token's.
pub(crate) fn of_issuer(found: &str, issuer: &Issuer) -> Mismatches {
    let needed = issuer.as_str();
    if holds_placeholder(found) {
        return Mismatches::one(1, Mismatch::Placeholder);
    }
    if glob::has_wildcard(found) {
        return Mismatches::one(1, Mismatch::Wildcard);
    }
    if begins_with(found, "https://") {
        let rest = found.get("https://".len()..).unwrap_or_default();
        let mut list = vec![Mismatch::Scheme];
        if rest != needed {
            list.extend(of_issuer_without_scheme(rest, needed).list);
        }
        return Mismatches::all(list);
    }
    of_issuer_without_scheme(found, needed)
}

fn of_issuer_without_scheme(found: &str, needed: &str) -> Mismatches {
    if found.trim_end_matches('/') == needed.trim_end_matches('/') {
        let mismatch = if found.len() < needed.len() {
            Mismatch::SlashMissing
        } else {
            Mismatch::SlashAdded
        };
        return Mismatches::one(1, mismatch);
    }
    if found.eq_ignore_ascii_case(needed) {
        return Mismatches::one(1, Mismatch::Case);
    }
    let (Some(found), Some(needed)) = (EksIssuer::parse(found), EksIssuer::parse(needed)) else {
        // A part of the issuer, as when its beginning was cut off.
        let is_part = found.len() >= 8 && needed.contains(found);
        return if is_part || host(found) == host(needed) {
            Mismatches::one(2, Mismatch::Path)
        } else {
            Mismatches::one(4, Mismatch::OtherIssuer)
        };
    };
    let mut list = Vec::new();
    if found.host != needed.host {
        list.push(Mismatch::Host {
            found: found.host,
            needed: needed.host,
            never_existed: found.never_existed,
        });
    }
    if found.region != needed.region {
        list.push(Mismatch::Region {
            found: found.region.to_owned(),
            needed: needed.region.to_owned(),
        });
    }
    if found.cluster != needed.cluster {
        list.push(Mismatch::Cluster {
            found: found.cluster.to_owned(),
            needed: needed.cluster.to_owned(),
        });
    }
    if list.is_empty() {
        list.push(Mismatch::Path);
    }
    Mismatches::all(list)
}

/// The host of an issuer.
pub(crate) fn host(issuer: &str) -> &str {
    issuer.split('/').next().unwrap_or_default()
}

/// Whether both are issuers of EKS, whatever their Regions, partitions and clusters.
pub(crate) fn are_both_of_eks(left: &str, right: &str) -> bool {
    EksIssuer::parse(left).is_some() && EksIssuer::parse(right).is_some()
}

struct EksIssuer<'a> {
    /// With `REGION` for its Region.
    host: String,
    region: &'a str,
    cluster: &'a str,
    never_existed: bool,
}

impl<'a> EksIssuer<'a> {
    fn parse(issuer: &'a str) -> Option<Self> {
        let (host, path) = issuer.split_once('/')?;
        let (start, region, never_existed) = if let Some(rest) = host.strip_prefix("oidc.eks.") {
            ("oidc.eks.", rest.split('.').next()?, false)
        } else if let Some(rest) = host.strip_prefix("oidc-eks.") {
            ("oidc-eks.", rest.split('.').next()?, false)
        } else {
            let (region, domain) = host.strip_prefix("oidc.")?.split_once('.')?;
            domain.strip_prefix("eks.")?;
            ("oidc.", region, true)
        };
        // Guides print the word REGION.
        (is_region(region) || region.eq_ignore_ascii_case("region")).then_some(())?;
        let end = host.get(start.len().saturating_add(region.len())..)?;
        Some(Self {
            host: format!("{start}REGION{end}"),
            region,
            cluster: path.rsplit('/').next()?,
            never_existed,
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
pub(crate) fn of_subject(found: &str, subject: &Subject, reading: Reading) -> Mismatches {
    let needed = subject.as_str();
    let fits = |found: &str, needed: &str| match reading {
        Reading::Pattern => glob::matches(found, needed),
        Reading::Literal => found == needed,
    };
    if holds_placeholder(found) {
        return Mismatches::one(2, Mismatch::Placeholder);
    }
    if found != found.trim() && fits(found.trim(), needed) {
        return Mismatches::one(0, Mismatch::Blank);
    }
    let is_quote = |c: char| matches!(c, '"' | '\'' | '`' | '“' | '”' | '‘' | '’');
    if found.contains(is_quote) && fits(found.trim_matches(is_quote), needed) {
        return Mismatches::one(0, Mismatch::Quotes);
    }
    if fits(&found.to_lowercase(), &needed.to_lowercase()) {
        return Mismatches::one(1, Mismatch::Case);
    }
    // No subject holds a blank or a comma.
    let several: Vec<&str> = found
        .split([' ', ',', ';', '\n', '\t'])
        .filter(|part| !part.is_empty())
        .collect();
    if several.len() > 1 && several.iter().any(|part| part.contains(':')) {
        let distance = if several.contains(&needed) { 0 } else { 3 };
        return Mismatches::one(distance, Mismatch::SeveralInOne);
    }
    if !found.starts_with(SERVICE_ACCOUNT) {
        return without_prefix(found, subject, &fits);
    }
    let rest = found.get(SERVICE_ACCOUNT.len()..).unwrap_or_default();
    if !rest.contains(':') {
        if let Some((namespace, name)) = rest.split_once('/') {
            let fits_both = fits(&format!("{SERVICE_ACCOUNT}{namespace}:{name}"), needed);
            return Mismatches::one(if fits_both { 1 } else { 3 }, Mismatch::SlashForColon);
        }
        let own_name = subject.namespace_and_name().map(|(_, name)| name);
        let fits_name = own_name.is_some_and(|name| fits(rest, name));
        return Mismatches::one(if fits_name { 1 } else { 4 }, Mismatch::NoNamespace);
    }
    let parts = Subject::from_text(found);
    let (Some((namespace, name)), Some((own_namespace, own_name))) =
        (parts.namespace_and_name(), subject.namespace_and_name())
    else {
        return Mismatches::one(4, Mismatch::OtherSubject);
    };
    match (fits(namespace, own_namespace), fits(name, own_name)) {
        (false, true) => Mismatches::one(
            2,
            Mismatch::Namespace {
                found: namespace.to_owned(),
                needed: own_namespace.to_owned(),
            },
        ),
        (true, false) => Mismatches::one(
            2,
            Mismatch::Name {
                found: name.to_owned(),
                needed: own_name.to_owned(),
            },
        ),
        _ => Mismatches::one(3, Mismatch::NamespaceAndName),
    }
}

fn without_prefix(found: &str, subject: &Subject, fits: &impl Fn(&str, &str) -> bool) -> Mismatches {
    let with_prefix = format!("{SERVICE_ACCOUNT}{}", found.replacen('/', ":", 1));
    if fits(&with_prefix, subject.as_str()) {
        return Mismatches::one(1, Mismatch::Prefix);
    }
    if subject.as_str().starts_with(SERVICE_ACCOUNT) {
        Mismatches::one(5, Mismatch::NotAServiceAccount)
    } else {
        Mismatches::one(5, Mismatch::OtherSubject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "EXAMPLED539D4633E53DE1B71EXAMPLE";

    fn of(found: &str, issuer: &str) -> Vec<Mismatch> {
        of_issuer(found, &Issuer::parse(issuer).unwrap()).list
    }

    fn host(found: &str, needed: &str, never_existed: bool) -> Mismatch {
        Mismatch::Host {
            found: found.to_owned(),
            needed: needed.to_owned(),
            never_existed,
        }
    }

    #[test]
    fn the_mistakes_in_an_issuer_are_distinguished() {
        let classic = format!("oidc.eks.us-west-2.amazonaws.com/id/{ID}");
        let dual_stack = format!("oidc-eks.us-west-2.api.aws/id/{ID}");
        let cluster = |found: &str| Mismatch::Cluster {
            found: found.to_owned(),
            needed: ID.to_owned(),
        };
        let classic_host = "oidc.eks.REGION.amazonaws.com";
        for (found, mismatches) in [
            (format!("https://{classic}"), vec![Mismatch::Scheme]),
            (
                "https://oidc.eks.us-west-2.amazonaws.com/id/B".to_owned(),
                vec![Mismatch::Scheme, cluster("B")],
            ),
            (format!("{classic}/"), vec![Mismatch::SlashAdded]),
            (classic.to_lowercase(), vec![Mismatch::Case]),
            (
                format!("oidc.eks.eu-west-1.amazonaws.com/id/{ID}"),
                vec![Mismatch::Region {
                    found: "eu-west-1".to_owned(),
                    needed: "us-west-2".to_owned(),
                }],
            ),
            (
                format!("oidc.us-west-2.eks.amazonaws.com/id/{ID}"),
                vec![host("oidc.REGION.eks.amazonaws.com", classic_host, true)],
            ),
            (
                dual_stack.clone(),
                vec![host("oidc-eks.REGION.api.aws", classic_host, false)],
            ),
            (
                format!("oidc.eks.us-west-2.amazonaws.com.cn/id/{ID}"),
                vec![host("oidc.eks.REGION.amazonaws.com.cn", classic_host, false)],
            ),
            (format!("oidc.eks.us-west-2.amazonaws.com/{ID}"), vec![Mismatch::Path]),
            (ID.to_owned(), vec![Mismatch::Path]),
            ("${OIDC_PROVIDER}".to_owned(), vec![Mismatch::Placeholder]),
            ("oidc.eks.*.amazonaws.com/id/*".to_owned(), vec![Mismatch::Wildcard]),
            (
                "token.actions.githubusercontent.com".to_owned(),
                vec![Mismatch::OtherIssuer],
            ),
        ] {
            assert_eq!(of(&found, &classic), mismatches, "{found}");
        }
        assert_eq!(
            of(&classic, &dual_stack),
            [host(classic_host, "oidc-eks.REGION.api.aws", false)]
        );
        assert_eq!(of("issuer.example", "issuer.example/"), [Mismatch::SlashMissing]);
        assert_eq!(
            of(
                "s3.us-west-2.amazonaws.com/bucket/b",
                "s3.us-west-2.amazonaws.com/bucket/a"
            ),
            [Mismatch::Path]
        );
    }

    #[test]
    fn a_placeholder_is_recognized() {
        for text in ["${A}", "a<B>c", "$ACCOUNT", "$_x", "{{ account }}"] {
            assert!(holds_placeholder(text), "{text}");
        }
        for text in ["", "$", "a$1", "<", "${", "a>b<"] {
            assert!(!holds_placeholder(text), "{text}");
        }
    }

    #[test]
    fn the_mistakes_in_a_subject_are_distinguished() {
        let subject = Subject::service_account("prod", "app");
        let namespace = |found: &str| Mismatch::Namespace {
            found: found.to_owned(),
            needed: "prod".to_owned(),
        };
        let name = |found: &str| Mismatch::Name {
            found: found.to_owned(),
            needed: "app".to_owned(),
        };
        for (found, reading, mismatch) in [
            ("system:serviceaccount:prod:app ", Reading::Literal, Mismatch::Blank),
            ("\tsystem:serviceaccount:prod:app", Reading::Literal, Mismatch::Blank),
            ("\"system:serviceaccount:prod:app\"", Reading::Literal, Mismatch::Quotes),
            ("system:serviceaccount:prod:App", Reading::Literal, Mismatch::Case),
            ("prod:app", Reading::Literal, Mismatch::Prefix),
            ("prod/app", Reading::Literal, Mismatch::Prefix),
            ("prod:*", Reading::Pattern, Mismatch::Prefix),
            ("dev:app", Reading::Literal, Mismatch::NotAServiceAccount),
            (
                "system:serviceaccount:prod/app",
                Reading::Literal,
                Mismatch::SlashForColon,
            ),
            ("system:serviceaccount:app", Reading::Literal, Mismatch::NoNamespace),
            ("system:serviceaccount:prod", Reading::Literal, Mismatch::NoNamespace),
            (
                "system:serviceaccount:${NS}:app",
                Reading::Pattern,
                Mismatch::Placeholder,
            ),
            (
                "system:serviceaccount:prod:app, system:serviceaccount:dev:app",
                Reading::Literal,
                Mismatch::SeveralInOne,
            ),
            ("system:serviceaccount:dev:app", Reading::Literal, namespace("dev")),
            ("system:serviceaccount:dev:a*", Reading::Pattern, namespace("dev")),
            ("system:serviceaccount:prod:web", Reading::Literal, name("web")),
            (
                "system:serviceaccount:dev:web",
                Reading::Literal,
                Mismatch::NamespaceAndName,
            ),
            ("system:serviceaccount:a:b:c", Reading::Literal, Mismatch::OtherSubject),
        ] {
            assert_eq!(of_subject(found, &subject, reading).list, [mismatch], "{found}");
        }
    }
}
