//! The text of an explanation: the clause of line 1, the rows, the reason on one line, the edit that corrects it.
//!
//! Each submodule is about one part of a statement. It has two texts for each fault: a clause for line 1 (`…_clause`), and a predicate of
//! the statement with more details.

mod association;
mod audience;
mod condition;
mod edits;
mod mismatch;
mod policy_text;
mod provider;
mod subject;

use self::policy_text::{list, quoted_list, values_bare};
use crate::support::text;
use crate::trust::{Edit, Explanation, Fault, RoleArn, StatementLabel, WebIdentity};

/// The longest reason or hint, in characters.
const LONGEST: usize = 600;
const ACTION: &str = "sts:AssumeRoleWithWebIdentity";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

pub use self::association::AssociationText;

/// An explanation with what it is about.
#[derive(Clone, Copy)]
pub struct ExplanationText<'a> {
    /// The role.
    pub role: &'a RoleArn,
    /// The web identity.
    pub identity: &'a WebIdentity,
    /// Why.
    pub explanation: &'a Explanation,
}

/// `statement 1`, `statement 1 (Sid "Jobs")`.
pub(super) fn label(statement: &StatementLabel) -> String {
    match &statement.sid {
        Some(sid) => format!("statement {} (Sid {})", statement.number, text::quote_within(sid, 63)),
        None => format!("statement {}", statement.number),
    }
}

