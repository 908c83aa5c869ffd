//! Which requests the API server sends to the webhook, and to which path.

use std::collections::BTreeSet;

use rolegate::workloads::resources;
use serde_json::{Value, json};

use crate::{Entry, Rendered, chart, for_each_documented, list, texts};

const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";

#[test]
fn each_entry_reaches_the_service_and_is_called_briefly() {
    for_each_documented(|rendered| {
        let service = rendered.only("Service");
        assert!(!rendered.entries().is_empty());
        for entry in rendered.entries() {
            let (name, json) = (entry.name(), entry.json);
            let called = &json["clientConfig"]["service"];
            assert_eq!(called["name"], service["metadata"]["name"], "{name}");
            assert_eq!(called["namespace"], service["metadata"]["namespace"], "{name}");
            let port = list(&service["spec"]["ports"])
                .iter()
                .find(|port| port["port"] == called["port"])
                .unwrap_or_else(|| panic!("{name}: the Service has no port {}", called["port"]));
            let target = list(&rendered.container()["ports"])
                .iter()
                .find(|container| container["name"] == port["targetPort"])
                .unwrap();
            assert!(rendered.flag("listen")[0].ends_with(&format!(":{}", target["containerPort"])));

            assert_eq!(json["admissionReviewVersions"], json!(["v1"]), "{name}");
            assert_eq!(json["matchPolicy"], "Equivalent", "{name}");
            assert!((1..=5).contains(&json["timeoutSeconds"].as_u64().unwrap()), "{name}");
            assert!(
                list(&json["rules"]).iter().all(|rule| rule["scope"] == "Namespaced"),
                "{name}"
            );
            if entry.kind == MUTATING {
                assert_eq!(json["sideEffects"], "NoneOnDryRun", "{name}");
                assert_eq!(json["reinvocationPolicy"], "IfNeeded", "{name}");
            } else {
                assert!(
                    ["None", "NoneOnDryRun"].contains(&json["sideEffects"].as_str().unwrap()),
                    "{name}"
                );
                assert!(json.get("reinvocationPolicy").is_none(), "{name}");
            }
        }
    });
}

