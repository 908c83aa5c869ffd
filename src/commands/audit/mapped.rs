//! The identity ConfigMap (`--identity-config-map`): roles of ServiceAccounts without a role annotation.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;

use super::accounts::{Key, ServiceAccount, ServiceAccounts, is_selected};
use crate::args::namespaced_name::NamespacedName;
use crate::kubernetes::api_error;
use crate::kubernetes::identity_map::IdentityMap;
use crate::pod::identity::AnnotationRules;
use crate::reports::Location;

/// The `data` of a ConfigMap.
pub(super) type Data = BTreeMap<String, String>;

/// The ConfigMap of a cluster.
///
/// # Errors
/// That it cannot be read or does not exist.
pub(super) async fn of_cluster(client: &kube::Client, named: &NamespacedName) -> Result<Option<Data>> {
    let NamespacedName { namespace, name } = named;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|error| {
        let why = api_error::one_line(&error);
        anyhow!(
            "cannot read ConfigMap {namespace}/{name}: {why}{}",
            api_error::next_step(&error)
        )
    })?;
    Ok(found.map(|found| found.data.unwrap_or_default()))
}

/// Gives each ServiceAccount what its pods request: what its annotations say, else its entry in the ConfigMap. `place` is where the
/// ConfigMap was looked for. Returns the entries.
///
/// # Errors
/// That there is no such ConfigMap, or that it does not have the expected format.
pub(super) fn apply(
    accounts: &mut ServiceAccounts,
    data: Option<Data>,
    named: &NamespacedName,
    place: &str,
    rules: &Arc<AnnotationRules>,
) -> Result<IdentityMap> {
    let NamespacedName { namespace, name } = named;
    let data = data.with_context(|| {
        format!("--identity-config-map: {place} has no ConfigMap {namespace}/{name}; check the namespace and the name")
    })?;
    let map = IdentityMap::from_data(Some(&data), namespace, name, Arc::clone(rules))?;
    for ((namespace, name), account) in accounts {
        let annotations = account.identity.take();
        let is_annotated = annotations.as_ref().is_some_and(|identity| identity.asks_for_role());
        account.is_mapped = !is_annotated && map.lookup(namespace, name).is_some();
        account.identity = IdentityMap::requested(Some(&map), namespace, name, annotations);
    }
    Ok(map)
}

/// Adds the ServiceAccounts that manifests do not contain and that the ConfigMap gives a role: those that it names, and those that
/// workloads refer to. `serve` gives their pods this role, too.
pub(super) fn add_absent(
    accounts: &mut ServiceAccounts,
    map: &IdentityMap,
    referred: impl Iterator<Item = Key>,
    namespaces: &[String],
    location: Option<&Location>,
) {
    let entries = map.entries();
    let named = entries
        .keys()
        .filter_map(|key| Some((key.namespace?.to_owned(), key.name.to_owned())));
    for (namespace, name) in named.chain(referred) {
        let identity = map.lookup(&namespace, &name);
        if is_selected(namespaces, &namespace) && identity.is_some() {
            accounts.entry((namespace, name)).or_insert_with(|| ServiceAccount {
                identity,
                is_mapped: true,
                location: location.cloned(),
            });
        }
    }
}
