//! Where and how a document breaks IAM's grammar.

use std::fmt;

use crate::support::text::{self, quote};

/// Why a document is not a valid trust policy. `Display` is one line: the place (`statement 2, Condition.StringEqual`), unless it is the
/// whole document, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PolicyError {
    message: Box<str>,
}

/// The longest message, in characters.
const LONGEST_MESSAGE: usize = 400;

impl PolicyError {
    pub(super) fn new(place: &Place<'_>, problem: &str) -> Self {
        let message = format!("{place}{problem}");
        Self {
            message: text::truncate(&message, LONGEST_MESSAGE).into_owned().into(),
        }
    }
}

/// A place in a document.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Document,
    Top(&'a str),
    Statement(usize),
    Element(usize, &'a str),
    /// An element's member, e.g. an operator.
    Member(usize, &'a str, &'a str),
    /// A key under an operator.
    Key(usize, &'a str, &'a str),
}

/// What precedes a problem; nothing for the whole document, which the sentence around it names already.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text| text::value_within(text, 100);
        match self {
            Self::Document => Ok(()),
            Self::Top(element) => write!(f, "{}: ", shown(element)),
            Self::Statement(number) => write!(f, "statement {number}: "),
            Self::Element(number, element) => write!(f, "statement {number}, {}: ", shown(element)),
            Self::Member(number, element, member) => write!(f, "statement {number}, {element}.{}: ", shown(member)),
            Self::Key(number, operator, key) => {
                write!(f, "statement {number}, Condition.{}.{}: ", shown(operator), quote(key))
            }
        }
    }
}
