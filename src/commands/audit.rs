//! `rolegate audit`: every annotated ServiceAccount and every EKS Pod Identity association against its roles, before a pod fails.

mod accounts;
mod associations;
mod report;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use jiff::Timestamp;

use self::accounts::{AnnotatedServiceAccount, RoleAnnotation, ServiceAccounts};
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
use crate::trust::{Lint, RoleArn, Subject, WebIdentity, lint_issuer};

/// Runs the command.
pub(super) fn run(args: AuditArgs) -> Result<Exit> {
    let AuditArgs {
        accounts,
        tokens: TokenArgs { issuer, token_audience },
        source,
        associations,
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
    let ServiceAccounts {
        issuer,
        annotated,
        names,
    } = match standalone {
        Some(directory) => accounts::of_manifests(&directory, &namespaces, rules, issuer)?,
        None => runtime.block_on(accounts::of_cluster(&namespaces, rules, issuer))?,
    };
    if let Some(lint) = lint_issuer(&issuer) {
        output::warn(&lint.message);
    }
    let aws = aws.access(issuer.region(), sources::reader());
    let mut associations = match associations.settings() {
        Some(settings) => runtime.block_on(associations::read(&settings, &aws))?,
        None => Vec::new(),
    };
    associations.retain(|association| accounts::is_selected(&namespaces, &association.namespace));
    let of_annotations = annotated.iter().filter_map(AnnotatedServiceAccount::role);
    let of_associations = associations.iter().flat_map(|one| one.hops().map(|(_, role)| role));
    let roles: BTreeSet<RoleArn> = of_annotations.chain(of_associations).cloned().collect();
    let roles: Vec<RoleArn> = roles.into_iter().collect();
    let entries = runtime.block_on(sources::read_all(&specs, &aws, &roles, &issuer))?;
    if let Some(reason) = common_failure(&entries) {
        return Err(anyhow!("{reason}"));
    }
    let with_annotation: HashSet<(&str, &str)> = annotated
        .iter()
        .filter(|account| account.role().is_some())
        .map(|account| (&*account.namespace, &*account.name))
        .collect();
    let mut rows = Vec::new();
    for association in &associations {
        let key = (&*association.namespace, &*association.service_account);
        let exists = names.contains(&(key.0.to_owned(), key.1.to_owned()));
        let report = associations::judge(association, &entries)
            .with_lint(with_annotation.contains(&key).then(|| associations::both(association)))
            .with_lint((!exists).then(|| associations::no_account(association)));
        rows.push(Row::of_association(association, report));
    }
    let by_account: HashMap<_, _> = associations
        .iter()
        .map(|one| ((&*one.namespace, &*one.service_account), one))
        .collect();
    rows.extend(annotated.into_iter().map(|account| {
        let audience = account.audience.clone().unwrap_or_else(|| token_audience.clone());
        let identity = WebIdentity {
            issuer: issuer.clone(),
            subject: Subject::service_account(&account.namespace, &account.name),
            audience,
        };
        let found = account.role().and_then(|role| entries.get(role));
        let association = by_account.get(&(&*account.namespace, &*account.name));
        let note = association
            .filter(|_| account.role().is_some())
            .map(|one| associations::both(one));
        row(account, identity, found, annotation_prefix.as_str(), note)
    }));
    let audit = Audit::of(rows);
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

fn row(
    account: AnnotatedServiceAccount,
    identity: WebIdentity,
    found: Option<&Found>,
    prefix: &str,
    note: Option<Lint>,
) -> Row {
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
    Row::new(namespace, name, report.with_lint(note), location)
}
