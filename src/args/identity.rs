//! The web identity that `check` evaluates and `trust-policy` adds.

use clap::Args;

use super::cluster::ClusterArgs;
use super::values;
use crate::decision::messages::commands::DEFAULT_AUDIENCE;
use crate::trust::{Audience, Issuer};

/// A ServiceAccount of a cluster, and the audience of its token. The command says when `--service-account` is required.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Web identity")]
pub(super) struct WebIdentityArgs {
    /// The cluster's OIDC issuer, with or without https://
    ///
    /// Default: the issuer in /.well-known/openid-configuration of the cluster's API server.
    #[arg(long, value_name = "URL", value_parser = values::issuer)]
    issuer: Option<Issuer>,

    /// Namespace of the ServiceAccount
    ///
    /// Default: the namespace of the kubeconfig's context.
    #[arg(short, long, value_name = "NAMESPACE", value_parser = values::namespace)]
    namespace: Option<String>,

    /// Name of the ServiceAccount
    #[arg(long, value_name = "NAME", value_parser = values::service_account)]
    service_account: Option<String>,

    /// Audience of the token
    #[arg(long, value_name = "AUDIENCE", default_value = DEFAULT_AUDIENCE, value_parser = values::audience)]
    audience: Audience,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A web identity, or as much of it as flags say: a cluster knows the rest.
pub(crate) struct WebIdentitySettings {
    pub(crate) issuer: Option<Issuer>,
    pub(crate) namespace: Option<String>,
    pub(crate) service_account: String,
    pub(crate) audience: Audience,
    pub(crate) cluster: ClusterArgs,
}

impl WebIdentityArgs {
    /// Only the cluster.
    pub(super) fn cluster(self) -> ClusterArgs {
        self.cluster
    }

    /// None without `--service-account`.
    pub(super) fn settings(self) -> Option<WebIdentitySettings> {
        let Self {
            issuer,
            namespace,
            service_account,
            audience,
            cluster,
        } = self;
        Some(WebIdentitySettings {
            issuer,
            namespace,
            service_account: service_account?,
            audience,
            cluster,
        })
    }
}
