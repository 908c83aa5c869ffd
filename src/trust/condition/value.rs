//! The values that a condition compares with, compiled once: texts, patterns, texts with variables, typed literals.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

use super::key::{ConditionKey, Given};
use super::literal::{self, Decimal, Timestamp};
use crate::trust::glob::{self, Token};
use crate::trust::request::Request;
use crate::trust::ternary::Ternary;

/// A value of a condition.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// As written; numbers and booleans are compared as their text.
    pub(crate) text: Box<str>,
    pub(crate) meaning: Meaning,
}

/// What a value's text means under its operator.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    /// The text itself.
    Exact,
    /// A pattern with `*` and `?`.
    Pattern,
    /// A text or pattern with variables.
    Template(Box<[Piece]>),
    Number(Decimal),
    Timestamp(Timestamp),
    Network(IpNet),
    Bytes(Box<[u8]>),
    Flag(bool),
    /// `*` alone or a variable where a typed literal belongs: IAM stores it, but what it matches is not documented.
    Unclear,
}

/// A part of a text with variables.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Text as written, with wildcards where the operator knows them.
    Text(Box<str>),
    /// `${*}`, `${?}`, `${$}`: the character itself.
    Literal(char),
    /// `${key}` or `${key, 'default'}`.
    Variable {
        key: ConditionKey,
        default: Option<Box<str>>,
    },
}

/// Whether `*` and `?` are wildcards to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wildcards {
    Known,
    Literal,
}

/// Whether `${…}` is a variable: only under version 2012-10-17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variables {
    Known,
    PlainText,
}

impl Value {
    /// A value of a String or Arn operator.
    pub(crate) fn text(text: String, wildcards: Wildcards, variables: Variables) -> Self {
        let meaning = match variables {
            Variables::Known if text.contains("${") => Meaning::Template(pieces(&text)),
            _ if wildcards == Wildcards::Known && glob::has_wildcard(&text) => Meaning::Pattern,
            _ => Meaning::Exact,
        };
        Self {
            text: text.into(),
            meaning,
        }
    }

    /// A value of an operator with typed literals; none if the text is not such a literal.
    pub(crate) fn typed(text: String, read: impl FnOnce(&str) -> Option<Meaning>) -> Option<Self> {
        let meaning = match read(&text) {
            Some(meaning) => meaning,
            None if text == "*" || holds_variable(&text) => Meaning::Unclear,
            None => return None,
        };
        Some(Self {
            text: text.into(),
            meaning,
        })
    }

    /// A value of `Bool` or `Null`: `true` in any case is true, anything else is false.
    pub(crate) fn flag(text: String) -> Self {
        let meaning = Meaning::Flag(text.eq_ignore_ascii_case("true"));
        Self {
            text: text.into(),
            meaning,
        }
    }

    /// The keys of its variables.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &ConditionKey> {
        let pieces: &[Piece] = match &self.meaning {
            Meaning::Template(pieces) => pieces,
            _ => &[],
        };
        pieces.iter().filter_map(|piece| match piece {
            Piece::Variable { key, .. } => Some(key),
            Piece::Text(_) | Piece::Literal(_) => None,
        })
    }

    /// Whether it has `*` or `?` as written, outside variables.
    pub(crate) fn has_wildcard(&self) -> bool {
        match &self.meaning {
            Meaning::Template(pieces) => pieces
                .iter()
                .any(|piece| matches!(piece, Piece::Text(text) if glob::has_wildcard(text))),
            _ => glob::has_wildcard(&self.text),
        }
    }

    /// The pattern that it comes to in a request; none when a variable has neither value nor default, so that it
    /// matches nothing.
    pub(crate) fn expand(&self, wildcards: Wildcards, request: &Request<'_>) -> Option<Expansion> {
        let mut expansion = Expansion {
            tokens: Vec::new(),
            certainty: Ternary::True,
        };
        let Meaning::Template(pieces) = &self.meaning else {
            expansion.push_text(&self.text, wildcards);
            return Some(expansion);
        };
        for piece in pieces {
            match piece {
                Piece::Text(text) => expansion.push_text(text, wildcards),
                Piece::Literal(c) => expansion.tokens.push(Token::Char(*c)),
                // Every condition key has a colon: this one is a placeholder that was to be filled in, and never has a value.
                Piece::Variable { key, default } if !key.as_str().contains(':') => {
                    expansion.push_text(default.as_deref()?, Wildcards::Literal);
                }
                Piece::Variable { key, default } => match key.given(request) {
                    Given::Text(text) => expansion.push_text(&text, Wildcards::Literal),
                    Given::Absent => expansion.push_text(default.as_deref()?, Wildcards::Literal),
                    Given::Beginning(beginning) => {
                        expansion.push_text(beginning, Wildcards::Literal);
                        expansion.certainty = Ternary::Unknown;
                        expansion.tokens.push(Token::Run);
                    }
                    Given::Set(_) | Given::SessionName | Given::CurrentTime | Given::EpochTime | Given::Unknown => {
                        // Whatever its value, the default included, is a run of characters.
                        expansion.certainty = Ternary::Unknown;
                        expansion.tokens.push(Token::Run);
                    }
                },
            }
        }
        Some(expansion)
    }
}

