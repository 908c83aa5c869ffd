//! EKS Pod Identity: does the trust policy of a role let EKS Auth in for an association?
//!
//! Two questions are asked of a policy, `sts:AssumeRole` and, where sessions are tagged, `sts:TagSession`: each must be allowed by a
//! statement and denied by none. The requests are EKS's own. What is known of them is what AWS documents (the EKS user guide on Pod
//! Identity roles, target roles and session tags; CloudTrail events in it; IAM's reference of condition keys); whatever is not
//! documented may be absent or hold anything, so that no role is refused for it.

use super::arn::RoleArn;
use super::association::{Association, Hop, PodName, SessionTags};
use super::condition::Condition;
use super::condition::key::{ConditionKey, Facts, Given};
use super::explain::fault::{AgentFault, Carried, Fault, Requirement, StatementLabel};
use super::explain::{Explanation, MOST_CONDITIONS, MOST_KEYS, unknowable_keys};
use super::judge::Judgment;
use super::policy::{ActionForm, Actions, Effect, Policy, Statement};
use super::request::Context;
use super::ternary::Ternary;
use super::verdict::{Cause, Verdict};
use crate::support::text::starts_with_ignore_case;

/// Who assumes the primary role, in every partition.
pub(crate) const SERVICE: &str = "pods.eks.amazonaws.com";

/// The tags of a session, all of them transitive.
const TAGS: [&str; 6] = [
    "eks-cluster-arn",
    "eks-cluster-name",
    "kubernetes-namespace",
    "kubernetes-pod-name",
    "kubernetes-pod-uid",
    "kubernetes-service-account",
];

const REQUEST_TAG: &str = "aws:RequestTag/";
const PRINCIPAL_TAG: &str = "aws:PrincipalTag/";

/// Judges one role of an association. Pure and total. A policy that lets EKS in is not the whole answer for a target role: where it
/// trusts an account, the primary role's own permissions must allow both actions.
#[must_use]
pub fn judge_association(
    hop: Hop,
    policy: &Policy,
    association: &Association,
    pod_name: PodName<'_>,
    context: &Context<'_>,
) -> Judgment {
    let role = association.role_of(hop).unwrap_or(&association.role);
    let request = |action| AgentRequest {
        hop,
        action,
        role,
        association,
        pod_name,
        context,
    };
    let (assume, tag) = (request(Action::AssumeRole), request(Action::TagSession));
    let (assumed, tagged) = (assume.evaluate(policy), tag.evaluate(policy));
    // Whether a session without tags needs the second action is not documented.
    let tag_verdict = match (association.session_tags, tagged.verdict()) {
        (SessionTags::Disabled, Verdict::NotTrusted) => Verdict::Undecided,
        (_, verdict) => verdict,
    };
    let verdict = assumed.verdict().max(tag_verdict);
    let explanation = match verdict {
        Verdict::Trusted => None,
        Verdict::NotTrusted if assumed.verdict() == verdict => Some(assume.not_trusted(policy, assumed)),
        Verdict::NotTrusted => Some(tag.not_trusted(policy, tagged)),
        Verdict::Undecided | Verdict::Unknown if assumed.verdict() == verdict => {
            Some(assume.undecided(policy, assumed))
        }
        Verdict::Undecided | Verdict::Unknown => Some(tag.undecided(policy, tagged)),
    };
    Judgment {
        verdict,
        explanation: explanation.map(Box::new),
    }
}

/// Whether a trust policy for a target role leaves the decision to the permissions of the primary role: it trusts the account.
#[must_use]
pub fn delegates_to_account(policy: &Policy, primary: &RoleArn) -> bool {
    let root = account_root(primary);
    let trusts_account = |statement: &Statement| {
        let mut aws = statement.principals.aws.iter();
        statement.effect == Effect::Allow
            && statement.actions.mean_assume_role
            && aws.any(|aws| **aws == *primary.account() || **aws == *root)
    };
    policy.statements.iter().any(trusts_account)
}

