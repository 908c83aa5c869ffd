//! Access to AWS: the settings, and the flags of commands that people run. `serve` has its own flags.

use std::str::FromStr as _;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::assume_role::{self, AssumeRole};
use super::usage::UsageError;

/// Credentials and accounts.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "AWS")]
pub(crate) struct AwsArgs {
    /// Profile of ~/.aws/config to take credentials from, as with `aws --profile`
    ///
    /// Unlike AWS_PROFILE, it takes precedence over credentials in the environment. For an AWS SSO profile, run `aws sso login` first.
    /// Default: the credentials that the AWS CLI would use.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    profile: Option<String>,

    /// Another account to read roles from, and the role in it to assume for that
    ///
    /// May be repeated or separated by commas.
    #[arg(long, value_name = "ACCOUNT=ROLE_ARN", value_delimiter = ',', value_parser = AssumeRole::from_str)]
    assume_role: Vec<AssumeRole>,
}

impl AwsArgs {
    /// Checks what no value parser can see.
    pub(super) fn validate(&self) -> Result<(), UsageError> {
        assume_role::refuse_repeated(&self.assume_role)
    }

    /// How AWS is reached. `region`: the Region to call when neither the environment nor the profile sets one.
    pub(crate) fn access(self, region: Option<&str>, reader: Reader) -> AwsAccess {
        let Self { profile, assume_role } = self;
        AwsAccess {
            assume_role,
            region: region.map(str::to_owned),
            profile,
            reader,
        }
    }
}

/// How AWS is reached.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "aws"),
    expect(dead_code, reason = "flags are understood all the same")
)]
pub(crate) struct AwsAccess {
    /// `--assume-role`.
    pub(crate) assume_role: Vec<AssumeRole>,
    /// The Region to call when neither the environment nor the profile sets one.
    pub(crate) region: Option<String>,
    /// `--profile`.
    pub(crate) profile: Option<String>,
    /// Who reads messages about AWS.
    pub(crate) reader: Reader,
}

/// Who reads messages about AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The operator of a pod: its ServiceAccount needs a role.
    Operator,
    /// The person who ran the command: a profile is missing, or a login.
    Person,
}
