//! `rolegate audit`: every annotated ServiceAccount against its role, before a pod fails.

mod accounts;
mod report;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use jiff::Timestamp;

use self::accounts::{AnnotatedServiceAccount, RoleAnnotation};
use self::report::{Audit, Row};
use super::exit::Exit;
use super::judgment::report::Report;
use super::sources::Found;
use super::{judgment, output, runtime, sources};
use crate::args::audit::{AuditArgs, ServiceAccountSettings, TokenArgs};
use crate::args::output::FindingsOutputArgs;
use crate::args::role_source::RoleSourceSpec;
use crate::decision::{Judged, Why};
use crate::roles::Trust;
use crate::trust::{RoleArn, Subject, WebIdentity, lint_issuer};

/// Runs the command.
pub(super) fn run(args: AuditArgs) -> Result<Exit> {
    let AuditArgs {
        accounts,
        tokens: TokenArgs { issuer, token_audience },
        source,
        output: FindingsOutputArgs {
            output: format,
            docs_url,
        },
    } = args;
    let ServiceAccountSettings {
        namespaces,
        standalone,
        annotation_prefix,
        compose,
    } = accounts.settings();
    let rules = Arc::new(annotation_prefix.rules(compose));
    let (specs, aws) = source.sources(RoleSourceSpec::default_for(standalone.as_deref()));
    let runtime = runtime::on_this_thread()?;
    let (issuer, accounts) = match standalone {
        Some(directory) => accounts::of_manifests(&directory, &namespaces, rules, issuer)?,
        None => runtime.block_on(accounts::of_cluster(&namespaces, rules, issuer))?,
    };
    if let Some(lint) = lint_issuer(&issuer) {
        output::warn(&lint.message);
    }
    let aws = aws.access(issuer.region(), sources::reader());
    let roles: BTreeSet<RoleArn> = accounts.iter().filter_map(|account| account.role().cloned()).collect();
    let roles: Vec<RoleArn> = roles.into_iter().collect();
    let entries = runtime.block_on(sources::read_all(&specs, &aws, &roles, &issuer))?;
    if let Some(reason) = common_failure(&entries) {
        return Err(anyhow!("{reason}"));
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
    let audit = Audit::of(rows.collect());
    output::findings(format, &audit, Audit::text, |audit| {
        audit.findings(Timestamp::now(), docs_url)
    })?;
    Ok(audit.exit())
}

/// Why no role at all could be read, if all have the same reason, which is often missing credentials. It is then printed once, not
/// once per ServiceAccount.
fn common_failure(entries: &HashMap<RoleArn, Found>) -> Option<&Arc<str>> {
    let mut reasons = entries.values().map(|found| match &found.entry.trust {
        Trust::Unknown(reason) => Some(reason),
        _ => None,
    });
    let first = reasons.next()??;
    reasons.all(|reason| reason == Some(first)).then_some(first)
}

fn row(account: AnnotatedServiceAccount, identity: WebIdentity, found: Option<&Found>, prefix: &str) -> Row {
    let AnnotatedServiceAccount {
        namespace,
        name,
        annotation,
        location,
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
                judgment::of_role(role, &found.entry.trust, &found.provider, identity, origin)
            }
        },
        RoleAnnotation::Malformed(malformed) => Report::malformed_annotation(&malformed, identity, prefix),
        RoleAnnotation::LookAlike { key } => Report::look_alike(identity, &key, prefix),
    };
    Row::new(namespace, name, report, location)
}
