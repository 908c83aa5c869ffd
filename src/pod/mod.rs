//! The pod: a slim view of it, what identity is asked for on its behalf, and the patch that gives it.
//!
//! Everything here is a total function over plain values: no I/O, no async, no clock, no environment.

pub mod identity;
pub mod inject;
pub mod view;

pub(crate) mod json;

use std::borrow::Cow;
use std::fmt::{self, Write};

use crate::iam::is_invisible;

/// A warning for the author of a pod, one line of plain text: control characters are escaped, at most 256 characters, 120
/// where it can be. The API server drops a warning that holds a newline, tab or ESC without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(String);

impl Warning {
    /// The API server cuts a warning here itself, in Unicode characters.
    pub const MAX_CHARACTERS: usize = 256;

    /// Escapes and bounds a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(cut(&escape_control(text), Self::MAX_CHARACTERS).into_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text of users made safe for one line: each control character (C0, DEL, C1), and each mark that hides or reorders text, as
/// `\n`, `\t` or `\u{..}`.
#[must_use]
pub fn escape_control(text: &str) -> Cow<'_, str> {
    // `char::is_control` is Unicode's Cc, which is C0, DEL and C1 and what the API server looks for.
    let prints = |character: char| !character.is_control() && !is_invisible(character);
    if text.chars().all(prints) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len().saturating_add(16));
    for character in text.chars() {
        if prints(character) {
            escaped.push(character);
        } else {
            escaped.extend(character.escape_default());
        }
    }
    Cow::Owned(escaped)
}

/// At most `max` characters; where some are left out, the last is an ellipsis.
fn cut(text: &str, max: usize) -> Cow<'_, str> {
    // A character has at least one byte: the usual case is told without counting.
    if text.len() <= max || text.chars().count() <= max {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .take(max.saturating_sub(1))
            .chain(std::iter::once('…'))
            .collect(),
    )
}

/// A user's text inside a message: in quotes, escaped, and cut so that the message around it stays readable.
struct Quoted<'a>(&'a str);

impl Quoted<'_> {
    const MAX_CHARACTERS: usize = 63;
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        f.write_str(&cut(
            &escape_control(&cut(self.0, Self::MAX_CHARACTERS)),
            Self::MAX_CHARACTERS,
        ))?;
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_as_escapes_and_nothing_else_is_changed() {
        for (text, escaped) in [
            ("plain", "plain"),
            ("größer “quoted” \\n 🚀", "größer “quoted” \\n 🚀"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("a\u{2028}b\u{202e}c", "a\\u{2028}b\\u{202e}c"),
            (
                "\u{0}\u{1b}[31m\u{7f}\u{85}\u{9f}",
                "\\u{0}\\u{1b}[31m\\u{7f}\\u{85}\\u{9f}",
            ),
        ] {
            assert_eq!(escape_control(text), escaped);
        }
        assert!(matches!(escape_control("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_warning_is_one_line_of_at_most_256_characters() {
        assert_eq!(Warning::new("one\ntwo").as_str(), "one\\ntwo");
        assert_eq!(Warning::new("one\ntwo").to_string(), "one\\ntwo");
        assert_eq!(Warning::new(&"ö".repeat(256)).as_str(), "ö".repeat(256));
        assert_eq!(Warning::new(&"ö".repeat(257)).as_str(), format!("{}…", "ö".repeat(255)));
        assert_eq!(Warning::new(&"\u{1}".repeat(100)).as_str().chars().count(), 256);
    }

    #[test]
    fn a_quoted_value_is_escaped_and_cut() {
        assert_eq!(Quoted("a\nb").to_string(), "\"a\\nb\"");
        assert_eq!(Quoted(&"x".repeat(64)).to_string(), format!("\"{}…\"", "x".repeat(62)));
        assert_eq!(Quoted(&"\u{1}".repeat(64)).to_string().chars().count(), 65);
    }
}
