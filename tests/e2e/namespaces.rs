//! Which namespaces are gated, and in which mode: by their label, by the list of names, never the cluster's own.

use serde_json::{Value, json};

use crate::cluster::{Cluster, ExclusiveCluster, Gate, Namespace, environment, role_of, trust_policy};
use crate::kubectl::CommandOutput;
use crate::release::{NAMESPACE, Release};
use crate::scenarios::Scenarios;
use crate::wait::until;

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(a_namespaces_mode_is_switched_live);
    scenarios.parallel(a_misspelled_mode_is_served_as_enforce_and_reported);
    scenarios.parallel(a_namespace_requires_roles_by_its_label);
    scenarios.parallel(a_pod_that_follows_its_namespace_at_once_needs_a_role);
    scenarios.parallel(namespaces_without_the_label_never_reach_the_webhook);
    scenarios.parallel(the_clusters_own_namespaces_are_never_gated);
    scenarios.serial(a_namespace_both_listed_and_labeled_is_reviewed_once);
}

fn a_namespaces_mode_is_switched_live(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("switched", Gate::Enforce);
    let role = jobs.role_arn("reports");
    release.put_role(&role, &trust_policy("elsewhere", "default"));
    jobs.annotate("default", &role);
    let create = || jobs.create_pod("probe", "default", &["--dry-run=server"]);

    let refused = create().refused();
    assert!(refused.contains("webhook \"enforce.rolegate.io\" denied"), "{refused}");

    let warned = after_labeling(&jobs, "rolegate.io/gate=warn", create, CommandOutput::succeeded);
    assert_eq!(role_of(&warned.clone().json()).as_ref(), Some(&role));
    let warnings = warned.warnings();
    assert!(
        warnings.iter().any(|warning| warning.contains("(wrong-subject)")),
        "{warnings:?}"
    );

    let silent = |output: &CommandOutput| output.succeeded() && output.warnings().is_empty();
    let audited = after_labeling(&jobs, "rolegate.io/gate=audit", create, silent);
    assert_eq!(role_of(&audited.json()), Some(role));
    let recorded = until("the audited review", || {
        let is_audited = |review: &Value| review["mode"] == "audit";
        release.reviews(&jobs.name).into_iter().find(is_audited)
    });
    assert_eq!(recorded["cause"], "wrong-subject");
    assert_eq!(recorded["action"], "inject");

    let left_alone = |output: &CommandOutput| output.succeeded() && role_of(&output.clone().json()).is_none();
    after_labeling(&jobs, "rolegate.io/gate-", create, left_alone);

    after_labeling(&jobs, "rolegate.io/gate=enforce", create, |output| !output.succeeded());
}

/// Changes the namespace's label and tries until the API server acts on it.
#[track_caller]
fn after_labeling(
    namespace: &Namespace,
    label: &str,
    create: impl Fn() -> CommandOutput,
    is_so: impl Fn(&CommandOutput) -> bool,
) -> CommandOutput {
    namespace
        .kubectl(&["label", "namespace", &namespace.name, label, "--overwrite"])
        .ok();
    until(&format!("the effect of {label}"), || {
        Some(create()).filter(|output| is_so(output))
    })
}

fn a_misspelled_mode_is_served_as_enforce_and_reported(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("misspelled", Gate::Other("enforced"));
    let role = jobs.trusted_role(&release, "reports", "default");
    let other = jobs.role_arn("other");
    release.put_role(&other, &trust_policy("elsewhere", "default"));

    jobs.annotate("default", &role);
    let served = jobs.create_pod("served", "default", &[]);
    let warnings = served.warnings();
    assert!(
        warnings.iter().any(|warning| warning.contains("rolegate.io/gate")),
        "{warnings:?}"
    );
    assert_eq!(role_of(&served.json()), Some(role));

    jobs.annotate("default", &other);
    let refused = jobs.create_pod("refused", "default", &[]).refused();
    assert!(
        refused.contains("webhook \"misspelt.rolegate.io\" denied") && refused.contains("(wrong-subject)"),
        "{refused}"
    );
}

