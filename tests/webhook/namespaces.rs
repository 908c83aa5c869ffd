//! The label `rolegate.io/require-role` of a namespace, which replaces `--require-role` for its pods.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake_api::{FakeApi, Fault};
use crate::live::{STRANGER, api, roles_known, serve};
use crate::program::{Folder, Program, eventually};
use crate::reviews::{applied, creation, deployment_pod, job_pod};

const LABEL: &str = "rolegate.io/require-role";

const ROLE: (&str, &str) = ("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/worker");

#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Denied,
    Warned,
    Silent,
}

/// The review of a pod whose ServiceAccount has no role.
async fn review(program: &Program, mode: &str, namespace: &str) -> Value {
    let pod = creation(&job_pod(namespace, "plain"));
    program.review(&format!("/mutate/{mode}?timeout=10s"), &pod).await
}

fn seen(response: &Value) -> Seen {
    let no_role = |text: &Value| text.as_str().unwrap().lines().next().unwrap().ends_with("(no-role)");
    if response["allowed"] == false {
        assert!(no_role(&response["status"]["message"]), "{response:#}");
        return Seen::Denied;
    }
    assert!(response.get("patch").is_none(), "{response:#}");
    match response["warnings"].as_array() {
        Some(warnings) => {
            assert!(warnings.iter().any(no_role), "{response:#}");
            Seen::Warned
        }
        None => Seen::Silent,
    }
}

fn names_the_label(response: &Value, namespace: &str) -> bool {
    let (start, end) = (
        format!("rolegate: label {LABEL}=\""),
        format!("\" of namespace {namespace} is not a valid value (warn, enforce): treated as enforce"),
    );
    let fix = format!("fix: kubectl label namespace {namespace} {LABEL}=enforce --overwrite");
    let warnings = response["warnings"].as_array().map_or(&[][..], Vec::as_slice);
    let at = warnings.iter().position(|warning| {
        let text = warning.as_str().unwrap();
        text.starts_with(&start) && text.ends_with(&end)
    });
    at.is_some_and(|at| warnings.get(at + 1) == Some(&json!(fix)))
}

/// The path of a pod's review has only the word for a value that is not valid; the label itself is in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_that_is_not_valid_is_shown_with_the_command_that_corrects_it() {
    let api = api().await;
    api.put_namespace("jobs", &[("rolegate.io/gate", "enforced")]);
    api.put_account("jobs", "plain", &[]);
    let (_folder, program) = serve(&api, &[]).await;
    let warnings = |namespace: &str, value: &str| {
        json!([
            format!(
                "rolegate: label rolegate.io/gate{value} of namespace {namespace} is not a valid mode (enforce, warn, audit): \
                 treated as enforce"
            ),
            format!("fix: kubectl label namespace {namespace} rolegate.io/gate=enforce --overwrite"),
        ])
    };
    let response = review(&program, "misspelled", "jobs").await;
    assert_eq!(response["warnings"], warnings("jobs", "=\"enforced\""));
    let spec = &deployment_pod("jobs", "plain")["spec"];
    let object = json!({"metadata": {"name": "a", "namespace": "jobs"}, "spec": {"template": {"spec": spec}}});
    let workload = applied("apps", "v1", "Deployment", "deployments", &object);
    let response = program.review("/validate/workloads", &workload).await;
    assert_eq!(response["warnings"], warnings("jobs", "=\"enforced\""));
    // A namespace that is not in memory.
    let response = review(&program, "misspelled", "unknown").await;
    assert_eq!(response["warnings"], warnings("unknown", ""));
}

