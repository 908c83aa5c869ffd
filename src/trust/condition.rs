//! Condition operators in three-valued logic: is a condition true for a request?

pub(super) mod key;
mod literal;
mod service_prefixes;
pub(super) mod value;

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;

use self::key::{ConditionKey, Given};
use self::literal::{Decimal, Timestamp};
use self::value::{Meaning, Value, Variables, Wildcards};
use super::glob::{self, Token};
use super::request::Request;
use super::ternary::Ternary;
use crate::support::text;

/// One key under one operator, with the values it is compared to. Operators, keys and statements' other parts are ANDed,
/// the values ORed.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// As written, for people.
    pub(crate) operator_text: Box<str>,
    pub(crate) operator: Operator,
    pub(crate) key: ConditionKey,
    pub(crate) values: Box<[Value]>,
}

/// A condition operator with its prefix and suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) quantifier: Option<Quantifier>,
    pub(crate) test: Test,
    pub(crate) if_exists: bool,
}

/// `ForAllValues:` or `ForAnyValue:`. On a key with one value, both act as on a set of one; they differ where it is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    ForAllValues,
    ForAnyValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    Text(TextTest, Polarity),
    Arn(Polarity),
    Number(Comparison),
    Date(Comparison),
    Bool,
    Bytes,
    Address(Polarity),
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextTest {
    Equals,
    EqualsIgnoreCase,
    Like,
}

/// A negated operator holds when **none** of its values matches, and on an absent key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polarity {
    Positive,
    Negated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equals,
    NotEquals,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

use Comparison as C;
use Polarity::{Negated, Positive};

/// Every operator of IAM's reference, without prefix and suffix.
const OPERATORS: [(&str, Test); 27] = [
    ("StringEquals", Test::Text(TextTest::Equals, Positive)),
    ("StringNotEquals", Test::Text(TextTest::Equals, Negated)),
    (
        "StringEqualsIgnoreCase",
        Test::Text(TextTest::EqualsIgnoreCase, Positive),
    ),
    (
        "StringNotEqualsIgnoreCase",
        Test::Text(TextTest::EqualsIgnoreCase, Negated),
    ),
    ("StringLike", Test::Text(TextTest::Like, Positive)),
    ("StringNotLike", Test::Text(TextTest::Like, Negated)),
    ("ArnEquals", Test::Arn(Positive)),
    ("ArnLike", Test::Arn(Positive)),
    ("ArnNotEquals", Test::Arn(Negated)),
    ("ArnNotLike", Test::Arn(Negated)),
    ("NumericEquals", Test::Number(C::Equals)),
    ("NumericNotEquals", Test::Number(C::NotEquals)),
    ("NumericLessThan", Test::Number(C::Less)),
    ("NumericLessThanEquals", Test::Number(C::LessOrEqual)),
    ("NumericGreaterThan", Test::Number(C::Greater)),
    ("NumericGreaterThanEquals", Test::Number(C::GreaterOrEqual)),
    ("DateEquals", Test::Date(C::Equals)),
    ("DateNotEquals", Test::Date(C::NotEquals)),
    ("DateLessThan", Test::Date(C::Less)),
    ("DateLessThanEquals", Test::Date(C::LessOrEqual)),
    ("DateGreaterThan", Test::Date(C::Greater)),
    ("DateGreaterThanEquals", Test::Date(C::GreaterOrEqual)),
    ("Bool", Test::Bool),
    ("BinaryEquals", Test::Bytes),
    ("IpAddress", Test::Address(Positive)),
    ("NotIpAddress", Test::Address(Negated)),
    ("Null", Test::Null),
];

const PREFIXES: [(&str, Quantifier); 2] = [
    ("ForAllValues:", Quantifier::ForAllValues),
    ("ForAnyValue:", Quantifier::ForAnyValue),
];
const IF_EXISTS: &str = "IfExists";

