//! Starts the webhook from the flags of `serve`: everything is opened and read first, so that an error is reported before the first
//! request; then one future owns every task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use futures::future::{BoxFuture, FutureExt as _};
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::state::{Cluster, Place, ROLE_CACHE_CAPACITY, State};
use super::{certificates, observe};
use crate::admission::webhook::Webhook;
use crate::args::serve::ServeArgs;
use crate::args::serve::serving::ServingArgs;
use crate::args::serve::telemetry::TelemetryArgs;
use crate::associations::Associations;
use crate::commands::cluster;
use crate::http;
use crate::http::admin::{Admin, RolesFor};
use crate::http::rejection::Overloaded;
use crate::kubernetes::container_credentials::ContainerCredentials;
use crate::roles::RoleCache;
use crate::server::accept::{Server, Transport};
use crate::server::connections::Connections;
use crate::server::descriptors;
use crate::server::limits::Limits;
use crate::server::shutdown::Lifecycle;
use crate::server::threads::ReviewThreads;
use crate::server::tls;
use crate::support::text;
use crate::telemetry::audit::AuditLog;
use crate::telemetry::events::{EventTiming, EventWriter, Events};
use crate::telemetry::metrics::{ByNamespace, Metrics};
use crate::trust::RoleArn;
use crate::verdicts::{self, Verdicts};

/// How long the last lines of the audit log are written, if its file system is slow or standard output is not read.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A webhook that listens, and serves once [`Started::serve`] is awaited.
pub(crate) struct Started {
    /// Where reviews are posted.
    pub(crate) reviews: SocketAddr,
    /// The certificate of the CA that signed the serving certificate, when the webhook made it itself, PEM.
    pub(crate) ca: Option<String>,
    /// Ends it.
    pub(crate) life: Lifecycle,
    /// `--drain`.
    pub(crate) drain: Duration,
    audit: Option<AuditLog>,
    work: BoxFuture<'static, ()>,
}

impl Started {
    /// Serves until its life stops, and has ended every task when it returns.
    pub(crate) async fn serve(self) {
        self.work.await;
        if let Some(audit) = self.audit {
            // Blocks while the last lines are written; nothing else is left to do.
            audit.finish(LAST_LINES);
        }
    }
}

/// Opens and reads everything that the flags name. `log_dropped` counts lost lines of the log.
///
/// # Errors
/// What could not be used, and why.
pub(crate) async fn start(args: ServeArgs, log_dropped: Counter) -> Result<Started> {
    let ServeArgs {
        serving,
        cluster,
        certificates,
        decision,
        trust_policies,
        identity,
        pod_identity,
        associations,
        // The log is written already.
        log: _,
        telemetry,
    } = args;
    let ServingArgs {
        listen: address,
        admin_listen,
        admin_allow_remote_roles,
        standalone,
        drain,
    } = serving;
    let life = Lifecycle::new();
    let limits = Limits {
        drain,
        ..Limits::default()
    };
    let limits = Arc::new(descriptors::fit(limits, descriptors::raise()));
    let Reporting { metrics, audit, events } = Reporting::open(telemetry, log_dropped)?;
    let state = State::open(
        Place {
            standalone,
            named: cluster::Cluster::new(cluster),
        },
        decision,
        trust_policies,
        identity,
        pod_identity,
        associations,
        &metrics,
    )
    .await?;
    let certificates = certificates::open(certificates, state.cluster.client.as_ref()).await?;
    let listeners = Listeners::open(address, admin_listen).await?;
    let connections = OpenConnections {
        reviews: Connections::at_most(limits.connections),
        admin: Connections::at_most(limits.admin_connections),
    };
    observe::gauges(&metrics, &state, &certificates, &connections.reviews);
    observe::closed_connections(&metrics, [&connections.reviews, &connections.admin]);
    metrics.announce_rejected_under_load(Overloaded::ALL.map(Overloaded::as_str));
    observe::reload_failures(&metrics, &state, &certificates);
    let (events, event_writer) = events.then(|| open_events(&state.cluster, &metrics)).flatten().unzip();
    let verdicts = open_verdicts(&state, &metrics, events.clone());
    let reviews = listeners.reviews_address;
    // In a cluster, webhook configurations choose the path by the label of the namespace.
    info!(
        address = %reviews,
        issuer = state.cluster.issuer.as_str(),
        default_mode = %state.mode,
        "serving reviews over HTTPS; the path of a review has its mode, such as /mutate/audit"
    );
    info!(address = %listeners.admin_address, "serving probes and metrics over HTTP");
    let admin = Admin {
        readiness: observe::readiness(&state.cluster, &certificates),
        metrics: metrics.clone(),
        roles: roles_json(state.cache.clone()),
        roles_for: if admin_allow_remote_roles {
            RolesFor::Everyone
        } else {
            RolesFor::Loopback
        },
        life: life.clone(),
    };
    let acceptor = tls::acceptor(certificates.serving.clone(), certificates.client_ca.clone())
        .map_err(|error| anyhow!("cannot set up TLS: {error}"))?;
    let webhook = Webhook {
        admission: state.admission,
        metrics,
        audit: audit.clone(),
        events,
    };
    let servers = listeners.serve(webhook, acceptor, admin, connections, limits, life.clone());
    let (cluster, following) = (state.cluster, certificates.following);
    let following = follow(
        verdicts,
        state.cache,
        state.associations,
        &cluster,
        state.credentials,
        following,
        life.clone(),
    );
    Ok(Started {
        reviews,
        ca: certificates.ca,
        life,
        drain,
        audit,
        work: work(servers, following, event_writer).boxed(),
    })
}

