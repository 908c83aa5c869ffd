//! JSON for logs, files and terminals: the same values, no hidden character in the text.
//!
//! Serializers escape what JSON requires (C0 control characters) and leave the rest as it is: a C1 control or a mark that
//! reorders text stays raw. JSON has an escape for every character, so nothing is lost by using it.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{is_hidden, prints};

/// A JSON document with each hidden character as `\uXXXX`. Line breaks stay: in valid JSON they stand between tokens only.
///
/// YAML is treated alike: in its double-quoted style the escape means the same, in the other styles it is what is shown.
#[must_use]
pub(crate) fn escape(json: &str) -> Cow<'_, str> {
    let hidden = |character: char| character != '\n' && is_hidden(character);
    if prints(json) {
        return Cow::Borrowed(json);
    }
    let Some(first) = json.find(hidden) else {
        return Cow::Borrowed(json);
    };
    let (shown, rest) = json.split_at(first);
    let mut escaped = String::with_capacity(json.len().saturating_add(16));
    escaped.push_str(shown);
    for character in rest.chars() {
        if hidden(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_holds_the_same_values_and_nothing_hidden() {
        for text in ["plain", "a\u{9b}31m\u{202e}b", "\u{e0041}\u{1b}\n\t\"\\", "größer 🚀"] {
            let value = serde_json::json!({ "key": [text] });
            let escaped = escape(&serde_json::to_string_pretty(&value).unwrap()).into_owned();
            assert!(
                !escaped.contains(|character| character != '\n' && is_hidden(character)),
                "{escaped:?}"
            );
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
        assert_eq!(escape("\"\u{e0041}\u{85}\""), r#""\udb40\udc41\u0085""#);
        assert!(matches!(escape("{\n}"), Cow::Borrowed(_)));
    }
}
