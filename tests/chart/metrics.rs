//! Dashboard and alerts ask for metrics that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Chart, NAMESPACE, chart, list, read};

/// The documented metrics with what the reference says of each: its labels, and their values.
fn documented() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md");
    let metrics: BTreeMap<String, String> = fs::read_to_string(path)
        .unwrap()
        .lines()
        .filter_map(|line| {
            let (name, says) = line.strip_prefix("| `")?.split_once('`')?;
            Some((name.to_owned(), says.to_owned()))
        })
        .collect();
    assert!(metrics.contains_key("rolegate_decisions_total"), "{metrics:?}");
    metrics
}

/// The queries of the dashboard and of the alerts.
fn queries() -> Option<Vec<String>> {
    let chart = chart()?;
    let on = json!({"enabled": true});
    let rendered = chart.render(&json!({"metrics": {"dashboard": on, "prometheusRule": on, "serviceMonitor": on}}));
    let dashboard = rendered.named("ConfigMap", "rolegate-dashboard").unwrap();
    let dashboard: Value = serde_json::from_str(dashboard["data"]["rolegate.json"].as_str().unwrap()).unwrap();
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]) {
        let targets = list(&panel["targets"]);
        assert_eq!(targets.is_empty(), panel["type"] == "row", "{}", panel["title"]);
        queries.extend(targets.iter().map(|target| target["expr"].as_str().unwrap().to_owned()));
    }
    let rules = rendered.only("PrometheusRule");
    for rule in list(&rules["spec"]["groups"][0]["rules"]) {
        assert!(rule["labels"].get("severity").is_some(), "{}", rule["alert"]);
        queries.push(rule["expr"].as_str().unwrap().to_owned());
    }
    assert!(queries.len() > 20, "{queries:?}");
    Some(queries)
}

/// The words of a query that `fits` takes.
fn words(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

/// A histogram is asked for by its parts.
fn base(name: &str) -> &str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|part| name.strip_suffix(part))
        .unwrap_or(name)
}

/// The metric of the API server that counts the calls that it did without.
const FAIL_OPEN: &str = "apiserver_admission_webhook_fail_open_count";

/// Without the queries for metrics of the API server.
fn of_rolegate(queries: &[String]) -> impl Iterator<Item = &String> {
    queries.iter().filter(|query| !query.contains(FAIL_OPEN))
}

#[test]
fn every_metric_that_is_asked_for_is_documented() {
    let Some(queries) = queries() else { return };
    let documented = documented();
    for query in of_rolegate(&queries) {
        let asked: Vec<&str> = words(query).filter(|word| word.starts_with("rolegate_")).collect();
        assert!(!asked.is_empty(), "{query}");
        for name in asked {
            assert!(documented.contains_key(base(name)), "{name} in {query}");
        }
        assert!(query.contains("namespace"), "of whose release? {query}");
    }
}

#[test]
fn every_documented_metric_is_shown() {
    let Some(queries) = queries() else { return };
    let shown: BTreeSet<&str> = queries.iter().flat_map(|query| words(query)).map(base).collect();
    for name in documented().keys() {
        assert!(shown.contains(name.as_str()), "nothing shows {name}");
    }
}

#[test]
fn labels_that_are_summed_by_are_labels_of_the_metric() {
    let Some(queries) = queries() else { return };
    let documented = documented();
    for query in of_rolegate(&queries) {
        let name = words(query).find(|word| word.starts_with("rolegate_")).unwrap();
        let says = &documented[base(name)];
        for by in query.split("by (").skip(1) {
            for label in words(by.split(')').next().unwrap()) {
                let known = ["le", "pod"].contains(&label) || says.contains(&format!("`{label}`"));
                assert!(known, "{name} has no label {label}");
            }
        }
    }
}

#[test]
fn what_needs_other_operators_is_off_until_it_is_asked_for() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({}));
    for object in &rendered.objects {
        let group = object["apiVersion"].as_str().unwrap();
        assert!(
            !group.contains("monitoring.coreos.com") && !group.contains("cert-manager.io"),
            "{group}"
        );
    }
    let json: Value = serde_json::from_str(&read("files/dashboard.json")).unwrap();
    assert_eq!(json["uid"], "rolegate");
}

