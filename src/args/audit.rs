//! The flags of `rolegate audit`.

use std::path::PathBuf;
use std::str::FromStr as _;

use clap::{ArgMatches, Args, FromArgMatches as _, ValueEnum};

use super::association_source::AssociationArgs;
use super::cluster::{self, WholeClusterArgs};
use super::namespaced_name::NamespacedName;
use super::output::FindingsOutputArgs;
use super::role_source::SourceArgs;
use super::serve::decision::RequireRole;
use super::serve::identity::IdentityArgs;
use super::serve::pod_identity::PodIdentityArgs;
use super::switch::{Default::Off, SwitchArg as _};
use super::usage::UsageError;
use super::values::{self, AnnotationPrefix};
use crate::decision::messages::commands::DEFAULT_AUDIENCE;
use crate::pod::settings::{PodIdentitySettings, WebIdentitySettings};
use crate::trust::{AccountId, Audience, Issuer, Partition};

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
Exit codes:
  0  every ServiceAccount with a role, and every association, is trusted by its roles
  1  findings: a role does not exist or does not trust its ServiceAccount, an annotation is not a
     role ARN, or pods of a workload would be refused for another reason
  2  undetermined (undecided, unknown, a malformed policy), a manifest or association that cannot
     be read, nothing to audit, or usage error

Examples:
  The cluster of the current kubectl context, roles from AWS
    rolegate audit

  Another cluster of the kubeconfig, all namespaces
    rolegate audit --context production -A

  Two of its namespaces, as JSON
    rolegate audit --namespace jobs --namespace reports --output json

  Also the EKS Pod Identity associations of the cluster
    rolegate audit --association-source eks --cluster-name my-cluster

  Without a cluster: ServiceAccounts from ./manifests/, trust policies from ./manifests/roles/
    rolegate audit --standalone ./manifests \\
      --issuer https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE

  What Helm would install: its ServiceAccounts, and the workloads that use them
    helm template my-release ./chart | rolegate audit --file - \\
      --namespace jobs --role-source files=./roles \\
      --issuer https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE

  Also the ServiceAccounts that a ConfigMap gives a role
    rolegate audit --identity-config-map kube-system/pod-identity-webhook

  The findings of a large cluster, grouped by role and cause
    rolegate audit --findings-only --group-by role";

/// The flags of `rolegate audit`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    pub(crate) accounts: ServiceAccountArgs,
    #[command(flatten)]
    pub(crate) tokens: TokenArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) associations: AssociationArgs,
    #[command(flatten)]
    pub(crate) output: FindingsOutputArgs,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
    #[command(flatten)]
    pub(crate) cluster: WholeClusterArgs,
}

impl AuditArgs {
    /// Checks what no value parser can see.
    pub(super) fn validate(&self, matches: &ArgMatches) -> Result<(), UsageError> {
        self.source.validate()?;
        if !self.source.reads_cluster() {
            cluster::reject_with_standalone(matches)?;
        }
        let ServiceAccountArgs { standalone, file, .. } = &self.accounts;
        self.associations.validate(standalone.is_some() || !file.is_empty())
    }
}

/// What of the report is printed.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct ViewArgs {
    /// Omit trusted rows
    ///
    /// In every format. The totals do not change.
    #[arg(long, switch = Off)]
    pub(crate) findings_only: bool,

    /// In format text, print rows of the same role or namespace and the same cause together: their number and the first
    /// names
    #[arg(long, value_name = "KEY")]
    pub(crate) group_by: Option<GroupBy>,
}

/// What the rows of a group have in common, next to the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupBy {
    /// The role
    Role,
    /// The namespace
    Namespace,
}

/// The settings of injection that `serve` has without flags: what a pod would be given.
///
/// # Errors
/// None; the type is that of a parser.
pub(crate) fn injection_defaults() -> Result<(WebIdentitySettings, PodIdentitySettings), clap::Error> {
    let command = PodIdentityArgs::augment_args(IdentityArgs::augment_args(clap::Command::new("rolegate")));
    let matches = command.try_get_matches_from(["rolegate"])?;
    let web_identity = IdentityArgs::from_arg_matches(&matches)?.settings().web_identity;
    let (_, pod_identity) = PodIdentityArgs::from_arg_matches(&matches)?.settings(&web_identity);
    Ok((web_identity, pod_identity))
}

