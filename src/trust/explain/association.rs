//! Why a role does not trust EKS Pod Identity, or might not: the closest statement and everything that is wrong with it.

use super::fault::{AssociationFault, Carried, Fault, Part, Requirement, StatementLabel};
use super::near::matches_as_pattern;
use super::{Explanation, MOST_KEYS, denied};
use crate::trust::action::Action;
use crate::trust::association::{Hop, SessionTags};
use crate::trust::condition::key::Given;
use crate::trust::condition::key::pod_identity::{About, SessionTag};
use crate::trust::condition::{Condition, Polarity, Test, TextTest};
use crate::trust::evaluate::Evaluation;
use crate::trust::policy::{ActionForm, Effect, Policy, Statement};
use crate::trust::request::{PodIdentity, Request};
use crate::trust::ternary::Ternary;
use crate::trust::verdict::{Cause, Verdict};

/// A request of EKS Auth, and what the policy says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) of: PodIdentity<'a>,
    pub(crate) evaluation: Evaluation,
}

/// The most false conditions of a statement that are explained.
const MOST_FAILING: usize = 16;

/// Why the policy lets one of these requests, none of which it allows, not through: a Deny that matches, else the nearest Allow.
pub(crate) fn not_trusted(policy: &Policy, refused: &[Asked<'_>]) -> Explanation {
    let is_denied = |asked: &&Asked<'_>| asked.evaluation.denies == Ternary::True;
    if let Some(asked) = refused.iter().find(is_denied)
        && let Some(explanation) = denied(policy, &asked.request)
    {
        return explanation;
    }
    let nearest = policy
        .statements
        .iter()
        .filter(|statement| statement.effect == Effect::Allow)
        .map(|statement| Near::new(statement, refused))
        .min_by_key(Near::rank);
    let Some(near) = nearest else {
        return Explanation::of(Fault::NothingAllowed);
    };
    Explanation {
        cause: near.faults.first().and_then(Fault::cause),
        statement: Some(StatementLabel::of(near.statement)),
        faults: near.faults,
        edits: Vec::new(),
        undecided_keys: Vec::new(),
    }
}

/// What the verdict depends on: that of the first request that is not decided, with the keys of all.
pub(crate) fn undecided(policy: &Policy, asked: &[Asked<'_>]) -> Explanation {
    let mut explanations = asked
        .iter()
        .filter(|asked| asked.evaluation.verdict() == Verdict::Undecided)
        .map(|asked| super::undecided(policy, &asked.request, asked.evaluation));
    let Some(mut first) = explanations.next() else {
        return Explanation::of(Fault::Association(AssociationFault::TagSessionUnclear));
    };
    for key in explanations.flat_map(|explanation| explanation.undecided_keys) {
        let is_new = !first
            .undecided_keys
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&key));
        if is_new && first.undecided_keys.len() < MOST_KEYS {
            first.undecided_keys.push(key);
        }
    }
    first
}

/// An Allow statement with what keeps EKS Auth out.
struct Near<'a> {
    statement: &'a Statement,
    faults: Vec<Fault>,
    is_for_others: bool,
    lacks_action: bool,
}

impl<'a> Near<'a> {
    fn new(statement: &'a Statement, refused: &[Asked<'_>]) -> Self {
        let mut near = Self {
            statement,
            faults: Vec::new(),
            is_for_others: false,
            lacks_action: false,
        };
        for asked in refused {
            near.add(asked);
        }
        near.faults.sort_by_key(weight);
        near.faults.dedup();
        if near.faults.is_empty() {
            near.faults.push(Fault::NothingAllowed);
        }
        near
    }

    /// A statement for the right principal and action comes first, then the one with the fewest faults.
    fn rank(&self) -> (bool, bool, usize) {
        (self.is_for_others, self.lacks_action, self.faults.len())
    }

    fn add(&mut self, asked: &Asked<'_>) {
        let Asked { request, of, .. } = asked;
        if self.statement.principal(request) == Ternary::False {
            self.is_for_others = true;
            let fault = self.wrong_principal(of.hop);
            let is_for_another_kind = matches!(fault, AssociationFault::PrincipalType { .. });
            self.push(Fault::Association(fault));
            if is_for_another_kind {
                return;
            }
        }
        if !self.statement.actions.mean(of.action) {
            self.lacks_action = true;
            self.push_action(of.action);
        }
        let failing = self
            .statement
            .conditions
            .iter()
            .filter(|condition| condition.truth(request) == Ternary::False)
            .take(MOST_FAILING);
        for condition in failing {
            self.push(of_condition(condition, asked));
        }
    }

    fn push(&mut self, fault: Fault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// That `TagSession` is missing too is no more than a part of a missing `AssumeRole`.
    fn push_action(&mut self, action: Action) {
        let actions: Vec<String> = self
            .statement
            .actions
            .patterns
            .iter()
            .map(ToString::to_string)
            .collect();
        let excluded = self.statement.actions.form == ActionForm::NotAction;
        match action {
            Action::TagSession if !self.statement.actions.mean(Action::AssumeRole) && self.lacks_assume_role() => {}
            Action::TagSession => self.push(Fault::Association(AssociationFault::TagSession { actions, excluded })),
            _ => self.push(Fault::Association(AssociationFault::Action { actions, excluded })),
        }
    }

    fn lacks_assume_role(&self) -> bool {
        let is_action = |fault: &Fault| matches!(fault, Fault::Association(AssociationFault::Action { .. }));
        self.faults.iter().any(is_action)
    }

    fn wrong_principal(&self, hop: Hop) -> AssociationFault {
        let principals = &self.statement.principals;
        let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
        if hop == Hop::Target && !principals.aws.is_empty() {
            return AssociationFault::PrimaryRole {
                aws: texts(&principals.aws),
            };
        }
        AssociationFault::PrincipalType {
            federated: texts(&principals.federated),
            services: texts(&principals.service),
            aws: texts(&principals.aws),
        }
    }
}

