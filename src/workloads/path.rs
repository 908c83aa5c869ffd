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

/// A value of an object, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Found<'a> {
    pub(super) at: Location,
    pub(super) value: &'a RawValue,
}

/// Where a value is, for people and for programs.
#[derive(Clone, Debug, Default)]
pub(super) struct Location {
    /// `spec.templates[3]`.
    pub(super) path: String,
    /// `/spec/templates/3` (RFC 6901).
    pub(super) pointer: String,
}

impl Location {
    /// A location that starts here.
    pub(super) fn join(&self, inner: &Self) -> Self {
        let path = match (self.path.as_str(), inner.path.as_str()) {
            ("", path) => path.to_owned(),
            (outer, "") => outer.to_owned(),
            (outer, path) => format!("{outer}.{path}"),
        };
        let pointer = format!("{}{}", self.pointer, inner.pointer);
        Self { path, pointer }
    }

    fn field(&self, name: &str) -> Self {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        let mut pointer = self.pointer.clone();
        pointer.push('/');
        for character in name.chars() {
            match character {
                '~' => pointer.push_str("~0"),
                '/' => pointer.push_str("~1"),
                other => pointer.push(other),
            }
        }
        Self { path, pointer }
    }

    fn item(&self, index: usize) -> Self {
        Self {
            path: format!("{}[{index}]", self.path),
            pointer: format!("{}/{index}", self.pointer),
        }
    }
}

impl Path {
    /// What the path matches below a value, at most `limit` values.
    pub(super) fn find<'a>(&self, value: &'a RawValue, limit: usize) -> Vec<Found<'a>> {
        let at = Location::default();
        let mut found = vec![Found { at, value }];
        for step in &self.steps {
            let mut next = Vec::new();
            for Found { at, value } in found {
                let room = limit.saturating_sub(next.len());
                next.extend(step.children(&at, value).into_iter().take(room));
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
                Step::Items | Step::Values => step.children(&Location::default(), value).into_iter().next()?.value,
            };
        }
        Some(value)
    }
}

impl Step {
    fn children<'a>(&self, at: &Location, value: &'a RawValue) -> Vec<Found<'a>> {
        match self {
            Self::Field(name) => {
                let field = json::field(value, name);
                let found = field.map(|value| Found {
                    at: at.field(name),
                    value,
                });
                found.into_iter().collect()
            }
            Self::Items => {
                let items = json::items(value).into_iter().enumerate();
                items
                    .filter(|(_, value)| !json::is_null(value))
                    .map(|(index, value)| Found {
                        at: at.item(index),
                        value,
                    })
                    .collect()
            }
            Self::Values => json::values(value)
                .into_iter()
                .filter(|(_, value)| !json::is_null(value))
                .map(|(key, value)| Found {
                    at: at.field(&key),
                    value,
                })
                .collect(),
        }
    }
}
