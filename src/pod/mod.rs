//! The pod: a slim view of it, what identity is asked for on its behalf, and the patch that gives it.
//!
//! Everything here is a total function over plain values: no I/O, no async, no clock, no environment.

pub mod identity;
pub mod inject;
pub mod view;

/// A warning for the author of a pod, one line of plain text: control characters are escaped, at most 256 characters, 120
/// where it can be. The API server drops a warning that holds a newline, tab or ESC without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(String);

impl Warning {
    /// Escapes and bounds a text.
    #[must_use]
    pub fn new(_text: &str) -> Self {
        todo!()
    }
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text of users made safe for one line: each control character (C0, DEL, C1) as `\n`, `\t` or `\u{..}`.
#[must_use]
pub fn escape_control(_text: &str) -> std::borrow::Cow<'_, str> {
    todo!()
}
