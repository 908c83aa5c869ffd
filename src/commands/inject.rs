//! `rolegate inject`: manifests as they would be admitted, with verdicts on standard error.
//!
//! References to ServiceAccounts are found with the table of workload resources. The code that decides reviews also decides each pod
//! template, and the patch is applied to the template as an API server applies it to a pod.

mod objects;

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};

use self::objects::Workload;
use super::cluster::Cluster;
use super::documents::{self, Document};
use super::exit::Exit;
use super::output::{self, BAD, DIM, DOUBT, GOOD, STRONG, Styled};
use super::serve::state;
use super::{input, runtime, sources};
use crate::admission::pods::{Admission, AdmissionSettings, ClusterState, Preview, SkipLabel};
use crate::args::inject::{InjectArgs, ManifestArgs};
use crate::args::namespaced_name::NamespacedName;
use crate::args::role_source::RoleSourceSpec;
use crate::args::serve::decision::DecisionArgs;
use crate::args::serve::identity::IdentitySettings;
use crate::decision::DecisionSettings;
use crate::kubernetes::identity_map::IdentityMap;
use crate::kubernetes::service_accounts::ServiceAccounts;
use crate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use crate::pod::identity::AnnotationRules;
use crate::pod::settings::WebIdentitySettings;
use crate::pod::view::PodView;
use crate::support::text;
use crate::trust::{Cause, Verdict};

/// How many roles one run reads at most.
const ROLES: usize = 10_000;

/// Runs the command.
pub(super) fn run(args: InjectArgs) -> Result<Exit> {
    let InjectArgs {
        manifests: ManifestArgs {
            file,
            namespace,
            role_arn,
        },
        cluster,
        source,
        decision:
            DecisionArgs {
                issuer,
                mode,
                on_unknown,
                require_role,
                docs_url,
                honor_skip_label,
            },
        identity,
        pod_identity,
    } = args;
    let IdentitySettings {
        annotation_prefix,
        bare_names,
        config_map,
        defaults,
        region,
        web_identity,
    } = identity.settings();
    let name = input::name(&file);
    let text = input::read("--file", &file)?;
    let mut documents = documents::read(&text)
        .map_err(|error| anyhow!("{}: {}", text::escape(&name), text::line(&error.to_string())))?;
    let runtime = runtime::on_this_thread()?;
    let cluster = Cluster::new(cluster);
    let issuer = runtime.block_on(cluster.issuer(issuer))?;
    let (specs, aws) = source.sources(RoleSourceSpec::Iam);
    let aws = aws.access(issuer.region(), sources::reader());
    let rules = Arc::new(runtime.block_on(state::rules(&annotation_prefix, bare_names, &aws))?);
    let accounts = objects::service_accounts(&documents, &namespace, role_arn.as_ref(), &rules)?;
    let web_identity = WebIdentitySettings {
        region: state::resolved(region, &issuer)?,
        ..web_identity
    };
    let (credentials, pod_identity) = pod_identity.settings(&web_identity);
    let settings = AdmissionSettings {
        mode,
        rules: AnnotationRules::clone(&rules),
        defaults,
        web_identity,
        pod_identity,
        decision: DecisionSettings {
            on_unknown: on_unknown.into(),
            require_role: require_role.into(),
        },
        docs_url,
        skip_label: if honor_skip_label {
            SkipLabel::Honored
        } else {
            SkipLabel::Ignored
        },
    };
    let exit = runtime.block_on(async {
        let manifests = ManifestServiceAccounts::of_text(&file, &accounts.manifest, Arc::clone(&rules))?;
        let identity_map = config_map
            .map(|object| identity_map(&manifests, &object, &rules))
            .transpose()?;
        let mut missing = accounts.missing;
        if let Some(map) = &identity_map {
            missing.retain(|(namespace, name)| map.lookup(namespace, name).is_none());
        }
        let credentials = credentials.as_deref().map(state::container_credentials).transpose()?;
        sources::with_cache(&specs, &aws, &cluster, ROLES, &issuer, async |cache| {
            let state = ClusterState {
                issuer: issuer.clone(),
                accounts: Arc::new(ServiceAccounts::Manifests(manifests)),
                namespaces: None,
                identity_map: identity_map.map(Arc::new),
                container_credentials: credentials,
                associations: None,
                cache,
            };
            let admission = Admission::new(settings, state);
            inject_all(&admission, &mut documents, &namespace, &missing).await
        })
        .await?
    })?;
    output::print_manifests(&documents::to_text(&documents))?;
    Ok(exit)
}

