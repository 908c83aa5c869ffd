//! `rolegate audit`: every annotated ServiceAccount and every EKS Pod Identity association against its roles, before a pod fails.

mod accounts;
mod associations;
mod live;
mod manifests;
mod mapped;
mod report;
mod table;
mod workloads;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use jiff::Timestamp;

use self::accounts::{Key, RequestingServiceAccount, RoleRequest, ServiceAccounts};
use self::report::{Audit, Kind, Row};
use self::table::View;
use self::workloads::Workload;
use super::cluster::Cluster;
use super::exit::Exit;
use super::judgment::report::Report;
use super::sources::Found;
use super::{judgment, output, runtime, sources};
use crate::args::audit::{AuditArgs, ServiceAccountSettings, TokenArgs, ViewArgs};
use crate::args::output::{FindingsFormat, FindingsOutputArgs};
use crate::args::role_source::RoleSourceSpec;
use crate::associations::Unread;
use crate::decision::{Judged, Why};
use crate::pod::identity::AnnotationRules;
use crate::roles::{RoleCache, Trust};
use crate::trust::{Association, Issuer, Lint, RoleArn, Subject, WebIdentity, lint_issuer};

/// How many errors about manifests are printed.
const MAX_ERRORS: usize = 50;

/// Runs the command.
pub(super) fn run(args: AuditArgs) -> Result<Exit> {
    let output = args.output.clone();
    let ended = audit(args);
    if let Err(error) = &ended {
        // If standard output cannot be written, either, the error of the audit is the one to correct first.
        let _ = print_nothing(&output, format!("{error:#}"));
    }
    ended
}

/// The report of an audit that an error ends. People read the error. A program that reads the report must not fail at an empty file.
fn print_nothing(output: &FindingsOutputArgs, why: String) -> Result<()> {
    match output.output {
        FindingsFormat::Text => Ok(()),
        format => output::findings(
            format,
            &Audit::of_nothing(why),
            |_| String::new(),
            |audit| audit.findings(Timestamp::now(), output.docs_url.clone()),
        ),
    }
}

fn audit(args: AuditArgs) -> Result<Exit> {
    let AuditArgs {
        accounts,
        tokens: TokenArgs { issuer, token_audience },
        source,
        associations,
        output,
        view: ViewArgs {
            findings_only,
            group_by,
        },
        cluster,
    } = args;
    let settings = accounts.settings();
    let rules = Arc::new(settings.annotation_prefix.rules(settings.compose.clone()));
    let (specs, aws) = source.sources(RoleSourceSpec::default_for(settings.standalone.as_deref()));
    let runtime = runtime::on_this_thread()?;
    let cluster = Cluster::new(cluster.cluster());
    let input = runtime.block_on(Input::read(&settings, issuer, &cluster, &rules))?;
    let issuer = &input.issuer;
    if let Some(lint) = lint_issuer(issuer) {
        output::warn(&lint.message);
    }
    let association_settings = associations.settings();
    // Before AWS is called, which a name with a typing error is not worth.
    let unknown = input.unknown_namespaces(&settings.namespaces);
    if !unknown.is_empty() {
        let why = format!(
            "{} no ServiceAccount, not even default, and no workload, so the cluster probably does not have it; check --namespace and \
             --context",
            match unknown.as_slice() {
                [one] => format!("namespace {one} has"),
                several => format!("each of the namespaces {} has", several.join(", ")),
            }
        );
        if unknown.len() == settings.namespaces.len() {
            bail!(why);
        }
        output::error(why);
    }
    let aws = aws.access(issuer.region(), sources::reader());
    let (mut associations, missing) = match &association_settings {
        Some(settings) => runtime.block_on(associations::read(settings, &aws, &cluster))?,
        None => (Vec::new(), None),
    };
    if let Some(Unread { count, reason }) = &missing {
        output::warn(&format!(
            "{count} associations could not be read and are not in the report: {reason}"
        ));
    }
    associations.retain(|association| accounts::is_selected(&settings.namespaces, &association.namespace));
    let is_complete = input.is_complete && unknown.is_empty();
    if let Some(what) = input.nothing.as_ref().filter(|_| associations.is_empty()) {
        if is_complete {
            bail!("nothing to audit: {what}");
        }
        // The errors were printed.
        print_nothing(&output, "manifests could not be read".to_owned())?;
        return Ok(Exit::Unclear);
    }
    let requesting: Vec<RequestingServiceAccount> = input
        .accounts
        .iter()
        .filter_map(|(key, account)| RequestingServiceAccount::of(key, account))
        .collect();
    let of_annotations = requesting.iter().filter_map(RequestingServiceAccount::role);
    let of_associations = associations.iter().flat_map(|one| one.hops().map(|(_, role)| role));
    let of_tokens = input.workloads.iter().filter_map(Workload::role);
    let roles: BTreeSet<RoleArn> = of_annotations
        .chain(of_associations)
        .cloned()
        .chain(of_tokens)
        .collect();
    let roles: Vec<RoleArn> = roles.into_iter().collect();
    // Containers can name roles of their own.
    let capacity = roles.len().saturating_add(input.workloads.len());
    let audit = async |cache: Arc<RoleCache>| {
        let entries = sources::read_into(&cache, &roles).await;
        if let Some(reason) = common_failure(&entries) {
            return Err(anyhow!("{reason}"));
        }
        let mut rows = of_associations_and_annotations(&input, requesting, &associations, &entries, |account| {
            let audience = account.audience.clone().unwrap_or_else(|| token_audience.clone());
            let identity = WebIdentity {
                issuer: issuer.clone(),
                subject: Subject::service_account(&account.namespace, &account.name),
                audience,
            };
            (identity, settings.annotation_prefix.as_str())
        });
        // Where a ServiceAccount has both, new pods use the association, whose row comes first.
        let reports: HashMap<Key, Report> = rows
            .iter()
            .rev()
            .map(|row| ((row.namespace.clone(), row.service_account.clone()), row.report.clone()))
            .collect();
        let associated: HashSet<Key> = associations.iter().map(|one| key_of(one)).collect();
        let context = workloads::Context {
            accounts: &input.accounts,
            reports: &reports,
            associated: &associated,
            knows_all_accounts: input.is_cluster,
            entries: &entries,
            requires_role: settings.requires_role,
            rules: &rules,
            issuer,
            audience: &token_audience,
        };
        rows.extend(workloads::rows(&input.workloads, &context, &cache).await?);
        Ok(rows)
    };
    let rows = runtime.block_on(sources::with_cache(&specs, &aws, &cluster, capacity, issuer, audit))??;
    let mut audit = Audit::of(rows);
    if findings_only {
        audit = audit.without_trusted();
    }
    let view = View {
        width: output::width(),
        group_by,
        with_associations: association_settings.is_some(),
        with_identity_config_map: settings.identity_config_map.is_some(),
    };
    output::findings(
        output.output,
        &audit,
        |audit| table::text(audit, &view),
        |audit| audit.findings(Timestamp::now(), output.docs_url.clone()),
    )?;
    Ok(match (is_complete, missing) {
        (false, _) => Exit::Unclear,
        (true, Some(_)) => audit.exit().max(Exit::Unclear),
        (true, None) => audit.exit(),
    })
}

