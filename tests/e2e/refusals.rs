//! A pod whose role does not trust it is refused: where its author reads the reason, and what happens once it is fixed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Gate, ISSUER_HOST, Namespace, role_of, trust_policy};
use crate::release::Release;
use crate::scenarios::Scenarios;
use crate::wait::until;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(a_role_for_ecs_tasks_is_refused_with_its_cause);
    scenarios.parallel(the_first_line_of_a_refusal_is_self_contained_and_rows_add_detail);
    scenarios.parallel(a_refused_job_runs_by_itself_once_the_policy_is_fixed);
    scenarios.parallel(the_deadline_of_a_refused_job_runs_on);
    scenarios.parallel(a_refused_deployment_goes_on_at_a_restart);
    scenarios.parallel(a_refused_stateful_set_goes_on_at_a_restart);
    scenarios.parallel(a_refused_daemon_set_says_why);
    scenarios.parallel(a_storm_of_refusals_is_one_event);
    scenarios.parallel(a_volume_in_the_tokens_place_is_refused_by_name);
    scenarios.parallel(an_annotation_that_is_not_a_role_arn_is_quoted);
    scenarios.parallel(odd_text_of_others_forges_nothing_in_a_refusal);
    scenarios.parallel(odd_text_of_others_swallows_no_warning);
}

fn a_role_for_ecs_tasks_is_refused_with_its_cause(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("ecs", Gate::Enforce);
    let role = jobs.role_arn("ecs-task");
    release.put_role(&role, &trusts_service("ecs-tasks.amazonaws.com"));
    jobs.annotate("default", &role);

    jobs.kubectl(&["create", "job", "report", "--image=example"]).ok();

    let described = described(&jobs, "job", "report", "wrong-principal-type");
    assert!(described.contains("ecs-tasks.amazonaws.com"), "{described}");
    assert!(described.contains("FailedCreate"), "{described}");
    let refused = jobs.create_pod("pod", "default", &[]).refused();
    let start = format!(
        "Error from server (Forbidden): error when creating \"STDIN\": admission webhook \"enforce.rolegate.io\" denied the request: \
         IAM role \"ecs-task\" does not trust ServiceAccount {}/default: its trust policy allows only ecs-tasks.amazonaws.com \
         (wrong-principal-type)\n",
        jobs.name
    );
    assert!(refused.starts_with(&start), "{refused}");
}

fn the_first_line_of_a_refusal_is_self_contained_and_rows_add_detail(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("bare", Gate::Enforce);
    let role = jobs.role_arn("reports");
    release.put_role(&role, &trust_policy("elsewhere", "default"));
    jobs.annotate("default", &role);

    let refused = jobs.kubectl(&["run", "probe", "--image=example"]).refused();

    let name = &jobs.name;
    let command =
        format!("rolegate trust-policy --role-arn {role} --issuer {ISSUER_HOST} -n {name} --service-account default");
    let expected = [
        &format!(
            "Error from server (Forbidden): admission webhook \"enforce.rolegate.io\" denied the request: IAM role \"reports\" does \
             not trust ServiceAccount {name}/default: its trust policy allows elsewhere/default (wrong-subject)"
        ),
        &format!("  role     {role}, statement 1"),
        "  allowed  system:serviceaccount:elsewhere:default",
        &format!("  needed   system:serviceaccount:{name}:default"),
        &format!("  fix      {command}"),
        "  docs     rolegate explain wrong-subject",
    ];
    assert_eq!(refused.trim_end().lines().collect::<Vec<_>>(), expected);
}

/// Owner references and policies are other people's text, and the API server takes any name of an owner.
fn odd_text_of_others_forges_nothing_in_a_refusal(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("forged", Gate::Enforce);
    let role = jobs.role_arn("reports");
    let odd_subject = "elsewhere:default\n  fix      kubectl delete ns production\r\u{85}";
    release.put_role(&role, &trust_policy_of_subject(odd_subject));
    jobs.annotate("default", &role);

    for owner in ODD_OWNERS {
        for kind in ["ReplicaSet", "StatefulSet", "DaemonSet"] {
            let refused = jobs.create(&owned_pod(kind, owner), &[]).refused();
            is_plain(&refused);
            assert!(
                refused.contains("does not trust") && refused.contains("(wrong-subject)"),
                "{refused}"
            );
            let labels: Vec<_> = refused
                .lines()
                .skip(1)
                .map(|line| line.split_whitespace().next())
                .collect();
            let rows = ["role", "allowed", "needed", "reason", "also", "edit", "fix", "docs"].map(Some);
            assert!(labels.iter().all(|label| rows.contains(label)), "{refused}");
            let fixes = refused.lines().filter(|line| line.starts_with("  fix      "));
            assert_eq!(fixes.count(), 1, "{refused}");
            let escaped = r"default\n  fix      kubectl delete ns production\r\u{85}";
            assert!(refused.contains(escaped), "{refused}");
            assert!(!refused.contains("pwned") && !refused.contains("rollout"), "{refused}");
        }
    }
    let note = until("the Event", || {
        let events = of_refusals(&jobs);
        events["items"][0]["note"].as_str().map(str::to_owned)
    });
    is_plain(&note);
    assert!(
        note.contains("(wrong-subject)") && note.contains("; fix: rolegate trust-policy "),
        "{note}"
    );
    for forged in ["\n", "; then: ", "pwned", "rollout"] {
        assert!(!note.contains(forged), "{forged:?}: {note}");
    }
}

