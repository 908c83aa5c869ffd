//! The grammar of a trust policy: JSON text to a compiled [`Policy`], or why IAM would refuse to store it.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::value::RawValue;

use super::condition::{Entry, Operator};
use super::glob;
use super::json::Json;
use super::key::Key;
use super::size::{DEFAULT_QUOTA, size};
use super::value::{Value, Variables};
use super::{not_json, storable};
use crate::support::text::{self, quote};

/// A well-formed trust policy, compiled for evaluation.
#[derive(Debug)]
pub struct Policy {
    pub(crate) statements: Box<[Statement]>,
    /// Whether `${…}` is a variable.
    pub(crate) variables: Variables,
    mentions_role_session_name: bool,
    mentions_role_tags: bool,
    mentions_time: bool,
    unstorable: Box<[PolicyError]>,
    origin: Origin,
    /// Characters as IAM counts them, where there are more than the default quota.
    over_default_quota: Option<usize>,
}

/// Whether IAM has seen a document. What IAM stores is judged as it is; what somebody writes is held to IAM's rules first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// IAM stores it: an answer of its API, or the output of the AWS CLI.
    #[default]
    Stored,
    /// A person or a tool wrote it: a bare document, Terraform.
    Written,
}

/// One statement of a policy.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// From 1.
    pub(crate) number: usize,
    /// Not empty.
    pub(crate) sid: Option<Box<str>>,
    pub(crate) effect: Effect,
    pub(crate) principals: Principals,
    pub(crate) actions: Actions,
    pub(crate) entries: Box<[Entry]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// Whom a statement is about; at least one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Principals {
    pub(crate) federated: Vec<Box<str>>,
    pub(crate) service: Vec<Box<str>>,
    pub(crate) aws: Vec<Box<str>>,
}

/// What a statement is about.
#[derive(Clone, Debug)]
pub(crate) struct Actions {
    pub(crate) form: ActionForm,
    pub(crate) patterns: Vec<Box<str>>,
    /// Whether `sts:AssumeRoleWithWebIdentity` is meant; it is the only action ever asked for, so it is asked once.
    pub(crate) mean_web_identity: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActionForm {
    Action,
    NotAction,
}

impl ActionForm {
    /// The element's name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "Action",
            Self::NotAction => "NotAction",
        }
    }
}

/// The action by which a web identity assumes a role.
pub(crate) const ASSUME_ROLE_WITH_WEB_IDENTITY: &str = "sts:AssumeRoleWithWebIdentity";

