//! The trust to add, and the documents that contain it: a new policy, or an existing one with an edit.
//!
//! What an edit does not name stays as it is in the document: elements, their order, and the spelling of numbers.

mod association;
mod document;
mod terraform;

pub use self::association::AssociationGrant;
use self::document::Tree;
use super::action::ASSUME_ROLE_WITH_WEB_IDENTITY;
use super::arn::{AccountId, Partition, RoleArn};
use super::condition::key::Claim;
use super::condition::value::Variables;
use super::edit::{self, Edit, claimed, literal, subjects_of};
use super::evaluate::verdict;
use super::judge::{Judgment, judge};
use super::policy::{Effect, Policy, PolicyError};
use super::request::{Context, WebRequest};
use super::verdict::Verdict;
use super::web_identity::WebIdentity;

/// Who is to be trusted by the roles of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role's partition.
    pub partition: Partition,
    /// The role's account, which also holds the OIDC provider.
    pub account: AccountId,
    /// The web identity.
    pub identity: WebIdentity,
}

/// Trust that is to be added to a role: that of a web identity, or of an EKS Pod Identity association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addition {
    /// By a statement for the OIDC provider.
    WebIdentity(Grant),
    /// By a statement for EKS Pod Identity, or, at the target role, for the primary role.
    PodIdentity(AssociationGrant),
}

impl Addition {
    /// The whole policy with this trust and no other.
    #[must_use]
    pub fn policy(&self) -> String {
        match self {
            Self::WebIdentity(grant) => grant.policy(),
            Self::PodIdentity(grant) => grant.policy(),
        }
    }

    /// Adds the trust to a document that exists; see [`Grant::merge`] and [`AssociationGrant::merge`].
    ///
    /// # Errors
    /// When the document is not a trust policy.
    pub fn merge(&self, document: &str) -> Result<Merged, EditError> {
        match self {
            Self::WebIdentity(grant) => grant.merge(document),
            Self::PodIdentity(grant) => grant.merge(document),
        }
    }
}

/// The result of merging into an existing policy.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The document, indented by two; ends without a newline.
    pub json: String,
    /// The document as it was, in the same form: what a comparison line by line needs.
    pub before: String,
    /// What was done; none when the document trusts the identity already, or names it already.
    pub edit: Option<Edit>,
    /// Condition keys that statements for the same provider have and the added statement lacks, as written.
    pub left_out: Vec<String>,
    /// The evaluation of the result when it is not `trusted`: a `Deny` of the document still refuses it, or might.
    pub obstacle: Option<Judgment>,
    /// Why IAM would refuse to store the result.
    pub unstorable: Vec<PolicyError>,
}

/// Why a document cannot be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is not a trust policy.
    #[error(transparent)]
    Malformed(PolicyError),
    /// It is one, but an edit does not fit it: it was planned on another document.
    #[error("the document cannot be edited: {0}")]
    DoesNotFit(String),
}

/// A policy document as Terraform's data source `aws_iam_policy_document`, without a newline at its end.
///
/// # Errors
/// When the document is not a trust policy.
pub fn to_terraform(document: &str) -> Result<String, EditError> {
    Policy::parse(document).map_err(EditError::Malformed)?;
    let document = Tree::parse(document).map_err(EditError::DoesNotFit)?;
    terraform::data_source(&document).ok_or_else(|| EditError::DoesNotFit("it has no statements".to_owned()))
}

impl Grant {
    /// For a role of an account.
    #[must_use]
    pub fn for_role(role: &RoleArn, identity: WebIdentity) -> Option<Self> {
        Some(Self {
            partition: Partition::parse(role.partition())?,
            account: AccountId::parse(role.account())?,
            identity,
        })
    }

    /// The whole policy that trusts this identity and no other; indented by two, without a newline at its end.
    #[must_use]
    pub fn policy(&self) -> String {
        let statement = self.statement(Variables::Known);
        Tree::Object(vec![
            ("Version".to_owned(), Tree::text("2012-10-17")),
            ("Statement".to_owned(), Tree::List(vec![statement])),
        ])
        .print()
    }

