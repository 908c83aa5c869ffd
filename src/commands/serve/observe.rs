//! What the webhook reports of its parts: readiness, gauges, failed reloads.

use std::time::Duration;

use super::certificates::Certificates;
use super::state::{Cluster, State};
use crate::associations;
use crate::http::admin::Readiness;
use crate::roles::{ReadObserver, ReadResult};
use crate::server::connections::Connections;
use crate::telemetry::metrics::Metrics;

/// What must hold before the webhook is ready.
pub(super) fn readiness(cluster: &Cluster, certificates: &Certificates) -> Readiness {
    let accounts = cluster.accounts.clone();
    let readiness = Readiness::new().and("ServiceAccounts are listed", move || accounts.is_synced());
    let readiness = match cluster.namespaces.clone() {
        None => readiness,
        Some(namespaces) => readiness.and("Namespaces are listed, or rolegate is not allowed to", move || {
            namespaces.is_ready()
        }),
    };
    let readiness = certificates.conditions(readiness);
    match cluster.identity_map.clone() {
        None => readiness,
        Some(map) => readiness.and("the identity ConfigMap is read", move || map.is_synced()),
    }
}

/// Registers the metrics that are read when they are scraped.
pub(super) fn gauges(metrics: &Metrics, state: &State, certificates: &Certificates, connections: &Connections) {
    let accounts = state.cluster.accounts.clone();
    metrics.gauges("service_accounts", "Known ServiceAccounts", "state", move || {
        let counts = accounts.counts();
        [
            ("with-role", counts.with_role),
            ("malformed", counts.malformed),
            ("without-role", counts.without_role),
        ]
        .map(|(state, count)| (state, as_gauge(count)))
        .to_vec()
    });
    let accounts = state.cluster.accounts.clone();
    metrics.know_namespaces(move |namespace| accounts.has_namespace(namespace));
    let cache = state.cache.clone();
    metrics.gauges("role_cache_roles", "Roles in the role cache", "state", move || {
        cache
            .counts()
            .map(|(state, count)| (state.as_str(), as_gauge(count)))
            .to_vec()
    });
    if let Some(associations) = state.associations.clone() {
        let help = "Known EKS Pod Identity associations";
        metrics.gauges("associations", help, "state", move || {
            let (all, described) = associations.counts();
            [("described", described), ("undescribed", all - described)]
                .map(|(state, count)| (state, as_gauge(count)))
                .to_vec()
        });
    }
    let connections = connections.clone();
    metrics.gauge("connections", "Open connections", move || as_gauge(connections.open()));
    metrics.gauges(
        "certificate_expiry_timestamp_seconds",
        "When a certificate expires",
        "kind",
        certificates.expiry(),
    );
}

/// Registers the counter of connections that were closed for want of connections, of all listeners together.
pub(super) fn closed_connections(metrics: &Metrics, listeners: [&Connections; 2]) {
    let listeners = listeners.map(Clone::clone);
    metrics.counters(
        "connections_closed",
        "Connections that were closed at the connection limit, by reason",
        "reason",
        move || {
            let [reviews, admin] = listeners.each_ref().map(Connections::closed);
            let sums = reviews.into_iter().zip(admin);
            sums.map(|((reason, reviews), (_, admin))| (reason, reviews + admin))
                .collect()
        },
    );
}

/// Registers the counter of failed reloads.
pub(super) fn reload_failures(metrics: &Metrics, state: &State, certificates: &Certificates) {
    let accounts = state.cluster.accounts.clone();
    let identity_map = state.cluster.identity_map.clone();
    let sources = state.sources.clone();
    let credentials = state.credentials.clone();
    let associations = state.associations.clone();
    let certificates = certificates.reload_failures.clone();
    let help = "Failed reloads of files and objects; the last good content stays in use";
    metrics.counters("reload_failures", help, "what", move || {
        let mut counts = vec![
            ("certificates", certificates()),
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
        counts.extend(
            associations
                .as_ref()
                .map(|associations| ("associations", associations.reload_failures())),
        );
        counts
    });
}

/// Exact up to 2^53, far beyond what is counted here.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn as_gauge(count: usize) -> f64 {
    count as f64
}

impl associations::ReadObserver for Metrics {
    fn read(&self, source: &'static str, kind: associations::ReadKind, result: associations::ReadResult) {
        self.count_association_read(source, kind.as_str(), result.as_str());
    }
}

impl ReadObserver for Metrics {
    fn role_read(&self, source: &'static str, result: ReadResult, took: Duration) {
        self.count_role_read(source, result.as_str(), took);
    }
}
