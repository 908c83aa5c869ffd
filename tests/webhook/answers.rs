//! Every row of the table of verdicts and modes, and the words that go with it.

use serde_json::{Value, json};

use crate::program::{Folder, ISSUER, Program, policy_with};
use crate::reviews::{creation, deployment_pod, job_pod, stateful_set_pod};

const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

/// One namespace `jobs`, a ServiceAccount a verdict.
fn folder() -> Folder {
    let folder = Folder::new();
    let roles = [
        ("trusted", Folder::trusting("jobs", "trusted")),
        ("not-trusted", Folder::trusting("other", "not-trusted")),
        (
            "undecided",
            policy_with(json!({
                "StringEquals": {format!("{ISSUER}:sub"): "system:serviceaccount:jobs:undecided"},
                "IpAddress": {"aws:SourceIp": "203.0.113.0/24"}
            })),
        ),
        (
            "unknown",
            json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Actoin": "*"}]}),
        ),
    ];
    for (name, policy) in roles {
        let arn = folder.role(name, &policy);
        folder.account("jobs", name, &[(ROLE_ANNOTATION, &arn)]);
    }
    folder.account(
        "jobs",
        "absent",
        &[(ROLE_ANNOTATION, "arn:aws:iam::111122223333:role/absent")],
    );
    folder.account(
        "jobs",
        "malformed",
        &[(ROLE_ANNOTATION, "arn:aws:iam::11112222333:role/short")],
    );
    folder.account("jobs", "plain", &[]);
    folder
}

#[derive(Debug, PartialEq)]
enum Seen {
    Denied,
    Injected,
    InjectedAndWarned,
    Untouched,
    UntouchedAndWarned,
}

fn seen(response: &Value) -> Seen {
    if response["allowed"] == false {
        assert_eq!(response["status"]["code"], 403);
        assert_eq!(response["status"]["reason"], "Forbidden");
        assert!(response.get("patch").is_none());
        return Seen::Denied;
    }
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some());
    match (response.get("patch").is_some(), response.get("warnings").is_some()) {
        (true, false) => Seen::Injected,
        (true, true) => Seen::InjectedAndWarned,
        (false, false) => Seen::Untouched,
        (false, true) => Seen::UntouchedAndWarned,
    }
}

#[tokio::test]
async fn every_row_of_the_table() {
    use Seen::{Denied, Injected, InjectedAndWarned, Untouched, UntouchedAndWarned};
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    for (account, enforce, warn, audit) in [
        ("trusted", Injected, Injected, Injected),
        ("not-trusted", Denied, InjectedAndWarned, Injected),
        ("absent", Denied, InjectedAndWarned, Injected),
        ("undecided", InjectedAndWarned, InjectedAndWarned, Injected),
        ("unknown", InjectedAndWarned, InjectedAndWarned, Injected),
        ("malformed", Denied, UntouchedAndWarned, Untouched),
        ("plain", Untouched, Untouched, Untouched),
    ] {
        for (mode, expected) in [("enforce", enforce), ("warn", warn), ("audit", audit)] {
            let response = program
                .review(
                    &format!("/mutate/{mode}?timeout=5s"),
                    &creation(&job_pod("jobs", account)),
                )
                .await;
            assert_eq!(seen(&response), expected, "{account} in {mode}: {response:#}");
            assert_eq!(response["auditAnnotations"]["mode"], mode);
        }
    }
}

#[tokio::test]
async fn what_a_refused_author_reads() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let response = program
        .review("/mutate", &creation(&job_pod("jobs", "not-trusted")))
        .await;
    let message = response["status"]["message"].as_str().unwrap();
    assert_eq!(
        message,
        format!(
            r#"IAM role "not-trusted" does not trust ServiceAccount jobs/not-trusted: its trust policy allows other/not-trusted (wrong-subject)
  role     arn:aws:iam::111122223333:role/not-trusted, statement 1
  allowed  system:serviceaccount:other:not-trusted
  needed   system:serviceaccount:jobs:not-trusted
  fix      rolegate trust-policy --role-arn arn:aws:iam::111122223333:role/not-trusted --issuer {ISSUER} -n jobs --service-account not-trusted
  docs     rolegate explain wrong-subject"#
        )
    );
    assert_eq!(
        response["auditAnnotations"],
        json!({"role": "arn:aws:iam::111122223333:role/not-trusted", "verdict": "not-trusted", "cause": "wrong-subject", "mode": "enforce"})
    );
}

#[tokio::test]
async fn a_refusal_names_the_page_of_its_cause_where_there_is_one() {
    let folder = folder();
    let program = Program::serve(&folder, &["--docs-url=https://docs.example.com/causes/"]);
    let response = program
        .review("/mutate", &creation(&job_pod("jobs", "not-trusted")))
        .await;
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message.ends_with("\n  docs     https://docs.example.com/causes#wrong-subject"),
        "{message}"
    );
}