/// Which ServiceAccounts are audited, and how their annotations are read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "ServiceAccounts")]
pub(crate) struct ServiceAccountArgs {
    /// Audit only the ServiceAccounts and workloads of this namespace
    ///
    /// May be repeated or separated by commas. Default: every namespace. With --file, a single namespace is also that
    /// of objects that name none; otherwise they belong to namespace default.
    #[arg(short, long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = values::namespace)]
    namespace: Vec<String>,

    /// Read ServiceAccounts from DIR/*.yaml and *.yml instead of a cluster
    ///
    /// Trust policies are read from DIR/roles/ unless --role-source is set. Requires --issuer.
    #[arg(long, value_name = "DIR", requires = "issuer")]
    standalone: Option<PathBuf>,

    /// Read ServiceAccounts and workloads from manifests instead of a cluster; - is standard input
    ///
    /// A file with YAML or JSON, or a directory, whose *.yaml, *.yml and *.json files are read recursively. May be
    /// repeated.
    #[arg(short, long, value_name = "PATH|-", conflicts_with = "standalone")]
    file: Vec<PathBuf>,

    /// Whether to report workloads whose ServiceAccount has no role or is not in the manifests: off, warn or enforce,
    /// as for `serve`
    ///
    /// With warn and enforce, they are findings. Without a value: enforce.
    #[arg(
        long,
        value_name = "ACTION",
        default_value = "off",
        default_missing_value = "enforce",
        num_args = 0..=1,
        hide_possible_values = true
    )]
    require_role: RequireRole,

    /// Prefix of the annotations, with or without its slash
    #[arg(long, value_name = "PREFIX", default_value = "eks.amazonaws.com", value_parser = values::annotation_prefix)]
    annotation_prefix: AnnotationPrefix,

    /// Accept a bare `path/name` in the role annotation as a role of this account, as `serve` does with
    /// --compose-role-arn
    #[arg(long, value_name = "ACCOUNT", value_parser = values::account)]
    aws_account_id: Option<AccountId>,

    /// Partition of such roles: aws, aws-cn, aws-us-gov … (default: aws)
    #[arg(long, value_name = "PARTITION", hide_possible_values = true, value_parser = values::partition(), requires = "aws_account_id")]
    aws_partition: Option<Partition>,

    /// ConfigMap that maps ServiceAccounts without annotations to roles, as for `serve`
    ///
    /// It is read from the cluster, or from the manifests with --file and --standalone. Annotations take precedence.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = NamespacedName::from_str)]
    identity_config_map: Option<NamespacedName>,
}

/// The same as settings.
pub(crate) struct ServiceAccountSettings {
    /// Each once. Empty for all.
    pub(crate) namespaces: Vec<String>,
    pub(crate) standalone: Option<PathBuf>,
    /// Manifests, instead of a directory or a cluster.
    pub(crate) files: Vec<PathBuf>,
    /// Whether a workload without a role is a finding.
    pub(crate) requires_role: bool,
    pub(crate) annotation_prefix: AnnotationPrefix,
    /// Where bare role names belong.
    pub(crate) compose: Option<(Partition, AccountId)>,
    /// What ServiceAccounts without annotations request.
    pub(crate) identity_config_map: Option<NamespacedName>,
}

impl ServiceAccountArgs {
    pub(crate) fn settings(self) -> ServiceAccountSettings {
        let Self {
            namespace,
            standalone,
            file,
            require_role,
            annotation_prefix,
            aws_account_id,
            aws_partition,
            identity_config_map,
        } = self;
        let mut namespaces: Vec<String> = Vec::with_capacity(namespace.len());
        for name in namespace {
            if !namespaces.contains(&name) {
                namespaces.push(name);
            }
        }
        ServiceAccountSettings {
            namespaces,
            standalone,
            files: file,
            requires_role: !matches!(require_role, RequireRole::Off),
            annotation_prefix,
            compose: aws_account_id.and_then(|account| values::composed(aws_partition, account)),
            identity_config_map,
        }
    }
}

/// What their tokens hold.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Web identities")]
pub(crate) struct TokenArgs {
    /// The cluster's OIDC issuer, with or without https://
    ///
    /// Default: the issuer in the API server's /.well-known/openid-configuration, also for manifests.
    #[arg(long, value_name = "URL", value_parser = values::issuer)]
    pub(crate) issuer: Option<Issuer>,

    /// Audience of tokens, unless an annotation sets it
    #[arg(long, value_name = "AUDIENCE", default_value = DEFAULT_AUDIENCE, value_parser = values::audience)]
    pub(crate) token_audience: Audience,
}
