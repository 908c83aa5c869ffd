//! Names, namespaces, labels and annotations of all objects, and objects that users add.

use serde_json::{Value, json};

use crate::notes::notes;
use crate::{NAMESPACE, Rendered, chart, is_hook, list};

/// Values with which the chart renders an object of each kind that it has.
fn everything() -> Value {
    json!({
        "certificates": {"mode": "cert-manager"},
        "identityConfigMap": "kube-system/pod-identity-webhook",
        "metrics": {
            "serviceMonitor": {"enabled": true},
            "prometheusRule": {"enabled": true},
            "dashboard": {"enabled": true},
        },
    })
}

fn with(mut values: Value, more: &Value) -> Value {
    values
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    values
}

/// Kind and name.
fn called(object: &Value) -> String {
    format!("{} {}", object["kind"], object["metadata"]["name"])
}

#[test]
fn another_namespace_is_that_of_every_object_and_is_excluded() {
    let Some(chart) = chart() else { return };
    for values in [everything(), json!({})] {
        let there = chart.try_render_in("gate", &values).unwrap();
        let moved = chart.render(&with(values, &json!({"namespaceOverride": "gate"})));
        assert_eq!(moved.objects, there.objects);
        assert!(!moved.text.contains(NAMESPACE), "the namespace of the release is used");
        for entry in moved.entries() {
            let excluded: &Value = &entry.expressions().last().unwrap()["values"];
            assert_eq!(*excluded, json!(["kube-system", "gate"]), "{}", entry.name());
        }
    }
}

#[test]
fn the_notes_name_the_namespace_of_the_release_to_helm_and_the_other_to_kubectl() {
    let Some(chart) = chart() else { return };
    let notes = notes(&chart, &json!({"namespaceOverride": "gate"}));
    assert!(
        notes.contains("kubectl --namespace gate rollout status deployment/rolegate"),
        "{notes}"
    );
    assert!(
        notes.contains(&format!("helm test rolegate --namespace {NAMESPACE}")),
        "{notes}"
    );
    assert!(
        notes.contains(&format!("helm uninstall rolegate --namespace {NAMESPACE}")),
        "{notes}"
    );
    assert!(notes.contains("kube-system and gate are always excluded"), "{notes}");
}

#[test]
fn common_labels_and_annotations_are_on_every_object() {
    let Some(chart) = chart() else { return };
    let common = json!({"commonLabels": {"team": "a"}, "commonAnnotations": {"owner": "b"}});
    let plain = chart.render(&everything());
    let rendered = chart.render(&with(everything(), &common));
    assert_eq!(rendered.objects.len(), plain.objects.len());
    for (object, plain) in rendered.objects.iter().zip(&plain.objects) {
        let mut expected = plain["metadata"].clone();
        expected["labels"]["team"] = json!("a");
        if expected.get("annotations").is_none() {
            expected["annotations"] = json!({});
        }
        expected["annotations"]["owner"] = json!("b");
        assert_eq!(object["metadata"], expected, "{}", called(object));
    }
    // Annotations of pods have their own value.
    let pods = &rendered.deployment()["spec"]["template"]["metadata"];
    assert!(pods.get("annotations").is_none(), "{pods}");
    assert_eq!(pods["labels"]["team"], "a");
}

#[test]
fn what_is_set_for_one_object_takes_precedence_over_what_is_common() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&with(
        everything(),
        &json!({
            "commonLabels": {"tier": "common", "grafana_dashboard": "0", "app.kubernetes.io/name": "other"},
            "commonAnnotations": {
                "tier": "common",
                "helm.sh/hook-weight": "9",
                "cert-manager.io/inject-ca-from": "other/other",
            },
            "serviceAccount": {"labels": {"tier": "account"}, "annotations": {"tier": "account"}},
            "service": {"annotations": {"tier": "service"}},
            "deploymentAnnotations": {"tier": "deployment"},
            "webhookAnnotations": {"tier": "webhook", "cert-manager.io/inject-ca-from": "other/other"},
        }),
    ));
    let metadata = |kind: &str| &rendered.only(kind)["metadata"];
    assert_eq!(metadata("ServiceAccount")["labels"]["tier"], "account");
    assert_eq!(metadata("ServiceAccount")["annotations"]["tier"], "account");
    assert_eq!(metadata("Service")["annotations"]["tier"], "service");
    assert_eq!(metadata("Service")["labels"]["tier"], "common");
    assert_eq!(metadata("Deployment")["annotations"]["tier"], "deployment");
    assert_eq!(metadata("PodDisruptionBudget")["annotations"]["tier"], "common");
    assert_eq!(metadata("ConfigMap")["labels"]["grafana_dashboard"], "1");
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        assert_eq!(metadata(kind)["annotations"]["tier"], "webhook");
        // Without it, cert-manager does not write caBundle.
        assert_eq!(
            metadata(kind)["annotations"]["cert-manager.io/inject-ca-from"],
            format!("{NAMESPACE}/rolegate")
        );
    }
    for object in &rendered.objects {
        assert_eq!(
            object["metadata"]["labels"]["app.kubernetes.io/name"],
            "rolegate",
            "{}",
            called(object)
        );
    }
    for pod in rendered.of_kind("Pod") {
        assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook-weight"], "-1");
    }
}

#[test]
fn annotations_of_webhooks_are_on_both_configurations_and_nowhere_else() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({"webhookAnnotations": {"argocd.argoproj.io/sync-wave": "1"}}));
    let annotated: Vec<&Value> = rendered
        .objects
        .iter()
        .filter(|object| {
            let annotations = &object["metadata"]["annotations"];
            annotations.get("argocd.argoproj.io/sync-wave").is_some()
        })
        .map(|object| &object["kind"])
        .collect();
    assert_eq!(
        annotated,
        ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]
    );
    let plain = chart.render(&json!({}));
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        assert!(plain.only(kind)["metadata"].get("annotations").is_none(), "{kind}");
    }
}

#[test]
fn labels_of_the_service_account_are_only_its_own() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({"serviceAccount": {"labels": {"a": "b"}}}));
    let labeled = |object: &&Value| object["metadata"]["labels"].get("a").is_some();
    let found: Vec<String> = rendered.objects.iter().filter(labeled).map(called).collect();
    assert_eq!(found, ["\"ServiceAccount\" \"rolegate\""]);
}

#[test]
fn extra_objects_are_templates() {
    let Some(chart) = chart() else { return };
    let name = "{{ include \"rolegate.fullname\" . }}-more";
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "{{ .Release.Namespace }}"},
        "data": {"replicas": "{{ .Values.replicaCount }}"},
    });
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ include \"rolegate.fullname\" . }}-text\n  labels:\n    \
                {{- include \"rolegate.labels\" . | nindent 4 }}\n";
    let plain = chart.render(&json!({}));
    let rendered: Rendered = chart.render(&json!({"extraObjects": [object, text]}));
    assert_eq!(rendered.objects.len(), plain.objects.len() + 2);
    let more = rendered.named("ConfigMap", "rolegate-more").unwrap();
    assert_eq!(more["metadata"]["namespace"], NAMESPACE);
    assert_eq!(more["data"]["replicas"], "2");
    let text = rendered.named("ConfigMap", "rolegate-text").unwrap();
    assert_eq!(text["metadata"]["labels"], rendered.deployment()["metadata"]["labels"]);
    let kinds = |rendered: &Rendered| list(&json!(rendered.objects)).iter().filter(|o| is_hook(o)).count();
    assert_eq!(kinds(&rendered), kinds(&plain));
}
