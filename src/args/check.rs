//! The flags of `rolegate check`.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args};

use super::cluster::ClusterArgs;
use super::identity::{WebIdentityArgs, WebIdentitySettings};
use super::output::{Format, OutputArgs};
use super::role_source::SourceArgs;
use super::usage::UsageError;
use crate::trust::RoleArn;

/// What `--help` prints after the flags.
const AFTER_HELP: &str = r#"Exit codes:
  0  trusted
  1  not trusted
  2  undetermined (undecided, unknown, a malformed policy), or usage error

With --batch the exit code is that of the worst line; from best to worst: trusted, undecided, malformed, not-trusted.

A line of --batch:
  {"policy": {…}, "roleArn": "arn:aws:iam::111122223333:role/NAME", "issuer": "https://…", "subject": "system:serviceaccount:NAMESPACE:NAME", "audience": "sts.amazonaws.com"}
and its response, one line each, in the same order:
  {"verdict": "trusted|not-trusted|undecided|malformed", "cause": …, "reason": …}
A line with "mechanism": "pod-identity" is about a role of an EKS Pod Identity association; docs/reference/check.md lists its fields.
`cause` is null unless the verdict is not-trusted.
`policy` is an object, or a string that contains one, percent-encoded, as GetRole returns it.
A line that cannot be read is malformed; the lines after it are still read.

Examples:
  Can the ServiceAccount `default` of namespace `jobs` assume this role?
    aws iam get-role --role-name job \
      --query Role.AssumeRolePolicyDocument > policy.json
    rolegate check --policy policy.json \
      --role-arn arn:aws:iam::111122223333:role/job \
      --issuer oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE \
      --namespace jobs --service-account default

  The same in the cluster and the namespace of the current kubectl context
    rolegate check --role-arn arn:aws:iam::111122223333:role/job \
      --service-account default

  The same, with the role read from a directory that `aws iam list-roles` or `terraform show -json` wrote to
    rolegate check --role-source files=./roles --role-arn …

  Are the roles of an EKS Pod Identity association usable?
    aws eks describe-pod-identity-association --cluster-name CLUSTER \
      --association-id a-… | rolegate check --association -

  In the CI of a Terraform repository
    make-lines | rolegate check --batch -"#;

/// The flags of `rolegate check`.
#[derive(Args, Clone, Debug)]
#[command(
    after_long_help = AFTER_HELP,
    mut_arg("service_account", required_unless_batch)
)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    identity: WebIdentityArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    batch: BatchArgs,
    #[command(flatten)]
    association: AssociationArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The role and its policy.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Role")]
struct RoleArgs {
    /// The role to assume, arn:PARTITION:iam::ACCOUNT:role/NAME
    #[arg(long, value_name = "ARN", value_parser = RoleArn::parse, required_unless_present_any = ["batch", "association"])]
    role_arn: Option<RoleArn>,

    /// The role's trust policy: JSON, plain or percent-encoded, or the output of aws iam get-role; - is standard input
    ///
    /// Without it, the policy is read from the role sources.
    #[arg(long, value_name = "FILE|-")]
    policy: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "EKS Pod Identity")]
struct AssociationArgs {
    /// Evaluate the roles of this association: the output of aws eks describe-pod-identity-association; - is standard
    /// input
    ///
    /// --policy is then the trust policy of its primary role.
    #[arg(long, value_name = "FILE|-")]
    association: Option<PathBuf>,

    /// With --association: the trust policy of the target role, in the same formats as --policy
    #[arg(long, value_name = "FILE|-")]
    target_policy: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Batch")]
struct BatchArgs {
    /// Evaluate JSON lines, one response per line; - is standard input
    #[arg(long, value_name = "FILE|-")]
    batch: Option<PathBuf>,
}

fn required_unless_batch(flag: Arg) -> Arg {
    flag.required_unless_present_any(["batch", "association"])
}

/// What the lines of `--batch` hold: identifier and flag.
const IN_LINES: [(&str, &str); 7] = [
    ("role_arn", "--role-arn"),
    ("issuer", "--issuer"),
    ("namespace", "--namespace"),
    ("service_account", "--service-account"),
    ("audience", "--audience"),
    ("policy", "--policy"),
    ("role_source", "--role-source"),
];

/// What to check.
pub(crate) enum Check {
    /// The lines of a file.
    Batch(PathBuf),
    /// The roles of an association.
    Association(Box<AssociationCheck>),
    /// One web identity.
    One {
        role: RoleArn,
        identity: Box<WebIdentitySettings>,
        /// If not from the role sources.
        policy: Option<PathBuf>,
        source: SourceArgs,
        format: Format,
    },
}

/// An association, and where the policies of its roles are.
pub(crate) struct AssociationCheck {
    pub(crate) association: PathBuf,
    /// Of the primary role, if not from the role sources.
    pub(crate) policy: Option<PathBuf>,
    /// Of the target role, if not from the role sources.
    pub(crate) target_policy: Option<PathBuf>,
    pub(crate) source: SourceArgs,
    pub(crate) cluster: ClusterArgs,
    pub(crate) format: Format,
}

/// What `--association` holds: identifier and flag.
const IN_ASSOCIATION: [(&str, &str); 4] = [
    ("role_arn", "--role-arn"),
    ("namespace", "--namespace"),
    ("service_account", "--service-account"),
    ("batch", "--batch"),
];

impl CheckArgs {
    /// Resolves flags that exclude each other: one that was typed wins over a variable that may be set for other
    /// commands; two that were typed are an error.
    pub(super) fn resolve_conflicts(&mut self, matches: &ArgMatches) -> Result<(), UsageError> {
        let typed = |identifier: &str| matches.value_source(identifier) == Some(ValueSource::CommandLine);
        if typed("association") {
            if let Some((_, flag)) = IN_ASSOCIATION.iter().find(|(identifier, _)| typed(identifier)) {
                return Err(UsageError::conflict(format!(
                    "--association cannot be used with {flag}: it contains the roles, the namespace and the ServiceAccount"
                )));
            }
            self.batch.batch = None;
        } else if typed("target_policy") {
            return Err(UsageError::conflict("--target-policy requires --association"));
        } else if IN_LINES.iter().any(|(identifier, _)| typed(identifier)) || typed("batch") {
            self.association.association = None;
        }
        match IN_LINES.iter().find(|(identifier, _)| typed(identifier)) {
            Some((_, flag)) if typed("batch") => {
                return Err(UsageError::conflict(format!(
                    "--batch cannot be used with {flag}: each line contains the role, its policy and the web identity"
                )));
            }
            Some(_) => self.batch.batch = None,
            None => {}
        }
        if typed("role_source") {
            if typed("policy") {
                return Err(UsageError::conflict(
                    "--policy cannot be used with --role-source: both set where the policy is read from",
                ));
            }
            self.role.policy = None;
        }
        self.source.validate()
    }

    /// None if a flag is missing, which clap has reported already.
    pub(crate) fn check(self) -> Option<Check> {
        let Self {
            role: RoleArgs { role_arn, policy },
            identity,
            source,
            association: AssociationArgs {
                association,
                target_policy,
            },
            batch: BatchArgs { batch },
            output: OutputArgs { output: format },
        } = self;
        if let Some(association) = association {
            return Some(Check::Association(Box::new(AssociationCheck {
                association,
                policy,
                target_policy,
                source,
                cluster: identity.cluster(),
                format,
            })));
        }
        if let Some(file) = batch {
            return Some(Check::Batch(file));
        }
        Some(Check::One {
            role: role_arn?,
            identity: Box::new(identity.settings()?),
            policy,
            source,
            format,
        })
    }
}
