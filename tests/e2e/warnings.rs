//! Warnings reach the user who runs the command, and only where a person looks.

use serde_json::{Value, json};

use crate::cluster::{Cluster, Gate, ISSUER_HOST, Namespace, role_of, trust_policy};
use crate::kubectl::CommandOutput;
use crate::release::Release;
use crate::scenarios::Scenarios;
use crate::wait::until;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(what_makes_pods_later_is_warned_about_at_apply);
    scenarios.parallel(a_service_account_is_warned_about_when_it_is_annotated);
    scenarios.parallel(controllers_and_changes_outside_the_pod_template_are_not_reviewed);
    scenarios.parallel(odd_text_in_annotations_never_swallows_a_warning);
    scenarios.parallel(a_condition_that_only_sts_knows_is_warned_about);
}

fn what_makes_pods_later_is_warned_about_at_apply(cluster: &Cluster) {
    let release = cluster.release();
    let apps = cluster.namespace("applied", Gate::Enforce);
    untrusted(&release, &apps);

    for kind in ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"] {
        let output = apps.apply(&workload(kind).to_string());
        let warnings = output.warnings();
        let expected = [
            format!(
                "IAM role \"api\" does not trust ServiceAccount {}/api: its trust policy allows production/api (wrong-subject)",
                apps.name
            ),
            format!(
                "fix: rolegate trust-policy --role-arn {} --issuer {ISSUER_HOST} -n {} --service-account api",
                apps.role_arn("api"),
                apps.name
            ),
        ];
        assert_eq!(warnings, expected, "{kind}");
        within_limits(&output);
        // Nothing is refused at apply.
        output.ok();
    }
}

fn a_service_account_is_warned_about_when_it_is_annotated(cluster: &Cluster) {
    let release = cluster.release();
    let apps = cluster.namespace("annotated", Gate::Enforce);
    let role = apps.role_arn("api");
    release.put_role(&role, &trust_policy("production", "api"));
    apps.kubectl(&["create", "serviceaccount", "api"]).ok();
    for (value, expected) in [
        (role.as_str(), "(wrong-subject)"),
        ("arn:aws:iam::111122223333:user/api", "malformed-annotation"),
    ] {
        let annotation = format!("eks.amazonaws.com/role-arn={value}");
        let output = apps.kubectl(&["annotate", "serviceaccount", "api", &annotation, "--overwrite"]);
        assert!(
            output.warnings().iter().any(|warning| warning.contains(expected)),
            "{output}"
        );
        within_limits(&output);
        output.ok();
    }
    let look_alike = ["annotate", "serviceaccount", "default", "eks.amazonaws.com/role_arn=x"];
    let output = apps.kubectl(&look_alike);
    let meant = format!(
        "ServiceAccount {}/default: annotation eks.amazonaws.com/role_arn is ignored; did you mean eks.amazonaws.com/role-arn?",
        apps.name
    );
    assert!(
        output.warnings().iter().any(|warning| warning.contains(&meant)),
        "{output}"
    );
}

fn controllers_and_changes_outside_the_pod_template_are_not_reviewed(cluster: &Cluster) {
    let release = cluster.release();
    let apps = cluster.namespace("unasked", Gate::Warn);
    untrusted(&release, &apps);
    apps.apply(&workload("Deployment").to_string()).ok();
    until("its pod", || {
        apps.json(&["get", "pods"])["items"].get(0).is_some().then_some(())
    });
    // The controllers have written its status by now.
    until("its status", || {
        let status = &apps.json(&["get", "deployment", "api"])["status"];
        (status["unavailableReplicas"] == 1).then_some(())
    });

    for unrelated in [
        &["scale", "deployment", "api", "--replicas=2"][..],
        &["annotate", "deployment", "api", "owner=somebody"],
        &["label", "serviceaccount", "api", "owner=somebody"],
    ] {
        let output = apps.kubectl(unrelated);
        assert_eq!(output.warnings(), [""; 0], "{output}");
        output.ok();
    }
    let output = apps.kubectl(&["set", "image", "deployment/api", "main=other"]);
    assert!(!output.warnings().is_empty(), "{output}");

    // The ServiceAccount when it was made and when it was annotated, the Deployment when it was made and when its pods changed.
    let asked = until("the last review", || {
        let mut reviews = release.reviews(&apps.name);
        reviews.retain(|review| review["pod"].is_null() && review["serviceAccount"] == "api");
        (reviews.len() >= 4).then_some(reviews)
    });
    assert_eq!(asked.len(), 4, "{asked:?}");
}