/// The API server drops a warning that has a control character.
fn odd_text_of_others_swallows_no_warning(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("forged-warning", Gate::Warn);
    let role = jobs.role_arn("reports");
    release.put_role(&role, &trust_policy_of_subject("elsewhere:default\n\r\t\u{85}"));
    jobs.annotate("default", &role);

    for owner in ODD_OWNERS {
        let output = jobs.create(&owned_pod("StatefulSet", owner), &["--dry-run=server"]);
        let [first, second] = *output.warnings() else {
            panic!("not two warnings: {output}");
        };
        assert!(
            first.contains("does not trust") && first.ends_with("(wrong-subject)"),
            "{first}"
        );
        assert!(second.starts_with("fix: rolegate trust-policy --role-arn "), "{second}");
        is_plain(&output.stderr);
        output.ok();
    }
}

/// Names of owners that no object has.
const ODD_OWNERS: [&str; 4] = [
    "x; touch pwned; echo ",
    "x\n  fix      kubectl delete ns production",
    "x\u{1b}[31m\u{202e}\u{2028}",
    "$(touch pwned)",
];

/// A pod as a controller with this name would make it.
fn owned_pod(kind: &str, owner: &str) -> Value {
    // A ReplicaSet of a Deployment ends in the hash of its template.
    let name = if kind == "ReplicaSet" {
        format!("{owner}-5d5bdcf7c8")
    } else {
        owner.to_owned()
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "odd-",
            "labels": {"pod-template-hash": "5d5bdcf7c8"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true,
                "uid": "00000000-0000-4000-8000-000000000000",
            }],
        },
        "spec": {"containers": [{"name": "main", "image": "example"}]},
    })
}

fn trust_policy_of_subject(subject: &str) -> Value {
    let mut policy = trust_policy("any", "any");
    policy["Statement"][0]["Condition"]["StringEquals"][format!("{ISSUER_HOST}:sub")] =
        json!(format!("system:serviceaccount:{subject}"));
    policy
}

/// Nothing but printable ASCII, the ellipsis of shortened text, and the message's own line breaks: no control or format
/// characters and no other line separators.
#[track_caller]
fn is_plain(text: &str) {
    let odd = text
        .chars()
        .find(|character| !matches!(character, ' '..='~' | '\n' | '…'));
    assert_eq!(odd, None, "{text:?}");
}

fn a_refused_job_runs_by_itself_once_the_policy_is_fixed(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("fixed", Gate::Enforce);
    let role = jobs.role_arn("reports");
    release.put_role(&role, &trust_policy(&jobs.name, "somebody-else"));
    jobs.annotate("default", &role);
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "report"},
        // A single failed pod would end it.
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "example"}],
        }}},
    });
    jobs.create(&job, &[]).ok();

    let described = described(&jobs, "job", "report", "(wrong-subject)");
    assert!(described.contains("FailedCreate"), "{described}");
    assert!(
        described.contains("IAM role \"reports\" does not trust ServiceAccount"),
        "{described}"
    );
    until("three refusals", || (refusals(&release, &jobs) >= 3).then_some(()));
    let status = &jobs.json(&["get", "job", "report"])["status"];
    assert!(status["failed"].is_null() && status["conditions"].is_null(), "{status}");

    release.put_role(&role, &trust_policy(&jobs.name, "default"));

    let pod = jobs.pod_of_job("report");
    assert_eq!(role_of(&pod), Some(role));
    jobs.finish_pod(pod["metadata"]["name"].as_str().unwrap());
    jobs.kubectl(&["wait", "job/report", "--for=condition=complete", "--timeout=60s"])
        .ok();
}

