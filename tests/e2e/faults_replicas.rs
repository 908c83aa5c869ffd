//! Replicas that end, and that come later.

use std::time::Duration;

use serde_json::json;

use crate::cluster::{ExclusiveCluster, Gate, environment, role_of};
use crate::release::Notice;
use crate::scenarios::Scenarios;
use crate::traffic::Traffic;
use crate::wait::until;

/// Enough for several connections to each replica.
const CREATORS: usize = 6;

/// How long kube-proxy takes to learn of a pod that terminates.
const LAG: Duration = Duration::from_secs(1);

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(a_replica_that_terminates_fails_no_creation);
    scenarios.serial(a_replica_that_is_killed_lets_no_pod_pass_without_identity);
    scenarios.serial(without_replicas_no_pod_is_created_and_debugging_goes_on);
    scenarios.serial(without_replicas_namespaces_that_only_watch_lose_no_pod);
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

fn without_replicas_namespaces_that_only_watch_lose_no_pod(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({"jobNamespaces": ["by-name"], "jobNamespacesMode": "audit"}));
    cluster.wait_until_called(&release);
    let waits = [
        cluster.namespace("enforcing", Gate::Enforce),
        cluster.namespace("misspelt", Gate::Other("enforced")),
    ];
    let watches = [
        cluster.namespace("warning", Gate::Warn),
        cluster.namespace("auditing", Gate::Audit),
        cluster.namespace_named("by-name", Gate::None),
    ];
    let roles: Vec<String> = waits
        .iter()
        .chain(&watches)
        .map(|namespace| {
            let role = namespace.trusted_role(&release, "worker", "default");
            namespace.annotate("default", &role);
            let pod = namespace.create_pod("before", "default", &[]).json();
            assert_eq!(role_of(&pod).as_deref(), Some(&*role), "{}", namespace.name);
            role
        })
        .collect();
    for replica in release.replicas() {
        release.kill(&replica);
        release.forget(&replica);
    }

    for namespace in &watches {
        let pod = namespace.create_pod("during", "default", &[]).json();
        assert_eq!(role_of(&pod), None, "{}: no replica could inject it", namespace.name);
    }
    for (namespace, entry) in waits.iter().zip(["enforce", "misspelt"]) {
        let why = namespace.create_pod("during", "default", &[]).refused();
        let called = format!("failed calling webhook \"{entry}.rolegate.io\"");
        assert!(why.contains(&called), "{}: {why}", namespace.name);
    }
    // A Job waits: its controller tries again until a replica answers.
    waits[0].kubectl(&["create", "job", "nightly", "--image=example"]).ok();
    until("a pod of the Job that was refused", || {
        let events = waits[0].json(&["get", "events", "--field-selector=reason=FailedCreate"]);
        (!events["items"].as_array()?.is_empty()).then_some(())
    });
    // What the alert RolegateBypassed asks for.
    let metrics = cluster.kubectl(&["get", "--raw", "/metrics"]).ok();
    for entry in ["warn", "audit", "namespaces"] {
        let counted = metrics.lines().any(|line| {
            line.starts_with("apiserver_admission_webhook_fail_open_count{")
                && line.contains(&format!("name=\"{entry}.rolegate.io\""))
                && !line.ends_with(" 0")
        });
        assert!(
            counted,
            "the API server does not count that {entry}.rolegate.io was passed over"
        );
    }

    release.start_replica();
    assert_eq!(role_of(&waits[0].pod_of_job("nightly")).as_deref(), Some(&*roles[0]));
    for (namespace, role) in waits.iter().chain(&watches).zip(&roles) {
        let pod = namespace.create_pod("after", "default", &[]).json();
        assert_eq!(role_of(&pod).as_deref(), Some(&**role), "{}", namespace.name);
    }
}
