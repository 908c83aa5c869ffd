//! JSON read level by level, so that repeated keys are seen, numbers keep their text and no nesting costs stack.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// One level of a JSON value.
pub(crate) enum Json<'a> {
    Object(Vec<(String, &'a RawValue)>),
    List(Vec<&'a RawValue>),
    Text(String),
    /// A number or a boolean, as written.
    Scalar(&'a str),
    Null,
}

impl<'a> Json<'a> {
    /// Reads a whole text, which is checked to be JSON throughout.
    pub(crate) fn parse(text: &'a str) -> serde_json::Result<Self> {
        Self::read(serde_json::from_str::<&RawValue>(text)?)
    }

    /// Reads the outer level of a value.
    pub(crate) fn read(raw: &'a RawValue) -> serde_json::Result<Self> {
        let text = raw.get();
        Ok(match text.bytes().next() {
            Some(b'{') => Self::Object(serde_json::from_str::<Members<'a>>(text)?.0),
            Some(b'[') => Self::List(serde_json::from_str(text)?),
            Some(b'"') => Self::Text(serde_json::from_str(text)?),
            Some(b'n') => Self::Null,
            _ => Self::Scalar(text),
        })
    }

    /// What it is, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Object(_) => "an object",
            Self::List(_) => "a list",
            Self::Text(_) => "a text",
            Self::Scalar(text) if text.starts_with(['t', 'f']) => "a boolean",
            Self::Scalar(_) => "a number",
            Self::Null => "null",
        }
    }
}

/// The members of an object in their order, repeated ones included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_value_is_has_a_name() {
        for (text, kind) in [
            ("{}", "an object"),
            (" [1]", "a list"),
            (r#""true""#, "a text"),
            ("true", "a boolean"),
            ("false", "a boolean"),
            ("-1.5e3", "a number"),
            ("null", "null"),
        ] {
            assert_eq!(Json::parse(text).unwrap().kind(), kind, "{text}");
        }
    }
}
