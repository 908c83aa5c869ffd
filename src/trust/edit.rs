//! Edits of trust policies that make a policy trust a web identity and never remove trust.
//!
//! An [`Edit`] is planned and tested here on the compiled policy; [`Grant::apply`](super::grant::Grant::apply) applies it to the
//! document's text.

use super::action::ASSUME_ROLE_WITH_WEB_IDENTITY;
use super::condition::key::{Claim, ConditionKey};
use super::condition::value::{Value, Variables};
use super::condition::{Condition, Operator, Polarity, Test, TextTest};
use super::evaluate::verdict;
use super::mismatch::{self, Reading};
use super::policy::{ActionForm, Actions, Effect, Policy, Principals, Statement};
use super::request::WebRequest;
use super::verdict::Verdict;
use super::web_identity::WebIdentity;

/// One change of a document. Statements are counted from 1; operators, keys and values are as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Add the subject to the list of a statement that already has exactly the form that is needed.
    AddSubject {
        /// The statement.
        statement: usize,
        /// The operator above the key.
        operator: String,
        /// The `:sub` key.
        key: String,
    },
    /// Add a statement at the end.
    AddStatement,
    /// Write the token's provider for a `Federated` principal.
    ReplacePrincipal {
        /// The statement.
        statement: usize,
        /// The principal.
        found: String,
    },
    /// Write the token's provider under `Federated` instead of what stands elsewhere as the only principal.
    MovePrincipal {
        /// The statement.
        statement: usize,
        /// `AWS` or `Service`.
        element: &'static str,
        /// The principal.
        found: String,
    },
    /// Write `sts:AssumeRoleWithWebIdentity` for an action.
    ReplaceAction {
        /// The statement.
        statement: usize,
        /// The action.
        found: String,
    },
    /// Write the issuer's key for another key; the values stay.
    ReplaceKey {
        /// The statement.
        statement: usize,
        /// The operator above the key.
        operator: String,
        /// The key.
        key: String,
        /// `sub` or `aud`.
        claim: &'static str,
    },
    /// Move a key with its values below another operator.
    ReplaceOperator {
        /// The statement.
        statement: usize,
        /// The operator.
        operator: String,
        /// The key.
        key: String,
        /// The operator that is needed.
        with: &'static str,
    },
    /// Write the token's subject or audience for a value.
    ReplaceValue {
        /// The statement.
        statement: usize,
        /// The operator above the key.
        operator: String,
        /// The key (after a [`Edit::ReplaceKey`] before it).
        key: String,
        /// The value.
        found: String,
        /// `sub` or `aud`.
        claim: &'static str,
    },
}

/// What adds the trust to a policy, if anything does: a subject in a list, else a statement. Empty where something of the
/// policy would still refuse the identity.
pub(crate) fn addition(policy: &Policy, request: &WebRequest<'_>) -> Vec<Edit> {
    let edits = vec![least_addition(policy, request)];
    if makes_trusted(policy, &edits, request) {
        edits
    } else {
        Vec::new()
    }
}

/// A subject joins the list of a statement that has exactly the form which a new statement would have, of several the one
/// with the nearest subject; nothing of any other statement is touched, because the identities that it trusts would be affected.
pub(super) fn least_addition(policy: &Policy, request: &WebRequest<'_>) -> Edit {
    let joins = |statement: &Statement| {
        let subjects = subjects_of(statement, policy.variables, request)?;
        let distance = |value: &Value| {
            mismatch::of_subject(
                &value.text,
                &request.identity.subject,
                Reading::Literal,
                policy.variables,
            )
            .distance
        };
        let edit = Edit::AddSubject {
            statement: statement.number,
            operator: subjects.operator_text.to_string(),
            key: subjects.key.as_str().to_owned(),
        };
        Some((subjects.values.iter().map(distance).min(), edit))
    };
    let nearest = policy
        .statements
        .iter()
        .filter_map(joins)
        .min_by_key(|(distance, _)| distance.unwrap_or(usize::MAX));
    nearest.map_or(Edit::AddStatement, |(_, edit)| edit)
}