#[tokio::test]
async fn controllers_that_back_off_for_minutes_are_to_be_restarted() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    for (pod, then) in [
        (
            deployment_pod("jobs", "not-trusted"),
            Some("kubectl rollout restart deployment/web -n jobs"),
        ),
        (
            stateful_set_pod("jobs", "not-trusted"),
            Some("kubectl rollout restart statefulset/db -n jobs"),
        ),
        (job_pod("jobs", "not-trusted"), None),
    ] {
        let response = program.review("/mutate", &creation(&pod)).await;
        let message = response["status"]["message"].as_str().unwrap();
        match then {
            Some(then) => assert!(message.contains(&format!("\n  then     {then}\n")), "{message}"),
            None => assert!(!message.contains("  then "), "{message}"),
        }
    }
}

#[tokio::test]
async fn a_bad_annotation_is_quoted_with_its_key() {
    let folder = folder();
    folder.account(
        "jobs",
        "tabbed",
        &[(ROLE_ANNOTATION, "arn:aws:iam::111122223333:role/a\tb\n")],
    );
    let program = Program::serve(&folder, &[]);
    let response = program.review("/mutate", &creation(&job_pod("jobs", "tabbed"))).await;
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message.contains(r#"eks.amazonaws.com/role-arn="arn:aws:iam::111122223333:role/a\tb\n""#),
        "{message}"
    );
    assert_eq!(response["auditAnnotations"]["cause"], "malformed-annotation");
    let response = program
        .review("/mutate/warn", &creation(&job_pod("jobs", "tabbed")))
        .await;
    for warning in response["warnings"].as_array().unwrap() {
        let warning = warning.as_str().unwrap();
        assert!(
            !warning.contains(char::is_control) && warning.chars().count() <= 256,
            "{warning:?}"
        );
    }
}

#[tokio::test]
async fn a_policy_that_depends_on_the_time_is_judged_with_the_time() {
    let folder = Folder::new();
    for (account, operator) in [("begun", "DateGreaterThan"), ("over", "DateLessThan")] {
        let policy = policy_with(json!({
            "StringEquals": {format!("{ISSUER}:sub"): format!("system:serviceaccount:jobs:{account}")},
            operator: {"aws:CurrentTime": "2020-01-01T00:00:00Z"}
        }));
        let arn = folder.role(account, &policy);
        folder.account("jobs", account, &[(ROLE_ANNOTATION, &arn)]);
    }
    let program = Program::serve(&folder, &[]);
    for (account, expected) in [("begun", "trusted"), ("over", "not-trusted")] {
        let response = program.review("/mutate", &creation(&job_pod("jobs", account))).await;
        assert_eq!(response["auditAnnotations"]["verdict"], expected, "{response:#}");
    }
}

#[tokio::test]
async fn an_undecided_verdict_names_its_keys() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let response = program
        .review("/mutate", &creation(&job_pod("jobs", "undecided")))
        .await;
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("depends on aws:SourceIp") && warning.chars().count() <= 200,
        "{warning}"
    );
    assert_eq!(response["auditAnnotations"]["verdict"], "undecided");
}

#[tokio::test]
async fn on_unknown_deny_covers_unknown_only() {
    let folder = folder();
    let program = Program::serve(&folder, &["--on-unknown=deny"]);
    for (account, expected) in [
        ("unknown", Seen::Denied),
        ("undecided", Seen::InjectedAndWarned),
        ("trusted", Seen::Injected),
    ] {
        let response = program
            .review("/mutate/enforce", &creation(&job_pod("jobs", account)))
            .await;
        assert_eq!(seen(&response), expected, "{account}: {response:#}");
    }
    let response = program
        .review("/mutate/warn", &creation(&job_pod("jobs", "unknown")))
        .await;
    assert_eq!(seen(&response), Seen::InjectedAndWarned);
}

#[tokio::test]
async fn a_required_role_that_is_missing() {
    let folder = folder();
    for (flag, expected) in [
        ("off", [Seen::Untouched, Seen::Untouched, Seen::Untouched]),
        (
            "warn",
            [Seen::UntouchedAndWarned, Seen::UntouchedAndWarned, Seen::Untouched],
        ),
        ("enforce", [Seen::Denied, Seen::UntouchedAndWarned, Seen::Untouched]),
    ] {
        let program = Program::serve(&folder, &["--require-role", flag]);
        for (mode, expected) in ["enforce", "warn", "audit"].iter().zip(expected) {
            let response = program
                .review(&format!("/mutate/{mode}"), &creation(&job_pod("jobs", "plain")))
                .await;
            assert_eq!(
                seen(&response),
                expected,
                "--require-role {flag} in {mode}: {response:#}"
            );
            let cause = response["auditAnnotations"].get("cause");
            assert_eq!(cause.is_some(), flag != "off", "{response:#}");
        }
    }
}

