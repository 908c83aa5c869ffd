//! What rolegate asked of the API server, by the API server's own audit log.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::release::{NAME, NAMESPACE};

/// The user that a replica is to the API server.
pub(crate) fn user_of(service_account: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{service_account}")
}

/// The calls of the release's own ServiceAccount after the first `before` events of the log.
pub(crate) fn calls_since(cluster: &Cluster, before: usize) -> Vec<Value> {
    calls_of(cluster, NAME, before)
}

/// The calls of a ServiceAccount of the release's namespace.
pub(crate) fn calls_of(cluster: &Cluster, service_account: &str, before: usize) -> Vec<Value> {
    let user = user_of(service_account);
    let mut events = cluster.audit_events();
    let mut calls = events.split_off(before.min(events.len()));
    calls.retain(|event| event["user"]["username"] == user);
    calls
}
