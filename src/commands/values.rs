//! Parsers of values that several commands take.

use crate::trust::{AccountId, Audience, Partition};

/// A switch: Go's ParseBool words, which Kubernetes users know from annotations and from the peers' flags.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Any text but an empty one.
pub(crate) fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("expected a value that is not empty".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// An AWS account.
pub(crate) fn account(text: &str) -> Result<AccountId, String> {
    AccountId::parse(text).ok_or_else(|| "expected the twelve digits of an AWS account".to_owned())
}

/// An AWS partition.
pub(crate) fn partition(text: &str) -> Result<Partition, String> {
    Partition::parse(text).ok_or_else(|| "expected a partition such as aws, aws-cn or aws-us-gov".to_owned())
}

/// Kubernetes' DNS label (RFC 1123): names of namespaces and volumes.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

/// Kubernetes' DNS subdomain (RFC 1123): names of most objects, prefixes of annotation keys.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(fits) && !label.starts_with('-') && !label.ends_with('-');
    text.len() <= 253 && text.split('.').all(label)
}

/// A namespace.
pub(crate) fn namespace(text: &str) -> Result<String, String> {
    if is_dns_label(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a namespace: 1 to 63 of a-z, 0-9 and -".to_owned())
    }
}

/// The name of an object without a namespace.
pub(crate) fn object_name(text: &str) -> Result<String, String> {
    if is_dns_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of an object: up to 253 of a-z, 0-9, - and .".to_owned())
    }
}

/// The name of a ServiceAccount.
pub(crate) fn service_account(text: &str) -> Result<String, String> {
    if is_dns_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a ServiceAccount: up to 253 of a-z, 0-9, - and .".to_owned())
    }
}

/// What tokens are issued for unless somebody says otherwise.
pub(crate) const DEFAULT_AUDIENCE: &str = "sts.amazonaws.com";

/// An audience.
pub(crate) fn audience(text: &str) -> Result<Audience, String> {
    not_empty(text).map(|text| Audience::new(&text))
}
