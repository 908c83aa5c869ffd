//! Paths into objects, in the notation of the table.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json;

/// A path.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Path {
    pub(super) start: Start,
    pub(super) steps: Vec<Step>,
}

/// Where a path starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Object,
    Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    Items,
    Values,
}

impl TryFrom<String> for Path {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (start, mut rest) = match text.strip_prefix('.') {
            Some(rest) => (Start::Place, rest),
            None => (Start::Object, text.as_str()),
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[]") {
                steps.push(Step::Items);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let (key, after) = after.split_once('}').ok_or_else(|| format!("{text}: no }}"))?;
                steps.push(match key {
                    "" => Step::Values,
                    key => Step::Field(key.to_owned()),
                });
                rest = after;
            } else {
                let end = rest.find(['.', '[', '{']).unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.is_empty() {
                    return Err(format!("{text}: an empty field"));
                }
                steps.push(Step::Field(field.to_owned()));
                rest = after;
            }
            rest = match rest.strip_prefix('.') {
                Some("") => return Err(format!("{text}: ends in a dot")),
                Some(after) => after,
                None => rest,
            };
        }
        Ok(Self { start, steps })
    }
}

/// A value of an object, with its path: `spec.templates[3]`.
#[derive(Clone, Debug)]
pub(super) struct Found<'a> {
    pub(super) path: String,
    pub(super) value: &'a RawValue,
}

impl Path {
    /// What the path matches below a value, at most `limit` values.
    pub(super) fn find<'a>(&self, value: &'a RawValue, limit: usize) -> Vec<Found<'a>> {
        let path = String::new();
        let mut found = vec![Found { path, value }];
        for step in &self.steps {
            let mut next = Vec::new();
            for Found { path, value } in found {
                let room = limit.saturating_sub(next.len());
                next.extend(step.children(&path, value).into_iter().take(room));
            }
            found = next;
        }
        found
    }

    /// The first match of a path, and whether it starts at the object or at the place.
    pub(super) fn first<'a>(&self, value: &'a RawValue) -> Option<&'a RawValue> {
        let mut value = value;
        for step in &self.steps {
            value = match step {
                Step::Field(name) => json::field(value, name)?,
                Step::Items | Step::Values => step.children("", value).into_iter().next()?.value,
            };
        }
        Some(value)
    }
}

impl Step {
    fn children<'a>(&self, path: &str, value: &'a RawValue) -> Vec<Found<'a>> {
        match self {
            Self::Field(name) => {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let field = json::field(value, name);
                field.map(|value| Found { path, value }).into_iter().collect()
            }
            Self::Items => {
                let items = json::items(value).into_iter().enumerate();
                items
                    .filter(|(_, value)| !json::is_null(value))
                    .map(|(index, value)| Found {
                        path: format!("{path}[{index}]"),
                        value,
                    })
                    .collect()
            }
            Self::Values => json::values(value)
                .into_iter()
                .filter(|(_, value)| !json::is_null(value))
                .map(|(key, value)| Found {
                    path: format!("{path}.{key}"),
                    value,
                })
                .collect(),
        }
    }
}
