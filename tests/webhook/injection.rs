//! What is in the pod afterwards, for the pods of the usual controllers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::program::{Folder, Program};
use crate::reviews::{creation, cron_job_pod, deployment_pod, ephemeral, job_pod, stateful_set_pod};

const TOKEN: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount";

fn folder(annotations: &[(&str, &str)]) -> Folder {
    let folder = Folder::new();
    let arn = folder.role("worker", &Folder::trusting("jobs", "worker"));
    let mut all = vec![("eks.amazonaws.com/role-arn", arn.as_str())];
    all.extend_from_slice(annotations);
    folder.account("jobs", "worker", &all);
    folder
}

/// The pod as the API server stores it: the response's patch applied.
pub(crate) fn patched(pod: &Value, response: &Value) -> Value {
    let mut pod = pod.clone();
    assert_eq!(response["allowed"], true, "{response:#}");
    if let Some(patch) = response.get("patch") {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = STANDARD.decode(patch.as_str().unwrap()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    pod
}

fn identity_env() -> Vec<Value> {
    vec![
        json!({"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::111122223333:role/worker"}),
        json!({"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": format!("{TOKEN}/token")}),
    ]
}

fn token_volume(seconds: u32) -> Value {
    json!({"name": "aws-iam-token", "projected": {"sources": [
        {"serviceAccountToken": {"audience": "sts.amazonaws.com", "expirationSeconds": seconds, "path": "token"}}]}})
}

#[tokio::test]
async fn pods_of_the_usual_controllers_get_volume_variables_and_mount() {
    let folder = folder(&[]);
    let program = Program::serve(&folder, &[]);
    for pod in [
        job_pod("jobs", "worker"),
        cron_job_pod("jobs", "worker"),
        deployment_pod("jobs", "worker"),
        stateful_set_pod("jobs", "worker"),
    ] {
        let response = program.review("/mutate/enforce?timeout=5s", &creation(&pod)).await;
        let mut expected = pod.clone();
        expected["spec"]["volumes"]
            .as_array_mut()
            .unwrap()
            .insert(0, token_volume(86_400));
        let container = &mut expected["spec"]["containers"][0];
        container["env"].as_array_mut().unwrap().extend(identity_env());
        container["volumeMounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "aws-iam-token", "readOnly": true, "mountPath": TOKEN}));
        let injected = patched(&pod, &response);
        assert_eq!(injected, expected);

        let again = program.review("/mutate/enforce?timeout=5s", &creation(&injected)).await;
        assert!(
            again.get("patch").is_none() && again.get("patchType").is_none(),
            "{again:#}"
        );
        assert_eq!(again["auditAnnotations"], response["auditAnnotations"]);
    }
}

#[tokio::test]
async fn flags_set_regions_mount_path_and_lifetime() {
    let folder = folder(&[
        ("eks.amazonaws.com/sts-regional-endpoints", "true"),
        ("eks.amazonaws.com/token-expiration", "3600"),
    ]);
    let program = Program::serve(
        &folder,
        &[
            "--aws-region",
            "auto",
            "--token-mount-path",
            "/tokens",
            "--disable-instance-metadata",
            "--role-session-name",
        ],
    );
    let pod = job_pod("jobs", "worker");
    let injected = patched(&pod, &program.review("/mutate", &creation(&pod)).await);
    assert_eq!(injected["spec"]["volumes"][0], token_volume(3600));
    let env: Vec<(&str, &str)> = injected["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| {
            (
                variable["name"].as_str().unwrap(),
                variable["value"].as_str().unwrap_or("(from a field)"),
            )
        })
        .collect();
    assert_eq!(
        env,
        [
            ("REPORT", "daily"),
            ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
            ("AWS_DEFAULT_REGION", "us-west-2"),
            ("AWS_REGION", "us-west-2"),
            ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/worker"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/tokens/token"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_ROLE_SESSION_NAME", "(from a field)"),
        ]
    );
}

#[tokio::test]
async fn kubectl_debug_gets_identity_and_is_never_refused() {
    let folder = folder(&[]);
    folder.account(
        "jobs",
        "stranger",
        &[("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/worker")],
    );
    let program = Program::serve(&folder, &[]);
    let debugger = json!([{"name": "debugger-x", "image": "busybox", "stdin": true, "tty": true}]);

    let pod = stateful_set_pod("jobs", "worker");
    let old = patched(&pod, &program.review("/mutate", &creation(&pod)).await);
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = debugger.clone();
    let debugged = patched(&new, &program.review("/mutate/enforce", &ephemeral(&old, &new)).await);
    assert_eq!(debugged["spec"]["ephemeralContainers"][0]["env"], json!(identity_env()));
    assert_eq!(
        debugged["spec"]["ephemeralContainers"][0]["volumeMounts"][0]["name"],
        "aws-iam-token"
    );
    assert_eq!(debugged["spec"]["containers"], old["spec"]["containers"]);

    let old = stateful_set_pod("jobs", "stranger");
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = debugger;
    let response = program.review("/mutate/enforce", &ephemeral(&old, &new)).await;
    assert_eq!(response["allowed"], true);
    assert!(
        response.get("patch").is_none(),
        "a pod without the volume cannot get it any more"
    );
}

#[tokio::test]
async fn the_skip_label_leaves_a_pod_alone() {
    let folder = folder(&[]);
    let mut pod = job_pod("jobs", "worker");
    pod["metadata"]["labels"]["eks.amazonaws.com/skip-pod-identity-webhook"] = json!("");
    let program = Program::serve(&folder, &[]);
    assert!(program.review("/mutate", &creation(&pod)).await.get("patch").is_none());
    let program = Program::serve(&folder, &["--honor-skip-label=false"]);
    assert!(program.review("/mutate", &creation(&pod)).await.get("patch").is_some());
}

#[tokio::test]
async fn the_skip_label_counts_for_kubectl_debug_too() {
    let folder = folder(&[]);
    let program = Program::serve(&folder, &[]);
    let pod = stateful_set_pod("jobs", "worker");
    let mut old = patched(&pod, &program.review("/mutate", &creation(&pod)).await);
    old["metadata"]["labels"]["eks.amazonaws.com/skip-pod-identity-webhook"] = json!("true");
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([{"name": "debugger-x", "image": "busybox"}]);
    assert!(
        program
            .review("/mutate", &ephemeral(&old, &new))
            .await
            .get("patch")
            .is_none()
    );
}

#[tokio::test]
async fn a_pod_of_ekss_own_associations_is_not_judged() {
    let folder = folder(&[]);
    folder.account("jobs", "plain", &[]);
    folder.account(
        "jobs",
        "stranger",
        &[("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/worker")],
    );
    let program = Program::serve(&folder, &["--require-role", "enforce"]);
    for account in ["plain", "stranger", "worker"] {
        let mut pod = job_pod("jobs", account);
        pod["spec"]["containers"][0]["env"] = json!([
            {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://169.254.170.23/v1/credentials"},
            {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": "/var/run/secrets/pods.eks.amazonaws.com/token"},
        ]);
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
        mounts.push(json!({"name": "eks-pod-identity-token", "mountPath": "/var/run/secrets/pods.eks.amazonaws.com"}));
        let response = program.review("/mutate/enforce", &creation(&pod)).await;
        assert!(
            response["allowed"] == true && response.get("patch").is_none(),
            "{account}: {response:#}"
        );
    }
    let sample = r#"rolegate_decisions_total{action="pod-identity",verdict="",cause="",mode="enforce"}"#;
    assert_eq!(program.metric(sample).await, Some(3.0));
}

#[tokio::test]
async fn container_credentials_win_over_web_identity() {
    let folder = folder(&[]);
    folder.write(
        "credentials.json",
        r#"{"identities": [{"namespace": "jobs", "serviceAccount": "worker"}]}"#,
    );
    let file = folder.path().join("credentials.json");
    let program = Program::serve(&folder, &["--container-credentials-config", file.to_str().unwrap()]);
    let pod = job_pod("jobs", "worker");
    let injected = patched(&pod, &program.review("/mutate", &creation(&pod)).await);
    let names: Vec<&str> = injected["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "REPORT",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
        ]
    );
    assert_eq!(
        injected["metadata"]["labels"]["eks.amazonaws.com/pod-identity"],
        "enabled"
    );
    assert_eq!(injected["spec"]["volumes"][0]["name"], "eks-pod-identity-token");
}

#[tokio::test]
async fn a_conflicting_volume_is_named() {
    let folder = folder(&[]);
    let program = Program::serve(&folder, &[]);
    let mut pod = job_pod("jobs", "worker");
    pod["spec"]["volumes"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "aws-iam-token", "hostPath": {"path": "/tmp"}}));
    let response = program.review("/mutate/enforce", &creation(&pod)).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(response["auditAnnotations"]["cause"], "conflict");
    assert!(
        response["status"]["message"]
            .as_str()
            .unwrap()
            .contains("aws-iam-token"),
        "{response:#}"
    );
    let response = program.review("/mutate/warn", &creation(&pod)).await;
    assert!(
        response["allowed"] == true && response.get("patch").is_none() && response.get("warnings").is_some(),
        "{response:#}"
    );
}
