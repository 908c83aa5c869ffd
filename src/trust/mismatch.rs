//! How a name in a policy differs from the one that is needed: common mistakes.
//!
//! The result consists of plain values; `decision/messages` turns them into sentences.

use super::arn::{RoleArn, check_account};
use super::condition::value::Variables;
use super::glob;
use super::web_identity::{Issuer, SERVICE_ACCOUNT, Subject, is_region};
use crate::support::text::starts_with_ignore_case;

/// One difference. Texts are as written in the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// `https://` or `http://` was left in.
    Scheme(&'static str),
    /// A slash before the issuer.
    SlashBefore,
    /// `oidc-provider/`, or all of an ARN before it, where it does not belong.
    ProviderPath,
    /// `:sub` or `:aud` at the end of a provider's ARN.
    ClaimAdded(&'static str),
    /// A slash between the issuer and the claim of a key, where a colon belongs.
    SlashBeforeClaim,
    /// A claim without the issuer.
    NoIssuer,
    /// The beginning or the end of the issuer alone.
    Part,
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
    /// `*` alone for a provider.
    AnyProvider,
    /// A variable that has no value in a request with a web identity, or another one.
    Variable,
    /// A variable under a version of the language that has none.
    VariableUnderOldVersion,
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
    /// A blank within the text.
    BlankInside,
    /// Quotation marks inside the text.
    Quotes,
    /// `system:serviceaccount:` is missing.
    Prefix,
    /// Another prefix than `system:serviceaccount:`.
    OtherPrefix,
    /// A slash between namespace and name, where a colon belongs.
    SlashForColon,
    /// The namespace is missing.
    NoNamespace,
    /// The name is missing.
    NoName,
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
    /// Whether a text with this mistake matches no identity, so that correcting it takes no trust away.
    pub(crate) fn matches_no_identity(&self) -> bool {
        match self {
            Self::Scheme(_)
            | Self::SlashBefore
            | Self::ProviderPath
            | Self::ClaimAdded(_)
            | Self::Placeholder
            | Self::Wildcard
            | Self::VariableUnderOldVersion
            | Self::BareIssuer
            | Self::ArnStart
            | Self::Blank
            | Self::BlankInside
            | Self::Quotes
            | Self::Prefix
            | Self::OtherPrefix
            | Self::SlashForColon
            | Self::NoNamespace
            | Self::NoName => true,
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
    fn and(mut self, more: Self) -> Self {
        self.distance = self.distance.saturating_add(more.distance);
        for one in more.list {
            if !self.list.contains(&one) {
                self.list.push(one);
            }
        }
        self
    }
    /// Whether correcting it takes no trust away and the text was meant for this identity: a provider or subject of another identity
    /// stays theirs even when it has mistakes.
    pub(crate) fn may_be_replaced(&self) -> bool {
        self.list.iter().all(Mismatch::matches_no_identity)
    }
}

/// `${…}`, `<…>`, `$NAME`: what a script or a person should have filled in. A variable of the policy language is not one: its
/// name has one colon.
pub(crate) fn holds_placeholder(text: &str) -> bool {
    brackets(text).any(|(open, name)| open != "${" || !is_variable(name)) || holds_name(text)
}

/// What is inside brackets that a template would have replaced, with the opening bracket.
fn brackets(text: &str) -> impl Iterator<Item = (&'static str, &str)> {
    [("${", '}'), ("{{", '}'), ("<", '>')]
        .into_iter()
        .flat_map(move |(open, close)| {
            text.split(open)
                .skip(1)
                .filter_map(move |rest| Some((open, rest.split_once(close)?.0)))
        })
}

/// `aws:username`, `ISSUER:sub`, and escaped characters; not `AWS::AccountId`.
fn is_variable(name: &str) -> bool {
    let key = name.split(',').next().unwrap_or_default();
    matches!(key, "*" | "?" | "$") || (key.contains(':') && !key.contains("::"))
}

/// `$NAME`.
fn holds_name(text: &str) -> bool {
    text.split('$')
        .skip(1)
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

/// A word that guides use in place of a value: `REGION`, `region-code`, `CLUSTER_ID`, `ACCOUNT_ID`.
fn is_placeholder_word(text: &str) -> bool {
    let is_capital = |c: char| c.is_ascii_uppercase() || c == '_';
    let has_capitals = text.chars().all(is_capital) && (text.contains('_') || ["NAMESPACE", "NAME"].contains(&text));
    let is_region = ["region", "region-code", "aws-region"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text));
    has_capitals || is_region
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`' | '“' | '”' | '‘' | '’')
}

/// A mistake that hides a right text in quotation marks or blanks, or leaves a part of it to be filled in.
pub(crate) fn mistake_around(text: &str, is_right: impl Fn(&str) -> bool) -> Option<Mismatch> {
    if holds_placeholder(text) {
        return Some(Mismatch::Placeholder);
    }
    [
        (Mismatch::Blank, text.trim()),
        (Mismatch::Quotes, text.trim_matches(is_quote)),
    ]
    .into_iter()
    .find_map(|(mismatch, inner)| (inner != text && is_right(inner)).then_some(mismatch))
}

/// How a `Federated` principal differs from the ARN of the issuer's provider in the role's account.
pub(crate) fn of_provider(found: &str, role: &RoleArn, issuer: &Issuer) -> Mismatches {
    if found.eq_ignore_ascii_case(&role.provider_arn(issuer)) {
        return Mismatches::one(1, Mismatch::Case);
    }
    if found.trim() != found {
        return Mismatches::one(1, Mismatch::Blank).and(of_clean_provider(found.trim(), role, issuer));
    }
    if found.trim_matches(is_quote) != found {
        return Mismatches::one(1, Mismatch::Quotes).and(of_clean_provider(found.trim_matches(is_quote), role, issuer));
    }
    of_clean_provider(found, role, issuer)
}

fn of_clean_provider(found: &str, role: &RoleArn, issuer: &Issuer) -> Mismatches {
    if found == "*" {
        return Mismatches::one(6, Mismatch::AnyProvider);
    }
    let parts: Vec<&str> = outside_brackets(found, 6);
    let &[arn, partition, service, region, account, resource] = parts.as_slice() else {
        return of_no_arn(found, issuer);
    };
    if arn != "arn" {
        return of_no_arn(found, issuer);
    }
    let Some(name) = resource.strip_prefix("oidc-provider/") else {
        let mismatch = if resource.starts_with("saml-provider/") {
            Mismatch::Saml
        } else {
            Mismatch::NotAProvider
        };
        return Mismatches::one(6, mismatch);
    };
    let mut all = Mismatches::all(Vec::new());
    let mut add =
        |mismatch| all = std::mem::replace(&mut all, Mismatches::all(Vec::new())).and(Mismatches::one(1, mismatch));
    if holds_placeholder(found) {
        add(Mismatch::Placeholder);
    }
    if glob::has_wildcard(found) {
        add(Mismatch::Wildcard);
    }
    // What a placeholder or wildcard represents differs anyway.
    let is_plain = |text: &str| !holds_placeholder(text) && !glob::has_wildcard(text);
    if partition != role.partition() && is_plain(partition) {
        add(Mismatch::Partition {
            found: partition.to_owned(),
            needed: role.partition().to_owned(),
        });
    }
    if service != "iam" || !region.is_empty() {
        add(Mismatch::ArnStart);
    }
    if account != role.account() && is_plain(account) {
        add(if account.contains(|c: char| c.is_ascii_alphabetic()) {
            Mismatch::Placeholder
        } else {
            Mismatch::Account {
                found: account.to_owned(),
                needed: role.account().to_owned(),
            }
        });
    }
    let claim = [":sub", ":aud"].into_iter().find(|claim| name.ends_with(claim));
    if let Some(claim) = claim {
        add(Mismatch::ClaimAdded(claim));
    }
    let name = claim.and_then(|claim| name.strip_suffix(claim)).unwrap_or(name);
    if name != issuer.as_str() && is_plain(name) {
        all = all.and(of_issuer(name, issuer));
    }
    all
}

/// The parts between colons, of which the last keeps its own; a colon within a placeholder's brackets does not count.
fn outside_brackets(text: &str, parts: usize) -> Vec<&str> {
    let (mut found, mut start, mut depth) = (Vec::new(), 0_usize, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '<' => depth = depth.saturating_add(1),
            '}' | '>' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && found.len().saturating_add(1) < parts => {
                found.push(text.get(start..at).unwrap_or_default());
                start = at.saturating_add(1);
            }
            _ => {}
        }
    }
    found.push(text.get(start..).unwrap_or_default());
    found
}

/// An issuer where an ARN belongs, or something else.
fn of_no_arn(found: &str, issuer: &Issuer) -> Mismatches {
    let bare = found.strip_prefix("oidc-provider/").unwrap_or(found);
    let without_scheme = scheme(bare).map_or(bare, |scheme| bare.get(scheme.len()..).unwrap_or_default());
    let is_issuer =
        without_scheme == issuer.as_str() || without_scheme != bare || EksIssuer::parse(without_scheme).is_some();
    if is_issuer {
        let bare_issuer = Mismatches::one(1, Mismatch::BareIssuer);
        return if without_scheme == issuer.as_str() {
            bare_issuer
        } else {
            bare_issuer.and(of_issuer(without_scheme, issuer))
        };
    }
    if holds_placeholder(found) {
        Mismatches::one(6, Mismatch::Placeholder)
    } else {
        Mismatches::one(6, Mismatch::OtherProvider)
    }
}

fn scheme(text: &str) -> Option<&'static str> {
    ["https://", "http://"]
        .into_iter()
        .find(|scheme| starts_with_ignore_case(text, scheme))
}

/// How an issuer in a policy differs from the token's.
pub(crate) fn of_issuer(found: &str, issuer: &Issuer) -> Mismatches {
    if holds_placeholder(found) {
        return Mismatches::one(1, Mismatch::Placeholder);
    }
    let mut all = Mismatches::all(Vec::new());
    let mut rest = found;
    // What surrounds the issuer, from the outside in.
    while let Some((mismatch, inner)) = peeled(rest) {
        all = all.and(Mismatches::one(1, mismatch));
        rest = inner;
    }
    if rest == issuer.as_str() {
        return all;
    }
    let inner = if is_placeholder_word(rest) {
        Mismatches::one(1, Mismatch::Placeholder)
    } else if glob::has_wildcard(rest) {
        Mismatches::one(1, Mismatch::Wildcard)
    } else if rest.is_empty() {
        Mismatches::one(1, Mismatch::NoIssuer)
    } else {
        of_issuer_without_scheme(rest, issuer.as_str())
    };
    all.and(inner)
}

/// One thing that does not belong around an issuer, and what is inside of it.
fn peeled(text: &str) -> Option<(Mismatch, &str)> {
    if text.trim() != text {
        return Some((Mismatch::Blank, text.trim()));
    }
    if text.trim_matches(is_quote) != text {
        return Some((Mismatch::Quotes, text.trim_matches(is_quote)));
    }
    if let Some(scheme) = scheme(text) {
        return Some((Mismatch::Scheme(scheme), text.get(scheme.len()..)?));
    }
    if let Some((_, rest)) = text.rsplit_once("oidc-provider/") {
        return Some((Mismatch::ProviderPath, rest));
    }
    if let Some(rest) = text.strip_prefix('/') {
        return Some((Mismatch::SlashBefore, rest.trim_start_matches('/')));
    }
    ["/sub", "/aud"]
        .into_iter()
        .find_map(|claim| Some((Mismatch::SlashBeforeClaim, text.strip_suffix(claim)?)))
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
        return if is_part(found, needed) {
            Mismatches::one(2, Mismatch::Part)
        } else if host(found) == host(needed) {
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
    let is_word = |text| is_placeholder_word(text);
    if found.region != needed.region && is_word(found.region) {
        list.push(Mismatch::Placeholder);
    } else if found.region != needed.region {
        list.push(Mismatch::Region {
            found: found.region.to_owned(),
            needed: needed.region.to_owned(),
        });
    }
    if found.cluster != needed.cluster && is_word(found.cluster) {
        if !list.contains(&Mismatch::Placeholder) {
            list.push(Mismatch::Placeholder);
        }
    } else if found.cluster != needed.cluster {
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

/// Whether one text is the beginning of an issuer up to one of its slashes, or its end from one of them on.
fn is_part(found: &str, issuer: &str) -> bool {
    let is_beginning = issuer.strip_prefix(found).is_some_and(|rest| rest.starts_with('/'));
    let is_end = issuer.strip_suffix(found).is_some_and(|rest| rest.ends_with('/'));
    !found.is_empty() && (is_beginning || is_end)
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
        (is_region(region) || is_placeholder_word(region)).then_some(())?;
        let end = host.get(start.len().saturating_add(region.len())..)?;
        Some(Self {
            host: format!("{start}REGION{end}"),
            region,
            cluster: path.rsplit('/').next()?,
            never_existed,
        })
    }
}

/// How a value that does not match an audience differs from it; empty where it is simply another one.
pub(crate) fn of_audience(found: &str, needed: &str) -> Vec<Mismatch> {
    if holds_placeholder(found) || is_placeholder_word(found) {
        return vec![Mismatch::Placeholder];
    }
    let differs_by = |inner: &str| inner != found && inner == needed;
    if differs_by(found.trim()) {
        return vec![Mismatch::Blank];
    }
    if differs_by(found.trim_matches(is_quote)) {
        return vec![Mismatch::Quotes];
    }
    if found.eq_ignore_ascii_case(needed) {
        return vec![Mismatch::Case];
    }
    Vec::new()
}

/// Whether a value's wildcards are to be read as such.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Pattern,
    Literal,
}

/// How a value that does not match a subject differs from it.
pub(crate) fn of_subject(found: &str, subject: &Subject, reading: Reading, variables: Variables) -> Mismatches {
    let needed = subject.as_str();
    let fits = |found: &str, needed: &str| match reading {
        Reading::Pattern => glob::matches(found, needed),
        Reading::Literal => found == needed,
    };
    // A placeholder or a variable can represent anything; the rest shows which identity the value was meant for.
    let unfinished = if holds_placeholder(found) {
        Some(Mismatch::Placeholder)
    } else if brackets(found).any(|(open, name)| open == "${" && name.contains(':')) {
        Some(match variables {
            Variables::Known => Mismatch::Variable,
            Variables::PlainText => Mismatch::VariableUnderOldVersion,
        })
    } else {
        None
    };
    if let Some(mismatch) = unfinished {
        return if glob::matches(&with_runs(found), needed) {
            Mismatches::one(1, mismatch)
        } else {
            Mismatches::one(1, mismatch).and(Mismatches::one(3, Mismatch::OtherSubject))
        };
    }
    if found != found.trim() && fits(found.trim(), needed) {
        return Mismatches::one(0, Mismatch::Blank);
    }
    let is_around = |c: char| is_quote(c) || c.is_whitespace() || matches!(c, '[' | ']');
    if found.contains(is_quote) && fits(found.trim_matches(is_around), needed) {
        return Mismatches::one(0, Mismatch::Quotes);
    }
    if fits(&found.to_lowercase(), &needed.to_lowercase()) {
        return Mismatches::one(1, Mismatch::Case);
    }
    // No subject holds a blank or a comma.
    let separators = |c: char| c.is_whitespace() || matches!(c, ',' | ';');
    let several: Vec<&str> = found
        .split(separators)
        .map(|part| part.trim_matches(is_around))
        .filter(|part| !part.is_empty())
        .collect();
    if several.iter().filter(|part| part.contains(':')).count() > 1 && !several.concat().eq(needed) {
        let distance = if several.contains(&needed) { 0 } else { 3 };
        return Mismatches::one(distance, Mismatch::SeveralInOne);
    }
    if found.contains(char::is_whitespace) {
        let without: String = found.chars().filter(|c| !c.is_whitespace()).collect();
        if fits(&without, needed) {
            return Mismatches::one(0, Mismatch::BlankInside);
        }
    }
    match found.strip_prefix(SERVICE_ACCOUNT) {
        Some(rest) => of_account(rest, subject, &fits),
        None => without_prefix(found, subject, &fits),
    }
}

/// The text with `*` for each of its placeholders and variables.
fn with_runs(text: &str) -> String {
    let mut pattern = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', '<', '{']) {
        let (before, from) = rest.split_at(at);
        pattern.push_str(before);
        let close = match from.as_bytes() {
            [b'$', b'{', ..] => from.find('}'),
            [b'{', b'{', ..] => from.find("}}").map(|at| at.saturating_add(1)),
            [b'<', ..] => from.find('>'),
            [b'$', ..] => from
                .char_indices()
                .skip(1)
                .find(|(_, c)| !c.is_ascii_alphanumeric() && *c != '_')
                .map(|(at, _)| at.saturating_sub(1))
                .or_else(|| from.len().checked_sub(1)),
            _ => None,
        };
        let end = close.map_or(1, |close| close.saturating_add(1));
        pattern.push_str(if close.is_some() {
            "*"
        } else {
            from.get(..1).unwrap_or_default()
        });
        rest = from.get(end..).unwrap_or_default();
    }
    pattern.push_str(rest);
    pattern
}

/// What follows `system:serviceaccount:`.
fn of_account(rest: &str, subject: &Subject, fits: &impl Fn(&str, &str) -> bool) -> Mismatches {
    let Some((own_namespace, own_name)) = subject.namespace_and_name() else {
        return Mismatches::one(4, Mismatch::OtherSubject);
    };
    let of_both = |namespace: &str, name: &str| {
        // Names of Kubernetes have no capitals.
        let is_word = |text: &str| is_placeholder_word(text) && text.contains(|c: char| c.is_ascii_uppercase());
        let namespace_fits = fits(namespace, own_namespace);
        let name_fits = fits(name, own_name);
        if is_word(namespace) || is_word(name) {
            let is_meant = (namespace_fits || is_word(namespace)) && (name_fits || is_word(name));
            let placeholder = Mismatches::one(1, Mismatch::Placeholder);
            return if is_meant {
                placeholder
            } else {
                placeholder.and(Mismatches::one(3, Mismatch::OtherSubject))
            };
        }
        match (namespace_fits, name_fits) {
            (true, true) => Mismatches::all(Vec::new()),
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
            (false, false) => Mismatches::one(3, Mismatch::NamespaceAndName),
        }
    };
    match rest.split_once(':') {
        Some(("", name)) if fits(name, own_name) => Mismatches::one(1, Mismatch::NoNamespace),
        Some((namespace, "")) if fits(namespace, own_namespace) => Mismatches::one(1, Mismatch::NoName),
        Some((namespace, name)) if namespace.is_empty() || name.is_empty() || name.contains(':') => {
            Mismatches::one(4, Mismatch::OtherSubject)
        }
        Some((namespace, name)) => of_both(namespace, name),
        None => match rest.split_once('/') {
            Some((namespace, name)) => Mismatches::one(1, Mismatch::SlashForColon).and(of_both(namespace, name)),
            None if rest == own_namespace => Mismatches::one(1, Mismatch::NoName),
            None if fits(rest, own_name) => Mismatches::one(1, Mismatch::NoNamespace),
            None => Mismatches::one(1, Mismatch::NoNamespace).and(Mismatches::one(3, Mismatch::OtherSubject)),
        },
    }
}

fn without_prefix(found: &str, subject: &Subject, fits: &impl Fn(&str, &str) -> bool) -> Mismatches {
    let with_prefix = format!("{SERVICE_ACCOUNT}{}", found.replacen('/', ":", 1));
    if fits(&with_prefix, subject.as_str()) {
        return Mismatches::one(1, Mismatch::Prefix);
    }
    if let Some((namespace, name)) = subject.namespace_and_name() {
        if fits(found, name) {
            return Mismatches::all(vec![Mismatch::Prefix, Mismatch::NoNamespace]);
        }
        // `serviceaccount:NAMESPACE:NAME`, `system:serviceaccounts:NAMESPACE:NAME`.
        if let Some(beginning) = found.strip_suffix(&format!(":{namespace}:{name}"))
            && beginning.to_ascii_lowercase().contains("account")
        {
            return Mismatches::one(1, Mismatch::OtherPrefix);
        }
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
            (format!("https://{classic}"), vec![Mismatch::Scheme("https://")]),
            (
                "https://oidc.eks.us-west-2.amazonaws.com/id/B".to_owned(),
                vec![Mismatch::Scheme("https://"), cluster("B")],
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
            (ID.to_owned(), vec![Mismatch::Part]),
            (format!("id/{ID}"), vec![Mismatch::Part]),
            ("oidc.eks.us-west-2.amazonaws.com".to_owned(), vec![Mismatch::Part]),
            (format!("http://{classic}"), vec![Mismatch::Scheme("http://")]),
            (format!("//{classic}"), vec![Mismatch::SlashBefore]),
            (format!("oidc-provider/{classic}"), vec![Mismatch::ProviderPath]),
            (format!("{classic} "), vec![Mismatch::Blank]),
            (format!("\"{classic}"), vec![Mismatch::Quotes]),
            (format!("{classic}/sub"), vec![Mismatch::SlashBeforeClaim]),
            (String::new(), vec![Mismatch::NoIssuer]),
            ("OIDC_PROVIDER".to_owned(), vec![Mismatch::Placeholder]),
            (
                "oidc.eks.region-code.amazonaws.com/id/CLUSTER_ID".to_owned(),
                vec![Mismatch::Placeholder],
            ),
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
        for text in [
            "${A}",
            "a<B>c",
            "$ACCOUNT",
            "$_x",
            "{{ account }}",
            "${AWS::AccountId}",
            "${aws:x}${NS}",
        ] {
            assert!(holds_placeholder(text), "{text}");
        }
        for text in [
            "",
            "$",
            "a$1",
            "<",
            "${",
            "a>b<",
            "${aws:username}",
            "${i.example/a:sub}",
            "${*}",
        ] {
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
            ("system:serviceaccount::app", Reading::Literal, Mismatch::NoNamespace),
            ("system:serviceaccount:prod", Reading::Literal, Mismatch::NoName),
            ("system:serviceaccount:prod:", Reading::Literal, Mismatch::NoName),
            (
                "system:serviceaccount:NAMESPACE:SERVICE_ACCOUNT",
                Reading::Literal,
                Mismatch::Placeholder,
            ),
            (
                "system:serviceaccount:prod: app",
                Reading::Literal,
                Mismatch::BlankInside,
            ),
            (
                "[\"system:serviceaccount:prod:app\"]",
                Reading::Literal,
                Mismatch::Quotes,
            ),
            ("serviceaccount:prod:app", Reading::Literal, Mismatch::OtherPrefix),
            (
                "system:serviceaccounts:prod:app",
                Reading::Literal,
                Mismatch::OtherPrefix,
            ),
            (
                "system:serviceaccount:${aws:username}:app",
                Reading::Literal,
                Mismatch::Variable,
            ),
            (
                "[\"system:serviceaccount:prod:app\",\"system:serviceaccount:prod:web\"]",
                Reading::Literal,
                Mismatch::SeveralInOne,
            ),
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
            assert_eq!(
                of_subject(found, &subject, reading, Variables::Known).list,
                [mismatch],
                "{found}"
            );
        }
    }

    /// A value that was meant for another identity is left alone, whatever else is wrong with it.
    #[test]
    fn only_a_value_meant_for_the_requesting_identity_is_replaced() {
        let subject = Subject::service_account("prod", "app");
        for (found, may_be_replaced) in [
            ("system:serviceaccount:prod/app", true),
            ("system:serviceaccount:prod/web", false),
            ("system:serviceaccount:${NS}:app", true),
            ("system:serviceaccount:${NS}:web", false),
            ("system:serviceaccount:$NS:app", true),
            ("system:serviceaccount:prod:$NAME", true),
            ("system:serviceaccount:{{ ns }}:{{ name }}", true),
            ("system:serviceaccount:<ns>:web", false),
            ("system:serviceaccount:app", true),
            ("system:serviceaccount:web", false),
            ("app", true),
            ("system:serviceaccount:NAMESPACE:web", false),
            // The others in it were meant as well.
            ("system:serviceaccount:prod:app,system:serviceaccount:prod:web", false),
            ("system:serviceaccount:prod:App", false),
        ] {
            let mismatches = of_subject(found, &subject, Reading::Literal, Variables::Known);
            assert_eq!(mismatches.may_be_replaced(), may_be_replaced, "{found}");
        }
        let role = RoleArn::parse("arn:aws:iam::111122223333:role/app").unwrap();
        let issuer = Issuer::parse(&format!("oidc.eks.us-west-2.amazonaws.com/id/{ID}")).unwrap();
        for (found, may_be_replaced) in [
            (role.provider_arn(&issuer).replace("/oidc", "/https://oidc"), true),
            (role.provider_arn(&issuer).replace("/oidc", "//oidc"), true),
            (
                role.provider_arn(&issuer)
                    .replace("oidc-provider/", "oidc-provider/oidc-provider/"),
                true,
            ),
            (format!("{} ", role.provider_arn(&issuer)), true),
            (format!("{}:sub", role.provider_arn(&issuer)), true),
            (role.provider_arn(&issuer).replace("111122223333", "ACCOUNT_ID"), true),
            (role.provider_arn(&issuer).replace("aws:", "${AWS::Partition}:"), true),
            (
                role.provider_arn(&issuer)
                    .replace("111122223333", "<ACCOUNT>")
                    .replace(ID, "OTHER"),
                false,
            ),
            (
                format!("https://oidc.eks.us-west-2.amazonaws.com/id/{ID}").replace(ID, "OTHER"),
                false,
            ),
            (issuer.as_str().to_owned(), true),
            (issuer.as_str().replace(ID, "OTHER"), false),
            ("*".to_owned(), false),
        ] {
            let mismatches = of_provider(&found, &role, &issuer);
            assert_eq!(mismatches.may_be_replaced(), may_be_replaced, "{found} {mismatches:?}");
        }
        // The nearest of several is the one whose issuer is least far off.
        let distance = |issuer_found: &str| {
            of_provider(
                &format!("arn:aws:iam::111122223333:oidc-provider/{issuer_found}"),
                &role,
                &issuer,
            )
            .distance
        };
        let other_cluster = "oidc.eks.eu-west-1.amazonaws.com/id/OTHER";
        assert!(distance(other_cluster) < distance("token.actions.githubusercontent.com"));
    }
}
