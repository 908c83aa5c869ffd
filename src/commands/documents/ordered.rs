//! YAML values whose keys keep the order in which they are written.
//!
//! The patch is applied to a JSON value, whose keys are sorted. For a person who reads the result or a diff of it, the keys are put back
//! in the order of the input; what is new comes after them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::{Number, Value};
use serde_saphyr::{MessageFormatter as _, UserMessageFormatter};

use crate::kubernetes::service_accounts::yaml;

/// The limit of events behind anchors. Manifests rarely use them.
const ANCHOR_EVENTS: usize = 20_000;

/// A value whose keys have an order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ordered {
    /// Null, a boolean, a number or a string.
    Scalar(Value),
    Sequence(Vec<Self>),
    Mapping(Vec<(String, Self)>),
}

impl Ordered {
    /// The value of one document, read as kubectl reads it: with the booleans and octal numbers of YAML 1.1.
    ///
    /// # Errors
    /// The line, from 1, and what was expected.
    pub(super) fn parse(text: &str) -> Result<Self, (Option<u64>, String)> {
        let options = serde_saphyr::options! {
            legacy_octal_numbers: true,
            // As for other manifests: any length, but not what aliases multiply.
            budget: serde_saphyr::budget! {
                max_recorded_anchor_events: ANCHOR_EVENTS,
                max_events: usize::MAX,
                max_nodes: usize::MAX,
                max_total_scalar_bytes: usize::MAX,
            },
        };
        let documents: Vec<Self> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let line = error.location().map(|location| location.line());
            let message = UserMessageFormatter.format_message(error.without_snippet());
            let next_step = yaml::next_step(text);
            (line, format!("expected YAML or JSON: {message}{next_step}"))
        })?;
        let mut documents = documents.into_iter();
        let first = documents.next().unwrap_or(Self::Scalar(Value::Null));
        match documents.next() {
            None => Ok(first),
            Some(_) => Err((None, "expected one document; put --- between documents".to_owned())),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Scalar(value) => value.clone(),
            Self::Sequence(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Mapping(fields) => {
                let fields = fields.iter().map(|(key, value)| (key.clone(), value.to_json()));
                Value::Object(fields.collect())
            }
        }
    }

    /// A JSON value with the keys in the order of `original`.
    pub(super) fn of(value: &Value, original: Option<&Self>) -> Self {
        match value {
            Value::Object(fields) => {
                let known: &[(String, Self)] = match original {
                    Some(Self::Mapping(known)) => known,
                    _ => &[],
                };
                let kept = known
                    .iter()
                    .filter_map(|(key, original)| Some((key.clone(), Self::of(fields.get(key)?, Some(original)))));
                let is_new = |key: &String| known.iter().all(|(known, _)| known != key);
                let new = fields
                    .iter()
                    .filter(|(key, _)| is_new(key))
                    .map(|(key, value)| (key.clone(), Self::of(value, None)));
                let mut all: Vec<(String, Self)> = kept.collect();
                let mut new: Vec<(String, Self)> = new.collect();
                // As manifests are written by hand.
                new.sort_by_key(|(key, _)| key != "name");
                all.append(&mut new);
                Self::Mapping(all)
            }
            Value::Array(items) => {
                let known: &[Self] = match original {
                    Some(Self::Sequence(known)) => known,
                    _ => &[],
                };
                let items = items.iter().map(|item| Self::of(item, same_name(known, item)));
                Self::Sequence(items.collect())
            }
            scalar => Self::Scalar(scalar.clone()),
        }
    }

    fn name(&self) -> Option<&str> {
        let Self::Mapping(fields) = self else { return None };
        fields.iter().find_map(|(key, value)| match value {
            Self::Scalar(Value::String(name)) if key == "name" => Some(name.as_str()),
            _ => None,
        })
    }
}

/// The element that an element of a patched list was: by its name, as containers, volumes and variables have one, or by its value.
fn same_name<'o>(known: &'o [Ordered], item: &Value) -> Option<&'o Ordered> {
    match item.get("name").and_then(Value::as_str) {
        Some(name) => known.iter().find(|known| known.name() == Some(name)),
        None => known.iter().find(|known| known.to_json() == *item),
    }
}

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scalar(value) => value.serialize(serializer),
            Self::Sequence(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    sequence.serialize_element(item)?;
                }
                sequence.end()
            }
            Self::Mapping(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfYaml;

        impl<'de> Visitor<'de> for OfYaml {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of YAML")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Ordered, E> {
                Ok(Ordered::Scalar(Value::Bool(value)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Ordered, E> {
                Ok(Ordered::Scalar(Value::Number(value.into())))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Ordered, E> {
                Ok(Ordered::Scalar(Value::Number(value.into())))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Ordered, E> {
                // JSON has no infinity.
                Ok(Ordered::Scalar(
                    Number::from_f64(value).map_or(Value::Null, Value::Number),
                ))
            }

            fn visit_str<E>(self, value: &str) -> Result<Ordered, E> {
                Ok(Ordered::Scalar(Value::String(value.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Ordered, E> {
                Ok(Ordered::Scalar(Value::Null))
            }

            fn visit_none<E>(self) -> Result<Ordered, E> {
                Ok(Ordered::Scalar(Value::Null))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Ordered, D::Error> {
                Ordered::deserialize(deserializer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Ordered, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = sequence.next_element()? {
                    items.push(item);
                }
                Ok(Ordered::Sequence(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Ordered::Mapping(fields))
            }
        }

        deserializer.deserialize_any(OfYaml)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_means_the_same_to_kubectl() {
        let text = "z: 0644\na: \"yes\"\nb: yes\nc: '0644'\nd: null\ne: 1.5\nf: [1, \"2\"]\ng: \"null\"\nh: -3\n";
        let value = Ordered::parse(text).unwrap();
        let written = serde_saphyr::to_string(&value).unwrap();
        assert_eq!(Ordered::parse(&written).unwrap(), value, "{written}");
        let json = value.to_json();
        assert_eq!(json["z"], 420);
        assert_eq!(json["a"], "yes");
        assert_eq!(json["b"], true);
        assert_eq!(json["c"], "0644");
        assert!(written.starts_with("z:"), "{written}");
    }

    #[test]
    fn anchors_are_expanded_and_what_they_multiply_is_an_error() {
        let value = Ordered::parse("a: &a {b: 1}\nc: {<<: *a, d: 2}\ne: *a\n").unwrap();
        assert_eq!(
            value.to_json(),
            serde_json::json!({"a": {"b": 1}, "c": {"b": 1, "d": 2}, "e": {"b": 1}})
        );
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let alias = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
        }
        assert!(Ordered::parse(&bomb).is_err());
        assert!(Ordered::parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn keys_keep_their_order_and_new_ones_follow() {
        let original = Ordered::parse("z: 1\na:\n- name: second\n  b: 1\n  a: 2\n").unwrap();
        let mut json = original.to_json();
        json["m"] = Value::Null;
        json["a"] = serde_json::json!([{"name": "first", "a": 0}, {"name": "second", "a": 2, "b": 1, "c": 3}]);
        let written = serde_saphyr::to_string(&Ordered::of(&json, Some(&original))).unwrap();
        assert_eq!(
            written,
            "z: 1\na:\n- name: first\n  a: 0\n- name: second\n  b: 1\n  a: 2\n  c: 3\nm: null\n"
        );
    }
}
