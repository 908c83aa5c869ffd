//! Reports of OpenReports (`openreports.io/v1alpha1`), which policy reporters read from the cluster.

use serde_json::{Value, json};

use super::{Findings, Item, Level, Remark, set};

/// The most results of one report. A result has at most a few KB, and the API server rejects objects of more than 1.5 MB.
const MAX_RESULTS: usize = 150;

/// The reports: for each namespace at least one `Report`; one `ClusterReport` for objects without a namespace.
pub fn reports(findings: &Findings) -> Vec<Value> {
    let mut reports = Vec::new();
    for (namespace, items) in findings.by_namespace() {
        let results: Vec<(&'static str, Value)> = items.iter().flat_map(|item| results(findings, item)).collect();
        for (index, chunk) in results.chunks(MAX_RESULTS).enumerate() {
            reports.push(report(namespace, index, chunk));
        }
    }
    reports
}

fn report(namespace: &str, index: usize, results: &[(&'static str, Value)]) -> Value {
    let count = |outcome: &str| results.iter().filter(|(found, _)| *found == outcome).count();
    let name = match index {
        0 => "rolegate-audit".to_owned(),
        more => format!("rolegate-audit-{}", more.saturating_add(1)),
    };
    let mut metadata = json!({"name": name, "labels": {"app.kubernetes.io/managed-by": "rolegate"}});
    let kind = if namespace.is_empty() {
        "ClusterReport"
    } else {
        set(&mut metadata, "namespace", json!(namespace));
        "Report"
    };
    json!({
        "apiVersion": "openreports.io/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "source": "rolegate",
        "summary": {
            "pass": count("pass"),
            "fail": count("fail"),
            "warn": count("warn"),
            "error": count("error"),
            "skip": 0,
        },
        "results": results.iter().map(|(_, result)| result).collect::<Vec<_>>(),
    })
}

/// The verdict on an object, and one result per lint.
fn results(findings: &Findings, item: &Item) -> Vec<(&'static str, Value)> {
    let (outcome, severity) = match (item.level, item.verdict) {
        (Level::Pass, _) => ("pass", "info"),
        // It was evaluated; STS decides.
        (Level::Unclear, "undecided") => ("warn", "medium"),
        (Level::Unclear, _) => ("error", "medium"),
        (Level::Fail, _) => ("fail", "high"),
    };
    let message = match item.level {
        Level::Pass => item.summary.clone(),
        _ => format!("{}\n{}", item.summary, item.details(findings)),
    };
    let mut all = vec![result(findings, item, (outcome, severity), item.rule(), &message)];
    for Remark { code, message } in &item.lints {
        all.push(result(findings, item, ("warn", "low"), code, message));
    }
    all
}

fn result(
    findings: &Findings,
    item: &Item,
    (outcome, severity): (&'static str, &str),
    rule: &str,
    message: &str,
) -> (&'static str, Value) {
    let mut subject = json!({"kind": item.kind, "name": item.name});
    if item.kind == "ServiceAccount" {
        set(&mut subject, "apiVersion", json!("v1"));
    }
    if !item.namespace.is_empty() {
        set(&mut subject, "namespace", json!(item.namespace));
    }
    let mut properties = json!({"verdict": item.verdict, "roleArn": item.role});
    if let Some(fix) = &item.fix {
        set(&mut properties, "fix", json!(fix));
    }
    let value = json!({
        "policy": "iam-role-trust",
        "rule": rule,
        "category": "IAM",
        "result": outcome,
        "severity": severity,
        "scored": true,
        "timestamp": {"seconds": findings.time.as_second(), "nanos": 0},
        "resources": [subject],
        "message": message,
        "properties": properties,
    });
    (outcome, value)
}
