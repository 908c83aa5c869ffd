//! From the flags of `serve` to a webhook that serves: everything is opened and read first, so that what is wrong is told
//! before the first request; then one future owns every task.

mod certificates;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::certificates::Certificates;
use super::serve::{AwsRegion, RoleSourceSpec, ServeArgs};
use super::sources::{self, AwsAccess};
use crate::admission::pods::{Admission, AdmissionSettings, ClusterState, SkipLabel};
use crate::admission::webhook::Webhook;
use crate::decision::DecisionSettings;
use crate::http;
use crate::http::admin::{Admin, Readiness, RolesFor};
use crate::kubernetes::container_credentials::ContainerCredentials;
use crate::kubernetes::identity_map::IdentityMap;
use crate::kubernetes::service_accounts::ServiceAccounts;
use crate::kubernetes::service_accounts::live::LiveServiceAccounts;
use crate::kubernetes::service_accounts::manifests::ManifestServiceAccounts;
use crate::kubernetes::{self, issuer, list_watch::WatchTiming};
use crate::pod::identity::{AnnotationRules, Defaults};
use crate::pod::inject::{PodIdentitySettings, WebIdentitySettings};
use crate::roles::{RoleCache, RoleCacheSettings, RoleSource};
use crate::server::accept::{Connections, Server, Transport};
use crate::server::limits::Limits;
use crate::server::shutdown::Lifecycle;
use crate::server::threads::ReviewThreads;
use crate::server::tls;
use crate::support::text;
use crate::telemetry::audit::{AuditLog, AuditWriter};
use crate::telemetry::events::{EventTiming, EventWriter, Events};
use crate::telemetry::metrics::{ByNamespace, Metrics};
use crate::trust::{Issuer, Partition};

/// How often files are looked at again, besides certificates. Shorter than anybody waits for an edit to show.
const READ_AGAIN: Duration = Duration::from_secs(2);

/// How long the start waits for an API server that is asked for its issuer. Kubernetes starts the pod anew after that.
const DISCOVERY: Duration = Duration::from_secs(30);

/// How many roles the role cache keeps: some 2 KB each, so 40 MB at most. An AWS account holds 1,000 roles, 5,000 at most.
const ROLE_CACHE_CAPACITY: usize = 20_000;

/// A webhook that listens, and serves once [`Started::serve`] is awaited.
pub(crate) struct Started {
    /// Where reviews are posted.
    pub(crate) reviews: SocketAddr,
    /// The certificate of the CA that signed the serving certificate, when the webhook made it itself, PEM.
    pub(crate) ca: Option<String>,
    /// Ends it.
    pub(crate) life: Lifecycle,
    audit: Option<AuditWriter>,
    work: BoxFuture<'static, ()>,
}

impl Started {
    /// Serves until its life stops, and has ended every task when it returns.
    pub(crate) async fn serve(self) {
        self.work.await;
        if let Some(audit) = self.audit {
            // Blocks while the last lines are written; nothing else is left to do.
            audit.finish();
        }
    }
}

