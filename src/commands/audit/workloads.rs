//! The references of workloads: rows for ServiceAccounts that give pods no role, and for pods that would be refused.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use serde_json::value::RawValue;

use super::accounts::{Key, ServiceAccount, ServiceAccounts};
use super::report::{ObjectName, Row, Shown};
use crate::admission::pods::{Admission, AdmissionSettings, ClusterState, Preview, SkipLabel};
use crate::args::audit::injection_defaults;
use crate::commands::exit::Exit;
use crate::commands::judgment;
use crate::commands::judgment::report::Report;
use crate::commands::sources::{self, Found};
use crate::decision::messages::Subject;
use crate::decision::messages::commands::DEFAULT_AUDIENCE;
use crate::decision::messages::workload::{NoRole, Referrer, about_refused_workload, about_workload};
use crate::decision::{DecisionSettings, Judged, Mode, OnUnknown, RequireRole, Why};
use crate::kubernetes::service_accounts::ServiceAccounts as KnownAccounts;
use crate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use crate::pod::identity::{AnnotationRules, Defaults, EXPIRATION_SECONDS};
use crate::pod::settings::WebIdentitySettings;
use crate::pod::view::PodView;
use crate::reports::Location;
use crate::roles::RoleCache;
use crate::support::text;
use crate::trust::{Audience, Cause, Issuer, RoleArn, Subject as TokenSubject, Verdict, WebIdentity};
use crate::workloads::{Account, Reference, TokenReference};

/// A reference of a workload to a ServiceAccount.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) object: ObjectName,
    pub(super) namespace: String,
    pub(super) account: String,
    origin: Origin,
    template: Option<Box<RawValue>>,
    /// If the controller requests a token itself, without a pod.
    token: Option<Token>,
    pub(super) location: Option<Location>,
}

/// What a controller does with a token of the ServiceAccount.
#[derive(Debug)]
struct Token {
    /// The role, if it is in the object and not in the annotation of the ServiceAccount.
    role: Option<String>,
    audience: Option<Audience>,
    /// Whether the ServiceAccount needs no role.
    optional_role: bool,
}

/// Why a workload refers to its ServiceAccount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Its name is in the object.
    Written,
    /// The object's controller creates it.
    Derived,
    /// No name is in the object.
    Silent,
}

impl Workload {
    /// A reference that the table of workload resources describes.
    pub(super) fn of(
        (kind, namespace, name): (&str, &str, &str),
        reference: &Reference<'_>,
        location: Option<Location>,
    ) -> Self {
        Self {
            object: ObjectName {
                kind: kind.to_owned(),
                name: name.to_owned(),
                path: reference.path.clone(),
            },
            namespace: namespace.to_owned(),
            account: reference.account.name().to_owned(),
            origin: match reference.account {
                Account::Written(_) => Origin::Written,
                Account::Derived(_) => Origin::Derived,
                Account::Default => Origin::Silent,
            },
            template: reference.template().map(ToOwned::to_owned),
            token: None,
            location,
        }
    }

    /// A name in an object that the table does not describe.
    pub(super) fn written(object: ObjectName, namespace: &str, account: &str, location: Option<Location>) -> Self {
        Self {
            object,
            namespace: namespace.to_owned(),
            account: account.to_owned(),
            origin: Origin::Written,
            template: None,
            token: None,
            location,
        }
    }

    /// A token that a controller requests.
    pub(super) fn of_token(
        (kind, namespace, name): (&str, &str, &str),
        reference: &TokenReference<'_>,
        location: Option<Location>,
    ) -> Self {
        let object = ObjectName {
            kind: kind.to_owned(),
            name: name.to_owned(),
            path: reference.path.clone(),
        };
        let namespace = reference.namespace.as_deref().unwrap_or(namespace);
        Self {
            token: Some(Token {
                role: reference.role.as_deref().map(ToOwned::to_owned),
                audience: reference.audience.as_deref().map(Audience::new),
                optional_role: reference.optional_role,
            }),
            ..Self::written(object, namespace, &reference.account, location)
        }
    }

    /// The role that the object names itself.
    pub(super) fn role(&self) -> Option<RoleArn> {
        RoleArn::parse(self.token.as_ref()?.role.as_deref()?).ok()
    }

    pub(super) fn key(&self) -> Key {
        (self.namespace.clone(), self.account.clone())
    }
}

