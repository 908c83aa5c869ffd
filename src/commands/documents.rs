//! The documents of a YAML or JSON text, each with its bytes. A document that is not changed is printed as it was read.

mod objects;
mod ordered;

use std::borrow::Cow;
use std::fmt;

use anyhow::{Context as _, Result};
use serde::de::IgnoredAny;
use serde_json::Value;

pub(super) use self::objects::Object;
use self::ordered::Ordered;
use crate::kubernetes::service_accounts::yaml;
use crate::support::text;

/// A document.
pub(super) struct Document<'a> {
    /// Its bytes, from the `---` before it to the line break at its end.
    text: &'a str,
    /// The line in which they begin, from 1.
    line: u64,
    needs_marker: bool,
    original: Ordered,
    /// None for a document that is empty or not an object.
    object: Option<Value>,
    is_changed: bool,
}

/// Which document cannot be read, and why.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// From 1.
    line: u64,
    message: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// All documents of a text.
pub(super) fn read(text: &str) -> Result<Vec<Document<'_>>, Unreadable> {
    read_each(text).collect()
}

/// Each document of a text: one that cannot be read does not hide the others.
pub(super) fn read_each(text: &str) -> impl Iterator<Item = Result<Document<'_>, Unreadable>> {
    let mut next = 1;
    parts(text).into_iter().map(move |part| {
        let line = next;
        next += part.text.matches('\n').count() as u64;
        Document::read(part, line)
    })
}

/// The documents as they are printed: what is not changed as it was read.
pub(super) fn to_text(documents: &[Document<'_>]) -> String {
    let mut text = String::new();
    for document in documents {
        let begins_line = document.needs_marker || document.is_changed;
        if begins_line && !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if document.needs_marker {
            text.push_str("---\n");
        }
        text.push_str(&document.text());
    }
    text
}

/// The bytes of a document.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    /// Whether a `---` has to be printed before it. If a text has a marker or a comment, kubectl reads it as YAML, and of several values of
    /// JSON without a marker between them only the first.
    needs_marker: bool,
    /// Whether a value of JSON is before it, without a marker between them.
    follows_value: bool,
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let is_json = is_json_stream(text);
    let values_of = |(index, text)| Part {
        text,
        needs_marker: index > 0 && !is_json,
        follows_value: index > 0,
    };
    let parts = split(text).into_iter();
    parts
        .flat_map(|part| json_values(part).into_iter().enumerate().map(values_of))
        .collect()
}

/// Whether a text consists of values of JSON and nothing else, as `jq` prints them.
fn is_json_stream(text: &str) -> bool {
    let text = without_mark(text);
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    text.trim_start().starts_with('{') && values.all(|value| value.is_ok())
}

/// The parts of a text, each from its `---` or its directives. YAML permits these three characters at the start of a line only as a marker.
fn split(text: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut at = 0;
    // `%YAML 1.2` belongs to the document whose marker follows it. It is at the start of the text, or after the `...` that ends a document.
    let mut has_directives_only = false;
    let mut has_content = false;
    let mut is_ended = false;
    for bytes in text.split_inclusive('\n') {
        let line = if at == 0 { without_mark(bytes) } else { bytes };
        if is_marker(line) {
            if at > 0 && !has_directives_only {
                starts.push(at);
            }
            (has_directives_only, has_content, is_ended) = (false, false, false);
        } else if is_mark(line, "...") {
            (has_content, is_ended) = (false, true);
        } else if line.starts_with('%') && !has_content {
            if is_ended {
                starts.push(at);
            }
            (has_directives_only, is_ended) = (true, false);
        } else if !is_blank(line) {
            (has_directives_only, has_content, is_ended) = (false, true, false);
        }
        at += bytes.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| text.get(*start..end))
        .collect()
}

