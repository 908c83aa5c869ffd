//! What holds for every installation, whatever its values.

use serde_json::json;

use crate::{NAMESPACE, chart, documented, folder, for_each_documented, is_hook, list};

#[test]
fn helm_lint_passes() {
    let Some(chart) = chart() else { return };
    let path = folder();
    for (name, values) in documented() {
        // The defaults too, although they lack an image: Helm does not fail for what it lints.
        let linted = chart.helm_without_image(&["lint", "--strict", path.to_str().unwrap()], &values);
        let report = linted.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!report.contains("[WARNING]"), "{name}: {report}");
    }
}

#[test]
fn ca_bundle_is_never_rendered_not_even_empty() {
    for_each_documented(|rendered| {
        for entry in rendered.entries() {
            assert!(entry.json["clientConfig"].get("caBundle").is_none(), "{}", entry.name());
        }
        assert!(!rendered.text.contains("caBundle:"));
    });
}

#[test]
fn secrets_are_shipped_without_data() {
    for_each_documented(|rendered| {
        for secret in rendered.of_kind("Secret") {
            assert_eq!(secret["type"], "Opaque");
            for field in ["data", "stringData", "immutable"] {
                assert!(secret.get(field).is_none(), "{field} of {}", secret["metadata"]["name"]);
            }
        }
    });
}

#[test]
fn everything_stays_in_its_namespace_and_carries_the_release() {
    for_each_documented(|rendered| {
        for object in &rendered.objects {
            let (kind, metadata) = (object["kind"].as_str().unwrap(), &object["metadata"]);
            let name = metadata["name"].as_str().unwrap();
            assert!(
                name == "rolegate" || name.starts_with("rolegate-"),
                "{kind} {name} may be another release's"
            );
            assert_eq!(
                metadata["labels"]["app.kubernetes.io/instance"], "rolegate",
                "{kind} {name}"
            );
            assert_eq!(
                metadata["labels"]["app.kubernetes.io/managed-by"], "Helm",
                "{kind} {name}"
            );
            let elsewhere = name == "rolegate-identity" || is_hook(object);
            match metadata.get("namespace") {
                Some(namespace) => assert!(elsewhere || *namespace == NAMESPACE, "{kind} {name} in {namespace}"),
                None => assert!(
                    [
                        "ClusterRole",
                        "ClusterRoleBinding",
                        "FlowSchema",
                        "MutatingWebhookConfiguration",
                        "Namespace",
                        "ValidatingWebhookConfiguration"
                    ]
                    .contains(&kind),
                    "{kind} {name} has no namespace"
                ),
            }
        }
    });
}

#[test]
fn what_looks_for_pods_finds_the_deployments() {
    for_each_documented(|rendered| {
        let labels = rendered.deployment()["spec"]["template"]["metadata"]["labels"]
            .as_object()
            .unwrap();
        let finds = |selector: &serde_json::Value| {
            let wanted = selector.as_object().expect("a selector");
            !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        assert!(finds(&rendered.deployment()["spec"]["selector"]["matchLabels"]));
        assert!(finds(&rendered.only("Service")["spec"]["selector"]));
        for budget in rendered.of_kind("PodDisruptionBudget") {
            assert!(finds(&budget["spec"]["selector"]["matchLabels"]));
        }
        for policy in rendered.of_kind("NetworkPolicy") {
            assert!(finds(&policy["spec"]["podSelector"]["matchLabels"]));
        }
        for constraint in list(&rendered.pod()["topologySpreadConstraints"]) {
            assert!(finds(&constraint["labelSelector"]["matchLabels"]), "{constraint}");
        }
        for monitor in rendered.of_kind("ServiceMonitor") {
            let service = rendered.only("Service")["metadata"]["labels"].as_object().unwrap();
            for (key, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
                assert_eq!(service.get(key), Some(value));
            }
        }
    });
}

#[test]
fn nothing_survives_an_uninstall() {
    for_each_documented(|rendered| {
        for object in &rendered.objects {
            let annotations = &object["metadata"]["annotations"];
            assert!(annotations.get("helm.sh/resource-policy").is_none());
            if !is_hook(object) {
                continue;
            }
            assert_eq!(annotations["helm.sh/hook"], "test");
            let deleted = annotations["helm.sh/hook-delete-policy"].as_str().unwrap();
            for moment in ["before-hook-creation", "hook-succeeded", "hook-failed"] {
                assert!(deleted.contains(moment), "what `helm test` makes stays: {deleted}");
            }
        }
    });
}

#[test]
fn names_follow_the_release_unless_they_are_given() {
    let Some(chart) = chart() else { return };
    let path = folder();
    let cases = [
        ("rolegate", json!({}), "rolegate"),
        ("my-rolegate", json!({}), "my-rolegate"),
        ("gate", json!({}), "gate-rolegate"),
        ("gate", json!({"nameOverride": "keeper"}), "gate-keeper"),
        ("gate", json!({"fullnameOverride": "keeper"}), "keeper"),
    ];
    for (release, values, expected) in cases {
        let arguments = ["template", release, path.to_str().unwrap(), "--namespace", NAMESPACE];
        let rendered = crate::Rendered::read(chart.helm(&arguments, &values).unwrap(), NAMESPACE);
        for kind in [
            "Deployment",
            "Service",
            "ServiceAccount",
            "ClusterRole",
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ] {
            assert_eq!(rendered.only(kind)["metadata"]["name"], expected, "{kind} of {release}");
        }
        assert_eq!(rendered.only("Secret")["metadata"]["name"], format!("{expected}-tls"));
        assert_eq!(rendered.flag("mutating-webhook-configuration"), [expected]);
        assert_eq!(rendered.flag("tls-secret"), [format!("{NAMESPACE}/{expected}-tls")]);
        assert!(rendered.flag("tls-names")[0].contains(&format!("{expected}.{NAMESPACE}.svc")));
    }
}
