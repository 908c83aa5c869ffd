//! The documents of a YAML or JSON text, each with its bytes. A document that is not changed is printed as it was read.

mod objects;
mod ordered;

use std::fmt;

use anyhow::{Context as _, Result};
use serde::de::IgnoredAny;
use serde_json::Value;

pub(super) use self::objects::Object;
use self::ordered::Ordered;

/// A document.
pub(super) struct Document<'a> {
    /// Its bytes, from the `---` before it to the line break at its end.
    text: &'a str,
    /// The line in which they begin, from 1.
    line: u64,
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
    split(text).into_iter().flat_map(json_values).map(move |part| {
        let line = next;
        next += part.matches('\n').count() as u64;
        Document::read(part, line)
    })
}

/// The parts of a text, each from its `---` or its directives. YAML permits these three characters at the start of a line only as a marker.
fn split(text: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut at = 0;
    // `%YAML 1.2` belongs to the document whose marker follows it. It is at the start of the text, or after the `...` that ends a document.
    let mut has_directives_only = false;
    let mut has_content = false;
    let mut is_ended = false;
    for line in text.split_inclusive('\n') {
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
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| text.get(*start..end))
        .collect()
}

/// The values of a part that is a stream of JSON, as `jq` prints it and kubectl reads it; else the part itself.
fn json_values(part: &str) -> Vec<&str> {
    if !part.trim_start().starts_with('{') {
        return vec![part];
    }
    let mut values = serde_json::Deserializer::from_str(part).into_iter::<IgnoredAny>();
    let mut ends = Vec::new();
    while let Some(value) = values.next() {
        if value.is_err() {
            return vec![part];
        }
        ends.push(values.byte_offset());
    }
    ends.pop();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let ends = ends.iter().copied().chain([part.len()]);
    starts
        .zip(ends)
        .filter_map(|(start, end)| part.get(start..end))
        .collect()
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
    fn read(text: &'a str, line: u64) -> Result<Self, Unreadable> {
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
        self.line + header(self.text).matches('\n').count() as u64
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
    pub(super) fn text(&self) -> String {
        match &self.object {
            Some(object) if self.is_changed => self.written_again(object),
            _ => self.text.to_owned(),
        }
    }

    fn written_again(&self, object: &Value) -> String {
        let patched = Ordered::of(object, Some(&self.original));
        let is_json = serde_json::from_str::<IgnoredAny>(self.text).is_ok();
        let written = if is_json {
            serde_json::to_string_pretty(&patched)
                .map(|json| format!("{json}\n"))
                .ok()
        } else {
            let yaml = serde_saphyr::to_string(&patched).ok();
            yaml.map(|yaml| format!("{}{yaml}", header(self.text)))
        };
        // A value that was read can be written.
        written.unwrap_or_else(|| self.text.to_owned())
    }
}

/// The lines before the content: the marker and comments, such as those of Helm, which name the template.
fn header(text: &str) -> String {
    let mut header = String::new();
    for line in text.split_inclusive('\n') {
        let content = if is_marker(line) {
            line.strip_prefix("---").unwrap_or_default()
        } else {
            line
        };
        if !content.trim().is_empty() && !content.trim_start().starts_with(['#', '%']) {
            if is_marker(line) {
                header.push_str("---\n");
            }
            break;
        }
        header.push_str(line);
    }
    header
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
            ("{\"a\": 1}\n{\"b\": 2}\n", &[1_u64, 1][..]),
            ("{\"a\":\n 1}{\"b\": 2}{}\n---\nc: 3\n", &[1, 2, 2, 3]),
            ("{\"a\": 1}\n", &[1]),
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
