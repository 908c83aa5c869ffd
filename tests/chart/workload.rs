//! The pods of the webhook, and the objects related to them.

use serde_json::{Value, json};

use crate::{NAMESPACE, chart, for_each_documented, list};

#[test]
fn the_pod_is_restricted() {
    for_each_documented(|rendered| {
        let pods = rendered.of_kind("Pod").into_iter().map(|pod| &pod["spec"]);
        for pod in pods.chain([rendered.pod()]) {
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            for container in list(&pod["containers"]) {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false);
                assert_eq!(context["readOnlyRootFilesystem"], true);
                assert_eq!(context["runAsNonRoot"], true);
                assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
                assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
                assert!(container["resources"]["requests"].get("memory").is_some());
                assert!(container["resources"]["limits"].get("cpu").is_none(), "throttled");
            }
        }
    });
}

#[test]
fn two_replicas_spread_and_go_one_by_one() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({}));
    assert_eq!(rendered.deployment()["spec"]["replicas"], 2);
    assert_eq!(rendered.pod()["priorityClassName"], "system-cluster-critical");
    assert_eq!(rendered.only("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    let keys: Vec<&Value> = list(&rendered.pod()["topologySpreadConstraints"])
        .iter()
        .map(|constraint| &constraint["topologyKey"])
        .collect();
    assert_eq!(keys, ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]);
    assert_eq!(
        rendered.deployment()["spec"]["strategy"]["rollingUpdate"],
        json!({"maxSurge": 1, "maxUnavailable": 0})
    );
}

#[test]
fn probes_ask_the_admin_port() {
    for_each_documented(|rendered| {
        let container = rendered.container();
        for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "http"}));
        }
        let http = list(&container["ports"])
            .iter()
            .find(|port| port["name"] == "http")
            .unwrap();
        assert!(rendered.flag("admin-listen")[0].ends_with(&format!(":{}", http["containerPort"])));
    });
}

#[test]
fn a_pod_has_time_to_drain() {
    let Some(chart) = chart() else { return };
    for seconds in [0, 5, 300] {
        let rendered = chart.render(&json!({"drainSeconds": seconds}));
        assert_eq!(rendered.flag("drain"), [format!("{seconds}s")]);
        // 10 s for the answers that are in flight when the drain ends, and a margin.
        let patience = rendered.pod()["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(patience >= seconds + 15, "{patience}");
    }
}

#[test]
fn on_the_host_network_dns_follows_and_an_update_frees_the_ports_first() {
    let Some(chart) = chart() else { return };
    let own = chart.render(&json!({}));
    assert!(
        own.pod().get("hostNetwork").is_none(),
        "every server-side apply would conflict"
    );
    assert_eq!(own.pod()["dnsPolicy"], "ClusterFirst");
    let nodes = chart.render(&json!({"hostNetwork": true, "ports": {"https": 10443, "http": 10080}}));
    assert_eq!(nodes.pod()["hostNetwork"], true);
    assert_eq!(nodes.pod()["dnsPolicy"], "ClusterFirstWithHostNet");
    assert_eq!(nodes.flag("listen"), ["0.0.0.0:10443"]);
    assert_eq!(
        nodes.deployment()["spec"]["strategy"]["rollingUpdate"],
        json!({"maxSurge": 0, "maxUnavailable": 1})
    );
    assert!(
        nodes.of_kind("NetworkPolicy").is_empty(),
        "it would say what does not hold"
    );
    let chosen = chart.render(&json!({"hostNetwork": true, "dnsPolicy": "Default"}));
    assert_eq!(chosen.pod()["dnsPolicy"], "Default");
}

#[test]
fn dns_configuration_is_passed_to_the_pods() {
    let Some(chart) = chart() else { return };
    assert!(chart.render(&json!({})).pod().get("dnsConfig").is_none());
    let config = json!({
        "nameservers": ["192.0.2.53"],
        "searches": ["example.com"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    });
    let rendered = chart.render(&json!({"dnsPolicy": "None", "dnsConfig": config}));
    assert_eq!(rendered.pod()["dnsConfig"], config);
    assert_eq!(rendered.pod()["dnsPolicy"], "None");
}

#[test]
fn the_rollout_can_be_changed() {
    let Some(chart) = chart() else { return };
    let defaults = chart.render(&json!({}));
    assert_eq!(defaults.deployment()["spec"]["revisionHistoryLimit"], 5);
    for strategy in [
        json!({"type": "Recreate"}),
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0}}),
    ] {
        for on_nodes in [false, true] {
            let values = json!({"revisionHistoryLimit": 0, "strategy": strategy, "hostNetwork": on_nodes});
            let rendered = chart.render(&values);
            assert_eq!(rendered.deployment()["spec"]["revisionHistoryLimit"], 0);
            assert_eq!(rendered.deployment()["spec"]["strategy"], strategy, "{values}");
        }
    }
}