    /// Adds the trust to a document that exists. Merging again changes nothing.
    ///
    /// A statement that already trusts subjects of this issuer and audience in exactly the right form gets the subject
    /// into its list; otherwise a statement is added at the end.
    ///
    /// # Errors
    /// When the document is not a trust policy: the place, and what was expected.
    pub fn merge(&self, document: &str) -> Result<Merged, EditError> {
        let policy = Policy::parse(document).map_err(EditError::Malformed)?;
        let role = self.any_role()?;
        let context = Context::default();
        let request = WebRequest::new(&role, &self.identity, &context);
        let edit = match verdict(&policy, &request) {
            Verdict::Trusted => None,
            _ => Some(edit::least_addition(&policy, &request)).filter(|edit| !names_already(&policy, edit, &request)),
        };
        let edits: Vec<Edit> = edit.clone().into_iter().collect();
        let (before, json) = (self.apply(document, &[])?, self.apply(document, &edits)?);
        let after = Policy::parse(&json).map_err(EditError::Malformed)?;
        let obstacle = Some(judge(&after, &role, &self.identity, &context))
            .filter(|judgment| judgment.verdict != Verdict::Trusted);
        let left_out = match edit {
            Some(Edit::AddStatement) => other_conditions(&policy, &request),
            _ => Vec::new(),
        };
        Ok(Merged {
            json,
            before,
            edit,
            left_out,
            obstacle,
            unstorable: after.unstorable().to_vec(),
        })
    }

    /// The document with these edits, which were planned on it for this identity; indented by two, without a newline at its
    /// end.
    ///
    /// # Errors
    /// When the document is not JSON, or an edit does not fit it.
    pub fn apply(&self, document: &str, edits: &[Edit]) -> Result<String, EditError> {
        let mut root = Tree::parse(document.trim_start_matches('\u{feff}')).map_err(EditError::DoesNotFit)?;
        let variables = match root.member("Version") {
            Some(Tree::Text(version)) if version == "2012-10-17" => Variables::Known,
            _ => Variables::PlainText,
        };
        for edit in edits {
            self.apply_one(&mut root, edit, variables)
                .ok_or_else(|| EditError::DoesNotFit("an edit does not fit it".to_owned()))?;
        }
        Ok(root.print())
    }

    fn apply_one(&self, root: &mut Tree, edit: &Edit, variables: Variables) -> Option<()> {
        let statements = root.member_mut("Statement")?;
        match edit {
            Edit::AddStatement => {
                let mut list = statements.clone().into_list();
                list.push(self.statement(variables));
                *statements = Tree::List(list);
            }
            Edit::ReplacePrincipal { statement, found } => {
                let principal = statements.item_mut(*statement)?.member_mut("Principal")?;
                let federated = principal.member_mut("Federated")?;
                federated.replace_text(found, &self.provider_arn())?;
            }
            Edit::MovePrincipal {
                statement,
                element,
                found,
            } => {
                let principal = statements.item_mut(*statement)?.member_mut("Principal")?;
                // Any other principal would be lost.
                principal.member_mut(element)?.replace_text(found, "")?;
                *principal = Tree::Object(vec![("Federated".to_owned(), Tree::Text(self.provider_arn()))]);
            }
            Edit::ReplaceAction { statement, found } => {
                let action = statements.item_mut(*statement)?.member_mut("Action")?;
                action.replace_text(found, ASSUME_ROLE_WITH_WEB_IDENTITY)?;
            }
            Edit::ReplaceKey {
                statement,
                operator,
                key,
                claim,
            } => {
                let condition = statements.item_mut(*statement)?.member_mut("Condition")?;
                condition.member_mut(operator)?.rename(key, &self.key(claim))?;
            }
            Edit::ReplaceOperator {
                statement,
                operator,
                key,
                with,
            } => {
                let condition = statements.item_mut(*statement)?.member_mut("Condition")?;
                condition.move_member(operator, key, with)?;
            }
            Edit::ReplaceValue {
                statement,
                operator,
                key,
                found,
                claim,
            } => {
                let condition = statements.item_mut(*statement)?.member_mut("Condition")?;
                let values = condition.member_mut(operator)?.member_mut(key)?;
                values.replace_text(found, &literal(claimed(&self.identity, claim), variables))?;
            }
            Edit::AddSubject {
                statement,
                operator,
                key,
            } => {
                let condition = statements.item_mut(*statement)?.member_mut("Condition")?;
                let subjects = condition.member_mut(operator)?.member_mut(key)?;
                let mut values = subjects.clone().into_list();
                values.push(Tree::Text(literal(self.identity.subject.as_str(), variables)));
                *subjects = Tree::List(values);
            }
        }
        Some(())
    }

