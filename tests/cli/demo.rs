//! `rolegate demo`.

use insta::assert_snapshot;
use serde_json::Value;

use super::rolegate;

#[test]
fn what_people_read() {
    let ran = rolegate(&["demo"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err, "");
    assert_snapshot!(without_variable_parts(&ran.out));
}

/// Ports and times differ from run to run.
fn without_variable_parts(text: &str) -> String {
    let lines = text.lines().map(
        |line| match (line.split_once("https://127.0.0.1:"), line.rsplit_once(" in ")) {
            (Some((before, after)), _) => {
                format!(
                    "{before}https://127.0.0.1:PORT{}",
                    after.trim_start_matches(|c: char| c.is_ascii_digit())
                )
            }
            (_, Some((before, after))) if after.ends_with(" ms") => format!("{before} in TIME"),
            _ => line.to_owned(),
        },
    );
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn programs_get_each_answer_and_its_patch() {
    let ran = rolegate(&["demo", "--output", "json"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let pods = report["pods"].as_array().unwrap();
    let summary: Vec<(String, bool, bool)> = pods
        .iter()
        .map(|pod| {
            let account = format!(
                "{}/{}",
                pod["namespace"].as_str().unwrap(),
                pod["serviceAccount"].as_str().unwrap()
            );
            (
                account,
                pod["allowed"].as_bool().unwrap(),
                pod["patch"].as_array().unwrap().is_empty(),
            )
        })
        .collect();
    let summary: Vec<(&str, bool, bool)> = summary
        .iter()
        .map(|(account, allowed, empty)| (account.as_str(), *allowed, *empty))
        .collect();
    assert_eq!(
        summary,
        [
            ("my-jobs/default", true, false),
            ("ack-system/ack-s3-controller", true, false),
            ("reports/report", false, true),
            ("staging/api", false, true),
            ("data/etl", false, true),
            ("ml/trainer", false, true),
            ("finance/exporter", true, false),
            ("web/default", true, true),
        ]
    );
}