/// What is audited.
struct Input {
    issuer: Issuer,
    accounts: ServiceAccounts,
    workloads: Vec<Workload>,
    /// Whether everything could be read.
    is_complete: bool,
    /// Whether `accounts` are all those of a cluster.
    is_cluster: bool,
    /// Of a cluster: the selected namespaces that have workloads.
    with_workloads: BTreeSet<String>,
    /// What was read and what to check, if there is nothing to audit in it.
    nothing: Option<String>,
}

impl Input {
    /// The selected namespaces of a cluster of which nothing was read. Kubernetes creates a ServiceAccount in every namespace.
    fn unknown_namespaces<'a>(&self, namespaces: &'a [String]) -> Vec<&'a str> {
        if !self.is_cluster {
            return Vec::new();
        }
        let known: HashSet<&str> = self.accounts.keys().map(|(namespace, _)| namespace.as_str()).collect();
        let is_known = |namespace: &str| known.contains(namespace) || self.with_workloads.contains(namespace);
        let names = namespaces.iter().map(String::as_str);
        names.filter(|namespace| !is_known(namespace)).collect()
    }

    async fn read(
        settings: &ServiceAccountSettings,
        issuer: Option<Issuer>,
        cluster: &Cluster,
        rules: &Arc<AnnotationRules>,
    ) -> Result<Self> {
        let ServiceAccountSettings {
            namespaces,
            standalone,
            files,
            identity_config_map,
            ..
        } = settings;
        let identity_config_map = identity_config_map.as_ref();
        if !files.is_empty() {
            let issuer = cluster.issuer(issuer).await?;
            let how = manifests::Rules {
                annotations: rules,
                namespaces,
                identity_config_map,
            };
            let mut read = manifests::read(files, &how);
            for error in read.unreadable.iter().take(MAX_ERRORS) {
                output::error(crate::support::text::escape(error));
            }
            if read.unreadable.len() > MAX_ERRORS {
                output::error(format_args!(
                    "{} more errors like these",
                    read.unreadable.len() - MAX_ERRORS
                ));
            }
            if let Some(named) = identity_config_map {
                let (data, location) = read.identity_config_map.take().unzip();
                let map = mapped::apply(&mut read.accounts, data, named, "--file", rules)?;
                let referred = read.workloads.iter().map(Workload::key);
                mapped::add_absent(
                    &mut read.accounts,
                    &map,
                    referred,
                    namespaces,
                    location.flatten().as_ref(),
                );
            }
            return Ok(Self {
                issuer,
                nothing: read.is_empty().then(|| read.nothing(namespaces)),
                is_complete: read.unreadable.is_empty(),
                is_cluster: false,
                with_workloads: BTreeSet::new(),
                accounts: read.accounts,
                workloads: read.workloads,
            });
        }
        if let Some(directory) = standalone {
            let issuer = accounts::issuer(issuer)?;
            let (mut accounts, directory_content) = accounts::of_directory(directory, namespaces, Arc::clone(rules))?;
            if let Some(named) = identity_config_map {
                let data = directory_content.config_map(&named.namespace, &named.name);
                let map = mapped::apply(&mut accounts, data, named, "--standalone", rules)?;
                mapped::add_absent(&mut accounts, &map, std::iter::empty(), namespaces, None);
            }
            let what = format!(
                "no ServiceAccount and no workload in the YAML files of --standalone {} (--file also reads subdirectories, JSON and \
                 workloads); check the paths and --namespace",
                directory.display()
            );
            return Ok(Self {
                issuer,
                nothing: accounts.is_empty().then_some(what),
                accounts,
                workloads: Vec::new(),
                is_complete: true,
                is_cluster: false,
                with_workloads: BTreeSet::new(),
            });
        }
        let otherwise = "set --kubeconfig FILE, run in a pod, or audit manifests with --file PATH";
        let client = cluster.client("audit", otherwise).await?;
        let named_issuer = issuer.clone();
        let issuer = match cluster.issuer(issuer).await {
            Ok(issuer) => issuer,
            Err(error) => {
                // Where ServiceAccounts cannot be read, either, --issuer does not help.
                accounts::of_cluster(&client, namespaces, rules).await?;
                return Err(error);
            }
        };
        // Before the ServiceAccounts: one that is created in between is not missing.
        let live = live::read(&client, namespaces).await;
        let mut accounts = accounts::of_cluster(&client, namespaces, rules).await?;
        if let Some(issuer) = &named_issuer
            && let Some(other) = cluster.compare_issuer(issuer).await
        {
            output::warn(&other);
        }
        if let Some(named) = identity_config_map {
            let data = mapped::of_cluster(&client, named).await?;
            mapped::apply(&mut accounts, data, named, "the cluster", rules)?;
        }
        for problem in live.problems {
            output::warn(&problem);
        }
        Ok(Self {
            issuer,
            accounts,
            workloads: live.workloads,
            is_complete: true,
            is_cluster: true,
            with_workloads: live.namespaces,
            nothing: None,
        })
    }
}