impl Operator {
    /// Parses an operator's name, which ignores case.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment for people.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (quantifier, rest) = PREFIXES
            .iter()
            .find(|(prefix, _)| text::starts_with_ignore_case(text, prefix))
            .map_or((None, text), |(prefix, quantifier)| {
                (Some(*quantifier), text.get(prefix.len()..).unwrap_or_default())
            });
        let base = rest
            .len()
            .checked_sub(IF_EXISTS.len())
            .and_then(|at| rest.split_at_checked(at))
            .and_then(|(base, suffix)| suffix.eq_ignore_ascii_case(IF_EXISTS).then_some(base));
        let (name, if_exists) = base.map_or((rest, false), |base| (base, true));
        let Some((_, test)) = OPERATORS
            .iter()
            .find(|(operator, _)| operator.eq_ignore_ascii_case(name))
        else {
            let meant = text::nearest_word(name, OPERATORS.iter().map(|(operator, _)| *operator));
            return Err(match meant {
                Some(meant) => format!("no such condition operator; did you mean {meant}?"),
                None => "no such condition operator".to_owned(),
            });
        };
        if *test == Test::Null && (quantifier.is_some() || if_exists) {
            return Err("Null takes neither ForAllValues: nor ForAnyValue: nor IfExists".to_owned());
        }
        Ok(Self {
            quantifier,
            test: *test,
            if_exists,
        })
    }

    /// Compiles a value.
    ///
    /// # Errors
    /// What literal the operator takes, as a fragment for people.
    pub(crate) fn value(&self, text: String, variables: Variables) -> Result<Value, &'static str> {
        let typed = |text, read: fn(&str) -> Option<Meaning>, wanted| Value::typed(text, read).ok_or(wanted);
        match self.test {
            Test::Text(test, _) => Ok(Value::text(text, test.wildcards(), variables)),
            Test::Arn(_) if value::is_arn_pattern(&text) => Ok(Value::text(text, Wildcards::Known, variables)),
            Test::Arn(_) => Err("expected an ARN of six parts, arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE"),
            Test::Number(_) => typed(text, value::number, "expected a number"),
            Test::Date(_) => typed(
                text,
                value::timestamp,
                "expected a date as 2030-01-31T12:00:00Z or in seconds since 1970",
            ),
            Test::Address(_) => typed(
                text,
                value::network,
                "expected an IP address or a range as 192.0.2.0/24",
            ),
            Test::Bytes => typed(text, value::bytes, "expected base64"),
            Test::Bool | Test::Null => Ok(Value::flag(text)),
        }
    }

    /// The result for a key that is absent.
    fn on_absent(&self) -> Ternary {
        match (self.quantifier, self.if_exists) {
            (Some(Quantifier::ForAllValues), _) => Ternary::True,
            // Two rules of IAM apply here, and its documentation does not state which one takes precedence.
            (Some(Quantifier::ForAnyValue), true) => Ternary::Unknown,
            (Some(Quantifier::ForAnyValue), false) => Ternary::False,
            (None, true) => Ternary::True,
            (None, false) => self.test.is_negated().into(),
        }
    }
}

impl Test {
    pub(crate) fn is_negated(self) -> bool {
        match self {
            Self::Text(_, polarity) | Self::Arn(polarity) | Self::Address(polarity) => polarity == Negated,
            Self::Number(comparison) | Self::Date(comparison) => comparison == C::NotEquals,
            Self::Bool | Self::Bytes | Self::Null => false,
        }
    }
    /// A positive answer, turned round for a negated operator.
    fn polarized(self, positive: Ternary) -> Ternary {
        if self.is_negated() { !positive } else { positive }
    }
}

impl TextTest {
    pub(crate) fn wildcards(self) -> Wildcards {
        match self {
            Self::Like => Wildcards::Known,
            Self::Equals | Self::EqualsIgnoreCase => Wildcards::Literal,
        }
    }
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            // Not-equal is asked as equal and turned round, so that several values are a NOR.
            Self::Equals | Self::NotEquals => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// Whether it is true for a request's time, which is now or later.
    fn holds_from(self, now: Ordering) -> Ternary {
        match self {
            Self::Equals | Self::NotEquals | Self::LessOrEqual if now.is_gt() => Ternary::False,
            Self::Less if now.is_ge() => Ternary::False,
            Self::Greater if now.is_gt() => Ternary::True,
            Self::GreaterOrEqual if now.is_ge() => Ternary::True,
            _ => Ternary::Unknown,
        }
    }
}

