//! Why a role does not trust a web identity, or might not: the closest statement, everything that is wrong with it, and the edits that
//! would correct it without removing trust from any identity.
//!
//! The result consists of plain values; `decision/messages` turns them into sentences.

pub(super) mod association;
pub(super) mod fault;
mod near;

use self::fault::{Fault, Requirement, StatementLabel};
use self::near::Near;
use super::condition::Condition;
use super::condition::key::{ConditionKey, Given};
use super::condition::value::Value;
use super::edit::{self, Edit};
use super::evaluate::{Evaluation, verdict};
use super::policy::{Effect, Policy, Statement};
use super::request::{Context, Request, SessionName, WebRequest};
use super::ternary::Ternary;
use super::verdict::{Cause, Verdict};

/// The reason of an evaluation that is not `trusted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The cause, when not trusted: that of the first fault.
    pub cause: Option<Cause>,
    /// The statement that is explained; none where no statement is to blame.
    pub statement: Option<StatementLabel>,
    /// Everything that is wrong with that statement, the weightiest first; never empty.
    pub faults: Vec<Fault>,
    /// What to do with the document so that it trusts the web identity. Applied together ([`Grant::apply`](super::grant::Grant::apply))
    /// they give a valid policy that trusts it, and every identity that was trusted still is. Empty when no such edit is known, e.g.
    /// because of a Deny.
    pub edits: Vec<Edit>,
    /// For `undecided`: the condition keys that only STS can know, as written, without repetition; at most 20.
    pub undecided_keys: Vec<String>,
}

/// How many keys an undecided evaluation names.
const MOST_KEYS: usize = 20;
/// How many conditions are named.
const MOST_CONDITIONS: usize = 3;

impl Explanation {
    /// Of one fault, which lies outside any statement.
    pub(crate) fn of(fault: Fault) -> Self {
        Self {
            cause: fault.cause(),
            statement: None,
            faults: vec![fault],
            edits: Vec::new(),
            undecided_keys: Vec::new(),
        }
    }
}

/// Why no statement lets it in, or which one keeps it out: a Deny that matches, else the nearest Allow ([`Near::rank`]).
pub(crate) fn not_trusted(policy: &Policy, request: &WebRequest<'_>, evaluation: Evaluation) -> Explanation {
    if evaluation.denies == Ternary::True
        && let Some(explanation) = denied(policy, request)
    {
        return explanation;
    }
    let nearest = policy
        .statements
        .iter()
        .filter(|statement| statement.effect == Effect::Allow)
        .map(|statement| Near::new(statement, request))
        .min_by_key(Near::rank);
    let Some(near) = nearest else {
        return Explanation {
            edits: edit::addition(policy, request),
            ..Explanation::of(Fault::NothingAllowed)
        };
    };
    let edits = match near.corrections(policy) {
        edits if edits.is_empty() => edit::addition(policy, request),
        edits => edits,
    };
    Explanation {
        cause: near.faults.first().and_then(Fault::cause),
        statement: Some(StatementLabel::of(near.statement)),
        faults: near.faults,
        edits,
        undecided_keys: Vec::new(),
    }
}

/// The first Deny that matches.
fn denied(policy: &Policy, request: &Request<'_>) -> Option<Explanation> {
    let matches =
        |statement: &&Statement| statement.effect == Effect::Deny && statement.applies(request) == Ternary::True;
    let statement = policy.statements.iter().find(matches)?;
    let conditions = statement.conditions.iter().take(MOST_CONDITIONS).map(Requirement::of);
    Some(Explanation {
        statement: Some(StatementLabel::of(statement)),
        ..Explanation::of(Fault::Denied {
            conditions: conditions.collect(),
            more: statement.conditions.len().saturating_sub(MOST_CONDITIONS),
        })
    })
}

/// What it depends on: the conditions that cannot be known, of every statement that matters.
pub(crate) fn undecided(policy: &Policy, request: &Request<'_>, evaluation: Evaluation) -> Explanation {
    let matters = |statement: &&Statement| {
        let is_settled = statement.effect == Effect::Allow && evaluation.allows == Ternary::True;
        !is_settled && statement.applies(request) == Ternary::Unknown
    };
    let statements: Vec<&Statement> = policy.statements.iter().filter(matters).collect();
    let is_open = |condition: &&Condition| condition.truth(request) == Ternary::Unknown;
    let mut keys: Vec<&str> = Vec::new();
    let conditions = statements.iter().flat_map(|statement| &statement.conditions);
    for condition in conditions.filter(is_open) {
        if keys.len() >= MOST_KEYS {
            break;
        }
        for key in unknowable_keys(condition, request) {
            if !keys.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                keys.push(key);
            }
        }
    }
    keys.truncate(MOST_KEYS);
    let asks_for_session_name = keys.iter().any(|key| key.eq_ignore_ascii_case("sts:RoleSessionName"));
    let first = statements.first();
    let open: Vec<&Condition> = first
        .into_iter()
        .flat_map(|statement| &statement.conditions)
        .filter(is_open)
        .collect();
    Explanation {
        cause: None,
        statement: first.map(|statement| StatementLabel::of(statement)),
        faults: vec![Fault::DependsOn {
            conditions: open
                .iter()
                .take(MOST_CONDITIONS)
                .map(|condition| Requirement::of(condition))
                .collect(),
            more: open.len().saturating_sub(MOST_CONDITIONS),
            denies: first.is_some_and(|statement| statement.effect == Effect::Deny),
            other_statements: statements.len().saturating_sub(1),
            session_name: asks_for_session_name
                .then(|| suggested_session_name(policy, request))
                .flatten(),
        }],
        edits: Vec::new(),
        undecided_keys: keys.into_iter().map(str::to_owned).collect(),
    }
}

/// The keys for which a condition cannot be decided: its own, or those of its variables.
fn unknowable_keys<'a>(condition: &'a Condition, request: &Request<'_>) -> Vec<&'a str> {
    let is_unknown = |key: &ConditionKey| !matches!(key.given(request), Given::Absent | Given::Text(_) | Given::Set(_));
    let own = Some(&condition.key).filter(|key| is_unknown(key));
    let variables = condition
        .values
        .iter()
        .flat_map(Value::variables)
        .filter(|key| is_unknown(key));
    let keys: Vec<&str> = own
        .into_iter()
        .chain(variables)
        .map(ConditionKey::as_str)
        .take(MOST_KEYS)
        .collect();
    if keys.is_empty() {
        vec![condition.key.as_str()]
    } else {
        keys
    }
}

/// The pod's own session name, and what the policy would say of it.
fn suggested_session_name(policy: &Policy, request: &Request<'_>) -> Option<(String, Verdict)> {
    let SessionName::Suggested(name) = request.context.session_name else {
        return None;
    };
    let context = Context {
        session_name: SessionName::Assumed(name),
        ..*request.context
    };
    let assumed = Request {
        context: &context,
        ..*request
    };
    Some((name.to_owned(), verdict(policy, &assumed)))
}