/// The identity ConfigMap of the input.
fn identity_map(
    manifests: &ManifestServiceAccounts,
    named: &NamespacedName,
    rules: &Arc<AnnotationRules>,
) -> Result<IdentityMap> {
    let NamespacedName { namespace, name } = named;
    if manifests.config_map(namespace, name).is_none() {
        bail!(
            "--identity-config-map: the input has no ConfigMap {namespace}/{name}; add its manifest, or check the namespace and the name"
        );
    }
    Ok(IdentityMap::from_manifests(
        manifests,
        namespace,
        name,
        Arc::clone(rules),
    )?)
}

/// Decides each workload and changes its document. The exit is that of the worst one.
async fn inject_all(
    admission: &Admission,
    documents: &mut [Document<'_>],
    namespace: &str,
    missing: &[(String, String)],
) -> Result<Exit> {
    let mut worst = Exit::Yes;
    for document in documents {
        for (title, api_version, known) in objects::of_other_versions(document, namespace) {
            output::note(&format!(
                "{} {}: {} is not supported (supported: {known}), printed unchanged",
                Styled(DOUBT, "?"),
                Styled(STRONG, title),
                text::value(&api_version),
            ));
            worst = worst.max(Exit::Unclear);
        }
        for workload in objects::workloads(document, namespace)? {
            let account = (workload.namespace.clone(), workload.service_account.clone());
            if missing.contains(&account) {
                output::note(&format!(
                    "{} {}: ServiceAccount {}/{} is not in the input; add its manifest, or set --role-arn",
                    Styled(DOUBT, "?"),
                    Styled(STRONG, workload.title()),
                    text::value(&workload.namespace),
                    text::value(&workload.service_account)
                ));
                worst = worst.max(Exit::Unclear);
                continue;
            }
            let pod = workload.pod()?;
            let about = |why: &str| anyhow!("{}: {}", workload.title(), text::line(why));
            let view: PodView<'_> =
                serde_json::from_str(&pod).map_err(|error| about(&format!("not a valid pod template: {error}")))?;
            let preview = admission
                .preview(&workload.namespace, &view, sources::patience())
                .await
                .map_err(|why| about(&why))?;
            output::note(&report(&workload, &preview));
            worst = worst.max(exit(&preview));
            if let Some(pointer) = &workload.pointer
                && let Some(patch) = preview.patch.filter(|patch| !patch.is_empty())
            {
                document
                    .patch(pointer, patch.as_json())
                    .with_context(|| format!("{}: the patch does not apply", workload.title()))?;
            }
        }
    }
    Ok(worst)
}

/// As `check`: what is not trusted, or would be refused, is 1.
fn exit(preview: &Preview) -> Exit {
    match (preview.verdict, preview.cause) {
        _ if preview.refusal.is_some() => Exit::No,
        (Some(Verdict::NotTrusted), _) | (_, Some(Cause::MalformedAnnotation | Cause::Conflict | Cause::NoRole)) => {
            Exit::No
        }
        (Some(Verdict::Undecided | Verdict::Unknown), _) => Exit::Unclear,
        _ => Exit::Yes,
    }
}

/// For people: the object, what happens to it, and the message.
fn report(workload: &Workload, preview: &Preview) -> String {
    let title = Styled(STRONG, workload.title());
    let (style, sign) = match exit(preview) {
        Exit::No => (BAD, "✗"),
        Exit::Unclear => (DOUBT, "?"),
        Exit::Yes => (GOOD, "✓"),
    };
    let what = match (&preview.patch, &preview.refusal) {
        (_, Some(_)) => "refused, printed unchanged",
        (Some(_), None) if workload.pointer.is_none() => "no pod template to inject, printed unchanged",
        (Some(patch), None) if !patch.is_empty() => "injected",
        (Some(_), None) => "has its identity already, printed unchanged",
        (None, None) => "no role, printed unchanged",
    };
    let mut lines = format!("{style}{sign}{style:#} {title}: {what}");
    // Writing to a String cannot fail.
    if let Some(role) = &preview.role {
        let _ = write!(lines, " ({DIM}{}{DIM:#})", text::value(role.as_str()));
    }
    for line in preview.refusal.iter().flat_map(|refusal| refusal.lines()) {
        let _ = write!(lines, "\n    {}", output::as_typed(line));
    }
    // In mode audit, authors see nothing; the user of this command needs the reason.
    let is_silent = preview.refusal.is_none() && preview.warnings.is_empty();
    if let (true, Some(verdict), Some(cause)) = (is_silent, preview.verdict, preview.cause) {
        let explain = format!("rolegate explain {}", cause.as_str());
        let _ = write!(
            lines,
            "\n    {} ({}), see {}",
            verdict.as_str(),
            cause.as_str(),
            output::as_typed(&explain)
        );
    }
    for warning in &preview.warnings {
        let _ = write!(
            lines,
            "\n    {} {}",
            Styled(DOUBT, "warning:"),
            output::as_typed(warning.as_str())
        );
    }
    lines
}
