//! The identity that a container really uses is the one that is evaluated, injected and reported.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::injection::patched;
use crate::program::{Folder, ISSUER, Program, eventually, policy_with};
use crate::reviews::{applied, creation, ephemeral, job_pod, stateful_set_pod};

const RUNNER: &str = "arn:aws:iam::111122223333:role/runner";
const STRANGER: &str = "arn:aws:iam::111122223333:role/stranger";
const OTHER: &str = "arn:aws:iam::111122223333:role/other";
const TOKEN_FILE: &str = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";
const API_SERVER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const STRICT: [&str; 6] = [
    "--on-unknown",
    "deny",
    "--require-role",
    "enforce",
    "--honor-skip-label=false",
    "--disable-instance-metadata",
];

/// The role `other` trusts jobs/runner with audience `amazonaws.com` only.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.role("runner", &Folder::trusting("jobs", "runner"));
    folder.role("stranger", &Folder::trusting("elsewhere", "stranger"));
    folder.role(
        "other",
        &policy_with(json!({"StringEquals": {
            format!("{ISSUER}:sub"): "system:serviceaccount:jobs:runner",
            format!("{ISSUER}:aud"): "amazonaws.com",
        }})),
    );
    folder.account("jobs", "runner", &[("eks.amazonaws.com/role-arn", RUNNER)]);
    folder.account("jobs", "refused", &[("eks.amazonaws.com/role-arn", STRANGER)]);
    folder.account("jobs", "plain", &[]);
    folder
}

/// The pod of a ServiceAccount whose container `main` has these fields more.
fn pod(service_account: &str, fields: &Value, volumes: &Value) -> Value {
    let mut pod = job_pod("jobs", service_account);
    let container = pod["spec"]["containers"][0].as_object_mut().unwrap();
    container.insert("name".to_owned(), json!("main"));
    for (key, value) in fields.as_object().unwrap() {
        match (container.get_mut(key), value) {
            (Some(Value::Array(items)), Value::Array(more)) => items.extend(more.iter().cloned()),
            _ => {
                container.insert(key.clone(), value.clone());
            }
        }
    }
    let more = volumes.as_array().unwrap().iter().cloned();
    pod["spec"]["volumes"].as_array_mut().unwrap().extend(more);
    pod
}

fn with_env(service_account: &str, env: Value) -> Value {
    pod(service_account, &json!({"env": env}), &json!([]))
}

fn set(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

fn from(name: &str) -> Value {
    json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})
}

fn own(role: &str, file: &str) -> Value {
    json!([set("AWS_ROLE_ARN", role), set("AWS_WEB_IDENTITY_TOKEN_FILE", file)])
}

/// A container with a role and a projected token of its own.
fn own_token(service_account: &str, role: &str, audience: &str) -> Value {
    pod(
        service_account,
        &json!({"env": own(role, "/own/token"), "volumeMounts": [{"name": "own", "mountPath": "/own"}]}),
        &json!([{"name": "own", "projected": {"sources": [{"serviceAccountToken": {"audience": audience, "path": "token"}}]}}]),
    )
}

/// A review's answer in short: the words of a refusal's first line, or those of its warnings.
#[derive(Debug, PartialEq)]
enum Seen {
    Admitted,
    /// The words in brackets at the end of the warnings, without repetition.
    Warned(Vec<String>),
    Refused(String),
}

fn last_word(line: &str) -> Option<String> {
    let (_, word) = line.strip_suffix(')')?.rsplit_once('(')?;
    Some(word.to_owned())
}

fn seen(response: &Value) -> Seen {
    if response["allowed"] == false {
        let message = response["status"]["message"].as_str().unwrap();
        return Seen::Refused(last_word(message.lines().next().unwrap()).unwrap());
    }
    let warnings = response["warnings"].as_array().map_or(&[][..], Vec::as_slice);
    let mut words: Vec<String> = warnings
        .iter()
        .filter_map(|warning| last_word(warning.as_str().unwrap()))
        .collect();
    words.dedup();
    if words.is_empty() {
        assert!(warnings.is_empty(), "{response:#}");
        Seen::Admitted
    } else {
        Seen::Warned(words)
    }
}

fn warned(words: &[&str]) -> Seen {
    Seen::Warned(words.iter().map(|word| (*word).to_owned()).collect())
}

