//! What operators are promised to see: the documented metrics, and the documented audit log.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::program::{Folder, Program, eventually};
use crate::reviews::{creation, job_pod};

const METRICS: &str = include_str!("../../docs/reference/metrics.md");
/// Without a cluster there are no gated namespaces, whose ServiceAccounts this counts; `tests/verdicts.rs` reads it with one.
const IN_A_CLUSTER: &str = "rolegate_service_account_verdicts";

const AUDIT_LOG: &str = include_str!("../../docs/reference/audit-log.md");
const AUDIT_SCHEMA: &str = include_str!("../../docs/reference/audit-log.schema.json");

fn folder() -> Folder {
    let folder = Folder::new();
    let arn = folder.role("worker", &Folder::trusting("jobs", "worker"));
    folder.account("jobs", "worker", &[("eks.amazonaws.com/role-arn", &arn)]);
    folder.account("other", "worker", &[("eks.amazonaws.com/role-arn", &arn)]);
    folder.account("jobs", "plain", &[]);
    folder
}

/// The first column of a page's table, without its quotes.
fn documented(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect()
}

#[tokio::test]
async fn each_documented_metric_is_there_from_the_start_and_no_other() {
    // No namespace is gated without a cluster, so that EKS is not called.
    let with_associations = ["--association-source", "eks", "--cluster-name", "my-cluster"];
    for more in [&[][..], &["--metrics-namespace"]] {
        let folder = folder();
        let flags = [&with_associations[..], more].concat();
        let program = Program::serve(&folder, &flags);
        let (status, text) = program.get("/metrics").await;
        assert_eq!(status, 200);
        let samples: BTreeSet<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next())
            .map(|name| {
                name.trim_end_matches("_bucket")
                    .trim_end_matches("_sum")
                    .trim_end_matches("_count")
            })
            .collect();
        let mut expected = documented(METRICS);
        assert!(expected.remove(IN_A_CLUSTER));
        assert_eq!(samples, expected, "{flags:?}\n{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}

#[tokio::test]
async fn audit_lines_are_as_documented() {
    let folder = folder();
    let audit = folder.path().join("audit.log");
    let mut program = Program::serve(&folder, &["--audit-log", audit.to_str().unwrap()]);
    let reviews = [
        ("/mutate/enforce", "jobs", "worker"),
        ("/mutate/enforce", "other", "worker"),
        ("/mutate/audit", "other", "worker"),
        ("/validate/pods/warn", "other", "worker"),
        ("/mutate/enforce", "jobs", "plain"),
    ];
    for (route, namespace, account) in reviews {
        program.review(route, &creation(&job_pod(namespace, account))).await;
    }
    let turned_away = [
        ("POST", "/mutate/enforce", "application/json", "{}"),
        ("POST", "/mutate/warn", "text/plain", "{}"),
        ("GET", "/mutate", "application/json", ""),
        ("POST", "/elsewhere", "application/json", ""),
    ];
    for (method, route, content_type, body) in turned_away {
        let headers = [("content-type", content_type)];
        let (status, ..) = program.send(method, route, &headers, body.into()).await;
        assert!((400..500).contains(&status), "{method} {route}: {status}");
    }
    program.signal("TERM");
    program.wait();

    let schema: Value = serde_json::from_str(AUDIT_SCHEMA).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let names: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    assert_eq!(names, documented(AUDIT_LOG));
    let required: BTreeSet<&str> = schema["required"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(names, required);

    let text = std::fs::read_to_string(&audit).unwrap();
    assert_eq!(text.lines().count(), reviews.len() + turned_away.len(), "{text}");
    let errors: Vec<Value> = text
        .lines()
        .skip(reviews.len())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let modes: Vec<Option<&str>> = errors.iter().map(|line| line["mode"].as_str()).collect();
    assert_eq!(modes, [Some("enforce"), Some("warn"), Some("enforce"), None]);
    for line in &errors {
        assert_eq!(
            (line["action"].as_str(), line["uid"].as_str()),
            (Some("error"), None),
            "{line}"
        );
    }
    for line in text.lines() {
        let line: Map<String, Value> = serde_json::from_str(line).unwrap();
        let found: BTreeSet<&str> = line.keys().map(String::as_str).collect();
        assert_eq!(found, names);
        for (name, value) in &line {
            assert!(allows(&properties[name], value), "{name} is {value}");
        }
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }
}

/// Whether a property's schema allows a value; knows the keywords that our schema uses.
fn allows(schema: &Value, value: &Value) -> bool {
    if let Some(words) = schema.get("enum") {
        return words.as_array().unwrap().contains(value);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|allowed| allowed == kind),
        allowed => allowed == kind,
    }
}

#[tokio::test]
async fn a_moved_audit_log_is_created_again() {
    let folder = folder();
    let audit = folder.path().join("audit.log");
    let program = Program::serve(&folder, &["--audit-log", audit.to_str().unwrap()]);
    let review = creation(&job_pod("jobs", "worker"));
    program.review("/mutate/enforce", &review).await;
    let lines = async |path: std::path::PathBuf| {
        eventually("a line of the audit log", async || {
            std::fs::read_to_string(&path).ok().filter(|text| !text.is_empty())
        })
        .await
        .lines()
        .count()
    };
    assert_eq!(lines(audit.clone()).await, 1);
    let moved = folder.path().join("audit.log.1");
    std::fs::rename(&audit, &moved).unwrap();
    program.review("/mutate/enforce", &review).await;
    assert_eq!(lines(audit).await, 1);
    assert_eq!(lines(moved).await, 1);
}

#[tokio::test]
async fn an_hourly_audit_log_is_named_after_its_hour() {
    let folder = folder();
    let audit = folder.path().join("audit.log");
    let flags = ["--audit-log", audit.to_str().unwrap(), "--audit-log-rotate", "hourly"];
    let mut program = Program::serve(&folder, &flags);
    program
        .review("/mutate/enforce", &creation(&job_pod("jobs", "worker")))
        .await;
    program.signal("TERM");
    program.wait();
    let names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("audit.log."))
        .collect();
    // Two when the hour turned meanwhile.
    assert!(!names.is_empty());
    for name in names {
        let hour = name.strip_prefix("audit.log.").unwrap();
        assert!(format!("{hour}:00:00Z").parse::<jiff::Timestamp>().is_ok(), "{name}");
    }
}
