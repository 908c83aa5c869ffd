//! The flags of `rolegate trust-policy`.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgGroup, ArgMatches, Args, ValueEnum};

use super::identity::{WebIdentityArgs, WebIdentitySettings};
use super::role_source::SourceArgs;
use super::usage::UsageError;
use super::values;
use crate::trust::{
    AccountId, Association, AssociationGrant, ClusterArn, Grant, Hop, Partition, RoleArn, SessionTags, WebIdentity,
};

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
The policy goes to standard output; the diff, notes and warnings go to standard error.

Exit codes:
  0  the policy trusts the ServiceAccount; with --apply, the role has it
  1  the policy was printed, but a Deny in it still refuses the ServiceAccount (or might), or IAM
     would refuse it
  2  the role or document cannot be read or is malformed, or usage error

Examples:
  Add a ServiceAccount to an existing role: review the diff, then write it
    rolegate trust-policy --role-arn arn:aws:iam::111122223333:role/job \\
      --issuer oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE \\
      -n jobs --service-account default
    rolegate trust-policy --role-arn arn:aws:iam::111122223333:role/job \\
      --issuer oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE \\
      -n jobs --service-account default --apply

  The same for a document, as a Terraform data source
    aws iam get-role --role-name job |
      rolegate trust-policy --merge - -o terraform --account 111122223333 \\
        --issuer … -n jobs --service-account default

  Trust EKS Pod Identity for a ServiceAccount
    rolegate trust-policy --pod-identity \\
      --role-arn arn:aws:iam::111122223333:role/job \\
      --cluster-arn arn:aws:eks:us-west-2:111122223333:cluster/CLUSTER \\
      -n jobs --service-account default

  The policy of a new role
    rolegate trust-policy --account 111122223333 --issuer … \\
      -n jobs --service-account default > policy.json
    aws iam create-role --role-name job \\
      --assume-role-policy-document file://policy.json";

/// The flags of `rolegate trust-policy`.
#[derive(Args, Clone, Debug)]
#[command(
    after_long_help = AFTER_HELP,
    mut_arg("service_account", required)
)]
pub(crate) struct TrustPolicyArgs {
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    identity: WebIdentityArgs,
    #[command(flatten)]
    pod_identity: PodIdentityArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    output: PolicyOutputArgs,
}

/// The role, or the document of one.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Role", group(ArgGroup::new("role").required(true).multiple(true).args(["role_arn", "account"])))]
struct RoleArgs {
    /// The role whose trust policy is read and extended
    #[arg(long, value_name = "ARN", value_parser = RoleArn::parse, conflicts_with_all = ["account", "partition"])]
    role_arn: Option<RoleArn>,

    /// Without --role-arn: the account of the role, twelve digits
    #[arg(long, value_name = "ACCOUNT", value_parser = values::account, conflicts_with = "role_source")]
    account: Option<AccountId>,

    /// With --account: the partition of the role [default: the partition of the issuer's Region]
    #[arg(long, value_name = "PARTITION", hide_possible_values = true, value_parser = values::known_partition())]
    partition: Option<Partition>,

    /// Add to this document instead: a trust policy or the output of aws iam get-role; - is standard input
    ///
    /// Everything in it is kept. Merging again changes nothing.
    #[arg(long, value_name = "FILE|-", conflicts_with = "role_source")]
    merge: Option<PathBuf>,
}

/// The EKS Pod Identity association to trust, instead of a web identity.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "EKS Pod Identity")]
struct PodIdentityArgs {
    /// Trust EKS Pod Identity for the ServiceAccount, instead of the OIDC provider
    #[arg(long, requires = "cluster_arn")]
    pod_identity: bool,

    /// The cluster, arn:PARTITION:eks:REGION:ACCOUNT:cluster/NAME
    #[arg(long, value_name = "ARN", value_parser = ClusterArn::parse)]
    cluster_arn: Option<ClusterArn>,

    /// The role is the target role of the association
    #[arg(long, requires_all = ["pod_identity", "primary_role_arn"])]
    target: bool,

