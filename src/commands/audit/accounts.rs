//! The ServiceAccounts of a cluster or of a directory of manifests, and which of them have a role annotation.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};

use crate::commands::cluster;
use crate::kubernetes::service_accounts::live;
use crate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use crate::pod::identity::{AnnotationRules, MalformedAnnotation, ServiceAccountIdentity};
use crate::reports::Location;
use crate::trust::{Audience, Issuer, RoleArn};

/// What was read.
#[derive(Debug)]
pub(super) struct ServiceAccounts {
    pub(super) issuer: Issuer,
    pub(super) annotated: Vec<AnnotatedServiceAccount>,
    /// Namespace and name of each.
    pub(super) names: HashSet<(String, String)>,
}

/// A ServiceAccount with a role annotation, or with a key that was probably meant to be one.
#[derive(Clone, Debug)]
pub(super) struct AnnotatedServiceAccount {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) annotation: RoleAnnotation,
    /// If an annotation sets it.
    pub(super) audience: Option<Audience>,
    /// If it was read from a file.
    pub(super) location: Option<Location>,
}

/// The role annotation.
#[derive(Clone, Debug)]
pub(super) enum RoleAnnotation {
    Role(RoleArn),
    /// Its value is not a role.
    Malformed(MalformedAnnotation),
    /// There is only a key that was probably meant to be it.
    LookAlike {
        key: String,
    },
}

impl AnnotatedServiceAccount {
    /// None if it has no annotation about a role.
    fn of(namespace: &str, name: &str, identity: &ServiceAccountIdentity) -> Option<Self> {
        let annotation = match (identity.role(), identity.malformed(), identity.look_alike()) {
            (Some(role), _, _) => RoleAnnotation::Role(role.clone()),
            (None, Some(malformed), _) => RoleAnnotation::Malformed(malformed.clone()),
            (None, None, Some(key)) => RoleAnnotation::LookAlike { key: key.to_owned() },
            (None, None, None) => return None,
        };
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            annotation,
            audience: identity.audience().cloned(),
            location: None,
        })
    }

    pub(super) const fn role(&self) -> Option<&RoleArn> {
        match &self.annotation {
            RoleAnnotation::Role(role) => Some(role),
            RoleAnnotation::Malformed(_) | RoleAnnotation::LookAlike { .. } => None,
        }
    }
}

/// The ServiceAccounts of a directory, in these namespaces or in all if there are none.
///
/// # Errors
/// Which manifest cannot be read, and why.
pub(super) fn of_manifests(
    directory: &Path,
    namespaces: &[String],
    rules: Arc<AnnotationRules>,
    issuer: Option<Issuer>,
) -> Result<ServiceAccounts> {
    let issuer = issuer.context("--standalone requires --issuer: there is no API server to ask")?;
    let manifests = ManifestServiceAccounts::load(directory, rules)?;
    let mut annotated = Vec::new();
    let mut names = HashSet::new();
    manifests.for_each_account(&mut |namespace, name, identity| {
        if is_selected(namespaces, namespace) {
            names.insert((namespace.to_owned(), name.to_owned()));
            annotated.extend(identity.and_then(|identity| AnnotatedServiceAccount::of(namespace, name, identity)));
        }
    });
    for account in &mut annotated {
        let location = manifests.location(&account.namespace, &account.name);
        account.location = location.map(|(file, line)| Location {
            file: file.display().to_string(),
            line: Some(line),
        });
    }
    Ok(ServiceAccounts {
        issuer,
        annotated,
        names,
    })
}

/// Whether a namespace is audited.
pub(super) fn is_selected(namespaces: &[String], namespace: &str) -> bool {
    namespaces.is_empty() || namespaces.iter().any(|selected| selected == namespace)
}

/// The ServiceAccounts of a cluster, in these namespaces or in all if there are none, with the cluster's issuer.
///
/// # Errors
/// Which request to the API server failed, and what it requires.
pub(super) async fn of_cluster(
    namespaces: &[String],
    rules: Arc<AnnotationRules>,
    issuer: Option<Issuer>,
) -> Result<ServiceAccounts> {
    let otherwise = "set KUBECONFIG, run in a pod, or audit a directory with --standalone DIR";
    let client = cluster::client("audit", otherwise).await?;
    let issuer = cluster::issuer(issuer, &client).await?;
    let mut annotated = Vec::new();
    let mut names = HashSet::new();
    let mut each = |namespace: &str, name: &str, identity: Option<&ServiceAccountIdentity>| {
        names.insert((namespace.to_owned(), name.to_owned()));
        annotated.extend(identity.and_then(|identity| AnnotatedServiceAccount::of(namespace, name, identity)));
    };
    let selected: Vec<Option<&str>> = match namespaces {
        [] => vec![None],
        namespaces => namespaces.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    for namespace in selected {
        live::list(&client, &rules, namespace, &mut each)
            .await
            .map_err(|error| anyhow!("{error}"))?;
    }
    Ok(ServiceAccounts {
        issuer,
        annotated,
        names,
    })
}
