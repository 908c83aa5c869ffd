//! `rolegate audit --output` in the formats of other programs. The formats themselves: `tests/reports/`.

use std::fs::File;

use serde_json::Value;

use super::{ISSUER, Ran, command, finish, rolegate, rolegate_with_input};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/standalone");

/// The formats that `--help` lists.
pub(super) fn formats() -> Vec<String> {
    let help = rolegate(&["audit", "--help"]).out;
    let (_, values) = help.split_once("Output format").unwrap();
    let names = values.lines().skip_while(|line| !line.contains("Possible values"));
    names
        .skip(1)
        .map_while(|line| Some(line.trim().strip_prefix("- ")?.split(':').next()?.to_owned()))
        .collect()
}

fn audit(format: &str, more: &[&str]) -> Ran {
    let arguments = ["audit", "--standalone", EXAMPLE, "--issuer", ISSUER, "--output", format];
    rolegate(&[&arguments, more].concat())
}

/// Asserts that a report is complete and says that nothing was audited. People read the error, and have no report.
pub(super) fn assert_is_empty(format: &str, report: &str) {
    let json = || -> Value { serde_json::from_str(report).unwrap_or_else(|error| panic!("{error}: {report}")) };
    let yaml = || -> Value { serde_saphyr::from_str(report).unwrap_or_else(|error| panic!("{error}: {report}")) };
    let is_empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    let is_as_expected = match format {
        "text" => report.is_empty(),
        "json" => is_empty(&json()["serviceAccounts"]) && json()["error"].is_string(),
        "yaml" => is_empty(&yaml()["serviceAccounts"]) && yaml()["error"].is_string(),
        "sarif" => {
            let run = &json()["runs"][0];
            is_empty(&run["results"]) && run["invocations"][0]["executionSuccessful"] == false
        }
        "openreports" => yaml()["kind"] == "List" && is_empty(&yaml()["items"]),
        "junit" => report.starts_with("<?xml ") && report.contains("<error ") && report.ends_with("</testsuites>\n"),
        "html" => report.contains("Nothing was checked: ") && report.trim_end().ends_with("</html>"),
        "github" => report.starts_with("::error ") && report.contains("\nrolegate audit: 0 checked: "),
        other => panic!("{other} is not tested"),
    };
    assert!(is_as_expected, "{format}: {report}");
}

#[test]
fn an_audit_of_nothing_has_a_report_in_every_format_for_programs() {
    for format in formats() {
        for text in ["a: 1\n", "a: [\n"] {
            let arguments = ["audit", "--file", "-", "--issuer", ISSUER, "--output", &format];
            let ran = rolegate_with_input(&arguments, text);
            assert_eq!(ran.code, 2, "{format}");
            assert!(ran.err.starts_with("error: "), "{}", ran.err);
            assert_is_empty(&format, &ran.out);
        }
    }
}

/// What is wrong with the manifests has to be corrected first.
#[cfg(target_os = "linux")]
#[test]
fn an_error_is_printed_although_its_report_cannot_be() {
    for format in ["text", "json", "junit"] {
        let mut audit = command(&["audit", "--file", "-", "--issuer", ISSUER, "--output", format]);
        audit.stdout(File::create("/dev/full").unwrap());
        let ran = finish(audit, "a: 1\n");
        assert_eq!(ran.code, 2, "{format}");
        assert!(
            ran.err.starts_with("error: nothing to audit: "),
            "{format}: {}",
            ran.err
        );
    }
}

#[test]
fn every_format_has_the_findings_and_the_exit_code_of_the_audit() {
    let formats = formats();
    assert_eq!(
        formats,
        [
            "text",
            "json",
            "yaml",
            "junit",
            "sarif",
            "github",
            "openreports",
            "html"
        ]
    );
    for format in formats {
        let ran = audit(&format, &[]);
        assert_eq!((ran.code, &*ran.err), (1, ""), "{format}");
        for text in ["staging", "wrong-subject", "rolegate trust-policy --role-arn"] {
            assert!(ran.out.contains(text), "{format} has no {text}: {}", ran.out);
        }
    }
}

#[test]
fn programs_can_parse_what_is_printed() {
    let sarif: Value = serde_json::from_str(&audit("sarif", &[]).out).unwrap();
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["version"], env!("CARGO_PKG_VERSION"));
    let text = audit("openreports", &[]).out;
    let reports: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let fail: u64 = reports
        .iter()
        .map(|report| report["summary"]["fail"].as_u64().unwrap())
        .sum();
    assert_eq!(fail, 4, "{text}");
}

/// Annotations and alerts appear at the line of the role annotation.
#[test]
fn findings_of_manifests_have_a_file_and_a_line() {
    let sarif: Value = serde_json::from_str(&audit("sarif", &[]).out).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 6, "{results:#?}");
    let text = std::fs::read_to_string(format!("{EXAMPLE}/serviceaccounts.yaml")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for result in results {
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.ends_with("examples/standalone/serviceaccounts.yaml"), "{uri}");
        let line = usize::try_from(place["region"]["startLine"].as_u64().unwrap()).unwrap();
        let role = result["properties"]["roleArn"].as_str().unwrap();
        let written = lines[line - 1];
        assert!(
            written.contains("role-arn") && written.contains(role),
            "{line}: {written}"
        );
    }
}

#[test]
fn reports_link_to_the_page_with_the_explanations() {
    for format in ["junit", "sarif", "github", "openreports", "html"] {
        let out = audit(format, &["--docs-url", "https://example.com/causes"]).out;
        assert!(
            out.contains("https://example.com/causes#wrong-subject"),
            "{format}: {out}"
        );
        assert!(!out.contains("rolegate explain"), "{format}: {out}");
    }
    let ran = audit("html", &["--docs-url", "javascript:alert(1)"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--docs-url"), "{}", ran.err);
}

/// The page of the reference names each format.
#[test]
fn the_reference_describes_every_format() {
    let page = include_str!("../../docs/reference/reports.md");
    for format in formats() {
        assert!(page.contains(&format!("`{format}`")), "{format}");
    }
}