    /// For a target role: the primary role of the association, which assumes it
    #[arg(long, value_name = "ARN", value_parser = RoleArn::parse)]
    primary_role_arn: Option<RoleArn>,

    /// The association disables session tags: add no conditions on them
    #[arg(long, requires = "pod_identity")]
    disable_session_tags: bool,

    /// For a target role without session tags: the external ID of the association
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
}

/// For `mut_arg`: the flag is required.
fn required(flag: Arg) -> Arg {
    flag.required(true)
}

/// Writing to the role.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Write")]
struct WriteArgs {
    /// Write the policy to the role (iam:UpdateAssumeRolePolicy), after showing the diff and asking for confirmation
    ///
    /// The role is read again directly before it is written; if it has changed, nothing is written. IAM has no
    /// compare-and-swap, so a change between that read and the write would be lost.
    #[arg(long, conflicts_with_all = ["merge", "account", "output"])]
    apply: bool,

    /// With --apply: write without asking for confirmation
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
struct PolicyOutputArgs {
    /// Format of the policy
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    output: PolicyFormat,
}

/// The format of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyFormat {
    /// The JSON document for IAM
    Json,
    /// A data source aws_iam_policy_document
    Terraform,
}

/// What to do with a trust policy.
pub(crate) struct PolicyEdit {
    /// The trust to add, for a ServiceAccount of a cluster that knows what the flags leave out.
    pub(crate) addition: NewTrust,
    pub(crate) identity: WebIdentitySettings,
    pub(crate) source: SourceArgs,
    pub(crate) action: Action,
}

/// The trust to add.
pub(crate) enum NewTrust {
    /// The web identity, in the account of the role.
    WebIdentity(RoleAccount),
    /// The EKS Pod Identity association.
    PodIdentity(NewAssociation),
}

/// The account of a role.
pub(crate) enum RoleAccount {
    OfRole(RoleArn),
    /// Without a partition: that of the issuer's Region.
    Named(AccountId, Option<Partition>),
}

/// An EKS Pod Identity association, except its ServiceAccount.
pub(crate) struct NewAssociation {
    cluster: ClusterArn,
    hop: Hop,
    role: RoleArn,
    target_role: Option<RoleArn>,
    session_tags: SessionTags,
    external_id: Option<String>,
}

/// Where the present policy is, and where the new one goes.
pub(crate) enum Action {
    /// Replace the policy of the role.
    Apply { role: RoleArn, confirm: Confirm },
    /// Print what the policy would be.
    Print { present: Present, format: PolicyFormat },
}

/// Whether to ask before writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    Ask,
    Assume,
}

/// The policy to add to.
pub(crate) enum Present {
    /// None: the role is new.
    None,
    Document(PathBuf),
    Role(RoleArn),
}

/// Flags that only an association has: identifier and flag.
const OF_ASSOCIATIONS: [(&str, &str); 3] = [
    ("cluster_arn", "--cluster-arn"),
    ("primary_role_arn", "--primary-role-arn"),
    ("external_id", "--external-id"),
];

impl TrustPolicyArgs {
    /// Rejects flags that exclude each other, if they were typed: variables can be set for other commands.
    pub(super) fn resolve_conflicts(&self, matches: &ArgMatches) -> Result<(), UsageError> {
        let typed = |identifier: &str| matches.value_source(identifier) == Some(ValueSource::CommandLine);
        if self.pod_identity.pod_identity {
            if typed("issuer") {
                return Err(UsageError::conflict(
                    "--pod-identity cannot be used with --issuer: EKS Auth verifies the token, not the role",
                ));
            }
        } else if let Some((_, flag)) = OF_ASSOCIATIONS.iter().find(|(identifier, _)| typed(identifier)) {
            return Err(UsageError::conflict(format!("{flag} requires --pod-identity")));
        }
        // clap does not require a flag that conflicts with another one, such as --account.
        if self.write.yes && !self.write.apply {
            return Err(UsageError::missing("--yes requires --apply"));
        }
        self.source.validate()
    }

