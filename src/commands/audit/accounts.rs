//! The ServiceAccounts that ask for a role, of a cluster or of a folder of manifests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::kubernetes;
use crate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use crate::kubernetes::{issuer, service_accounts::live};
use crate::pod::identity::{AnnotationRules, MalformedRole, ServiceAccountIdentity};
use crate::trust::{Audience, Issuer, RoleArn};

/// How long an API server may take to name its issuer.
const DISCOVERY: Duration = Duration::from_secs(30);

/// A ServiceAccount whose annotations ask for a role, or try to.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) annotation: RoleAnnotation,
    /// When it names its own.
    pub(super) audience: Option<Audience>,
}

/// What the role annotation says.
#[derive(Clone, Debug)]
pub(super) enum RoleAnnotation {
    Role(RoleArn),
    /// The annotation is there and names no role.
    Malformed(MalformedRole),
    /// Only a key that was probably meant to be it is there.
    LookAlike {
        key: String,
    },
}

impl Account {
    /// None when nothing about its role was written.
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
        })
    }

    pub(super) const fn role(&self) -> Option<&RoleArn> {
        match &self.annotation {
            RoleAnnotation::Role(role) => Some(role),
            RoleAnnotation::Malformed(_) | RoleAnnotation::LookAlike { .. } => None,
        }
    }
}

/// Of a folder; of these namespaces, or of all when none is named.
///
/// # Errors
/// Which manifest cannot be read, and why.
pub(super) fn of_manifests(
    directory: &Path,
    namespaces: &[String],
    rules: Arc<AnnotationRules>,
) -> Result<Vec<Account>, String> {
    let manifests = ManifestServiceAccounts::load(directory, rules).map_err(|error| error.to_string())?;
    let mut accounts = Vec::new();
    manifests.for_each_account(&mut |namespace, name, identity| {
        let asked_for = namespaces.is_empty() || namespaces.iter().any(|wanted| wanted == namespace);
        if let Some(identity) = identity.filter(|_| asked_for) {
            accounts.extend(Account::of(namespace, name, identity));
        }
    });
    Ok(accounts)
}

/// Of the cluster of `KUBECONFIG`, or the pod's own; with its issuer.
///
/// # Errors
/// What the API server could not be asked, and what that needs.
pub(super) async fn of_cluster(
    namespaces: &[String],
    rules: Arc<AnnotationRules>,
    issuer: Option<Issuer>,
) -> Result<(Issuer, Vec<Account>), String> {
    let config = kube::Config::infer().await.map_err(|error| {
        format!(
            "no cluster to audit ({error}); set KUBECONFIG, run in a pod, or audit a directory with --standalone DIR"
        )
    })?;
    let client =
        kubernetes::client(&config).map_err(|error| format!("cannot talk to {}: {error}", config.cluster_url))?;
    let issuer = match issuer {
        Some(issuer) => issuer,
        None => issuer::discover(&client, Instant::now() + DISCOVERY)
            .await
            .map_err(|error| error.to_string())?,
    };
    let mut accounts = Vec::new();
    let mut each = |namespace: &str, name: &str, identity: &ServiceAccountIdentity| {
        accounts.extend(Account::of(namespace, name, identity));
    };
    if namespaces.is_empty() {
        live::list(&client, &rules, None, &mut each).await?;
    }
    for namespace in namespaces {
        live::list(&client, &rules, Some(namespace), &mut each).await?;
    }
    Ok((issuer, accounts))
}
