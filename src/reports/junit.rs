//! JUnit XML, which every CI system reads: a test suite per namespace, a test case per object.
//!
//! The format is that of Jenkins (`junit-10.xsd`). `failure` is a finding, `error` is a verdict that could not be determined.

use std::fmt::Write as _;

use super::{Findings, Item, Level};
use crate::support::text::markup::escape;

/// The report.
pub fn render(findings: &Findings) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let all: Vec<&Item> = findings.items.iter().collect();
    if let Some(failure) = &findings.failure {
        nothing_checked(&mut xml, failure);
        return xml;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(xml, "<testsuites name=\"rolegate audit\" {}>", counts(&all));
    for (namespace, items) in findings.by_namespace() {
        let name = if namespace.is_empty() { "cluster" } else { namespace };
        let _ = writeln!(xml, "  <testsuite name=\"{}\" {}>", escape(name), counts(&items));
        for item in items {
            test_case(&mut xml, findings, item, name);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// A test case that fails: CI systems take a report without test cases for a success.
fn nothing_checked(xml: &mut String, failure: &str) {
    let counts = "tests=\"1\" failures=\"0\" errors=\"1\"";
    let failure = escape(failure);
    let _ = writeln!(
        xml,
        "<testsuites name=\"rolegate audit\" {counts}>\n  <testsuite name=\"rolegate audit\" {counts}>\n    \
         <testcase classname=\"rolegate audit\" name=\"audit\">\n      \
         <error type=\"nothing-checked\" message=\"{failure}\">{failure}</error>\n    </testcase>\n  </testsuite>\n</testsuites>"
    );
}

fn counts(items: &[&Item]) -> String {
    let count = |level| items.iter().filter(|item| item.level == level).count();
    format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\"",
        items.len(),
        count(Level::Fail),
        count(Level::Unclear)
    )
}

fn test_case(xml: &mut String, findings: &Findings, item: &Item, class: &str) {
    let name = format!("{} {}", item.kind, item.name);
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\"",
        escape(class),
        escape(&name)
    );
    let element = match item.level {
        Level::Pass => None,
        Level::Unclear => Some("error"),
        Level::Fail => Some("failure"),
    };
    if element.is_none() && item.lints.is_empty() {
        xml.push_str("/>\n");
        return;
    }
    xml.push_str(">\n");
    if let Some(element) = element {
        let location = match &item.location {
            Some(location) => match location.line {
                Some(line) => format!("  {:7}  {}:{line}\n", "file", location.file),
                None => format!("  {:7}  {}\n", "file", location.file),
            },
            None => String::new(),
        };
        let body = format!("{}\n{location}{}", item.summary, item.details(findings));
        let _ = writeln!(
            xml,
            "      <{element} type=\"{}\" message=\"{}\">{}</{element}>",
            escape(item.rule()),
            escape(&item.summary),
            escape(&body)
        );
    }
    if !item.lints.is_empty() {
        let notes: Vec<String> = item
            .lints
            .iter()
            .map(|lint| format!("note: {} ({})", lint.message, lint.code))
            .collect();
        let _ = writeln!(xml, "      <system-out>{}</system-out>", escape(&notes.join("\n")));
    }
    xml.push_str("    </testcase>\n");
}