#[test]
fn names_are_unique_and_ours() {
    for_each_documented(|rendered| {
        let names: Vec<&str> = rendered.entries().iter().map(Entry::name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert!(names.iter().all(|name| name.ends_with(".rolegate.io")), "{names:?}");
    });
}

#[test]
fn kube_system_and_the_own_namespace_are_in_no_entry_whatever_their_labels() {
    for_each_documented(|rendered| {
        for entry in rendered.entries() {
            for namespace in ["kube-system", &rendered.namespace] {
                for gate in [
                    None,
                    Some("enforce"),
                    Some("warn"),
                    Some("audit"),
                    Some("enforced"),
                    Some(""),
                ] {
                    assert!(!entry.selects(namespace, gate), "{} takes {namespace}", entry.name());
                }
            }
        }
    });
}

#[test]
fn a_pod_goes_to_the_mode_that_its_namespace_asks_for_and_only_there() {
    let Some(chart) = chart() else { return };
    for (inject, prefix) in [(true, "/mutate"), (false, "/validate/pods")] {
        for mode in ["enforce", "warn", "audit"] {
            let values = json!({"inject": inject, "jobNamespaces": ["listed", "labelled"], "jobNamespacesMode": mode});
            let rendered = chart.render(&values);
            let by_list = format!("{prefix}/{mode}");
            let cases: [(&str, Option<&str>, Vec<String>); 9] = [
                ("jobs", Some("enforce"), vec![format!("{prefix}/enforce")]),
                ("jobs", Some("warn"), vec![format!("{prefix}/warn")]),
                ("jobs", Some("audit"), vec![format!("{prefix}/audit")]),
                ("jobs", Some("enforced"), vec![format!("{prefix}/misspelt")]),
                ("jobs", Some(""), vec![format!("{prefix}/misspelt")]),
                ("jobs", None, vec![]),
                ("listed", None, vec![by_list]),
                ("labelled", Some("warn"), vec![format!("{prefix}/warn")]),
                ("labelled", Some("wran"), vec![format!("{prefix}/misspelt")]),
            ];
            for (namespace, gate, expected) in cases {
                assert_eq!(
                    asked(&rendered, "CREATE pods", namespace, gate),
                    expected,
                    "{namespace} {gate:?}"
                );
            }
        }
    }
}

/// The paths that a request of a namespace is sent to.
fn asked(rendered: &Rendered, request: &str, namespace: &str, gate: Option<&str>) -> Vec<String> {
    rendered
        .entries()
        .iter()
        .filter(|entry| entry.selects(namespace, gate) && entry.asks_for().iter().any(|asked| asked == request))
        .map(|entry| entry.path().to_owned())
        .collect()
}

#[test]
fn the_entries_have_the_names_that_documents_and_alerts_use() {
    let Some(chart) = chart() else { return };
    let names = |rendered: &Rendered, kind: &str| -> Vec<String> {
        rendered
            .entries()
            .iter()
            .filter(|entry| entry.kind == kind)
            .map(|entry| entry.name().trim_end_matches(".rolegate.io").to_owned())
            .collect()
    };
    let modes = ["enforce", "warn", "audit", "misspelt"];
    let ephemeral = modes.map(|mode| format!("ephemeral-{mode}"));
    let cases = [
        (
            json!({}),
            [modes.as_slice(), &ephemeral.each_ref().map(String::as_str)].concat(),
            vec!["workloads"],
        ),
        (
            json!({"jobNamespaces": ["a"]}),
            [
                modes.as_slice(),
                &["namespaces"],
                &ephemeral.each_ref().map(String::as_str),
                &["ephemeral-namespaces"],
            ]
            .concat(),
            vec!["workloads", "workloads-namespaces"],
        ),
        (
            json!({"inject": false}),
            vec![],
            [modes.as_slice(), &["workloads"]].concat(),
        ),
        (
            json!({"inject": false, "jobNamespaces": ["a"], "workloadWarnings": {"enabled": false}}),
            vec![],
            [modes.as_slice(), &["namespaces"]].concat(),
        ),
    ];
    for (values, mutating, validating) in cases {
        let rendered = chart.render(&values);
        assert_eq!(names(&rendered, MUTATING), mutating, "{values}");
        assert_eq!(names(&rendered, VALIDATING), validating, "{values}");
        for kind in [MUTATING, VALIDATING] {
            let empty = rendered
                .of_kind(kind)
                .iter()
                .any(|object| list(&object["webhooks"]).is_empty());
            assert!(!empty, "{kind} without entries");
        }
    }
}

#[test]
fn an_outage_refuses_pods_where_the_mode_does_and_nothing_else() {
    let Some(chart) = chart() else { return };
    let defaults = ["Fail", "Ignore", "Ignore"];
    let chosen = [
        (json!({}), defaults),
        (json!({"warn": "Fail"}), ["Fail", "Fail", "Ignore"]),
        (
            json!({"enforce": "Ignore", "audit": "Fail"}),
            ["Ignore", "Ignore", "Fail"],
        ),
    ];
    for (set, [enforce, warn, audit]) in chosen {
        for (mode, of_list) in [("enforce", enforce), ("warn", warn), ("audit", audit)] {
            for inject in [true, false] {
                let values = json!({
                    "failurePolicy": set, "inject": inject, "jobNamespaces": ["a"], "jobNamespacesMode": mode,
                });
                for entry in chart.render(&values).entries() {
                    let expected = match entry.name().trim_end_matches(".rolegate.io") {
                        "enforce" | "misspelt" => enforce,
                        "warn" => warn,
                        "audit" => audit,
                        "namespaces" => of_list,
                        _ => "Ignore",
                    };
                    assert_eq!(entry.json["failurePolicy"], expected, "{} with {values}", entry.name());
                }
            }
        }
    }
}

#[test]
fn ephemeral_containers_have_entries_of_their_own_where_pods_are_injected() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({"jobNamespaces": ["listed"]}));
    let request = "UPDATE pods/ephemeralcontainers";
    assert_eq!(asked(&rendered, request, "jobs", Some("warn")), ["/mutate/warn"]);
    assert_eq!(asked(&rendered, request, "jobs", Some("wran")), ["/mutate/misspelt"]);
    assert_eq!(asked(&rendered, request, "listed", None), ["/mutate/enforce"]);
    for entry in rendered.entries() {
        let asks_for = entry.asks_for();
        if asks_for.iter().any(|asked| asked == request) {
            assert_eq!(asks_for, [request], "{}", entry.name());
        }
    }
    let judging = chart.render(&json!({"inject": false}));
    assert_eq!(asked(&judging, request, "jobs", Some("warn")), [""; 0]);
}

#[test]
fn workloads_and_service_accounts_of_gated_namespaces_are_looked_at() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({"jobNamespaces": ["listed"]}));
    for resource in [
        "jobs",
        "cronjobs",
        "deployments",
        "statefulsets",
        "daemonsets",
        "serviceaccounts",
    ] {
        for operation in ["CREATE", "UPDATE"] {
            let request = format!("{operation} {resource}");
            for (namespace, gate, calls) in [
                ("jobs", Some("audit"), 1),
                ("jobs", Some("oops"), 1),
                ("jobs", None, 0),
                ("listed", None, 1),
                ("listed", Some("warn"), 1),
            ] {
                let paths = asked(&rendered, &request, namespace, gate);
                assert_eq!(
                    paths,
                    vec!["/validate/workloads"; calls],
                    "{request} in {namespace} {gate:?}"
                );
            }
        }
    }
    for entry in rendered
        .entries()
        .iter()
        .filter(|entry| entry.path() == "/validate/workloads")
    {
        assert_eq!(entry.json["sideEffects"], "None");
        let conditions = list(&entry.json["matchConditions"]);
        let expressions: Vec<&str> = conditions
            .iter()
            .map(|one| one["expression"].as_str().unwrap())
            .collect();
        assert!(
            expressions[0].contains("system:serviceaccount:kube-system:"),
            "{expressions:?}"
        );
        assert!(expressions[1].contains("jobTemplate"), "{expressions:?}");
    }
    let without = chart.render(&json!({"workloadWarnings": {"enabled": false}}));
    assert!(without.of_kind(VALIDATING).is_empty());
}

