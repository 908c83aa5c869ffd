//! `rolegate trust-policy`: the trust policy that lets a ServiceAccount in and keeps everybody who is in.
//!
//! With a role, or a document, what is printed is that document plus the least addition; a comparison goes to standard
//! error. `--apply` writes it, after asking, if the role has not changed in the meantime.

#[cfg(feature = "aws")]
mod apply;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use similar::TextDiff;

#[cfg(feature = "aws")]
use self::apply::apply as applied;
use super::aws_args::AwsArgs;
use super::output::{self, BAD, DOUBT, GOOD, STRONG, Styled};
use super::serve::RoleSourceSpec;
use super::sources::{self, AwsAccess};
use super::{Exit, input, values};
use crate::decision::Judged;
use crate::support::text;
use crate::trust::{
    AccountId, Audience, DEFAULT_QUOTA, Edit, Grant, Issuer, LARGEST_QUOTA, Merged, Partition, RoleArn, Subject,
    Verdict, WebIdentity, size, to_terraform, unwrapped,
};

/// What `--help` says below the flags.
const AFTER_HELP: &str = "\
The policy goes to standard output; the comparison, notes and warnings go to standard error.

Exit codes:
  0  the policy trusts the ServiceAccount; with --apply, the role has it
  1  the policy was printed, but a Deny in it still refuses the ServiceAccount (or might), or IAM would refuse it
  2  the role or document cannot be read or is malformed, or usage error

Examples:
  One more ServiceAccount for a role that exists: look, then write
    rolegate trust-policy --role-arn arn:aws:iam::111122223333:role/job \\
      --issuer oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE \\
      -n jobs --service-account default
    rolegate trust-policy --role-arn arn:aws:iam::111122223333:role/job \\
      --issuer oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE \\
      -n jobs --service-account default --apply

  The same for a document, as a data source of Terraform
    aws iam get-role --role-name job |
      rolegate trust-policy --merge - -o terraform --account 111122223333 \\
        --issuer … -n jobs --service-account default

  The policy of a new role
    rolegate trust-policy --account 111122223333 --issuer … \\
      -n jobs --service-account default > policy.json
    aws iam create-role --role-name job \\
      --assume-role-policy-document file://policy.json";

/// The form of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PolicyFormat {
    /// The JSON document that IAM takes
    Json,
    /// A data source aws_iam_policy_document
    Terraform,
}

/// The flags of `rolegate trust-policy`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct TrustPolicyArgs {
    /// The role whose trust policy is read and added to
    #[arg(long, value_name = "ARN", value_parser = RoleArn::parse, required_unless_present = "account", conflicts_with_all = ["account", "partition"], help_heading = "Role")]
    role_arn: Option<RoleArn>,

    /// Without --role-arn: the account of the role, twelve digits
    #[arg(long, value_name = "ACCOUNT", value_parser = values::account, help_heading = "Role")]
    account: Option<AccountId>,

    /// With --account: the partition of the role [default: that of the issuer's Region]
    #[arg(long, value_name = "PARTITION", value_parser = values::partition, help_heading = "Role")]
    partition: Option<Partition>,

    /// The cluster's OIDC issuer, with or without https://
    #[arg(long, value_name = "URL", value_parser = Issuer::parse, help_heading = "Web identity")]
    issuer: Issuer,

    /// Namespace of the ServiceAccount
    #[arg(short, long, value_name = "NAMESPACE", value_parser = values::namespace, help_heading = "Web identity")]
    namespace: String,

    /// Name of the ServiceAccount
    #[arg(long, value_name = "NAME", value_parser = values::service_account, help_heading = "Web identity")]
    service_account: String,

    /// Audience that the token is issued for
    #[arg(long, value_name = "AUDIENCE", default_value = values::DEFAULT_AUDIENCE, value_parser = values::audience, help_heading = "Web identity")]
    audience: Audience,

    /// Add to this document instead: a trust policy or the output of aws iam get-role; - is standard input
    ///
    /// Everything in it is kept. Merging again changes nothing.
    #[arg(
        long,
        value_name = "FILE|-",
        conflicts_with = "role_source",
        help_heading = "Existing policy"
    )]
    merge: Option<PathBuf>,

    /// Where the role is read from, asked in this order: iam, ack, crossplane, files=DIR
    ///
    /// Default: iam, AWS with the credentials that the AWS CLI would use.
    /// May be repeated or separated by commas. A source that does not know the role passes on to the next.
    #[arg(
        long,
        value_name = "SOURCE",
        value_delimiter = ',',
        conflicts_with = "account",
        help_heading = "Existing policy"
    )]
    role_source: Vec<RoleSourceSpec>,

    /// Write the policy to the role (iam:UpdateAssumeRolePolicy), after showing the difference and asking
    ///
    /// The role is read again directly before it is written; if it has changed, nothing is written. IAM has no
    /// compare-and-swap, so a change within these milliseconds would be lost.
    #[arg(long, conflicts_with_all = ["merge", "account", "output"], help_heading = "Write")]
    apply: bool,

    /// With --apply: write without asking
    #[arg(long, requires = "apply", help_heading = "Write")]
    yes: bool,

    #[command(flatten)]
    aws: AwsArgs,

    /// Form of the policy
    #[arg(short, long, value_name = "FORMAT", default_value = "json", help_heading = "Output")]
    output: PolicyFormat,
}

