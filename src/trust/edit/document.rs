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

    /// The value of a key, as it is spelled.
    pub(super) fn member(&self, key: &str) -> Option<&Self> {
        let Self::Object(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(super) fn member_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Self::Object(entries) = self else { return None };
        entries.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// An item of a list, counted from 1; a single value is its own first item.
    pub(super) fn item_mut(&mut self, number: usize) -> Option<&mut Self> {
        let index = number.checked_sub(1)?;
        match self {
            Self::List(values) => values.get_mut(index),
            only => (index == 0).then_some(only),
        }
    }

    /// Writes one text for another, alone or in a list.
    pub(super) fn replace_text(&mut self, found: &str, new: &str) -> Option<()> {
        let place = match self {
            Self::List(values) => values.iter_mut().find(|value| value.is_text(found))?,
            only if only.is_text(found) => only,
            _ => return None,
        };
        *place = Self::text(new);
        Some(())
    }

    /// Numbers and booleans are compared as their text.
    fn is_text(&self, wanted: &str) -> bool {
        match self {
            Self::Text(text) | Self::Plain(text) => text == wanted,
            Self::List(_) | Self::Object(_) => false,
        }
    }

    /// Gives a member another key, in its place.
    pub(super) fn rename(&mut self, key: &str, new: &str) -> Option<()> {
        let Self::Object(entries) = self else { return None };
        let (name, _) = entries.iter_mut().find(|(name, _)| name == key)?;
        new.clone_into(name);
        Some(())
    }

    /// Moves `from.key` to `to.key`; a group that is empty then goes, one that is missing is added behind.
    pub(super) fn move_member(&mut self, from: &str, key: &str, to: &str) -> Option<()> {
        let Self::Object(groups) = self else { return None };
        let at = groups.iter().position(|(name, _)| name == from)?;
        let (_, Self::Object(members)) = groups.get_mut(at)? else {
            return None;
        };
        let place = members.iter().position(|(name, _)| name == key)?;
        let member = members.remove(place);
        let is_empty = members.is_empty();
        match groups.iter_mut().find(|(name, _)| name == to) {
            Some((_, Self::Object(members))) => members.push(member),
            Some(_) => return None,
            None => groups.insert(at.saturating_add(1), (to.to_owned(), Self::Object(vec![member]))),
        }
        if is_empty {
            groups.remove(at);
        }
        Some(())
    }

    /// The items of a list; a single value is its own only item.
    pub(super) fn items(&self) -> impl Iterator<Item = &Self> {
        match self {
            Self::List(values) => values.as_slice(),
            only => std::slice::from_ref(only),
        }
        .iter()
    }

    /// One value is a list of one.
    pub(super) fn into_list(self) -> Vec<Self> {
        match self {
            Self::List(values) => values,
            only => vec![only],
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
        let message = |error: serde_json::Error| error.to_string();
        Ok(match text.bytes().next() {
            Some(b'{') => {
                let Entries(entries) = serde_json::from_str(text).map_err(message)?;
                let read = |(key, value): (String, &RawValue)| Ok((key, Self::from_raw(value, depth_left)?));
                Self::Object(entries.into_iter().map(read).collect::<Result<_, String>>()?)
            }
            Some(b'[') => {
                let values: Vec<&RawValue> = serde_json::from_str(text).map_err(message)?;
                let read = |value| Self::from_raw(value, depth_left);
                Self::List(values.into_iter().map(read).collect::<Result<_, String>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(text).map_err(message)?),
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

pub(super) fn quoted(text: &str) -> String {
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