/// The possible values of a key whose value is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Domain {
    /// Anything at all.
    Anything,
    /// What STS takes as a session name: 2 to 64 of `[\w+=,.@-]`.
    SessionName,
}

impl Condition {
    /// Whether the condition is true.
    pub(crate) fn truth(&self, request: &Request<'_>) -> Ternary {
        if self.values.is_empty() {
            // IAM stores an empty list, and no documentation states what it means.
            return Ternary::Unknown;
        }
        let given = self.key.given(request);
        if self.operator.test == Test::Null {
            return self.null(&given);
        }
        match given {
            Given::Absent => self.operator.on_absent(),
            Given::Text(text) => self.on_text(&text, request),
            Given::Beginning(beginning) => self.on_beginning(beginning, request),
            Given::Set(texts) => self.on_set(texts, request),
            Given::SessionName => self.on_some(Domain::SessionName, request),
            Given::CurrentTime | Given::EpochTime => self.on_time(&given, request),
            Given::Unknown => self
                .operator
                .on_absent()
                .either(self.on_some(Domain::Anything, request)),
        }
    }

    /// `"true"` asks that the key is absent, anything else that it is there.
    fn null(&self, given: &Given<'_>) -> Ternary {
        let on = |is_absent: bool| {
            self.values
                .iter()
                .any(|value| matches!(value.meaning, Meaning::Flag(flag) if flag == is_absent))
        };
        match given {
            Given::Absent => on(true).into(),
            Given::Unknown => Ternary::from(on(true)).either(on(false).into()),
            Given::Text(_)
            | Given::Beginning(_)
            | Given::Set(_)
            | Given::SessionName
            | Given::CurrentTime
            | Given::EpochTime => on(false).into(),
        }
    }

    /// On a key that holds several texts. Without a quantifier, no value of the condition matches them; whether a negated operator then
    /// holds is not documented.
    fn on_set(&self, texts: &[&str], request: &Request<'_>) -> Ternary {
        let mut truths = texts.iter().map(|text| self.on_text(text, request));
        match self.operator.quantifier {
            Some(Quantifier::ForAllValues) => truths.fold(Ternary::True, Ternary::and),
            Some(Quantifier::ForAnyValue) => Ternary::any(&mut truths),
            None if self.operator.test.is_negated() => Ternary::Unknown,
            None => Ternary::False,
        }
    }

    /// On a key that holds a text of which only the beginning is known.
    fn on_beginning(&self, beginning: &str, request: &Request<'_>) -> Ternary {
        match self.operator.test {
            Test::Text(test, _) => {
                let reach = |value: &Value| beginning_reach(value, test, beginning, request);
                let positive = Ternary::any(self.values.iter().map(reach));
                self.operator.test.polarized(positive)
            }
            Test::Arn(_) if !"arn:".starts_with(beginning) && !beginning.starts_with("arn:") => Ternary::False,
            _ => self.on_some(Domain::Anything, request),
        }
    }