fn a_namespace_requires_roles_by_its_label(cluster: &Cluster) {
    let release = cluster.release();
    let jobs = cluster.namespace("required", Gate::Enforce);
    let role = jobs.trusted_role(&release, "reports", "worker");
    jobs.kubectl(&["create", "serviceaccount", "worker"]).ok();
    jobs.annotate("worker", &role);
    let create = || jobs.create_pod("probe", "default", &["--dry-run=server"]);
    let silent = |output: &CommandOutput| output.succeeded() && output.warnings().is_empty();
    assert!(silent(&create()), "the flag is off");

    let refused = |output: &CommandOutput| !output.succeeded();
    let why = after_labeling(&jobs, "rolegate.io/require-role=enforce", create, refused).refused();
    assert!(
        why.contains("webhook \"enforce.rolegate.io\" denied") && why.contains("(no-role)"),
        "{why}"
    );
    let served = jobs.create_pod("served", "worker", &[]);
    assert_eq!(served.warnings(), [""; 0]);
    assert_eq!(role_of(&served.json()), Some(role));

    let warned = |output: &CommandOutput| output.succeeded() && !output.warnings().is_empty();
    let output = after_labeling(&jobs, "rolegate.io/require-role=warn", create, warned);
    assert!(output.warnings()[0].ends_with("(no-role)"), "{output}");

    let why = after_labeling(&jobs, "rolegate.io/require-role=off", create, refused);
    let warnings = why.warnings();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("rolegate.io/require-role")),
        "{why}"
    );

    after_labeling(&jobs, "rolegate.io/require-role-", create, silent);
}

fn a_pod_that_follows_its_namespace_at_once_needs_a_role(cluster: &Cluster) {
    let _release = cluster.release();
    for number in 0..10 {
        let jobs = cluster.namespace_to_come(&format!("followed-{number}"));
        let labels = json!({"rolegate.io/gate": "enforce", "rolegate.io/require-role": "enforce"});
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": jobs.name, "labels": labels}},
            // The controller that creates `default` is slower than kubectl.
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "plain"}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"},
                "spec": {"serviceAccountName": "plain", "containers": [{"name": "main", "image": "example"}]}},
        ]});
        let output = jobs.apply(&objects.to_string());
        let denied = format!("denied the request: ServiceAccount {}/plain has no IAM role", jobs.name);
        assert!(output.stderr.contains(&denied), "{output}");
        assert!(!jobs.kubectl(&["get", "pod", "probe"]).succeeded());
    }
}

fn namespaces_without_the_label_never_reach_the_webhook(cluster: &Cluster) {
    let release = cluster.release();
    let plain = cluster.namespace("plain", Gate::None);
    let role = plain.role_arn("reports");
    release.put_role(&role, &trust_policy("elsewhere", "default"));
    plain.annotate("default", &role);

    plain.create_pod("pod", "default", &[]).ok();
    plain.kubectl(&["create", "job", "report", "--image=example"]).ok();
    let pod = plain.pod_of_job("report");

    assert_eq!(role_of(&pod), None);
    assert_eq!(calls(cluster, &plain.name, "pod"), [""; 0]);
    assert_eq!(release.reviews(&plain.name), [""; 0]);
}

fn the_clusters_own_namespaces_are_never_gated(cluster: &Cluster) {
    let release = cluster.release();
    let namespaces = ["kube-system", NAMESPACE];
    for namespace in namespaces {
        let label = |label| {
            cluster
                .kubectl(&["label", "namespace", namespace, label, "--overwrite"])
                .ok()
        };
        label("rolegate.io/gate=enforce");
    }
    // The API server knows of a namespace that was made later, so it knows of the labels, too.
    let later = cluster.namespace("later", Gate::Enforce);
    later.annotate("default", "no-role");
    until("a gated namespace", || {
        (!later.create_pod("probe", "default", &[]).succeeded()).then_some(())
    });

    for namespace in namespaces {
        let own = ["-n", namespace];
        cluster
            .kubectl(&[&own[..], &["create", "serviceaccount", "probe"]].concat())
            .ok();
        let annotate = [
            "annotate",
            "serviceaccount",
            "probe",
            "eks.amazonaws.com/role-arn=no-role",
        ];
        cluster.kubectl(&[&own[..], &annotate].concat()).ok();
        let overrides = r#"--overrides={"spec": {"serviceAccountName": "probe"}}"#;
        let run = ["run", "probe", "--image=example", "--dry-run=server", overrides];
        let output = cluster.kubectl(&[&own[..], &run].concat());
        cluster
            .kubectl(&[&own[..], &["delete", "serviceaccount", "probe"]].concat())
            .ok();
        cluster
            .kubectl(&["label", "namespace", namespace, "rolegate.io/gate-"])
            .ok();

        assert_eq!(output.warnings(), [""; 0], "{output}");
        output.ok();
        assert_eq!(calls(cluster, namespace, "probe"), [""; 0], "{namespace}");
        assert_eq!(release.reviews(namespace), [""; 0], "{namespace}");
    }
}