#[test]
fn the_disruption_budget_is_by_one_limit() {
    let Some(chart) = chart() else { return };
    let cases = [
        (json!({}), json!({"maxUnavailable": 1})),
        (json!({"maxUnavailable": 2}), json!({"maxUnavailable": 2})),
        (json!({"maxUnavailable": "50%"}), json!({"maxUnavailable": "50%"})),
        (json!({"minAvailable": 1}), json!({"minAvailable": 1})),
        (json!({"minAvailable": 0}), json!({"minAvailable": 0})),
        (
            json!({"minAvailable": "25%", "maxUnavailable": null}),
            json!({"minAvailable": "25%"}),
        ),
        (
            json!({"minAvailable": null, "maxUnavailable": ""}),
            json!({"maxUnavailable": 1}),
        ),
    ];
    for (values, mut expected) in cases {
        let rendered = chart.render(&json!({"podDisruptionBudget": values}));
        let mut spec = rendered.only("PodDisruptionBudget")["spec"].clone();
        spec.as_object_mut().unwrap().remove("selector");
        expected["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        assert_eq!(spec, expected, "{values}");
    }
    let healthy = chart.render(&json!({"podDisruptionBudget": {"unhealthyPodEvictionPolicy": "IfHealthyBudget"}}));
    assert_eq!(
        healthy.only("PodDisruptionBudget")["spec"]["unhealthyPodEvictionPolicy"],
        "IfHealthyBudget"
    );
    for both in [
        json!({"minAvailable": 1, "maxUnavailable": 1}),
        json!({"minAvailable": 0, "maxUnavailable": "50%"}),
    ] {
        let error = chart
            .try_render(&json!({"podDisruptionBudget": both}))
            .err()
            .expect("both limits were accepted");
        let expected = "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable exclude each other";
        assert!(error.contains(expected), "{error}");
    }
}

/// A node drain evicts one replica at a time, and waits while the budget allows none.
#[test]
fn a_disruption_budget_lets_nodes_be_drained_or_the_notes_warn() {
    let Some(chart) = chart() else { return };
    let path = crate::folder();
    let install = ["install", "rolegate", path.to_str().unwrap(), "--dry-run=client"];
    let warning = "rounded up, are all of them: node drains wait forever";
    for (replicas, min_available, is_warned) in [
        (1, json!("1%"), true),
        (1, json!("0%"), false),
        (2, json!("50%"), false),
        (2, json!("51%"), true),
        (3, json!("66%"), false),
        (3, json!("67%"), true),
        (20, json!("95%"), false),
        (20, json!("96%"), true),
        (2, json!(1), false),
        (1, json!(0), false),
    ] {
        let values = json!({"replicaCount": replicas, "podDisruptionBudget": {"minAvailable": min_available}});
        let notes = crate::notes::unwrapped(&chart.helm(&install, &values).unwrap());
        assert_eq!(notes.contains(warning), is_warned, "{values}: {notes}");
        let off =
            json!({"replicaCount": replicas, "podDisruptionBudget": {"enabled": false, "minAvailable": min_available}});
        let notes = crate::notes::unwrapped(&chart.helm(&install, &off).unwrap());
        assert!(!notes.contains(warning), "{off}");
    }
    // A budget that is not created blocks nothing.
    let off = json!({"enabled": false, "minAvailable": 5});
    let rendered = chart.render(&json!({"podDisruptionBudget": off}));
    assert!(rendered.of_kind("PodDisruptionBudget").is_empty());
}

#[test]
fn certificates_come_from_where_the_mode_says() {
    let Some(chart) = chart() else { return };
    let own = chart.render(&json!({}));
    assert_eq!(own.flag("tls-secret"), [format!("{NAMESPACE}/rolegate-tls")]);
    assert_eq!(own.flag("ca-lifetime"), ["8760h"]);
    assert_eq!(own.flag("certificate-lifetime"), ["720h"]);
    assert!(own.flag("tls-cert").is_empty());

    let given = chart.render(&json!({"certificates": {"mode": "secret", "secretName": "mine"}}));
    assert_eq!(given.flag("tls-cert"), ["/etc/rolegate/tls/tls.crt"]);
    assert_eq!(given.flag("tls-key"), ["/etc/rolegate/tls/tls.key"]);
    assert_eq!(given.flag("ca-bundle"), ["/etc/rolegate/tls/ca.crt"]);
    assert_eq!(mounted(&given, "tls")["secret"]["secretName"], "mine");
    assert!(given.of_kind("Secret").is_empty(), "it is yours");

    let signed = chart.render(&json!({"certificates": {"mode": "cert-manager"}}));
    assert_eq!(signed.flag("tls-cert"), ["/etc/rolegate/tls/tls.crt"]);
    assert!(signed.flag("ca-bundle").is_empty());
    let certificate = signed.named("Certificate", "rolegate").unwrap();
    assert_eq!(certificate["spec"]["secretName"], "rolegate-tls");
    assert_eq!(certificate["spec"]["issuerRef"]["name"], "rolegate");
    assert_eq!(mounted(&signed, "tls")["secret"]["secretName"], "rolegate-tls");
    for (name, spec) in [("rolegate", "ca"), ("rolegate-self-signed", "selfSigned")] {
        assert!(signed.named("Issuer", name).unwrap()["spec"].get(spec).is_some());
    }
    // cert-manager does not delete its Secrets; those that are shipped go with the release.
    for certificate in signed.of_kind("Certificate") {
        assert!(
            signed
                .named("Secret", certificate["spec"]["secretName"].as_str().unwrap())
                .is_some()
        );
    }

    let issued = chart.render(&json!({"certificates": {
        "mode": "cert-manager",
        "issuerRef": {"name": "corporate", "kind": "ClusterIssuer"},
    }}));
    assert_eq!(
        issued.only("Certificate")["spec"]["issuerRef"],
        json!({"name": "corporate", "kind": "ClusterIssuer", "group": "cert-manager.io"})
    );
    assert!(issued.of_kind("Issuer").is_empty());
}

#[test]
fn certificates_are_for_the_services_names() {
    let Some(chart) = chart() else { return };
    let names = [
        format!("rolegate.{NAMESPACE}.svc"),
        format!("rolegate.{NAMESPACE}"),
        format!("rolegate.{NAMESPACE}.svc.cluster.local"),
    ];
    assert_eq!(chart.render(&json!({})).flag("tls-names"), [names.join(",")]);
    let signed = chart.render(&json!({"certificates": {"mode": "cert-manager"}}));
    assert_eq!(
        signed.named("Certificate", "rolegate").unwrap()["spec"]["dnsNames"],
        json!(names)
    );
}

/// The volume of this name, which the container must mount.
fn mounted<'a>(rendered: &'a crate::Rendered, name: &str) -> &'a Value {
    let is_named = |item: &&Value| item["name"] == name;
    let mount = list(&rendered.container()["volumeMounts"]).iter().find(is_named);
    assert_eq!(
        mount.unwrap_or_else(|| panic!("{name} is not mounted"))["readOnly"],
        true
    );
    list(&rendered.pod()["volumes"])
        .iter()
        .find(is_named)
        .expect("a volume")
}

