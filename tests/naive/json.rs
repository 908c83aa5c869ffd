//! JSON with everything that parsers usually drop: the order of keys, repeated keys, and the text of numbers.

use std::fmt;

#[derive(Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn object(entries: &[(&str, Json)]) -> Self {
        Self::Object(
            entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect(),
        )
    }

    /// One value is a list of one.
    pub(crate) fn as_list(&self) -> Vec<&Json> {
        match self {
            Self::List(values) => values.iter().collect(),
            one => vec![one],
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(f, "null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(text) => write!(f, "{text}"),
            Self::Text(text) => write!(f, "{}", serde_json::Value::from(text.as_str())),
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(Json::to_string).collect();
                write!(f, "[{}]", values.join(","))
            }
            Self::Object(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}:{value}", Json::text(key.as_str())))
                    .collect();
                write!(f, "{{{}}}", entries.join(","))
            }
        }
    }
}

/// The document itself: what a failing case should show.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
