//! `rolegate check`: judges one web identity, or a stream of them.

mod batch;
pub(crate) mod report;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use self::report::{LintReport, Report};
use super::aws_args::AwsArgs;
use super::output::{self, Format, OutputArgs};
use super::serve::RoleSourceSpec;
use super::sources::{self, Found};
use super::{Exit, input, values};
use crate::decision::{Judged, Why};
use crate::roles::{KnownProvider, Trust};
use crate::trust::{
    Audience, Context, Issuer, Policy, RoleArn, Subject, WebIdentity, judge, judge_provider, lint, lint_issuer,
    unwrapped,
};

/// What `--help` says below the flags.
const AFTER_HELP: &str = r#"Exit codes:
  0  trusted
  1  not trusted
  2  could not tell (undecided, unknown, a malformed policy), or bad use

With --batch the exit code is that of the worst line; from best to worst: trusted, undecided, malformed, not-trusted.

A line of --batch:
  {"policy": {…}, "roleArn": "arn:aws:iam::111122223333:role/NAME", "issuer": "https://…", "subject": "system:serviceaccount:NAMESPACE:NAME", "audience": "sts.amazonaws.com"}
and its answer, in the same order, one line each:
  {"verdict": "trusted|not-trusted|undecided|malformed", "cause": …, "reason": …}
`cause` is null unless the verdict is not-trusted. `policy` is an object, or a text that holds one as GetRole hands it out,
percent-encoded. A line that cannot be read is malformed too, and the next one is read.

Examples:
  May the ServiceAccount `default` of namespace `jobs` assume this role?
    aws iam get-role --role-name job \
      --query Role.AssumeRolePolicyDocument > policy.json
    rolegate check --policy policy.json \
      --role-arn arn:aws:iam::111122223333:role/job \
      --issuer oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE \
      --namespace jobs --service-account default

  The same, the role looked up in a directory that `aws iam list-roles` or `terraform show -json` wrote to
    rolegate check --role-source files=./roles --role-arn …

  In the CI of a Terraform repository
    make-lines | rolegate check --batch -"#;

/// The flags of `rolegate check`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct CheckArgs {
    /// The role to assume, arn:PARTITION:iam::ACCOUNT:role/NAME
    #[arg(long, value_name = "ARN", value_parser = RoleArn::parse, required_unless_present = "batch", help_heading = "Who asks for what")]
    role_arn: Option<RoleArn>,

    /// The cluster's OIDC issuer, with or without https://
    #[arg(long, value_name = "URL", value_parser = Issuer::parse, required_unless_present = "batch", help_heading = "Who asks for what")]
    issuer: Option<Issuer>,

    /// Namespace of the ServiceAccount
    #[arg(short, long, value_name = "NAMESPACE", value_parser = values::namespace, required_unless_present = "batch", help_heading = "Who asks for what")]
    namespace: Option<String>,

    /// Name of the ServiceAccount
    #[arg(long, value_name = "NAME", value_parser = values::service_account, required_unless_present = "batch", help_heading = "Who asks for what")]
    service_account: Option<String>,

    /// What the token is issued for
    #[arg(long, value_name = "AUDIENCE", default_value = values::DEFAULT_AUDIENCE, value_parser = values::audience, help_heading = "Who asks for what")]
    audience: Audience,

    /// The role's trust policy: JSON, plain or percent-encoded, or the output of aws iam get-role; - is standard input
    ///
    /// Without it the role is looked up in the sources.
    #[arg(long, value_name = "FILE|-", help_heading = "Where the policy comes from")]
    policy: Option<PathBuf>,

    /// Where to look the role up, asked in this order: iam, ack, crossplane, files=DIR
    ///
    /// Default: iam, AWS with the credentials that the AWS CLI would use.
    /// May be repeated or separated by commas. A source that does not know the role passes on to the next.
    #[arg(
        long,
        value_name = "SOURCE",
        value_delimiter = ',',
        help_heading = "Where the policy comes from"
    )]
    role_source: Vec<RoleSourceSpec>,

    #[command(flatten)]
    aws: AwsArgs,

    /// Judge JSON lines, one answer a line; - is standard input
    #[arg(long, value_name = "FILE|-", help_heading = "Many at once")]
    batch: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,
}

/// What `--batch` says a line at a time: identifier and flag.
const SAID_BY_LINES: [(&str, &str); 7] = [
    ("role_arn", "--role-arn"),
    ("issuer", "--issuer"),
    ("namespace", "--namespace"),
    ("service_account", "--service-account"),
    ("audience", "--audience"),
    ("policy", "--policy"),
    ("role_source", "--role-source"),
];