/// Whether a statement that lets EKS in has no condition on cluster, namespace, ServiceAccount or account: any association of the
/// account may use the role.
#[must_use]
pub fn lets_any_association_in(policy: &Policy) -> bool {
    let narrows = |condition: &Condition| {
        let key = condition.key.as_str();
        let tag = tag_of(key, REQUEST_TAG);
        tag.is_some_and(|tag| TAGS.contains(&tag))
            || ["aws:SourceArn", "aws:SourceAccount"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(key))
    };
    let is_open = |statement: &Statement| {
        statement.effect == Effect::Allow
            && statement.actions.mean_assume_role
            && statement.principals.service.iter().any(|service| **service == *SERVICE)
            && !statement.conditions.iter().any(narrows)
    };
    policy.statements.iter().any(is_open)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    AssumeRole,
    TagSession,
}

/// What EKS sends for one of the two actions.
#[derive(Clone, Copy, Debug)]
struct AgentRequest<'a> {
    hop: Hop,
    action: Action,
    role: &'a RoleArn,
    association: &'a Association,
    pod_name: PodName<'a>,
    context: &'a Context<'a>,
}

#[derive(Clone, Copy, Debug)]
struct Evaluation {
    denies: Ternary,
    allows: Ternary,
}

impl Evaluation {
    fn verdict(self) -> Verdict {
        match (self.denies, self.allows) {
            (Ternary::True, _) | (_, Ternary::False) => Verdict::NotTrusted,
            (Ternary::False, Ternary::True) => Verdict::Trusted,
            _ => Verdict::Undecided,
        }
    }
}

impl Facts for AgentRequest<'_> {
    fn given(&self, key: &ConditionKey) -> Given<'_> {
        if let Some(given) = key.given_to_anyone(self.role, self.context.role_tags) {
            return given;
        }
        // EKS sends no token of an identity provider.
        if key.is_claim() {
            return Given::Absent;
        }
        let text = key.as_str();
        if let Some(tag) = tag_of(text, REQUEST_TAG) {
            return self.session_tag(tag);
        }
        if ["aws:TagKeys", "sts:TransitiveTagKeys"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(text))
        {
            return match (self.association.session_tags, self.hop) {
                (SessionTags::Disabled, _) => Given::Absent,
                (SessionTags::Enabled, Hop::Primary) => Given::Texts(&TAGS),
                // The tags are carried over; whether they are sent again is not documented.
                (SessionTags::Enabled, Hop::Target) => Given::Unknown,
            };
        }
        match self.hop {
            Hop::Primary => self.given_by_eks(text),
            Hop::Target => self.given_by_the_primary_role(text),
        }
    }

    fn now(&self) -> Option<i64> {
        self.context.now
    }
}