impl Policy {
    /// Parses a policy document from its JSON text. Takes time and space linear in its length, whatever it holds. IAM
    /// stores at most 8192 characters; what is longer is read all the same, because it is not in force through us.
    ///
    /// # Errors
    /// Where and how it breaks IAM's grammar.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        let json = json.trim_start_matches('\u{feff}');
        let document = Json::parse(json).map_err(|error| not_json::error(json, &error))?;
        let members = match document {
            Json::Object(_) => object(document, &Place::Document)?,
            other => return Err(not_json::not_an_object(&other)),
        };
        let mut policy = read_document(members)?;
        policy.unstorable = storable::refusals(json, &policy.statements).into();
        // White space is free, so a short text needs no counting.
        policy.over_default_quota = (json.len() > DEFAULT_QUOTA)
            .then(|| size(json))
            .filter(|characters| *characters > DEFAULT_QUOTA);
        Ok(policy)
    }
    /// As [`Policy::parse`], for a document that somebody writes and IAM has not seen yet.
    ///
    /// # Errors
    /// Also where IAM would refuse to store it ([`Policy::unstorable`]).
    pub fn parse_written(json: &str) -> Result<Self, PolicyError> {
        let policy = Self::parse(json)?;
        match policy.unstorable.first() {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(policy),
        }
    }
    /// Why IAM would refuse to store this document, the first reason of each kind: characters, size, `Sid`s, actions,
    /// `Federated` principals. Empty for nearly every document; IAM is known to hold older ones that it would refuse today.
    #[must_use]
    pub fn unstorable(&self) -> &[PolicyError] {
        &self.unstorable
    }
    /// Parses a document as `GetRole` and `ListRoles` hand it out: percent-encoded (`+` stays `+`). Text that starts
    /// with `{` after white space is taken as it is.
    ///
    /// # Errors
    /// As [`Policy::parse`].
    pub fn parse_encoded(text: &str) -> Result<Self, PolicyError> {
        if text.trim_start().starts_with('{') {
            return Self::parse(text);
        }
        match percent_encoding::percent_decode_str(text).decode_utf8() {
            Ok(json) => Self::parse(&json),
            Err(_) => Err(PolicyError::new(
                &Place::Document,
                "its percent escapes do not make UTF-8 text",
            )),
        }
    }
    /// How many characters it has, as IAM counts them, where that is more than the default quota of a trust policy.
    #[must_use]
    pub const fn over_default_quota(&self) -> Option<usize> {
        self.over_default_quota
    }
    /// The policy, as one of this origin.
    #[must_use]
    pub fn of_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
    /// Why IAM would refuse to store it, for a document that IAM has not stored yet.
    #[must_use]
    pub fn objection(&self) -> Option<&PolicyError> {
        match self.origin {
            Origin::Stored => None,
            Origin::Written => self.unstorable.first(),
        }
    }
    /// The same document with other statements, for judging an edit of it.
    pub(crate) fn with_statements(&self, statements: Vec<Statement>) -> Self {
        Self {
            statements: statements.into(),
            unstorable: Box::default(),
            ..*self
        }
    }
    /// Whether any statement asks for `sts:RoleSessionName`.
    #[must_use]
    pub fn mentions_role_session_name(&self) -> bool {
        self.mentions_role_session_name
    }
    /// Whether any statement asks for a tag of the role (`aws:ResourceTag/…`, `iam:ResourceTag/…`), which `ListRoles` does not
    /// tell.
    #[must_use]
    pub fn mentions_role_tags(&self) -> bool {
        self.mentions_role_tags
    }
    /// Whether any statement asks for the time of the request (`aws:CurrentTime`, `aws:EpochTime`): where none does, the
    /// judgment does not need [`Context::now`](super::Context::now).
    #[must_use]
    pub fn mentions_time(&self) -> bool {
        self.mentions_time
    }
}

/// Why a document is no trust policy. `Display` is one line: the place (`statement 2, Condition.StringEqual`) and what was
/// expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    message: Box<str>,
}

/// The longest message, in characters.
const LONGEST_MESSAGE: usize = 400;