/// The open connections of each listener. They do not share a limit, so that probes are answered whatever happens to reviews.
struct OpenConnections {
    reviews: Connections,
    admin: Connections,
}

/// Both listeners, and the threads that handle reviews.
struct Listeners {
    threads: ReviewThreads,
    reviews: TcpListener,
    reviews_address: SocketAddr,
    admin: TcpListener,
    admin_address: SocketAddr,
}

impl Listeners {
    async fn open(reviews: SocketAddr, admin: SocketAddr) -> Result<Self> {
        let (reviews, reviews_address) = listen("--listen", reviews).await?;
        let no_threads = "cannot start the threads that handle reviews";
        let threads = ReviewThreads::start().context(no_threads)?;
        let reviews = threads.adopt(reviews).context(no_threads)?;
        let (admin, admin_address) = listen("--admin-listen", admin).await?;
        Ok(Self {
            threads,
            reviews,
            reviews_address,
            admin,
            admin_address,
        })
    }

    /// Serves until the life stops.
    async fn serve(
        self,
        webhook: Webhook,
        acceptor: TlsAcceptor,
        admin: Admin,
        connections: OpenConnections,
        limits: Arc<Limits>,
        life: Lifecycle,
    ) {
        let router = http::reviews::router(Arc::new(webhook), &limits);
        let reviews = Server {
            listener: self.reviews,
            transport: Transport::Tls(acceptor),
            limits: limits.clone(),
            life: life.clone(),
            connections: connections.reviews,
        };
        let admin_server = Server {
            listener: self.admin,
            transport: Transport::Plain,
            connections: connections.admin,
            limits,
            life,
        };
        tokio::join!(
            self.threads.run(reviews.serve(move |_peer| router.clone())),
            admin_server.serve(Arc::new(admin).routes()),
        );
    }
}

/// Every task of the webhook. Events are written last, with the refusals of the last requests.
async fn work(
    servers: impl Future<Output = ()>,
    following: impl Future<Output = ()>,
    event_writer: Option<EventWriter>,
) {
    let stop = CancellationToken::new();
    let serving = async {
        tokio::join!(servers, following);
        stop.cancel();
    };
    let reporting = async {
        if let Some(writer) = event_writer {
            writer.run(stop.clone()).await;
        }
    };
    tokio::join!(serving, reporting);
}