    /// On a key that holds this text.
    fn on_text(&self, text: &str, request: &Request<'_>) -> Ternary {
        let any = |holds: &dyn Fn(&Value) -> Ternary| Ternary::any(self.values.iter().map(holds));
        let positive = match self.operator.test {
            Test::Text(test, _) => any(&|value| text_matches(value, test, text, request)),
            // What is not an ARN, or not an address, satisfies neither the positive nor the negated operator.
            Test::Arn(_) if !is_arn(text) => return Ternary::False,
            Test::Arn(_) => any(&|value| arn_matches(value, text, request)),
            Test::Number(comparison) => match Decimal::parse(text) {
                Some(number) => any(&|value| match &value.meaning {
                    Meaning::Number(wanted) => comparison.holds(number.cmp(wanted)).into(),
                    _ => Ternary::Unknown,
                }),
                None => Ternary::False,
            },
            Test::Date(comparison) => match Timestamp::parse(text) {
                Some(instant) => any(&|value| match &value.meaning {
                    Meaning::Timestamp(wanted) => comparison.holds(instant.cmp(wanted)).into(),
                    _ => Ternary::Unknown,
                }),
                None => Ternary::False,
            },
            Test::Bool => {
                let given = text.eq_ignore_ascii_case("true");
                any(&|value| matches!(value.meaning, Meaning::Flag(flag) if flag == given).into())
            }
            Test::Bytes => any(&|value| match &value.meaning {
                Meaning::Bytes(wanted) => (wanted.as_ref() == text.as_bytes()).into(),
                _ => Ternary::Unknown,
            }),
            Test::Address(_) => {
                let Ok(address) = text.parse::<IpAddr>() else {
                    return Ternary::False;
                };
                any(&|value| match &value.meaning {
                    Meaning::Network(network) => network.contains(&address).into(),
                    _ => Ternary::Unknown,
                })
            }
            Test::Null => return Ternary::Unknown,
        };
        self.operator.test.polarized(positive)
    }

    /// On a key that is there and holds something of a domain: true or false only when it is so for all of them.
    fn on_some(&self, domain: Domain, request: &Request<'_>) -> Ternary {
        let any = |holds: &dyn Fn(&Value) -> Ternary| Ternary::any(self.values.iter().map(holds));
        match self.operator.test {
            Test::Text(test, _) => {
                let reach = |value: &Value| match (&value.meaning, domain) {
                    // The common case, without an allocation.
                    (Meaning::Exact, Domain::Anything) => Ternary::Unknown,
                    _ => text_reach(value, test, domain, request),
                };
                self.operator.test.polarized(any(&reach))
            }
            Test::Arn(_) if domain == Domain::SessionName => Ternary::False,
            Test::Arn(_) => {
                // False for all that is not an ARN; so it is false throughout, or depends on the value.
                let on_arns = self.operator.test.polarized(any(&|value| arn_reach(value, request)));
                on_arns.and(Ternary::Unknown)
            }
            Test::Bool => {
                let wants = |wanted| {
                    self.values
                        .iter()
                        .any(|value| matches!(value.meaning, Meaning::Flag(flag) if flag == wanted))
                };
                if wants(true) && wants(false) {
                    Ternary::True
                } else {
                    Ternary::Unknown
                }
            }
            Test::Bytes if domain == Domain::SessionName => any(&|value| match &value.meaning {
                Meaning::Bytes(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) => session_name_reach(text.chars().map(Token::Char)),
                    Err(_) => Ternary::False,
                },
                _ => Ternary::Unknown,
            }),
            Test::Address(polarity) => self.address_reach(polarity, domain),
            Test::Number(_) | Test::Date(_) | Test::Bytes | Test::Null => Ternary::Unknown,
        }
    }

    fn address_reach(&self, polarity: Polarity, domain: Domain) -> Ternary {
        let holds_all_of = |is_ipv4: bool| {
            self.values.iter().any(|value| {
                matches!(&value.meaning, Meaning::Network(network) if is_v4(network) == is_ipv4 && network.prefix_len() == 0)
            })
        };
        // A session name has no colons, so it is not an IPv6 address.
        let can_be_ipv6 = domain == Domain::Anything;
        let nothing_is_left = match polarity {
            Positive => {
                !can_be_ipv6
                    && self
                        .values
                        .iter()
                        .all(|value| matches!(&value.meaning, Meaning::Network(network) if !is_v4(network)))
            }
            Negated => holds_all_of(true) && (!can_be_ipv6 || holds_all_of(false)),
        };
        if nothing_is_left {
            Ternary::False
        } else {
            Ternary::Unknown
        }
    }

    /// On the time of the request, which is always there and only grows: a bound that has passed has passed for ever.
    fn on_time(&self, given: &Given<'_>, request: &Request<'_>) -> Ternary {
        let on_now = |compare: &dyn Fn(i64, &Meaning) -> Option<Ordering>, comparison: Comparison| {
            let holds = |value: &Value| match request.context.now.and_then(|now| compare(now, &value.meaning)) {
                Some(ordering) => comparison.holds_from(ordering),
                None => Ternary::Unknown,
            };
            self.operator
                .test
                .polarized(Ternary::any(self.values.iter().map(holds)))
        };
        match (self.operator.test, given) {
            (Test::Date(comparison), _) => on_now(
                &|now, wanted| match wanted {
                    Meaning::Timestamp(wanted) => Some(
                        Timestamp {
                            seconds: now,
                            nanoseconds: 0,
                        }
                        .cmp(wanted),
                    ),
                    _ => None,
                },
                comparison,
            ),
            (Test::Number(comparison), Given::EpochTime) => on_now(
                &|now, wanted| match wanted {
                    Meaning::Number(wanted) => Some(Decimal::from(now).cmp(wanted)),
                    _ => None,
                },
                comparison,
            ),
            _ => self.on_some(Domain::Anything, request),
        }
    }
}

