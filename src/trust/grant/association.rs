//! The trust that an EKS Pod Identity association needs in one of its roles.

use super::document::Tree;
use super::{EditError, MAX_LEFT_OUT, Merged, literal};
use crate::trust::action::Action;
use crate::trust::association::{Association, Hop, PodName, SessionTags};
use crate::trust::condition::key::pod_identity::{About, SessionTag};
use crate::trust::condition::value::Variables;
use crate::trust::condition::{Condition, Polarity, Test, TextTest};
use crate::trust::edit::Edit;
use crate::trust::evaluate::{PODS_SERVICE, evaluate};
use crate::trust::judge::judge_association;
use crate::trust::policy::{ActionForm, Effect, Policy, Statement};
use crate::trust::request::{Caller, Context, PodIdentity, Request};
use crate::trust::ternary::Ternary;
use crate::trust::verdict::Verdict;

/// An association that is to be let in, and the hop whose role is edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociationGrant {
    /// The association; its cluster is known.
    pub association: Association,
    /// The hop.
    pub hop: Hop,
}

const ASSUME_ROLE: &str = "sts:AssumeRole";
const TAG_SESSION: &str = "sts:TagSession";
const STRING_EQUALS: &str = "StringEquals";
const SOURCE_ARN: &str = "aws:SourceArn";
const CLUSTER: &str = "aws:RequestTag/eks-cluster-arn";
const NAMESPACE: &str = "aws:RequestTag/kubernetes-namespace";
const SERVICE_ACCOUNT: &str = "aws:RequestTag/kubernetes-service-account";

impl AssociationGrant {
    /// The whole policy that lets this association in and no other; indented by two, without a newline at its end.
    #[must_use]
    pub fn policy(&self) -> String {
        Tree::Object(vec![
            ("Version".to_owned(), Tree::text("2012-10-17")),
            ("Statement".to_owned(), Tree::List(self.statements(Variables::Known))),
        ])
        .print()
    }

    /// Adds the trust to a document that exists. Merging again changes nothing.
    ///
    /// A statement that has exactly the form of a new one, for other ServiceAccounts of the namespace, gets the ServiceAccount into its
    /// list; otherwise statements are added at the end.
    ///
    /// # Errors
    /// When the document is not a trust policy: the place, and what was expected.
    pub fn merge(&self, document: &str) -> Result<Merged, EditError> {
        let policy = Policy::parse(document).map_err(EditError::Malformed)?;
        let edit = (!self.is_allowed(&policy)).then(|| self.least_addition(&policy));
        let mut root = Tree::parse(document.trim_start_matches('\u{feff}')).map_err(EditError::DoesNotFit)?;
        let before = root.print();
        if let Some(edit) = &edit {
            self.apply(&mut root, edit, policy.variables)
                .ok_or_else(|| EditError::DoesNotFit("an edit does not fit it".to_owned()))?;
        }
        let json = root.print();
        let after = Policy::parse(&json).map_err(EditError::Malformed)?;
        let judgment = judge_association(
            self.hop,
            &after,
            &self.association,
            PodName::Unknown,
            &Context::default(),
        );
        let left_out = match edit {
            Some(Edit::AddStatement) => self.other_conditions(&policy),
            _ => Vec::new(),
        };
        Ok(Merged {
            json,
            before,
            edit,
            left_out,
            obstacle: Some(judgment).filter(|judgment| judgment.verdict != Verdict::Trusted),
            unstorable: after.unstorable().to_vec(),
        })
    }

    /// Whether both actions are allowed already; a Deny can only be removed by its owner.
    fn is_allowed(&self, policy: &Policy) -> bool {
        let context = Context::default();
        let role = self.association.role_of(self.hop).unwrap_or(&self.association.role);
        [Action::AssumeRole, Action::TagSession].into_iter().all(|action| {
            let request = Request {
                role,
                caller: Caller::PodIdentity(PodIdentity {
                    hop: self.hop,
                    action,
                    association: &self.association,
                    pod_name: PodName::Unknown,
                }),
                context: &context,
            };
            evaluate(policy, &request).allows == Ternary::True
        })
    }

    fn least_addition(&self, policy: &Policy) -> Edit {
        let joins = |statement: &Statement| {
            let accounts = self.accounts_of(statement, policy.variables)?;
            Some(Edit::AddSubject {
                statement: statement.number,
                operator: accounts.operator_text.to_string(),
                key: accounts.key.as_str().to_owned(),
            })
        };
        policy.statements.iter().find_map(joins).unwrap_or(Edit::AddStatement)
    }

