//! The flags of commands that read AWS on a person's machine; `serve` has its own.

use std::str::FromStr as _;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::assume_role::{self, AssumeRole};
use super::sources::AwsAccess;

/// Which credentials ask AWS.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AwsArgs {
    /// Profile of ~/.aws/config whose credentials are used, as `aws --profile` does
    ///
    /// It wins over credentials in the environment; AWS_PROFILE does not. For a profile of AWS SSO, run `aws sso login` first.
    /// Default: the credentials that the AWS CLI would use.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), help_heading = "AWS")]
    profile: Option<String>,

    /// Another account whose roles source iam reads, and the role of it to assume for that
    ///
    /// May be repeated or separated by commas.
    #[arg(long, value_name = "ACCOUNT=ROLE_ARN", value_delimiter = ',', value_parser = AssumeRole::from_str, help_heading = "AWS")]
    assume_role: Vec<AssumeRole>,
}

impl AwsArgs {
    /// What no value can see alone.
    ///
    /// # Errors
    /// The account that `--assume-role` names twice.
    pub(crate) fn check(&self) -> Result<(), String> {
        assume_role::refuse_repeated(&self.assume_role)
    }

    /// How AWS is reached. `region`: the one whose endpoints are asked when neither environment nor profile set one.
    pub(crate) fn access(self, region: Option<&str>) -> AwsAccess {
        let Self { profile, assume_role } = self;
        AwsAccess {
            assume: assume_role,
            region: region.map(str::to_owned),
            profile,
            ..AwsAccess::of_command()
        }
    }
}
