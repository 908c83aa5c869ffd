//! The text of an explanation about EKS Pod Identity: the clause of line 1, the rows, and the reason on one line.

use super::policy_text::{list, long_requirement, quoted_list, requirements, short_requirement, values_bare};
use super::{LONGEST, condition, label, subject};
use crate::support::text::{self, quote};
use crate::trust::{Association, AssociationFault, Carried, Explanation, Fault, Hop, Part, Requirement, SessionTags};

/// The clause for such a fault where the association is not at hand.
pub(super) const CLAUSE: &str = "its trust policy does not trust EKS Pod Identity";

const SERVICE: &str = "pods.eks.amazonaws.com";
const ASSUME_ROLE: &str = "sts:AssumeRole";
const TAG_SESSION: &str = "sts:TagSession";

/// An explanation of one hop of an association, with what it is about.
#[derive(Clone, Copy)]
pub struct AssociationText<'a> {
    /// The association.
    pub association: &'a Association,
    /// The hop.
    pub hop: Hop,
    /// Why.
    pub explanation: &'a Explanation,
}

impl AssociationText<'_> {
    /// Every fault of the statement on one line, of at most 600 characters.
    #[must_use]
    pub fn reason(&self) -> String {
        let faults = self.explanation.faults.iter().map(|fault| self.sentence(fault));
        let faults = faults.collect::<Vec<_>>().join("; it also ");
        let reason = match &self.explanation.statement {
            Some(statement) => format!("{} {faults}", label(statement)),
            None => faults,
        };
        text::truncate(&text::line(&reason), LONGEST).into_owned()
    }

    /// What to do where a statement for the association is not what helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let number = self.explanation.statement.as_ref().map(|one| one.number);
        match (self.explanation.faults.first()?, number) {
            (Fault::Denied { .. }, Some(number)) => Some(format!("remove or narrow the Deny in statement {number}")),
            _ => None,
        }
    }

    /// The faults after the first, in at most so many lines.
    pub(in crate::decision::messages) fn others(&self, max_lines: usize) -> Vec<String> {
        let rest = self.explanation.faults.iter().skip(1);
        let mut sentences: Vec<String> = rest
            .map(|fault| text::line(&format!("it {}", self.sentence(fault))).into_owned())
            .collect();
        if sentences.len() > max_lines.max(1) {
            let rest = sentences.split_off(max_lines.max(1).saturating_sub(1));
            sentences.push(rest.join("; "));
        }
        sentences
    }

    /// What line 1 says after the names.
    pub(in crate::decision::messages) fn clause(&self) -> String {
        let Some(fault) = self.explanation.faults.first() else {
            return CLAUSE.to_owned();
        };
        let statement = || match &self.explanation.statement {
            Some(statement) => format!("statement {} of its trust policy", statement.number),
            None => "its trust policy".to_owned(),
        };
        match fault {
            Fault::Denied { .. } => format!("{} denies it", statement()),
            Fault::NothingAllowed => "its trust policy has no statement that allows it".to_owned(),
            Fault::WildcardTakenLiterally { requirement, value, .. } => {
                format!(
                    "{}; use StringLike",
                    subject::literal_wildcard_clause(requirement, value)
                )
            }
            Fault::DependsOn { conditions, denies, .. } => match (conditions.as_slice(), denies) {
                ([], true) => format!("{} might deny it; only STS knows", statement()),
                ([], false) => format!("{} might be about another caller; only STS knows", statement()),
                (_, true) => format!("{} might deny it, which depends on {}", statement(), self.keys()),
                (_, false) => format!("its trust policy depends on {}, which only STS knows", self.keys()),
            },
            Fault::Association(fault) => self.clause_of(fault),
            // Faults of a web identity; none of them is in an explanation of an association.
            _ => CLAUSE.to_owned(),
        }
    }

    fn clause_of(&self, fault: &AssociationFault) -> String {
        match fault {
            AssociationFault::PrincipalType {
                federated,
                services,
                aws,
            } => {
                let found = if services.is_empty() && aws.is_empty() && !federated.is_empty() {
                    "an OIDC or SAML provider".to_owned()
                } else {
                    list(services.iter().chain(aws))
                };
                format!("its trust policy trusts {found}, not {}", self.principal())
            }
            AssociationFault::PrimaryRole { aws } => {
                format!("its trust policy trusts {}, not {}", list(aws), self.principal())
            }
            AssociationFault::Action { actions, excluded } => {
                format!("its trust policy {}", lacks(&list(actions), *excluded, ASSUME_ROLE))
            }
            AssociationFault::TagSession { actions, excluded } => {
                format!("its trust policy {}", lacks(&list(actions), *excluded, TAG_SESSION))
            }
            AssociationFault::Condition {
                part: Part::DisabledTags,
                requirement,
                ..
            } => format!(
                "its trust policy requires {}, and the association disables session tags",
                text::value(&requirement.key)
            ),
            AssociationFault::Condition {
                requirement, carried, ..
            } => match carried {
                Carried::Text(_) if !requirement.negated && !requirement.values.is_empty() => {
                    format!(
                        "its trust policy requires {} {}",
                        text::value(&requirement.key),
                        values_bare(requirement)
                    )
                }
                Carried::Absent => format!(
                    "its trust policy requires {}, which its request does not have",
                    text::value(&requirement.key)
                ),
                carried => format!(
                    "its trust policy requires {}; {}",
                    short_requirement(requirement),
                    has(carried)
                ),
            },
            AssociationFault::TagSessionUnclear => {
                "its trust policy does not allow sts:TagSession, which a session without tags might not need".to_owned()
            }
        }
    }

    /// A predicate of the statement: what it does or lacks.
    fn sentence(&self, fault: &Fault) -> String {
        match fault {
            Fault::Denied { conditions, .. } if conditions.is_empty() => "denies EKS Pod Identity".to_owned(),
            Fault::Denied { conditions, more } => {
                let more = match more {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("denies the request under {}{more}", requirements(conditions))
            }
            Fault::NothingAllowed => "no statement allows it".to_owned(),
            Fault::WildcardTakenLiterally { requirement, value, .. } => format!(
                "requires {} to equal {} under {}, which does not expand * and ?",
                quote(&requirement.key),
                quote(value),
                text::value_within(&requirement.operator, 60)
            ),
            Fault::DependsOn { conditions, denies, .. } if conditions.is_empty() => format!(
                "{} principals of which only STS knows whether they include {}",
                if *denies { "denies" } else { "allows" },
                self.principal()
            ),
            Fault::DependsOn {
                conditions,
                more,
                denies,
                other_statements,
                ..
            } => condition::depends_on(conditions, *more, *denies, *other_statements, None),
            Fault::Association(fault) => self.sentence_of(fault),
            _ => "does not trust EKS Pod Identity".to_owned(),
        }
    }

    fn sentence_of(&self, fault: &AssociationFault) -> String {
        match fault {
            AssociationFault::PrincipalType {
                federated,
                services,
                aws,
            } => {
                let all: Vec<String> = services.iter().chain(aws).chain(federated).cloned().collect();
                format!("trusts {}, not {}", quoted_list(&all), self.principal())
            }
            AssociationFault::PrimaryRole { aws } => format!("trusts {}, not {}", quoted_list(aws), self.principal()),
            AssociationFault::Action { actions, excluded } => lacks(&quoted_list(actions), *excluded, ASSUME_ROLE),
            AssociationFault::TagSession { actions, excluded } => lacks(&quoted_list(actions), *excluded, TAG_SESSION),
            AssociationFault::Condition {
                part: Part::DisabledTags,
                requirement,
                ..
            } => format!(
                "requires {}; the association disables session tags",
                long_requirement(requirement)
            ),
            AssociationFault::Condition {
                requirement, carried, ..
            } => format!("requires {}; {}", long_requirement(requirement), has(carried)),
            AssociationFault::TagSessionUnclear => {
                "no statement allows sts:TagSession; whether EKS needs it for a session without tags is not documented"
                    .to_owned()
            }
        }
    }

    /// What is allowed and what would be needed, as written in policies.
    pub(in crate::decision::messages) fn allowed_and_needed(&self) -> Option<(String, String)> {
        let (allowed, needed) = match self.explanation.faults.first()? {
            Fault::WildcardTakenLiterally { requirement, value, .. } => {
                let value = text::visible(value);
                (
                    format!("{} {value}", requirement.operator),
                    format!("StringLike {value}"),
                )
            }
            Fault::Association(fault) => match fault {
                AssociationFault::PrincipalType {
                    federated,
                    services,
                    aws,
                } => {
                    let allowed = list(services.iter().chain(aws).chain(federated));
                    (allowed, format!("{} as well", self.principal()))
                }
                AssociationFault::PrimaryRole { aws } => (list(aws), self.principal().to_owned()),
                AssociationFault::Action { actions, excluded } | AssociationFault::TagSession { actions, excluded } => {
                    let prefix = if *excluded { "all but " } else { "" };
                    let needed = match self.association.session_tags {
                        SessionTags::Enabled => "sts:AssumeRole and sts:TagSession",
                        SessionTags::Disabled => ASSUME_ROLE,
                    };
                    (format!("{prefix}{}", list(actions)), needed.to_owned())
                }
                AssociationFault::Condition {
                    requirement,
                    carried: Carried::Text(carried),
                    ..
                } => (
                    shown(requirement),
                    format!("{} {}", requirement.key, text::visible(carried)),
                ),
                AssociationFault::Condition { .. } | AssociationFault::TagSessionUnclear => return None,
            },
            _ => return None,
        };
        Some((text::value(&allowed), text::value(&needed)))
    }

    /// Who assumes the role.
    fn principal(&self) -> &str {
        match self.hop {
            Hop::Primary => SERVICE,
            Hop::Target => self.association.role.as_str(),
        }
    }

    fn keys(&self) -> String {
        list(&self.explanation.undecided_keys)
    }
}

fn lacks(actions: &str, excluded: bool, needed: &str) -> String {
    if excluded {
        format!("excludes {needed} (NotAction {actions})")
    } else {
        format!("allows {actions}, not {needed}")
    }
}

fn shown(requirement: &Requirement) -> String {
    format!("{} {}", text::visible(&requirement.key), values_bare(requirement))
}

/// What the request of EKS Auth has under a key.
fn has(carried: &Carried) -> String {
    match carried {
        Carried::Absent | Carried::UnknownClaim | Carried::NoClaim => {
            "a request of EKS Pod Identity does not have this key".to_owned()
        }
        Carried::Text(text) => format!("its value is {}", quote(text)),
        Carried::Beginning(beginning) => format!("its value begins with {}", quote(beginning)),
        Carried::Several(texts) => format!(
            "its values are {}",
            text::quoted_list(texts.iter().map(String::as_str), 6)
        ),
        Carried::SeveralForOneValue => {
            "it has several values, which only an operator with ForAnyValue: or ForAllValues: matches".to_owned()
        }
        Carried::PastTime => "that time has passed".to_owned(),
        Carried::SessionName => "no session name that STS accepts can match".to_owned(),
        Carried::Anything => "this is false for every value".to_owned(),
    }
}