/// Which fault comes first, and so names the cause: principal, actions, conditions.
fn weight(fault: &Fault) -> usize {
    const ORDER: [Cause; 10] = [
        Cause::WrongPrincipalType,
        Cause::WrongPrimaryRole,
        Cause::WrongAction,
        Cause::TagSessionNotAllowed,
        Cause::WildcardInStringEquals,
        Cause::SessionTagsDisabled,
        Cause::WrongCluster,
        Cause::WrongSubject,
        Cause::WrongExternalId,
        Cause::OtherCondition,
    ];
    let cause = fault.cause();
    let at = ORDER.iter().position(|one| Some(*one) == cause);
    at.unwrap_or(ORDER.len())
}

/// What is wrong with a condition that is false.
fn of_condition(condition: &Condition, asked: &Asked<'_>) -> Fault {
    let Asked { request, of, .. } = asked;
    let given = condition.key.given(request);
    if let (Given::Text(text), Test::Text(TextTest::Equals | TextTest::EqualsIgnoreCase, Polarity::Positive)) =
        (&given, condition.operator.test)
    {
        let is_meant = |value: &&crate::trust::condition::value::Value| {
            value.has_wildcard() && matches_as_pattern(value, text, request)
        };
        if let Some(value) = condition.values.iter().find(is_meant) {
            return Fault::WildcardTakenLiterally {
                requirement: Requirement::of(condition),
                value: value.text.to_string(),
                would_match: true,
            };
        }
    }
    let carried = match given {
        Given::Absent => Carried::Absent,
        Given::Text(text) => Carried::Text(text.into_owned()),
        Given::Beginning(beginning) if !beginning.is_empty() => Carried::Beginning(beginning.to_owned()),
        Given::Set(_) if condition.operator.quantifier.is_none() && condition.operator.test != Test::Null => {
            Carried::SeveralForOneValue
        }
        Given::Set(texts) => Carried::Several(texts.iter().map(ToString::to_string).collect()),
        Given::CurrentTime | Given::EpochTime => Carried::PastTime,
        Given::SessionName => Carried::SessionName,
        Given::Beginning(_) | Given::Unknown => Carried::Anything,
    };
    let has_tags = of.association.session_tags == SessionTags::Enabled;
    let part = match condition.key.about() {
        About::RequestTag(_) | About::OtherRequestTag | About::TagKeys | About::TransitiveTagKeys if !has_tags => {
            Part::DisabledTags
        }
        About::RequestTag(tag) | About::PrincipalTag(tag) => match tag {
            SessionTag::ClusterArn | SessionTag::ClusterName => Part::Cluster,
            SessionTag::Namespace | SessionTag::ServiceAccount | SessionTag::PodName | SessionTag::PodUid => {
                Part::Subject
            }
        },
        About::SourceArn | About::SourceAccount => Part::Cluster,
        About::ExternalId => Part::ExternalId,
        About::PrincipalArn | About::PrincipalAccount => Part::PrimaryRole,
        _ => Part::Other,
    };
    Fault::Association(AssociationFault::Condition {
        part,
        requirement: Requirement::of(condition),
        carried,
    })
}