    /// The condition on the ServiceAccount of a statement of exactly the form that is added for the primary role.
    fn accounts_of<'s>(&self, statement: &'s Statement, variables: Variables) -> Option<&'s Condition> {
        if self.hop != Hop::Primary || self.association.session_tags == SessionTags::Disabled {
            return None;
        }
        let principals = &statement.principals;
        let is_for_service = matches!(principals.service.as_slice(), [one] if &**one == PODS_SERVICE)
            && principals.aws.is_empty()
            && principals.federated.is_empty();
        let mut actions: Vec<&str> = statement.actions.patterns.iter().map(|action| &**action).collect();
        actions.sort_unstable();
        let is_form = statement.effect == Effect::Allow
            && is_for_service
            && statement.actions.form == ActionForm::Action
            && actions == [ASSUME_ROLE, TAG_SESSION]
            && statement.conditions.len() == 3;
        let first = statement.conditions.first()?;
        let is_equals = |condition: &Condition| {
            condition.operator_text == first.operator_text
                && condition.operator.quantifier.is_none()
                && !condition.operator.if_exists
                && condition.operator.test == Test::Text(TextTest::Equals, Polarity::Positive)
        };
        if !is_form || !statement.conditions.iter().all(is_equals) {
            return None;
        }
        let of = |about: About| statement.conditions.iter().find(|one| one.key.about() == about);
        let is = |about: About, text: &str| {
            let wanted = literal(text, variables);
            of(about).is_some_and(|one| matches!(&*one.values, [only] if *only.text == *wanted))
        };
        let is_for_namespace = is(About::SourceArn, self.cluster())
            && is(About::RequestTag(SessionTag::Namespace), &self.association.namespace);
        of(About::RequestTag(SessionTag::ServiceAccount)).filter(|_| is_for_namespace)
    }

    fn apply(&self, root: &mut Tree, edit: &Edit, variables: Variables) -> Option<()> {
        let statements = root.member_mut("Statement")?;
        match edit {
            Edit::AddSubject {
                statement,
                operator,
                key,
            } => {
                let condition = statements.item_mut(*statement)?.member_mut("Condition")?;
                let accounts = condition.member_mut(operator)?.member_mut(key)?;
                let mut values = accounts.clone().into_list();
                values.push(Tree::Text(literal(&self.association.service_account, variables)));
                *accounts = Tree::List(values);
            }
            _ => {
                let mut list = statements.clone().into_list();
                list.extend(self.statements(variables));
                *statements = Tree::List(list);
            }
        }
        Some(())
    }

    /// What lets the association in: one statement, or one for each action where a condition is about one of them.
    fn statements(&self, variables: Variables) -> Vec<Tree> {
        let association = &self.association;
        let value = |text: &str| Tree::Text(literal(text, variables));
        let pair = |key: &str, text: &str| (key.to_owned(), value(text));
        let tags = || {
            [
                pair(NAMESPACE, &association.namespace),
                pair(SERVICE_ACCOUNT, &association.service_account),
            ]
        };
        let both = || Tree::List(vec![Tree::text(ASSUME_ROLE), Tree::text(TAG_SESSION)]);
        match (self.hop, association.session_tags) {
            (Hop::Primary, session_tags) => {
                let mut equals = vec![pair(SOURCE_ARN, self.cluster())];
                match session_tags {
                    SessionTags::Enabled => equals.extend(tags()),
                    SessionTags::Disabled => equals.push(pair("aws:SourceAccount", self.account())),
                }
                vec![self.statement(both(), vec![(STRING_EQUALS, equals)])]
            }
            (Hop::Target, session_tags) => {
                let by_primary = || ("ArnEquals", vec![pair("aws:PrincipalArn", association.role.as_str())]);
                let external_id = association.external_id.as_deref();
                match (session_tags, external_id) {
                    (SessionTags::Enabled, _) => {
                        let mut equals = vec![pair(CLUSTER, self.cluster())];
                        equals.extend(tags());
                        vec![self.statement(both(), vec![(STRING_EQUALS, equals), by_primary()])]
                    }
                    (SessionTags::Disabled, None) => vec![self.statement(both(), vec![by_primary()])],
                    // TagSession does not have the external ID.
                    (SessionTags::Disabled, Some(id)) => {
                        let equals = vec![pair("sts:ExternalId", id)];
                        vec![
                            self.statement(Tree::text(ASSUME_ROLE), vec![(STRING_EQUALS, equals), by_primary()]),
                            self.statement(Tree::text(TAG_SESSION), vec![by_primary()]),
                        ]
                    }
                }
            }
        }
    }

    fn statement(&self, action: Tree, conditions: Vec<(&str, Vec<(String, Tree)>)>) -> Tree {
        let principal = match self.hop {
            Hop::Primary => ("Service", PODS_SERVICE.to_owned()),
            Hop::Target => {
                let role = &self.association.role;
                ("AWS", format!("arn:{}:iam::{}:root", role.partition(), role.account()))
            }
        };
        let object = |(key, value): (&str, Tree)| (key.to_owned(), value);
        let conditions = conditions
            .into_iter()
            .map(|(operator, keys)| object((operator, Tree::Object(keys))));
        let members = [
            ("Effect", Tree::text("Allow")),
            (
                "Principal",
                Tree::Object(vec![object((principal.0, Tree::Text(principal.1)))]),
            ),
            ("Action", action),
            ("Condition", Tree::Object(conditions.collect())),
        ];
        Tree::Object(members.into_iter().map(object).collect())
    }

    /// Condition keys that statements for the same principal have and the added statement lacks.
    fn other_conditions(&self, policy: &Policy) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        let is_for_it = |statement: &&Statement| match self.hop {
            Hop::Primary => statement.principals.service.iter().any(|one| &**one == PODS_SERVICE),
            Hop::Target => statement
                .principals
                .aws
                .iter()
                .any(|one| &**one == self.association.role.as_str()),
        };
        let statements = policy
            .statements
            .iter()
            .filter(|one| one.effect == Effect::Allow)
            .filter(is_for_it);
        for condition in statements.flat_map(|statement| &statement.conditions) {
            let key = condition.key.as_str();
            let is_known = condition.key.about() != About::Other || keys.iter().any(|known| known == key);
            if !is_known && keys.len() < MAX_LEFT_OUT {
                keys.push(key.to_owned());
            }
        }
        keys
    }

    fn cluster(&self) -> &str {
        self.association.cluster.as_ref().map_or("", |cluster| cluster.as_str())
    }

    fn account(&self) -> &str {
        self.association
            .cluster
            .as_ref()
            .map_or("", |cluster| cluster.account())
    }
}