impl PolicyError {
    pub(super) fn new(place: &Place<'_>, problem: &str) -> Self {
        Self {
            message: text::truncate(&format!("{place}: {problem}"), LONGEST_MESSAGE)
                .into_owned()
                .into(),
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyError {}

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

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text| text::value_within(text, 100);
        match self {
            Self::Document => f.write_str("the document"),
            Self::Top(element) => f.write_str(&shown(element)),
            Self::Statement(number) => write!(f, "statement {number}"),
            Self::Element(number, element) => write!(f, "statement {number}, {}", shown(element)),
            Self::Member(number, element, member) => write!(f, "statement {number}, {element}.{}", shown(member)),
            Self::Key(number, operator, key) => {
                write!(f, "statement {number}, Condition.{}.{}", shown(operator), quote(key))
            }
        }
    }
}

const TOP_ELEMENTS: [&str; 3] = ["Version", "Id", "Statement"];
const STATEMENT_ELEMENTS: [&str; 7] = [
    "Sid",
    "Effect",
    "Principal",
    "Action",
    "NotAction",
    "Condition",
    "Resource",
];

fn read_document(members: Vec<(String, &RawValue)>) -> Result<Policy, PolicyError> {
    let mut variables = Variables::PlainText;
    let mut statements = None;
    for (name, raw) in &members {
        let place = Place::Top(name);
        match name.as_str() {
            "Version" => variables = version(read(raw, &place)?, &place)?,
            "Id" => _ = text(read(raw, &place)?, &place)?,
            "Statement" => statements = Some(read(raw, &place)?),
            "Role" | "Roles" | "AssumeRolePolicyDocument" => return Err(not_json::is_iam_output(name)),
            other => return Err(unknown_element(&place, other, &TOP_ELEMENTS, "a trust policy")),
        }
    }
    let place = Place::Top("Statement");
    let statements = match statements {
        None => return Err(PolicyError::new(&Place::Document, "Statement is missing")),
        Some(Json::List(list)) if list.is_empty() => {
            return Err(PolicyError::new(&place, "it is empty; expected a statement"));
        }
        Some(Json::List(list)) => {
            let mut statements = Vec::with_capacity(list.len());
            for (index, raw) in list.into_iter().enumerate() {
                let place = Place::Statement(index + 1);
                statements.push(read_statement(
                    object(read(raw, &place)?, &place)?,
                    index + 1,
                    variables,
                )?);
            }
            statements
        }
        Some(single) => vec![read_statement(object(single, &Place::Statement(1))?, 1, variables)?],
    };
    refuse_repeated_sids(&statements)?;
    let mentions = |asked: fn(&Key) -> bool| {
        let mut entries = statements.iter().flat_map(|statement| &statement.entries);
        entries.any(|entry| asked(&entry.key) || entry.values.iter().flat_map(Value::variables).any(asked))
    };
    let mentions_role_session_name = mentions(Key::is_session_name);
    let mentions_role_tags = mentions(Key::is_role_tag);
    let mentions_time = mentions(Key::is_time);
    Ok(Policy {
        statements: statements.into(),
        variables,
        mentions_role_session_name,
        mentions_role_tags,
        mentions_time,
        unstorable: Box::default(),
        origin: Origin::Stored,
        over_default_quota: None,
    })
}

fn version(json: Json<'_>, place: &Place<'_>) -> Result<Variables, PolicyError> {
    match &json {
        Json::Text(version) if version == "2012-10-17" => Ok(Variables::Known),
        Json::Text(version) if version == "2008-10-17" => Ok(Variables::PlainText),
        Json::Text(version) => {
            let problem = format!(
                "{} is no version; expected \"2012-10-17\" or \"2008-10-17\"",
                quote(version)
            );
            Err(PolicyError::new(place, &problem))
        }
        other => Err(expected(place, "the text \"2012-10-17\" or \"2008-10-17\"", other)),
    }
}

fn refuse_repeated_sids(statements: &[Statement]) -> Result<(), PolicyError> {
    let mut seen = BTreeSet::new();
    for statement in statements {
        if let Some(sid) = &statement.sid
            && !seen.insert(sid)
        {
            let problem = format!("another statement has the Sid {} too; a Sid is unique", quote(sid));
            return Err(PolicyError::new(&Place::Statement(statement.number), &problem));
        }
    }
    Ok(())
}

fn read_statement(
    members: Vec<(String, &RawValue)>,
    number: usize,
    variables: Variables,
) -> Result<Statement, PolicyError> {
    let mut sid = None;
    let mut effect = None;
    let mut principals = None;
    let mut actions: Option<Actions> = None;
    let mut entries = Box::default();
    for (name, raw) in &members {
        let place = Place::Element(number, name);
        match name.as_str() {
            "Sid" => sid = Some(text(read(raw, &place)?, &place)?).filter(|sid| !sid.is_empty()),
            "Effect" => effect = Some(read_effect(read(raw, &place)?, &place)?),
            "Principal" => principals = Some(read_principals(read(raw, &place)?, number)?),
            "Action" | "NotAction" if actions.is_some() => {
                return Err(PolicyError::new(
                    &Place::Statement(number),
                    "it has both Action and NotAction; one is allowed",
                ));
            }
            "Action" => actions = Some(read_actions(read(raw, &place)?, ActionForm::Action, &place)?),
            "NotAction" => actions = Some(read_actions(read(raw, &place)?, ActionForm::NotAction, &place)?),
            "Condition" => entries = read_condition(read(raw, &place)?, number, variables)?,
            "Resource" | "NotResource" => {
                return Err(PolicyError::new(
                    &place,
                    "a trust policy has no resources; the role itself is meant",
                ));
            }
            "NotPrincipal" => {
                return Err(PolicyError::new(
                    &place,
                    "a trust policy takes no NotPrincipal; write Principal",
                ));
            }
            other => return Err(unknown_element(&place, other, &STATEMENT_ELEMENTS, "a statement")),
        }
    }
    let missing = |what: &str| PolicyError::new(&Place::Statement(number), what);
    Ok(Statement {
        number,
        sid: sid.map(String::into_boxed_str),
        effect: effect.ok_or_else(|| missing("Effect is missing; expected \"Allow\" or \"Deny\""))?,
        principals: principals.ok_or_else(|| missing("Principal is missing"))?,
        actions: actions.ok_or_else(|| missing("Action is missing"))?,
        entries,
    })
}

fn read_effect(json: Json<'_>, place: &Place<'_>) -> Result<Effect, PolicyError> {
    match &json {
        Json::Text(effect) if effect == "Allow" => Ok(Effect::Allow),
        Json::Text(effect) if effect == "Deny" => Ok(Effect::Deny),
        Json::Text(effect) => {
            let problem = format!(
                "{} is no effect; expected \"Allow\" or \"Deny\" in this case",
                quote(effect)
            );
            Err(PolicyError::new(place, &problem))
        }
        other => Err(expected(place, "\"Allow\" or \"Deny\"", other)),
    }
}

fn read_principals(json: Json<'_>, number: usize) -> Result<Principals, PolicyError> {
    const TYPES: [&str; 3] = ["Federated", "AWS", "Service"];
    let place = Place::Element(number, "Principal");
    let members = match json {
        // IAM rewrites this when it stores it, so it comes only from files.
        Json::Text(text) if text == "*" => {
            return Ok(Principals {
                aws: vec!["*".into()],
                ..Principals::default()
            });
        }
        Json::Object(_) => object(json, &place)?,
        other => return Err(expected(&place, "an object such as {\"Federated\": …}", &other)),
    };
    let mut principals = Principals::default();
    for (name, raw) in &members {
        let place = Place::Member(number, "Principal", name);
        let list = match name.as_str() {
            "Federated" => &mut principals.federated,
            "Service" => &mut principals.service,
            "AWS" => &mut principals.aws,
            other => return Err(unknown_element(&place, other, &TYPES, "Principal")),
        };
        *list = texts(read(raw, &place)?, &place)?;
    }
    if members.is_empty() {
        return Err(PolicyError::new(&place, "it is empty; expected a principal"));
    }
    Ok(principals)
}

fn read_actions(json: Json<'_>, form: ActionForm, place: &Place<'_>) -> Result<Actions, PolicyError> {
    let patterns = texts(json, place)?;
    let wanted = ASSUME_ROLE_WITH_WEB_IDENTITY.to_ascii_lowercase();
    let is_listed = patterns
        .iter()
        .any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), &wanted));
    let mean_web_identity = match form {
        ActionForm::Action => is_listed,
        ActionForm::NotAction => !is_listed,
    };
    Ok(Actions {
        form,
        patterns,
        mean_web_identity,
    })
}