#[test]
fn role_files_are_mounted_and_asked_last() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({"roleFiles": {"configMap": "files"}}));
    assert_eq!(rendered.flag("role-source"), ["iam", "files=/etc/rolegate/roles"]);
    assert_eq!(mounted(&rendered, "roles")["configMap"]["name"], "files");
    let mounts = &rendered.container()["volumeMounts"];
    assert!(
        list(mounts)
            .iter()
            .any(|mount| mount["mountPath"] == "/etc/rolegate/roles")
    );
    let alone = chart.render(&json!({"roleSources": [], "roleFiles": {"configMap": "files"}}));
    assert_eq!(alone.flag("role-source"), ["files=/etc/rolegate/roles"]);
    // What `--set roleSources=null` leaves.
    let null = chart.render(&json!({"roleSources": null, "roleFiles": {"configMap": "files"}}));
    assert_eq!(null.flag("role-source"), ["files=/etc/rolegate/roles"]);
    let ordered = chart.render(&json!({"roleSources": ["crossplane", "ack", "iam"]}));
    assert_eq!(ordered.flag("role-source"), ["crossplane", "ack", "iam"]);
}

#[test]
fn rolegates_own_role_needs_no_other_webhook() {
    let Some(chart) = chart() else { return };
    assert!(chart.render(&json!({})).container().get("env").is_none());
    let rendered =
        chart.render(&json!({"aws": {"roleArn": "arn:aws:iam::111122223333:role/rolegate", "region": "us-west-2"}}));
    assert_eq!(
        rendered.container()["env"],
        json!([
            {"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::111122223333:role/rolegate"},
            {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"},
            {"name": "AWS_REGION", "value": "us-west-2"},
        ])
    );
    let token = &mounted(&rendered, "aws-iam-token")["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(
        *token,
        json!({"audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token"})
    );
}

#[test]
fn what_the_user_adds_is_rendered() {
    let Some(chart) = chart() else { return };
    let everything = crate::documented()
        .into_iter()
        .find(|(name, _)| name == "everything.yaml")
        .unwrap()
        .1;
    let rendered = chart.render(&everything);
    let (metadata, pod) = (&rendered.deployment()["spec"]["template"]["metadata"], rendered.pod());
    assert_eq!(metadata["annotations"]["example.com/owner"], "security");
    assert_eq!(metadata["labels"]["example.com/tier"], "gate");
    assert_eq!(metadata["labels"]["example.com/team"], "security");
    for field in ["nodeSelector", "tolerations", "affinity", "dnsConfig"] {
        assert_eq!(pod[field], everything[field], "{field}");
    }
    for field in ["strategy", "revisionHistoryLimit"] {
        assert_eq!(rendered.deployment()["spec"][field], everything[field], "{field}");
    }
    assert_eq!(rendered.container()["resources"], everything["resources"]);
    let env = list(&rendered.container()["env"]);
    assert_eq!(env.last().unwrap(), &everything["extraEnv"][0]);
    mounted(&rendered, "more-roles");
    for object in &rendered.objects {
        assert_eq!(
            object["metadata"]["labels"]["example.com/team"], "security",
            "{}",
            object["kind"]
        );
    }
}

#[test]
fn labels_of_users_do_not_replace_those_that_selectors_need() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({
        "commonLabels": {"app.kubernetes.io/name": "other"},
        "podLabels": {"app.kubernetes.io/component": "other"},
    }));
    let labels = &rendered.deployment()["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], "rolegate");
    assert_eq!(labels["app.kubernetes.io/component"], "webhook");
}

