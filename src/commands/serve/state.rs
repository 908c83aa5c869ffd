//! The data that reviews are decided with: the cluster's ServiceAccounts and namespaces, trust policies, and the settings of the admission.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use tracing::{info, warn};

use crate::admission::pods::{Admission, AdmissionSettings, ClusterState, SkipLabel};
use crate::args::association_source::{AssociationArgs, AssociationSettings};
use crate::args::aws::{AwsAccess, Reader};
use crate::args::namespaced_name::NamespacedName;
use crate::args::role_source::RoleSourceSpec;
use crate::args::serve::decision::DecisionArgs;
use crate::args::serve::identity::{AwsRegion, BareNames, IdentityArgs, IdentitySettings};
use crate::args::serve::pod_identity::PodIdentityArgs;
use crate::args::serve::trust_policies::{TrustPoliciesArgs, TrustPolicySettings};
use crate::args::values::AnnotationPrefix;
use crate::associations::{Associations, RemoteSettings, Source};
use crate::commands::sources::Use;
use crate::commands::{associations, cluster, input, sources};
use crate::decision::{DecisionSettings, Mode};
use crate::kubernetes::container_credentials::ContainerCredentials;
use crate::kubernetes::identity_map::IdentityMap;
use crate::kubernetes::list_watch::WatchTiming;
use crate::kubernetes::namespaces::Namespaces;
use crate::kubernetes::service_accounts::ServiceAccounts;
use crate::kubernetes::service_accounts::live::LiveServiceAccounts;
use crate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use crate::pod::identity::AnnotationRules;
use crate::pod::settings::WebIdentitySettings;
use crate::roles::{ReadResult, RoleCache, RoleSource};
use crate::support::reload;
use crate::telemetry::metrics::Metrics;
use crate::trust::Issuer;
use crate::verdicts;

/// How many roles the role cache keeps: some 2 KB each, so 40 MB at most. An AWS account holds 1,000 roles, 5,000 at most.
pub(super) const ROLE_CACHE_CAPACITY: usize = 20_000;

/// The data that reviews are decided with.
pub(super) struct State {
    pub(super) cluster: Cluster,
    pub(super) sources: Vec<Arc<dyn RoleSource>>,
    pub(super) cache: Arc<RoleCache>,
    /// None without `--association-source`.
    pub(super) associations: Option<Arc<Associations>>,
    pub(super) credentials: Option<Arc<ContainerCredentials>>,
    /// The mode of `/mutate`.
    pub(super) mode: Mode,
    pub(super) admission: Admission,
}

/// Where ServiceAccounts are.
pub(super) struct Place {
    /// Without a cluster.
    pub(super) standalone: Option<PathBuf>,
    /// The cluster of the flags.
    pub(super) named: cluster::Cluster,
}