impl AgentRequest<'_> {
    fn session_tag(&self, tag: &str) -> Given<'_> {
        if self.association.session_tags == SessionTags::Disabled {
            return Given::Absent;
        }
        let of_cluster = |part: fn(&super::association::ClusterArn) -> &str| match &self.association.cluster {
            Some(cluster) => Given::Text(part(cluster).into()),
            None => Given::Unknown,
        };
        match tag.to_ascii_lowercase().as_str() {
            "eks-cluster-arn" => of_cluster(|cluster| cluster.as_str()),
            "eks-cluster-name" => of_cluster(|cluster| cluster.name()),
            "kubernetes-namespace" => Given::Text((*self.association.namespace).into()),
            "kubernetes-service-account" => Given::Text((*self.association.service_account).into()),
            "kubernetes-pod-name" => match self.pod_name {
                PodName::Known(name) => Given::Text(name.into()),
                PodName::Beginning(beginning) => Given::GeneratedName(beginning),
                PodName::Unknown => Given::Unknown,
            },
            "kubernetes-pod-uid" => Given::Unknown,
            _ => Given::Absent,
        }
    }

    fn given_by_eks(&self, key: &str) -> Given<'_> {
        let is = |known: &str| known.eq_ignore_ascii_case(key);
        if is("aws:SourceArn") {
            return self.of_cluster(|cluster| cluster.as_str());
        }
        if is("aws:SourceAccount") {
            return self.of_cluster(|cluster| cluster.account());
        }
        self.given_by_the_action(key)
    }

    fn given_by_the_primary_role(&self, key: &str) -> Given<'_> {
        let is = |known: &str| known.eq_ignore_ascii_case(key);
        let primary = &self.association.role;
        if is("aws:PrincipalArn") {
            return Given::Text(primary.as_str().into());
        }
        if is("aws:PrincipalAccount") {
            return Given::Text(primary.account().into());
        }
        if is("aws:PrincipalType") {
            return Given::Text("AssumedRole".into());
        }
        if let Some(tag) = tag_of(key, PRINCIPAL_TAG) {
            // The role may have tags of its own; those of the session come first.
            let is_of_session = TAGS.iter().any(|known| known.eq_ignore_ascii_case(tag));
            return match self.association.session_tags {
                SessionTags::Enabled if is_of_session => self.session_tag(tag),
                _ => Given::Unknown,
            };
        }
        if is("sts:ExternalId")
            && (self.action, self.association.session_tags) == (Action::AssumeRole, SessionTags::Disabled)
            && let Some(external_id) = self.association.external_id.as_deref()
        {
            return Given::Text(external_id.into());
        }
        self.given_by_the_action(key)
    }

    /// `sts:RoleSessionName` is a key of `AssumeRole` alone.
    fn given_by_the_action(&self, key: &str) -> Given<'_> {
        match self.action {
            Action::AssumeRole if key.eq_ignore_ascii_case("sts:RoleSessionName") => Given::SessionName,
            _ => Given::Unknown,
        }
    }

    fn of_cluster(&self, part: fn(&super::association::ClusterArn) -> &str) -> Given<'_> {
        match &self.association.cluster {
            Some(cluster) => Given::Text(part(cluster).into()),
            None => Given::Unknown,
        }
    }

    fn evaluate(&self, policy: &Policy) -> Evaluation {
        let any = |effect| {
            let statements = policy.statements.iter().filter(|statement| statement.effect == effect);
            Ternary::any(statements.map(|statement| self.applies(statement)))
        };
        Evaluation {
            denies: any(Effect::Deny),
            allows: any(Effect::Allow),
        }
    }

    fn applies(&self, statement: &Statement) -> Ternary {
        let mut applies = self.principal(statement).and(self.means(&statement.actions).into());
        for condition in &statement.conditions {
            if applies == Ternary::False {
                break;
            }
            applies = applies.and(condition.truth(self));
        }
        applies
    }

    const fn means(&self, actions: &Actions) -> bool {
        match self.action {
            Action::AssumeRole => actions.mean_assume_role,
            Action::TagSession => actions.mean_tag_session,
        }
    }

    fn principal(&self, statement: &Statement) -> Ternary {
        let principals = &statement.principals;
        let is_anybody = principals.aws.iter().any(|aws| &**aws == "*");
        match self.hop {
            Hop::Primary if principals.service.iter().any(|service| **service == *SERVICE) => Ternary::True,
            // Whether `*` includes services is not documented.
            Hop::Primary if is_anybody => Ternary::Unknown,
            Hop::Primary => principals
                .service
                .iter()
                .any(|service| service.eq_ignore_ascii_case(SERVICE))
                .then_some(Ternary::Unknown)
                .unwrap_or(Ternary::False),
            Hop::Target if is_anybody => Ternary::True,
            Hop::Target => Ternary::any(principals.aws.iter().map(|aws| self.is_primary_role(aws))),
        }
    }

    /// Whether an `AWS` principal is the primary role, or its account.
    fn is_primary_role(&self, aws: &str) -> Ternary {
        let primary = &self.association.role;
        if aws == primary.as_str() || aws == primary.account() || aws == account_root(primary) {
            return Ternary::True;
        }
        // A session of the role, whose name EKS chooses.
        let sessions = format!(
            "arn:{}:sts::{}:assumed-role/{}/",
            primary.partition(),
            primary.account(),
            primary.name()
        );
        if aws.starts_with(&sessions) {
            return Ternary::Unknown;
        }
        // The unique ID of a role: IAM replaces the ARN by it when the role is deleted.
        aws.starts_with("AROA")
            .then_some(Ternary::Unknown)
            .unwrap_or(Ternary::False)
    }

    /// Why no statement lets EKS in, or which one keeps it out.
    fn not_trusted(&self, policy: &Policy, evaluation: Evaluation) -> Explanation {
        let of_effect = |effect| policy.statements.iter().filter(move |one| one.effect == effect);
        if evaluation.denies == Ternary::True
            && let Some(statement) = of_effect(Effect::Deny).find(|one| self.applies(one) == Ternary::True)
        {
            let conditions = statement.conditions.iter().take(MOST_CONDITIONS).map(Requirement::of);
            let more = statement.conditions.len().saturating_sub(MOST_CONDITIONS);
            return self.explained(
                Some(statement),
                vec![Fault::Denied {
                    conditions: conditions.collect(),
                    more,
                }],
            );
        }
        let nearest = of_effect(Effect::Allow)
            .map(|statement| (statement, self.faults(statement)))
            .min_by_key(|(statement, faults)| (self.principal(statement) == Ternary::False, faults.len()));
        match nearest {
            None => self.explained(None, vec![Fault::NothingAllowed]),
            Some((statement, faults)) => self.explained(Some(statement), faults),
        }
    }

    fn explained(&self, statement: Option<&Statement>, faults: Vec<Fault>) -> Explanation {
        Explanation {
            cause: faults.first().and_then(Fault::cause),
            statement: statement.map(StatementLabel::of),
            faults,
            edits: Vec::new(),
            undecided_keys: Vec::new(),
        }
    }

    /// Everything that is wrong with a statement that does not apply, the weightiest first; at least one.
    fn faults(&self, statement: &Statement) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.principal(statement) == Ternary::False {
            let list = |names: &[Box<str>]| names.iter().map(ToString::to_string).collect();
            faults.push(Fault::Agent(AgentFault::Principal {
                hop: self.hop,
                services: list(&statement.principals.service),
                aws: list(&statement.principals.aws),
                federated: list(&statement.principals.federated),
            }));
            // Its actions and conditions are for somebody else.
            return faults;
        }
        if !self.means(&statement.actions) {
            let actions = statement.actions.patterns.iter().map(ToString::to_string).collect();
            let excluded = statement.actions.form == ActionForm::NotAction;
            faults.push(Fault::Agent(match self.action {
                Action::AssumeRole => AgentFault::Action { actions, excluded },
                Action::TagSession => AgentFault::TagSession { actions, excluded },
            }));
        }
        let failing = statement
            .conditions
            .iter()
            .filter(|condition| condition.truth(self) == Ternary::False);
        for condition in failing.take(MOST_CONDITIONS) {
            let carried = match self.given(&condition.key) {
                Given::Text(text) => Carried::Text(text.into_owned()),
                Given::GeneratedName(beginning) => Carried::Text(format!("{beginning}…")),
                Given::Absent => Carried::Absent,
                Given::CurrentTime | Given::EpochTime => Carried::PastTime,
                Given::SessionName => Carried::SessionName,
                Given::Texts(_) | Given::Unknown => Carried::Anything,
            };
            faults.push(Fault::Agent(AgentFault::Condition {
                cause: self.cause_of(condition),
                requirement: Requirement::of(condition),
                carried,
            }));
        }
        if faults.is_empty() {
            faults.push(Fault::NothingAllowed);
        }
        faults
    }

    /// What a condition that does not hold is about.
    fn cause_of(&self, condition: &Condition) -> Cause {
        let key = condition.key.as_str();
        let is = |known: &str| known.eq_ignore_ascii_case(key);
        let has_tags = self.association.session_tags == SessionTags::Enabled;
        let tag = tag_of(key, REQUEST_TAG).or_else(|| tag_of(key, PRINCIPAL_TAG).filter(|_| self.hop == Hop::Target));
        let tag = tag.map(str::to_ascii_lowercase);
        match tag.as_deref() {
            Some(_) if !has_tags => Cause::SessionTagsDisabled,
            Some("eks-cluster-arn" | "eks-cluster-name") => Cause::WrongCluster,
            Some("kubernetes-namespace" | "kubernetes-service-account" | "kubernetes-pod-name") => Cause::WrongSubject,
            Some(_) => Cause::OtherCondition,
            None if is("aws:TagKeys") || is("sts:TransitiveTagKeys") => match has_tags {
                true => Cause::OtherCondition,
                false => Cause::SessionTagsDisabled,
            },
            None if is("aws:SourceArn") || is("aws:SourceAccount") => Cause::WrongCluster,
            None if is("sts:ExternalId") => Cause::WrongExternalId,
            None if is("aws:PrincipalArn") || is("aws:PrincipalAccount") => Cause::WrongPrimaryRole,
            None => Cause::OtherCondition,
        }
    }

    /// What it depends on: the conditions that cannot be known.
    fn undecided(&self, policy: &Policy, evaluation: Evaluation) -> Explanation {
        let matters = |statement: &&Statement| {
            let is_settled = statement.effect == Effect::Allow && evaluation.allows == Ternary::True;
            !is_settled && self.applies(statement) == Ternary::Unknown
        };
        let statements: Vec<&Statement> = policy.statements.iter().filter(matters).collect();
        if statements.is_empty() {
            // Nothing allows the second action, and tags are disabled.
            return Explanation {
                cause: None,
                ..self.explained(None, vec![Fault::Agent(AgentFault::TagSessionPerhaps)])
            };
        }
        let is_open = |condition: &&Condition| condition.truth(self) == Ternary::Unknown;
        let mut keys: Vec<&str> = Vec::new();
        for condition in statements.iter().flat_map(|one| &one.conditions).filter(is_open) {
            for key in unknowable_keys(condition, self) {
                if !keys.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                    keys.push(key);
                }
            }
            if keys.len() >= MOST_KEYS {
                break;
            }
        }
        keys.truncate(MOST_KEYS);
        let first = statements.first();
        let open = first.into_iter().flat_map(|one| &one.conditions).filter(is_open);
        let open: Vec<&Condition> = open.collect();
        Explanation {
            cause: None,
            statement: first.map(|statement| StatementLabel::of(statement)),
            faults: vec![Fault::DependsOn {
                conditions: open
                    .iter()
                    .take(MOST_CONDITIONS)
                    .map(|one| Requirement::of(one))
                    .collect(),
                more: open.len().saturating_sub(MOST_CONDITIONS),
                denies: first.is_some_and(|statement| statement.effect == Effect::Deny),
                other_statements: statements.len().saturating_sub(1),
                session_name: None,
            }],
            edits: Vec::new(),
            undecided_keys: keys.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// The name of a tag in a key of a family; the family's name ignores case.
fn tag_of<'k>(key: &'k str, family: &str) -> Option<&'k str> {
    starts_with_ignore_case(key, family)
        .then(|| key.get(family.len()..))
        .flatten()
}

/// `arn:PARTITION:iam::ACCOUNT:root`.
fn account_root(role: &RoleArn) -> String {
    format!("arn:{}:iam::{}:root", role.partition(), role.account())
}