/// Where a present policy was read.
struct Present {
    document: String,
    /// What messages call it.
    name: String,
}

/// Runs the command.
pub(crate) fn run(args: TrustPolicyArgs) -> Exit {
    match trust_policy(args) {
        Ok(exit) => exit,
        Err(message) => {
            output::error(message);
            Exit::Unclear
        }
    }
}

fn trust_policy(args: TrustPolicyArgs) -> Result<Exit, String> {
    let TrustPolicyArgs {
        role_arn,
        account,
        partition,
        issuer,
        namespace,
        service_account,
        audience,
        merge,
        role_source,
        apply,
        yes,
        aws,
        output: format,
    } = args;
    let identity = WebIdentity {
        subject: Subject::service_account(&namespace, &service_account),
        issuer,
        audience,
    };
    warn_of_issuer(&identity.issuer);
    aws.check()?;
    let aws = aws.access(identity.issuer.region());
    let grant = match (&role_arn, account) {
        (Some(role), _) => Grant::for_role(role, identity).ok_or("--role-arn has no partition or account")?,
        (None, Some(account)) => Grant {
            partition: partition
                .or_else(|| Partition::parse(identity.issuer.partition()))
                .ok_or("--partition is missing")?,
            account,
            identity,
        },
        (None, None) => return Err("--role-arn or --account is needed".to_owned()),
    };
    warn_of_partition(&grant);
    if apply {
        let role = role_arn.ok_or("--apply needs --role-arn")?;
        return applied(&grant, &role, &role_source, &aws, yes);
    }
    let present = match (merge, &role_arn) {
        (Some(file), _) => Some(of_file(&file)?),
        (None, Some(role)) => Some(of_role(role, &role_source, &aws)?),
        (None, None) => None,
    };
    let Some(present) = present else {
        return finish(&grant.policy(), format, Exit::Yes);
    };
    let merged = merged(&grant, &present.document, &present.name)?;
    let exit = note(&merged, &grant);
    finish(&merged.json, format, exit)
}

/// Without the feature nobody can be asked.
#[cfg(not(feature = "aws"))]
fn applied(_: &Grant, _: &RoleArn, _: &[RoleSourceSpec], _: &AwsAccess, _: bool) -> Result<Exit, String> {
    Err(sources::WITHOUT_AWS.to_owned())
}

fn of_file(file: &std::path::Path) -> Result<Present, String> {
    let name = input::name(file);
    let text = input::read(file)?;
    let (document, _) = unwrapped(&text);
    Ok(Present {
        document: decoded(document.trim()),
        name,
    })
}

fn of_role(role: &RoleArn, specs: &[RoleSourceSpec], aws: &AwsAccess) -> Result<Present, String> {
    let specs = if specs.is_empty() {
        &[RoleSourceSpec::Iam]
    } else {
        specs
    };
    let (source, document) = sources::document(specs, aws, role)?;
    Ok(Present {
        document: decoded(&document.policy),
        name: format!("{role} (role source {source})"),
    })
}

