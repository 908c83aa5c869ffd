//! Objects whose controller exchanges a token of a ServiceAccount for AWS credentials itself: there is no pod.
//!
//! `tokens.json` has a row per resource, in the notation of the table of workload resources. The controller requests the token
//! (TokenRequest), so no variable and no volume of a pod shows which role it is for: the role is in the object, or in the annotation of the
//! ServiceAccount.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::path::{Found, Path};
use super::{MAX_PLACES, ResourceType, json};
use crate::support::dns;

/// A row of the table of tokens.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenResource {
    /// What the row is about.
    #[serde(flatten)]
    pub resource_type: ResourceType,
    /// One reference per match.
    at: Path,
    /// The name of the ServiceAccount; without it, the controller uses its own credentials.
    account: Path,
    /// Its namespace, for objects without a namespace.
    #[serde(default)]
    namespace: Option<Path>,
    /// The namespace of ServiceAccounts of objects without a namespace, if it is not in the object.
    #[serde(default)]
    default_namespace: Option<String>,
    #[serde(default)]
    audiences: Option<Path>,
    /// Where the role is, if it is not in the annotation of the ServiceAccount.
    #[serde(default)]
    role: Option<Path>,
    /// What must be `aws`.
    #[serde(default)]
    provider: Option<Path>,
    /// Only for places that have none of these fields: the controller then uses other credentials.
    #[serde(default)]
    unless: Vec<Path>,
    /// Whether the credentials can be those of another service, so that the ServiceAccount needs no role.
    #[serde(default)]
    optional_role: bool,
}

/// A token of a ServiceAccount that a controller requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenReference<'a> {
    /// Where it is in the object.
    pub path: String,
    /// The name of the ServiceAccount.
    pub account: Cow<'a, str>,
    /// Its namespace, if it is not that of the object.
    pub namespace: Option<Cow<'a, str>>,
    /// The first audience that the object sets.
    pub audience: Option<String>,
    /// The role, if the object sets it.
    pub role: Option<Cow<'a, str>>,
    /// Whether the ServiceAccount needs no role, because the controller can use its token for another service.
    pub optional_role: bool,
}

/// The table, sorted by group and resource.
#[must_use]
pub fn token_resources() -> &'static [TokenResource] {
    static RESOURCES: LazyLock<Vec<TokenResource>> =
        // INVARIANT: the text is part of the program, and `tests/workloads.rs` parses it.
        LazyLock::new(|| serde_json::from_str(include_str!("tokens.json")).unwrap_or_default());
    &RESOURCES
}

/// The row of a group, version and kind.
#[must_use]
pub fn token_resource(group: &str, version: &str, kind: &str) -> Option<&'static TokenResource> {
    token_resources().iter().find(|row| {
        let resource_type = &row.resource_type;
        resource_type.is_kind(group, kind) && resource_type.has_version(version)
    })
}

/// The tokens that the controller of an object requests.
#[must_use]
pub fn tokens<'a>(resource: &TokenResource, object: &'a RawValue) -> Vec<TokenReference<'a>> {
    let places = resource.at.find(object, MAX_PLACES).into_iter();
    places.filter_map(|place| reference(resource, place)).collect()
}

fn reference<'a>(resource: &TokenResource, Found { at, value }: Found<'a>) -> Option<TokenReference<'a>> {
    let text = |path: &Path| path.first(value).and_then(json::text).filter(|text| !text.is_empty());
    let provider = resource.provider.as_ref();
    if provider.is_some_and(|path| text(path).as_deref() != Some("aws")) {
        return None;
    }
    if resource.unless.iter().any(|path| path.first(value).is_some()) {
        return None;
    }
    let account = text(&resource.account).filter(|name| dns::is_subdomain(name))?;
    let default = || {
        resource
            .default_namespace
            .as_deref()
            .map(|name| Cow::Owned(name.to_owned()))
    };
    let namespace = resource.namespace.as_ref().and_then(text).or_else(default);
    // Without a namespace, the controller uses one that is not in the object.
    if resource.resource_type.cluster && namespace.is_none() {
        return None;
    }
    let role = match &resource.role {
        Some(path) => Some(text(path)?),
        None => None,
    };
    let audiences = resource.audiences.as_ref().and_then(|path| path.first(value));
    let audience = audiences.and_then(|list| json::items(list).into_iter().find_map(json::text));
    Some(TokenReference {
        path: at.path,
        account,
        namespace,
        audience: audience.map(Cow::into_owned),
        role,
        optional_role: resource.optional_role,
    })
}
