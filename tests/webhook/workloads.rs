//! Warnings at `kubectl apply`, and never more than that.

use serde_json::{Value, json};

use crate::program::{Folder, Program};
use crate::reviews::{applied, deployment_pod};

const ROLE: (&str, &str) = ("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/worker");

fn folder() -> Folder {
    let folder = Folder::new();
    folder.role("worker", &Folder::trusting("jobs", "worker"));
    for name in ["worker", "stranger"] {
        folder.account("jobs", name, &[ROLE]);
    }
    folder
}

fn template(service_account: &str) -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": deployment_pod("jobs", service_account)["spec"]})
}

fn workloads(service_account: &str) -> Vec<Value> {
    let templated =
        json!({"metadata": {"name": "a", "namespace": "jobs"}, "spec": {"template": template(service_account)}});
    let cron_job = json!({"metadata": {"name": "a", "namespace": "jobs"}, "spec": {"jobTemplate": {"spec": {"template": template(service_account)}}}});
    vec![
        applied("batch", "v1", "Job", "jobs", &templated),
        applied("batch", "v1", "CronJob", "cronjobs", &cron_job),
        applied("apps", "v1", "Deployment", "deployments", &templated),
        applied("apps", "v1", "StatefulSet", "statefulsets", &templated),
        applied("apps", "v1", "DaemonSet", "daemonsets", &templated),
    ]
}

#[tokio::test]
async fn a_workload_whose_role_does_not_trust_it_is_warned_about() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    for review in workloads("stranger") {
        let response = program.review("/validate/workloads", &review).await;
        assert_eq!(response["allowed"], true);
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(
            warning.starts_with("IAM role \"worker\" does not trust ServiceAccount jobs/stranger: ")
                && warning.ends_with("(wrong-subject)"),
            "{warning}"
        );
    }
    let log = program.wait_for_log("warned about a workload");
    assert!(log.contains("\"kind\":\"Job\""), "{log}");
    // What only pods have is left out.
    assert!(!log.contains("\"pod\"") && !log.contains("\"mode\""), "{log}");
    for review in workloads("worker") {
        let response = program.review("/validate/workloads", &review).await;
        assert_eq!((&response["allowed"], response.get("warnings")), (&json!(true), None));
    }
}

#[tokio::test]
async fn a_service_account_is_warned_about_its_annotations() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    for (name, annotations, words) in [
        ("worker", json!({ROLE.0: ROLE.1}), None),
        ("stranger", json!({ROLE.0: ROLE.1}), Some("wrong-subject")),
        ("worker", json!({ROLE.0: "role/worker"}), Some("malformed-annotation")),
        (
            "worker",
            json!({"eks.amazonaws.com/role_arn": ROLE.1}),
            Some("role_arn"),
        ),
        (
            "worker",
            json!({ROLE.0: ROLE.1, "eks.amazonaws.com/token-expiration": "5"}),
            Some("token-expiration"),
        ),
        ("worker", Value::Null, None),
    ] {
        let account = json!({"metadata": {"name": name, "namespace": "jobs", "annotations": annotations}});
        let response = program
            .review(
                "/validate/workloads",
                &applied("", "v1", "ServiceAccount", "serviceaccounts", &account),
            )
            .await;
        assert_eq!(response["allowed"], true);
        match words {
            Some(words) => assert!(
                response["warnings"].to_string().contains(words),
                "{annotations}: {response:#}"
            ),
            None => assert!(response.get("warnings").is_none(), "{annotations}: {response:#}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_a_workload_is_a_bad_request() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let review = applied(
        "",
        "v1",
        "Secret",
        "secrets",
        &json!({"metadata": {"name": "a", "namespace": "jobs"}}),
    );
    let (status, json) = program.post("/validate/workloads", review.to_string()).await;
    assert_eq!(status, 400, "{json}");
    assert!(json["message"].as_str().unwrap().contains("Secret"), "{json}");
}

#[tokio::test]
async fn advice_is_written_to_the_audit_log() {
    let folder = folder();
    let audit = folder.path().join("audit.log");
    let mut program = Program::serve(&folder, &["--audit-log", audit.to_str().unwrap(), "--drain", "0s"]);
    for review in workloads("stranger") {
        program.review("/validate/workloads", &review).await;
    }
    program.signal("TERM");
    program.wait();
    let text = std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5, "{text}");
    for line in lines {
        assert_eq!(
            (&line["serviceAccount"], &line["cause"]),
            (&json!("stranger"), &json!("wrong-subject"))
        );
        assert_eq!((&line["mode"], &line["action"]), (&Value::Null, &json!("none")));
    }
}

