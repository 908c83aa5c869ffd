//! Text inside XML and HTML.

use super::escape_lines;

/// The text as content of an element or in a quoted attribute: it contains no markup and no hidden character except line breaks.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len().saturating_add(16));
    for character in escape_lines(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_text_is_markup() {
        assert_eq!(
            escape("<a href=\"x\" id='y'>&\u{1b}\u{202e}\n"),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;\\u{1b}\\u{202e}\n"
        );
    }
}
