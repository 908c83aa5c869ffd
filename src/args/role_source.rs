//! `--role-source`: where trust policies are read from, and the flags that commands share for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use super::aws::AwsArgs;
use super::usage::UsageError;
use super::values;

/// The role sources of commands; `serve` has its own, with their cache.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Role sources")]
pub(crate) struct SourceArgs {
    /// Role sources to read trust policies from, in this order: iam, ack, crossplane, files=DIR
    ///
    /// May be repeated or separated by commas. If a source does not know a role, the next one is used. Default: iam, which is
    /// AWS with the credentials that the AWS CLI would use.
    #[arg(long, value_name = "SOURCE", value_delimiter = ',', hide_possible_values = true, value_parser = values::suggesting::<RoleSourceSpec>(RoleSourceSpec::KINDS))]
    role_source: Vec<RoleSourceSpec>,

    #[command(flatten)]
    aws: AwsArgs,
}

impl SourceArgs {
    /// Checks what no value parser can see.
    pub(super) fn validate(&self) -> Result<(), UsageError> {
        self.aws.validate()
    }

    /// Whether a source reads objects of the cluster.
    pub(super) fn reads_cluster(&self) -> bool {
        let sources = &self.role_source;
        sources.contains(&RoleSourceSpec::Ack) || sources.contains(&RoleSourceSpec::Crossplane)
    }

    /// The sources in their order, `default` if no flag names one, and how AWS is reached.
    pub(crate) fn sources(self, default: RoleSourceSpec) -> (Vec<RoleSourceSpec>, AwsArgs) {
        let Self { role_source, aws } = self;
        if role_source.is_empty() {
            (vec![default], aws)
        } else {
            (role_source, aws)
        }
    }
}

/// A value of `--role-source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RoleSourceSpec {
    /// AWS IAM.
    Iam,
    /// `Role` objects of the ACK IAM controller.
    Ack,
    /// `Role` objects of Crossplane's AWS provider.
    Crossplane,
    /// A directory of JSON files.
    Files(PathBuf),
}

impl RoleSourceSpec {
    /// How values begin, for completions.
    pub(super) const KINDS: &[&str] = &["iam", "ack", "crossplane", "files="];

    /// The source of a command or a webhook that names none.
    pub(crate) fn default_for(standalone: Option<&Path>) -> Self {
        match standalone {
            Some(directory) => Self::Files(directory.join("roles")),
            None => Self::Iam,
        }
    }
}

impl FromStr for RoleSourceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            None if text == "iam" => Ok(Self::Iam),
            None if text == "ack" => Ok(Self::Ack),
            None if text == "crossplane" => Ok(Self::Crossplane),
            Some(("files", directory)) if !directory.is_empty() => Ok(Self::Files(directory.into())),
            _ => Err("expected iam, ack, crossplane or files=DIR".to_owned()),
        }
    }
}

impl fmt::Display for RoleSourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iam => f.write_str("iam"),
            Self::Ack => f.write_str("ack"),
            Self::Crossplane => f.write_str("crossplane"),
            Self::Files(directory) => write!(f, "files={}", directory.display()),
        }
    }
}
