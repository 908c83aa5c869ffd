//! The ServiceAccounts of a cluster or of a directory of manifests, and which of them request a role.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};

use crate::commands::input;
use crate::kubernetes::service_accounts::live;
use crate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use crate::pod::identity::{AnnotationRules, MalformedAnnotation, ServiceAccountIdentity};
use crate::reports::Location;
use crate::trust::{Audience, Issuer, RoleArn};

/// Namespace and name.
pub(super) type Key = (String, String);

/// ServiceAccounts by namespace and name.
pub(super) type ServiceAccounts = BTreeMap<Key, ServiceAccount>;

/// A ServiceAccount.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceAccount {
    /// What its annotations, or the identity ConfigMap, say of a role; None if they say nothing.
    pub(super) identity: Option<Arc<ServiceAccountIdentity>>,
    /// Whether the identity ConfigMap says it.
    pub(super) is_mapped: bool,
    /// If it was read from a file.
    pub(super) location: Option<Location>,
}

/// A ServiceAccount with a role annotation, with a key that was probably meant to be one, or with an entry in the identity ConfigMap.
#[derive(Clone, Debug)]
pub(super) struct RequestingServiceAccount {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) request: RoleRequest,
    pub(super) is_mapped: bool,
    /// If the annotations or the entry set it.
    pub(super) audience: Option<Audience>,
    /// If it was read from a file.
    pub(super) location: Option<Location>,
}

/// What is requested.
#[derive(Clone, Debug)]
pub(super) enum RoleRequest {
    Role(RoleArn),
    /// The value is not a role.
    Malformed(MalformedAnnotation),
    /// There is only a key that was probably meant to be the annotation.
    LookAlike {
        key: String,
    },
}

impl RequestingServiceAccount {
    /// None without a request for a role.
    pub(super) fn of((namespace, name): &Key, account: &ServiceAccount) -> Option<Self> {
        let identity = account.identity.as_ref()?;
        let request = match (identity.role(), identity.malformed(), identity.look_alike()) {
            (Some(role), _, _) => RoleRequest::Role(role.clone()),
            (None, Some(malformed), _) => RoleRequest::Malformed(malformed.clone()),
            (None, None, Some(key)) => RoleRequest::LookAlike { key: key.to_owned() },
            (None, None, None) => return None,
        };
        Some(Self {
            namespace: namespace.clone(),
            name: name.clone(),
            request,
            is_mapped: account.is_mapped,
            audience: identity.audience().cloned(),
            location: account.location.clone(),
        })
    }

    pub(super) const fn role(&self) -> Option<&RoleArn> {
        match &self.request {
            RoleRequest::Role(role) => Some(role),
            RoleRequest::Malformed(_) | RoleRequest::LookAlike { .. } => None,
        }
    }
}

/// The ServiceAccounts of a directory, in these namespaces or in all if there are none, and what else is in it.
///
/// # Errors
/// Which manifest cannot be read, and why.
pub(super) fn of_directory(
    directory: &Path,
    namespaces: &[String],
    rules: Arc<AnnotationRules>,
) -> Result<(ServiceAccounts, ManifestServiceAccounts)> {
    input::check_directory(
        "--standalone ",
        directory,
        "specify a directory that contains manifests of ServiceAccounts",
    )?;
    let manifests = ManifestServiceAccounts::load(directory, rules)?;
    let mut accounts = ServiceAccounts::new();
    manifests.for_each_account(&mut |namespace, name, identity| {
        if is_selected(namespaces, namespace) {
            let location = manifests.location(namespace, name);
            let account = ServiceAccount {
                identity: identity.cloned().map(Arc::new),
                is_mapped: false,
                location: location.map(|(file, line)| Location {
                    file: file.display().to_string(),
                    line: Some(line),
                }),
            };
            accounts.insert((namespace.to_owned(), name.to_owned()), account);
        }
    });
    Ok((accounts, manifests))
}

/// Whether a namespace is audited.
pub(super) fn is_selected(namespaces: &[String], namespace: &str) -> bool {
    namespaces.is_empty() || namespaces.iter().any(|selected| selected == namespace)
}

/// The ServiceAccounts of a cluster, in these namespaces or in all if there are none.
///
/// # Errors
/// Which request to the API server failed, and what it requires.
pub(super) async fn of_cluster(
    client: &kube::Client,
    namespaces: &[String],
    rules: &AnnotationRules,
) -> Result<ServiceAccounts> {
    let mut accounts = ServiceAccounts::new();
    let mut each = |namespace: &str, name: &str, identity: Option<&ServiceAccountIdentity>| {
        let account = ServiceAccount {
            identity: identity.cloned().map(Arc::new),
            is_mapped: false,
            location: None,
        };
        accounts.insert((namespace.to_owned(), name.to_owned()), account);
    };
    for namespace in scopes(namespaces) {
        live::list(client, rules, namespace, &mut each)
            .await
            .map_err(|error| anyhow!("{error}"))?;
    }
    Ok(accounts)
}

/// Each namespace, or all of them at once.
pub(super) fn scopes(namespaces: &[String]) -> Vec<Option<&str>> {
    match namespaces {
        [] => vec![None],
        namespaces => namespaces.iter().map(|namespace| Some(namespace.as_str())).collect(),
    }
}

/// The issuer of the flag, which is needed with `--standalone`.
///
/// # Errors
/// That it is missing.
pub(super) fn issuer(issuer: Option<Issuer>) -> Result<Issuer> {
    issuer.context("--standalone requires --issuer, because it does not read a cluster")
}
