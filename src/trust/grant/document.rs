//! A JSON document that is written again as it was read: the order of keys, and numbers as they are written.

use serde_json::value::RawValue;

use crate::trust::json::Json;

/// JSON that keeps the order of keys, and numbers as they are written: IAM compares them as text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    /// A number, `true`, `false` or `null`, as written.
    Plain(String),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Tree {
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
        let level = Json::parse(text).map_err(|error| error.to_string())?;
        Self::from_level(level, DEEPEST)
    }

    /// Each level is read on its own. A well-formed policy is at most seven deep.
    fn from_level(level: Json<'_>, depth_left: usize) -> Result<Self, String> {
        let depth_left = depth_left.checked_sub(1).ok_or("it is nested too deep")?;
        let below = |raw: &RawValue| {
            let level = Json::read(raw).map_err(|error| error.to_string())?;
            Self::from_level(level, depth_left)
        };
        Ok(match level {
            Json::Object(members) => {
                let read = |(key, raw)| Ok((key, below(raw)?));
                Self::Object(members.into_iter().map(read).collect::<Result<_, String>>()?)
            }
            Json::List(values) => Self::List(values.into_iter().map(below).collect::<Result<_, String>>()?),
            Json::Text(text) => Self::Text(text),
            Json::Scalar(text) => Self::Plain(text.to_owned()),
            Json::Null => Self::Plain("null".to_owned()),
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
