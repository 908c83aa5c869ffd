//! What the chart makes of the API server: `helm test`, and which requests are sent at all.

use std::fs;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::cluster::{Cluster, ExclusiveCluster, Gate, Namespace, environment, role_of};
use crate::release::{NAME, NAMESPACE, Release};
use crate::scenarios::Scenarios;
use crate::wait::{until, until_ok};

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.parallel(helm_test_creates_a_pod_that_only_the_webhook_can_make_valid);
    scenarios.serial(every_documented_values_file_installs);
    scenarios.serial(a_sync_after_ca_bundle_was_written_shows_no_difference);
    scenarios.parallel(workloads_are_reviewed_only_when_their_pods_would_change);
}

fn helm_test_creates_a_pod_that_only_the_webhook_can_make_valid(cluster: &Cluster) {
    let release = cluster.release();
    let test = format!("{NAME}-test");
    let output = thread::scope(|scope| {
        let testing = scope.spawn(|| release.helm(&["test", NAME, "--namespace", NAMESPACE, "--timeout", "80s"]));
        let pod = until("the pod of helm test", || {
            let output = cluster.kubectl(&["-n", &test, "get", "pod", &test, "-o", "json"]);
            output.succeeded().then(|| output.json())
        });
        assert_eq!(role_of(&pod), Some(format!("arn:aws:iam::111122223333:role/{test}")));
        assert!(environment(&pod, "AWS_WEB_IDENTITY_TOKEN_FILE").is_some());
        assert_eq!(pod["spec"]["volumes"][0]["name"], "aws-iam-token", "{pod}");
        let ended = r#"{"status": {"phase": "Succeeded"}}"#;
        let patch = [
            "patch",
            "pod",
            &test,
            "--subresource=status",
            "--type=merge",
            "-p",
            ended,
        ];
        cluster.kubectl(&[&["-n", &test], patch.as_slice()].concat()).ok();
        testing.join().expect("helm")
    });
    let report = output.ok();
    assert!(report.contains("Succeeded"), "{report}");
    until("a cluster without what helm test made", || {
        (!cluster.kubectl(&["get", "namespace", &test]).succeeded()).then_some(())
    });
}

