//! The flags of `rolegate audit`.

use std::path::PathBuf;

use clap::Args;

use super::association_source::AssociationArgs;
use super::output::FindingsOutputArgs;
use super::role_source::SourceArgs;
use super::usage::UsageError;
use super::values::{self, AnnotationPrefix};
use crate::decision::messages::commands::DEFAULT_AUDIENCE;
use crate::trust::{AccountId, Audience, Issuer, Partition};

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
Exit codes:
  0  every ServiceAccount with a role annotation, and every association, is trusted by its roles
  1  findings: a role does not trust its ServiceAccount or does not exist, or an annotation is not a role ARN
  2  undetermined (undecided, unknown, a malformed policy), or usage error

Examples:
  The cluster of the current kubectl context, roles from AWS
    rolegate audit

  Two of its namespaces, as JSON
    rolegate audit --namespace jobs --namespace reports --output json

  Also the EKS Pod Identity associations of the cluster
    rolegate audit --association-source eks --cluster-name my-cluster

  Without a cluster: ServiceAccounts from ./manifests/*.yaml, trust policies from ./manifests/roles/
    rolegate audit --standalone ./manifests \\
      --issuer https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE";

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
}

impl AuditArgs {
    /// Checks what no value parser can see.
    pub(super) fn validate(&self) -> Result<(), UsageError> {
        self.source.validate()?;
        self.associations.validate(self.accounts.standalone.is_some())
    }
}

/// Which ServiceAccounts are audited, and how their annotations are read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "ServiceAccounts")]
pub(crate) struct ServiceAccountArgs {
    /// Audit only the ServiceAccounts of this namespace
    ///
    /// May be repeated or separated by commas. Default: every namespace.
    #[arg(short, long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = values::namespace)]
    namespace: Vec<String>,

    /// Read ServiceAccounts from DIR/*.yaml instead of a cluster
    ///
    /// Trust policies are read from DIR/roles/ unless --role-source is set. Requires --issuer.
    #[arg(long, value_name = "DIR", requires = "issuer")]
    standalone: Option<PathBuf>,

    /// Prefix of the annotations, with or without its slash
    #[arg(long, value_name = "PREFIX", default_value = "eks.amazonaws.com", value_parser = values::annotation_prefix)]
    annotation_prefix: AnnotationPrefix,

    /// Accept a bare `path/name` in the role annotation as a role of this account, as `serve` does with --compose-role-arn
    #[arg(long, value_name = "ACCOUNT", value_parser = values::account)]
    aws_account_id: Option<AccountId>,

    /// Partition of such roles: aws, aws-cn, aws-us-gov … (default: aws)
    #[arg(long, value_name = "PARTITION", value_parser = values::partition, requires = "aws_account_id")]
    aws_partition: Option<Partition>,
}

/// The same as settings.
pub(crate) struct ServiceAccountSettings {
    /// Empty for all.
    pub(crate) namespaces: Vec<String>,
    pub(crate) standalone: Option<PathBuf>,
    pub(crate) annotation_prefix: AnnotationPrefix,
    /// Where bare role names belong.
    pub(crate) compose: Option<(Partition, AccountId)>,
}

impl ServiceAccountArgs {
    pub(crate) fn settings(self) -> ServiceAccountSettings {
        let Self {
            namespace,
            standalone,
            annotation_prefix,
            aws_account_id,
            aws_partition,
        } = self;
        ServiceAccountSettings {
            namespaces: namespace,
            standalone,
            annotation_prefix,
            compose: aws_account_id.and_then(|account| values::composed(aws_partition, account)),
        }
    }
}

/// What their tokens hold.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Web identities")]
pub(crate) struct TokenArgs {
    /// The cluster's OIDC issuer, with or without https://
    ///
    /// Default in a cluster: the issuer in the API server's /.well-known/openid-configuration.
    #[arg(long, value_name = "URL", value_parser = Issuer::parse)]
    pub(crate) issuer: Option<Issuer>,

    /// Audience of tokens, unless an annotation sets it
    #[arg(long, value_name = "AUDIENCE", default_value = DEFAULT_AUDIENCE, value_parser = values::audience)]
    pub(crate) token_audience: Audience,
}