    fn statement(&self, variables: Variables) -> Tree {
        let object = |entries: Vec<(&str, Tree)>| {
            Tree::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            )
        };
        let value = |text: &str| Tree::Text(literal(text, variables));
        let conditions = vec![
            (self.key("sub"), value(self.identity.subject.as_str())),
            (self.key("aud"), value(self.identity.audience.as_str())),
        ];
        object(vec![
            ("Effect", Tree::text("Allow")),
            (
                "Principal",
                object(vec![("Federated", Tree::Text(self.provider_arn()))]),
            ),
            ("Action", Tree::text(ASSUME_ROLE_WITH_WEB_IDENTITY)),
            ("Condition", object(vec![("StringEquals", Tree::Object(conditions))])),
        ])
    }

    /// The ARN of the issuer's provider in the account.
    #[must_use]
    pub fn provider_arn(&self) -> String {
        let (partition, account) = (self.partition.as_str(), self.account.as_str());
        format!(
            "arn:{partition}:iam::{account}:oidc-provider/{}",
            self.identity.issuer.as_str()
        )
    }

    fn key(&self, claim: &str) -> String {
        format!("{}:{claim}", self.identity.issuer.as_str())
    }

    /// No rule of trust depends on a role's name.
    fn any_role(&self) -> Result<RoleArn, EditError> {
        RoleArn::compose(&self.partition, &self.account, "any").map_err(|error| {
            EditError::DoesNotFit(format!("no role ARN has the partition {}: {error}", self.partition))
        })
    }
}

/// Whether the subject is listed already, and something else refuses it.
fn names_already(policy: &Policy, edit: &Edit, request: &WebRequest<'_>) -> bool {
    let subject = literal(request.identity.subject.as_str(), policy.variables);
    let Edit::AddSubject { statement, .. } = edit else {
        return false;
    };
    policy
        .statements
        .iter()
        .filter(|candidate| candidate.number == *statement)
        .filter_map(|candidate| subjects_of(candidate, policy.variables, request))
        .any(|subjects| subjects.values.iter().any(|value| *value.text == *subject))
}

/// How many keys that an added statement lacks are named.
const MAX_LEFT_OUT: usize = 20;