/// Opens and reads everything that the flags name.
///
/// # Errors
/// One line that names what could not be used, and why.
pub(crate) async fn start(args: &ServeArgs) -> Result<Started, String> {
    let life = Lifecycle::new();
    let rules = Arc::new(rules(args).await?);
    let metrics = Metrics::new(if args.metrics_namespace {
        ByNamespace::Yes
    } else {
        ByNamespace::No
    });
    let cluster = cluster(args, &rules).await?;
    let sources = open_sources(args).await?;
    let cache = RoleCache::with_observer(sources.clone(), role_cache_settings(args), metrics.clone());
    cache.check_providers_of(cluster.issuer.clone());
    for source in &sources {
        metrics.announce_source(source.name());
    }
    let credentials = container_credentials(args)?;
    let certificates = certificates::open(args, cluster.client.as_ref()).await?;
    let (audit, audit_writer) = audit_log(args, &metrics)?;
    let admission = Admission::new(
        admission_settings(args, &rules, &cluster.issuer)?,
        ClusterState {
            issuer: cluster.issuer.clone(),
            accounts: cluster.accounts.clone(),
            identity_map: cluster.identity_map.clone(),
            container_credentials: credentials.clone(),
            cache: cache.clone(),
        },
    );
    let (listener, reviews) = listen("--listen", args.listen).await?;
    let no_threads = |error| format!("cannot start the threads that answer reviews: {error}");
    let threads = ReviewThreads::start().map_err(no_threads)?;
    let listener = threads.adopt(listener).map_err(no_threads)?;
    let (admin_listener, admin_address) = listen("--admin-listen", args.admin_listen).await?;
    let limits = Arc::new(Limits {
        drain: args.drain,
        ..Limits::default()
    });
    let connections = Connections::at_most(limits.connections);
    gauges(&metrics, &cluster, &cache, &certificates, &connections);
    count_reload_failures(&metrics, &cluster, &sources, credentials.as_ref(), &certificates);
    let (events, event_writer) = events(args, &cluster, &metrics).unzip();
    let acceptor = tls::acceptor(certificates.serving.clone(), certificates.client_ca.clone())
        .map_err(|error| format!("cannot set up TLS: {error}"))?;
    let webhook = Webhook {
        admission,
        metrics: metrics.clone(),
        audit,
        events,
    };
    let reviews_router = http::reviews::router(Arc::new(webhook), &limits);
    let admin = Admin {
        readiness: readiness(&cluster, &certificates),
        metrics,
        roles: {
            let cache = cache.clone();
            Box::new(move || {
                let roles = serde_json::to_string(&cache.snapshot()).unwrap_or_default();
                text::json::escape(&roles).into_owned().into_bytes()
            })
        },
        roles_for: if args.admin_allow_remote_roles {
            RolesFor::Everyone
        } else {
            RolesFor::Loopback
        },
        life: life.clone(),
    };
    info!(address = %reviews, issuer = cluster.issuer.as_str(), mode = %args.mode, "serving reviews over HTTPS");
    info!(address = %admin_address, "serving probes and metrics over HTTP");
    let servers = {
        let reviews = Server {
            listener,
            transport: Transport::Tls(acceptor),
            limits: limits.clone(),
            life: life.clone(),
            connections,
        };
        let admin_server = Server {
            listener: admin_listener,
            transport: Transport::Plain,
            connections: Connections::at_most(limits.connections),
            limits,
            life: life.clone(),
        };
        let admin_routes = Arc::new(admin).routes();
        async move {
            tokio::join!(
                threads.run(reviews.serve(move |_peer| reviews_router.clone())),
                admin_server.serve(admin_routes),
            );
        }
    };
    let keeping = keep(cache, &cluster, credentials, certificates.following, life.clone());
    let work = async move {
        // Events end last: what the servers refused at the end is told of, too.
        let stop = CancellationToken::new();
        let serving = async {
            tokio::join!(servers, keeping);
            stop.cancel();
        };
        let telling = async {
            if let Some(writer) = event_writer {
                writer.run(stop.clone()).await;
            }
        };
        tokio::join!(serving, telling);
    };
    Ok(Started {
        reviews,
        ca: certificates.ca,
        life,
        audit: audit_writer,
        work: work.boxed(),
    })
}

