//! What the chart does not take, and that it says why.

use serde_json::{Value, json};

use crate::no_effect::rejects;
use crate::{Chart, NAMESPACE, chart, read};

#[test]
fn a_wrong_value_is_refused_with_its_place() {
    let Some(chart) = chart() else { return };
    refuses_wrong_values(&chart);
}

/// Each wrong value, with what the error says of it.
pub(crate) fn refuses_wrong_values(chart: &Chart) {
    let cases: [(Value, &[&str]); 69] = [
        (
            json!({"workloadWarnings": false}),
            &["/workloadWarnings", "got boolean, want object"],
        ),
        (
            json!({"workloadWarnings": {"groups": ["ray.example"]}}),
            &["/workloadWarnings/groups/0", "must be one of"],
        ),
        (json!({"replicas": 3}), &["'replicas' not allowed"]),
        (json!({"image": {"name": "x"}}), &["/image", "'name' not allowed"]),
        (
            json!({"certificates": {"ca": "x"}}),
            &["/certificates", "'ca' not allowed"],
        ),
        (
            json!({"metrics": {"serviceMonitor": {"on": true}}}),
            &["/metrics/serviceMonitor", "'on' not allowed"],
        ),
        (json!({"replicaCount": 0}), &["/replicaCount", "minimum"]),
        (
            json!({"replicaCount": "2"}),
            &["/replicaCount", "got string, want integer"],
        ),
        (
            json!({"image": {"digest": "sha256:1234"}}),
            &["/image/digest", "does not match pattern"],
        ),
        (json!({"image": {"repository": ""}}), &["image.repository is required"]),
        (
            json!({"image": {"repository": "Registry/rolegate/"}}),
            &["/image/repository", "does not match pattern"],
        ),
        (
            json!({"global": {"imageRegistry": "https://registry.example.com"}}),
            &["/global/imageRegistry", "does not match pattern"],
        ),
        (
            json!({"global": {"imagePullSecrets": [{"secret": "x"}]}}),
            &["/global/imagePullSecrets/0", "'secret' not allowed"],
        ),
        (
            json!({"namespaceOverride": "Gate"}),
            &["/namespaceOverride", "does not match pattern"],
        ),
        (
            json!({"revisionHistoryLimit": -1}),
            &["/revisionHistoryLimit", "minimum"],
        ),
        (
            json!({"strategy": {"type": "Canary"}}),
            &["/strategy/type", "must be one of"],
        ),
        (
            json!({"dnsConfig": {"ndots": 2}}),
            &["/dnsConfig", "'ndots' not allowed"],
        ),
        (
            json!({"podDisruptionBudget": {"minAvailable": "half"}}),
            &["/podDisruptionBudget/minAvailable"],
        ),
        (
            json!({"podDisruptionBudget": {"minAvailable": 2}}),
            &[
                "podDisruptionBudget.minAvailable (2) must be less than replicaCount (2)",
                "set maxUnavailable instead",
            ],
        ),
        (
            json!({"podDisruptionBudget": {"minAvailable": "100%"}, "replicaCount": 3}),
            &["podDisruptionBudget.minAvailable is 100%", "set less"],
        ),
        (
            json!({"podDisruptionBudget": {"maxUnavailable": 0}}),
            &[
                "podDisruptionBudget.maxUnavailable is 0: node drains would wait forever",
                "set 1 or more",
            ],
        ),
        (
            json!({"podDisruptionBudget": {"maxUnavailable": "0%"}}),
            &["podDisruptionBudget.maxUnavailable is 0%", "set 1 or more"],
        ),
        (
            json!({"podDisruptionBudget": {"unhealthyPodEvictionPolicy": "Never"}}),
            &["/podDisruptionBudget/unhealthyPodEvictionPolicy", "must be one of"],
        ),
        (
            json!({"serviceAccount": {"labels": {"a": "b c"}}}),
            &["/serviceAccount/labels/a", "does not match pattern"],
        ),
        (
            json!({"commonAnnotations": {"a": true}}),
            &["/commonAnnotations/a", "want string"],
        ),
        (
            json!({"webhookAnnotations": {"a": 1}}),
            &["/webhookAnnotations/a", "want string"],
        ),
        (
            json!({"metrics": {"serviceMonitor": {"scrapeTimeout": "10"}}}),
            &["/metrics/serviceMonitor/scrapeTimeout", "does not match pattern"],
        ),
        (
            json!({"metrics": {"serviceMonitor": {"relabelings": [{"source_labels": []}]}}}),
            &["/metrics/serviceMonitor/relabelings/0", "'source_labels' not allowed"],
        ),
        (
            json!({"metrics": {"prometheusRule": {"alerts": {"RolegateSlow": {"on": false}}}}}),
            &["/metrics/prometheusRule/alerts/RolegateSlow", "'on' not allowed"],
        ),
        (
            json!({"metrics": {"prometheusRule": {"runbookUrl": "runbooks.md"}}}),
            &["/metrics/prometheusRule/runbookUrl", "does not match pattern"],
        ),
        (
            json!({"image": {"pullPolicy": "Sometimes"}}),
            &["/image/pullPolicy", "must be one of"],
        ),
        (json!({"inject": "yes"}), &["/inject", "want boolean"]),
        (
            json!({"jobNamespaces": "jobs"}),
            &["/jobNamespaces", "got string, want null or array"],
        ),
        (
            json!({"jobNamespaces": ["Jobs"]}),
            &["/jobNamespaces/0", "does not match pattern"],
        ),
        (json!({"jobNamespaces": ["a", "a"]}), &["/jobNamespaces", "equal"]),
        (
            json!({"jobNamespaces": ["*"]}),
            &["/jobNamespaces/0", "does not match pattern"],
        ),
        (
            json!({"jobNamespacesMode": "off"}),
            &["/jobNamespacesMode", "must be one of 'enforce', 'warn', 'audit'"],
        ),
        (
            json!({"failurePolicy": {"misspelt": "Fail"}}),
            &["/failurePolicy", "additional properties 'misspelt' not allowed"],
        ),
        (
            json!({"failurePolicy": {"warn": null}}),
            &["/failurePolicy", "missing property 'warn'"],
        ),
        (json!({"failurePolicy": "Fail"}), &["/failurePolicy", "want object"]),
        (
            json!({"failurePolicy": {"enforce": "fail"}}),
            &["/failurePolicy/enforce", "must be one of 'Fail', 'Ignore'"],
        ),
        (
            json!({"timeoutSeconds": 0}),
            &["/timeoutSeconds", "minimum: got 0, want 1"],
        ),
        (
            json!({"timeoutSeconds": 6}),
            &["/timeoutSeconds", "maximum: got 6, want 5"],
        ),
        (json!({"timeoutSeconds": 1.5}), &["/timeoutSeconds", "want integer"]),
        (
            json!({"roleSources": ["aws"]}),
            &["/roleSources/0", "does not match pattern"],
        ),
        (
            json!({"roleSources": ["files=roles"]}),
            &["/roleSources/0", "does not match pattern"],
        ),
        (json!({"roleSources": ["iam", "iam"]}), &["/roleSources", "equal"]),
        (
            json!({"roleSources": []}),
            &["no source of trust policies", "roleFiles.configMap"],
        ),
        (json!({"issuer": "https://"}), &["/issuer", "does not match pattern"]),
        (
            json!({"onUnknown": "warn"}),
            &["/onUnknown", "must be one of 'inject', 'deny'"],
        ),
        (json!({"requireRole": "yes"}), &["/requireRole", "must be one of"]),
        (json!({"requireRole": true}), &["/requireRole", "must be one of"]),
        (
            json!({"identityConfigMap": "pod-identity-webhook"}),
            &["/identityConfigMap", "does not match pattern"],
        ),
        (
            json!({"certificates": {"mode": "none"}}),
            &["/certificates/mode", "must be one of"],
        ),
        (
            json!({"certificates": {"mode": "secret"}}),
            &["/certificates/secretName", "minLength"],
        ),
        (
            json!({"certificates": {"lifetime": "30m"}}),
            &["/certificates/lifetime", "does not match pattern"],
        ),
        (
            json!({"certificates": {"lifetime": "30d"}}),
            &["/certificates/lifetime", "does not match pattern"],
        ),
        (
            json!({"certificates": {"caLifetime": "24h"}}),
            &[
                "certificates.lifetime (720h) must be shorter",
                "certificates.caLifetime (24h)",
            ],
        ),
        (
            json!({"aws": {"roleArn": "role/rolegate"}}),
            &["/aws/roleArn", "does not match pattern"],
        ),
        (
            json!({"listenAddress": "::"}),
            &["/listenAddress", "does not match pattern"],
        ),
        (json!({"ports": {"https": 0}}), &["/ports/https", "minimum"]),
        (
            json!({"ports": {"https": 8080}}),
            &["ports.https and ports.http are both 8080"],
        ),
        (json!({"drainSeconds": 301}), &["/drainSeconds", "maximum"]),
        (
            json!({"podDisruptionBudget": {"maxUnavailable": "half"}}),
            &["/podDisruptionBudget/maxUnavailable"],
        ),
        (
            json!({"securityContext": {"priviledged": true}}),
            &["/securityContext", "'priviledged' not allowed"],
        ),
        (
            json!({"podAnnotations": {"a": 1}}),
            &["/podAnnotations/a", "want string"],
        ),
        (
            json!({"extraEnv": [{"value": "x"}]}),
            &["/extraEnv/0", "missing property 'name'"],
        ),
        (
            json!({"settings": {"trust-tll": "5s"}}),
            &["/settings", "'trust-tll' not allowed"],
        ),
        (
            json!({"settings": {"metrics-namespace": "maybe"}}),
            &["/settings/metrics-namespace", "must be one of"],
        ),
    ];
    for (values, expected) in cases {
        rejects(chart, &values, expected);
    }
}

