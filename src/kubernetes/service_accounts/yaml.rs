//! YAML documents as a tree with line numbers, so that an error can name the line.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{MessageFormatter, Spanned, UserMessageFormatter};

/// A value and the line where it begins, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
}

/// A value of YAML.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    /// A number or a boolean; the value is never used.
    Scalar,
    Text(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(String, Node)>),
}

/// What is wrong, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// From 1; none for the whole text.
    pub(crate) line: Option<u64>,
    pub(crate) message: String,
}

/// The stack of the thread that parses. The parser accepts 64 levels, and a level takes up to 40 KB of stack in a development build: more
/// than the 2 MB that a thread has by default.
const STACK_BYTES: usize = 16 << 20;

/// The limit of events behind anchors. Manifests rarely use them; nine lines of aliases that reference each other nine times take seconds
/// before the parser's own limit of a million is reached.
const ANCHOR_EVENTS: usize = 20_000;

/// The documents of a text.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, Wrong> {
    let cannot = |why: String| Wrong {
        line: None,
        message: format!("cannot be parsed: {why}"),
    };
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || parse(text));
        let parser = parser.map_err(|error| cannot(error.to_string()))?;
        parser
            .join()
            .unwrap_or_else(|_| Err(cannot("the parser failed".to_owned())))
    })
}

fn parse(text: &str) -> Result<Vec<Node>, Wrong> {
    let options = serde_saphyr::options! {
        // The operator provides the text, which may well be `kubectl get serviceaccounts -A -o yaml` of a large cluster. Expansion by
        // aliases and depth stay limited.
        budget: serde_saphyr::budget! {
            max_recorded_anchor_events: ANCHOR_EVENTS,
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_documents: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
        },
    };
    let documents: Vec<Spanned<Value>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| Wrong {
            line: error.location().map(|location| location.line()),
            message: format!(
                "expected YAML: {}{}",
                UserMessageFormatter.format_message(error.without_snippet()),
                next_step(text)
            ),
        })?;
    Ok(documents.into_iter().map(Node::from).collect())
}

/// What to do about a text that is not YAML, for the end of the error. The templates of a Helm chart become YAML when they are rendered.
pub(crate) fn next_step(text: &str) -> &'static str {
    if text.contains("{{") {
        "; if it is a template of a Helm chart, render it first, with helm template"
    } else {
        ""
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self {
            line: spanned.referenced.line(),
            value: spanned.value,
        }
    }
}

impl Node {
    /// A field of a mapping; one that is null counts as absent.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Value::Mapping(fields) = &self.value else {
            return None;
        };
        fields
            .iter()
            .find(|(key, node)| key == name && node.value != Value::Null)
            .map(|(_, node)| node)
    }

    /// The text of a string; `what` names it in the error.
    pub(crate) fn text(&self, what: &str) -> Result<&str, Wrong> {
        match &self.value {
            Value::Text(text) => Ok(text),
            Value::Scalar => Err(self.wrong(format!(
                "expected {what} to be a string, not a number or boolean: put it in quotes"
            ))),
            other => Err(self.wrong(format!("expected {what} to be a string, not {}", other.kind()))),
        }
    }

    /// The fields of a mapping.
    pub(crate) fn mapping(&self, what: &str) -> Result<&[(String, Self)], Wrong> {
        match &self.value {
            Value::Mapping(fields) => Ok(fields),
            other => Err(self.wrong(format!("expected {what} to be a mapping, not {}", other.kind()))),
        }
    }

    /// The items of a sequence.
    pub(crate) fn sequence(&self, what: &str) -> Result<&[Self], Wrong> {
        match &self.value {
            Value::Sequence(items) => Ok(items),
            other => Err(self.wrong(format!("expected {what} to be a list, not {}", other.kind()))),
        }
    }

    /// An error in this line.
    pub(crate) fn wrong(&self, message: String) -> Wrong {
        Wrong {
            line: Some(self.line),
            message,
        }
    }
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Scalar => "a number or boolean",
            Self::Text(_) => "a string",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Value, E> {
        Ok(Value::Scalar)
    }

    fn visit_i64<E>(self, _value: i64) -> Result<Value, E> {
        Ok(Value::Scalar)
    }

    fn visit_u64<E>(self, _value: u64) -> Result<Value, E> {
        Ok(Value::Scalar)
    }

    fn visit_i128<E>(self, _value: i128) -> Result<Value, E> {
        Ok(Value::Scalar)
    }

    fn visit_u128<E>(self, _value: u128) -> Result<Value, E> {
        Ok(Value::Scalar)
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Value, E> {
        Ok(Value::Scalar)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_bytes<E>(self, _value: &[u8]) -> Result<Value, E> {
        // `!!binary`: no field that is used is binary.
        Ok(Value::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut sequence = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            sequence.push(item.into());
        }
        Ok(Value::Sequence(sequence))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut mapping = Vec::new();
        // As text: in YAML, `y` and `on` are booleans, but they are valid keys.
        while let Some((key, value)) = entries.next_entry::<String, Spanned<Value>>()? {
            mapping.push((key, value.into()));
        }
        Ok(Value::Mapping(mapping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_that_multiply_are_an_error_and_a_few_are_not() {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, before) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e"), ("g", "f")] {
            let nine = vec![format!("*{before}"); 9].join(", ");
            text.push_str(&format!("{name}: &{name} [{nine}]\n"));
        }
        assert!(
            documents(&text)
                .unwrap_err()
                .message
                .contains("too large or too complex")
        );
        let few = "a: &a {x: y}\nb: *a\nc: *a\n";
        assert_eq!(documents(few).unwrap().len(), 1);
    }

    #[test]
    fn every_value_knows_its_line() {
        let documents = documents("a: 1\nb:\n  - x\n  - y: true\n---\nc: \"2\"\n").unwrap();
        let [first, second] = documents.as_slice() else {
            panic!("{documents:?}")
        };
        assert_eq!(first.field("a").unwrap().line, 1);
        let items = first.field("b").unwrap().sequence("b").unwrap();
        assert_eq!(
            items[0],
            Node {
                line: 3,
                value: Value::Text("x".into())
            }
        );
        assert_eq!(
            items[1].field("y").unwrap(),
            &Node {
                line: 4,
                value: Value::Scalar
            }
        );
        assert_eq!(
            second.field("c").unwrap(),
            &Node {
                line: 6,
                value: Value::Text("2".into())
            }
        );
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        for (text, line) in [("a: 1\nb: [1,\nc: 2\n", 2), ("a: 1\na: 2\n", 2), ("a: *missing\n", 1)] {
            let wrong = documents(text).unwrap_err();
            assert_eq!(wrong.line, Some(line), "{text:?}: {wrong:?}");
            assert!(!wrong.message.contains('\n'), "{wrong:?}");
        }
    }

    #[test]
    fn a_hundred_thousand_brackets_are_an_error_and_not_a_crash() {
        assert!(documents(&"[".repeat(100_000)).is_err());
        assert!(documents(&"- ".repeat(100_000)).is_err());
        assert!(documents(&"{a: ".repeat(100_000)).is_err());
        assert!(documents(&"- ".repeat(60)).is_ok());
    }
}
