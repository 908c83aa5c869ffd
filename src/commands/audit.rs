//! `rolegate audit`: every annotated ServiceAccount against its role, before a pod finds out.

mod accounts;
mod report;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use self::accounts::{Account, RoleAnnotation};
use self::report::{Audit, Row};
use super::aws_args::AwsArgs;
use super::check::{self, report::Report};
use super::output::{self, DOUBT, OutputArgs, Styled};
use super::serve::{AnnotationPrefix, RoleSourceSpec, annotation_prefix};
use super::sources::{self, Found};
use super::{Exit, values};
use crate::decision::{Judged, Why};
use crate::pod::identity::AnnotationRules;
use crate::roles::Trust;
use crate::trust::{AccountId, Audience, Issuer, Partition, RoleArn, Subject, WebIdentity, lint_issuer};

/// What `--help` says below the flags.
const AFTER_HELP: &str = "\
Exit codes:
  0  every ServiceAccount that asks for a role is trusted by it
  1  findings: a role does not trust its ServiceAccount or does not exist, or an annotation names no role
  2  could not tell (undecided, unknown, a malformed policy), or bad use

Examples:
  The cluster that kubectl talks to, roles from AWS
    rolegate audit

  Two of its namespaces, for a program
    rolegate audit --namespace jobs --namespace reports --output json

  Without a cluster: ServiceAccounts from ./manifests/*.yaml, policies from ./manifests/roles/
    rolegate audit --standalone ./manifests \\
      --issuer https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE";

/// The flags of `rolegate audit`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct AuditArgs {
    /// Only the ServiceAccounts of this namespace
    ///
    /// May be repeated or separated by commas. Default: every namespace.
    #[arg(short, long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = values::namespace, help_heading = "Which ServiceAccounts")]
    namespace: Vec<String>,

    /// ServiceAccounts from DIR/*.yaml instead of a cluster
    ///
    /// Trust policies from DIR/roles/ unless --role-source says otherwise. Needs --issuer.
    #[arg(
        long,
        value_name = "DIR",
        requires = "issuer",
        help_heading = "Which ServiceAccounts"
    )]
    standalone: Option<PathBuf>,

    /// Prefix of the annotations, with or without its slash
    #[arg(long, value_name = "PREFIX", default_value = "eks.amazonaws.com", value_parser = annotation_prefix, help_heading = "Which ServiceAccounts")]
    annotation_prefix: AnnotationPrefix,

    /// Take a bare `path/name` in the role annotation for a role of this account, as `serve` does with --compose-role-arn
    #[arg(long, value_name = "ACCOUNT", value_parser = values::account, help_heading = "Which ServiceAccounts")]
    aws_account_id: Option<AccountId>,

    /// Partition of such roles: aws, aws-cn, aws-us-gov … (default: aws)
    #[arg(long, value_name = "PARTITION", value_parser = values::partition, requires = "aws_account_id", help_heading = "Which ServiceAccounts")]
    aws_partition: Option<Partition>,

    /// The cluster's OIDC issuer, with or without https://
    ///
    /// Default in a cluster: what the API server's /.well-known/openid-configuration says.
    #[arg(long, value_name = "URL", value_parser = Issuer::parse, help_heading = "Judging")]
    issuer: Option<Issuer>,

    /// Audience of tokens that no annotation sets
    #[arg(long, value_name = "AUDIENCE", default_value = values::DEFAULT_AUDIENCE, value_parser = values::audience, help_heading = "Judging")]
    token_audience: Audience,

    /// Where trust policies come from, asked in this order: iam, ack, crossplane, files=DIR
    ///
    /// May be repeated or separated by commas. A source that does not know a role passes on to the next. Default under
    /// --standalone DIR: files=DIR/roles, else iam: AWS with the credentials that the AWS CLI would use.
    #[arg(long, value_name = "SOURCE", value_delimiter = ',', help_heading = "Judging")]
    role_source: Vec<RoleSourceSpec>,

    #[command(flatten)]
    aws: AwsArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub(crate) fn run(args: AuditArgs) -> Exit {
    let format = args.output.output;
    let told = audit(args).and_then(|audit| {
        output::report(format, &audit, Audit::text)
            .map(|()| audit.exit())
            .map_err(|error| format!("standard output: {error}"))
    });
    told.unwrap_or_else(|message| {
        output::error(message);
        Exit::Unclear
    })
}

fn audit(args: AuditArgs) -> Result<Audit, String> {
    let AuditArgs {
        namespace,
        standalone,
        annotation_prefix,
        aws_account_id,
        aws_partition,
        issuer,
        token_audience,
        role_source,
        aws,
        output: _,
    } = args;
    aws.check()?;
    let rules = Arc::new(AnnotationRules {
        prefix: annotation_prefix.as_str().to_owned(),
        compose: aws_account_id.and_then(|account| Some((aws_partition.or_else(|| Partition::parse("aws"))?, account))),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let (issuer, accounts, specs) = match (standalone, issuer) {
        (Some(directory), Some(issuer)) => {
            let accounts = accounts::of_manifests(&directory, &namespace, rules)?;
            let specs = if role_source.is_empty() {
                vec![RoleSourceSpec::Files(directory.join("roles"))]
            } else {
                role_source
            };
            (issuer, accounts, specs)
        }
        // clap asks for the issuer beside the directory.
        (Some(_), None) => return Err("--standalone needs --issuer: there is no API server to ask".to_owned()),
        (None, issuer) => {
            let (issuer, accounts) = runtime.block_on(accounts::of_cluster(&namespace, rules, issuer))?;
            let specs = if role_source.is_empty() {
                vec![RoleSourceSpec::Iam]
            } else {
                role_source
            };
            (issuer, accounts, specs)
        }
    };
    let aws = aws.access(issuer.region());
    if let Some(lint) = lint_issuer(&issuer) {
        output::note(&format!("{} {}", Styled(DOUBT, "warning:"), lint.message));
    }
    let roles: BTreeSet<RoleArn> = accounts.iter().filter_map(|account| account.role().cloned()).collect();
    let roles: Vec<RoleArn> = roles.into_iter().collect();
    let entries = runtime.block_on(sources::read_all(&specs, &aws, &roles, &issuer))?;
    if let Some(reason) = common_failure(&entries) {
        return Err(reason.to_string());
    }
    let rows = accounts.into_iter().map(|account| {
        let audience = account.audience.clone().unwrap_or_else(|| token_audience.clone());
        let identity = WebIdentity {
            issuer: issuer.clone(),
            subject: Subject::service_account(&account.namespace, &account.name),
            audience,
        };
        let found = account.role().and_then(|role| entries.get(role));
        row(account, identity, found, annotation_prefix.as_str())
    });
    Ok(Audit::of(rows.collect()))
}

/// Why no role at all could be read, if that is one reason for all of them: missing credentials, most often. It is printed once
/// then, not once for each ServiceAccount.
fn common_failure(entries: &HashMap<RoleArn, Found>) -> Option<&Arc<str>> {
    let mut reasons = entries.values().map(|found| match &found.entry.trust {
        Trust::Unknown(reason) => Some(reason),
        _ => None,
    });
    let first = reasons.next()??;
    reasons.all(|reason| reason == Some(first)).then_some(first)
}

fn row(account: Account, identity: WebIdentity, found: Option<&Found>, prefix: &str) -> Row {
    let Account {
        namespace,
        name,
        annotation,
        ..
    } = account;
    let report = match annotation {
        RoleAnnotation::Role(role) => match found {
            None => {
                let why = Why::Unreadable("it was not read".to_owned());
                Report::of_judged(Judged::unknown(role, why), identity, Vec::new(), None)
            }
            Some(found) => {
                let origin = found.entry.source.map(|source| format!("role source {source}"));
                check::from_found(found, role, identity, origin)
            }
        },
        RoleAnnotation::Malformed(malformed) => Report::malformed_annotation(&malformed, identity, prefix),
        RoleAnnotation::LookAlike { key } => Report::look_alike(identity, &key, prefix),
    };
    Row::new(namespace, name, report)
}
