//! `helm uninstall` leaves nothing behind.

use serde_json::json;

use crate::cluster::{ExclusiveCluster, Gate, role_of};
use crate::release::NAME;
use crate::scenarios::Scenarios;
use crate::wait::until_ok;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(uninstalling_leaves_nothing_behind);
}

fn uninstalling_leaves_nothing_behind(cluster: &ExclusiveCluster<'_>) {
    // With a role in another namespace too.
    let release = cluster.install(json!({"identityConfigMap": "kube-system/pod-identity-webhook"}));
    cluster.wait_until_called(&release);
    // Which the cluster does not have: that is not an error, but not silent either.
    let missing = "the identity ConfigMap kube-system/pod-identity-webhook does not exist";
    assert!(release.log().contains(missing), "{}", release.log());
    let namespace = cluster.namespace("uninstalled", Gate::Enforce);
    let role = namespace.trusted_role(&release, "worker", "default");
    namespace.annotate("default", &role);
    let pod = namespace.create_pod("before", "default", &[]).json();
    assert_eq!(role_of(&pod), Some(role));
    let kinds = kinds(cluster);
    assert!(
        leftovers(cluster, &kinds)
            .iter()
            .any(|left| left.starts_with("Secret "))
    );

    release.uninstall().ok();

    until_ok("a cluster without a trace of the release", || {
        let left = leftovers(cluster, &kinds);
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    });
    let pod = namespace.create_pod("after", "default", &[]).json();
    assert_eq!(role_of(&pod), None);
}

/// Every kind that can be listed.
fn kinds(cluster: &ExclusiveCluster<'_>) -> String {
    let kinds = cluster
        .kubectl(&["api-resources", "--verbs=list", "--output=name"])
        .ok();
    let kinds: Vec<_> = kinds
        .lines()
        // Events describe the past; the others contain no objects of users.
        .filter(|kind| !kind.starts_with("events") && !kind.starts_with("componentstatuses"))
        .collect();
    kinds.join(",")
}

/// Objects with the name or the label of the release. What controllers made of its Deployment and Service has an owner: the garbage
/// collector takes it after them, in its own time.
fn leftovers(cluster: &ExclusiveCluster<'_>, kinds: &str) -> Vec<String> {
    let all = cluster.json(&["get", kinds, "--all-namespaces"]);
    let items = all["items"].as_array().unwrap().iter();
    items
        .filter(|object| object["kind"] != "Namespace")
        .filter(|object| object["metadata"]["ownerReferences"].is_null())
        .filter(|object| {
            let metadata = &object["metadata"];
            let is_named = metadata["name"].as_str().unwrap_or_default().contains(NAME);
            is_named || metadata["labels"]["app.kubernetes.io/instance"] == NAME
        })
        .map(|object| {
            let metadata = &object["metadata"];
            format!("{} {}", object["kind"].as_str().unwrap_or_default(), metadata["name"])
        })
        .collect()
}
