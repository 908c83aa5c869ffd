//! Workflow commands of GitHub Actions: an annotation per finding, at its file and line, and a line with the totals.
//!
//! GitHub shows at most ten annotations of each level per step, so the worst ones are first. The log of the step contains all of them.

use std::fmt::Write as _;

use super::{Findings, Item, Level, Location};
use crate::support::text::workflow::{message, property};

/// The lines.
pub fn render(findings: &Findings) -> String {
    let mut lines = String::new();
    if let Some(failure) = &findings.failure {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "::error title=rolegate::{}", message(failure));
    }
    for item in &findings.items {
        let level = match item.level {
            Level::Fail => "error",
            Level::Unclear => "warning",
            Level::Pass => continue,
        };
        let body = format!("{}\n{}", item.summary, item.details(findings));
        command(&mut lines, level, item, item.rule(), &body);
    }
    for item in &findings.items {
        for lint in &item.lints {
            let body = format!("{} {}: {}", item.kind, item.path(), lint.message);
            command(&mut lines, "notice", item, lint.code, &body);
        }
    }
    // Writing to a String cannot fail.
    let _ = writeln!(lines, "rolegate audit: {}", findings.sentence());
    lines
}

fn command(lines: &mut String, level: &str, item: &Item, title: &str, body: &str) {
    let place = match &item.location {
        None => String::new(),
        Some(Location { file, line: None }) => format!("file={},", property(file)),
        Some(Location { file, line: Some(line) }) => format!("file={},line={line},", property(file)),
    };
    let _ = writeln!(
        lines,
        "::{level} {place}title={}::{}",
        property(&format!("rolegate: {title}")),
        message(body)
    );
}