/// The values of a part that is a stream of JSON, as `jq` prints it and kubectl reads it; else the part itself. What is before a value
/// belongs to it, and so does the end of its line. After an object, what is not JSON is the last value, which cannot be read: it does not
/// hide the others.
fn json_values(part: &str) -> Vec<&str> {
    let mut values = Vec::new();
    let mut rest = part;
    while let Some((value, after)) = json_value(rest) {
        if is_without_content(after) {
            values.push(rest);
            return values;
        }
        values.push(value);
        rest = after;
    }
    let next = rest.get(content_start(rest)..).unwrap_or_default();
    // The end of a document of YAML.
    let is_ended = is_mark(next.lines().next().unwrap_or_default(), "...");
    if is_ended || !values.iter().any(|value| is_object(value)) {
        return vec![part];
    }
    values.push(rest);
    values
}

fn is_object(value: &str) -> bool {
    value
        .get(content_start(value)..)
        .is_some_and(|content| content.starts_with('{'))
}

/// Why a text does not consist of values of JSON, and in which of its lines, from 1.
fn not_json(text: &str) -> Option<(u64, String)> {
    let start = content_start(text);
    let (before, content) = text.split_at_checked(start)?;
    let mut values = serde_json::Deserializer::from_str(content).into_iter::<IgnoredAny>();
    let error = values.find_map(Result::err)?;
    let lines_before = before
        .matches('\n')
        .count()
        .saturating_add(error.line().saturating_sub(1));
    let message = error.to_string();
    // The line is that of the content.
    let what = message.split(" at line ").next().unwrap_or_default();
    Some((lines_before as u64 + 1, what.to_owned()))
}

