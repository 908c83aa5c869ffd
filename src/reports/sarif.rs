//! SARIF 2.1.0, the format of code scanning: a rule per cause, verdict or lint that occurs, a result per finding.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Findings, Item, Level, Location, set};
use crate::decision::causes::sections;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

const LINTS: &str = include_str!("../../docs/reference/check.md");

/// What a path in a URI must not contain.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The log: one run, without the objects that are trusted.
pub fn log(findings: &Findings) -> Value {
    let mut rules = Rules::default();
    let mut results = Vec::new();
    for item in &findings.items {
        let level = match item.level {
            Level::Fail => "error",
            Level::Unclear => "warning",
            Level::Pass => continue,
        };
        let message = format!("{}\n{}", item.summary, item.details(findings));
        results.push(result(
            item,
            rules.index(item.rule(), level),
            level,
            item.rule(),
            &message,
        ));
    }
    for item in &findings.items {
        for lint in &item.lints {
            let message = format!("{} {}: {}", item.kind, item.path(), lint.message);
            results.push(result(
                item,
                rules.index(lint.code, "note"),
                "note",
                lint.code,
                &message,
            ));
        }
    }
    let mut run = json!({
        "tool": {"driver": {
            "name": "rolegate",
            "version": findings.version,
            "semanticVersion": findings.version,
            "rules": rules.json(findings),
        }},
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": "rolegate/audit/"},
        "results": results,
    });
    if let Some(failure) = &findings.failure {
        // GitHub's code scanning rejects such a log, and so does not close the alerts of earlier ones.
        let notification = json!({"level": "error", "message": {"text": failure}});
        let invocation = json!({"executionSuccessful": false, "toolExecutionNotifications": [notification]});
        set(&mut run, "invocations", json!([invocation]));
    }
    json!({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})
}

fn result(item: &Item, rule_index: usize, level: &str, rule: &str, message: &str) -> Value {
    let mut location = json!({
        "logicalLocations": [{
            "kind": "resource",
            "name": item.name,
            "fullyQualifiedName": format!("{}/{}", item.kind, item.path()),
        }],
    });
    if let Some(Location { file, line }) = &item.location {
        set(
            &mut location,
            "physicalLocation",
            json!({
                "artifactLocation": artifact(file),
                "region": {"startLine": line.unwrap_or(1).max(1)},
            }),
        );
    }
    json!({
        "ruleId": rule,
        "ruleIndex": rule_index,
        "level": level,
        "message": {"text": message},
        "locations": [location],
        "partialFingerprints": {"rolegateObject/v1": fingerprint(item, rule)},
        "properties": {
            "namespace": item.namespace,
            "name": item.name,
            "kind": item.kind,
            "roleArn": item.role,
            "verdict": item.verdict,
        },
    })
}

/// A relative path is below the root of the repository; an absolute one is a URI of its own.
fn artifact(file: &str) -> Value {
    let path = file.strip_prefix("./").unwrap_or(file);
    let encoded = utf8_percent_encode(path, NOT_IN_PATHS).to_string();
    if path.starts_with('/') {
        json!({"uri": format!("file://{encoded}")})
    } else {
        // The first segment of a relative reference must not look like a scheme.
        let encoded = encoded.replace(':', "%3A");
        json!({"uri": encoded, "uriBaseId": "%SRCROOT%"})
    }
}

/// What identifies a finding in the next run: the object, the role and the rule, wherever the object is written. FNV-1a with 64 bits,
/// because the hashes of the standard library may change with its version.
fn fingerprint(item: &Item, rule: &str) -> String {
    let parts = [&item.kind, &item.namespace, &item.name, &item.role, rule];
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// The rules that occur, in the order in which they occur.
#[derive(Default)]
struct Rules {
    places: BTreeMap<&'static str, usize>,
    rules: Vec<(&'static str, &'static str)>,
}

impl Rules {
    fn index(&mut self, id: &'static str, level: &'static str) -> usize {
        *self.places.entry(id).or_insert_with(|| {
            self.rules.push((id, level));
            self.rules.len().saturating_sub(1)
        })
    }

    fn json(&self, findings: &Findings) -> Vec<Value> {
        let rule = |(id, level): &(&'static str, &'static str)| {
            // Code scanning requires descriptions and help.
            let (summary, markdown) = match sections().find(|section| section.cause == *id) {
                Some(section) => (plain(section.summary), section.text.to_owned()),
                None => {
                    let summary = plain(lint(id).unwrap_or(id));
                    (summary.clone(), summary)
                }
            };
            let is_lint = *level == "note";
            let more = if is_lint {
                String::new()
            } else {
                format!("\nMore: {}", findings.docs(id))
            };
            let mut rule = json!({
                "id": id,
                "shortDescription": {"text": summary},
                "fullDescription": {"text": summary},
                "help": {"text": format!("{summary}{more}"), "markdown": markdown},
                "defaultConfiguration": {"level": level},
            });
            if findings.docs_url.is_some() && !is_lint {
                set(&mut rule, "helpUri", json!(findings.docs(id)));
            }
            rule
        };
        self.rules.iter().map(rule).collect()
    }
}

/// What a lint means, from the table of lints in the documentation.
fn lint(code: &str) -> Option<&'static str> {
    let rows = LINTS.split("\n## Lints\n").nth(1)?.lines();
    let row = rows.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    row.filter(|(name, _)| *name == code)
        .find_map(|(_, meaning)| meaning.strip_suffix(" |"))
}

/// A sentence of the documentation without its code spans.
fn plain(markdown: &str) -> String {
    markdown.replace('`', "")
}
