//! The calls themselves: how the API server handles an answer that is not a valid review, how long it waits, and a webhook that only
//! evaluates.

use std::thread;

use serde_json::{Value, json};

use crate::cluster::{Cluster, ExclusiveCluster, Gate, Namespace, role_of, trust_policy};
use crate::link::Flow;
use crate::release::{NAME, NAMESPACE, Release};
use crate::scenarios::Scenarios;
use crate::wait::until;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(a_response_that_is_not_a_review_is_shown_to_the_author);
    scenarios.serial(a_webhook_that_cannot_read_the_service_account_is_called_again_and_says_why);
    scenarios.serial(without_injection_pods_are_checked_as_eks_mutated_them);
}

fn a_response_that_is_not_a_review_is_shown_to_the_author(cluster: &Cluster) {
    let _release = cluster.release();
    let jobs = cluster.namespace("wrong-path", Gate::None);
    let configured = cluster.json(&["get", "mutatingwebhookconfiguration", NAME]);
    let mut entry = configured["webhooks"][0].clone();
    entry["name"] = json!("wrong.example.com");
    entry["clientConfig"]["service"]["path"] = json!("/nothing");
    entry["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": jobs.name}});
    let wrong = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": jobs.name},
        "webhooks": [entry],
    });
    cluster.apply(&wrong.to_string()).ok();

    let refused = until("a call of the wrong path", || {
        let output = jobs.create_pod("refused", "default", &["--dry-run=server"]);
        (!output.succeeded()).then_some(output.stderr)
    });
    cluster
        .kubectl(&["delete", "mutatingwebhookconfiguration", &jobs.name])
        .ok();

    let expected = "check the path in the webhook configuration";
    assert!(refused.contains(expected), "{refused}");
}

fn a_webhook_that_cannot_read_the_service_account_is_called_again_and_says_why(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({"timeoutSeconds": 5}));
    cluster.wait_until_called(&release);
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let seconds = cluster.kubectl(&["get", kind, NAME, "-o=jsonpath={.webhooks[*].timeoutSeconds}"]);
        assert!(seconds.ok().split(' ').all(|seconds| seconds == "5"), "{kind}");
    }
    for seconds in [0, 6] {
        let output = release.helm(&[
            "upgrade",
            NAME,
            concat!(env!("CARGO_MANIFEST_DIR"), "/charts/rolegate"),
            &format!("--set=timeoutSeconds={seconds}"),
            "--reuse-values",
            "--dry-run=server",
            "--namespace",
            NAMESPACE,
        ]);
        assert!(output.refused().contains("timeoutSeconds"), "{seconds} s");
    }

    let jobs = cluster.namespace("asked-again", Gate::Enforce);
    let role = jobs.trusted_role(&release, "reports", "later");
    let cut = |flow| {
        release.api_link.valve.set(flow);
        release.api_link.valve.cut();
    };

    // Asked each second until the time is up: then the API server reports a timeout of its own, and the reason is in our log.
    cut(Flow::Refused);
    jobs.kubectl(&["create", "serviceaccount", "later"]).ok();
    jobs.annotate("later", &role);
    let refused = jobs.create_pod("refused", "later", &[]).refused();
    assert!(
        refused.contains("failed calling webhook \"enforce.rolegate.io\""),
        "{refused}"
    );
    let reason = format!("ServiceAccount {}/later could not be read", jobs.name);
    assert!(release.log().contains(&reason), "{reason}");
    let tried = |pod| errors(&release, &jobs, pod);
    until("more than one attempt", || (tried("refused") > 1).then_some(()));

    // Within the timeout it is asked again, and the author notices nothing.
    let output = thread::scope(|scope| {
        let creation = scope.spawn(|| jobs.create_pod("served", "later", &[]));
        until("a first attempt", || (tried("served") > 0).then_some(()));
        cut(Flow::Open);
        creation.join().unwrap()
    });
    assert_eq!(role_of(&output.json()), Some(role));
}

/// How often a pod's review was answered with an error.
fn errors(release: &Release, namespace: &Namespace, pod: &str) -> usize {
    let reviews = release.reviews(&namespace.name);
    let failed = |review: &&Value| review["pod"] == pod && review["action"] == "error";
    reviews.iter().filter(failed).count()
}

fn without_injection_pods_are_checked_as_eks_mutated_them(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({"inject": false}));
    let entries = |kind: &str| {
        let names = [
            "get",
            kind,
            NAME,
            "--ignore-not-found",
            "-o=jsonpath={.webhooks[*].name}",
        ];
        cluster.kubectl(&names).ok()
    };
    assert_eq!(entries("mutatingwebhookconfiguration"), "");
    let names = entries("validatingwebhookconfiguration");
    assert_eq!(
        names,
        "enforce.rolegate.io warn.rolegate.io audit.rolegate.io misspelt.rolegate.io workloads.rolegate.io"
    );

    let jobs = cluster.namespace("judged", Gate::Enforce);
    let (trusted, other) = (jobs.role_arn("reports"), jobs.role_arn("other"));
    release.put_role(&trusted, &trust_policy(&jobs.name, "default"));
    release.put_role(&other, &trust_policy("elsewhere", "default"));
    jobs.annotate("default", &other);
    let refused = until("a refusal", || {
        let output = jobs.create_pod("refused", "default", &["--dry-run=server"]);
        (!output.succeeded()).then(|| output.refused())
    });
    assert!(
        refused.contains("webhook \"enforce.rolegate.io\" denied the request: IAM role \"other\" does not trust"),
        "{refused}"
    );

    jobs.annotate("default", &trusted);
    let output = jobs.create_pod("untouched", "default", &[]);
    assert_eq!(output.warnings(), [""; 0]);
    assert_eq!(role_of(&output.json()), None);

    // What EKS's webhook put in is what is evaluated.
    let injected = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "injected"},
        "spec": {
            "volumes": [{"name": "aws-iam-token", "projected": {"sources": [{"serviceAccountToken": {
                "audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token",
            }}]}}],
            "containers": [{
                "name": "main",
                "image": "example",
                "env": [
                    {"name": "AWS_ROLE_ARN", "value": other},
                    {
                        "name": "AWS_WEB_IDENTITY_TOKEN_FILE",
                        "value": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
                    },
                ],
                "volumeMounts": [{
                    "name": "aws-iam-token",
                    "readOnly": true,
                    "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount",
                }],
            }],
        },
    });
    let refused = jobs.create(&injected, &[]).refused();
    assert!(refused.contains("IAM role \"other\" does not trust"), "{refused}");
}