#[tokio::test]
async fn in_mode_audit_nothing_is_warned_about() {
    let folder = folder();
    let program = Program::serve(&folder, &["--mode", "audit"]);
    for review in workloads("stranger") {
        let response = program.review("/validate/workloads", &review).await;
        assert_eq!((&response["allowed"], response.get("warnings")), (&json!(true), None));
    }
}

fn workflow(accounts: impl Iterator<Item = String>) -> Value {
    let templates: Vec<Value> = accounts
        .map(|name| json!({"name": "t", "serviceAccountName": name}))
        .collect();
    let object = json!({"metadata": {"name": "a", "namespace": "jobs"}, "spec": {"templates": templates}});
    applied("argoproj.io", "v1alpha1", "Workflow", "workflows", &object)
}

#[tokio::test]
async fn each_service_account_of_a_job_system_is_warned_about_once() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let names = ["worker", "stranger", "stranger", "worker"].map(str::to_owned);
    let response = program
        .review("/validate/workloads", &workflow(names.into_iter()))
        .await;
    let warnings = response["warnings"].as_array().unwrap();
    // The reason and the fix, each once.
    assert_eq!(warnings.len(), 2, "{response:#}");
    assert!(
        warnings[0]
            .as_str()
            .unwrap()
            .contains("does not trust ServiceAccount jobs/stranger: "),
        "{response:#}"
    );
}

#[tokio::test]
async fn a_workflow_of_5000_templates_has_few_warnings() {
    let folder = folder();
    for number in 0..40 {
        folder.account("jobs", &format!("stranger-{number}"), &[ROLE]);
    }
    let program = Program::serve(&folder, &[]);
    let names = (0..5_000).map(|number| format!("stranger-{}", number % 40));
    let response = program.review("/validate/workloads", &workflow(names)).await;
    let warnings = response["warnings"].as_array().unwrap();
    assert!((2..=16).contains(&warnings.len()), "{response:#}");
}

#[tokio::test]
async fn the_role_of_an_account_that_an_operator_will_create_is_judged_before_the_account_exists() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let annotated = json!({"template": {"serviceAccount": {"metadata": {"annotations": {ROLE.0: ROLE.1}}}}});
    let object = json!({"metadata": {"name": "orders", "namespace": "jobs"}, "spec": annotated});
    for version in ["v1", "v1beta2"] {
        let review = applied("kafka.strimzi.io", version, "KafkaConnect", "kafkaconnects", &object);
        let response = program.review("/validate/workloads", &review).await;
        assert!(
            response["warnings"].to_string().contains("jobs/orders-connect"),
            "{version}: {response:#}"
        );
    }
}

#[tokio::test]
async fn what_is_decided_elsewhere_has_no_warning() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let spec = json!({"template": template("stranger"), "templates": [{"serviceAccountName": "stranger"}]});
    let namespaced = json!({"metadata": {"name": "a", "namespace": "jobs"}, "spec": spec});
    let cluster_wide = json!({"metadata": {"name": "a"}, "spec": spec});
    let unnamed = json!({"metadata": {"name": "a", "namespace": "jobs"}, "spec": {"templates": [{}]}});
    for (group, version, kind, object) in [
        // A version that the table does not list.
        ("argoproj.io", "v9", "Rollout", &namespaced),
        ("argoproj.io", "v1alpha1", "ClusterWorkflowTemplate", &cluster_wide),
        ("argoproj.io", "v1alpha1", "Workflow", &unnamed),
    ] {
        let review = applied(group, version, kind, "any", object);
        let response = program.review("/validate/workloads", &review).await;
        assert_eq!(
            (&response["allowed"], response.get("warnings")),
            (&json!(true), None),
            "{kind}"
        );
    }
}
