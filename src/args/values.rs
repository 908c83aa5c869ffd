//! Value parsers that several groups of flags share.

use std::ffi::OsStr;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command};

use crate::pod::identity::AnnotationRules;
use crate::support::dns;
use crate::trust::{AccountId, Audience, Issuer, Partition};

/// Any text but an empty one.
pub(super) fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("expected a value that is not empty".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// An audience.
pub(super) fn audience(text: &str) -> Result<Audience, String> {
    not_empty(text).map(|text| Audience::new(&text))
}

/// The cluster's OIDC issuer, as a person types it: what is obviously not one would be reported as a fault of every trust policy.
pub(super) fn issuer(text: &str) -> Result<Issuer, String> {
    const PRINT: &str =
        "print it with `kubectl get --raw /.well-known/openid-configuration`, or leave out --issuer in a cluster";
    if text.contains(['<', '>', '$', '{', '}']) {
        return Err(format!("expected the URL of the issuer, found a placeholder; {PRINT}"));
    }
    let issuer = Issuer::parse(text).map_err(|error| format!("{error}; {PRINT}"))?;
    let (host, path) = match issuer.as_str().split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (issuer.as_str(), None),
    };
    if let Some(issuer) = path
        .and_then(|path| path.split_once(".well-known"))
        .map(|(path, _)| path)
    {
        let issuer = format!("{host}/{issuer}");
        let issuer = issuer.trim_end_matches('/');
        return Err(format!(
            "this is the URL of a document below the issuer; set --issuer {issuer}"
        ));
    }
    if host.starts_with("oidc.eks.") || host.starts_with("oidc-eks.") {
        let id = path.and_then(|path| path.strip_prefix("id/")).unwrap_or_default();
        let (id, rest) = id.split_once('/').map_or((id, None), |(id, rest)| (id, Some(rest)));
        if id.is_empty() {
            return Err(format!("the issuer of an EKS cluster is {host}/id/ID; {PRINT}"));
        }
        if rest.is_some() {
            return Err(format!(
                "the issuer of an EKS cluster ends with its ID; set --issuer {host}/id/{id}"
            ));
        }
    }
    if !host.contains(['.', ':']) && host != "localhost" {
        return Err(format!(
            "expected the URL of the issuer, such as oidc.eks.us-west-2.amazonaws.com/id/ID, found no host name; {PRINT}"
        ));
    }
    Ok(issuer)
}

/// An AWS account.
pub(super) fn account(text: &str) -> Result<AccountId, String> {
    AccountId::parse(text).ok_or_else(|| "expected the twelve digits of an AWS account".to_owned())
}

/// An AWS partition that a person types once: any other name is a typing error, and the ARN of a role can have it.
pub(super) fn known_partition() -> impl TypedValueParser<Value = Partition> {
    PossibleValuesParser::new(Partition::KNOWN).try_map(|text| text.parse::<Partition>())
}

/// An AWS partition in the configuration of a program that might be older than the partition.
pub(super) fn partition() -> Suggesting<Partition> {
    suggesting(&Partition::KNOWN)
}

/// A namespace.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    if dns::is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a namespace: 1 to 63 of a-z, 0-9 and -".to_owned())
    }
}

/// The name of an object that has no namespace.
pub(super) fn object_name(text: &str) -> Result<String, String> {
    if dns::is_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of an object: up to 253 of a-z, 0-9, - and .".to_owned())
    }
}

/// The name of a ServiceAccount.
pub(super) fn service_account(text: &str) -> Result<String, String> {
    if dns::is_subdomain(text) {
        Ok(text.to_owned())
    } else {
        let parts = text
            .strip_prefix("system:serviceaccount:")
            .map_or_else(|| text.split_once('/'), |id| id.split_once(':'));
        if let Some((namespace, name)) = parts
            && dns::is_label(namespace)
            && dns::is_subdomain(name)
        {
            return Err(format!(
                "expected the name alone: use -n {namespace} --service-account {name}"
            ));
        }
        Err("expected the name of a ServiceAccount: up to 253 of a-z, 0-9, - and .".to_owned())
    }
}

/// The value of `--annotation-prefix`: with its slash, `eks.amazonaws.com/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnnotationPrefix(String);

