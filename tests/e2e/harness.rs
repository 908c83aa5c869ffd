//! The harness does to the cluster what it says.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{ExclusiveCluster, Gate, Namespace, role_of};
use crate::link::Flow;
use crate::node::Node;
use crate::process::Signal;
use crate::release::{NAME, NAMESPACE, Notice, ROLES};
use crate::scenarios::Scenarios;
use crate::wait::until;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(connections_are_shared_refused_and_delayed);
    scenarios.serial(replicas_stop_as_requested);
    scenarios.serial(the_api_server_restarts_where_it_was);
    scenarios.serial(the_watch_is_cut_and_etcd_compacted);
    scenarios.serial(a_node_takes_its_pods_along);
    scenarios.serial(an_upgrade_rolls_the_replicas_and_a_rollback_rolls_them_back);
}

fn gets_role(namespace: &Namespace, pod: &str, role: &str) {
    let output = namespace.create_pod(pod, "default", &[]);
    assert_eq!(role_of(&output.json()).as_deref(), Some(role));
}

fn gated(cluster: &ExclusiveCluster<'_>, release: &crate::release::Release) -> (Namespace, String) {
    let namespace = cluster.namespace("harness", Gate::Enforce);
    let role = namespace.trusted_role(release, "some", "default");
    namespace.annotate("default", &role);
    gets_role(&namespace, "first", &role);
    (namespace, role)
}

fn connections_are_shared_refused_and_delayed(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    let (namespace, role) = gated(cluster, &release);
    for n in 0..4 {
        release.backend.drop_connections();
        gets_role(&namespace, &format!("shared-{n}"), &role);
    }
    let connections = release.backend.connections();
    assert!(
        connections.len() == 2 && connections.values().all(|count| *count >= 2),
        "{connections:?}"
    );
    assert!(release.replicas().iter().all(|replica| replica.calls() >= 2.0));

    release.backend.set_flow(Flow::Refused);
    release.backend.drop_connections();
    let refused = namespace.create_pod("refused", "default", &[]).refused();
    assert!(refused.contains("failed calling webhook"), "{refused}");

    release.backend.set_flow(Flow::Open);
    release.backend.set_delay(Duration::from_millis(300));
    release.backend.drop_connections();
    let begun = Instant::now();
    gets_role(&namespace, "delayed", &role);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

fn replicas_stop_as_requested(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    let (namespace, role) = gated(cluster, &release);

    let status = release.terminate(&release.replica(0), Notice::After(Duration::from_millis(200)));
    assert_eq!(status.code(), Some(0));
    gets_role(&namespace, "one-left", &role);

    let last = release.replica(0);
    last.signal(Signal::Stop);
    let refused = namespace.create_pod("hanging", "default", &[]).refused();
    assert!(
        refused.contains("deadline exceeded") || refused.contains("timeout"),
        "{refused}"
    );
    last.signal(Signal::Continue);
    gets_role(&namespace, "awake", &role);

    release.kill(&last);
    let refused = namespace.create_pod("killed", "default", &[]).refused();
    assert!(refused.contains("failed calling webhook"), "{refused}");
    release.forget(&last);
    release.start_replica();
    gets_role(&namespace, "again", &role);
}

fn the_api_server_restarts_where_it_was(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    let (namespace, role) = gated(cluster, &release);
    cluster.control_plane().restart_api_server();
    until("the webhook after the restart", || {
        let output = namespace.create_pod("after", "default", &[]);
        (output.succeeded() && role_of(&output.json()).as_deref() == Some(&role)).then_some(())
    });
}

fn the_watch_is_cut_and_etcd_compacted(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    let (namespace, role) = gated(cluster, &release);
    release.api_link.valve.set(Flow::Refused);
    release.api_link.valve.cut();
    cluster.control_plane().compact_etcd();
    cluster.control_plane().restart_api_server();
    release.api_link.valve.set(Flow::Open);
    gets_role(&namespace, "after", &role);
}

fn an_upgrade_rolls_the_replicas_and_a_rollback_rolls_them_back(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    let (namespace, role) = gated(cluster, &release);
    let before: Vec<_> = release.replicas().iter().map(|replica| replica.name.clone()).collect();
    release
        .upgrade(json!({"settings": {"log-level": "debug"}, "replicaCount": 3}), &[])
        .ok();
    let after: Vec<_> = release.replicas().iter().map(|replica| replica.name.clone()).collect();
    assert_eq!(after.len(), 3);
    assert!(before.iter().all(|name| !after.contains(name)));
    gets_role(&namespace, "upgraded", &role);
    assert!(release.log().contains("DEBUG"));

    release.rollback(1, &[]).ok();
    assert_eq!(release.replicas().len(), 2);
    gets_role(&namespace, "rolled-back", &role);
    release.uninstall().ok();
    namespace.create_pod("ungated", "default", &[]).ok();
}

/// What is left of a scenario would be called in every later one.
fn a_node_takes_its_pods_along(cluster: &ExclusiveCluster<'_>) {
    cluster.remove_shared_release();
    let around = cluster.surroundings();
    let backend = cluster.egress().backend(NAMESPACE, NAME);
    assert_eq!(backend.connections().len(), 0);
    let shell = cluster.shell("node");
    shell.put_on_path("helm", &around.helm);
    let node = Node::start(around);
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rolegate");
    shell.run(&format!("kubectl create namespace {NAMESPACE}"));
    shell.run(&format!("kubectl create configmap {ROLES} --namespace {NAMESPACE}"));
    let install = format!(
        "helm install {NAME} {chart} --namespace {NAMESPACE} --wait --timeout 120s --set image.repository=rolegate \
         --set roleSources=null --set roleFiles.configMap={ROLES} --set issuer=https://issuer.example.com"
    );
    shell.run(&install).ok();
    assert_eq!(backend.connections().len(), 2);
    drop(node);
    let left = backend.connections();
    shell
        .run(&format!(
            "helm uninstall {NAME} --namespace {NAMESPACE} --wait --timeout 60s"
        ))
        .ok();
    assert!(left.is_empty(), "{left:?}");
}
