//! `check --association`: both roles of an association, of which the worse verdict counts.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::association::{self, TRUSTED};
use crate::admission::judgment::now;
use crate::args::check::AssociationCheck;
use crate::args::role_source::RoleSourceSpec;
use crate::commands::cluster::Cluster;
use crate::commands::exit::Exit;
use crate::commands::judgment::report::{LintReport, MALFORMED, not_stored};
use crate::commands::output::{BAD, COMMAND, DOUBT, GOOD, STRONG, Styled, fields};
use crate::commands::wrap::wrap;
use crate::commands::{input, output, runtime, sources};
use crate::decision::messages::{Message, about_association};
use crate::decision::{Judged, Why};
use crate::support::text;
use crate::trust::{
    Association, Cause, Context, Hop, PodName, Policy, RoleArn, Verdict, judge_association, lint_association, unwrapped,
};

/// The report about an association. Its JSON is documented in `docs/reference/check.md`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AssociationReport {
    verdict: &'static str,
    cause: Option<&'static str>,
    namespace: String,
    service_account: String,
    cluster_arn: Option<String>,
    hops: Vec<HopReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HopReport {
    hop: &'static str,
    verdict: &'static str,
    cause: Option<&'static str>,
    /// Line 1 of the message.
    summary: String,
    reason: String,
    undecided_keys: Vec<String>,
    lints: Vec<LintReport>,
    role_arn: String,
    policy_from: String,
    fix: Option<String>,
    #[serde(skip)]
    message: Message,
    #[serde(skip)]
    exit: Exit,
}

/// Runs the command.
pub(super) fn run(check: AssociationCheck) -> Result<Exit> {
    let AssociationCheck {
        association: file,
        policy,
        target_policy,
        source,
        cluster,
        format,
    } = check;
    let runtime = runtime::on_this_thread()?;
    let cluster = Cluster::new(cluster);
    let name = input::name(&file);
    let association =
        association::parse(&input::read("--association", &file)?).map_err(|error| anyhow!("{name}: {error}"))?;
    let (specs, aws) = source.sources(RoleSourceSpec::Iam);
    let aws = aws.access(
        association.cluster.as_ref().map(|cluster| cluster.region()),
        sources::reader(),
    );
    let mut hops = Vec::new();
    for (hop, role) in association.hops() {
        let (flag, given) = match hop {
            Hop::Primary => ("--policy", policy.as_deref()),
            Hop::Target => ("--target-policy", target_policy.as_deref()),
        };
        let document = match given {
            Some(file) => of_file(flag, file)?,
            None => {
                let (source, document) = runtime.block_on(sources::document(&specs, &aws, &cluster, role))?;
                let policy = Policy::parse_encoded(&document.policy).map_err(|error| not_stored(&error));
                (policy, format!("role source {source}"))
            }
        };
        hops.push(HopReport::new(&association, hop, role, document));
    }
    let worst = hops.iter().max_by_key(|hop| hop.exit);
    let report = AssociationReport {
        verdict: worst.map_or(Verdict::Unknown.as_str(), |hop| hop.verdict),
        cause: worst.and_then(|hop| hop.cause),
        namespace: association.namespace.to_string(),
        service_account: association.service_account.to_string(),
        cluster_arn: association.cluster.as_ref().map(ToString::to_string),
        hops,
    };
    output::report(format, &report, AssociationReport::text)?;
    Ok(report.hops.iter().map(|hop| hop.exit).max().unwrap_or(Exit::Unclear))
}

/// The policy of a file, or why IAM would refuse it, and where it is from.
fn of_file(flag: &str, file: &Path) -> Result<(Result<Policy, String>, String)> {
    let text = input::read(flag, file)?;
    let (document, origin) = unwrapped(&text);
    let policy = Policy::parse_encoded(&document).map(|policy| policy.of_origin(origin));
    let policy = policy.and_then(|policy| match policy.objection().cloned() {
        Some(objection) => Err(objection),
        None => Ok(policy),
    });
    Ok((policy.map_err(|error| not_stored(&error)), input::name(file)))
}

impl HopReport {
    fn new(
        association: &Association,
        hop: Hop,
        role: &RoleArn,
        (policy, policy_from): (Result<Policy, String>, String),
    ) -> Self {
        let context = Context {
            now: now(),
            ..Context::default()
        };
        let (judged, lints) = match &policy {
            Ok(policy) => {
                let judgment = judge_association(hop, policy, association, PodName::Unknown, &context);
                let lints = lint_association(policy, association, hop);
                (Judged::of(role.clone(), judgment), lints)
            }
            Err(reason) => (
                Judged::unknown(role.clone(), Why::Malformed(reason.clone())),
                Vec::new(),
            ),
        };
        let message = about_association(&judged, association, hop);
        let fix = message.rows().find(|(label, _)| *label == "fix");
        Self {
            hop: hop.as_str(),
            verdict: if policy.is_err() {
                MALFORMED
            } else {
                judged.verdict.as_str()
            },
            cause: judged.cause.map(Cause::as_str),
            summary: message.first().to_owned(),
            reason: match judged.verdict {
                Verdict::Trusted => TRUSTED.to_owned(),
                _ => judged.reason_of_association(association, hop),
            },
            undecided_keys: match &judged.why {
                Why::Explained(explanation) => explanation.undecided_keys.clone(),
                _ => Vec::new(),
            },
            lints: lints.into_iter().map(LintReport::from).collect(),
            role_arn: role.to_string(),
            policy_from,
            fix: fix.map(|(_, fix)| fix.to_owned()),
            exit: match judged.verdict {
                Verdict::Trusted => Exit::Yes,
                Verdict::NotTrusted => Exit::No,
                Verdict::Undecided | Verdict::Unknown => Exit::Unclear,
            },
            message,
        }
    }
}

impl AssociationReport {
    /// For people: each hop with its verdict and its message.
    fn text(&self) -> String {
        let columns = output::width();
        let mut shown = String::new();
        for hop in &self.hops {
            let (style, sign, word) = match hop.verdict {
                "trusted" => (GOOD, "✓", "trusted"),
                "not-trusted" => (BAD, "✗", "not trusted"),
                other => (DOUBT, "?", other),
            };
            let _ = write!(shown, "{style}{sign} {word}{style:#}");
            // Writing to a String cannot fail.
            let _ = match hop.cause {
                Some(cause) => writeln!(shown, "  {STRONG}{cause}{STRONG:#}"),
                None => writeln!(shown),
            };
            wrap(&mut shown, &hop.summary, columns.unwrap_or(usize::MAX), "", "");
            shown.push('\n');
            let mut rows: Vec<(&str, String)> = hop
                .message
                .rows()
                .map(|(label, value)| match label {
                    "fix" => (label, Styled(COMMAND, output::as_typed(value)).to_string()),
                    "docs" => (label, output::as_typed(value).into_owned()),
                    _ => (label, value.to_owned()),
                })
                .collect();
            if rows.iter().all(|(label, _)| *label != "role") {
                rows.insert(
                    0,
                    ("role", format!("{} ({} role)", text::value(&hop.role_arn), hop.hop)),
                );
            }
            rows.push(("policy", text::value(&hop.policy_from)));
            shown.push_str(&fields(&rows, columns));
            for lint in &hop.lints {
                let note = format!("{} {lint}", Styled(DOUBT, "note:"));
                wrap(&mut shown, &note, columns.unwrap_or(usize::MAX), "  ", "        ");
            }
            shown.push('\n');
        }
        shown.truncate(shown.trim_end().len());
        shown.push('\n');
        shown
    }
}
