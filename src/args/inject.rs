//! The flags of `rolegate inject`.

use std::path::PathBuf;

use clap::{Arg, Args};

use super::cluster::ClusterArgs;
use super::role_source::SourceArgs;
use super::serve::decision::DecisionArgs;
use super::serve::identity::IdentityArgs;
use super::serve::pod_identity::PodIdentityArgs;
use super::values;
use crate::trust::RoleArn;

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
The documents are printed in their order. A document that does not change is printed byte for byte; one that changes is \
rewritten, without its comments. Verdicts are printed to standard error.

Pod templates are injected in the workloads of Kubernetes and in the resources of job systems, including those in a List. \
ServiceAccounts are those of the input.

Exit codes:
  0  every pod that has a role is trusted by its role
  1  a role does not trust a pod, or a pod would be refused
  2  undetermined (undecided, unknown, a ServiceAccount that is not in the input, an unknown
     version), or usage error

Examples:
  What Helm would install, with the identity of its pods
    helm template my-release ./chart | rolegate inject --file - \\
      --role-source files=./roles \\
      --issuer https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE

  A Deployment whose ServiceAccount is elsewhere
    rolegate inject --file deployment.yaml \\
      --role-arn arn:aws:iam::111122223333:role/api \\
      --issuer https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE";

/// The flags of `rolegate inject`.
#[derive(Args, Clone, Debug)]
#[command(
    after_long_help = AFTER_HELP,
    mut_arg("mode", mode)
)]
pub(crate) struct InjectArgs {
    #[command(flatten)]
    pub(crate) manifests: ManifestArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) decision: DecisionArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) pod_identity: PodIdentityArgs,
}

/// What is read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Manifests")]
pub(crate) struct ManifestArgs {
    /// Manifests, YAML or JSON; - is standard input
    #[arg(short, long, value_name = "FILE|-")]
    pub(crate) file: PathBuf,

    /// Namespace of objects that do not specify one
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default", value_parser = values::namespace)]
    pub(crate) namespace: String,

    /// Role of the ServiceAccounts that are not in the input
    #[arg(long, value_name = "ARN", value_parser = RoleArn::parse)]
    pub(crate) role_arn: Option<RoleArn>,
}

fn mode(mode: Arg) -> Arg {
    mode.help("Mode of the namespaces: enforce, warn or audit")
}