/// What references are compared with.
pub(super) struct Context<'a> {
    pub(super) accounts: &'a ServiceAccounts,
    /// The reports about ServiceAccounts with a role annotation or an association.
    pub(super) reports: &'a HashMap<Key, Report>,
    /// ServiceAccounts with an EKS Pod Identity association.
    pub(super) associated: &'a HashSet<Key>,
    /// Whether `accounts` are all ServiceAccounts of the cluster.
    pub(super) knows_all_accounts: bool,
    /// The roles that were read.
    pub(super) entries: &'a HashMap<RoleArn, Found>,
    pub(super) requires_role: bool,
    pub(super) rules: &'a Arc<AnnotationRules>,
    pub(super) issuer: &'a Issuer,
    pub(super) audience: &'a Audience,
}

/// A row per reference.
///
/// # Errors
/// What cannot be set up.
pub(super) async fn rows(workloads: &[Workload], context: &Context<'_>, cache: &Arc<RoleCache>) -> Result<Vec<Row>> {
    let admission = admission(workloads, context, cache)?;
    let mut rows = Vec::with_capacity(workloads.len());
    for workload in workloads {
        let judged = judge(workload, context, &admission).await;
        let location = workload.location.clone();
        rows.push(Row::of_object(
            workload.object.clone(),
            workload.key(),
            judged,
            location,
        ));
    }
    Ok(rows)
}

async fn judge(workload: &Workload, context: &Context<'_>, admission: &Admission) -> (Report, Shown) {
    let key = workload.key();
    let account = context.accounts.get(&key);
    let of_account = context.reports.get(&key);
    if account.is_none() && context.knows_all_accounts && workload.origin != Origin::Derived {
        return (no_role(workload, context, NoRole::Missing), Shown::Everywhere);
    }
    if let Some(token) = &workload.token {
        return judge_token(workload, token, context);
    }
    // What is wrong with the ServiceAccount is in its own row.
    if let Some(report) = of_account.filter(|report| report.exit() != Exit::Yes) {
        return (report.clone().without_lints(), Shown::InJson);
    }
    if account.is_some() && !context.associated.contains(&key) {
        match preview(workload, admission).await {
            Ok(Some(preview)) => {
                let is_about_account = of_account.is_none() && preview.cause == Some(Cause::NoRole);
                if let (Some(refusal), false) = (&preview.refusal, is_about_account) {
                    return (refused(workload, refusal, &preview), Shown::Everywhere);
                }
            }
            Ok(None) => {}
            Err(why) => {
                let message = about_refused_workload(&referrer(workload), &why);
                let report = Report::of_object(message, Some(Verdict::Unknown), None, Exit::Unclear);
                return (report, Shown::Everywhere);
            }
        }
    }
    match (of_account, account, workload.origin) {
        (Some(report), _, _) => (report.clone().without_lints(), Shown::InJson),
        (None, Some(_), _) => required(workload, context, NoRole::Plain),
        (None, None, Origin::Written) => required(workload, context, NoRole::NotInInput),
        (None, None, Origin::Silent) => required(workload, context, NoRole::Silent),
        // Its controller creates it, with the annotations that the object has.
        (None, None, Origin::Derived) => (
            Report::of_object(
                about_workload(
                    &referrer(workload),
                    &subject(workload),
                    NoRole::Plain,
                    &context.rules.prefix,
                ),
                None,
                None,
                Exit::Yes,
            ),
            Shown::InJson,
        ),
    }
}

/// What STS would answer the controller.
fn judge_token(workload: &Workload, token: &Token, context: &Context<'_>) -> (Report, Shown) {
    let key = workload.key();
    let Some(written) = &token.role else {
        return match (context.reports.get(&key), context.accounts.contains_key(&key)) {
            (Some(report), _) => (report.clone().without_lints(), Shown::InJson),
            (None, true) if token.optional_role => required(workload, context, NoRole::Plain),
            // Without a role there is nothing that the controller could do with the token.
            (None, true) => (no_role(workload, context, NoRole::Plain), Shown::Everywhere),
            (None, false) => required(workload, context, NoRole::NotInInput),
        };
    };
    let Some(role) = workload.role() else {
        let why = format!("role {} is not a role ARN", text::quote_within(written, 100));
        let message = about_refused_workload(&referrer(workload), &why);
        let report = Report::of_object(message, None, Some(Cause::MalformedAnnotation), Exit::No);
        return (report, Shown::Everywhere);
    };
    let identity = WebIdentity {
        issuer: context.issuer.clone(),
        subject: TokenSubject::service_account(&workload.namespace, &workload.account),
        audience: token
            .audience
            .clone()
            .unwrap_or_else(|| Audience::new(DEFAULT_AUDIENCE)),
    };
    let report = match context.entries.get(&role) {
        Some(found) => {
            let origin = found.entry.source.map(|source| format!("role source {source}"));
            judgment::of_role(role, &found.entry.trust, &found.provider, identity, origin)
        }
        None => {
            let why = Why::Unreadable("it was not read".to_owned());
            Report::of_judged(Judged::unknown(role, why), identity, Vec::new(), None)
        }
    };
    (report, Shown::Everywhere)
}

