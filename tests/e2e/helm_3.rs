//! The chart in the hands of Helm 3, and of a user who moves from Helm 3 to Helm 4.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::certificates::{State, Watched};
use crate::cluster::{ExclusiveCluster, Gate, role_of};
use crate::release::{NAME, NAMESPACE};
use crate::scenarios::Scenarios;
use crate::support::tools;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(helm_3_installs_and_upgrades_and_helm_4_goes_on);
}

fn helm_3_installs_and_upgrades_and_helm_4_goes_on(cluster: &ExclusiveCluster<'_>) {
    let helm_4: PathBuf = tools::helm().unwrap();
    let helm_3 = match tools::helm_3() {
        Ok(helm) => helm,
        Err(missing) => return missing.skip("the chart with Helm 3"),
    };
    let mut release = cluster.install_by(helm_3, json!({}));
    let version = release.helm(&["version", "--short"]).ok();
    assert!(version.starts_with("v3."), "{version}");
    cluster.wait_until_called(&release);
    let client = cluster.client();
    let ca = cluster.run(State::read(&client)).ca().expect("a CA in the Secret");

    // The replicas stay as they are; what is shown is that no step leaves an entry without their CA.
    let steps = [
        ("the same again", json!({})),
        ("an entry more", json!({"jobNamespaces": ["some"]})),
        ("other rules", json!({"timeoutSeconds": 3})),
        ("an entry less", json!({"jobNamespaces": []})),
    ];
    let upgrade = |release: &crate::release::Release, what: &str, values: Value, args: &[&str]| {
        let watched = Watched::start(&client, cluster, &ca);
        release.upgrade(values, args).ok();
        watched.end(what);
    };
    for (what, values) in steps {
        upgrade(&release, &format!("{what}, Helm 3"), values, &[]);
    }
    let watched = Watched::start(&client, cluster, &ca);
    release.rollback(2, &[]).ok();
    watched.end("a rollback, Helm 3");
    upgrade(&release, "--force, Helm 3", json!({"timeoutSeconds": 2}), &["--force"]);

    release.use_helm(helm_4);
    let version = release.helm(&["version", "--short"]).ok();
    assert!(version.starts_with("v4."), "{version}");
    upgrade(
        &release,
        "an entry more, Helm 4",
        json!({"jobNamespaces": ["other"]}),
        &[],
    );
    upgrade(
        &release,
        "server-side, Helm 4",
        json!({"timeoutSeconds": 1}),
        &["--server-side=true"],
    );
    let entries = cluster.kubectl(&[
        "get",
        "mutatingwebhookconfigurations",
        NAME,
        "-o=jsonpath={.webhooks[*].timeoutSeconds}",
    ]);
    assert!(entries.ok().split(' ').all(|seconds| seconds == "1"));

    let jobs = cluster.namespace("helm-3", Gate::Enforce);
    let role = jobs.trusted_role(&release, "reports", "default");
    jobs.annotate("default", &role);
    let pod = jobs.create_pod("report", "default", &[]).json();
    assert_eq!(role_of(&pod), Some(role));

    release.uninstall().ok();
    let left = cluster.kubectl(&[
        "get",
        "mutatingwebhookconfigurations",
        NAME,
        "--ignore-not-found",
        "-o=name",
    ]);
    assert_eq!(left.ok(), "");
    let left = cluster.kubectl(&["get", "deployments", "-n", NAMESPACE, "-o=name"]);
    assert_eq!(left.ok(), "");
}