/// Namespaces, each with a ServiceAccount that has no role.
fn put(api: &FakeApi, namespace: &str, label: Option<&str>) {
    let labels: Vec<_> = label.iter().map(|value| (LABEL, *value)).collect();
    api.put_namespace(namespace, &labels);
    api.put_account(namespace, "plain", &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_label_replaces_the_flag_for_its_namespace() {
    use Seen::{Denied, Silent, Warned};
    let api = api().await;
    let enforced = [Denied, Warned, Silent];
    let warned = [Warned, Warned, Silent];
    let labels = [
        ("strict", Some("enforce"), Some(enforced)),
        ("lenient", Some("warn"), Some(warned)),
        ("off", Some("off"), Some(enforced)),
        ("empty", Some(""), Some(enforced)),
        ("unlabeled", None, None),
    ];
    for (namespace, label, _) in labels {
        put(&api, namespace, label);
    }
    for (flag, by_flag) in [("off", [Silent; 3]), ("warn", warned), ("enforce", enforced)] {
        let (_folder, program) = serve(&api, &["--require-role", flag]).await;
        for (namespace, label, by_label) in labels {
            for (mode, expected) in ["enforce", "warn", "audit"].iter().zip(by_label.unwrap_or(by_flag)) {
                let response = review(&program, mode, namespace).await;
                let case = format!("label {label:?}, flag {flag}, mode {mode}: {response:#}");
                assert_eq!(seen(&response), expected, "{case}");
                let is_misspelled = matches!(label, Some("off" | ""));
                assert_eq!(
                    names_the_label(&response, namespace),
                    is_misspelled && *mode != "audit",
                    "{case}"
                );
                let cause = response["auditAnnotations"].get("cause");
                assert_eq!(cause.is_some(), label.is_some() || flag != "off", "{case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_with_a_role_is_injected_in_a_namespace_that_requires_one() {
    let api = api().await;
    for (namespace, label) in [("strict", "enforce"), ("misspelled", "yes")] {
        put(&api, namespace, Some(label));
        api.put_account(namespace, "worker", &[ROLE]);
    }
    let (_folder, program) = serve(&api, &[]).await;
    for (namespace, is_misspelled) in [("strict", false), ("misspelled", true)] {
        let response = program
            .review("/mutate/enforce", &creation(&job_pod(namespace, "worker")))
            .await;
        assert!(
            response["allowed"] == true && response.get("patch").is_some(),
            "{response:#}"
        );
        assert_eq!(names_the_label(&response, namespace), is_misspelled, "{response:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_follows_its_namespace_at_once_is_refused() {
    let api = api().await;
    let (_folder, program) = serve(&api, &[]).await;
    // The watch reports nothing, like one that lags behind.
    api.hold_events();
    for number in 0..50 {
        let namespace = format!("new-{number}");
        put(&api, &namespace, Some("enforce"));
        assert_eq!(
            seen(&review(&program, "enforce", &namespace).await),
            Seen::Denied,
            "{namespace}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pod_is_refused_because_of_a_label_that_was_removed() {
    let api = api().await;
    put(&api, "jobs", Some("enforce"));
    let (_folder, program) = serve(&api, &[]).await;
    assert_eq!(seen(&review(&program, "enforce", "jobs").await), Seen::Denied);
    api.hold_events();
    put(&api, "jobs", None);
    assert_eq!(seen(&review(&program, "enforce", "jobs").await), Seen::Silent);
    put(&api, "jobs", Some("warn"));
    assert_eq!(seen(&review(&program, "enforce", "jobs").await), Seen::Warned);

    // The same for a ServiceAccount that is known with a role, and has none any more.
    put(&api, "others", Some("enforce"));
    api.put_account("others", "plain", &[STRANGER]);
    api.release_events();
    roles_known(&program, 1).await;
    api.hold_events();
    put(&api, "others", None);
    assert_eq!(seen(&review(&program, "enforce", "others").await), Seen::Silent);

    // The flag refuses, whatever the label says: nothing needs to be read again.
    put(&api, "jobs", Some("enforce"));
    let (_folder, program) = serve(&api, &["--require-role=enforce"]).await;
    api.forbid(&["namespaces"]);
    assert_eq!(seen(&review(&program, "enforce", "jobs").await), Seen::Denied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_without_the_role_are_refused_where_the_label_requires_one() {
    let mut skipped = job_pod("jobs", "worker");
    let name = skipped["spec"]["containers"][0]["name"].clone();
    skipped["metadata"]["annotations"]["eks.amazonaws.com/skip-containers"] = name;
    let mut own = job_pod("jobs", "worker");
    own["spec"]["containers"][0]["env"] = json!([
        {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "https://credentials.example.com/role"},
        {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": "/var/run/secrets/example.com/token"},
    ]);
    let api = api().await;
    put(&api, "jobs", Some("enforce"));
    api.put_account("jobs", "worker", &[ROLE]);
    let (_folder, program) = serve(&api, &[]).await;
    for pod in [&skipped, &own] {
        let response = program.review("/mutate/enforce", &creation(pod)).await;
        assert_eq!(response["allowed"], false, "{response:#}");
    }
    // A label that was removed refuses neither, although the watch lags behind.
    api.hold_events();
    api.put_namespace("jobs", &[]);
    for pod in [&skipped, &own] {
        let response = program.review("/mutate/enforce", &creation(pod)).await;
        assert_eq!(response["allowed"], true, "{response:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_only_the_label_requires_needs_an_answer_of_the_api_server() {
    let api = api().await;
    put(&api, "jobs", Some("enforce"));
    let (_folder, program) = serve(&api, &[]).await;
    assert_eq!(seen(&review(&program, "enforce", "jobs").await), Seen::Denied);
    api.forbid(&["namespaces"]);
    let pod = creation(&job_pod("jobs", "plain")).to_string();
    let (status, answer) = program.post("/mutate/enforce?timeout=2s", pod).await;
    assert_eq!(status, 503, "{answer:#}");
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains("namespace jobs could not be read: GET Namespace jobs: 403 Forbidden"),
        "{message}"
    );
    assert!(message.contains("rolegate needs `get` on namespaces"), "{message}");
    // A warning needs none.
    assert_eq!(seen(&review(&program, "warn", "jobs").await), Seen::Warned);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flag_decides_while_a_new_namespace_cannot_be_read_and_each_change_is_logged_once() {
    let api = api().await;
    for flag in ["off", "warn"] {
        let (_folder, program) = serve(&api, &["--require-role", flag]).await;
        api.hold_events();
        let expected = if flag == "off" { Seen::Silent } else { Seen::Warned };
        let namespace = format!("new-{flag}");
        put(&api, &namespace, Some("enforce"));
        api.forbid(&["namespaces"]);
        for _ in 0..3 {
            assert_eq!(seen(&review(&program, "enforce", &namespace).await), expected, "{flag}");
        }
        api.forbid(&[]);
        for _ in 0..3 {
            assert_eq!(
                seen(&review(&program, "enforce", &namespace).await),
                Seen::Denied,
                "{flag}"
            );
        }
        program.wait_for_log("reading namespaces that are not in memory works again");
        let failed = program.log_lines("failed to read a namespace that is not in memory");
        assert_eq!(failed.len(), 1, "{failed:#?}");
        assert!(
            failed[0].contains("; rolegate needs `get` on namespaces; --require-role applies to it"),
            "{failed:#?}"
        );
        assert_eq!(program.log_lines("works again").len(), 1);
        api.release_events();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_list_namespaces_the_flag_decides_and_the_right_is_named_once() {
    let api = api().await;
    put(&api, "jobs", Some("enforce"));
    api.forbid(&["namespaces"]);
    // Readiness is awaited.
    let (_folder, program) = serve(&api, &["--require-role=warn"]).await;
    let (_, report) = program.get("/readyz").await;
    assert!(
        report.contains("[ok] Namespaces are listed, or rolegate is not allowed to"),
        "{report}"
    );
    for _ in 0..3 {
        assert_eq!(seen(&review(&program, "enforce", "jobs").await), Seen::Warned);
    }
    // Long enough for several lists.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let warnings = program.log_lines("Namespace");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    let warning = warnings[0].replace('\\', "");
    for words in [
        "watch of Namespaces failed: the list failed: 403 Forbidden: ",
        "cannot list resource \"namespaces\"",
        "--require-role applies to namespaces that cannot be read",
    ] {
        assert!(warning.contains(words), "{words}: {warning}");
    }

    api.forbid(&[]);
    eventually("the label", || async {
        (seen(&review(&program, "enforce", "jobs").await) == Seen::Denied).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_waits_for_the_first_list_of_namespaces() {
    let api = api().await;
    api.fail_lists(Some(Fault::Status(500)));
    let folder = Folder::new();
    let program = Program::serve_cluster(&folder, &api.config().cluster_url.to_string(), &[]);
    program.wait_for_log("watch of Namespaces failed");
    let (status, report) = program.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        report.contains("[missing] Namespaces are listed, or rolegate is not allowed to"),
        "{report}"
    );
    api.fail_lists(None);
    eventually("readiness", || async {
        (program.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    api.stop();
    eventually("a lost watch", || async {
        (program.log_lines("watch of Namespaces failed").len() == 2).then_some(())
    })
    .await;
    assert_eq!(program.get("/readyz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authors_of_workloads_are_warned_where_the_label_requires_a_role() {
    let api = api().await;
    for (namespace, label) in [
        ("strict", Some("enforce")),
        ("misspelled", Some("true")),
        ("unlabeled", None),
    ] {
        put(&api, namespace, label);
    }
    let (_folder, program) = serve(&api, &[]).await;
    for (namespace, expected, is_misspelled) in [
        ("strict", Seen::Warned, false),
        ("misspelled", Seen::Warned, true),
        ("unlabeled", Seen::Silent, false),
    ] {
        let spec = &deployment_pod(namespace, "plain")["spec"];
        let object = json!({"metadata": {"name": "a", "namespace": namespace}, "spec": {"template": {"spec": spec}}});
        let workload = applied("apps", "v1", "Deployment", "deployments", &object);
        let response = program.review("/validate/workloads", &workload).await;
        assert_eq!(seen(&response), expected, "{namespace}: {response:#}");
        assert_eq!(names_the_label(&response, namespace), is_misspelled, "{response:#}");
    }
}

/// An annotation cannot be put on a ServiceAccount that does not exist.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_author_of_a_workload_reads_that_its_service_account_does_not_exist() {
    let api = api().await;
    put(&api, "strict", Some("enforce"));
    let (_folder, program) = serve(&api, &[]).await;
    let spec = &deployment_pod("strict", "absent")["spec"];
    let object = json!({"metadata": {"name": "a", "namespace": "strict"}, "spec": {"template": {"spec": spec}}});
    let workload = applied("apps", "v1", "Deployment", "deployments", &object);
    let response = program.review("/validate/workloads", &workload).await;
    assert_eq!(
        response["warnings"],
        json!([
            "ServiceAccount strict/absent does not exist, and this namespace requires an IAM role (no-role)",
            "fix: create the ServiceAccount with a role annotation, or correct its name in the workload"
        ]),
        "{response:#}"
    );
    api.put_account("strict", "absent", &[]);
    let response = program.review("/validate/workloads", &workload).await;
    assert!(
        response["warnings"][1]
            .as_str()
            .unwrap()
            .starts_with("fix: kubectl annotate serviceaccount absent"),
        "{response:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_is_nearly_one_of_rolegates_is_logged_once() {
    let api = api().await;
    api.put_namespace(
        "ungated",
        &[("rolegate.io/gates", "enforce"), ("role-gate.io/gate", "warn")],
    );
    api.put_namespace("kube-system", &[("rolegate.io/gate", "enforce")]);
    let (_folder, program) = serve(&api, &[]).await;
    api.put_namespace(
        "ungated",
        &[("rolegate.io/gates", "warn"), ("role-gate.io/gate", "warn")],
    );
    api.put_namespace("later", &[("rolegate/gate", "warn")]);
    let lines = eventually("a line about each namespace", || async {
        let lines = program.log_lines("has no effect");
        lines.iter().any(|line| line.contains("later")).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), 4, "{lines:#?}");
    for (label, namespace) in [
        ("rolegate.io/gates", "ungated"),
        ("role-gate.io/gate", "ungated"),
        ("rolegate/gate", "later"),
    ] {
        let words = format!("label {label} of namespace {namespace} has no effect; did you mean rolegate.io/gate?");
        assert!(lines.iter().any(|line| line.contains(&words)), "{lines:#?}");
    }
    let excluded = "label rolegate.io/gate of namespace kube-system has no effect: the chart excludes this namespace";
    assert!(lines.iter().any(|line| line.contains(excluded)), "{lines:#?}");
}

/// `/validate/workloads` has no mode in its path: the label of the namespace has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_mode_audit_the_author_of_a_workload_notices_nothing() {
    let api = api().await;
    for (namespace, mode) in [
        ("watched", "audit"),
        ("warned", "warn"),
        ("gated", "enforce"),
        ("misspelled", "audits"),
    ] {
        api.put_namespace(namespace, &[("rolegate.io/gate", mode)]);
        api.put_account(namespace, "plain", &[]);
    }
    let (_folder, program) = serve(&api, &["--require-role", "warn"]).await;
    for (namespace, is_warned) in [
        ("watched", false),
        ("warned", true),
        ("gated", true),
        ("misspelled", true),
    ] {
        let deployment = json!({
            "metadata": {"name": "a", "namespace": namespace},
            "spec": {"template": {"spec": deployment_pod(namespace, "plain")["spec"]}},
        });
        let review = applied("apps", "v1", "Deployment", "deployments", &deployment);
        let response = program.review("/validate/workloads", &review).await;
        assert_eq!(
            response.get("warnings").is_some(),
            is_warned,
            "{namespace}: {response:#}"
        );
    }
}