/// The `:sub` condition of a statement of exactly the form that a [`Grant`](super::grant::Grant) writes, give or take a `Sid`, the order of
/// its elements and lists of one.
pub(super) fn subjects_of<'s>(
    statement: &'s Statement,
    variables: Variables,
    request: &WebRequest<'_>,
) -> Option<&'s Condition> {
    let Principals {
        federated,
        service,
        aws,
    } = &statement.principals;
    let is_for_provider = matches!(federated.as_slice(), [one] if request.role.is_provider_arn(one, &request.identity.issuer))
        && service.is_empty()
        && aws.is_empty();
    let Actions { form, patterns, .. } = &statement.actions;
    let is_for_action =
        *form == ActionForm::Action && matches!(patterns.as_slice(), [one] if **one == *ASSUME_ROLE_WITH_WEB_IDENTITY);
    let [first, second] = &*statement.conditions else {
        return None;
    };
    let is_equals = |condition: &Condition| {
        condition.operator.quantifier.is_none()
            && !condition.operator.if_exists
            && condition.operator.test == Test::Text(TextTest::Equals, Polarity::Positive)
    };
    let is_form = statement.effect == Effect::Allow
        && is_for_provider
        && is_for_action
        && first.operator_text == second.operator_text
        && is_equals(first);
    if !is_form {
        return None;
    }
    let claim = |condition: &Condition| condition.key.claim(&request.identity.issuer) == Claim::Subject;
    let (subjects, audiences) = if claim(first) { (first, second) } else { (second, first) };
    let audience = literal(request.identity.audience.as_str(), variables);
    let is_audience = audiences.key.claim(&request.identity.issuer) == Claim::Audience
        && matches!(&*audiences.values, [one] if *one.text == *audience);
    (is_audience && claim(subjects)).then_some(subjects)
}

/// Whether a policy trusts the web identity once it is edited, and is well-formed.
pub(crate) fn makes_trusted(policy: &Policy, edits: &[Edit], request: &WebRequest<'_>) -> bool {
    if edits.is_empty() {
        return false;
    }
    edited(policy, edits, request).is_some_and(|policy| verdict(&policy, request) == Verdict::Trusted)
}

/// The key of a claim of the token's issuer.
pub(crate) fn key(request: &WebRequest<'_>, claim: &str) -> String {
    format!("{}:{claim}", request.identity.issuer.as_str())
}

/// The policy with its edits; none when one does not fit or makes it malformed.
fn edited(policy: &Policy, edits: &[Edit], request: &WebRequest<'_>) -> Option<Policy> {
    let mut statements = policy.statements.to_vec();
    for edit in edits {
        match edit {
            Edit::AddStatement => statements.push(new_statement(statements.len().saturating_add(1), policy, request)?),
            Edit::AddSubject { statement, .. }
            | Edit::ReplacePrincipal { statement, .. }
            | Edit::MovePrincipal { statement, .. }
            | Edit::ReplaceAction { statement, .. }
            | Edit::ReplaceKey { statement, .. }
            | Edit::ReplaceOperator { statement, .. }
            | Edit::ReplaceValue { statement, .. } => {
                let statement = statements.get_mut(statement.checked_sub(1)?)?;
                edit_statement(statement, edit, policy.variables, request)?;
            }
        }
    }
    Some(policy.with_statements(statements))
}

