//! What each format says of the same findings.

use insta::assert_snapshot;
use rolegate::reports::{Level, Remark, github, html, junit, openreports, sarif};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{HOSTILE, findings, hostile, many, nothing, sample};

#[test]
fn junit_has_a_suite_per_namespace_and_a_case_per_object() {
    assert_snapshot!(junit::render(&sample()));
}

#[test]
fn github_gets_an_annotation_per_finding_and_the_totals() {
    assert_snapshot!(github::render(&sample()));
}

#[test]
fn no_text_forges_a_workflow_command() {
    let lines = github::render(&hostile());
    // An annotation per finding and one per lint, then the totals.
    assert_eq!(lines.lines().count(), 2 * HOSTILE.len() + 1, "{lines}");
    for line in lines.lines() {
        let is_ours = line.starts_with("::error file=") || line.starts_with("::notice file=");
        assert!(is_ours || line.starts_with("rolegate audit: "), "{line}");
        // What is before the message are our properties, three of them.
        if let Some(properties) = line.strip_prefix("::").and_then(|rest| rest.split("::").next()) {
            assert_eq!(properties.matches(',').count(), 2, "{line}");
        }
    }
}

#[test]
fn sarif_names_rule_place_and_fingerprint_of_each_result() {
    let log = sarif::log(&sample());
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 4, "two findings, one undetermined, one lint: {log:#}");
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
    }
    assert_eq!(results[0]["level"], "error");
    assert_eq!(results[1]["level"], "warning");
    assert_eq!(results[3]["level"], "note");
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "deploy/staging,%20v2/accounts.yaml");
    assert_eq!(place["region"]["startLine"], 7);
    assert_eq!(
        results[1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
        "deploy/worker.yaml"
    );
    let rule = &run["tool"]["driver"]["rules"][0];
    let help = rule["help"]["markdown"].as_str().unwrap();
    assert!(help.contains("### Fix"), "{help}");
}

/// Code scanning shows no rule without descriptions and help.
#[test]
fn every_rule_of_sarif_is_described() {
    let schema: Value = serde_json::from_str(include_str!("../../docs/reference/check.schema.json")).unwrap();
    let codes = schema["$defs"]["lint"]["properties"]["code"]["enum"]
        .as_array()
        .unwrap();
    assert!(codes.len() > 5, "{codes:?}");
    let lints = codes.iter().map(|code| Remark {
        code: code.as_str().unwrap().to_owned().leak(),
        message: "a remark".to_owned(),
    });
    let mut all = sample();
    all.items
        .push(super::item("jobs", "linted", Level::Pass).with_lints(lints));
    let log = sarif::log(&all);
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), codes.len() + 2, "{rules:#?}");
    for rule in rules {
        for text in [
            "/shortDescription/text",
            "/fullDescription/text",
            "/help/text",
            "/help/markdown",
        ] {
            let text = rule.pointer(text).and_then(Value::as_str).unwrap_or_default();
            assert!(!text.is_empty() && text != rule["id"].as_str().unwrap(), "{rule:#}");
        }
    }
}

/// Code scanning matches the alerts of two runs by their fingerprints.
#[test]
fn fingerprints_are_the_same_in_every_run_and_differ_between_findings() {
    let fingerprints = |log: &Value| -> Vec<String> {
        let results = log["runs"][0]["results"].as_array().unwrap().iter();
        results
            .map(|result| {
                result["partialFingerprints"]["rolegateObject/v1"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    let first = fingerprints(&sarif::log(&many(300)));
    let mut moved = many(300);
    moved.items.reverse();
    moved.time = "2027-01-01T00:00:00Z".parse().unwrap();
    let mut second = fingerprints(&sarif::log(&moved));
    second.reverse();
    assert_eq!(first, second);
    let distinct: std::collections::BTreeSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), first.len());
    // Another version of the program must compute the same.
    assert_eq!(fingerprints(&sarif::log(&sample()))[0], "4075972c0dc218f2");
}

#[test]
fn openreports_are_split_before_they_are_too_large_for_an_object() {
    let mut one_namespace = many(0);
    one_namespace.items = (0..400)
        .map(|n| super::item("jobs", &format!("account-{n}"), Level::Fail))
        .collect();
    let reports = openreports::reports(&one_namespace);
    let names: Vec<&str> = reports
        .iter()
        .map(|report| report["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["rolegate-audit", "rolegate-audit-2", "rolegate-audit-3"]);
    let fail: u64 = reports
        .iter()
        .map(|report| report["summary"]["fail"].as_u64().unwrap())
        .sum();
    assert_eq!(fail, 400);
    assert!(openreports::reports(&findings(Vec::new())).is_empty());
}

#[test]
fn a_report_of_an_audit_of_nothing_is_not_one_without_findings() {
    let run = &sarif::log(&nothing())["runs"][0];
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    assert!(
        sarif::log(&findings(Vec::new()))["runs"][0]
            .get("invocations")
            .is_none()
    );
    let junit = junit::render(&nothing());
    assert!(
        junit.contains("errors=\"1\"")
            && junit.contains("<error type=\"nothing-checked\" message=\"nothing to audit: ")
    );
    let github = github::render(&nothing());
    assert!(
        github.starts_with("::error title=rolegate::nothing to audit: ") && github.contains("%250A"),
        "{github}"
    );
    let html = html::render(&nothing());
    assert!(
        html.contains("Nothing was checked: nothing to audit: 1 file, \\u{1b}&lt;a&gt; &amp; "),
        "{html}"
    );
}

/// Without the right hash, the browser applies neither style nor script.
#[test]
fn the_page_permits_its_own_style_and_script_only() {
    let page = html::render(&sample());
    for element in ["style", "script"] {
        let (_, rest) = page.split_once(&format!("<{element}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{element}>")).unwrap();
        let hash = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            Sha256::digest(text.as_bytes()),
        );
        assert!(
            page.contains(&format!("{element}-src 'sha256-{hash}'")),
            "the hash of the {element} is {hash}"
        );
    }
    for outside in ["src=", "@import", "url(", "<link", "http"] {
        let found = page.matches(outside).count();
        // `http-equiv` of the policy.
        assert_eq!(found, usize::from(outside == "http"), "{outside}");
    }
}

#[test]
fn hostile_text_adds_no_element_to_the_page() {
    let page = html::render(&hostile());
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("<img").count(), 0);
    assert_eq!(page.matches("<article").count(), HOSTILE.len());
    assert!(!page.contains(['\u{1b}', '\u{202e}', '\u{0}', '\r']));
}
