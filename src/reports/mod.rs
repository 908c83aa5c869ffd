//! The findings of a command as reports for other programs: one neutral value, and one pure renderer per format.
//!
//! Nothing here reads, evaluates or prints: commands build [`Findings`], and print what a renderer returns. All text in a finding has
//! already been escaped by `support/text`; a renderer adds only the escapes of its format.

pub mod github;
pub mod html;
pub mod junit;
pub mod openreports;
pub mod sarif;

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use crate::support::text;

/// What a command found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The version of the program.
    pub version: &'static str,
    /// When it was found.
    pub time: Timestamp,
    /// The page that explains causes, without a fragment. Without it, reports name `rolegate explain`.
    pub docs_url: Option<String>,
    /// Worst first.
    pub items: Vec<Item>,
    /// Why nothing was checked, if that is an error: one line, already escaped. Without it, a report without items is one without
    /// findings.
    pub failure: Option<String>,
}

/// One object that was evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    level: Level,
    /// The kind of the object: `ServiceAccount`, or that of a workload.
    kind: String,
    /// Empty for an object without a namespace.
    namespace: String,
    name: String,
    /// The ARN, or the text of the annotation. Empty if there is none.
    role: String,
    verdict: &'static str,
    cause: Option<&'static str>,
    /// Line 1 of the message.
    summary: String,
    /// The rows of the message, without the fix and the documentation.
    rows: Vec<(&'static str, String)>,
    fix: Option<String>,
    lints: Vec<Remark>,
    location: Option<Location>,
}

/// How bad a finding is, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Trusted.
    Pass,
    /// A verdict could not be determined.
    Unclear,
    /// Not trusted, or not valid.
    Fail,
}

/// A remark about a trust policy, independent of the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The code of the lint.
    pub code: &'static str,
    /// One line.
    pub message: String,
}

/// Where the object is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// As the command was given it, with `/` between folders.
    pub file: String,
    /// From 1.
    pub line: Option<u64>,
}

/// An object, as the command names it.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// `ServiceAccount`, or the kind of a workload.
    pub kind: &'a str,
    /// Empty for an object without a namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The ARN of its role, or the text that is not one. Empty if there is none.
    pub role: &'a str,
}

impl Item {
    /// A finding about an object, with the first line and the rows of its message.
    pub fn new<'a>(
        object: Object<'_>,
        (level, verdict, cause): (Level, &'static str, Option<&'static str>),
        first: &str,
        rows: impl Iterator<Item = (&'static str, &'a str)>,
    ) -> Self {
        let mut fix = None;
        let mut kept = Vec::new();
        for (label, value) in rows {
            match label {
                "fix" => fix = Some(text::escape(value).into_owned()),
                // Reports link to the documentation in their own way.
                "docs" => {}
                _ => kept.push((label, text::escape(value).into_owned())),
            }
        }
        Self {
            level,
            kind: text::value(object.kind),
            namespace: text::value(object.namespace),
            name: text::value(object.name),
            role: text::value(object.role),
            verdict,
            cause,
            summary: text::escape(first).into_owned(),
            rows: kept,
            fix,
            lints: Vec::new(),
            location: None,
        }
    }

    /// With remarks about the trust policy.
    pub fn with_lints(mut self, lints: impl Iterator<Item = Remark>) -> Self {
        self.lints.extend(lints.map(|Remark { code, message }| Remark {
            code,
            message: text::escape(&message).into_owned(),
        }));
        self
    }

    /// With the place where the object is written.
    pub fn at(mut self, location: Option<Location>) -> Self {
        self.location = location.map(|Location { file, line }| Location {
            file: text::escape(&file).into_owned(),
            line,
        });
        self
    }

    /// The word that `rolegate explain` explains: the cause, or the verdict if there is no cause.
    fn rule(&self) -> &'static str {
        self.cause.unwrap_or(self.verdict)
    }

    /// `NAMESPACE/NAME`, or `NAME`.
    fn path(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }

    /// The message below its first line: every row, the fix, and where to read more.
    fn details(&self, findings: &Findings) -> String {
        let mut lines = String::new();
        let fix = self.fix.as_deref().map(|fix| ("fix", fix));
        let rows = self.rows.iter().map(|(label, value)| (*label, value.as_str()));
        // Writing to a String cannot fail.
        for (label, value) in rows.chain(fix) {
            let _ = writeln!(lines, "  {label:7}  {value}");
        }
        let _ = write!(lines, "  {:7}  {}", "docs", findings.docs(self.rule()));
        lines
    }
}

/// Sets a field of a JSON object.
fn set(object: &mut Value, field: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(field.to_owned(), value);
    }
}

impl Findings {
    /// Where a cause or a verdict is explained.
    fn docs(&self, word: &str) -> String {
        match &self.docs_url {
            Some(url) => format!("{url}#{word}"),
            None => format!("rolegate explain {word}"),
        }
    }

    fn count(&self, level: Level) -> usize {
        self.items.iter().filter(|item| item.level == level).count()
    }

    /// The totals in one sentence.
    fn sentence(&self) -> String {
        let lints = self
            .items
            .iter()
            .filter(|item| item.level == Level::Pass && !item.lints.is_empty())
            .count();
        let with_notes = match lints {
            0 => String::new(),
            some => format!(" ({some} with notes)"),
        };
        format!(
            "{} checked: {} not trusted, {} undetermined, {} trusted{with_notes}",
            self.items.len(),
            self.count(Level::Fail),
            self.count(Level::Unclear),
            self.count(Level::Pass),
        )
    }

    /// The items of each namespace, in the order in which the namespaces occur.
    fn by_namespace(&self) -> Vec<(&str, Vec<&Item>)> {
        let mut places = std::collections::HashMap::new();
        let mut groups: Vec<(&str, Vec<&Item>)> = Vec::new();
        for item in &self.items {
            let place = *places.entry(item.namespace.as_str()).or_insert_with(|| {
                groups.push((item.namespace.as_str(), Vec::new()));
                groups.len().saturating_sub(1)
            });
            if let Some((_, items)) = groups.get_mut(place) {
                items.push(item);
            }
        }
        groups
    }
}