fn read_condition(json: Json<'_>, number: usize, variables: Variables) -> Result<Box<[Entry]>, PolicyError> {
    let mut entries = Vec::new();
    for (operator_text, raw) in &object(json, &Place::Element(number, "Condition"))? {
        let place = Place::Member(number, "Condition", operator_text);
        let members = read(raw, &place)?;
        let operator = Operator::parse(operator_text).map_err(|problem| match swapped_operator(&members) {
            Some(inner) => {
                let problem = format!(
                    "the operator and the key are swapped; write {{{}: {{{}: …}}}}",
                    quote(inner),
                    quote(operator_text)
                );
                PolicyError::new(&Place::Element(number, "Condition"), &problem)
            }
            None => PolicyError::new(&place, &problem),
        })?;
        for (key, raw) in &object(members, &place)? {
            let place = Place::Key(number, operator_text, key);
            let values = read_values(read(raw, &place)?, operator, variables, &place)?;
            entries.push(Entry {
                operator_text: operator_text.as_str().into(),
                operator,
                key: Key::new(key),
                values,
            });
        }
    }
    Ok(entries.into())
}

/// The condition operator that stands where a key belongs.
fn swapped_operator<'j>(members: &'j Json<'_>) -> Option<&'j str> {
    let Json::Object(members) = members else { return None };
    let mut names = members.iter().map(|(name, _)| name.as_str());
    names.find(|name| Operator::parse(name).is_ok())
}