impl AnnotationPrefix {
    /// With its slash.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// How annotations with this prefix are read. `compose`: the account of bare role names.
    pub(crate) fn rules(&self, compose: Option<(Partition, AccountId)>) -> AnnotationRules {
        AnnotationRules {
            prefix: self.0.clone(),
            compose,
        }
    }
}

/// The prefix, with or without its slash.
pub(super) fn annotation_prefix(text: &str) -> Result<AnnotationPrefix, String> {
    let name = text.strip_suffix('/').unwrap_or(text);
    if dns::is_subdomain(name) {
        Ok(AnnotationPrefix(format!("{name}/")))
    } else {
        Err("expected the DNS name that annotation keys begin with, such as eks.amazonaws.com".to_owned())
    }
}

/// Where bare role names of an account belong: in partition `aws` unless another is named.
pub(super) fn composed(partition: Option<Partition>, account: AccountId) -> Option<(Partition, AccountId)> {
    Some((partition.or_else(|| Partition::parse("aws"))?, account))
}

/// The value of `--docs-url`: short enough for every message, and without a fragment of its own.
pub(super) fn docs_url(text: &str) -> Result<String, String> {
    const LONGEST: usize = 120;
    let is_url = text.starts_with("https://") || text.starts_with("http://");
    let is_plain = text
        .chars()
        .all(|character| character.is_ascii_graphic() && !matches!(character, '"' | '\'' | '`' | '<' | '>' | '#'));
    if !is_url || !is_plain {
        return Err("expected a URL that starts with https:// and has no fragment (#…)".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("expected at most {LONGEST} characters"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Parses a text, and offers these values to completions. Others may be valid, too.
pub(super) fn suggesting<T>(values: &'static [&'static str]) -> Suggesting<T> {
    Suggesting {
        values,
        parsed: PhantomData,
    }
}

/// As [`suggesting`].
#[derive(Clone)]
pub(super) struct Suggesting<T> {
    values: &'static [&'static str],
    parsed: PhantomData<fn() -> T>,
}

impl<T> TypedValueParser for Suggesting<T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let parser = |text: &str| text.parse::<T>();
        TypedValueParser::parse_ref(&parser, command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.values.iter().copied().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obviously_not_an_issuer_is_rejected_with_the_next_step() {
        const EKS: &str = "oidc.eks.us-west-2.amazonaws.com";
        for text in [
            "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE",
            "HTTPS://example.com:8443/a",
            "oidc-eks.us-west-2.api.aws/id/EXAMPLE",
            "example.com/a/",
            "localhost",
            "issuer:8443/a",
        ] {
            assert!(issuer(text).is_ok(), "{text}");
        }
        for (text, words) in [
            ("<issuer>", "a placeholder; print it with"),
            ("$ISSUER", "a placeholder"),
            ("https://example.com/${ID}", "a placeholder"),
            ("{{ .Values.issuer }}", "a placeholder"),
            ("https://…/id/EXAMPLE", "found no host name"),
            (" https://example.com", "print it with"),
            ("https://example.com\n", "print it with"),
            ("", "print it with"),
            (
                "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE/.well-known/openid-configuration",
                "set --issuer oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE",
            ),
            ("example.com/.well-known/jwks.json", "set --issuer example.com"),
            (EKS, "oidc.eks.us-west-2.amazonaws.com/id/ID"),
            ("oidc.eks.us-west-2.amazonaws.com/", "amazonaws.com/id/ID"),
            ("oidc.eks.us-west-2.amazonaws.com/id/", "amazonaws.com/id/ID"),
            ("oidc.eks.us-west-2.amazonaws.com/EXAMPLE", "amazonaws.com/id/ID"),
            (
                "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE/",
                "set --issuer oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE",
            ),
            (
                "https://oidc-eks.us-west-2.api.aws/id/EXAMPLE/keys",
                "set --issuer oidc-eks.us-west-2.api.aws/id/EXAMPLE",
            ),
            ("EXAMPLED539D4633E53DE1B71EXAMPLE", "found no host name"),
            ("id/EXAMPLED539D4633E53DE1B71EXAMPLE", "found no host name"),
        ] {
            let error = issuer(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
