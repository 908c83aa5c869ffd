//! Pods that are faster than what is known of their ServiceAccounts.

use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::cluster::{Cluster, Gate, trust_policy};
use crate::rolegate_calls::calls_since;
use crate::scenarios::Scenarios;
use crate::traffic::{Tally, create_pod};

const PODS: usize = 300;

/// Pods in flight at a time.
const AT_ONCE: usize = 8;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(pods_created_right_after_their_service_accounts_have_their_role);
    scenarios.parallel(pods_created_right_after_a_change_of_the_annotation_have_the_new_role);
}

fn pods_created_right_after_their_service_accounts_have_their_role(cluster: &Cluster) {
    let release = cluster.release();
    let namespace = cluster.namespace("behind-account", Gate::Enforce);
    let role = namespace.role_arn("worker");
    release.put_role(&role, &trust_any(&namespace.name));
    let before = cluster.audit_events().len();

    let tally = cluster.run(async {
        let pod = |number: usize| {
            let (client, namespace, role) = (cluster.client(), namespace.name.clone(), role.clone());
            async move {
                let name = format!("worker-{number}");
                put_account(&client, &namespace, &name, Some(&role)).await;
                let created = create_pod(&client, &namespace, &name, &name).await;
                (name, created)
            }
        };
        let mut pods = stream::iter(0..PODS).map(pod).buffer_unordered(AT_ONCE);
        let mut tally = Tally::default();
        while let Some((name, created)) = pods.next().await {
            tally.count(&name, created, &role);
        }
        tally
    });
    say_how_often_it_asked(cluster, &namespace.name, before);
    assert_eq!(tally.injected, PODS, "{tally:?}");
}

fn pods_created_right_after_a_change_of_the_annotation_have_the_new_role(cluster: &Cluster) {
    let release = cluster.release();
    let namespace = cluster.namespace("behind-change", Gate::Enforce);
    let role = namespace.role_arn("worker");
    release.put_role(&role, &trust_any(&namespace.name));
    let before = cluster.audit_events().len();

    let tally = cluster.run(async {
        let pod = |number: usize| {
            let (client, namespace, role) = (cluster.client(), namespace.name.clone(), role.clone());
            async move {
                let name = format!("worker-{number}");
                put_account(&client, &namespace, &name, None).await;
                annotate(&client, &namespace, &name, &role).await;
                let created = create_pod(&client, &namespace, &name, &name).await;
                (name, created)
            }
        };
        let mut pods = stream::iter(0..PODS).map(pod).buffer_unordered(AT_ONCE);
        let mut tally = Tally::default();
        while let Some((name, created)) = pods.next().await {
            tally.count(&name, created, &role);
        }
        tally
    });
    say_how_often_it_asked(cluster, &namespace.name, before);
    assert_eq!(tally.injected, PODS, "{tally:?}");
}

/// Trusts every ServiceAccount of a namespace.
pub(crate) fn trust_any(namespace: &str) -> serde_json::Value {
    let exact = trust_policy(namespace, "*").to_string();
    serde_json::from_str(&exact.replace("StringEquals", "StringLike")).unwrap()
}

/// For who reads the output: how often memory was behind.
fn say_how_often_it_asked(cluster: &Cluster, namespace: &str, before: usize) {
    let asked = calls_since(cluster, before)
        .iter()
        .filter(|call| call["verb"] == "get" && call["objectRef"]["namespace"] == namespace)
        .count();
    println!("{namespace}: memory was behind for {asked} of {PODS} pods");
}

async fn put_account(client: &Client, namespace: &str, name: &str, role: Option<&str>) {
    let annotations = role.map_or(json!({}), |role| json!({"eks.amazonaws.com/role-arn": role}));
    let account = json!({"metadata": {"name": name, "annotations": annotations}});
    Api::<ServiceAccount>::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &serde_json::from_value(account).unwrap())
        .await
        .unwrap();
}

async fn annotate(client: &Client, namespace: &str, name: &str, role: &str) {
    let patch = json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": role}}});
    Api::<ServiceAccount>::namespaced(client.clone(), namespace)
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}