fn refused(word: &str) -> Seen {
    Seen::Refused(word.to_owned())
}

#[tokio::test]
async fn each_kind_of_container_is_judged_by_what_it_uses() {
    let folder = folder();
    let program = Program::serve(&folder, &["--aws-region", "us-west-2"]);
    let not_used = || warned(&["identity-not-used"]);
    let uri = |uri: &str, more: Value| {
        let mut env = vec![set("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)];
        env.extend(more.as_array().unwrap().iter().cloned());
        json!(env)
    };
    let token = json!([set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token")]);
    for (pod, expected) in [
        // What is injected.
        (with_env("runner", json!([])), Seen::Admitted),
        (with_env("refused", json!([])), refused("wrong-subject")),
        // A container's own role and token are evaluated, and the annotated role does not cause a refusal.
        (own_token("runner", OTHER, "amazonaws.com"), Seen::Admitted),
        (
            own_token("runner", OTHER, "sts.amazonaws.com"),
            refused("wrong-audience"),
        ),
        (own_token("refused", OTHER, "amazonaws.com"), refused("wrong-subject")),
        (
            own_token("runner", STRANGER, "sts.amazonaws.com"),
            refused("wrong-subject"),
        ),
        (own_token("runner", RUNNER, "sts.amazon.com"), refused("wrong-audience")),
        (with_env("runner", own(STRANGER, TOKEN_FILE)), refused("wrong-subject")),
        (
            with_env(
                "runner",
                own(STRANGER, "/run/secrets/eks.amazonaws.com/serviceaccount/token"),
            ),
            refused("wrong-subject"),
        ),
        (with_env("refused", own(RUNNER, TOKEN_FILE)), refused("wrong-subject")),
        // Half an identity, whatever else is set.
        (
            with_env(
                "runner",
                json!([set("AWS_ROLE_ARN", ""), set("AWS_WEB_IDENTITY_TOKEN_FILE", "")]),
            ),
            not_used(),
        ),
        (with_env("runner", json!([set("AWS_ROLE_ARN", RUNNER)])), not_used()),
        (with_env("refused", json!([set("AWS_ROLE_ARN", "")])), not_used()),
        (
            with_env(
                "refused",
                json!([
                    set("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE),
                    set("AWS_REGION", "us-west-2")
                ]),
            ),
            not_used(),
        ),
        // Static keys.
        (
            with_env(
                "runner",
                json!([
                    set("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
                    set("AWS_SECRET_ACCESS_KEY", "s")
                ]),
            ),
            not_used(),
        ),
        (
            with_env(
                "refused",
                json!([
                    set("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
                    set("AWS_SECRET_ACCESS_KEY", "s")
                ]),
            ),
            not_used(),
        ),
        (
            with_env(
                "runner",
                json!([from("AWS_ACCESS_KEY_ID"), from("AWS_SECRET_ACCESS_KEY")]),
            ),
            not_used(),
        ),
        (
            with_env(
                "refused",
                json!([from("AWS_ACCESS_KEY_ID"), from("AWS_SECRET_ACCESS_KEY")]),
            ),
            warned(&["wrong-subject", "identity-not-used"]),
        ),
        (
            with_env(
                "refused",
                json!([set("AWS_ACCESS_KEY_ID", ""), set("AWS_SECRET_ACCESS_KEY", "")]),
            ),
            refused("wrong-subject"),
        ),
        // Names that only few SDKs read: the role is used by the others.
        (
            with_env(
                "refused",
                json!([set("AWS_ACCESS_KEY", "a"), set("AWS_SECRET_KEY", "b")]),
            ),
            refused("wrong-subject"),
        ),
        (
            with_env(
                "runner",
                json!([set("AWS_ACCESS_KEY", "a"), set("AWS_SECRET_KEY", "b")]),
            ),
            not_used(),
        ),
        // Profiles might be used.
        (with_env("runner", json!([set("AWS_PROFILE", "p")])), not_used()),
        (
            with_env("refused", json!([set("AWS_PROFILE", "p")])),
            refused("wrong-subject"),
        ),
        // What is not known.
        (
            with_env(
                "refused",
                json!([from("AWS_ROLE_ARN"), set("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE)]),
            ),
            warned(&["unknown"]),
        ),
        (
            with_env("runner", own("$(NOT_THERE)", TOKEN_FILE)),
            warned(&["unknown"]),
        ),
        (with_env("runner", own("$$(X)", TOKEN_FILE)), warned(&["unknown"])),
        (with_env("runner", own(RUNNER, API_SERVER_TOKEN)), warned(&["unknown"])),
        (with_env("runner", own(RUNNER, "/own/token")), warned(&["unknown"])),
        // What is computed from the pod itself is known.
        (
            with_env(
                "runner",
                json!([
                    set("NAME", "stranger"),
                    set("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/$(NAME)"),
                    set("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE)
                ]),
            ),
            refused("wrong-subject"),
        ),
        // Container credentials.
        (
            with_env("refused", uri("http://169.254.170.23/v1/credentials", token.clone())),
            not_used(),
        ),
        (
            pod(
                "refused",
                &json!({"env": uri("http://169.254.170.23/v1/credentials", token.clone()), "volumeMounts": [{"name": "t", "mountPath": "/token"}]}),
                &json!([]),
            ),
            Seen::Admitted,
        ),
        (
            with_env("refused", uri("http://127.0.0.1/c", token.clone())),
            Seen::Admitted,
        ),
        (with_env("refused", uri("http://x", token.clone())), not_used()),
        (with_env("refused", uri("", token.clone())), refused("wrong-subject")),
    ] {
        let response = program.review("/mutate/enforce", &creation(&pod)).await;
        assert_eq!(
            seen(&response),
            expected,
            "{:#}\n{response:#}",
            pod["spec"]["containers"][0]["env"]
        );
        let response = program.review("/mutate/audit", &creation(&pod)).await;
        assert_eq!(response["allowed"], true);
        assert_eq!(
            response.get("warnings"),
            None,
            "authors notice nothing in mode audit: {response:#}"
        );
    }
    let metric = |mode: &str| format!(r#"rolegate_identity_not_used_total{{mode="{mode}"}}"#);
    let enforce = program.metric(&metric("enforce")).await;
    assert!(enforce >= Some(10.0) && program.metric(&metric("audit")).await >= enforce);
}

/// The worst container decides, and each is reported.
#[tokio::test]
async fn containers_of_one_pod_are_judged_each_by_itself() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let mut pod = own_token("runner", OTHER, "amazonaws.com");
    pod["spec"]["initContainers"] = json!([{"name": "init"}, {"name": "keys", "env": [set("AWS_ROLE_ARN", "")]}]);
    let response = program.review("/mutate/enforce", &creation(&pod)).await;
    assert_eq!(seen(&response), warned(&["identity-not-used"]));
    pod["spec"]["initContainers"][0]["env"] = own(STRANGER, TOKEN_FILE);
    let response = program.review("/mutate/enforce", &creation(&pod)).await;
    assert_eq!(seen(&response), refused("wrong-subject"));
    let annotation = json!({"eks.amazonaws.com/skip-containers": "init"});
    pod["metadata"]["annotations"] = annotation;
    let response = program.review("/mutate/enforce", &creation(&pod)).await;
    assert_eq!(seen(&response), warned(&["identity-not-used"]));
    // With all of them left out, nothing is evaluated.
    let mut pod = job_pod("jobs", "refused");
    let name = pod["spec"]["containers"][0]["name"].clone();
    pod["metadata"]["annotations"] = json!({"eks.amazonaws.com/skip-containers": name});
    let response = program.review("/mutate/enforce", &creation(&pod)).await;
    assert_eq!(seen(&response), Seen::Admitted);
}

#[tokio::test]
async fn strict_settings_leave_no_way_around_a_judgment() {
    let folder = folder();
    let program = Program::serve(&folder, &STRICT);
    let mut skipped = job_pod("jobs", "runner");
    let name = skipped["spec"]["containers"][0]["name"].clone();
    skipped["metadata"]["annotations"] = json!({"eks.amazonaws.com/skip-containers": name});
    let mut labeled = job_pod("jobs", "refused");
    labeled["metadata"]["labels"]["eks.amazonaws.com/skip-pod-identity-webhook"] = json!("true");
    let mut half = own_token("runner", OTHER, "amazonaws.com");
    half["spec"]["initContainers"] = json!([{"name": "init", "env": [set("AWS_ROLE_ARN", RUNNER)]}]);
    let agent = json!([
        set(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials"
        ),
        set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token"),
    ]);
    let mut agent_and_skipped = with_env("runner", agent);
    agent_and_skipped["spec"]["initContainers"] = json!([{"name": "left-out"}]);
    agent_and_skipped["metadata"]["annotations"] = json!({"eks.amazonaws.com/skip-containers": "left-out"});
    for (pod, word) in [
        (with_env("plain", json!([])), "no-role"),
        (own_token("plain", STRANGER, "sts.amazonaws.com"), "no-role"),
        (
            with_env("plain", json!([set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://x")])),
            "no-role",
        ),
        (
            with_env("plain", json!([set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")])),
            "no-role",
        ),
        (skipped, "no-role"),
        (agent_and_skipped, "no-role"),
        (labeled, "wrong-subject"),
        (half, "no-role"),
        (with_env("runner", json!([set("AWS_ROLE_ARN", "")])), "no-role"),
        (
            with_env("runner", json!([set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://x")])),
            "no-role",
        ),
        (
            with_env(
                "runner",
                json!([set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/c")]),
            ),
            "unknown",
        ),
        (
            with_env("runner", json!([set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/c")])),
            "unknown",
        ),
        (
            with_env("runner", json!([from("AWS_CONTAINER_CREDENTIALS_FULL_URI")])),
            "unknown",
        ),
        (with_env("runner", own("$(X)", TOKEN_FILE)), "unknown"),
        (with_env("runner", own("$$(X)", TOKEN_FILE)), "unknown"),
        (
            with_env(
                "runner",
                json!([
                    set("X", "y"),
                    set("AWS_ROLE_ARN", "$(X)"),
                    set("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN_FILE)
                ]),
            ),
            "unknown",
        ),
        (with_env("runner", own(RUNNER, API_SERVER_TOKEN)), "unknown"),
        (
            with_env(
                "runner",
                json!([set("AWS_ROLE_ARN", RUNNER), from("AWS_WEB_IDENTITY_TOKEN_FILE")]),
            ),
            "unknown",
        ),
    ] {
        let response = program.review("/mutate/enforce", &creation(&pod)).await;
        assert_eq!(seen(&response), refused(word), "{:#}\n{response:#}", pod["spec"]);
        // The same settings never refuse elsewhere.
        let response = program.review("/mutate/warn", &creation(&pod)).await;
        assert!(matches!(seen(&response), Seen::Warned(_)), "{response:#}");
    }
    // A key that does not exist is not a way around, and neither are names that few SDKs read.
    let optional =
        |name: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": true}}});
    for env in [
        json!([optional("AWS_ACCESS_KEY_ID"), optional("AWS_SECRET_ACCESS_KEY")]),
        json!([
            set("AWS_ACCESS_KEY_ID", "$(X_PORT)"),
            set("AWS_SECRET_ACCESS_KEY", "$(X_PORT)")
        ]),
        json!([set("AWS_ACCESS_KEY", "a"), set("AWS_SECRET_KEY", "b")]),
    ] {
        let response = program
            .review("/mutate/enforce", &creation(&with_env("refused", env)))
            .await;
        assert_eq!(seen(&response), refused("wrong-subject"), "{response:#}");
    }
    let no_token = json!([
        set(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials"
        ),
        set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/not/there"),
    ]);
    for account in ["runner", "plain"] {
        let response = program
            .review("/mutate/enforce", &creation(&with_env(account, no_token.clone())))
            .await;
        assert_eq!(seen(&response), refused("no-role"), "{response:#}");
    }
    // An empty URI names no server, so the role is injected.
    let empty = with_env("runner", json!([set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")]));
    let response = program.review("/mutate/enforce", &creation(&empty)).await;
    let container = &patched(&empty, &response)["spec"]["containers"][0];
    let names: Vec<_> = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| &variable["name"])
        .collect();
    assert!(
        names.contains(&&json!("AWS_ROLE_ARN")) && names.contains(&&json!("AWS_EC2_METADATA_DISABLED")),
        "{names:?}"
    );
}

/// A pod that sets its own complete identity gets the verdict that `rolegate check` gives that identity.
#[tokio::test]
async fn an_identity_of_the_pods_own_gets_the_verdict_of_check() {
    let folder = Folder::new();
    let mut lines = String::new();
    let mut pods = Vec::new();
    let cases = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/trust-cases")).unwrap();
    for (number, entry) in cases.enumerate() {
        let case: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let subject = case["subject"].as_str().unwrap();
        let (Some(issuer), Some(audience)) = (case["issuer"].as_str(), case["audience"].as_str()) else {
            continue;
        };
        let names = subject
            .strip_prefix("system:serviceaccount:")
            .and_then(|names| names.split_once(':'));
        let (Some((namespace, name)), true) = (
            names,
            issuer.trim_start_matches("https://") == ISSUER && !audience.is_empty(),
        ) else {
            continue;
        };
        let role = format!("case-{number}");
        let Some(policy) = case.get("policy").filter(|policy| policy.is_object()) else {
            continue;
        };
        let arn = folder.role(&role, policy);
        lines += &json!({"policy": policy, "roleArn": arn, "issuer": ISSUER, "subject": subject, "audience": audience})
            .to_string();
        lines.push('\n');
        folder.account(namespace, name, &[("eks.amazonaws.com/role-arn", STRANGER)]);
        let mut pod = own_token(name, &arn, audience);
        pod["metadata"]["namespace"] = json!(namespace);
        pod["metadata"]["name"] = json!(role);
        pods.push(pod);
    }
    assert!(pods.len() > 100, "{}", pods.len());

    let log = folder.path().join("audit.log");
    let program = Program::serve(&folder, &["--audit-log", log.to_str().unwrap()]);
    for pod in &pods {
        program.review("/mutate/enforce", &creation(pod)).await;
    }
    let text = eventually("the audit log is written", || async {
        let text = std::fs::read_to_string(&log).ok()?;
        (text.lines().count() == pods.len()).then_some(text)
    })
    .await;
    let of_pods: BTreeMap<String, Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["pod"].as_str().unwrap().to_owned(), line))
        .collect();

    let mut check = Command::new(env!("CARGO_BIN_EXE_rolegate"))
        .args(["check", "--batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = check.stdin.take().unwrap();
    std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let verdicts = String::from_utf8(check.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(verdicts.lines().count(), pods.len());
    let mut compared = 0;
    for (line, pod) in verdicts.lines().zip(&pods) {
        let checked: Value = serde_json::from_str(line).unwrap();
        let admitted = &of_pods[pod["metadata"]["name"].as_str().unwrap()];
        assert!(!admitted["role"].is_null(), "{admitted}");
        match checked["verdict"].as_str().unwrap() {
            // `check` reads a document that is not stored yet; the policy of a role is stored.
            "malformed" => continue,
            verdict => assert_eq!(
                (&admitted["verdict"], &admitted["cause"]),
                (&json!(verdict), &checked["cause"]),
                "{admitted}"
            ),
        }
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

#[tokio::test]
async fn the_audit_log_names_the_containers_that_do_not_use_their_identity() {
    let folder = folder();
    let log = folder.path().join("audit.log");
    let program = Program::serve(&folder, &["--audit-log", log.to_str().unwrap()]);
    let mut pod = with_env("runner", json!([set("AWS_ROLE_ARN", "")]));
    pod["spec"]["initContainers"] =
        json!([{"name": "init"}, {"name": "keys", "env": [from("AWS_ACCESS_KEY_ID"), from("AWS_SECRET_ACCESS_KEY")]}]);
    for mode in ["enforce", "audit"] {
        program.review(&format!("/mutate/{mode}"), &creation(&pod)).await;
    }
    let text = eventually("the audit log is written", || async {
        let text = std::fs::read_to_string(&log).ok()?;
        (text.lines().count() == 2).then_some(text)
    })
    .await;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["identityNotUsed"], json!(["keys", "main"]));
        let decision = (&line["role"], &line["verdict"], &line["cause"], &line["action"]);
        assert_eq!(
            decision,
            (
                &json!(RUNNER),
                &json!("trusted"),
                &json!("identity-not-used"),
                &json!("inject")
            )
        );
    }
}

/// What `kubectl apply` reports of a workload is what its pod is warned about, in the same words.
#[tokio::test]
async fn a_workload_is_warned_about_all_that_its_pod_would_be() {
    let folder = folder();
    let program = Program::serve(&folder, &["--require-role", "warn", "--on-unknown", "deny"]);
    let mut annotated = job_pod("jobs", "runner");
    annotated["metadata"]["annotations"] = json!({
        "eks.amazonaws.com/include-containers": "nothere", "eks.amazonaws.com/token-expiration": "1",
    });
    let mut misplaced = job_pod("jobs", "runner");
    misplaced["metadata"]["annotations"] = json!({
        "eks.amazonaws.com/role-arn": OTHER, "eks.amazonaws.com/skip-container": "x", "eks.amazonaws.com/skip-containers": "y",
        "eks.amazonaws.com/audience": "z",
    });
    for pod in [
        job_pod("jobs", "runner"),
        annotated,
        misplaced,
        job_pod("jobs", "plain"),
        with_env("runner", json!([set("AWS_ROLE_ARN", "")])),
        with_env("runner", own("$(X)", TOKEN_FILE)),
        with_env(
            "runner",
            json!([set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/c")]),
        ),
        with_env(
            "refused",
            json!([from("AWS_ACCESS_KEY_ID"), from("AWS_SECRET_ACCESS_KEY")]),
        ),
        pod(
            "runner",
            &json!({"volumeMounts": [{"name": "s", "mountPath": "/var/run/secrets"}]}),
            &json!([{"name": "s", "secret": {}}]),
        ),
        own_token("runner", OTHER, "sts.amazonaws.com"),
        with_env(
            "plain",
            json!([
                set(
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    "http://169.254.170.23/v1/credentials"
                ),
                set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token"),
                from("AWS_ACCESS_KEY_ID"),
                from("AWS_SECRET_ACCESS_KEY"),
            ]),
        ),
    ] {
        let of_pod = program.review("/mutate/warn", &creation(&pod)).await;
        let job = json!({
            "metadata": {"name": "a", "namespace": "jobs"},
            "spec": {"template": {"metadata": pod["metadata"], "spec": pod["spec"]}},
        });
        let of_job = program
            .review("/validate/workloads", &applied("batch", "v1", "Job", "jobs", &job))
            .await;
        assert_eq!(of_job.get("warnings"), of_pod.get("warnings"), "{:#}", pod["spec"]);
    }
}

#[tokio::test]
async fn annotations_of_a_pod_that_have_no_effect_are_warned_about() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let annotated = |account: &str, annotations: &Value| {
        let mut pod = job_pod("jobs", account);
        pod["metadata"]["annotations"] = annotations.clone();
        pod
    };
    let role = json!({"eks.amazonaws.com/role-arn": OTHER});
    let on_account = "annotation eks.amazonaws.com/role-arn of the pod is ignored: it belongs on the ServiceAccount";
    for (account, annotations, warnings) in [
        ("runner", role.clone(), vec![on_account.to_owned()]),
        ("plain", role.clone(), vec![on_account.to_owned()]),
        (
            "runner",
            json!({"eks.amazonaws.com/include-container": "main", "eks.amazonaws.com/skip-containers": "mian"}),
            vec![
                "annotation eks.amazonaws.com/include-container of the pod is ignored; did you mean eks.amazonaws.com/include-containers?"
                    .to_owned(),
                r#"eks.amazonaws.com/skip-containers names "mian", but the pod has no such container; did you mean "main"?"#.to_owned(),
            ],
        ),
        // Without a role, containers are not injected anyway.
        ("plain", json!({"eks.amazonaws.com/include-container": "main"}), vec![]),
        ("runner", json!({"kubectl.kubernetes.io/default-container": "main"}), vec![]),
    ] {
        let pod = creation(&annotated(account, &annotations));
        for mode in ["enforce", "warn"] {
            let response = program.review(&format!("/mutate/{mode}"), &pod).await;
            assert_eq!(response["allowed"], true, "{response:#}");
            let expected = (!warnings.is_empty()).then(|| json!(warnings));
            assert_eq!(response.get("warnings"), expected.as_ref(), "{annotations}");
        }
        let response = program.review("/mutate/audit", &pod).await;
        assert_eq!(response.get("warnings"), None, "{response:#}");
    }
    // Where a role is required, the refusal says it.
    let program = Program::serve(&folder, &["--require-role", "enforce"]);
    let response = program
        .review("/mutate/enforce", &creation(&annotated("plain", &role)))
        .await;
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("\n  note     {on_account}\n")), "{message}");
    assert_eq!(response.get("warnings"), None, "{response:#}");
    // An opted-out pod is left alone.
    let mut skipped = annotated("plain", &role);
    skipped["metadata"]["labels"] = json!({"eks.amazonaws.com/skip-pod-identity-webhook": ""});
    let response = program.review("/mutate/enforce", &creation(&skipped)).await;
    assert_eq!(response.get("warnings"), None, "{response:#}");
}

#[tokio::test]
async fn new_ephemeral_containers_are_judged_but_never_refused() {
    let folder = folder();
    let program = Program::serve(&folder, &STRICT);
    let pod = stateful_set_pod("jobs", "runner");
    let old = patched(&pod, &program.review("/mutate", &creation(&pod)).await);
    for (env, expected) in [
        (json!([]), Seen::Admitted),
        (own(STRANGER, TOKEN_FILE), warned(&["wrong-subject"])),
        (
            json!([set("AWS_ROLE_ARN", "")]),
            warned(&["no-role", "identity-not-used"]),
        ),
        (own("$(X)", TOKEN_FILE), warned(&["unknown"])),
    ] {
        let mut new = old.clone();
        new["spec"]["ephemeralContainers"] = json!([{"name": "debugger-x", "image": "busybox", "env": env}]);
        let response = program.review("/mutate", &ephemeral(&old, &new)).await;
        assert_eq!(seen(&response), expected, "{env} {response:#}");
        let response = program.review("/mutate/audit", &ephemeral(&old, &new)).await;
        assert_eq!(response.get("warnings"), None, "{response:#}");
    }
}

#[tokio::test]
async fn the_work_for_one_pod_is_bounded() {
    let folder = folder();
    folder.account(
        "jobs",
        "long",
        &[
            ("eks.amazonaws.com/role-arn", RUNNER),
            ("eks.amazonaws.com/audience", &"a".repeat(256)),
        ],
    );
    let program = Program::serve(&folder, &[]);
    let containers = |count: usize, role: &dyn Fn(usize) -> String| {
        let mut pod = job_pod("jobs", "runner");
        pod["spec"]["containers"] = (0..count)
            .map(|n| json!({"name": format!("c{n}"), "env": own(&role(n), TOKEN_FILE)}))
            .collect();
        pod
    };
    let distinct = |n: usize| format!("arn:aws:iam::111122223333:role/r{n}");
    for (count, word) in [(64, "role-not-found"), (65, "conflict"), (10_000, "conflict")] {
        let response = program
            .review("/mutate/enforce", &creation(&containers(count, &distinct)))
            .await;
        assert_eq!(seen(&response), refused(word), "{count}");
    }
    // Only those that were evaluated were looked up.
    let (_, known) = program.get("/roles").await;
    let known: Value = serde_json::from_str(&known).unwrap();
    let of_pod = known
        .as_array()
        .unwrap()
        .iter()
        .filter(|role| role["arn"].as_str().unwrap().contains("/r") && role["arn"] != RUNNER);
    assert_eq!(of_pod.count(), 64);
    // Many containers of one role are one.
    let response = program
        .review("/mutate/enforce", &creation(&containers(5_000, &|_| RUNNER.to_owned())))
        .await;
    assert_eq!(seen(&response), Seen::Admitted);
    // Session names that no policy mentions do not count.
    let mut named = containers(100, &|_| RUNNER.to_owned());
    for (n, container) in named["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .enumerate()
    {
        container["env"]
            .as_array_mut()
            .unwrap()
            .push(set("AWS_ROLE_SESSION_NAME", &format!("session-{n}")));
    }
    let response = program.review("/mutate/enforce", &creation(&named)).await;
    assert_eq!(seen(&response), Seen::Admitted);

    let long = own_token("runner", OTHER, &"a".repeat(300_000));
    let response = program.review("/mutate/enforce", &creation(&long)).await;
    assert_eq!(seen(&response), refused("conflict"));
    assert!(response.to_string().len() < 4096, "{}", response.to_string().len());
    let response = program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "long")))
        .await;
    assert_eq!(seen(&response), refused("malformed-annotation"));
}
