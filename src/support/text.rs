//! How text from outside leaves the program: escaped, bounded in length, quoted for shells.
//!
//! Names of containers and owners, audiences, condition values, role files and error bodies end up in refusals, warnings,
//! Events, logs, tables and commands that people copy into a shell. Such text may hold a line break that forges a second
//! line, an escape sequence that a terminal runs, or a mark that reorders what is displayed. Every message is composed from
//! values that went through this module, and every output checks once more (`terminal`, `json`, `escape`).
//!
//! *Hidden* means the Unicode general categories Cc (control), Cf (format), Zl and Zp (line and paragraph separator), and
//! code points that no character is assigned to.
//!
//! Nothing here is used for decisions: callers compare the original text, never the escaped text.

pub(crate) mod json;
pub(crate) mod markup;
pub(crate) mod shell;
pub(crate) mod workflow;

use std::borrow::Cow;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// The longest a single value may get in a message, in characters.
pub(crate) const MAX_VALUE_CHARS: usize = 200;

/// The longest a whole message may get, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 2048;

/// What takes the place of characters that were left out.
const ELLIPSIS: char = '…';

/// Whether a character does not show, or changes how other characters show.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::Unassigned
    )
}

/// The text on one line: each hidden character as `\n`, `\t`, `\r` or `\u{…}`.
#[must_use]
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_where(text, is_hidden)
}

/// As [`escape`], but line breaks stay: for messages whose lines were laid out by the program.
#[must_use]
pub(crate) fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_where(text, |character| character != '\n' && is_hidden(character))
}

/// As [`escape_lines`], but the sequences that set colors and styles (`ESC [ … m`) stay as well: for text that goes to a
/// terminal, where every other sequence could move the cursor, set the title or answer for the user.
#[must_use]
pub(crate) fn terminal(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let mut safe = String::new();
    while let Some(at) = rest.find('\u{1b}') {
        let (before, from_escape) = rest.split_at(at);
        safe.push_str(&escape_lines(before));
        let style = style_sequence(from_escape);
        match from_escape.split_at_checked(style) {
            Some((sequence, after)) if style > 0 => {
                safe.push_str(sequence);
                rest = after;
            }
            _ => {
                safe.push_str("\\u{1b}");
                rest = from_escape.strip_prefix('\u{1b}').unwrap_or_default();
            }
        }
    }
    if safe.is_empty() {
        return escape_lines(rest);
    }
    safe.push_str(&escape_lines(rest));
    Cow::Owned(safe)
}

/// The length of the `ESC [ digits and semicolons m` at the start of a text; 0 if it does not start with one.
fn style_sequence(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else {
        return 0;
    };
    let length = parameters
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b';')
        .count();
    if parameters.as_bytes().get(length) == Some(&b'm') {
        length.saturating_add(3)
    } else {
        0
    }
}

/// A value inside a message: escaped, its middle left out beyond `MAX_VALUE_CHARS`.
#[must_use]
pub fn value(text: &str) -> String {
    value_within(text, MAX_VALUE_CHARS)
}

/// As [`value`], with another bound in characters. Takes time linear in the bound, whatever the length of the text.
#[must_use]
pub(crate) fn value_within(text: &str, max_chars: usize) -> String {
    bounded(text, max_chars, |part| escape(part).into_owned())
}

/// A value in double quotes; quotes and backslashes in it are escaped, so that it ends where it seems to end.
#[must_use]
pub(crate) fn quote(text: &str) -> String {
    quote_within(text, MAX_VALUE_CHARS)
}

/// As [`quote`], with another bound in characters (without the quotes themselves).
#[must_use]
pub(crate) fn quote_within(text: &str, max_chars: usize) -> String {
    let escape_quotes = |part: &str| escape(&part.replace('\\', "\\\\").replace('"', "\\\"")).into_owned();
    format!("\"{}\"", bounded(text, max_chars, escape_quotes))
}

/// Escapes no more of a long text than can be shown of it.
fn bounded(text: &str, max_chars: usize, escape: impl Fn(&str) -> String) -> String {
    // Escaping only lengthens, so this much of either end is enough.
    let escaped = match text.char_indices().nth(max_chars) {
        None => escape(text),
        Some(_) => {
            let half = max_chars.saturating_sub(1) / 2;
            let head = text.char_indices().nth(half).map_or(text.len(), |(at, _)| at);
            let tail = match half.checked_sub(1) {
                Some(back) => text.char_indices().rev().nth(back).map_or(0, |(at, _)| at),
                None => text.len(),
            };
            let part = |range: Option<&str>| escape(range.unwrap_or_default());
            format!("{}{ELLIPSIS}{}", part(text.get(..head)), part(text.get(tail..)))
        }
    };
    shorten(&escaped, max_chars).into_owned()
}