/// What is watched or read again while the servers serve.
fn keep(
    cache: Arc<RoleCache>,
    cluster: &Cluster,
    credentials: Option<Arc<ContainerCredentials>>,
    certificates: BoxFuture<'static, ()>,
    life: Lifecycle,
) -> impl Future<Output = ()> + use<> {
    let (accounts, identity_map) = (cluster.accounts.clone(), cluster.identity_map.clone());
    let stop = CancellationToken::new();
    async move {
        let wanted = {
            let accounts = accounts.clone();
            move || {
                // What the role cache could not keep needs not be read ahead, and 100,000 roles need not be named a second time.
                let mut roles = Vec::with_capacity(accounts.counts().with_role.min(ROLE_CACHE_CAPACITY));
                accounts.for_each_role(&mut |role| {
                    if roles.len() < ROLE_CACHE_CAPACITY {
                        roles.push(role.clone());
                    }
                });
                roles
            }
        };
        let cache = cache.run(wanted, stop.clone());
        let end = async {
            life.stopped().await;
            stop.cancel();
            accounts.stop().await;
            if let Some(map) = &identity_map {
                map.stop().await;
            }
            if let Some(credentials) = &credentials {
                credentials.stop().await;
            }
        };
        let certificates = async {
            tokio::select! {
                () = certificates => {}
                () = life.stopped() => {}
            }
        };
        tokio::join!(cache, end, certificates);
    }
}

async fn rules(args: &ServeArgs) -> Result<AnnotationRules, String> {
    let compose = match (args.compose_role_arn, &args.aws_account_id) {
        (false, _) => None,
        (true, None) => {
            let (partition, account) = sources::own_account(&aws_access(args), DISCOVERY)
                .await
                .map_err(|why| format!("--compose-role-arn: the account of bare role names is not known: {why}; or set --aws-account-id"))?;
            info!(
                account = account.as_str(),
                "bare role names belong to the account of rolegate's own credentials"
            );
            Some((args.aws_partition.clone().unwrap_or(partition), account))
        }
        (true, Some(account)) => {
            let partition = args.aws_partition.clone().or_else(|| Partition::parse("aws"));
            partition.map(|partition| (partition, account.clone()))
        }
    };
    Ok(AnnotationRules {
        prefix: args.annotation_prefix.as_str().to_owned(),
        compose,
    })
}

/// How AWS is reached.
fn aws_access(args: &ServeArgs) -> AwsAccess {
    let issuer_region = || Some(args.issuer.as_ref()?.region()?.to_owned());
    let region = match &args.aws_region {
        Some(AwsRegion::Named(region)) => Some(region.clone()),
        Some(AwsRegion::Auto) | None => issuer_region(),
    };
    AwsAccess {
        assume: args.assume_role.clone(),
        region,
        ..AwsAccess::default()
    }
}

/// What is known of Kubernetes.
struct Cluster {
    issuer: Issuer,
    accounts: Arc<ServiceAccounts>,
    identity_map: Option<Arc<IdentityMap>>,
    /// None without a cluster.
    client: Option<kube::Client>,
}

async fn cluster(args: &ServeArgs, rules: &Arc<AnnotationRules>) -> Result<Cluster, String> {
    match &args.standalone {
        Some(directory) => standalone(args, directory, rules),
        None => live_cluster(args, rules).await,
    }
}

fn standalone(args: &ServeArgs, directory: &Path, rules: &Arc<AnnotationRules>) -> Result<Cluster, String> {
    let issuer = args
        .issuer
        .clone()
        .ok_or("--standalone needs --issuer: there is no API server to ask")?;
    let manifests = ManifestServiceAccounts::load(directory, rules.clone()).map_err(|error| error.to_string())?;
    manifests.keep_reading(READ_AGAIN);
    let identity_map = match &args.identity_config_map {
        None => None,
        Some(object) => Some(
            IdentityMap::from_manifests(&manifests, &object.namespace, &object.name, rules.clone())
                .map_err(|error| error.to_string())?,
        ),
    };
    Ok(Cluster {
        issuer,
        accounts: Arc::new(ServiceAccounts::Manifests(manifests)),
        identity_map: identity_map.map(Arc::new),
        client: None,
    })
}