fn odd_text_in_annotations_never_swallows_a_warning(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("odd", Gate::Warn);
    let role = jobs.trusted_role(&release, "reports", "default");
    jobs.annotate("default", &role);
    let odd = "a\tb\r\nc\u{1b}[31m\u{7f}\u{202e}\u{2028}end";
    let annotation = format!("eks.amazonaws.com/sts-regional-endpoints={odd}");
    jobs.kubectl(&["annotate", "serviceaccount", "default", &annotation])
        .ok();
    let long = vec!["x".repeat(300); 1].into_iter();
    let names: Vec<_> = (0..400)
        .map(|number| format!("container-{number}"))
        .chain(long)
        .collect();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "report", "annotations": {
            "eks.amazonaws.com/token-expiration": odd,
            "eks.amazonaws.com/include-containers": format!("main,{}", names.join(",")),
        }},
        "spec": {"containers": [{"name": "main", "image": "example"}]},
    });

    let output = jobs.create(&pod, &["-o", "json"]);

    for key in ["sts-regional-endpoints", "token-expiration", "include-containers"] {
        let key = format!("eks.amazonaws.com/{key} ");
        assert!(
            output.warnings().iter().any(|warning| warning.starts_with(&key)),
            "{key}: {output}"
        );
    }
    let escaped = r#""a\tb\r\nc\u{1b}[31m\u{7f}\u{202e}\u{2028}end""#;
    assert_eq!(output.stderr.matches(escaped).count(), 2, "{output}");
    within_limits(&output);
    assert_eq!(role_of(&output.json()), Some(role.clone()));

    // A value that is not a role ARN, as odd as possible.
    jobs.annotate("default", &format!("\n\u{1b}[2J{role}{}", "ü".repeat(3000)));
    let output = jobs.create_pod("other", "default", &[]);
    let warnings = output.warnings();
    assert!(
        warnings.len() == 2 && warnings[0].ends_with("(malformed-annotation)") && warnings[0].contains(r"\n\u{1b}[2J"),
        "{output}"
    );
    assert!(
        warnings[1].starts_with("fix: kubectl annotate serviceaccount default "),
        "{output}"
    );
    within_limits(&output);
    assert_eq!(role_of(&output.json()), None);
}

fn a_condition_that_only_sts_knows_is_warned_about(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("undecided", Gate::Enforce);
    let role = jobs.role_arn("reports");
    let mut policy = trust_policy(&jobs.name, "default");
    policy["Statement"][0]["Condition"]["IpAddress"] = json!({"aws:SourceIp": "192.0.2.0/24"});
    release.put_role(&role, &policy);
    jobs.annotate("default", &role);

    let output = jobs.create_pod("report", "default", &[]);

    assert!(
        output.warnings().iter().any(|warning| warning.contains("aws:SourceIp")),
        "{output}"
    );
    within_limits(&output);
    assert_eq!(role_of(&output.json()), Some(role));
}

/// A ServiceAccount `api` whose role trusts another namespace's.
fn untrusted(release: &Release, namespace: &Namespace) {
    let role = namespace.role_arn("api");
    release.put_role(&role, &trust_policy("production", "api"));
    namespace.kubectl(&["create", "serviceaccount", "api"]).ok();
    namespace.annotate("api", &role);
}

/// The API server cuts a warning at 256 characters, and all of them where they have more than 4096 together.
#[track_caller]
fn within_limits(output: &CommandOutput) {
    let lengths = output.warnings().into_iter().map(|warning| warning.chars().count());
    assert!(lengths.clone().all(|length| length <= 256), "{output}");
    assert!(lengths.sum::<usize>() <= 4096, "{output}");
    // kubectl prints nothing else: a warning has one line.
    let other = output.stderr.lines().find(|line| !line.starts_with("Warning: "));
    assert_eq!(other, None, "{output}");
}

/// A workload whose pods run as ServiceAccount `api`.
fn workload(kind: &str) -> Value {
    let pods = json!({
        "metadata": {"labels": {"app": "api"}},
        "spec": {"serviceAccountName": "api", "containers": [{"name": "main", "image": "example"}]},
    });
    let mut once = pods.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let (api, spec) = match kind {
        "Job" => ("batch/v1", json!({"template": once})),
        "CronJob" => (
            "batch/v1",
            json!({"schedule": "0 4 * * *", "jobTemplate": {"spec": {"template": once}}}),
        ),
        _ => {
            let mut spec = json!({"selector": {"matchLabels": {"app": "api"}}, "template": pods});
            if kind == "StatefulSet" {
                spec["serviceName"] = json!("api");
            }
            ("apps/v1", spec)
        }
    };
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": "api"}, "spec": spec})
}
