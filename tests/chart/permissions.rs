//! What rolegate may do in the cluster: exactly this.

use serde_json::{Value, json};

use crate::{NAMESPACE, Rendered, chart, for_each_documented, list, texts};

const SERVICE_ACCOUNTS: &str = "everywhere: get list watch core/serviceaccounts";
const NAMESPACES: &str = "everywhere: get list watch core/namespaces";
const MUTATING: &str =
    "everywhere: get watch patch admissionregistration.k8s.io/mutatingwebhookconfigurations [rolegate]";
const VALIDATING: &str =
    "everywhere: get watch patch admissionregistration.k8s.io/validatingwebhookconfigurations [rolegate]";
const EVENTS: &str = "everywhere: create patch events.k8s.io/events";
const SECRET: &str = "rolegate-system: get watch patch core/secrets [rolegate-tls]";

#[test]
fn permissions_are_those_that_the_values_need() {
    let Some(chart) = chart() else { return };
    let without = |missing: &str| -> Vec<&str> {
        [SERVICE_ACCOUNTS, NAMESPACES, MUTATING, VALIDATING, EVENTS, SECRET]
            .into_iter()
            .filter(|rule| *rule != missing)
            .collect()
    };
    let with = |added: &[&'static str]| -> Vec<&str> { [without("").as_slice(), added].concat() };
    let cases = [
        (json!({}), without("")),
        (json!({"events": false}), without(EVENTS)),
        (json!({"inject": false}), without("")),
        (json!({"workloadWarnings": {"enabled": false}}), without("")),
        (
            json!({"certificates": {"mode": "secret", "secretName": "mine"}}),
            without(SECRET),
        ),
        (
            json!({"certificates": {"mode": "cert-manager"}}),
            vec![SERVICE_ACCOUNTS, NAMESPACES, EVENTS],
        ),
        (
            json!({"roleSources": ["ack"]}),
            with(&["everywhere: list watch iam.services.k8s.aws/roles"]),
        ),
        (
            json!({"roleSources": ["crossplane", "iam"]}),
            with(&[
                "everywhere: list watch iam.aws.upbound.io/roles",
                "everywhere: list watch iam.aws.m.upbound.io/roles",
            ]),
        ),
        (
            json!({"roleSources": [], "roleFiles": {"configMap": "files"}}),
            without(""),
        ),
        (
            json!({"identityConfigMap": "kube-system/pod-identity-webhook"}),
            with(&["kube-system: list watch core/configmaps [pod-identity-webhook]"]),
        ),
        (
            json!({"certificates": {"secretName": "mine"}}),
            [
                without(SECRET).as_slice(),
                &["rolegate-system: get watch patch core/secrets [mine]"],
            ]
            .concat(),
        ),
        (json!({"rbac": {"create": false}}), vec![]),
    ];
    for (values, mut expected) in cases {
        let rendered = chart.render(&values);
        let mut granted = granted(&rendered);
        granted.sort();
        expected.sort_unstable();
        assert_eq!(granted, expected, "{values}");
    }
}

/// Each rule with where it applies: `NAMESPACE: VERBS GROUP/RESOURCE [NAMES]`.
fn granted(rendered: &Rendered) -> Vec<String> {
    let mut granted = Vec::new();
    for kind in ["ClusterRole", "Role"] {
        for role in rendered.of_kind(kind) {
            let place = role["metadata"]["namespace"].as_str().unwrap_or("everywhere");
            for rule in list(&role["rules"]) {
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        granted.push(line(place, rule, group, resource));
                    }
                }
            }
        }
    }
    granted
}

fn line(place: &str, rule: &Value, group: &str, resource: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    let verbs = texts(&rule["verbs"]).join(" ");
    let names = texts(&rule["resourceNames"]).join(" ");
    let names = if names.is_empty() { names } else { format!(" [{names}]") };
    format!("{place}: {verbs} {group}/{resource}{names}")
}

#[test]
fn no_permission_is_a_wildcard_and_what_is_secret_is_named() {
    for_each_documented(|rendered| {
        for rule in granted(rendered) {
            assert!(!rule.contains('*'), "{rule}");
            let of_any_name = ["/serviceaccounts", "/namespaces", "/events", "/roles"];
            if !of_any_name.iter().any(|resource| rule.contains(resource)) {
                assert!(rule.ends_with(']'), "{rule}: of any name");
            }
        }
    });
}

#[test]
fn every_role_is_bound_only_to_the_service_account_of_the_serving_pod() {
    for_each_documented(|rendered| {
        for (role_kind, binding_kind) in [("ClusterRole", "ClusterRoleBinding"), ("Role", "RoleBinding")] {
            let (roles, bindings) = (rendered.of_kind(role_kind), rendered.of_kind(binding_kind));
            assert_eq!(roles.len(), bindings.len());
            for binding in bindings {
                let role = rendered
                    .named(role_kind, binding["roleRef"]["name"].as_str().unwrap())
                    .expect("a role of ours");
                assert_eq!(role["metadata"]["namespace"], binding["metadata"]["namespace"]);
                assert_eq!(binding["roleRef"]["kind"], role_kind);
                assert_eq!(
                    binding["subjects"],
                    json!([{
                        "kind": "ServiceAccount",
                        "name": rendered.pod()["serviceAccountName"],
                        "namespace": NAMESPACE,
                    }])
                );
            }
        }
    });
}

#[test]
fn only_the_serving_pod_gets_a_token_of_the_cluster() {
    for_each_documented(|rendered| {
        for account in rendered.of_kind("ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false);
        }
        for pod in rendered.of_kind("Pod") {
            assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
        }
        assert_eq!(rendered.pod()["automountServiceAccountToken"], true);
    });
}

#[test]
fn the_service_account_can_be_an_existing_one() {
    let Some(chart) = chart() else { return };
    let cases = [
        (json!({}), "rolegate", 1),
        (json!({"serviceAccount": {"name": "gate"}}), "gate", 1),
        (json!({"serviceAccount": {"create": false, "name": "gate"}}), "gate", 0),
        (json!({"serviceAccount": {"create": false}}), "default", 0),
    ];
    for (mut values, name, made) in cases {
        values["test"] = json!({"enabled": false});
        let rendered = chart.render(&values);
        assert_eq!(rendered.pod()["serviceAccountName"], name, "{values}");
        assert_eq!(rendered.of_kind("ServiceAccount").len(), made, "{values}");
        let flow = rendered.only("FlowSchema");
        assert_eq!(flow["spec"]["rules"][0]["subjects"][0]["serviceAccount"]["name"], name);
    }
    let annotated = chart.render(&json!({
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/rolegate"}}
    }));
    assert_eq!(
        annotated.only("ServiceAccount")["metadata"]["annotations"]["eks.amazonaws.com/role-arn"],
        "arn:aws:iam::111122223333:role/rolegate"
    );
}

#[test]
fn gets_that_admissions_wait_for_have_a_priority_of_their_own() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({}));
    let flow = &rendered.only("FlowSchema")["spec"];
    assert_eq!(flow["priorityLevelConfiguration"]["name"], "workload-high");
    assert_eq!(
        flow["rules"][0]["resourceRules"],
        json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["serviceaccounts", "namespaces"], "namespaces": ["*"]}])
    );
}
