//! The cluster that a command talks to.

mod kubeconfig;
mod proxy;

use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use self::kubeconfig::{NamedCluster, NoCluster};
use crate::args::cluster::{ClusterArgs, ClusterSettings};
use crate::kubernetes::{self, api_error, issuer};
use crate::trust::{Audience, Issuer, Subject, WebIdentity};

/// How long a command waits at its start for an API server, or for AWS STS, to say which cluster or account this is. A pod that
/// exits after that is restarted by Kubernetes.
pub(super) const DISCOVERY: Duration = Duration::from_secs(30);

/// How long the issuer of `--issuer` is compared with that of the API server.
const COMPARISON: Duration = Duration::from_secs(5);

/// What is wrong with an issuer of `--issuer`, if the API server reports another one. None if it does not report one.
pub(super) async fn other_issuer(client: &kube::Client, flag: &Issuer) -> Option<String> {
    let reported = issuer::discover(client, Instant::now() + COMPARISON).await.ok()?;
    (reported != *flag).then(|| {
        format!(
            "--issuer is {flag}, but the API server reports {reported}, so verdicts might not be those of this cluster's tokens; remove \
             --issuer (the chart's value `issuer`) to use what the API server reports"
        )
    })
}

/// The cluster of `--kubeconfig` and `--context`, looked for and connected to when it is first needed: its credentials can come from a
/// program that takes a second, or asks the user.
pub(super) struct Cluster {
    settings: ClusterSettings,
    named: OnceCell<NamedCluster>,
    client: OnceCell<kube::Client>,
}

impl Cluster {
    pub(super) fn new(args: ClusterArgs) -> Self {
        Self {
            settings: args.settings(),
            named: OnceCell::new(),
            client: OnceCell::new(),
        }
    }

    /// A client of the cluster, for this runtime. `what_for` and `otherwise` complete the error: "no cluster to serve: …; set
    /// --kubeconfig FILE, run in a pod, or serve a directory with --standalone DIR".
    ///
    /// # Errors
    /// That there is no such cluster, or that its credentials cannot be used.
    pub(super) async fn client(&self, what_for: &str, otherwise: &str) -> Result<kube::Client> {
        self.connect().await.map_err(|why| match why {
            NoCluster::NotNamed(why) => anyhow!("no cluster to {what_for}: {why}; {otherwise}"),
            NoCluster::Unusable(why) => anyhow!(why),
        })
    }

    /// The namespace of the pod that this process runs in, if its cluster is the one that is used, once a client was made.
    pub(super) fn own_namespace(&self) -> Option<&str> {
        let named = self.named.get()?;
        named.is_own.then_some(&*named.config.default_namespace)
    }

    /// The issuer of a flag, or the one that the API server reports.
    ///
    /// # Errors
    /// That there is no cluster to ask, or that it reports none.
    pub(super) async fn issuer(&self, flag: Option<Issuer>) -> Result<Issuer> {
        self.issuer_or(flag, ISSUER).await
    }

    /// Warns about an issuer of `--issuer` that is not the one of the API server.
    pub(super) async fn compare_issuer(&self, flag: &Issuer) -> Option<String> {
        let client = self.connect().await.ok()?;
        other_issuer(&client, flag).await
    }

    /// The namespace of a flag, or the one of the kubeconfig's context, which is `default` unless it says otherwise.
    ///
    /// # Errors
    /// That there is no context.
    pub(super) async fn namespace(&self, flag: Option<String>) -> Result<String> {
        self.namespace_or(flag, NAMESPACE).await
    }

    /// The web identity of a ServiceAccount. The cluster knows the issuer, and the kubeconfig the namespace.
    ///
    /// # Errors
    /// Which flag is missing, and why the cluster does not say it.
    pub(super) async fn web_identity(
        &self,
        issuer: Option<Issuer>,
        namespace: Option<String>,
        service_account: &str,
        audience: Audience,
    ) -> Result<WebIdentity> {
        let missing = match (&issuer, &namespace) {
            (None, None) => "--issuer and --namespace",
            (None, Some(_)) => ISSUER,
            (Some(_), _) => NAMESPACE,
        };
        let namespace = self.namespace_or(namespace, missing).await?;
        Ok(WebIdentity {
            issuer: self.issuer_or(issuer, ISSUER).await?,
            subject: Subject::service_account(&namespace, service_account),
            audience,
        })
    }

    async fn issuer_or(&self, flag: Option<Issuer>, missing: &str) -> Result<Issuer> {
        if let Some(issuer) = flag {
            return Ok(issuer);
        }
        let client = self.connect().await.map_err(|why| not_known(missing, why))?;
        let discovered = issuer::discover(&client, Instant::now() + DISCOVERY).await;
        discovered.map_err(|error| match self.named.get() {
            Some(named) => anyhow!("{}: {error}", named.url()),
            None => anyhow!(error),
        })
    }

    async fn namespace_or(&self, flag: Option<String>, missing: &str) -> Result<String> {
        match flag {
            Some(namespace) => Ok(namespace),
            None => {
                let named = self.named().await.map_err(|why| not_known(missing, why))?;
                Ok(named.config.default_namespace.clone())
            }
        }
    }

    async fn named(&self) -> Result<&NamedCluster, NoCluster> {
        self.named
            .get_or_try_init(async || kubeconfig::find(&self.settings))
            .await
    }

    async fn connect(&self) -> Result<kube::Client, NoCluster> {
        let connecting = async || {
            let named = self.named().await?;
            kubernetes::client(&named.config).map_err(|error| {
                let why = api_error::of_client(&error, named.exec.as_ref());
                NoCluster::Unusable(format!("{}: {why}", named.url()))
            })
        };
        self.client.get_or_try_init(connecting).await.cloned()
    }
}

const ISSUER: &str = "--issuer";
const NAMESPACE: &str = "--namespace";

/// The error of flags that are missing where no cluster says what they would.
fn not_known(missing: &str, why: NoCluster) -> Error {
    let are = if missing.contains(" and ") { "are" } else { "is" };
    match why {
        NoCluster::NotNamed(why) => anyhow!(
            "{missing} {are} not set, and no cluster reports it: {why}; set {missing}, or select a cluster with --kubeconfig FILE"
        ),
        NoCluster::Unusable(why) => anyhow!("{missing} {are} not set, and the cluster cannot be read: {why}"),
    }
}
