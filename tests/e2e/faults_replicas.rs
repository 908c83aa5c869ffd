//! Replicas that end, and that come later.

use std::time::Duration;

use serde_json::json;

use crate::cluster::{ExclusiveCluster, Gate, environment, role_of};
use crate::release::Notice;
use crate::scenarios::Scenarios;
use crate::traffic::Traffic;

/// Enough for several connections to each replica.
const CREATORS: usize = 6;

/// How long kube-proxy takes to learn of a pod that terminates.
const LAG: Duration = Duration::from_secs(1);

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(a_replica_that_terminates_fails_no_creation);
    scenarios.serial(a_replica_that_is_killed_lets_no_pod_pass_without_identity);
    scenarios.serial(without_replicas_no_pod_is_created_and_debugging_goes_on);
}

fn a_replica_that_terminates_fails_no_creation(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    cluster.wait_until_called(&release);
    let namespace = cluster.namespace("terminating", Gate::Enforce);
    let role = namespace.trusted_role(&release, "worker", "default");
    namespace.annotate("default", &role);

    let traffic = Traffic::start(cluster, &namespace, &role, CREATORS);
    traffic.go_on(50);
    // As a Deployment rolls: the new one first, and the old ones end one by one.
    for old in release.replicas() {
        release.start_replica();
        traffic.go_on(20);
        let status = release.terminate(&old, Notice::After(LAG));
        assert_eq!(status.code(), Some(0), "{}", old.log());
        traffic.go_on(20);
    }
    let tally = traffic.stop();
    println!("two replicas replaced under {} pods", tally.injected);
    tally.assert_all_injected();
}

fn a_replica_that_is_killed_lets_no_pod_pass_without_identity(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    cluster.wait_until_called(&release);
    let namespace = cluster.namespace("killed", Gate::Enforce);
    let role = namespace.trusted_role(&release, "worker", "default");
    namespace.annotate("default", &role);

    let traffic = Traffic::start(cluster, &namespace, &role, CREATORS);
    traffic.go_on(50);
    let victim = release.replica(0);
    release.kill(&victim);
    // Its endpoint is still there: what goes to it is refused.
    std::thread::sleep(LAG);
    release.forget(&victim);
    // Also waits for what was on its way to the victim.
    let tally = traffic.stop();
    println!(
        "a replica killed under {} pods: {} creations failed while its endpoint stood",
        tally.injected,
        tally.failed.len()
    );
    tally.assert_no_pod_without_identity();
    let traffic = Traffic::start(cluster, &namespace, &role, CREATORS);
    traffic.go_on(50);
    traffic.stop().assert_all_injected();
}

fn without_replicas_no_pod_is_created_and_debugging_goes_on(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    cluster.wait_until_called(&release);
    let namespace = cluster.namespace("alone", Gate::Enforce);
    let role = namespace.trusted_role(&release, "worker", "default");
    namespace.annotate("default", &role);
    namespace.create_pod("before", "default", &[]).ok();

    for replica in release.replicas() {
        release.kill(&replica);
        release.forget(&replica);
    }

    let why = namespace.create_pod("during", "default", &[]).refused();
    assert!(why.contains(r#"failed calling webhook "enforce.rolegate.io""#), "{why}");
    let debug = [
        "debug",
        "before",
        "--image=example",
        "--container=look",
        "--",
        "sleep",
        "60",
    ];
    namespace.kubectl(&debug).ok();
    let debugged = namespace.json(&["get", "pod", "before"]);
    assert_eq!(debugged["spec"]["ephemeralContainers"][0]["name"], "look");
    assert_eq!(
        debugged["spec"]["ephemeralContainers"][0]["env"],
        serde_json::Value::Null
    );
    // Elsewhere nothing is amiss.
    let elsewhere = cluster.namespace("ungated", Gate::None);
    elsewhere.create_pod("plain", "default", &[]).ok();

    release.start_replica();
    let pod = namespace.create_pod("after", "default", &[]).json();
    assert_eq!(role_of(&pod), Some(role));
    assert!(environment(&pod, "AWS_WEB_IDENTITY_TOKEN_FILE").is_some());
}