/// Group, version and resource of the rules of an entry.
fn rules(entry: &Entry) -> BTreeSet<(String, String, String)> {
    let mut found = BTreeSet::new();
    for rule in list(&entry.json["rules"]) {
        for group in texts(&rule["apiGroups"]) {
            for version in texts(&rule["apiVersions"]) {
                for resource in texts(&rule["resources"]) {
                    let rule = [group, version, resource].map(|text| text.to_owned());
                    found.insert(rule.into());
                }
            }
        }
    }
    found
}

#[test]
fn the_rules_for_workloads_are_those_of_the_programs_table() {
    let Some(chart) = chart() else { return };
    let mut expected = BTreeSet::from(
        [("", "v1", "serviceaccounts")]
            .map(|(group, version, resource)| (group.to_owned(), version.to_owned(), resource.to_owned())),
    );
    // Created by controllers from an object that has a rule, or by tools that no person waits for.
    let left_out = [
        ("", "podtemplates"),
        ("", "pods"),
        ("", "replicationcontrollers"),
        ("actions.github.com", "ephemeralrunners"),
        ("actions.github.com", "ephemeralrunnersets"),
        ("apps", "replicasets"),
        ("kueue.x-k8s.io", "workloads"),
        ("serving.knative.dev", "revisions"),
    ];
    for row in resources().iter().map(|row| &row.resource_type) {
        if row.cluster || left_out.contains(&(row.group.as_str(), row.plural.as_str())) {
            continue;
        }
        for version in &row.versions {
            expected.insert((row.group.clone(), version.clone(), row.plural.clone()));
        }
    }
    let rendered = chart.render(&json!({}));
    let entries = rendered.entries();
    let workloads = entries
        .iter()
        .find(|entry| entry.path() == "/validate/workloads")
        .unwrap();
    assert_eq!(rules(workloads), expected);

    let rendered = chart.render(&json!({"workloadWarnings": {"groups": ["ray.io"]}}));
    let entries = rendered.entries();
    let workloads = entries
        .iter()
        .find(|entry| entry.path() == "/validate/workloads")
        .unwrap();
    let groups: BTreeSet<String> = rules(workloads).into_iter().map(|(group, ..)| group).collect();
    assert_eq!(groups, BTreeSet::from(["", "ray.io"].map(str::to_owned)));
}

#[test]
fn an_empty_list_of_namespaces_makes_no_entry() {
    for_each_documented(|rendered| {
        for expression in rendered.entries().iter().flat_map(Entry::expressions) {
            let takes_values = ["In", "NotIn"].contains(&expression["operator"].as_str().unwrap());
            assert_eq!(takes_values, !texts(&expression["values"]).is_empty(), "{expression}");
        }
    });
}

#[test]
fn a_release_in_kube_system_names_it_once() {
    let Some(chart) = chart() else { return };
    let rendered = chart.try_render_in("kube-system", &json!({})).unwrap();
    for entry in rendered.entries() {
        let excluded: &Value = &entry.expressions().last().unwrap()["values"];
        assert_eq!(*excluded, json!(["kube-system"]));
    }
}

#[test]
fn moving_entries_between_the_configurations_needs_no_other_replicas() {
    let Some(chart) = chart() else { return };
    let before = chart.render(&json!({}));
    for values in [
        json!({"inject": false}),
        json!({"workloadWarnings": {"enabled": false}}),
        json!({"jobNamespaces": ["a"]}),
    ] {
        let after = chart.render(&values);
        assert_eq!(after.deployment(), before.deployment(), "{values}");
        assert_eq!(after.only("ClusterRole"), before.only("ClusterRole"), "{values}");
    }
}

#[test]
fn who_writes_ca_bundle_follows_from_the_mode() {
    let Some(chart) = chart() else { return };
    let injected = |rendered: &Rendered, kind| {
        rendered.only(kind)["metadata"]["annotations"]
            .get("cert-manager.io/inject-ca-from")
            .cloned()
    };
    let cases = [
        (json!({}), None, 1),
        (
            json!({"certificates": {"mode": "secret", "secretName": "mine"}}),
            None,
            1,
        ),
        (
            json!({"certificates": {"mode": "cert-manager"}}),
            Some(json!(format!("{}/rolegate", crate::NAMESPACE))),
            0,
        ),
    ];
    for (values, annotation, flags) in cases {
        let rendered = chart.render(&values);
        for (kind, flag) in [
            (MUTATING, "mutating-webhook-configuration"),
            (VALIDATING, "validating-webhook-configuration"),
        ] {
            assert_eq!(injected(&rendered, kind), annotation, "{values}");
            assert_eq!(rendered.flag(flag).len(), flags, "{values}");
        }
    }
}