/// The condition keys, other than subject and audience, of statements for the same provider.
fn other_conditions(policy: &Policy, request: &WebRequest<'_>) -> Vec<String> {
    let issuer = &request.identity.issuer;
    let mut keys: Vec<String> = Vec::new();
    let of_provider = policy.statements.iter().filter(|statement| {
        let federated = &statement.principals.federated;
        statement.effect == Effect::Allow && federated.iter().any(|one| request.role.is_provider_arn(one, issuer))
    });
    for condition in of_provider.flat_map(|statement| &statement.conditions) {
        let key = condition.key.as_str();
        let is_other = matches!(condition.key.claim(issuer), Claim::None | Claim::Other);
        if is_other && !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
        if keys.len() >= MAX_LEFT_OUT {
            break;
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::web_identity::{Audience, Issuer, Subject};

    const ISSUER: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

    fn grant(audience: &str) -> Grant {
        Grant {
            partition: Partition::parse("aws").unwrap(),
            account: AccountId::parse("111122223333").unwrap(),
            identity: WebIdentity {
                issuer: Issuer::parse(ISSUER).unwrap(),
                subject: Subject::service_account("jobs", "default"),
                audience: Audience::new(audience),
            },
        }
    }

    /// A statement in the right form for these values, each as JSON.
    fn statement(subjects: &str, audiences: &str) -> String {
        format!(
            r#"{{"Effect":"Allow","Principal":{{"Federated":"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"}},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{{"StringEquals":{{"{ISSUER}:sub":{subjects},"{ISSUER}:aud":{audiences}}}}}}}"#
        )
    }

    fn document(statements: &str) -> String {
        format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#)
    }

    /// White space between tokens taken away.
    fn compact(json: &str) -> String {
        json.lines()
            .map(str::trim_start)
            .collect::<String>()
            .replace("\": ", "\":")
    }

    fn added_subject(statement: usize) -> Option<Edit> {
        Some(Edit::AddSubject {
            statement,
            operator: String::new(),
            key: String::new(),
        })
    }

    /// The edit without the operator and key of an added subject, which each case spells in its own way.
    fn edit(merged: &Merged) -> Option<Edit> {
        match &merged.edit {
            Some(Edit::AddSubject { statement, .. }) => added_subject(*statement),
            other => other.clone(),
        }
    }

    fn merge(document: &str) -> Merged {
        grant("sts.amazonaws.com").merge(document).unwrap()
    }

    #[test]
    fn a_document_is_printed_in_lines_of_two_blanks_a_level() {
        let nested = r#"{"a":[1,{"b":"c"}],"d":{},"e":[]}"#;
        let printed = Tree::parse(nested).unwrap().print();
        assert_eq!(
            printed,
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"c\"\n    }\n  ],\n  \"d\": {},\n  \"e\": []\n}"
        );
    }

    const OURS: &str = r#""system:serviceaccount:jobs:default""#;
    const OTHER: &str = r#""system:serviceaccount:prod:default""#;
    const AUDIENCE: &str = r#""sts.amazonaws.com""#;

    #[test]
    fn the_policy_is_what_a_person_would_write() {
        let wanted = document(&format!("[{}]", statement(OURS, AUDIENCE)));
        assert_eq!(compact(&grant("sts.amazonaws.com").policy()), wanted);
    }

    #[test]
    fn a_subject_joins_a_statement_of_exactly_this_form() {
        let both = statement(&format!("[{OTHER},{OURS}]"), AUDIENCE);
        let cases = [
            (statement(OTHER, AUDIENCE), both.clone()),
            (statement(&format!("[{OTHER}]"), AUDIENCE), both.clone()),
            (
                statement(OTHER, AUDIENCE).replace(r#"{"Effect""#, r#"{"Sid":"Jobs","Effect""#),
                both.replace(r#"{"Effect""#, r#"{"Sid":"Jobs","Effect""#),
            ),
            (
                statement(OTHER, AUDIENCE)
                    .replace("StringEquals", "stringequals")
                    .replace(":sub", ":SUB"),
                both.replace("StringEquals", "stringequals").replace(":sub", ":SUB"),
            ),
            (
                statement(OTHER, r#"["sts.amazonaws.com"]"#),
                both.replace(AUDIENCE, r#"["sts.amazonaws.com"]"#),
            ),
        ];
        for (before, after) in cases {
            for (before, after) in [
                (before.clone(), after.clone()),
                (format!("[{before}]"), format!("[{after}]")),
            ] {
                let merged = merge(&document(&before));
                assert_eq!(
                    (compact(&merged.json), edit(&merged)),
                    (document(&after), added_subject(1))
                );
                assert!(merged.obstacle.is_none());
            }
        }
    }

    #[test]
    fn any_other_statement_stays_as_it_is_and_one_is_added() {
        let right = statement(OTHER, AUDIENCE);
        let others = [
            // A subject there would be let in with other audiences, too.
            statement(OTHER, r#"["sts.amazonaws.com","other"]"#),
            statement(OTHER, r#""other""#),
            right.replace("StringEquals", "StringLike"),
            right.replace("StringEquals", "StringEqualsIfExists"),
            right.replace("StringEquals", "ForAnyValue:StringEquals"),
            right.replace("111122223333", "444455556666"),
            right.replace("sts:AssumeRoleWithWebIdentity", "sts:*"),
            right.replace(r#""Condition":{"#, r#""Condition":{"Bool":{"aws:SecureTransport":"true"},"#),
            right.replace(&format!(r#","{ISSUER}:aud":{AUDIENCE}"#), ""),
            right.replace(":aud", ":amr"),
            right.replace(r#""Principal":{"#, r#""Principal":{"Service":"ec2.amazonaws.com","#),
            r#"{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}"#
                .to_owned(),
        ];
        for other in others {
            let merged = merge(&document(&other));
            let wanted = document(&format!("[{other},{}]", statement(OURS, AUDIENCE)));
            assert_eq!(
                (compact(&merged.json), edit(&merged)),
                (wanted, Some(Edit::AddStatement))
            );
            assert!(merged.obstacle.is_none());
        }
    }

    #[test]
    fn what_already_trusts_is_left_alone() {
        for statements in [
            statement(OURS, AUDIENCE),
            statement(&format!("[{OTHER},{OURS}]"), AUDIENCE),
            statement(r#""system:serviceaccount:jobs:*""#, AUDIENCE).replace("StringEquals", "StringLike"),
        ] {
            let merged = merge(&document(&statements));
            assert_eq!((compact(&merged.json), edit(&merged)), (document(&statements), None));
        }
    }

    #[test]
    fn order_numbers_and_escapes_survive() {
        let document = r#"{"Id":"a\"\\\u00fc","Statement":[{"Condition":{"NumericLessThan":{"aws:Unheard":[1.50,1e3]},"Bool":{"aws:SecureTransport":true}},"Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Effect":"Allow","Sid":"z"}],"Version":"2012-10-17"}"#;
        let merged = merge(document);
        let kept = document.replace("\\u00fc", "ü");
        let (kept, _) = kept.split_once(r#"],"Version""#).unwrap();
        assert!(compact(&merged.json).starts_with(kept), "{}", merged.json);
        assert!(
            compact(&merged.json).ends_with(r#"],"Version":"2012-10-17"}"#),
            "{}",
            merged.json
        );
    }

    #[test]
    fn a_remaining_deny_is_reported_and_merging_again_changes_nothing() {
        let deny = statement(OURS, AUDIENCE).replace("Allow", "Deny");
        let merged = merge(&document(&deny));
        assert_eq!(merged.edit, Some(Edit::AddStatement));
        assert_eq!(merged.obstacle.unwrap().verdict, Verdict::NotTrusted);
        let again = merge(&merged.json);
        assert_eq!((again.json, again.edit), (merged.json, None));
        assert_eq!(again.obstacle.unwrap().verdict, Verdict::NotTrusted);
    }

    #[test]
    fn a_dollar_and_a_brace_mean_themselves() {
        let grant = grant("${aws:username}");
        assert!(grant.policy().contains(r#""${$}{aws:username}""#));
        let old = document(&statement(OTHER, AUDIENCE)).replace("2012-10-17", "2008-10-17");
        for document in [document(&statement(OTHER, AUDIENCE)), old] {
            let merged = grant.merge(&document).unwrap();
            assert!(merged.obstacle.is_none(), "{}", merged.json);
        }
    }

    #[test]
    fn a_malformed_document_is_an_error_and_no_panic() {
        assert_eq!(grant("x").merge("{}").unwrap_err().to_string(), "Statement is missing");
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            "",
            "null",
            "[]",
            "{}",
            &document("[]"),
            &document("7"),
            &deep,
            &document(&deep),
        ] {
            assert!(
                matches!(grant("x").merge(text), Err(EditError::Malformed(_))),
                "{:.40}",
                text
            );
        }
    }
}
