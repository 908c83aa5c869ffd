//! `rolegate audit` of a cluster, whose API server the tests serve.

use std::process::Command;

use serde_json::{Value, json};

use crate::fake_api::{FakeApi, Fault};
use crate::program::{Folder, ISSUER, kubeconfig, policy_with};

const KEY: &str = "eks.amazonaws.com/role-arn";
const WORKER: &str = "arn:aws:iam::111122223333:role/worker";

async fn audit(api: &FakeApi, folder: &Folder, more: &[&str]) -> (i32, String, String) {
    folder.write("kubeconfig", &kubeconfig(&api.config().cluster_url.to_string()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolegate"));
    command
        .env("KUBECONFIG", folder.path().join("kubeconfig"))
        .arg("audit")
        .arg("--role-source")
        .arg(format!("files={}", folder.path().join("roles").display()))
        .args(more);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn cluster() -> (FakeApi, Folder) {
    let api = FakeApi::start().await;
    api.set_discovery(Some(&format!(r#"{{"issuer": "https://{ISSUER}"}}"#)));
    let folder = Folder::new();
    folder.role("worker", &policy_with(json!({})));
    (api, folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_annotated_account_of_many_pages_is_judged() {
    let (api, folder) = cluster().await;
    for number in 0..1_200 {
        api.put_account("jobs", &format!("sa-{number}"), &[(KEY, WORKER)]);
        api.put_account("plain", &format!("sa-{number}"), &[]);
    }
    api.put_account("other", "lost", &[(KEY, "arn:aws:iam::111122223333:role/gone")]);
    let (code, out, err) = audit(&api, &folder, &["--output", "json"]).await;
    assert_eq!((code, &*err), (1, ""));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["summary"]["serviceAccounts"], 1_201);
    assert_eq!(report["serviceAccounts"][0]["cause"], "role-not-found");
    assert!(api.asked().pages >= 5, "{:?}", api.asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_namespace_needs_no_permission_beyond_it() {
    let (api, folder) = cluster().await;
    api.put_account("jobs", "a", &[(KEY, WORKER)]);
    api.put_account("other", "b", &[(KEY, WORKER)]);
    let (_, out, _) = audit(&api, &folder, &["--namespace", "jobs", "-o", "json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    let names: Vec<_> = report["serviceAccounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["namespace"])
        .collect();
    assert_eq!(names, ["jobs"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_association_without_an_account_has_a_note() {
    let (api, folder) = cluster().await;
    api.put_account("jobs", "plain", &[]);
    for account in ["plain", "absent"] {
        let association = json!({"association": {
            "clusterName": "prod",
            "namespace": "jobs",
            "serviceAccount": account,
            "roleArn": WORKER,
            "associationId": format!("a-{account}"),
        }});
        folder.write(&format!("associations/{account}.json"), &association.to_string());
    }
    let source = format!("files={}", folder.path().join("associations").display());
    let flags = ["--association-source", &source, "--cluster-name", "prod", "-o", "json"];
    let (code, out, err) = audit(&api, &folder, &flags).await;
    assert_eq!((code, &*err), (1, ""));
    let report: Value = serde_json::from_str(&out).unwrap();
    let rows = report["serviceAccounts"].as_array().unwrap().iter();
    let shown: Vec<_> = rows
        .map(|row| {
            let has_note = row["lints"].to_string().contains("no-service-account");
            (
                row["kind"].as_str().unwrap(),
                row["serviceAccount"].as_str().unwrap(),
                has_note,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [("association", "absent", true), ("association", "plain", false)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named() {
    let (api, folder) = cluster().await;
    api.fail_lists(Some(Fault::Status(403)));
    let (code, out, err) = audit(&api, &folder, &[]).await;
    assert_eq!((code, &*out), (2, ""));
    assert!(err.contains("`list` on serviceaccounts"), "{err}");
}

/// A Deployment or another object with a pod template, and the name of its ServiceAccount.
fn workload(kind: &str, name: &str, account: &str) -> Value {
    let (group, spec) = match kind {
        "Pod" => (
            "v1",
            json!({"serviceAccountName": account, "containers": [{"name": "main"}]}),
        ),
        "Job" => (
            "batch/v1",
            json!({"template": {"spec": {"serviceAccountName": account, "containers": [{"name": "main"}]}}}),
        ),
        "Workflow" => (
            "argoproj.io/v1alpha1",
            json!({"serviceAccountName": account, "templates": [{"name": "main"}]}),
        ),
        _ => (
            "apps/v1",
            json!({"template": {"spec": {"serviceAccountName": account, "containers": [{"name": "main"}]}}}),
        ),
    };
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": "jobs"}, "spec": spec})
}

fn owned_by(mut object: Value, api_version: &str, kind: &str) -> Value {
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": api_version, "kind": kind, "name": "owner", "uid": "u", "controller": true}]);
    object
}

fn workload_rows(report: &Value) -> Vec<String> {
    let rows = report["serviceAccounts"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["kind"] == "workload");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    rows.map(|row| {
        let [kind, name, account, cause] =
            ["objectKind", "objectName", "serviceAccount", "cause"].map(|field| text(&row[field]));
        format!("{kind} {name}: {account} {cause}")
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_whose_account_is_missing_are_findings() {
    let (api, folder) = cluster().await;
    api.serve_group("argoproj.io", "v1alpha1");
    api.serve_group("tekton.dev", "v1alpha9");
    api.put_account("jobs", "worker", &[(KEY, WORKER)]);
    api.put_account("jobs", "plain", &[]);
    api.put_workload("deployments", workload("Deployment", "web", "absent"));
    api.put_workload("deployments", workload("Deployment", "good", "worker"));
    api.put_workload("statefulsets", workload("StatefulSet", "db", "plain"));
    api.put_workload("workflows", workload("Workflow", "daily", "absent"));
    // Their owners are read.
    let of_deployment = owned_by(workload("ReplicaSet", "web-1", "absent"), "apps/v1", "Deployment");
    api.put_workload("replicasets", of_deployment);
    api.put_workload(
        "pods",
        owned_by(workload("Pod", "web-1-x", "absent"), "apps/v1", "ReplicaSet"),
    );
    api.put_workload(
        "jobs",
        owned_by(workload("Job", "nightly-1", "absent"), "batch/v1", "CronJob"),
    );
    // A controller that is not known does not hide its Job, and a Job that has ended creates no pods.
    api.put_workload(
        "jobs",
        owned_by(workload("Job", "other-1", "absent"), "example.com/v1", "Fleet"),
    );
    let mut ended = workload("Job", "ended", "absent");
    ended["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    api.put_workload("jobs", ended);

    let (code, out, err) = audit(&api, &folder, &["--output", "json"]).await;
    assert_eq!((code, &*err), (1, ""));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        workload_rows(&report),
        [
            "Deployment web: absent no-role",
            "Job other-1: absent no-role",
            "Workflow daily: absent no-role",
            "StatefulSet db: plain -",
            "Deployment good: worker -",
        ]
    );
    let (_, out, _) = audit(&api, &folder, &[]).await;
    assert!(
        out.contains("ServiceAccount jobs/absent does not exist; Deployment \"web\" names it (no-role)"),
        "{out}"
    );
    assert!(!out.contains("StatefulSet"), "{out}");
    let (_, out, _) = audit(&api, &folder, &["--require-role"]).await;
    assert!(out.contains("jobs/plain (StatefulSet db)"), "{out}");
    api.put_account("other", "default", &[]);
    let (code, out, _) = audit(&api, &folder, &["-n", "other", "-o", "json"]).await;
    assert_eq!(
        (code, workload_rows(&serde_json::from_str(&out).unwrap()).len()),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_that_cannot_be_listed_are_named_once() {
    let (api, folder) = cluster().await;
    for number in 0..1_100 {
        api.put_workload(
            "deployments",
            workload("Deployment", &format!("web-{number}"), "absent"),
        );
    }
    api.forbid(&["pods", "jobs"]);
    for namespace in ["jobs", "other"] {
        api.put_account(namespace, "default", &[]);
    }
    let (code, out, err) = audit(&api, &folder, &["-o", "json", "-n", "jobs,other"]).await;
    assert_eq!(code, 1);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(
        err.contains("because the permission `list` on them is missing: pods, jobs.batch"),
        "{err}"
    );
    // Every page.
    assert_eq!(workload_rows(&serde_json::from_str(&out).unwrap()).len(), 1_100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_is_missing_in_one_namespace_hides_no_workload_of_another() {
    let (api, folder) = cluster().await;
    for namespace in ["closed", "jobs"] {
        api.put_account(namespace, "default", &[]);
    }
    api.put_workload("deployments", workload("Deployment", "web", "absent"));
    api.forbid_in("closed", "deployments");
    let (code, out, err) = audit(&api, &folder, &["-o", "json", "-n", "closed,jobs"]).await;
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("because the permission `list` on them is missing: deployments.apps in closed\n"),
        "{err}"
    );
    assert_eq!(
        workload_rows(&serde_json::from_str(&out).unwrap()),
        ["Deployment web: absent no-role"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_of_the_identity_config_map_are_judged() {
    let (api, folder) = cluster().await;
    api.put_account("jobs", "default", &[]);
    api.put_account("jobs", "other", &[]);
    let flags = [
        "--identity-config-map",
        "kube-system/pod-identity-webhook",
        "-o",
        "json",
    ];

    let (code, out, err) = audit(&api, &folder, &flags).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["serviceAccounts"]), (2, &json!([])));
    let missing = "the cluster has no ConfigMap kube-system/pod-identity-webhook; check the namespace and the name";
    assert!(err.contains(missing), "{err}");
    assert!(report["error"].as_str().unwrap().contains(missing), "{report}");

    let config = format!(r#"{{"jobs/default": {{"RoleARN": "{WORKER}"}}, "*/other": {{"RoleARN": "{WORKER}-2"}}}}"#);
    api.put_config_map("kube-system", "pod-identity-webhook", &[("config", &config)]);
    let (code, out, err) = audit(&api, &folder, &flags).await;
    assert_eq!((code, &*err), (1, ""));
    let report: Value = serde_json::from_str(&out).unwrap();
    let rows = report["serviceAccounts"].as_array().unwrap().iter();
    let shown: Vec<_> = rows
        .map(|row| ["kind", "serviceAccount", "cause"].map(|field| row[field].as_str().unwrap_or("-")))
        .collect();
    assert_eq!(
        shown,
        [
            ["config-map", "other", "role-not-found"],
            ["config-map", "default", "-"]
        ]
    );
}

const OTHER_ISSUER: &str = "oidc.example.com/other";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_is_not_the_one_of_the_cluster_is_a_warning() {
    let (api, folder) = cluster().await;
    api.put_account("jobs", "a", &[(KEY, WORKER)]);
    let (_, _, err) = audit(&api, &folder, &["--issuer", OTHER_ISSUER]).await;
    let words = [
        "warning: --issuer is oidc.example.com/other, but the API server reports ",
        ISSUER,
        "remove --issuer",
    ];
    assert!(words.iter().all(|word| err.contains(word)), "{err}");
    let (_, _, err) = audit(&api, &folder, &["--issuer", ISSUER]).await;
    assert_eq!(err, "");
    api.set_discovery(None);
    let (_, _, err) = audit(&api, &folder, &["--issuer", OTHER_ISSUER]).await;
    assert_eq!(err, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_on_all_namespaces_names_the_flag_that_needs_less() {
    let (api, folder) = cluster().await;
    api.put_account("jobs", "a", &[(KEY, WORKER)]);
    api.forbid(&["serviceaccounts"]);
    let (code, _, err) = audit(&api, &folder, &[]).await;
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("with -n NAMESPACE, it is needed only in that namespace"),
        "{err}"
    );
    let (code, _, err) = audit(&api, &folder, &["-n", "jobs"]).await;
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("this needs `list` on serviceaccounts") && !err.contains("-n NAMESPACE"),
        "{err}"
    );
}