fn the_deadline_of_a_refused_job_runs_on(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("deadline", Gate::Enforce);
    let role = jobs.role_arn("reports");
    release.put_role(&role, &trust_policy(&jobs.name, "somebody-else"));
    jobs.annotate("default", &role);
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "report"},
        "spec": {"activeDeadlineSeconds": 4, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "example"}],
        }}},
    });
    jobs.create(&job, &[]).ok();
    jobs.kubectl(&["wait", "job/report", "--for=condition=failed", "--timeout=60s"])
        .ok();
    let status = &jobs.json(&["get", "job", "report"])["status"];
    let conditions = status["conditions"].as_array().unwrap();
    assert!(
        conditions
            .iter()
            .any(|condition| condition["reason"] == "DeadlineExceeded"),
        "{status}"
    );
    assert!(refusals(&release, &jobs) >= 1);
    assert!(status["failed"].is_null(), "no pod of it ever failed: {status}");
}

fn a_refused_deployment_goes_on_at_a_restart(cluster: &Cluster) {
    a_refused_workload_goes_on(cluster, "Deployment", "rs");
}

fn a_refused_stateful_set_goes_on_at_a_restart(cluster: &Cluster) {
    a_refused_workload_goes_on(cluster, "StatefulSet", "sts");
}

fn a_refused_workload_goes_on(cluster: &Cluster, kind: &str, described_as: &str) {
    let release = cluster.release();
    let apps = cluster.namespace("restarted", Gate::Enforce);
    let role = apps.role_arn("api");
    release.put_role(&role, &trust_policy("production", "api"));
    apps.kubectl(&["create", "serviceaccount", "api"]).ok();
    apps.annotate("api", &role);
    apps.create(&workload(kind, "api", 1), &[]).ok();

    let described = described(&apps, described_as, "-l=app=api", "(wrong-subject)");
    let kind = kind.to_lowercase();
    let restart = format!("then     kubectl rollout restart {kind}/api -n {}", apps.name);
    assert!(described.contains(&restart), "{described}");
    assert!(described.contains("FailedCreate"), "{described}");
    if kind == "deployment" {
        let described = apps.kubectl(&["describe", "deployment", "api"]).ok();
        assert!(
            described.contains("ReplicaFailure") && !described.contains("does not trust"),
            "{described}"
        );
    }

    until_tries_are_rare(&release, &apps.name);
    release.put_role(&role, &trust_policy(&apps.name, "api"));
    apps.kubectl(&["rollout", "restart", &format!("{kind}/api")]).ok();

    // One that the restarted template made, not a late try of the old one.
    let pod = until("a pod of the restart", || {
        let pods = apps.json(&["get", "pods", "-l", "app=api"]);
        let mut pods = pods["items"].as_array().unwrap().iter();
        pods.find(|pod| pod["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string())
            .cloned()
    });
    assert_eq!(role_of(&pod), Some(role));
}

/// A controller tries again after twice as long each time. One that tries between the two commands that follow would make a pod
/// of the old template, which a StatefulSet keeps until it is ready.
fn until_tries_are_rare(release: &Release, namespace: &str) {
    let (mut seen, mut since) = (0, Instant::now());
    until("three seconds without a try", || {
        let reviews = release.reviews(namespace).len();
        if reviews != seen {
            (seen, since) = (reviews, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(3)).then_some(())
    });
}

fn a_refused_daemon_set_says_why(cluster: &Cluster) {
    let release = cluster.release();
    let apps = cluster.namespace("daemons", Gate::Enforce);
    let role = apps.role_arn("agent");
    release.put_role(&role, &trust_policy("production", "agent"));
    apps.kubectl(&["create", "serviceaccount", "agent"]).ok();
    apps.annotate("agent", &role);
    // Its controller makes a pod for each node.
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": apps.name}});
    cluster.apply(&node.to_string()).ok();
    let mut daemon_set = workload("DaemonSet", "agent", 1);
    daemon_set["spec"].as_object_mut().unwrap().remove("replicas");
    apps.create(&daemon_set, &[]).ok();

    let described = described(&apps, "ds", "agent", "(wrong-subject)");
    cluster.kubectl(&["delete", "node", &apps.name]).ok();

    let restart = format!("then     kubectl rollout restart daemonset/agent -n {}", apps.name);
    assert!(described.contains(&restart), "{described}");
}

fn a_storm_of_refusals_is_one_event(cluster: &Cluster) {
    let release = cluster.release();
    let apps = cluster.namespace("storm", Gate::Enforce);
    let role = apps.role_arn("api");
    release.put_role(&role, &trust_policy("production", "api"));
    apps.kubectl(&["create", "serviceaccount", "api"]).ok();
    apps.annotate("api", &role);
    apps.kubectl(&["create", "serviceaccount", "tried"]).ok();
    apps.annotate("tried", &role);

    // A dry run leaves nothing behind.
    apps.create_pod("tried", "tried", &["--dry-run=server"]).refused();
    apps.create(&workload("Deployment", "api", 20), &[]).ok();
    until("a storm", || (refusals(&release, &apps) >= 5).then_some(()));

    let described = described(&apps, "serviceaccount", "api", "PodRefused");
    let events: Vec<_> = described.lines().filter(|line| line.contains("PodRefused")).collect();
    assert_eq!(events.len(), 1, "{described}");
    let parts = [
        "Warning",
        "rolegate.io/webhook",
        "IAM role \"api\" does not trust ServiceAccount",
        ": its trust policy allows production/api (wrong-subject)",
        "; fix: rolegate trust-policy --role-arn ",
        "; then: kubectl rollout restart deployment/api -n ",
        "; docs: rolegate explain wrong-subject",
    ];
    for part in parts {
        assert!(events[0].contains(part), "{part} is missing in: {}", events[0]);
    }
    // Both replicas were called, and report to the same Event.
    until("the series", || {
        let events = of_refusals(&apps);
        let count = events["items"][0]["series"]["count"].as_u64().unwrap_or(1);
        (count >= 5).then_some(())
    });
    let events = of_refusals(&apps);
    assert_eq!(events["items"].as_array().map(Vec::len), Some(1), "{events}");
    let uid = &apps.json(&["get", "serviceaccount", "api"])["metadata"]["uid"];
    assert_eq!(&events["items"][0]["regarding"]["uid"], uid);
}

fn of_refusals(namespace: &Namespace) -> Value {
    let events = "events.v1.events.k8s.io";
    namespace.json(&["get", events, "--field-selector=reason=PodRefused"])
}

fn a_volume_in_the_tokens_place_is_refused_by_name(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("conflict", Gate::Enforce);
    let role = jobs.trusted_role(&release, "reports", "default");
    jobs.annotate("default", &role);
    let mounted = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
    let cases = [
        ("aws-iam-token", "/elsewhere", "aws-iam-token"),
        ("mine", mounted, mounted),
    ];
    for (volume, path, expected) in cases {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "conflicting"},
            "spec": {
                "volumes": [{"name": volume, "hostPath": {"path": "/tmp"}}],
                "containers": [{
                    "name": "main",
                    "image": "example",
                    "volumeMounts": [{"name": volume, "mountPath": path}],
                }],
            },
        });
        let refused = jobs.create(&pod, &[]).refused();
        assert!(
            refused.contains("(conflict)") && refused.contains(expected),
            "{refused}"
        );
    }
}