/// Whether a text matches a value of a String operator.
pub(crate) fn text_matches(value: &Value, test: TextTest, text: &str, request: &Request<'_>) -> Ternary {
    match (&value.meaning, test) {
        (Meaning::Exact, TextTest::Equals | TextTest::Like) => (*value.text == *text).into(),
        (Meaning::Exact, TextTest::EqualsIgnoreCase) => (value.text.to_lowercase() == text.to_lowercase()).into(),
        (Meaning::Pattern, _) => glob::matches(&value.text, text).into(),
        _ => {
            let Some(expansion) = value.expand(test.wildcards(), request) else {
                return Ternary::False;
            };
            let fits = match test {
                TextTest::EqualsIgnoreCase => equals_ignoring_case(&expansion.tokens, text),
                TextTest::Equals | TextTest::Like => glob::matches_tokens(expansion.tokens.iter().copied(), text),
            };
            Ternary::from(fits).and(expansion.certainty)
        }
    }
}

/// Compares the lower-cased texts, as STS does: a sigma at the end of a word has a form of its own there. Where a part of the
/// pattern is not known, so is whether a sigma ends a word, and both forms count as one.
fn equals_ignoring_case(tokens: &[Token], text: &str) -> bool {
    let known: Option<String> = tokens
        .iter()
        .map(|token| match token {
            Token::Char(c) => Some(*c),
            Token::One | Token::Run => None,
        })
        .collect();
    if let Some(known) = known {
        return known.to_lowercase() == text.to_lowercase();
    }
    let text: String = text.chars().flat_map(lowered_char).collect();
    glob::matches_tokens(tokens.iter().copied().flat_map(lowered), &text)
}

fn lowered_char(c: char) -> impl Iterator<Item = char> + Clone {
    c.to_lowercase().map(|c| if c == 'ς' { 'σ' } else { c })
}

fn lowered(token: Token) -> impl Iterator<Item = Token> + Clone {
    let (c, other) = match token {
        Token::Char(c) => (Some(c), None),
        other => (None, Some(other)),
    };
    c.into_iter().flat_map(lowered_char).map(Token::Char).chain(other)
}

/// Which of a domain's texts a value of a String operator matches: all, none, or some.
fn text_reach(value: &Value, test: TextTest, domain: Domain, request: &Request<'_>) -> Ternary {
    let Some(expansion) = value.expand(test.wildcards(), request) else {
        return Ternary::False;
    };
    let tokens = expansion.tokens.iter().copied();
    let reach = match (domain, test) {
        (Domain::Anything, _) => {
            let all = !expansion.tokens.is_empty() && expansion.tokens.iter().all(|token| *token == Token::Run);
            if all { Ternary::True } else { Ternary::Unknown }
        }
        (Domain::SessionName, TextTest::EqualsIgnoreCase) => session_name_reach(tokens.flat_map(lowered)),
        (Domain::SessionName, TextTest::Equals | TextTest::Like) => session_name_reach(tokens),
    };
    match expansion.certainty {
        Ternary::True => reach,
        _ => reach.and(Ternary::Unknown),
    }
}