/// Watches and re-reads, while the servers serve, what reviews are answered from.
fn follow(
    verdicts: Option<Verdicts>,
    cache: Arc<RoleCache>,
    associations: Option<Arc<Associations>>,
    cluster: &Cluster,
    credentials: Option<Arc<ContainerCredentials>>,
    certificates: BoxFuture<'static, ()>,
    life: Lifecycle,
) -> impl Future<Output = ()> + use<> {
    let (accounts, identity_map) = (cluster.accounts.clone(), cluster.identity_map.clone());
    let namespaces = cluster.namespaces.clone();
    let named_issuer = cluster.client.clone().zip(cluster.named_issuer.clone());
    let stop = CancellationToken::new();
    async move {
        let wanted = {
            let (accounts, associations, identity_map) = (accounts.clone(), associations.clone(), identity_map.clone());
            move || {
                // Roles beyond the cache's capacity need not be read ahead, and 100,000 roles need not be cloned.
                let mut roles = associations
                    .as_ref()
                    .map_or_else(Vec::new, |associations| associations.roles());
                roles.reserve(accounts.counts().with_role.min(ROLE_CACHE_CAPACITY));
                let mut push = |role: &RoleArn| {
                    if roles.len() < ROLE_CACHE_CAPACITY {
                        roles.push(role.clone());
                    }
                };
                if let Some(map) = &identity_map {
                    map.for_each_role(&mut push);
                }
                accounts.for_each_role(&mut push);
                roles
            }
        };
        let cache = cache.run(wanted, stop.clone());
        let associations = async {
            if let Some(associations) = &associations {
                let gated = || {
                    namespaces
                        .as_ref()
                        .map_or_else(Vec::new, |namespaces| namespaces.gated())
                };
                associations.run(gated, stop.clone()).await;
            }
        };
        let verdicts = async {
            if let Some(verdicts) = verdicts {
                verdicts.run(stop.clone()).await;
            }
        };
        let end = async {
            life.stopped().await;
            stop.cancel();
            accounts.stop().await;
            if let Some(namespaces) = &namespaces {
                namespaces.stop().await;
            }
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
        // Nothing waits for it.
        let issuer = async {
            if let Some((client, issuer)) = &named_issuer
                && let Some(Some(other)) = stop.run_until_cancelled(cluster::other_issuer(client, issuer)).await
            {
                warn!("{other}");
            }
        };
        tokio::join!(cache, associations, verdicts, end, certificates, issuer);
    }
}

/// The content of `/roles`.
fn roles_json(cache: Arc<RoleCache>) -> Box<dyn Fn() -> Vec<u8> + Send + Sync> {
    Box::new(move || {
        let roles = serde_json::to_string(&cache.snapshot()).unwrap_or_default();
        text::json::escape(&roles).into_owned().into_bytes()
    })
}

/// What is reported besides the log.
struct Reporting {
    metrics: Arc<Metrics>,
    audit: Option<AuditLog>,
    /// Whether to write Events, in a cluster.
    events: bool,
}

impl Reporting {
    fn open(args: TelemetryArgs, log_dropped: Counter) -> Result<Self> {
        let TelemetryArgs {
            audit_log,
            audit_log_rotate,
            events,
            metrics_namespace,
        } = args;
        let metrics = Metrics::new(if metrics_namespace {
            ByNamespace::Yes
        } else {
            ByNamespace::No
        });
        metrics.log_dropped(log_dropped);
        let opened = audit_log.map(|target| AuditLog::open(target, audit_log_rotate, metrics.audit_dropped()));
        let audit = opened.transpose().map_err(|error| {
            anyhow!("cannot write --audit-log {error}; name a file in a directory that exists and is writable, or -")
        })?;
        Ok(Self { metrics, audit, events })
    }
}

/// None without a cluster.
fn open_events(cluster: &Cluster, metrics: &Metrics) -> Option<(Events, EventWriter)> {
    Some(Events::new(
        cluster.client.clone()?,
        cluster.accounts.clone(),
        &instance(),
        EventTiming::default(),
        metrics.events(),
    ))
}

/// The evaluations after admission; none without a cluster.
fn open_verdicts(state: &State, metrics: &Arc<Metrics>, events: Option<Events>) -> Option<Verdicts> {
    let admission = state.admission.settings();
    let known = verdicts::Known {
        accounts: state.cluster.accounts.clone(),
        container_credentials: state.credentials.clone(),
        cache: state.cache.clone(),
    };
    let settings = verdicts::Settings {
        issuer: state.cluster.issuer.clone(),
        audience: admission.defaults.audience.clone(),
        prefix: admission.rules.prefix.clone(),
        docs_url: admission.docs_url.clone(),
    };
    Some(Verdicts::new(
        state.cluster.judged.clone()?,
        state.cluster.namespaces.clone()?,
        known,
        settings,
        metrics.clone(),
        events,
    ))
}

/// The name of this replica: the host name, which is the pod's name, or the node's with `hostNetwork`.
fn instance() -> String {
    let variable = std::env::var("HOSTNAME").ok();
    let name = variable.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "rolegate".to_owned())
}

async fn listen(flag: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let cannot = |error: io::Error| {
        let (what, step) = match error.kind() {
            io::ErrorKind::AddrInUse => (
                "another process uses the port".to_owned(),
                "stop it, or set another port",
            ),
            io::ErrorKind::AddrNotAvailable => (
                "this machine does not have the address".to_owned(),
                "set one that it has, or 0.0.0.0 for all",
            ),
            io::ErrorKind::PermissionDenied => ("permission denied".to_owned(), "set a port from 1024 on"),
            _ => (error.to_string(), "set another address or port"),
        };
        anyhow!("cannot listen on {flag} {address}: {what}; {step}")
    };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let local = listener.local_addr().map_err(cannot)?;
    Ok((listener, local))
}