impl State {
    /// Opens the cluster or the directory, the role sources and the files that the flags name.
    ///
    /// # Errors
    /// What could not be used, and why.
    pub(super) async fn open(
        place: Place,
        decision: DecisionArgs,
        trust_policies: TrustPoliciesArgs,
        identity: IdentityArgs,
        pod_identity: PodIdentityArgs,
        associations: AssociationArgs,
        metrics: &Arc<Metrics>,
    ) -> Result<Self> {
        let Place { standalone, named } = place;
        let DecisionArgs {
            issuer,
            mode,
            on_unknown,
            require_role,
            docs_url,
            honor_skip_label,
        } = decision;
        let IdentitySettings {
            annotation_prefix,
            bare_names,
            config_map,
            defaults,
            region,
            web_identity,
        } = identity.settings();
        let TrustPolicySettings {
            sources,
            assume_role,
            cache,
        } = trust_policies.settings(ROLE_CACHE_CAPACITY);
        let aws = AwsAccess {
            assume_role,
            region: match (&region, &issuer) {
                (Some(AwsRegion::Named(region)), _) => Some(region.clone()),
                (_, issuer) => issuer.as_ref().and_then(|issuer| issuer.region().map(str::to_owned)),
            },
            profile: None,
            reader: Reader::Operator,
        };
        let rules = Arc::new(rules(&annotation_prefix, bare_names, &aws).await?);
        // Before the watches begin: ServiceAccounts with an association are kept to be evaluated.
        let associations = match associations.settings() {
            Some(settings) => {
                let remote = RemoteSettings {
                    read_timeout: cache.read_timeout,
                    max_stale: cache.max_stale,
                    ..RemoteSettings::default()
                };
                Some(open_associations(&settings, &aws, &named, remote, metrics).await?)
            }
            None => None,
        };
        let cluster = Cluster::open(
            standalone.as_deref(),
            &named,
            issuer,
            config_map,
            &rules,
            associations.clone(),
        )
        .await?;
        let specs = if sources.is_empty() {
            vec![RoleSourceSpec::default_for(standalone.as_deref())]
        } else {
            sources
        };
        let sources = sources::open(&specs, &aws, &named, Use::Serve).await?;
        let cache = RoleCache::with_observer(sources.clone(), cache, metrics.clone());
        cache.check_providers_of(cluster.issuer.clone());
        for source in &sources {
            metrics.announce_source(source.name(), ReadResult::ALL.map(ReadResult::as_str));
        }
        let web_identity = WebIdentitySettings {
            region: resolved(region, &cluster.issuer)?,
            ..web_identity
        };
        if web_identity.disable_instance_metadata && web_identity.region.is_none() {
            warn!("--disable-instance-metadata without --aws-region: pods that do not set a Region will have none");
        }
        let (credentials, pod_identity) = pod_identity.settings(&web_identity);
        let credentials = credentials.as_deref().map(container_credentials).transpose()?;
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
        let state = ClusterState {
            issuer: cluster.issuer.clone(),
            accounts: cluster.accounts.clone(),
            namespaces: cluster.namespaces.clone(),
            identity_map: cluster.identity_map.clone(),
            container_credentials: credentials.clone(),
            associations: associations.clone(),
            cache: cache.clone(),
        };
        Ok(Self {
            cluster,
            sources,
            cache,
            associations,
            credentials,
            mode,
            admission: Admission::new(settings, state),
        })
    }
}