fn read_values(
    json: Json<'_>,
    operator: Operator,
    variables: Variables,
    place: &Place<'_>,
) -> Result<Box<[Value]>, PolicyError> {
    let one = |json: Json<'_>| {
        let text = match json {
            Json::Text(text) => text,
            Json::Scalar(text) => text.to_owned(),
            other => return Err(expected(place, "a text, a number or a boolean", &other)),
        };
        let shown = quote(&text);
        operator
            .value(text, variables)
            .map_err(|wanted| PolicyError::new(place, &format!("{wanted}, found {shown}")))
    };
    match json {
        Json::List(list) => list.into_iter().map(|raw| one(read(raw, place)?)).collect(),
        single => Ok(Box::new([one(single)?])),
    }
}

/// One text, or a list of at least one.
fn texts(json: Json<'_>, place: &Place<'_>) -> Result<Vec<Box<str>>, PolicyError> {
    match json {
        Json::List(list) if list.is_empty() => Err(PolicyError::new(place, "the list is empty")),
        Json::List(list) => list
            .into_iter()
            .map(|raw| text(read(raw, place)?, place).map(Into::into))
            .collect(),
        single => Ok(vec![text(single, place)?.into()]),
    }
}

fn text(json: Json<'_>, place: &Place<'_>) -> Result<String, PolicyError> {
    match json {
        Json::Text(text) => Ok(text),
        other => Err(expected(place, "a text", &other)),
    }
}

/// The members of an object, none of them repeated byte for byte. Spellings that differ in case are different members.
fn object<'a>(json: Json<'a>, place: &Place<'_>) -> Result<Vec<(String, &'a RawValue)>, PolicyError> {
    let members = match json {
        Json::Object(members) => members,
        other => return Err(expected(place, "an object", &other)),
    };
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names
        .windows(2)
        .find(|pair| pair.first() == pair.last())
        .and_then(<[_]>::first)
    {
        Some(name) => Err(PolicyError::new(
            place,
            &format!("the key {} is there twice", quote(name)),
        )),
        None => Ok(members),
    }
}

fn read<'a>(raw: &'a RawValue, place: &Place<'_>) -> Result<Json<'a>, PolicyError> {
    // What is left to go wrong are escapes of characters that do not exist.
    Json::read(raw).map_err(|_| PolicyError::new(place, "it holds a text with a broken escape"))
}

fn expected(place: &Place<'_>, wanted: &str, found: &Json<'_>) -> PolicyError {
    PolicyError::new(place, &format!("expected {wanted}, found {}", found.kind()))
}

fn unknown_element(place: &Place<'_>, name: &str, known: &[&'static str], of: &str) -> PolicyError {
    let problem = match text::nearest_word(name, known.iter().copied()) {
        Some(meant) => format!("{of} has no such element; {meant} was probably meant"),
        None => format!("{of} has no such element"),
    };
    PolicyError::new(place, &problem)
}