/// The JSON object at the beginning of a text, and what is after it. kubectl skips null.
fn json_value(text: &str) -> Option<(&str, &str)> {
    let start = content_start(text);
    let content = text.get(start..)?;
    if !content.starts_with('{') && !content.starts_with("null") {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(content).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let end = start.saturating_add(values.byte_offset());
    let rest_of_line = text.get(end..)?.split_inclusive('\n').next().unwrap_or_default();
    let length = if is_blank(rest_of_line) { rest_of_line.len() } else { 0 };
    text.split_at_checked(end.saturating_add(length))
}

/// Whether a text is one such value, and comments.
fn is_json_value(text: &str) -> bool {
    json_value(text).is_some_and(|(_, after)| is_without_content(after))
}

/// Where the content begins: after a byte order mark, the marker, directives, comments and empty lines.
fn content_start(text: &str) -> usize {
    let mut at = text.len().saturating_sub(without_mark(text).len());
    for line in without_mark(text).split_inclusive('\n') {
        let content = if is_marker(line) {
            line.strip_prefix("---").unwrap_or_default()
        } else {
            line
        };
        let content = content.trim_start();
        if !content.is_empty() && !content.starts_with(['#', '%']) {
            return at.saturating_add(line.len()).saturating_sub(content.len());
        }
        at = at.saturating_add(line.len());
    }
    at
}

fn is_without_content(text: &str) -> bool {
    content_start(text) == text.len()
}

/// Without the byte order mark that Windows programs write.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A comment, or nothing.
fn is_blank(line: &str) -> bool {
    let content = line.trim();
    content.is_empty() || content.starts_with('#')
}

fn is_marker(line: &str) -> bool {
    is_mark(line, "---")
}

fn is_mark(line: &str, mark: &str) -> bool {
    line.strip_prefix(mark)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

impl<'a> Document<'a> {
    fn read(part: Part<'a>, line: u64) -> Result<Self, Unreadable> {
        let Part {
            text,
            needs_marker,
            follows_value,
        } = part;
        if follows_value
            && !is_json_value(text)
            && let Some((inner, what)) = not_json(text)
        {
            return Err(Unreadable {
                line: line.saturating_add(inner.saturating_sub(1)),
                message: format!(
                    "expected another JSON value, or --- before YAML: {what}{}",
                    yaml::next_step(text)
                ),
            });
        }
        let original = Ordered::parse(text).map_err(|(inner, message)| Unreadable {
            line: line.saturating_add(inner.unwrap_or(1).saturating_sub(1)),
            message,
        })?;
        let object = match &original {
            Ordered::Mapping(_) => Some(original.to_json()),
            _ => None,
        };
        Ok(Self {
            text,
            line,
            needs_marker,
            original,
            object,
            is_changed: false,
        })
    }

    /// Its bytes, and the line in which they begin, from 1.
    pub(super) const fn source(&self) -> (&'a str, u64) {
        (self.text, self.line)
    }

    /// The line in which its content begins, from 1.
    pub(super) fn first_line(&self) -> u64 {
        let before = self.text.get(..content_start(self.text)).unwrap_or_default();
        self.line + before.matches('\n').count() as u64
    }

    pub(super) const fn object(&self) -> Option<&Value> {
        self.object.as_ref()
    }

    /// Applies a patch of a pod to the pod template at this pointer.
    pub(super) fn patch(&mut self, pointer: &str, operations: &[u8]) -> Result<()> {
        let operations: json_patch::Patch = serde_json::from_slice(operations)?;
        let object = self.object.as_mut().and_then(|object| object.pointer_mut(pointer));
        let template = object.context("the pod template is gone")?;
        let changes_metadata = || {
            operations.0.iter().any(|operation| {
                operation
                    .path()
                    .first()
                    .is_some_and(|field| field.encoded() == "metadata")
            })
        };
        // Some resources have pod templates without this field.
        if let Value::Object(fields) = template
            && changes_metadata()
        {
            let metadata = fields.entry("metadata").or_insert(Value::Null);
            if metadata.is_null() {
                *metadata = Value::Object(serde_json::Map::new());
            }
        }
        json_patch::patch(template, &operations)?;
        self.is_changed = true;
        Ok(())
    }

    /// As it is printed.
    fn text(&self) -> Cow<'a, str> {
        match &self.object {
            Some(object) if self.is_changed => self.written_again(object).into(),
            _ => self.text.into(),
        }
    }

    fn written_again(&self, object: &Value) -> String {
        let patched = Ordered::of(object, Some(&self.original));
        let written = if is_json_value(self.text) {
            let json = serde_json::to_string_pretty(&patched).ok();
            // Not every character that JSON permits is one of YAML.
            json.map(|json| format!("{}\n", text::json::escape(&json)))
        } else {
            serde_saphyr::to_string(&patched).ok()
        };
        // A value that was read can be written.
        written.map_or_else(
            || self.text.to_owned(),
            |written| format!("{}{written}", header(self.text)),
        )
    }
}

/// The lines before the content: the marker and comments, such as those of Helm, which name the template.
fn header(text: &str) -> String {
    let before = text.get(..content_start(text)).unwrap_or_default();
    let before = without_mark(before);
    let lines = before.rfind('\n').map_or(0, |end| end.saturating_add(1));
    let (lines, start_of_line) = before.split_at_checked(lines).unwrap_or_default();
    let marker = if is_marker(start_of_line) { "---\n" } else { "" };
    format!("{lines}{marker}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole_text() {
        for text in [
            "",
            "a: 1\n",
            "---\na: 1\n---\nb: 2\n",
            "# comment\n---\na: |\n  ---\n--- # next\nb: 2\n---\n",
            "a: 1\r\n---\r\nb: 2\r\n",
            "---",
        ] {
            assert_eq!(split(text).concat(), text);
        }
        assert_eq!(split("a: 1\n---\nb: |\n  ---\n").len(), 2);
        assert_eq!(split("---\na: 1\n---b: 2\n").len(), 1);
    }

    #[test]
    fn a_directive_belongs_to_the_document_after_it() {
        let text = "%YAML 1.2\n# first\n---\na: 1\n...\n%YAML 1.2\n---\nb: 2\n";
        let documents = read(text).unwrap();
        let lines: Vec<u64> = documents.iter().map(Document::first_line).collect();
        assert_eq!(lines, [4, 8]);
        assert_eq!(split(text).concat(), text);
        // A percent sign in the content is not a directive.
        assert_eq!(split("a: |\n%b\n---\nc: 1\n").len(), 2);
    }

    #[test]
    fn each_value_of_a_json_stream_is_a_document() {
        for (text, lines) in [
            ("{\"a\": 1}\n{\"b\": 2}\n", &[1_u64, 2][..]),
            ("{\"a\":\n 1}{\"b\": 2}{}\n---\nc: 3\n", &[1, 2, 2, 3]),
            ("{\"a\": 1}\n", &[1]),
            ("---\n# c\n{\"a\": 1}\n{\"b\": 2} # d\n# e\n{}\n", &[1, 4, 5]),
            ("{\"a\": 1}\nnull\n{}\n", &[1, 2, 3]),
        ] {
            let documents = read(text).unwrap();
            let found: Vec<u64> = documents.iter().map(|document| document.source().1).collect();
            assert_eq!(found, lines, "{text}");
            assert_eq!(documents.iter().map(Document::text).collect::<String>(), text);
        }
        // YAML may begin with a brace.
        assert_eq!(read("{a: 1}\n---\n{b: 2}\n").unwrap().len(), 2);
        assert!(read("{\"a\": 1}\n{\"b\": }\n").is_err());
    }

    #[test]
    fn a_broken_value_of_a_json_stream_hides_no_other_and_is_named_by_its_line() {
        for (text, expected) in [
            (
                "{\"a\": 1}\n{\"b\": 2}\n{\"c\":\n}\n{}\n",
                "line 4: expected another JSON value, or --- before YAML: expected value",
            ),
            ("{\"a\": 1}\n{\"b\": 2}\n}\n", "line 3: "),
            ("---\n{\"a\": 1}\n{\"b\": 2}\n# c\nb: 2\n", "line 5: "),
            ("{\"a\": 1}\n{\"b\": 2}\n// c\n{\"d\": 3}\n", "line 3: "),
            ("{\"a\": 1}\n{\"b\": 2}\n,{\"d\": 3}\n", "line 3: "),
        ] {
            let (read, errors): (Vec<_>, Vec<_>) = read_each(text).partition(Result::is_ok);
            assert_eq!(read.len(), 2, "{text:?}");
            let [Err(error)] = &errors[..] else {
                panic!("{text:?}: {} errors", errors.len());
            };
            assert!(error.to_string().starts_with(expected), "{text:?}: {error}");
        }
        // Values of other types, and YAML.
        for (text, documents) in [
            ("{\"a\": 1}\n[1]\n", 2),
            ("{\"a\": 1}\n...\n", 1),
            ("nullable: 1\na: 2\n", 1),
            ("{\"a\": 1}\n---\nb: 2\n", 2),
        ] {
            assert_eq!(
                read(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).len(),
                documents,
                "{text:?}"
            );
        }
    }

    /// The objects as `kubectl apply --filename` reads them: values of JSON as long as there are any, and YAML from there.
    /// See `YAMLOrJSONDecoder` in `k8s.io/apimachinery/pkg/util/yaml`.
    fn as_kubectl(text: &str) -> Vec<Value> {
        let text = without_mark(text);
        let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut objects = Vec::new();
        let mut end = 0;
        loop {
            match stream.next() {
                None => return objects,
                Some(Ok(value)) => objects.push(value),
                Some(Err(_)) => break,
            }
            end = stream.byte_offset();
        }
        assert!(
            objects.len() < 2,
            "after two values of JSON, kubectl reads no YAML: {text:?}"
        );
        let mut documents = vec![String::new()];
        for line in text.get(end..).unwrap().split_inclusive('\n') {
            if line.starts_with("---") {
                documents.push(String::new());
            }
            documents.last_mut().unwrap().push_str(line);
        }
        // It reads only the first of several values, without an error.
        let documents = documents
            .iter()
            .map(|document| Ordered::parse(document).unwrap().to_json());
        objects.extend(documents.filter(|document| !document.is_null()));
        objects
    }

    /// Every combination of what is before, between and after three values, and of those that change.
    #[test]
    fn what_is_printed_has_the_expected_values_for_kubectl() {
        let mut texts = Vec::new();
        for before in [
            "",
            "\n\n",
            "\u{feff}",
            "\u{feff}\n",
            "---\n",
            "--- ",
            "--- # c\n",
            "# c\n",
            "# c\n---\n# d\n\n",
            "\u{feff}---\n",
            "%YAML 1.2\n---\n",
            "\u{feff}%YAML 1.2\n---\n",
            "a: 1\n---\n",
            "{\"a\": 1}\n---\n",
        ] {
            for between in [
                "",
                " ",
                "\n",
                "\r\n",
                "\n\n",
                "\n# e\n",
                " # e\n",
                "\n---\n",
                "\n--- # e\n",
            ] {
                for after in ["", "\n", "\n\n", "\r\n", "\n# f\n", "\n---\n", "\n---\nz: 1\n"] {
                    texts.push((before, between, after));
                }
            }
        }
        for (before, between, after) in texts {
            let values: Vec<String> = (1..=3).map(|number| format!("{{\"n\": {number}}}")).collect();
            let text = format!("{before}{}{after}", values.join(between));
            let expected: Vec<Value> = read(&text)
                .unwrap_or_else(|error| panic!("{text:?}: {error}"))
                .iter()
                .filter_map(|document| document.object().cloned())
                .collect();
            let numbers: Vec<&Value> = expected.iter().filter_map(|object| object.get("n")).collect();
            assert_eq!(numbers, [1, 2, 3], "{text:?}");
            for changed in 0..8 {
                let mut documents = read(&text).unwrap();
                let mut expected = expected.clone();
                for (document, expected) in documents
                    .iter_mut()
                    .filter(|one| one.object().is_some())
                    .zip(&mut expected)
                {
                    let is_changed = expected["n"].as_u64().is_some_and(|n| changed & (1 << (n - 1)) != 0);
                    if is_changed {
                        let add = br#"[{"op": "add", "path": "/spec", "value": "\u007f"}]"#;
                        document.patch("", add).unwrap();
                        expected["spec"] = "\u{7f}".into();
                    }
                }
                let printed = to_text(&documents);
                // kubectl reads neither directives nor content next to a marker.
                if !before.contains('%') && before != "--- " {
                    assert_eq!(as_kubectl(&printed), expected, "{text:?}: {printed:?}");
                }
                let again = read(&printed).unwrap();
                let again: Vec<Value> = again.iter().filter_map(|document| document.object().cloned()).collect();
                assert_eq!(again, expected, "{text:?}: {printed:?}");
                // For a person: no value begins in the line of a value that was written again, or after it.
                assert!(
                    !printed.contains("}{\n") && !printed.contains("}\n}{"),
                    "{text:?}: {printed}"
                );
                if changed == 0 && (is_json_stream(&text) || between.contains("---")) {
                    assert_eq!(printed, text);
                }
                if is_json_stream(&text) {
                    assert!(is_json_stream(&printed), "{text:?}: {printed:?}");
                }
            }
        }
    }

    #[test]
    fn comments_before_the_content_are_kept() {
        for (text, kept) in [
            ("---\n# Source: a.yaml\n\nkind: Pod # x\n", "---\n# Source: a.yaml\n\n"),
            ("--- # first\nkind: Pod\n", "--- # first\n"),
            ("--- {kind: Pod}\n", "---\n"),
            ("kind: Pod\n# end\n", ""),
        ] {
            assert_eq!(header(text), kept, "{text}");
        }
    }

    #[test]
    fn an_error_names_the_line_in_the_whole_text() {
        let error = read("a: 1\n---\nb: [\n").err().unwrap();
        assert!(error.line >= 3, "{error}");
    }
}