fn key_of(association: &Association) -> Key {
    (
        association.namespace.to_string(),
        association.service_account.to_string(),
    )
}

/// The rows of associations and of role annotations; `identity` is what the tokens of a ServiceAccount hold, and the annotation prefix.
fn of_associations_and_annotations<'s>(
    input: &Input,
    requesting: Vec<RequestingServiceAccount>,
    associations: &[Arc<Association>],
    entries: &HashMap<RoleArn, Found>,
    identity: impl Fn(&RequestingServiceAccount) -> (WebIdentity, &'s str),
) -> Vec<Row> {
    let with_role: HashSet<Key> = requesting
        .iter()
        .filter(|account| account.role().is_some())
        .map(|account| (account.namespace.clone(), account.name.clone()))
        .collect();
    let mut rows = Vec::new();
    for association in associations {
        let key = key_of(association);
        let report = associations::judge(association, entries)
            .with_lint(with_role.contains(&key).then(|| associations::both(association)))
            .with_lint((!input.accounts.contains_key(&key)).then(|| associations::no_account(association)));
        rows.push(Row::of_association(association, report));
    }
    let by_account: HashMap<Key, &Arc<Association>> = associations.iter().map(|one| (key_of(one), one)).collect();
    rows.extend(requesting.into_iter().map(|account| {
        let (identity, prefix) = identity(&account);
        let found = account.role().and_then(|role| entries.get(role));
        let association = by_account.get(&(account.namespace.clone(), account.name.clone()));
        let note = association
            .filter(|_| account.role().is_some())
            .map(|one| associations::both(one));
        row(account, identity, found, prefix, note)
    }));
    rows
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
    account: RequestingServiceAccount,
    identity: WebIdentity,
    found: Option<&Found>,
    prefix: &str,
    note: Option<Lint>,
) -> Row {
    let RequestingServiceAccount {
        namespace,
        name,
        request,
        is_mapped,
        location,
        ..
    } = account;
    let report = match request {
        RoleRequest::Role(role) => match found {
            None => {
                let why = Why::Unreadable("it was not read".to_owned());
                Report::of_judged(Judged::unknown(role, why), identity, Vec::new(), None)
            }
            Some(found) => {
                let origin = found.entry.source.map(|source| format!("role source {source}"));
                judgment::of_role(role, &found.entry.trust, &found.provider, identity, origin)
            }
        },
        RoleRequest::Malformed(malformed) => Report::malformed_annotation(&malformed, identity, prefix),
        RoleRequest::LookAlike { key } => Report::look_alike(identity, &key, prefix),
    };
    let kind = if is_mapped { Kind::ConfigMap } else { Kind::Annotation };
    Row::new(kind, (namespace, name), report.with_lint(note), location)
}