/// Serial, because each of them is called for every pod of gated namespaces, and nothing answers for it.
fn every_documented_values_file_installs(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.release();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/rolegate");
    serve_cert_manager(cluster);
    for (group, version, kind, plural) in [
        ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
        ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    ] {
        cluster
            .apply(&any_fields(group, version, kind, plural).to_string())
            .ok();
    }
    let mut files: Vec<_> = fs::read_dir(chart.join("examples"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let (chart, file) = (chart.to_str().unwrap(), file.to_str().unwrap());
        let install = [
            "install",
            name,
            chart,
            "--namespace",
            name,
            "--create-namespace",
            "--values",
            file,
        ];
        // The CRDs are served a moment after they were taken.
        until_ok(&format!("helm install {name}"), || {
            let output = release.helm(&install);
            if output.succeeded() {
                return Ok(());
            }
            let _ = release.helm(&["uninstall", name, "--namespace", name]);
            if output.stderr.contains("no matches for kind") {
                Err(output.stderr)
            } else {
                panic!("{}", output.stderr)
            }
        });
        release.helm(&["uninstall", name, "--namespace", name]).ok();
        cluster.kubectl(&["delete", "namespace", name, "--wait=false"]).ok();
    }
}

/// Argo CD and Flux render the chart again and again, and compare what the API server would make of it with what is there.
fn a_sync_after_ca_bundle_was_written_shows_no_difference(cluster: &ExclusiveCluster<'_>) {
    let release = cluster.install(json!({}));
    cluster.wait_until_called(&release);
    let rendered = release.template();
    let before = live(cluster, &rendered);
    let entries: Vec<&Value> = before.iter().flat_map(|object| list(&object["webhooks"])).collect();
    assert!(entries.len() > 5, "{before:?}");
    for entry in &entries {
        let written = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
        assert!(!written.is_empty(), "{entry}");
    }

    let server_side = ["--server-side", "--field-manager=gitops"];
    for (tool, flags) in [
        ("Flux, and Argo CD with ServerSideApply=true", server_side.as_slice()),
        ("Argo CD", &[]),
    ] {
        let sync = |dry_run: &[&str], manifests: &str| {
            let apply = [&["apply", "-f", "-", "--output=json"], flags, dry_run].concat();
            cluster.surroundings().kubectl.run_with_input(&apply, manifests)
        };
        // The first sync takes over what Helm created; the second one has a state of its own to compare with.
        for number in ["first", "second"] {
            let planned = compared(&sync(&["--dry-run=server"], &rendered).json());
            assert_eq!(planned, before, "what the {number} sync of {tool} would change");
            sync(&[], &rendered).ok();
            assert_eq!(
                live(cluster, &rendered),
                before,
                "what the {number} sync of {tool} changed"
            );
        }
        // A chart that rendered the field would not pass.
        let with_bundle = rendered.replace("    clientConfig:\n", "    clientConfig:\n      caBundle: Cg==\n");
        assert_ne!(with_bundle, rendered, "the manifests look different");
        let planned = sync(&["--dry-run=server"], &with_bundle);
        assert!(
            !planned.succeeded() || compared(&planned.json()) != before,
            "{tool} overlooks caBundle"
        );
    }
}

/// The objects of these manifests as they are in the cluster.
fn live(cluster: &ExclusiveCluster<'_>, manifests: &str) -> Vec<Value> {
    let get = ["get", "-f", "-", "--output=json"];
    compared(&cluster.surroundings().kubectl.run_with_input(&get, manifests).json())
}

/// The objects of a list without what every write changes. For a Deployment, this includes `generation`, which the annotation of kubectl
/// increases.
fn compared(list_of_objects: &Value) -> Vec<Value> {
    let mut objects = list(&list_of_objects["items"]).to_vec();
    assert!(!objects.is_empty(), "{list_of_objects}");
    for object in &mut objects {
        let metadata = object["metadata"].as_object_mut().unwrap();
        for field in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(field);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        if metadata
            .get("annotations")
            .is_some_and(|annotations| *annotations == json!({}))
        {
            metadata.remove("annotations");
        }
        // Written by controllers at any time.
        object.as_object_mut().unwrap().remove("status");
    }
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// cert-manager's kinds, without cert-manager.
pub(crate) fn serve_cert_manager(cluster: &Cluster) {
    for (kind, plural) in [("Certificate", "certificates"), ("Issuer", "issuers")] {
        cluster
            .apply(&any_fields("cert-manager.io", "v1", kind, plural).to_string())
            .ok();
        until(&format!("{plural} are served"), || {
            let listed = cluster.kubectl(&["get", &format!("{plural}.cert-manager.io"), "--all-namespaces"]);
            listed.succeeded().then_some(())
        });
    }
}

/// A CRD whose objects may have any fields: what the chart writes into them is for their controllers.
fn any_fields(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

fn workloads_are_reviewed_only_when_their_pods_would_change(cluster: &Cluster) {
    let release = cluster.release();
    let namespace = cluster.namespace("workloads", Gate::Audit);
    let mut seen = 0;
    let cases: [(&str, &[&str]); 14] = [
        ("looked at", &["create", "serviceaccount", "worker"]),
        ("left alone", &["label", "serviceaccount", "worker", "team=a"]),
        ("looked at", &["annotate", "serviceaccount", "worker", "team=a"]),
        ("looked at", &["annotate", "serviceaccount", "worker", "team-"]),
        ("looked at", &["create", "deployment", "web", "--image=example"]),
        ("left alone", &["scale", "deployment", "web", "--replicas=2"]),
        ("left alone", &["label", "deployment", "web", "team=a"]),
        ("looked at", &["rollout", "restart", "deployment", "web"]),
        (
            "looked at",
            &[
                "create",
                "cronjob",
                "nightly",
                "--image=example",
                "--schedule=0 3 * * *",
            ],
        ),
        (
            "left alone",
            &["patch", "cronjob", "nightly", "-p", r#"{"spec": {"suspend": true}}"#],
        ),
        ("looked at", &["set", "image", "cronjob/nightly", "nightly=example:2"]),
        ("looked at", &["create", "job", "once", "--image=example"]),
        (
            "left alone",
            &["patch", "job", "once", "-p", r#"{"spec": {"suspend": true}}"#],
        ),
        (
            "left alone",
            &[
                "--as=system:serviceaccount:kube-system:deployment-controller",
                "--as-group=system:masters",
                "create",
                "deployment",
                "other",
                "--image=example",
            ],
        ),
    ];
    for (number, (expected, args)) in cases.iter().enumerate() {
        namespace.kubectl(args).ok();
        // Whose review must come says that all before it had their time to.
        let marker = format!("marker-{number}");
        namespace.kubectl(&["create", "serviceaccount", &marker]).ok();
        seen += 1 + usize::from(*expected == "looked at");
        let reviews = until(&format!("{seen} reviews, the last of {marker}"), || {
            let reviews = workload_reviews(&release, &namespace);
            let is_there = reviews.iter().any(|review| review["serviceAccount"] == marker);
            (is_there && reviews.len() >= seen).then_some(reviews)
        });
        assert_eq!(reviews.len(), seen, "`kubectl {}` should be {expected}", args.join(" "));
    }
}

/// The reviews of workloads and ServiceAccounts.
fn workload_reviews(release: &Release, namespace: &Namespace) -> Vec<Value> {
    let mut reviews = release.reviews(&namespace.name);
    reviews.retain(|review| review["pod"].is_null());
    reviews
}
