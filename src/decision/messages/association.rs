//! The text about a role of an EKS Pod Identity association: whether it lets EKS in, and the edit that would.

use super::explanation::{agent, label, policy_text};
use super::{MAX_LINES, Message, Subject, commands};
use crate::decision::{Judged, Why};
use crate::support::text;
use crate::trust::{Association, Cause, Explanation, Fault, Hop, Verdict};

/// What the commands say of a role of an association: the same message as a refusal.
#[must_use]
pub fn about_association(judged: &Judged, association: &Association, hop: Hop) -> Message {
    of_role(judged, association, hop, |word| super::docs(None, word))
}

pub(super) fn of_role(judged: &Judged, association: &Association, hop: Hop, docs: impl Fn(&str) -> String) -> Message {
    let subject = Subject {
        namespace: &association.namespace,
        service_account: &association.service_account,
    };
    let (role, name) = (&judged.role, judged.role.name());
    let as_read = judged
        .copy_age
        .map_or_else(String::new, |age| format!(", as read {} s ago", age.as_secs()));
    let role_row = || format!("{}{as_read}", text::value(role.as_str()));
    let fix = || commands::trust_policy_for_association(role, association, hop);
    match &judged.why {
        Why::Trusted => Message::new(format!(
            "IAM role \"{name}\" {} ServiceAccount {}/{}",
            trusts(association, hop, "trusts"),
            text::value(&association.namespace),
            text::value(&association.service_account)
        )),
        Why::NoSuchRole { hint } => {
            let word = Cause::RoleNotFound.as_str();
            let account = role.account();
            let line = |role: &str, namespace: &str, name: &str, clause: &str| {
                format!(
                    "IAM role \"{role}\" does not exist in account {account}; the EKS Pod Identity association of ServiceAccount \
                     {namespace}/{name} names it{clause} ({word})"
                )
            };
            Message::first_line(name, &subject, "", line)
                .row("role", role_row())
                .row("note", hint.as_deref().map(text::value))
                .row("fix", "create the role, or correct the association".to_owned())
                .row("docs", docs(word))
        }
        Why::Malformed(reason) | Why::Unreadable(reason) => {
            let (clause, fix, word) = match &judged.why {
                Why::Malformed(_) => (
                    format!("its trust policy is malformed: {reason}"),
                    "correct the trust policy",
                    "malformed",
                ),
                _ => (
                    format!("its trust policy could not be read: {reason}"),
                    "make the role readable for rolegate",
                    Verdict::Unknown.as_str(),
                ),
            };
            Message::about_role(
                name,
                "could not be checked for EKS Pod Identity of",
                &subject,
                &clause,
                word,
            )
            .row("role", role_row())
            .row_if_cut("reason", &text::truncate(&text::line(reason), 600))
            .row("fix", fix.to_owned())
            .row("docs", docs(word))
        }
        Why::Explained(explanation) => {
            let word = judged.cause.map_or(judged.verdict.as_str(), Cause::as_str);
            let predicate = match judged.verdict {
                Verdict::NotTrusted => trusts(association, hop, "does not trust"),
                _ => trusts(association, hop, "might not trust"),
            };
            let mut message = Message::about_role(name, &predicate, &subject, &clause(explanation), word).row(
                "role",
                match &explanation.statement {
                    Some(statement) => format!("{}, {}", role_row(), label(statement)),
                    None => role_row(),
                },
            );
            message = match allowed_and_needed(explanation, association) {
                Some((allowed, needed)) => message.row("allowed", allowed).row("needed", needed),
                None => message.row_if_cut("reason", &reason(explanation)),
            };
            // Line 1, what is there so far, the fix, its second step and the documentation.
            let room = MAX_LINES.saturating_sub(1 + message.rows.len() + 3).max(1);
            for fault in explanation.faults.iter().skip(1).take(room) {
                message = message.row("also", format!("it {}", sentence(fault)));
            }
            let fix = match (judged.verdict, judged.cause) {
                (Verdict::NotTrusted, Some(Cause::SessionTagsDisabled)) => {
                    Some("enable session tags in the association, or remove the condition".to_owned())
                }
                (Verdict::NotTrusted, Some(Cause::ExplicitDeny)) => Some("change the Deny statement".to_owned()),
                (Verdict::NotTrusted, _) => Some(fix().unwrap_or_else(|| {
                    format!(
                        "allow sts:AssumeRole and sts:TagSession to {}",
                        agent::principal(association, hop)
                    )
                })),
                _ => None,
            };
            message.row("fix", fix).row("docs", docs(word))
        }
    }
}

/// `trusts EKS Pod Identity for`, `trusts primary role "NAME" for`.
fn trusts(association: &Association, hop: Hop, verb: &str) -> String {
    match hop {
        Hop::Primary => format!("{verb} EKS Pod Identity for"),
        Hop::Target => format!("{verb} primary role \"{}\" for", association.role.name()),
    }
}

/// What line 1 says after the names.
fn clause(explanation: &Explanation) -> String {
    match explanation.faults.first() {
        Some(Fault::Agent(fault)) => agent::clause(fault),
        Some(Fault::Denied { .. }) => match &explanation.statement {
            Some(statement) => format!("statement {} of its trust policy denies it", statement.number),
            None => "its trust policy denies it".to_owned(),
        },
        Some(Fault::DependsOn { .. }) => format!(
            "its trust policy depends on {}, which only AWS knows",
            policy_text::list(&explanation.undecided_keys)
        ),
        _ => "its trust policy has no statement that allows it".to_owned(),
    }
}

/// A predicate of the statement: what it does or lacks.
fn sentence(fault: &Fault) -> String {
    match fault {
        Fault::Agent(fault) => agent::sentence(fault),
        Fault::Denied { conditions, .. } if conditions.is_empty() => "denies the request".to_owned(),
        Fault::Denied { conditions, .. } => {
            format!(
                "denies the request, because {} holds",
                policy_text::requirements(conditions)
            )
        }
        Fault::DependsOn { conditions, denies, .. } => {
            let verb = if *denies { "denies it if" } else { "allows it only if" };
            match conditions.is_empty() {
                true => {
                    "names the principal \"*\"; whether that includes EKS Pod Identity is not documented".to_owned()
                }
                false => format!("{verb} {} holds", policy_text::requirements(conditions)),
            }
        }
        _ => "allows nothing that EKS Pod Identity asks for".to_owned(),
    }
}

/// Every fault of the statement on one line, of at most 600 characters.
pub(crate) fn reason(explanation: &Explanation) -> String {
    let faults: Vec<String> = explanation.faults.iter().map(sentence).collect();
    let faults = faults.join("; it also ");
    let reason = match explanation.statement.as_ref().map(label) {
        Some(label) => format!("{label} {faults}"),
        None => faults,
    };
    text::truncate(&text::line(&reason), 600).into_owned()
}

fn allowed_and_needed(explanation: &Explanation, association: &Association) -> Option<(String, String)> {
    let Some(Fault::Agent(fault)) = explanation.faults.first() else {
        return None;
    };
    let (allowed, needed) = agent::allowed_and_needed(fault, association)?;
    Some((text::value(&allowed), text::value(&needed)))
}