    /// # Errors
    /// The flag that is missing.
    pub(crate) fn edit(self) -> Result<PolicyEdit, &'static str> {
        let Self {
            role:
                RoleArgs {
                    role_arn,
                    account,
                    partition,
                    merge,
                },
            identity,
            pod_identity,
            source,
            write: WriteArgs { apply, yes },
            output: PolicyOutputArgs { output: format },
        } = self;
        let identity = identity.settings().ok_or("--service-account is required")?;
        let addition = if pod_identity.pod_identity {
            NewTrust::PodIdentity(pod_identity.association(role_arn.as_ref(), account, partition)?)
        } else {
            NewTrust::WebIdentity(match (&role_arn, account) {
                (Some(role), _) => RoleAccount::OfRole(role.clone()),
                (None, Some(account)) => RoleAccount::Named(account, partition),
                (None, None) => return Err("--role-arn or --account is required"),
            })
        };
        let action = match (apply, merge, role_arn) {
            (true, _, None) => return Err("--apply requires --role-arn"),
            (true, _, Some(role)) => Action::Apply {
                role,
                confirm: if yes { Confirm::Assume } else { Confirm::Ask },
            },
            (false, merge, role) => Action::Print {
                present: match (merge, role) {
                    (Some(file), _) => Present::Document(file),
                    (None, Some(role)) => Present::Role(role),
                    (None, None) => Present::None,
                },
                format,
            },
        };
        Ok(PolicyEdit {
            addition,
            identity,
            source,
            action,
        })
    }
}

impl RoleAccount {
    /// The addition for a web identity.
    ///
    /// # Errors
    /// The flag that is missing.
    pub(crate) fn grant(self, identity: WebIdentity) -> Result<Grant, &'static str> {
        match self {
            Self::OfRole(role) => Grant::for_role(&role, identity).ok_or("--role-arn has no partition or account"),
            Self::Named(account, partition) => Ok(Grant {
                partition: partition
                    .or_else(|| Partition::parse(identity.issuer.partition()))
                    .ok_or("--partition is missing")?,
                account,
                identity,
            }),
        }
    }
}

impl NewAssociation {
    /// The Region of its cluster.
    pub(crate) fn region(&self) -> &str {
        self.cluster.region()
    }

    /// The addition for the association of a ServiceAccount.
    pub(crate) fn grant(self, namespace: String, service_account: String) -> AssociationGrant {
        let Self {
            cluster,
            hop,
            role,
            target_role,
            session_tags,
            external_id,
        } = self;
        AssociationGrant {
            association: Association {
                cluster: Some(cluster),
                namespace: namespace.into(),
                service_account: service_account.into(),
                id: None,
                role,
                target_role,
                session_tags,
                external_id: external_id.map(Into::into),
            },
            hop,
        }
    }
}

impl PodIdentityArgs {
    fn association(
        self,
        role: Option<&RoleArn>,
        account: Option<AccountId>,
        partition: Option<Partition>,
    ) -> Result<NewAssociation, &'static str> {
        let Self {
            cluster_arn,
            primary_role_arn,
            disable_session_tags,
            external_id,
            pod_identity: _,
            target: _,
        } = self;
        let cluster = cluster_arn.ok_or("--cluster-arn is required")?;
        let role = match (role, account) {
            (Some(role), _) => role.clone(),
            (None, Some(account)) => {
                let partition = partition
                    .or_else(|| Partition::parse(cluster.partition()))
                    .ok_or("--partition is missing")?;
                // No condition depends on the name of a role that is new.
                RoleArn::compose(&partition, &account, "any").map_err(|_| "--partition is not one of a role")?
            }
            (None, None) => return Err("--role-arn or --account is required"),
        };
        let (hop, role, target_role) = match primary_role_arn {
            Some(primary) => (Hop::Target, primary, Some(role)),
            None => (Hop::Primary, role, None),
        };
        Ok(NewAssociation {
            cluster,
            hop,
            role,
            target_role,
            session_tags: if disable_session_tags {
                SessionTags::Disabled
            } else {
                SessionTags::Enabled
            },
            external_id,
        })
    }
}