async fn live_cluster(args: &ServeArgs, rules: &Arc<AnnotationRules>) -> Result<Cluster, String> {
    let config = kube::Config::infer().await.map_err(|error| {
        format!(
            "no cluster to serve ({error}); set KUBECONFIG, run in a pod, or serve a directory with --standalone DIR"
        )
    })?;
    let client =
        kubernetes::client(&config).map_err(|error| format!("cannot talk to {}: {error}", config.cluster_url))?;
    let issuer = match &args.issuer {
        Some(issuer) => issuer.clone(),
        None => issuer::discover(&client, Instant::now() + DISCOVERY)
            .await
            .map_err(|error| error.to_string())?,
    };
    let identity_map = args.identity_config_map.as_ref().map(|object| {
        Arc::new(IdentityMap::start(
            client.clone(),
            &object.namespace,
            &object.name,
            rules.clone(),
            WatchTiming::default(),
        ))
    });
    let accounts = LiveServiceAccounts::start(client.clone(), rules.clone(), WatchTiming::default());
    Ok(Cluster {
        issuer,
        accounts: Arc::new(ServiceAccounts::Live(accounts)),
        identity_map,
        client: Some(client),
    })
}

async fn open_sources(args: &ServeArgs) -> Result<Vec<Arc<dyn RoleSource>>, String> {
    let aws = aws_access(args);
    match (&*args.role_source, &args.standalone) {
        ([], Some(directory)) => sources::open(&[RoleSourceSpec::Files(directory.join("roles"))], &aws).await,
        ([], None) => sources::open(&[RoleSourceSpec::Iam], &aws).await,
        (specs, _) => sources::open(specs, &aws).await,
    }
}

const fn role_cache_settings(args: &ServeArgs) -> RoleCacheSettings {
    RoleCacheSettings {
        ttl: args.trust_ttl,
        max_stale: args.trust_max_stale,
        read_timeout: args.trust_read_timeout,
        capacity: ROLE_CACHE_CAPACITY,
    }
}

fn container_credentials(args: &ServeArgs) -> Result<Option<Arc<ContainerCredentials>>, String> {
    let Some(file) = &args.container_credentials_config else {
        return Ok(None);
    };
    let credentials = ContainerCredentials::load(file)?;
    credentials.keep_reading(READ_AGAIN);
    Ok(Some(Arc::new(credentials)))
}

fn audit_log(args: &ServeArgs, metrics: &Metrics) -> Result<(Option<AuditLog>, Option<AuditWriter>), String> {
    let Some(target) = &args.audit_log else {
        return Ok((None, None));
    };
    let (log, writer) = AuditLog::open(target.clone(), args.audit_log_rotate, metrics.audit_dropped())
        .map_err(|error| format!("cannot write the audit log: {error}"))?;
    Ok((Some(log), Some(writer)))
}

fn events(args: &ServeArgs, cluster: &Cluster, metrics: &Metrics) -> Option<(Events, EventWriter)> {
    let client = cluster.client.clone().filter(|_| args.events)?;
    Some(Events::new(
        client,
        cluster.accounts.clone(),
        &instance(),
        EventTiming::default(),
        metrics.events(),
    ))
}

/// This process among the replicas: in a pod the host is named after it, with `hostNetwork` after the node.
fn instance() -> String {
    let variable = std::env::var("HOSTNAME").ok();
    let name = variable.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "rolegate".to_owned())
}