/// A value with its variables filled in.
#[derive(Debug)]
pub(crate) struct Expansion {
    pub(crate) tokens: Vec<Token>,
    /// `True`, or `Unknown` when a variable's value cannot be known and a run represents it: what does not fit then
    /// surely does not match, what fits may.
    pub(crate) certainty: Ternary,
}

impl Expansion {
    fn push_text(&mut self, text: &str, wildcards: Wildcards) {
        match wildcards {
            Wildcards::Known => self.tokens.extend(glob::tokens(text)),
            Wildcards::Literal => self.tokens.extend(text.chars().map(Token::Char)),
        }
    }
}

/// Reads a number.
pub(crate) fn number(text: &str) -> Option<Meaning> {
    Decimal::parse(text).map(Meaning::Number)
}

/// Reads a date.
pub(crate) fn timestamp(text: &str) -> Option<Meaning> {
    Timestamp::parse(text).map(Meaning::Timestamp)
}

/// Reads an address or a range.
pub(crate) fn network(text: &str) -> Option<Meaning> {
    literal::parse_network(text).map(Meaning::Network)
}

/// Reads base64 with its padding.
pub(crate) fn bytes(text: &str) -> Option<Meaning> {
    STANDARD.decode(text).ok().map(|bytes| Meaning::Bytes(bytes.into()))
}

/// Whether a text is a valid value of an Arn operator: six parts, of which the first can be `arn`; `*`; or with variables.
pub(crate) fn is_arn_pattern(text: &str) -> bool {
    let first = text.split(':').next().unwrap_or_default();
    text == "*" || holds_variable(text) || (text.splitn(6, ':').count() == 6 && glob::matches(first, "arn"))
}

fn holds_variable(text: &str) -> bool {
    text.split_once("${").is_some_and(|(_, rest)| rest.contains('}'))
}

fn pieces(text: &str) -> Box<[Piece]> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        plain.push_str(before);
        if let Some((piece, after)) = variable(after) {
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(piece);
            rest = after;
        } else {
            plain.push_str("${");
            rest = after;
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain.into()));
    }
    pieces.into()
}

/// The variable that begins behind `${`, and the text behind it; none when it is not one, so that it stays text.
fn variable(text: &str) -> Option<(Piece, &str)> {
    // A brace ends the search: no key holds one, and without this a long text of open braces would take quadratic time.
    let end = text.find(['}', ',', '{'])?;
    let (key, rest) = text.split_at_checked(end)?;
    if let Some(after) = rest.strip_prefix('}') {
        let piece = match key {
            "*" => Piece::Literal('*'),
            "?" => Piece::Literal('?'),
            "$" => Piece::Literal('$'),
            key => Piece::Variable {
                key: ConditionKey::new(key.trim()),
                default: None,
            },
        };
        return Some((piece, after));
    }
    let quoted = rest.strip_prefix(',')?.trim_start().strip_prefix('\'')?;
    let (default, after) = quoted.split_once('\'')?;
    let after = after.trim_start().strip_prefix('}')?;
    Some((
        Piece::Variable {
            key: ConditionKey::new(key.trim()),
            default: Some(default.into()),
        },
        after,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        pieces(text)
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => format!("text {text}"),
                Piece::Literal(c) => format!("literal {c}"),
                Piece::Variable { key, default } => format!("variable {} {default:?}", key.as_str()),
            })
            .collect()
    }

    #[test]
    fn variables_are_found_with_their_defaults() {
        assert_eq!(shown("a${aws:x}b"), ["text a", "variable aws:x None", "text b"]);
        assert_eq!(
            shown("${aws:PrincipalTag/t, 'a:b*'}"),
            ["variable aws:PrincipalTag/t Some(\"a:b*\")"]
        );
        assert_eq!(shown("${k,'}'}z"), ["variable k Some(\"}\")", "text z"]);
        assert_eq!(shown("${k, ''}"), ["variable k Some(\"\")"]);
        assert_eq!(shown("${*}${?}${$}"), ["literal *", "literal ?", "literal $"]);
        for text in ["${", "${open", "$", "${k, default}", "${k, 'open}", "a$b{c}"] {
            assert_eq!(shown(text), [format!("text {text}")]);
        }
    }

    #[test]
    fn arn_patterns_have_six_parts() {
        for text in [
            "arn:aws:iam::111122223333:role/x",
            "arn:*:*:*:*:*",
            "*:*:*:*:*:*",
            "*",
            "${aws:x}",
            "a?n:a:b:c:d:e:f",
        ] {
            assert!(is_arn_pattern(text), "{text}");
        }
        for text in ["", "arn:aws:iam::111122223333", "**", "role", "urn:a:b:c:d:e", "${open"] {
            assert!(!is_arn_pattern(text), "{text}");
        }
    }
}