impl CheckArgs {
    /// Settles what excludes each other: what was typed wins over a variable that was set for other commands, too; two
    /// that were typed contradict each other.
    ///
    /// # Errors
    /// What contradicts what.
    pub(crate) fn settle(&mut self, matches: &ArgMatches) -> Result<(), (ErrorKind, String)> {
        let typed = |identifier: &str| matches.value_source(identifier) == Some(ValueSource::CommandLine);
        let beside = SAID_BY_LINES.iter().find(|(identifier, _)| typed(identifier));
        match beside {
            Some((_, flag)) if typed("batch") => {
                let message = format!("--batch cannot be used with {flag}: each line says who asks for what");
                return Err((ErrorKind::ArgumentConflict, message));
            }
            Some(_) => self.batch = None,
            None => {}
        }
        if typed("role_source") {
            if typed("policy") {
                let message = "--policy cannot be used with --role-source: the policy has one origin".to_owned();
                return Err((ErrorKind::ArgumentConflict, message));
            }
            self.policy = None;
        }
        self.aws
            .check()
            .map_err(|message| (ErrorKind::ValueValidation, message))?;
        Ok(())
    }
}

/// Runs the command.
pub(crate) fn run(args: CheckArgs) -> Exit {
    let CheckArgs {
        role_arn,
        issuer,
        namespace,
        service_account,
        audience,
        policy,
        role_source,
        aws,
        batch,
        output,
    } = args;
    if let Some(file) = batch {
        return batch::run(&file);
    }
    // clap asks for all four unless --batch is there.
    let (Some(role), Some(issuer), Some(namespace), Some(service_account)) =
        (role_arn, issuer, namespace, service_account)
    else {
        output::error("--role-arn, --issuer, --namespace and --service-account are needed, or --batch");
        return Exit::Unclear;
    };
    let subject = Subject::service_account(&namespace, &service_account);
    let identity = WebIdentity {
        issuer,
        subject,
        audience,
    };
    let of_issuer = lint_issuer(&identity.issuer);
    let report = match policy {
        Some(file) => from_file(&file, role, identity),
        None => from_sources(&role_source, aws, role, identity),
    };
    match report {
        Ok(report) => print(&report.with_lint(of_issuer), output.output),
        Err(message) => {
            output::error(message);
            Exit::Unclear
        }
    }
}

fn from_file(file: &Path, role: RoleArn, identity: WebIdentity) -> Result<Report, String> {
    let text = input::read(file)?;
    let (document, origin) = unwrapped(&text);
    let name = Some(input::name(file));
    Ok(match Policy::parse_encoded(&document) {
        Ok(policy) => {
            let policy = policy.of_origin(origin);
            judged(&policy, None, &KnownProvider::Unknown, role, identity, name)
        }
        Err(error) => Report::malformed(role, identity, &error.to_string(), name),
    })
}

fn from_sources(
    specs: &[RoleSourceSpec],
    aws: AwsArgs,
    role: RoleArn,
    identity: WebIdentity,
) -> Result<Report, String> {
    let specs = if specs.is_empty() {
        &[RoleSourceSpec::Iam]
    } else {
        specs
    };
    let aws = aws.access(identity.issuer.region());
    let found = sources::read(specs, &aws, &role, &identity.issuer)?;
    let origin = found.entry.source.map_or_else(
        || "any role source".to_owned(),
        |source| format!("role source {source}"),
    );
    Ok(from_found(&found, role, identity, Some(origin)))
}

/// The report of a role that was read through the sources.
pub(crate) fn from_found(found: &Found, role: RoleArn, identity: WebIdentity, origin: Option<String>) -> Report {
    match &found.entry.trust {
        Trust::Policy { policy, tags } => judged(policy, tags.as_deref(), &found.provider, role, identity, origin),
        Trust::NoSuchRole { hint } => Report::of_judged(
            Judged::no_such_role(role, hint.as_deref()),
            identity,
            Vec::new(),
            origin,
        ),
        Trust::Malformed(reason) => Report::malformed(role, identity, reason, origin),
        Trust::Unknown(reason) => {
            let judged = Judged::unknown(role, Why::Unreadable(reason.to_string()));
            Report::of_judged(judged, identity, Vec::new(), origin)
        }
    }
}

fn judged(
    policy: &Policy,
    role_tags: Option<&[(String, String)]>,
    provider: &KnownProvider,
    role: RoleArn,
    identity: WebIdentity,
    origin: Option<String>,
) -> Report {
    if let Some(objection) = policy.objection() {
        return Report::malformed(role, identity, &objection.to_string(), origin);
    }
    let context = Context {
        now: now(),
        role_tags,
        ..Context::default()
    };
    let lints = lint(policy, &role, &identity)
        .into_iter()
        .map(LintReport::from)
        .collect();
    let of_provider = provider.as_provider();
    let of_provider = of_provider.and_then(|provider| judge_provider(provider, &identity));
    let judgment = of_provider.unwrap_or_else(|| judge(policy, &role, &identity, &context));
    Report::of_judged(Judged::of(role, judgment), identity, lints, origin)
}

/// Seconds since the epoch; none when the clock stands before it.
fn now() -> Option<i64> {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(elapsed.as_secs()).ok()
}

fn print(report: &Report, format: Format) -> Exit {
    match output::report(format, report, Report::text) {
        Ok(()) => report.exit(),
        Err(error) => {
            output::error(format!("standard output: {error}"));
            Exit::Unclear
        }
    }
}