fn edit_statement(
    statement: &mut Statement,
    edit: &Edit,
    variables: Variables,
    request: &WebRequest<'_>,
) -> Option<()> {
    match edit {
        Edit::AddStatement => return None,
        Edit::ReplacePrincipal { found, .. } => {
            let one = statement
                .principals
                .federated
                .iter_mut()
                .find(|one| ***one == **found)?;
            *one = request.role.provider_arn(&request.identity.issuer).into();
        }
        Edit::MovePrincipal { .. } => {
            statement.principals = Principals {
                federated: vec![request.role.provider_arn(&request.identity.issuer).into()],
                ..Principals::default()
            };
        }
        Edit::ReplaceAction { .. } => {
            statement.actions = web_identity_action();
        }
        Edit::AddSubject { operator, key, .. } => {
            let condition = condition_mut(statement, operator, key)?;
            let subject = literal(request.identity.subject.as_str(), variables);
            let mut values = std::mem::take(&mut condition.values).into_vec();
            values.push(condition.operator.value(subject, variables).ok()?);
            condition.values = values.into();
        }
        Edit::ReplaceKey {
            operator, key, claim, ..
        } => {
            let new = self::key(request, claim);
            // The same key twice under one operator is malformed.
            if condition_mut(statement, operator, &new).is_some() {
                return None;
            }
            condition_mut(statement, operator, key)?.key = ConditionKey::new(&new);
        }
        Edit::ReplaceOperator {
            operator, key, with, ..
        } => {
            if condition_mut(statement, with, key).is_some() {
                return None;
            }
            let condition = condition_mut(statement, operator, key)?;
            condition.operator = Operator::parse(with).ok()?;
            condition.operator_text = (*with).into();
            let texts = std::mem::take(&mut condition.values);
            let values = texts
                .iter()
                .map(|value| condition.operator.value(value.text.to_string(), variables).ok());
            condition.values = values.collect::<Option<_>>()?;
        }
        Edit::ReplaceValue {
            operator,
            key,
            found,
            claim,
            ..
        } => {
            let needed = literal(claimed(request.identity, claim), variables);
            let condition = condition_mut(statement, operator, key)?;
            let operator = condition.operator;
            let value = condition.values.iter_mut().find(|value| *value.text == **found)?;
            *value = operator.value(needed, variables).ok()?;
        }
    }
    Some(())
}

fn condition_mut<'s>(statement: &'s mut Statement, operator: &str, key: &str) -> Option<&'s mut Condition> {
    statement
        .conditions
        .iter_mut()
        .find(|condition| *condition.operator_text == *operator && condition.key.as_str() == key)
}

fn web_identity_action() -> Actions {
    Actions::new(ActionForm::Action, vec![ASSUME_ROLE_WITH_WEB_IDENTITY.into()])
}

/// A statement that trusts this identity and no other, as a [`Grant`](super::grant::Grant) writes it.
fn new_statement(number: usize, policy: &Policy, request: &WebRequest<'_>) -> Option<Statement> {
    const STRING_EQUALS: &str = "StringEquals";
    let operator = Operator::parse(STRING_EQUALS).ok()?;
    let condition = |claim: &str| {
        let value = literal(claimed(request.identity, claim), policy.variables);
        Some(Condition {
            operator_text: STRING_EQUALS.into(),
            operator,
            key: ConditionKey::new(&key(request, claim)),
            values: Box::new([operator.value(value, policy.variables).ok()?]),
        })
    };
    Some(Statement {
        number,
        sid: None,
        effect: Effect::Allow,
        principals: Principals {
            federated: vec![request.role.provider_arn(&request.identity.issuer).into()],
            ..Principals::default()
        },
        actions: web_identity_action(),
        conditions: Box::new([condition("sub")?, condition("aud")?]),
    })
}

pub(super) fn claimed<'i>(identity: &'i WebIdentity, claim: &str) -> &'i str {
    match claim {
        "aud" => identity.audience.as_str(),
        _ => identity.subject.as_str(),
    }
}

/// A value as `StringEquals` takes it to mean itself.
pub(super) fn literal(text: &str, variables: Variables) -> String {
    match variables {
        Variables::Known => text.replace("${", "${$}{"),
        Variables::PlainText => text.to_owned(),
    }
}
