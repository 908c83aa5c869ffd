//! The cluster that a command talks to.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

use crate::kubernetes::{self, issuer};
use crate::trust::Issuer;

/// How long a command waits at its start for an API server, or for AWS STS, to say which cluster or account this is. A pod that
/// exits after that is restarted by Kubernetes.
pub(super) const DISCOVERY: Duration = Duration::from_secs(30);

/// A client of the cluster of `KUBECONFIG`, or of the cluster that the pod runs in. `what_for` and `otherwise` complete the error:
/// "no cluster to serve (…); set KUBECONFIG, run in a pod, or serve a directory with --standalone DIR".
///
/// # Errors
/// That there is no such cluster, or that its credentials cannot be used.
pub(super) async fn client(what_for: &str, otherwise: &str) -> Result<kube::Client> {
    let config = kube::Config::infer()
        .await
        .map_err(|error| anyhow!("no cluster to {what_for} ({error}); {otherwise}"))?;
    kubernetes::client(&config).map_err(|error| anyhow!("cannot connect to {}: {error}", config.cluster_url))
}

/// The issuer of a flag, or the one that the API server reports.
///
/// # Errors
/// That it reports none.
pub(super) async fn issuer(flag: Option<Issuer>, client: &kube::Client) -> Result<Issuer> {
    match flag {
        Some(issuer) => Ok(issuer),
        None => Ok(issuer::discover(client, Instant::now() + DISCOVERY).await?),
    }
}