#[tokio::test]
async fn the_mode_flag_applies_to_the_bare_path_and_a_misspelled_mode_is_enforce() {
    let folder = folder();
    let program = Program::serve(&folder, &["--mode", "audit"]);
    let refused = creation(&job_pod("jobs", "not-trusted"));
    assert_eq!(seen(&program.review("/mutate", &refused).await), Seen::Injected);
    for path in ["/mutate/misspelt", "/mutate/enforced"] {
        assert_eq!(seen(&program.review(path, &refused).await), Seen::Denied);
        let response = program.review(path, &creation(&job_pod("jobs", "trusted"))).await;
        assert_eq!(seen(&response), Seen::InjectedAndWarned);
        assert!(
            response["warnings"][0].as_str().unwrap().contains("rolegate.io/gate"),
            "{response:#}"
        );
    }
}

/// No spelling of the path turns `enforce` off.
#[tokio::test]
async fn an_unusual_path_is_not_served_or_enforces() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let refused = creation(&job_pod("jobs", "not-trusted")).to_string();
    for path in [
        "/mutate/%61udit",
        "/mutate/AUDIT",
        "/mutate/audit/",
        "/mutate//audit",
        "/mutate/enforce/../audit",
        "/mutate/enforce/%2e%2e/audit",
        "/mutate/../mutate/audit",
        "/mutate/audit%00",
        "/mutate/audit;x=1",
        "//mutate/audit",
        "/MUTATE/audit",
        "/validate/../mutate/audit",
    ] {
        let (status, json) = program.post(path, refused.clone()).await;
        match status {
            200 => assert_eq!(seen(&json["response"]), Seen::Denied, "{path}"),
            status => assert_eq!(status, 404, "{path}: {json}"),
        }
    }
    // A proxy asks with the absolute form, whose path counts.
    for (path, expected) in [("audit", Seen::Injected), ("enforce", Seen::Denied)] {
        let (_, json) = program
            .post(&format!("http://other.example/mutate/{path}"), refused.clone())
            .await;
        assert_eq!(seen(&json["response"]), expected, "{path}");
    }
}

/// The kubelet starts static pods in any case; a refusal would only hide them from the API server.
#[tokio::test]
async fn mirror_pods_of_static_pods_are_left_as_they_are() {
    let folder = folder();
    let program = Program::serve(&folder, &["--require-role", "enforce"]);
    for account in ["not-trusted", "trusted", "malformed", "plain"] {
        let mut pod = job_pod("jobs", account);
        for (kind, expected) in [("static", Seen::Untouched), ("ordinary", Seen::Denied)] {
            pod["metadata"]["annotations"]["kubernetes.io/config.mirror"] = match kind {
                "static" => json!("0123456789abcdef"),
                _ => Value::Null,
            };
            for path in ["/mutate/enforce", "/validate/pods/enforce"] {
                let found = seen(&program.review(path, &creation(&pod)).await);
                match (kind, account, path) {
                    ("ordinary", "trusted", "/mutate/enforce") => assert_eq!(found, Seen::Injected),
                    ("ordinary", "trusted", _) => {}
                    _ => assert_eq!(found, expected, "{kind} pod of {account} at {path}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn validating_pods_judges_the_same_and_patches_nothing() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    for (account, mode, expected) in [
        ("trusted", "enforce", Seen::Untouched),
        ("not-trusted", "enforce", Seen::Denied),
        ("not-trusted", "warn", Seen::UntouchedAndWarned),
        ("not-trusted", "audit", Seen::Untouched),
        ("undecided", "enforce", Seen::UntouchedAndWarned),
        ("malformed", "enforce", Seen::Denied),
    ] {
        let response = program
            .review(&format!("/validate/pods/{mode}"), &creation(&job_pod("jobs", account)))
            .await;
        assert_eq!(seen(&response), expected, "{account} in {mode}: {response:#}");
    }
}

#[tokio::test]
async fn the_worst_of_several_roles_decides() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    let mut pod = job_pod("jobs", "trusted");
    let mut second = pod["spec"]["containers"][0].clone();
    second["name"] = json!("second");
    second["env"] = json!([
        {"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::111122223333:role/not-trusted"},
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"}
    ]);
    pod["spec"]["containers"].as_array_mut().unwrap().push(second);
    let response = program.review("/mutate", &creation(&pod)).await;
    assert_eq!(seen(&response), Seen::Denied, "{response:#}");
    assert_eq!(
        response["auditAnnotations"]["role"],
        "arn:aws:iam::111122223333:role/not-trusted"
    );
}

#[tokio::test]
async fn a_dry_run_gets_the_same_answer() {
    let folder = folder();
    let program = Program::serve(&folder, &[]);
    for account in ["trusted", "not-trusted", "plain"] {
        let mut review = creation(&job_pod("jobs", account));
        let wet = program.review("/mutate", &review).await;
        review["request"]["dryRun"] = json!(true);
        assert_eq!(program.review("/mutate", &review).await, wet);
    }
}