#[test]
fn namespaces_that_must_never_be_gated_cannot_be_listed() {
    let Some(chart) = chart() else { return };
    for namespace in ["kube-system", NAMESPACE] {
        for more in [
            json!({}),
            json!({"inject": false, "workloadWarnings": {"enabled": false}}),
        ] {
            let mut values = more;
            values["jobNamespaces"] = json!(["jobs", namespace]);
            let error = chart.try_render(&values).err().expect("it was taken");
            let expected = format!("jobNamespaces: {namespace} cannot be gated");
            assert!(error.contains(&expected), "{error}");
        }
    }
    assert!(
        chart
            .try_render_in("elsewhere", &json!({"jobNamespaces": [NAMESPACE]}))
            .is_ok()
    );
    // With `namespaceOverride`, it is the namespace that rolegate runs in that counts.
    let moved = json!({"namespaceOverride": "elsewhere", "jobNamespaces": [NAMESPACE]});
    assert!(chart.try_render(&moved).is_ok());
    let itself = json!({"namespaceOverride": "elsewhere", "jobNamespaces": ["elsewhere"]});
    let error = chart.try_render(&itself).err().expect("it was accepted");
    assert!(error.contains("jobNamespaces: elsewhere cannot be gated"), "{error}");
}

/// What Helm reads of a cluster is the version with the suffix of its distribution, which semantic versioning orders below the release.
#[test]
fn clusters_before_the_minimum_version_are_refused() {
    let Some(chart) = chart() else { return };
    let path = crate::folder();
    for (version, is_accepted) in [
        ("v1.29.14", false),
        ("v1.29.9-eks-ce1d5eb", false),
        ("v1.30.0", true),
        ("v1.30.4-eks-a18cd3a", true),
        ("v1.33.1+k3s1", true),
    ] {
        let template = [
            "template",
            "rolegate",
            path.to_str().unwrap(),
            "--kube-version",
            version,
        ];
        match chart.helm(&template, &json!({})) {
            Ok(_) => assert!(is_accepted, "{version} was accepted"),
            Err(error) => assert!(
                !is_accepted && error.contains("chart requires kubeVersion: >=1.30"),
                "{version}: {error}"
            ),
        }
    }
}

#[test]
fn the_schema_lists_the_fields_of_every_object() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    fn visit(at: &str, schema: &Value) {
        if schema["type"] == "object" || schema["type"] == json!(["object", "null"]) {
            assert!(schema.get("additionalProperties").is_some(), "{at} is open");
        }
        if schema.get("properties").is_some() && schema.get("type").is_some() {
            let open = ["/definitions/volume", "/properties/global"];
            let closed = schema["additionalProperties"] == false;
            assert!(closed || open.contains(&at), "{at} is open");
        }
        match schema {
            Value::Object(fields) => fields
                .iter()
                .for_each(|(key, value)| visit(&format!("{at}/{key}"), value)),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(i, value)| visit(&format!("{at}/{i}"), value)),
            _ => {}
        }
    }
    visit("", &schema);
}