#[test]
fn the_service_monitor_is_what_the_values_say() {
    let Some(chart) = chart() else { return };
    let on = |more: Value| {
        let mut monitor = json!({"enabled": true});
        monitor
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let rendered = chart.render(&json!({"metrics": {"serviceMonitor": monitor}}));
        rendered.only("ServiceMonitor").clone()
    };
    let plain = on(json!({}));
    assert_eq!(plain["metadata"]["namespace"], NAMESPACE);
    assert_eq!(
        plain["spec"]["endpoints"],
        json!([{"port": "http", "path": "/metrics", "interval": "30s"}])
    );
    let relabeling = json!([{"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}]);
    let dropped = json!([{"sourceLabels": ["__name__"], "regex": "process_.*", "action": "drop"}]);
    let changed = on(json!({
        "namespace": "monitoring",
        "labels": {"release": "prometheus"},
        "interval": "1m",
        "scrapeTimeout": "20s",
        "relabelings": relabeling,
        "metricRelabelings": dropped,
    }));
    assert_eq!(changed["metadata"]["namespace"], "monitoring");
    assert_eq!(changed["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(
        changed["spec"]["endpoints"],
        json!([{
            "port": "http", "path": "/metrics", "interval": "1m", "scrapeTimeout": "20s",
            "relabelings": relabeling, "metricRelabelings": dropped,
        }])
    );
    // Wherever it is, it looks for the Service where that is.
    for monitor in [plain, changed] {
        assert_eq!(monitor["spec"]["namespaceSelector"], json!({"matchNames": [NAMESPACE]}));
    }
}

/// The alerts that are rendered with these values of `metrics.prometheusRule`.
fn alerts(chart: &Chart, mut rule: Value) -> Vec<Value> {
    rule["enabled"] = json!(true);
    let rendered = chart.render(&json!({"metrics": {"prometheusRule": rule}}));
    let rules = &rendered.only("PrometheusRule")["spec"]["groups"][0]["rules"];
    list(rules).to_vec()
}

#[test]
fn each_alert_can_be_turned_off_and_changed() {
    let Some(chart) = chart() else { return };
    let all = alerts(&chart, json!({}));
    assert!(all.len() > 10, "{all:?}");
    for one in &all {
        let name = one["alert"].as_str().unwrap();
        let others: Vec<Value> = all.iter().filter(|other| *other != one).cloned().collect();
        assert_eq!(
            alerts(&chart, json!({"alerts": {(name): {"enabled": false}}})),
            others,
            "{name}"
        );

        let change = json!({"enabled": true, "for": "42m", "severity": "page"});
        let mut expected = one.clone();
        expected["for"] = json!("42m");
        expected["labels"]["severity"] = json!("page");
        let changed = alerts(&chart, json!({"alerts": {(name): change}}));
        assert!(changed.contains(&expected), "{name}: {changed:?}");
        assert!(
            others.iter().all(|other| changed.contains(other)),
            "{name}: {changed:?}"
        );
    }
    let cases = [
        ("RolegateSlow", json!(0.5), "> 0.5", "0.5 s"),
        ("RolegateSlow", json!(2), "> 2", "2 s"),
        ("RolegatePoliciesOld", json!(900), "> 900", "900 s"),
        ("RolegatePoliciesOld", json!(3600), "> 3600", "3600 s"),
        ("RolegateCertificateExpires", json!(48), "< 48 * 3600", "expires in"),
    ];
    for (name, threshold, query, says) in cases {
        let changed = alerts(&chart, json!({"alerts": {(name): {"threshold": threshold}}}));
        let alert = changed.iter().find(|alert| alert["alert"] == name).unwrap();
        assert!(alert["expr"].as_str().unwrap().ends_with(query), "{alert}");
        assert!(
            alert["annotations"]["summary"].as_str().unwrap().contains(says),
            "{alert}"
        );
    }
    let wrong = [
        (
            json!({"RolegateQuick": {}}),
            "unknown alert; the alerts are RolegateDown,",
        ),
        (
            json!({"RolegateDown": {"threshold": 1}}),
            "RolegateDown.threshold: this alert has no threshold",
        ),
    ];
    for (changes, expected) in wrong {
        let values = json!({"metrics": {"prometheusRule": {"enabled": true, "alerts": changes}}});
        let error = chart.try_render(&values).err().expect("it was accepted");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn alerts_refer_to_runbooks_where_there_is_a_page() {
    let Some(chart) = chart() else { return };
    let refers_to = |chart: &Chart, folder: &Path, rule: &str| -> Vec<(String, Option<String>)> {
        let arguments = ["template", "rolegate", folder.to_str().unwrap(), "--set", rule];
        let values = json!({"metrics": {"prometheusRule": {"enabled": true}}});
        let rendered = crate::Rendered::read(chart.helm(&arguments, &values).unwrap(), "default");
        let rules = &rendered.only("PrometheusRule")["spec"]["groups"][0]["rules"];
        let page = |rule: &Value| rule["annotations"]["runbook_url"].as_str().map(str::to_owned);
        let name = |rule: &Value| rule["alert"].as_str().unwrap().to_lowercase();
        list(rules).iter().map(|rule| (name(rule), page(rule))).collect()
    };
    let key = "metrics.prometheusRule.runbookUrl";
    let ours = crate::folder();
    for (_, page) in refers_to(&chart, &ours, &format!("{key}=")) {
        assert_eq!(page, None, "the chart has no home");
    }
    for (anchor, page) in refers_to(&chart, &ours, &format!("{key}=https://runbooks.example.com/a")) {
        assert_eq!(page, Some(format!("https://runbooks.example.com/a#{anchor}")));
    }
    // As a release packages it.
    let released = tempfile::tempdir().unwrap();
    copy(&ours, released.path());
    let about = read("Chart.yaml") + "home: https://git.example.com/rolegate/\n";
    fs::write(released.path().join("Chart.yaml"), about).unwrap();
    let page = concat!(
        "https://git.example.com/rolegate/blob/v",
        env!("CARGO_PKG_VERSION"),
        "/docs/runbooks.md"
    );
    for (anchor, found) in refers_to(&chart, released.path(), &format!("{key}=")) {
        assert_eq!(found, Some(format!("{page}#{anchor}")));
    }
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, copied) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            fs::create_dir(&copied).unwrap();
            copy(&source, &copied);
        } else {
            fs::copy(&source, &copied).unwrap();
        }
    }
}

#[test]
fn the_certificate_alert_waits_for_a_renewal_that_is_late() {
    let Some(chart) = chart() else { return };
    // A third of its life is left when it is renewed; half of that is late, and a week is enough for anybody.
    for (certificates, hours) in [
        (json!({}), 120),
        (json!({"lifetime": "24h"}), 4),
        (json!({"lifetime": "2160h"}), 168),
        (json!({"mode": "secret", "secretName": "mine"}), 168),
    ] {
        let values = json!({"certificates": certificates, "metrics": {"prometheusRule": {"enabled": true}}});
        let rendered = chart.render(&values);
        let rules = &rendered.only("PrometheusRule")["spec"]["groups"][0]["rules"];
        let alert = list(rules)
            .iter()
            .find(|rule| rule["alert"] == "RolegateCertificateExpires")
            .unwrap();
        assert!(
            alert["expr"].as_str().unwrap().contains(&format!("< {hours} * 3600")),
            "{}",
            alert["expr"]
        );
    }
}

#[test]
fn an_alert_reports_pods_that_were_admitted_without_an_answer() {
    let Some(chart) = chart() else { return };
    let on = json!({"jobNamespaces": ["a"], "metrics": {"prometheusRule": {"enabled": true}}});
    let rendered = chart.render(&on);
    let rules = &rendered.only("PrometheusRule")["spec"]["groups"][0]["rules"];
    let alert = |name: &str| list(rules).iter().find(|rule| rule["alert"] == name).unwrap();

    let query = alert("RolegateBypassed")["expr"].as_str().unwrap();
    assert!(query.contains(FAIL_OPEN), "{query}");
    let (_, names) = query.split_once("name=~\"(").unwrap();
    let (names, rest) = names.split_once(')').unwrap();
    assert!(rest.starts_with("[.]rolegate[.]io\""), "{query}");
    let named: BTreeSet<String> = names.split('|').map(|name| format!("{name}.rolegate.io")).collect();
    let of_pods: BTreeSet<String> = rendered
        .entries()
        .iter()
        .filter(|entry| entry.asks_for() == ["CREATE pods"])
        .map(|entry| entry.name().to_owned())
        .collect();
    assert_eq!(named, of_pods);

    // What an outage does depends on the mode.
    let says = alert("RolegateDown")["annotations"]["description"].as_str().unwrap();
    let expected = "While no replica responds, pods of gated namespaces are refused in mode enforce, and start without evaluation and \
                    without an identity in modes warn and audit. See deployment/rolegate in namespace rolegate-system.";
    assert_eq!(says, expected);
}

#[test]
fn an_alert_reports_each_kind_of_line_that_was_dropped() {
    let Some(chart) = chart() else { return };
    let rendered = chart.render(&json!({"metrics": {"prometheusRule": {"enabled": true}}}));
    let rules = &rendered.only("PrometheusRule")["spec"]["groups"][0]["rules"];
    for metric in ["rolegate_audit_log_dropped_total", "rolegate_log_lines_dropped_total"] {
        let asks = |rule: &&Value| rule["expr"].as_str().unwrap().contains(metric);
        assert_eq!(list(rules).iter().filter(asks).count(), 1, "{metric}");
    }
}

#[test]
fn an_alert_reports_lost_trust_and_where_to_look() {
    let Some(chart) = chart() else { return };
    for (events, place) in [
        (true, "Events with reason TrustLost name them"),
        (false, "The log names them"),
    ] {
        let rendered = chart.render(&json!({"events": events, "metrics": {"prometheusRule": {"enabled": true}}}));
        let rules = &rendered.only("PrometheusRule")["spec"]["groups"][0]["rules"];
        let rule = list(rules)
            .iter()
            .find(|rule| rule["alert"] == "RolegateTrustLost")
            .unwrap();
        let query = rule["expr"].as_str().unwrap();
        // Every replica counts every change.
        assert!(
            query.starts_with("max by (change) (increase(rolegate_trust_changes_total{"),
            "{query}"
        );
        assert!(query.contains("change=\"lost\""), "{query}");
        let says = rule["annotations"]["description"].as_str().unwrap();
        assert!(says.contains(place), "{says}");
    }
}