fn a_namespace_both_listed_and_labeled_is_reviewed_once(cluster: &ExclusiveCluster<'_>) {
    let (listed, labeled) = ("listed", "listed-and-labeled");
    let release = cluster.install(json!({
        "jobNamespaces": [listed, labeled],
        "jobNamespacesMode": "warn",
    }));
    cluster.wait_until_called(&release);
    let namespaces = [
        (
            cluster.namespace_named(listed, Gate::None),
            "warn",
            "namespaces.rolegate.io",
        ),
        (
            cluster.namespace_named(labeled, Gate::Audit),
            "audit",
            "audit.rolegate.io",
        ),
    ];
    for (namespace, mode, entry) in &namespaces {
        let role = namespace.trusted_role(&release, "reports", "default");
        namespace.annotate("default", &role);
        let pod = namespace.create_pod("pod", "default", &[]).json();
        assert_eq!(role_of(&pod), Some(role));
        assert!(environment(&pod, "AWS_WEB_IDENTITY_TOKEN_FILE").is_some());
        asked_once(cluster, &release, namespace, "pod", mode, entry);
    }

    // A label wins over the list, and takes effect without touching the release.
    let (namespace, ..) = &namespaces[0];
    namespace
        .kubectl(&["label", "namespace", listed, "rolegate.io/gate=enforce"])
        .ok();
    let role = namespace.role_arn("other");
    release.put_role(&role, &trust_policy("elsewhere", "default"));
    namespace.annotate("default", &role);
    until("the label's mode", || {
        let output = namespace.create_pod("tried", "default", &["--dry-run=server"]);
        output.stderr.contains("enforce.rolegate.io").then_some(())
    });
    namespace.create_pod("refused", "default", &[]).refused();
    asked_once(
        cluster,
        &release,
        namespace,
        "refused",
        "enforce",
        "enforce.rolegate.io",
    );
}

#[track_caller]
fn asked_once(cluster: &Cluster, release: &Release, namespace: &Namespace, pod: &str, mode: &str, entry: &str) {
    let calls = calls(cluster, &namespace.name, pod);
    assert!(
        calls.iter().all(|call| call.contains(entry)) && !calls.is_empty(),
        "{pod} of {}: {calls:?}",
        namespace.name
    );
    let reviews = until("the review in the audit log", || {
        let mut reviews = release.reviews(&namespace.name);
        reviews.retain(|review| review["pod"] == pod);
        (!reviews.is_empty()).then_some(reviews)
    });
    assert_eq!(reviews.len(), 1, "{reviews:?}");
    assert_eq!(reviews[0]["mode"], mode);
}

/// What the API server's audit log holds of our webhooks for the creation of a pod.
fn calls(cluster: &Cluster, namespace: &str, pod: &str) -> Vec<String> {
    let created = |event: &Value| {
        let object = &event["objectRef"];
        event["verb"] == "create"
            && object["resource"] == "pods"
            && object["namespace"] == namespace
            // A refused one has its name in the request only.
            && (object["name"] == pod || object["name"].is_null())
    };
    let events = until("the creation in the API server's audit log", || {
        let mut events = cluster.audit_events();
        events.retain(created);
        (!events.is_empty()).then_some(events)
    });
    let annotations = events.iter().filter_map(|event| event["annotations"].as_object());
    annotations
        .flatten()
        .map(|(key, value)| format!("{key}: {value}"))
        .filter(|annotation| annotation.contains("rolegate"))
        .collect()
}