/// What IAM's API hands out is percent-encoded. Only percent escapes are decoded; `+` stays `+`.
fn decoded(document: &str) -> String {
    if document.trim_start().starts_with('%') {
        percent_encoding::percent_decode_str(document)
            .decode_utf8_lossy()
            .into_owned()
    } else {
        document.to_owned()
    }
}

/// The present document with the trust added.
///
/// # Errors
/// That it is not a trust policy.
fn merged(grant: &Grant, document: &str, name: &str) -> Result<Merged, String> {
    grant
        .merge(document)
        .map_err(|error| format!("{name}: IAM would refuse this policy: {error}"))
}

/// Shows the difference and everything that the edit does not do.
fn note(merged: &Merged, grant: &Grant) -> Exit {
    let done = match &merged.edit {
        None => "no change: the policy has this trust already".to_owned(),
        Some(Edit::AddSubject { statement, .. }) => format!("added the subject to statement {statement}"),
        Some(_) => "added a statement".to_owned(),
    };
    if merged.edit.is_some() {
        output::note(&difference(&merged.before, &merged.json));
    }
    output::note(&done);
    for key in &merged.left_out {
        warn(&format!(
            "the new statement has no condition on {}, which another statement for this provider has",
            text::quote(key)
        ));
    }
    for error in &merged.unstorable {
        warn(&format!("IAM would refuse this policy: {error}"));
    }
    let mut exit = if merged.unstorable.is_empty() {
        Exit::Yes
    } else {
        Exit::No
    };
    if let Some(judgment) = &merged.obstacle {
        let verdict = judgment.verdict;
        if let Ok(role) = RoleArn::compose(&grant.partition, &grant.account, "any") {
            let reason = Judged::of(role, judgment.clone()).reason(&grant.identity);
            warn(&match verdict {
                Verdict::NotTrusted => format!("the policy still does not trust it: {reason}"),
                _ => format!("the policy might still not trust it: {reason}"),
            });
        }
        exit = Exit::No;
    }
    exit
}

/// A comparison line by line, colored for terminals.
fn difference(before: &str, after: &str) -> String {
    let difference = TextDiff::from_lines(before, after);
    let unified = difference
        .unified_diff()
        .context_radius(3)
        .missing_newline_hint(false)
        .header("present", "new")
        .to_string();
    let lines: Vec<String> = unified
        .lines()
        .map(|line| match line.chars().next() {
            Some('+') => Styled(GOOD, text::escape(line)).to_string(),
            Some('-') => Styled(BAD, text::escape(line)).to_string(),
            _ => text::escape(line).into_owned(),
        })
        .collect();
    lines.join("\n")
}

fn warn(message: &str) {
    output::note(&format!("{} {}", Styled(DOUBT, "warning:"), text::escape(message)));
}

fn warn_of_issuer(issuer: &Issuer) {
    if let Some(why) = issuer.unreachable() {
        warn(&format!("the issuer {issuer}: {why}"));
    }
}

/// A provider in another partition than the issuer's Region cannot exist.
fn warn_of_partition(grant: &Grant) {
    let issuer = &grant.identity.issuer;
    if issuer.region().is_some() && issuer.partition() != grant.partition.as_str() {
        warn(&format!(
            "the issuer's Region is in partition {}, the role in {}",
            issuer.partition(),
            grant.partition
        ));
    }
}

fn finish(json: &str, format: PolicyFormat, exit: Exit) -> Result<Exit, String> {
    let printed = match format {
        PolicyFormat::Json => json.to_owned(),
        PolicyFormat::Terraform => to_terraform(json).map_err(|error| error.to_string())?,
    };
    output::print(&format!("{}\n", text::json::escape(&printed)))
        .map_err(|error| format!("standard output: {error}"))?;
    Ok(exit.max(note_size(json)))
}

/// The size, against what IAM takes.
fn note_size(json: &str) -> Exit {
    let used = size(json);
    let (style, remark, fits) = match used {
        _ if used > LARGEST_QUOTA => (BAD, format!(", more than IAM accepts ({LARGEST_QUOTA})"), Exit::No),
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
    fits
}