async fn open_associations(
    settings: &AssociationSettings,
    aws: &AwsAccess,
    named: &cluster::Cluster,
    remote: RemoteSettings,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Associations>> {
    let sources = associations::open(settings, aws, named, |problem| warn!("{problem}")).await?;
    for source in &sources {
        if let Source::Remote(source) = source {
            metrics.announce_association_source(source.name());
        }
    }
    let cluster = settings.cluster.clone();
    info!(
        cluster = &*cluster.name,
        "EKS Pod Identity is evaluated with the cluster's associations"
    );
    Ok(Associations::with_observer(cluster, sources, &remote, metrics.clone()))
}

/// What is known of Kubernetes.
pub(super) struct Cluster {
    pub(super) issuer: Issuer,
    pub(super) accounts: Arc<ServiceAccounts>,
    /// None without a cluster.
    pub(super) namespaces: Option<Arc<Namespaces>>,
    pub(super) identity_map: Option<Arc<IdentityMap>>,
    /// The ServiceAccounts that are evaluated after admission, too; none without a cluster.
    pub(super) judged: Option<Arc<verdicts::Accounts>>,
    /// None without a cluster.
    pub(super) client: Option<kube::Client>,
    /// The issuer of `--issuer`, in a cluster, which may report another one.
    pub(super) named_issuer: Option<Issuer>,
}

impl Cluster {
    async fn open(
        standalone: Option<&Path>,
        named: &cluster::Cluster,
        issuer: Option<Issuer>,
        identity_map: Option<NamespacedName>,
        rules: &Arc<AnnotationRules>,
        associations: Option<Arc<Associations>>,
    ) -> Result<Self> {
        match standalone {
            Some(directory) => Self::standalone(directory, issuer, identity_map, rules),
            None => Self::live(named, issuer, identity_map, rules, associations).await,
        }
    }

    fn standalone(
        directory: &Path,
        issuer: Option<Issuer>,
        identity_map: Option<NamespacedName>,
        rules: &Arc<AnnotationRules>,
    ) -> Result<Self> {
        let issuer = issuer.context("--standalone requires --issuer, because it does not read a cluster")?;
        input::check_directory(
            "--standalone ",
            directory,
            "specify a directory that contains manifests of ServiceAccounts",
        )?;
        let manifests = ManifestServiceAccounts::load(directory, rules.clone())?;
        manifests.keep_reading(reload::INTERVAL);
        let identity_map = identity_map
            .map(|object| IdentityMap::from_manifests(&manifests, &object.namespace, &object.name, rules.clone()))
            .transpose()
            .map_err(|error| anyhow!("{error}"))?;
        Ok(Self {
            issuer,
            accounts: Arc::new(ServiceAccounts::Manifests(manifests)),
            namespaces: None,
            identity_map: identity_map.map(Arc::new),
            judged: None,
            client: None,
            named_issuer: None,
        })
    }

    async fn live(
        named: &cluster::Cluster,
        issuer: Option<Issuer>,
        identity_map: Option<NamespacedName>,
        rules: &Arc<AnnotationRules>,
        associations: Option<Arc<Associations>>,
    ) -> Result<Self> {
        let otherwise = "set --kubeconfig FILE, run in a pod, or serve a directory with --standalone DIR";
        let client = named.client("serve", otherwise).await?;
        let named_issuer = issuer.clone();
        let issuer = named.issuer(issuer).await?;
        let identity_map = identity_map.map(|object| {
            let timing = WatchTiming::default();
            IdentityMap::start(client.clone(), &object.namespace, &object.name, rules.clone(), timing)
        });
        let identity_map = identity_map.map(Arc::new);
        let namespaces = Arc::new(Namespaces::start_excluding(
            excluded_namespaces(named),
            client.clone(),
            WatchTiming::default(),
        ));
        let judged = verdicts::Accounts::new(verdicts::IdentitySources {
            identity_map: identity_map.clone(),
            associations,
        });
        let observer = Arc::clone(&judged);
        let timing = WatchTiming::default();
        let accounts = LiveServiceAccounts::start_observed(client.clone(), rules.clone(), timing, observer)
            .shared_between(Arc::clone(&namespaces));
        Ok(Self {
            issuer,
            accounts: Arc::new(ServiceAccounts::Live(accounts)),
            namespaces: Some(namespaces),
            identity_map,
            judged: Some(judged),
            client: Some(client),
            named_issuer,
        })
    }
}

/// The namespaces that the webhook configurations of the chart exclude: what rolegate needs to start is in them.
fn excluded_namespaces(named: &cluster::Cluster) -> Vec<String> {
    let own = named.own_namespace().map(str::to_owned);
    own.into_iter().chain(["kube-system".to_owned()]).collect()
}

pub(in crate::commands) async fn rules(
    prefix: &AnnotationPrefix,
    bare_names: BareNames,
    aws: &AwsAccess,
) -> Result<AnnotationRules> {
    let compose = match bare_names {
        BareNames::Rejected => None,
        BareNames::OfAccount(partition, account) => Some((partition, account)),
        BareNames::OfOwnAccount(partition) => {
            let (own_partition, account) = sources::own_account(aws, cluster::DISCOVERY).await.map_err(|error| {
                anyhow!("--compose-role-arn: the account of bare role names is not known: {error:#}; or set --aws-account-id")
            })?;
            info!(
                account = account.as_str(),
                "bare role names belong to the account of rolegate's own credentials"
            );
            Some((partition.unwrap_or(own_partition), account))
        }
    };
    Ok(prefix.rules(compose))
}

/// The value of `--aws-region`, with the Region of the issuer for `auto`.
pub(in crate::commands) fn resolved(region: Option<AwsRegion>, issuer: &Issuer) -> Result<Option<String>> {
    match region {
        None => Ok(None),
        Some(AwsRegion::Named(region)) => Ok(Some(region)),
        Some(AwsRegion::Auto) => match issuer.region() {
            Some(region) => Ok(Some(region.to_owned())),
            None => bail!("--aws-region=auto: the issuer {issuer} has no Region; set --aws-region to its name"),
        },
    }
}

pub(in crate::commands) fn container_credentials(file: &Path) -> Result<Arc<ContainerCredentials>> {
    let credentials =
        ContainerCredentials::load(file).map_err(|error| anyhow!("--container-credentials-config {error}"))?;
    credentials.keep_reading(reload::INTERVAL);
    Ok(Arc::new(credentials))
}
