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
