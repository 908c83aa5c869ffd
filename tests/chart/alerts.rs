//! When alerts of the chart fire, evaluated by the query engine of Prometheus.

use std::fs;
use std::ops::Range;
use std::process::Command;

use serde_json::{Value, json};

use crate::{NAMESPACE, chart, support};

/// A scrape every minute, for so many minutes.
const MINUTES: u32 = 60;

/// What the API server reports when it admits a pod without this webhook.
fn fail_open(name: &str, count: u32) -> String {
    format!("apiserver_admission_webhook_fail_open_count{{name=\"{name}\",type=\"admit\"}} {count}\n")
}

/// In which minutes an alert fires, when `scrape` is what a minute's scrape returns.
fn minutes_in_which(alert: &str, scrape: impl Fn(u32) -> String) -> Option<Vec<u32>> {
    let chart = chart()?;
    let queries = match support::tools::dashboard_queries() {
        Ok(queries) => queries,
        Err(missing) => {
            missing.skip("when alerts fire");
            return None;
        }
    };
    let rendered = chart.render(&json!({"metrics": {"prometheusRule": {"enabled": true}}}));
    let rules = &rendered.only("PrometheusRule")["spec"]["groups"][0]["rules"];
    let rule = rules.as_array().unwrap().iter().find(|rule| rule["alert"] == alert);
    let expression = &rule.unwrap_or_else(|| panic!("no alert {alert}"))["expr"];

    let folder = tempfile::tempdir().unwrap();
    let (panels, scrapes) = (folder.path().join("panels.json"), folder.path().join("scrapes"));
    let panel = json!({"title": alert, "type": "timeseries", "targets": [{"expr": expression}]});
    fs::write(&panels, json!({"panels": [panel]}).to_string()).unwrap();
    fs::create_dir_all(scrapes.join("scraped")).unwrap();
    for minute in 0..=MINUTES {
        let file = scrapes.join(format!(
            "scraped/{}.txt",
            1_000_000_000_000 + u64::from(minute) * 60_000
        ));
        fs::write(file, format!("up 1\n{}# EOF\n", scrape(minute))).unwrap();
    }
    let output = Command::new(queries)
        .args([&panels, &scrapes])
        .args(["rolegate", NAMESPACE, "1m"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let drawn: Value = serde_json::from_slice(&output.stdout).unwrap();
    let series = drawn[0]["series"].as_array().unwrap().iter();
    let points = series.flat_map(|series| series["points"].as_array().unwrap());
    let mut minutes: Vec<u32> = points.map(|point| (point[0].as_f64().unwrap() / 60.0) as u32).collect();
    minutes.sort_unstable();
    minutes.dedup();
    Some(minutes)
}

#[track_caller]
fn assert_fires(minutes: &[u32], expected: Range<u32>) {
    assert_eq!(minutes, expected.collect::<Vec<_>>());
}

#[test]
fn one_pod_that_was_admitted_without_rolegate_is_reported() {
    let first = |minute: u32| {
        let count = u32::from(minute >= 20);
        if count == 0 {
            String::new()
        } else {
            fail_open("warn.rolegate.io", count)
        }
    };
    let Some(minutes) = minutes_in_which("RolegateBypassed", first) else {
        return;
    };
    assert_fires(&minutes, 20..30);

    let another = |minute: u32| fail_open("audit.rolegate.io", 5 + u32::from(minute >= 40));
    let minutes = minutes_in_which("RolegateBypassed", another).unwrap();
    // A series that is new to Prometheus is reported, too.
    assert_fires(&minutes[..10], 0..10);
    // A range of 10 minutes does not contain the sample at its beginning.
    assert_fires(&minutes[10..], 40..49);
}

#[test]
fn pods_that_another_webhook_missed_are_not_reported() {
    let others = |minute: u32| fail_open("pods.example.com", minute);
    let Some(minutes) = minutes_in_which("RolegateBypassed", others) else {
        return;
    };
    assert!(minutes.is_empty(), "{minutes:?}");
}

#[test]
fn replicas_that_report_nothing_are_down() {
    let info = |minute: u32| {
        let line = "rolegate_build_info{version=\"0.1.0\"} 1\n";
        if minute < 20 { line.to_owned() } else { String::new() }
    };
    let Some(minutes) = minutes_in_which("RolegateDown", info) else {
        return;
    };
    // Prometheus itself uses a sample for five minutes, unless a scrape without it marks it as stale.
    assert_fires(&minutes, 24..MINUTES + 1);
}