fn an_annotation_that_is_not_a_role_arn_is_quoted(cluster: &Cluster) {
    cluster.release();
    let jobs = cluster.namespace("malformed", Gate::Enforce);
    jobs.annotate("default", "arn:aws:iam::1111:role/reports\n");

    let refused = jobs.create_pod("pod", "default", &[]).refused();

    let quoted = r#"eks.amazonaws.com/role-arn="arn:aws:iam::1111:role/reports\n""#;
    assert!(
        refused.contains("(malformed-annotation)") && refused.contains(quoted),
        "{refused}"
    );
}

/// `kubectl describe`, once it says this.
#[track_caller]
fn described(namespace: &Namespace, kind: &str, name: &str, expected: &str) -> String {
    until(&format!("{expected} in kubectl describe {kind} {name}"), || {
        let text = namespace.kubectl(&["describe", kind, name]).ok();
        text.contains(expected).then_some(text)
    })
}

fn refusals(release: &Release, namespace: &Namespace) -> usize {
    let reviews = release.reviews(&namespace.name);
    let refused = |review: &&Value| review["action"] == "deny" && review["dryRun"] == false;
    reviews.iter().filter(refused).count()
}

fn trusts_service(service: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    })
}

/// A Deployment, a StatefulSet or a DaemonSet, whose pods run as a ServiceAccount of its name.
fn workload(kind: &str, name: &str, replicas: u32) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"serviceAccountName": name, "containers": [{"name": "main", "image": "example"}]},
            },
        },
    });
    if kind == "StatefulSet" {
        workload["spec"]["serviceName"] = json!(name);
    }
    workload
}
