//! `rolegate trust-policy`: prints the trust policy that is right, alone or merged into one that exists.

use std::path::PathBuf;

use clap::Args;

use super::output::{self, BAD, DOUBT, GOOD, STRONG, Styled};
use super::{Exit, input, values};
use crate::iam::write::{Change, DEFAULT_QUOTA, Grant, LARGEST_QUOTA, Merged, size};
use crate::iam::{AccountId, Audience, Issuer, Partition, Verdict};

/// What `--help` says below the flags.
const AFTER_HELP: &str = "\
The policy goes to standard output, all else to standard error.

Exit codes:
  0  the policy trusts the ServiceAccount
  1  it was printed, but a Deny in it still refuses the ServiceAccount (or may), or it is larger than IAM ever takes
  2  the document to merge into is malformed, or bad use

Examples:
  The policy of a new role
    rolegate trust-policy --account 111122223333 \\
      --issuer oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE \\
      --namespace jobs --service-account default > policy.json
    aws iam create-role --role-name job \\
      --assume-role-policy-document file://policy.json

  One more ServiceAccount for a role that exists
    aws iam get-role --role-name job --query Role.AssumeRolePolicyDocument |
      rolegate trust-policy --merge - --account … --issuer … \\
        --namespace … --service-account … > policy.json
    aws iam update-assume-role-policy --role-name job \\
      --policy-document file://policy.json";

/// The flags of `rolegate trust-policy`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct TrustPolicyArgs {
    /// The role's account, twelve digits
    #[arg(long, value_name = "ACCOUNT", value_parser = values::account)]
    account: AccountId,

    /// The cluster's OIDC issuer, with or without https://
    #[arg(long, value_name = "URL", value_parser = Issuer::parse)]
    issuer: Issuer,

    /// Namespace of the ServiceAccount
    #[arg(short, long, value_name = "NAMESPACE", value_parser = values::namespace)]
    namespace: String,

    /// Name of the ServiceAccount
    #[arg(long, value_name = "NAME", value_parser = values::service_account)]
    service_account: String,

    /// The role's partition: aws, aws-cn, aws-us-gov …
    #[arg(long, value_name = "PARTITION", default_value = "aws", value_parser = values::partition)]
    partition: Partition,

    /// What the token is issued for
    #[arg(long, value_name = "AUDIENCE", default_value = values::DEFAULT_AUDIENCE, value_parser = values::audience)]
    audience: Audience,

    /// Add the trust to this policy; - is standard input
    ///
    /// All that stands in it stays. Merging again changes nothing.
    #[arg(long, value_name = "FILE|-")]
    merge: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: TrustPolicyArgs) -> Exit {
    let TrustPolicyArgs {
        account,
        issuer,
        namespace,
        service_account,
        partition,
        audience,
        merge,
    } = args;
    let grant = Grant::to_service_account(partition, account, issuer, (&namespace, &service_account), audience);
    let Some(file) = merge else {
        return finish(&grant.policy(), Exit::Yes);
    };
    let name = if file.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    let merged = input::read(&file).and_then(|document| {
        let document = input::decoded(&document);
        grant
            .merge(&document)
            .map_err(|error| format!("{name}: IAM would not store this policy: {error}"))
    });
    match merged {
        Ok(Merged { json, change, obstacle }) => {
            output::note(&told(change));
            let exit = match obstacle {
                None => Exit::Yes,
                Some(judgement) => {
                    let reason = judgement.explanation.map(|why| why.reason).unwrap_or_default();
                    let words = match judgement.verdict {
                        Verdict::NotTrusted => "the policy still does not trust it",
                        _ => "the policy may still not trust it",
                    };
                    output::note(&format!("{} {words}: {reason}", Styled(DOUBT, "warning:")));
                    Exit::No
                }
            };
            finish(&json, exit)
        }
        Err(message) => {
            output::error(message);
            Exit::Unclear
        }
    }
}

fn told(change: Change) -> String {
    match change {
        Change::Nothing => "unchanged: the policy has this trust already".to_owned(),
        Change::AddedSubject(index) => format!("added the subject to statement {}", index.saturating_add(1)),
        Change::AddedStatement(index) => format!("added statement {}", index.saturating_add(1)),
    }
}

fn finish(json: &str, exit: Exit) -> Exit {
    if let Err(error) = output::print(&format!("{json}\n")) {
        output::error(format!("standard output: {error}"));
        return Exit::Unclear;
    }
    let used = size(json);
    let (style, remark, fits) = match used {
        _ if used > LARGEST_QUOTA => (BAD, format!(", more than IAM ever takes ({LARGEST_QUOTA})"), Exit::No),
        _ if used > DEFAULT_QUOTA => (
            DOUBT,
            format!(": needs a raised quota for trust policies ({LARGEST_QUOTA} at most)"),
            Exit::Yes,
        ),
        _ => (
            GOOD,
            format!(" ({LARGEST_QUOTA} at most with a raised quota)"),
            Exit::Yes,
        ),
    };
    let used = Styled(style, used);
    output::note(&format!(
        "{STRONG}size:{STRONG:#} {used} of IAM's {DEFAULT_QUOTA} characters{remark}"
    ));
    exit.max(fits)
}