/// Leaves out the middle of what is longer than `max_chars` characters.
#[must_use]
pub(crate) fn shorten(text: &str, max_chars: usize) -> Cow<'_, str> {
    // A character has at least one byte: the usual case needs no counting.
    if text.len() <= max_chars {
        return Cow::Borrowed(text);
    }
    let length = text.chars().count();
    if length <= max_chars {
        return Cow::Borrowed(text);
    }
    let half = max_chars.saturating_sub(1) / 2;
    let head = text.chars().take(half);
    let tail = text.chars().skip(length - half);
    Cow::Owned(head.chain([ELLIPSIS]).chain(tail).collect())
}

/// Cuts what is longer than `max_chars` characters at its end.
#[must_use]
pub(crate) fn truncate(text: &str, max_chars: usize) -> Cow<'_, str> {
    if text.len() <= max_chars || text.chars().nth(max_chars).is_none() {
        return Cow::Borrowed(text);
    }
    let kept = text.chars().take(max_chars.saturating_sub(1));
    Cow::Owned(kept.chain([ELLIPSIS]).collect())
}

/// Cuts what is longer than `max_bytes` bytes at the end of a whole character.
#[must_use]
pub(crate) fn truncate_bytes(text: &str, max_bytes: usize) -> Cow<'_, str> {
    if text.len() <= max_bytes {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(max_bytes.saturating_sub(ELLIPSIS.len_utf8()));
    let mut kept = text.get(..end).unwrap_or_default().to_owned();
    kept.push(ELLIPSIS);
    Cow::Owned(kept)
}

/// At most so many bytes of a text, ending with a whole character; nothing shows that something was left out.
#[must_use]
pub(crate) fn prefix_bytes(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or_default()
}

/// A message of several lines that the program laid out: everything hidden but its line breaks is escaped, and the whole is
/// cut at [`MAX_MESSAGE_BYTES`].
#[must_use]
pub(crate) fn message(text: &str) -> Cow<'_, str> {
    within_message(escape_lines(text))
}

/// As [`message`], on one line.
#[must_use]
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    within_message(escape(text))
}

fn within_message(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => truncate_bytes(text, MAX_MESSAGE_BYTES),
        Cow::Owned(text) => Cow::Owned(truncate_bytes(&text, MAX_MESSAGE_BYTES).into_owned()),
    }
}

/// A value in a row: in double quotes if it begins or ends with whitespace, which is invisible otherwise.
#[must_use]
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    // A line break or a tab is escaped, and so visible.
    let is_blank = |character: char| character.is_whitespace() && !is_hidden(character);
    if text.starts_with(is_blank) || text.ends_with(is_blank) {
        return Cow::Owned(quote(text));
    }
    Cow::Borrowed(text)
}

/// Several values as `a, b and 3 more`.
#[must_use]
pub(crate) fn list<'a>(texts: impl ExactSizeIterator<Item = &'a str>, max_shown: usize) -> String {
    enumerate(texts, max_shown, |text| value(&visible(text)))
}

/// Several values as `"a", "b" and 3 more`.
#[must_use]
pub(crate) fn quoted_list<'a>(texts: impl ExactSizeIterator<Item = &'a str>, max_shown: usize) -> String {
    enumerate(texts, max_shown, quote)
}

fn enumerate<'a>(texts: impl ExactSizeIterator<Item = &'a str>, max_shown: usize, show: fn(&str) -> String) -> String {
    let count = texts.len();
    let shown: Vec<String> = texts.take(max_shown).map(show).collect();
    match count.saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The candidate that was probably meant, if one is near enough. Case does not count.
#[must_use]
pub(crate) fn nearest_word<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::levenshtein(&lower, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().min(word.len()) / 4 + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether a text begins with another, upper and lower case of ASCII letters being the same.
#[must_use]
pub(crate) fn starts_with_ignore_case(text: &str, beginning: &str) -> bool {
    text.split_at_checked(beginning.len())
        .is_some_and(|(head, _)| head.eq_ignore_ascii_case(beginning))
}

/// Whether a text is printable ASCII throughout, as nearly all are: seen without looking up any character.
fn prints(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn escape_where(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if prints(text) {
        return Cow::Borrowed(text);
    }
    let Some(first) = text.find(&hidden) else {
        return Cow::Borrowed(text);
    };
    let (shown, rest) = text.split_at(first);
    let mut escaped = String::with_capacity(text.len().saturating_add(16));
    escaped.push_str(shown);
    for character in rest.chars() {
        if hidden(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests;
