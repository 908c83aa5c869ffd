//! Warnings to the author of a pod, in addition to the response.

use std::fmt;

use crate::support::text;

/// A warning for the author of a pod, one line of plain text: hidden characters are escaped, at most 256 characters, 120
/// where it can be. The API server silently drops a warning that contains a newline, tab or ESC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(String);

impl Warning {
    /// The API server cuts a warning here itself, in Unicode characters.
    pub const MAX_CHARACTERS: usize = 256;

    /// Escapes and bounds a text.
    #[must_use]
    pub fn new(message: &str) -> Self {
        Self(text::truncate(&text::escape(message), Self::MAX_CHARACTERS).into_owned())
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

/// The longest a name or value may get in a warning, in characters: the warning around it has to stay readable.
pub(super) const QUOTED_CHARACTERS: usize = 63;

/// A user's text inside a warning: in quotes, escaped, and cut.
pub(super) fn quoted(value: &str) -> String {
    text::quote_within(value, QUOTED_CHARACTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_one_line_of_at_most_256_characters() {
        assert_eq!(Warning::new("one\ntwo").as_str(), "one\\ntwo");
        assert_eq!(Warning::new("one\ntwo").to_string(), "one\\ntwo");
        assert_eq!(Warning::new(&"ö".repeat(256)).as_str(), "ö".repeat(256));
        assert_eq!(Warning::new(&"ö".repeat(257)).as_str(), format!("{}…", "ö".repeat(255)));
        assert_eq!(Warning::new(&"\u{1}".repeat(100)).as_str().chars().count(), 256);
    }
}