#[test]
fn the_network_policy_lets_in_what_calls_and_out_what_is_called() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({}));
    let policy = &rendered.only("NetworkPolicy")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(
        policy["ingress"],
        json!([{"ports": [{"port": "https", "protocol": "TCP"}]}, {"ports": [{"port": "http", "protocol": "TCP"}]}])
    );
    let out: Vec<u64> = list(&policy["egress"])
        .iter()
        .flat_map(|rule| list(&rule["ports"]))
        .map(|port| port["port"].as_u64().unwrap())
        .collect();
    assert_eq!(out, [53, 53, 443, 6443, 80]);
    let narrow = chart.render(&json!({"networkPolicy": {"webhookFrom": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}}));
    assert_eq!(
        narrow.only("NetworkPolicy")["spec"]["ingress"][0]["from"],
        json!([{"ipBlock": {"cidr": "10.0.0.0/24"}}])
    );
}

#[test]
fn helm_test_makes_a_pod_that_is_valid_only_when_it_was_injected() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({}));
    let [pod] = *rendered.of_kind("Pod") else {
        panic!("one pod")
    };
    let namespace = pod["metadata"]["namespace"].as_str().unwrap();
    let gate = rendered.named("Namespace", namespace).unwrap()["metadata"]["labels"]["rolegate.io/gate"]
        .as_str()
        .unwrap();
    assert!(rendered.entry("audit.rolegate.io").selects(namespace, Some(gate)));
    let account = rendered
        .named("ServiceAccount", pod["spec"]["serviceAccountName"].as_str().unwrap())
        .unwrap();
    assert_eq!(account["metadata"]["namespace"], namespace);
    assert!(
        account["metadata"]["annotations"]
            .get("eks.amazonaws.com/role-arn")
            .is_some()
    );
    assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], "aws-iam-token");
    assert!(pod["spec"].get("volumes").is_none());
    let judging = chart.render(&json!({"inject": false}));
    assert!(
        judging.of_kind("Pod")[0]["spec"]["containers"][0]
            .get("volumeMounts")
            .is_none()
    );
    let changed =
        chart.render(&json!({"settings": {"annotation-prefix": "example.com", "token-mount-path": "/token"}}));
    let account = changed.named("ServiceAccount", "rolegate-test").unwrap();
    assert!(account["metadata"]["annotations"].get("example.com/role-arn").is_some());
    assert_eq!(
        changed.of_kind("Pod")[0]["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
        "/token"
    );
    assert!(
        chart
            .render(&json!({"test": {"enabled": false}}))
            .of_kind("Pod")
            .is_empty()
    );
}
