//! Parses JSON text into a compiled [`Policy`], or reports where IAM would refuse it.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::error::{Place, PolicyError};
use super::{ActionForm, Actions, Effect, Origin, Policy, Principals, Statement, not_json};
use crate::support::text::{self, quote};
use crate::trust::condition::key::ConditionKey;
use crate::trust::condition::value::{Value, Variables};
use crate::trust::condition::{Condition, Operator};
use crate::trust::json::Json;

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

/// Reads a document's JSON text.
pub(super) fn document(json: &str) -> Result<Policy, PolicyError> {
    let document = Json::parse(json).map_err(|error| not_json::error(json, &error))?;
    let members = match document {
        Json::Object(_) => object(document, &Place::Document)?,
        other => return Err(not_json::not_an_object(&other)),
    };
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
    let mentions = |asked: fn(&ConditionKey) -> bool| {
        let mut conditions = statements.iter().flat_map(|statement| &statement.conditions);
        conditions
            .any(|condition| asked(&condition.key) || condition.values.iter().flat_map(Value::variables).any(asked))
    };
    let mentions_role_session_name = mentions(ConditionKey::is_session_name);
    let mentions_role_tags = mentions(ConditionKey::is_role_tag);
    let mentions_time = mentions(ConditionKey::is_time);
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
                "{} is not a version; expected \"2012-10-17\" or \"2008-10-17\"",
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
            let problem = format!("another statement has the Sid {} too; a Sid must be unique", quote(sid));
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
    let mut conditions = Box::default();
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
            "Condition" => conditions = read_condition(read(raw, &place)?, number, variables)?,
            "Resource" | "NotResource" => {
                return Err(PolicyError::new(
                    &place,
                    "a trust policy cannot have resources; it applies to the role itself",
                ));
            }
            "NotPrincipal" => {
                return Err(PolicyError::new(
                    &place,
                    "a trust policy cannot have NotPrincipal; use Principal",
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
        conditions,
    })
}

fn read_effect(json: Json<'_>, place: &Place<'_>) -> Result<Effect, PolicyError> {
    match &json {
        Json::Text(effect) if effect == "Allow" => Ok(Effect::Allow),
        Json::Text(effect) if effect == "Deny" => Ok(Effect::Deny),
        Json::Text(effect) => {
            let problem = format!(
                "{} is not an effect; expected \"Allow\" or \"Deny\", with this capitalization",
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
    Ok(Actions::new(form, patterns))
}

fn read_condition(json: Json<'_>, number: usize, variables: Variables) -> Result<Box<[Condition]>, PolicyError> {
    let mut conditions = Vec::new();
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
            conditions.push(Condition {
                operator_text: operator_text.as_str().into(),
                operator,
                key: ConditionKey::new(key),
                values,
            });
        }
    }
    Ok(conditions.into())
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
            other => return Err(expected(place, "a string, a number or a boolean", &other)),
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
        Some(name) => Err(PolicyError::new(place, &format!("the key {} is repeated", quote(name)))),
        None => Ok(members),
    }
}

fn read<'a>(raw: &'a RawValue, place: &Place<'_>) -> Result<Json<'a>, PolicyError> {
    // The only remaining errors are escapes of characters that do not exist.
    Json::read(raw).map_err(|_| PolicyError::new(place, "it contains a string with an invalid escape sequence"))
}

fn expected(place: &Place<'_>, wanted: &str, found: &Json<'_>) -> PolicyError {
    PolicyError::new(place, &format!("expected {wanted}, found {}", found.kind()))
}

fn unknown_element(place: &Place<'_>, name: &str, known: &[&'static str], of: &str) -> PolicyError {
    let problem = match text::nearest_word(name, known.iter().copied()) {
        Some(meant) => format!("{of} has no such element; did you mean {meant}?"),
        None => format!("{of} has no such element"),
    };
    PolicyError::new(place, &problem)
}