fn admission_settings(args: &ServeArgs, rules: &AnnotationRules, issuer: &Issuer) -> Result<AdmissionSettings, String> {
    let region = match &args.aws_region {
        None => None,
        Some(AwsRegion::Named(region)) => Some(region.clone()),
        Some(AwsRegion::Auto) => Some(issuer.region().map(str::to_owned).ok_or_else(|| {
            format!(
                "--aws-region=auto: the issuer {} names no Region; give it by name",
                issuer.as_str()
            )
        })?),
    };
    if args.disable_instance_metadata && region.is_none() {
        warn!("--disable-instance-metadata without --aws-region: pods that set no Region themselves will have none");
    }
    Ok(AdmissionSettings {
        mode: args.mode,
        rules: rules.clone(),
        defaults: Defaults {
            audience: args.token_audience.clone(),
            expiration_seconds: args.token_expiration,
            regional_sts: args.sts_regional_endpoints,
        },
        web_identity: WebIdentitySettings {
            mount_path: args.token_mount_path.clone(),
            region: region.clone(),
            disable_instance_metadata: args.disable_instance_metadata,
            role_session_name: args.role_session_name,
        },
        pod_identity: PodIdentitySettings {
            full_uri: args.container_credentials_full_uri.clone(),
            audience: args.container_credentials_audience.clone(),
            mount_path: args.container_credentials_token_mount_path.clone(),
            volume_name: args.container_credentials_token_volume_name.clone(),
            token_path: args.container_credentials_token_path.clone(),
            region,
            disable_instance_metadata: args.disable_instance_metadata,
        },
        decision: DecisionSettings {
            on_unknown: args.on_unknown.into(),
            require_role: args.require_role.into(),
        },
        docs_url: args.docs_url.clone(),
        skip_label: if args.honor_skip_label {
            SkipLabel::Honored
        } else {
            SkipLabel::Ignored
        },
    })
}

async fn listen(flag: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), String> {
    let cannot = |error: std::io::Error| format!("cannot listen on {flag} {address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    Ok((listener, address))
}

fn readiness(cluster: &Cluster, certificates: &Certificates) -> Readiness {
    let accounts = cluster.accounts.clone();
    let readiness = Readiness::new().and("ServiceAccounts are listed", move || accounts.is_synced());
    let readiness = certificates.conditions(readiness);
    match cluster.identity_map.clone() {
        None => readiness,
        Some(map) => readiness.and("the identity ConfigMap is read", move || map.is_synced()),
    }
}

fn gauges(
    metrics: &Metrics,
    cluster: &Cluster,
    cache: &Arc<RoleCache>,
    certificates: &Certificates,
    connections: &Connections,
) {
    let accounts = cluster.accounts.clone();
    metrics.gauges(
        "service_accounts",
        "ServiceAccounts that are known",
        "state",
        move || {
            let counts = accounts.counts();
            [
                ("with-role", counts.with_role),
                ("malformed", counts.malformed),
                ("without-role", counts.without_role),
            ]
            .map(|(state, count)| (state, as_gauge(count)))
            .to_vec()
        },
    );
    let cache = cache.clone();
    metrics.gauges("role_cache_roles", "Roles in the role cache", "state", move || {
        cache
            .counts()
            .map(|(state, count)| (state.as_str(), as_gauge(count)))
            .to_vec()
    });
    let connections = connections.clone();
    metrics.gauge("connections", "Open connections", move || as_gauge(connections.open()));
    metrics.gauges(
        "certificate_expiry_timestamp_seconds",
        "When a certificate ends",
        "kind",
        certificates.expiry(),
    );
}

fn count_reload_failures(
    metrics: &Metrics,
    cluster: &Cluster,
    sources: &[Arc<dyn RoleSource>],
    credentials: Option<&Arc<ContainerCredentials>>,
    certificates: &Certificates,
) {
    let accounts = cluster.accounts.clone();
    let identity_map = cluster.identity_map.clone();
    let sources = sources.to_vec();
    let credentials = credentials.cloned();
    let certificates = certificates.failures.clone();
    metrics.reload_failures(move || {
        let mut counts = vec![
            ("certificates", certificates.load(Ordering::Relaxed)),
            ("manifests", accounts.reload_failures()),
            (
                "roles",
                sources.iter().map(|source| source.health().reload_failures).sum(),
            ),
        ];
        counts.extend(
            identity_map
                .as_ref()
                .map(|map| ("identity-config-map", map.reload_failures())),
        );
        counts.extend(
            credentials
                .as_ref()
                .map(|config| ("container-credentials", config.reload_failures())),
        );
        counts
    });
}

/// Exact up to 2^53, far beyond what is counted here.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn as_gauge(count: usize) -> f64 {
    count as f64
}