/// A finding if a role is required, else a row for programs.
fn required(workload: &Workload, context: &Context<'_>, why: NoRole) -> (Report, Shown) {
    if context.requires_role {
        return (no_role(workload, context, why), Shown::Everywhere);
    }
    let message = about_workload(&referrer(workload), &subject(workload), why, &context.rules.prefix);
    (Report::of_object(message, None, None, Exit::Yes), Shown::InJson)
}

fn no_role(workload: &Workload, context: &Context<'_>, why: NoRole) -> Report {
    let message = about_workload(&referrer(workload), &subject(workload), why, &context.rules.prefix);
    Report::of_object(message, None, Some(Cause::NoRole), Exit::No)
}

fn refused(workload: &Workload, refusal: &str, preview: &Preview) -> Report {
    let message = about_refused_workload(&referrer(workload), refusal);
    let role = preview.role.as_ref().map(ToString::to_string).unwrap_or_default();
    Report::of_object(message, preview.verdict, preview.cause, Exit::No).with_role(role)
}

fn referrer(workload: &Workload) -> Referrer<'_> {
    let ObjectName { kind, name, path } = &workload.object;
    Referrer { kind, name, path }
}

fn subject(workload: &Workload) -> Subject<'_> {
    Subject {
        namespace: &workload.namespace,
        service_account: &workload.account,
    }
}

/// What would happen to a pod of the workload; None for a workload without a pod template.
async fn preview(workload: &Workload, admission: &Admission) -> Result<Option<Preview>, String> {
    let Some(template) = &workload.template else {
        return Ok(None);
    };
    let pod: PodView<'_> = serde_json::from_str(template.get())
        .map_err(|error| format!("not a valid pod template: {}", text::line(&error.to_string())))?;
    let preview = admission
        .preview_as(&workload.namespace, &workload.account, &pod, sources::patience())
        .await?;
    Ok(Some(preview))
}

/// Decides pods as `serve` does without flags, in mode enforce.
fn admission(workloads: &[Workload], context: &Context<'_>, cache: &Arc<RoleCache>) -> Result<Admission> {
    let (web_identity, pod_identity) = injection_defaults().map_err(|error| anyhow!("{error}"))?;
    let used: BTreeSet<Key> = workloads.iter().map(Workload::key).collect();
    let accounts = used.into_iter().filter_map(|key| {
        let ServiceAccount { identity, .. } = context.accounts.get(&key)?;
        let (namespace, name) = key;
        Some((namespace, name, identity.clone()))
    });
    let manifests =
        ManifestServiceAccounts::of_accounts(Path::new("ServiceAccounts"), accounts, Arc::clone(context.rules))?;
    let settings = AdmissionSettings {
        mode: Mode::Enforce,
        rules: AnnotationRules::clone(context.rules),
        defaults: Defaults {
            audience: context.audience.clone(),
            expiration_seconds: *EXPIRATION_SECONDS.end(),
            regional_sts: true,
        },
        web_identity: WebIdentitySettings {
            region: context.issuer.region().map(ToString::to_string),
            ..web_identity
        },
        pod_identity,
        decision: DecisionSettings {
            on_unknown: OnUnknown::Inject,
            require_role: if context.requires_role {
                RequireRole::Enforce
            } else {
                RequireRole::Off
            },
        },
        docs_url: None,
        skip_label: SkipLabel::Honored,
    };
    let state = ClusterState {
        issuer: context.issuer.clone(),
        accounts: Arc::new(KnownAccounts::Manifests(manifests)),
        namespaces: None,
        identity_map: None,
        container_credentials: None,
        associations: None,
        cache: Arc::clone(cache),
    };
    Ok(Admission::new(settings, state))
}