/// Which of the texts with this beginning a value of a String operator matches: all, none, or some.
fn beginning_reach(value: &Value, test: TextTest, beginning: &str, request: &Request<'_>) -> Ternary {
    let Some(expansion) = value.expand(test.wildcards(), request) else {
        return Ternary::False;
    };
    let reach = match test {
        TextTest::Equals | TextTest::Like => glob::reach_after(&expansion.tokens, beginning),
        TextTest::EqualsIgnoreCase => {
            let tokens: Vec<Token> = expansion.tokens.iter().copied().flat_map(lowered).collect();
            let beginning: String = beginning.chars().flat_map(lowered_char).collect();
            glob::reach_after(&tokens, &beginning)
        }
    };
    match expansion.certainty {
        Ternary::True => reach,
        _ => reach.and(Ternary::Unknown),
    }
}

fn session_name_reach(tokens: impl Iterator<Item = Token>) -> Ternary {
    let (mut characters, mut any, mut runs) = (0_usize, 0_usize, 0_usize);
    for token in tokens {
        match token {
            Token::Char(c) if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) => characters += 1,
            Token::Char(_) => return Ternary::False,
            Token::One => any += 1,
            Token::Run => runs += 1,
        }
    }
    match characters + any {
        least if least > 64 || (least < 2 && runs == 0) => Ternary::False,
        least if least <= 2 && characters == 0 && runs > 0 => Ternary::True,
        _ => Ternary::Unknown,
    }
}

fn is_v4(network: &IpNet) -> bool {
    matches!(network, IpNet::V4(_))
}

/// Six parts, of which the first is `arn` and the last keeps its colons.
fn is_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.splitn(6, ':').count() == 6
}

/// Whether an ARN matches a value of an Arn operator, part by part.
fn arn_matches(value: &Value, arn: &str, request: &Request<'_>) -> Ternary {
    match &value.meaning {
        Meaning::Exact | Meaning::Pattern if &*value.text == "*" => Ternary::True,
        Meaning::Exact | Meaning::Pattern => {
            let mut parts = arn.splitn(6, ':');
            let all_fit = value
                .text
                .splitn(6, ':')
                .all(|pattern| parts.next().is_some_and(|part| glob::matches(pattern, part)));
            (all_fit && parts.next().is_none()).into()
        }
        _ => {
            let Some(expansion) = value.expand(Wildcards::Known, request) else {
                return Ternary::False;
            };
            if expansion.certainty != Ternary::True {
                // An unknown text may hold colons: only what fits not even across them is surely out.
                return Ternary::from(glob::matches_tokens(expansion.tokens.iter().copied(), arn))
                    .and(Ternary::Unknown);
            }
            if expansion.tokens == [Token::Run] {
                return Ternary::True;
            }
            let mut parts = arn.splitn(6, ':');
            let all_fit = expansion
                .tokens
                .splitn(6, |token| *token == Token::Char(':'))
                .all(|pattern| {
                    parts
                        .next()
                        .is_some_and(|part| glob::matches_tokens(pattern.iter().copied(), part))
                });
            (all_fit && parts.next().is_none()).into()
        }
    }
}

/// Which ARNs a value of an Arn operator matches: all, none, or some.
fn arn_reach(value: &Value, request: &Request<'_>) -> Ternary {
    let Some(expansion) = value.expand(Wildcards::Known, request) else {
        return Ternary::False;
    };
    if expansion.certainty != Ternary::True {
        return Ternary::Unknown;
    }
    if expansion.tokens == [Token::Run] {
        return Ternary::True;
    }
    let parts: Vec<&[Token]> = expansion.tokens.splitn(6, |token| *token == Token::Char(':')).collect();
    let Some((first, others)) = parts.split_first() else {
        return Ternary::False;
    };
    if others.len() != 5 || !glob::matches_tokens(first.iter().copied(), "arn") {
        return Ternary::False;
    }
    let is_anything = |part: &&[Token]| !part.is_empty() && part.iter().all(|token| *token == Token::Run);
    if others.iter().all(is_anything) {
        Ternary::True
    } else {
        Ternary::Unknown
    }
}
