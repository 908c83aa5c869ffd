//! A JSON document that is written again as it was read: the order of keys, and numbers as they are written.

use std::fmt;

use serde_json::value::RawValue;

/// JSON that keeps the order of keys, and numbers as they are written: IAM compares them as text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    /// A number, `true`, `false` or `null`, as written.
    Plain(String),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// Whether it is this text, alone or in a list of one.
    pub(super) fn is_just(&self, wanted: &str) -> bool {
        match self {
            Self::Text(text) => text == wanted,
            Self::List(values) => matches!(values.as_slice(), [Self::Text(text)] if text == wanted),
            _ => false,
        }
    }

    /// One value is a list of one.
    pub(super) fn into_list(self) -> Vec<Self> {
        match self {
            Self::List(values) => values,
            only => vec![only],
        }
    }

    /// A list of one in the form that `self` has: alone, or as a list.
    pub(super) fn like(&self, mut list: Vec<Self>) -> Self {
        match (self, list.pop()) {
            (Self::Object(_), Some(only)) if list.is_empty() => only,
            (_, last) => Self::List(list.into_iter().chain(last).collect()),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Self::from_raw(raw, DEEPEST)
    }

    /// Each level is read on its own. A well-formed policy is at most seven deep.
    fn from_raw(raw: &RawValue, depth_left: usize) -> Result<Self, String> {
        let depth_left = depth_left.checked_sub(1).ok_or("it is nested too deep")?;
        let text = raw.get();
        let told = |error: serde_json::Error| error.to_string();
        Ok(match text.bytes().next() {
            Some(b'{') => {
                let Entries(entries) = serde_json::from_str(text).map_err(told)?;
                let read = |(key, value): (String, &RawValue)| Ok((key, Self::from_raw(value, depth_left)?));
                Self::Object(entries.into_iter().map(read).collect::<Result<_, String>>()?)
            }
            Some(b'[') => {
                let values: Vec<&RawValue> = serde_json::from_str(text).map_err(told)?;
                let read = |value| Self::from_raw(value, depth_left);
                Self::List(values.into_iter().map(read).collect::<Result<_, String>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(text).map_err(told)?),
            _ => Self::Plain(text.to_owned()),
        })
    }

    pub(super) fn print(&self) -> String {
        let mut out = String::new();
        self.print_into(&mut out, 0);
        out
    }

    fn print_into(&self, out: &mut String, depth: usize) {
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Text(text) => out.push_str(&quoted(text)),
            Self::List(values) => print_block(out, depth, '[', ']', values, |value, out, depth| {
                value.print_into(out, depth)
            }),
            Self::Object(entries) => print_block(out, depth, '{', '}', entries, |(key, value), out, depth| {
                out.push_str(&quoted(key));
                out.push_str(": ");
                value.print_into(out, depth);
            }),
        }
    }
}

/// How deep a document may be nested: twice what the grammar of policies allows.
const DEEPEST: usize = 16;

fn print_block<T>(
    out: &mut String,
    depth: usize,
    open: char,
    close: char,
    items: &[T],
    print: impl Fn(&T, &mut String, usize),
) {
    let deeper = depth.saturating_add(1);
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.push_str(&"  ".repeat(deeper));
        print(item, out, deeper);
    }
    if !items.is_empty() {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    }
    out.push(close);
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An object's entries in their order, values unread.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Entries<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The value of a key, as it is spelt.
pub(super) fn value_of<'a>(entries: &'a [(String, Json)], wanted: &str) -> Option<&'a Json> {
    entries.iter().find(|(key, _)| key == wanted).map(|(_, value)| value)
}