impl ExplanationText<'_> {
    /// Every fault of the statement on one line, of at most 600 characters.
    #[must_use]
    pub fn reason(&self) -> String {
        let label = self.explanation.statement.as_ref().map(label);
        let sentences: Vec<String> = self
            .explanation
            .faults
            .iter()
            .map(|fault| self.sentence(fault))
            .collect();
        let faults = sentences.join("; it also ");
        let reason = match label {
            Some(label) => format!("{label} {faults}"),
            None => faults,
        };
        text::truncate(&text::line(&reason), LONGEST).into_owned()
    }

    /// What corrects it, on one line of at most 600 characters: edits that never remove access, or what to decide.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let edits = edits::edits(self);
        let hint = if edits.is_empty() {
            edits::without_an_edit(self)?
        } else {
            edits
        };
        Some(text::truncate(&hint, LONGEST).into_owned())
    }

    /// The correction in place, where there is one; additions are what the command of the fix does.
    pub(super) fn correction(&self) -> Option<String> {
        let in_place = |edit: &Edit| !matches!(edit, Edit::AddSubject { .. } | Edit::AddStatement);
        let edits = &self.explanation.edits;
        (!edits.is_empty() && edits.iter().all(in_place)).then(|| edits::edits(self))
    }

    /// The faults after the first, in at most so many lines.
    pub(super) fn others(&self, max_lines: usize) -> Vec<String> {
        let mut sentences: Vec<String> = self
            .explanation
            .faults
            .iter()
            .skip(1)
            .map(|fault| text::line(&format!("it {}", self.sentence(fault))).into_owned())
            .collect();
        if sentences.len() > max_lines.max(1) {
            let rest = sentences.split_off(max_lines.max(1).saturating_sub(1));
            sentences.push(rest.join("; "));
        }
        sentences
    }

    /// What line 1 says after the names.
    pub(super) fn clause(&self) -> String {
        match self.explanation.faults.first() {
            Some(fault) => self.clause_of(fault),
            None => "its trust policy does not apply".to_owned(),
        }
    }

    fn clause_of(&self, fault: &Fault) -> String {
        match fault {
            Fault::NoProvider => provider::missing_clause(self),
            Fault::AudienceNotRegistered { .. } => audience::not_registered_clause(self),
            Fault::Denied { .. } => format!("{} denies it", self.statement()),
            Fault::NothingAllowed => "its trust policy has no statement that allows it".to_owned(),
            Fault::PrincipalType {
                misplaced_provider: Some((element, _)),
                ..
            } => format!("its trust policy lists the OIDC provider under {element} instead of Federated"),
            Fault::PrincipalType { services, aws, .. } => provider::no_provider_clause(services, aws),
            Fault::Provider { found, mismatches } => provider::other_provider_clause(found, mismatches),
            Fault::ProviderInKey { owner, mismatches, .. } => provider::other_key_clause(owner, mismatches),
            Fault::Action { actions, excluded } if *excluded => {
                format!("its trust policy excludes {ACTION} (NotAction {})", list(actions))
            }
            Fault::Action { actions, .. } => format!("its trust policy allows {}, not {ACTION}", list(actions)),
            Fault::ProviderArnInKey { .. } => {
                "a condition key of its trust policy has the provider's ARN instead of the issuer".to_owned()
            }
            Fault::SubjectUnderAudienceKey { swapped, .. } if *swapped => {
                "its trust policy has the values of :sub and :aud swapped".to_owned()
            }
            Fault::SubjectUnderAudienceKey { .. } => {
                "its trust policy has the subject under the audience key (:aud)".to_owned()
            }
            Fault::WildcardTakenLiterally {
                requirement,
                value,
                would_match,
            } => {
                let fix = if *would_match { "; use StringLike" } else { "" };
                format!("{}{fix}", subject::literal_wildcard_clause(requirement, value))
            }
            Fault::Subject { key_without_claim, .. } if *key_without_claim => {
                "a condition key of its trust policy lacks :sub".to_owned()
            }
            Fault::Subject {
                requirement,
                mismatches,
                ..
            } => subject::other_subject_clause(requirement, mismatches),
            Fault::Audience { key_without_claim, .. } if *key_without_claim => {
                "a condition key of its trust policy lacks :aud".to_owned()
            }
            Fault::Audience {
                requirement,
                mismatches,
                ..
            } => audience::other_audience_clause(self, requirement, mismatches),
            Fault::Condition { requirement, carried } => condition::not_met_clause(self, requirement, carried),
            Fault::DependsOn { conditions, denies, .. } => condition::depends_on_clause(self, conditions, *denies),
            Fault::Association(_) => association::CLAUSE.to_owned(),
        }
    }

    /// The statement that an explanation is about, as line 1 names it.
    fn statement(&self) -> String {
        match &self.explanation.statement {
            Some(statement) => format!("statement {} of its trust policy", statement.number),
            None => "its trust policy".to_owned(),
        }
    }

    /// A predicate of the statement: what it does or lacks.
    fn sentence(&self, fault: &Fault) -> String {
        match fault {
            Fault::NoProvider => provider::missing(self),
            Fault::AudienceNotRegistered { listed } => audience::not_registered(self, listed),
            Fault::Denied { conditions, more } => condition::denied(self, conditions, *more),
            Fault::NothingAllowed => "no statement allows anything; every statement is a Deny".to_owned(),
            Fault::PrincipalType {
                misplaced_provider: Some((element, found)),
                ..
            } => provider::misplaced(element, found),
            Fault::PrincipalType { services, aws, .. } => provider::no_provider(services, aws),
            Fault::Provider { found, mismatches } => provider::other_provider(self, found, mismatches),
            Fault::ProviderInKey {
                requirement,
                mismatches,
                ..
            } => provider::other_key(self, requirement, mismatches),
            Fault::Action { actions, excluded } if *excluded => {
                let actions = quoted_list(actions);
                format!("allows all but {actions} (NotAction), and so not {ACTION}")
            }
            Fault::Action { actions, .. } => format!("allows {}, not {ACTION}", quoted_list(actions)),
            Fault::ProviderArnInKey { key } => provider::arn_in_key(key),
            Fault::SubjectUnderAudienceKey { value, swapped } if *swapped => subject::swapped(self, value),
            Fault::SubjectUnderAudienceKey { value, .. } => subject::under_audience_key(self, value),
            Fault::WildcardTakenLiterally { requirement, value, .. } => {
                subject::literal_wildcard(self, requirement, value)
            }
            Fault::Subject {
                requirement,
                key_without_claim,
                ..
            } if *key_without_claim => subject::key_without_claim(requirement),
            Fault::Subject {
                requirement,
                mismatches,
                ..
            } => subject::other_subject(self, requirement, mismatches),
            Fault::Audience {
                requirement,
                key_without_claim,
                ..
            } if *key_without_claim => audience::key_without_claim(requirement),
            Fault::Audience {
                requirement,
                mismatches,
                ..
            } => audience::other_audience(self, requirement, mismatches),
            Fault::Condition { requirement, carried } => condition::not_met(requirement, carried),
            Fault::DependsOn {
                conditions,
                more,
                denies,
                other_statements,
                session_name,
            } => condition::depends_on(conditions, *more, *denies, *other_statements, session_name.as_ref()),
            Fault::Association(_) => association::CLAUSE.to_owned(),
        }
    }

    /// What is allowed and what would be needed, as written in policies.
    pub(super) fn allowed_and_needed(&self) -> Option<(String, String)> {
        let provider = || self.role.provider_arn(&self.identity.issuer);
        let key = |claim: &str| format!("{}:{claim}", self.identity.issuer);
        let (allowed, needed) = match self.explanation.faults.first()? {
            Fault::PrincipalType { services, aws, .. } => {
                // What is trusted now stays trusted: one more is needed.
                let allowed = list(services.iter().chain(aws));
                return Some((text::value(&allowed), format!("{} as well", text::value(&provider()))));
            }
            Fault::Provider { found, .. } => (text::visible(found).into_owned(), provider()),
            Fault::ProviderInKey { requirement, .. } => {
                let claim = if requirement.key.to_ascii_lowercase().trim_end().ends_with("aud") {
                    "aud"
                } else {
                    "sub"
                };
                (
                    format!("key {}", text::visible(&requirement.key)),
                    format!("key {}", key(claim)),
                )
            }
            Fault::Action { actions, excluded } => {
                let prefix = if *excluded { "all but " } else { "" };
                (format!("{prefix}{}", list(actions)), ACTION.to_owned())
            }
            Fault::ProviderArnInKey { key: found } => {
                let claim = if found.ends_with("aud") { "aud" } else { "sub" };
                (format!("key {}", text::visible(found)), format!("key {}", key(claim)))
            }
            Fault::SubjectUnderAudienceKey { value, .. } => {
                let value = text::visible(value);
                (format!("aud {value}"), format!("sub {value}"))
            }
            Fault::WildcardTakenLiterally { requirement, value, .. } => {
                let value = text::visible(value);
                (
                    format!("{} {value}", requirement.operator),
                    format!("StringLike {value}"),
                )
            }
            Fault::Subject { requirement, .. } => (values_bare(requirement), self.identity.subject.as_str().to_owned()),
            Fault::Audience { requirement, .. } => (
                values_bare(requirement),
                text::visible(self.identity.audience.as_str()).into_owned(),
            ),
            Fault::AudienceNotRegistered { listed } => (
                audience::client_ids(listed),
                text::visible(self.identity.audience.as_str()).into_owned(),
            ),
            Fault::NoProvider
            | Fault::Denied { .. }
            | Fault::NothingAllowed
            | Fault::Condition { .. }
            | Fault::DependsOn { .. }
            | Fault::Association(_) => return None,
        };
        Some((text::value(&allowed), text::value(&needed)))
    }
}
