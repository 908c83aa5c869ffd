//! The messages about the roles of an EKS Pod Identity association.

use super::explanation::{AssociationText, label};
use super::{MAX_LINES, Message, Subject, commands, docs};
use crate::decision::{Judged, Why};
use crate::support::text;
use crate::trust::{Association, Cause, Hop, Verdict};

/// What the commands say of one hop of an association: the same message as a refusal.
#[must_use]
pub fn about_association(judged: &Judged, association: &Association, hop: Hop) -> Message {
    of_role(judged, association, hop, |word| docs(None, word))
}

/// The message about one hop of an association.
pub(super) fn of_role(judged: &Judged, association: &Association, hop: Hop, docs: impl Fn(&str) -> String) -> Message {
    let subject = Subject {
        namespace: &association.namespace,
        service_account: &association.service_account,
    };
    let role = &judged.role;
    let name = role.name();
    let role_row = || format!("{} ({hop} role)", text::value(role.as_str()));
    let as_read = judged
        .copy_age
        .map_or_else(String::new, |age| format!(", as read {} s ago", age.as_secs()));
    let command = || commands::trust_policy_for_association(role, association, hop);
    match &judged.why {
        Why::Trusted => Message::new(format!(
            "IAM role \"{name}\" trusts EKS Pod Identity for ServiceAccount {}/{}",
            text::value(subject.namespace),
            text::value(subject.service_account)
        )),
        Why::NoSuchRole { hint } => {
            let word = Cause::RoleNotFound.as_str();
            let account = role.account();
            let line = |role: &str, namespace: &str, name: &str, clause: &str| {
                format!(
                    "IAM role \"{role}\" does not exist in account {account}; the EKS Pod Identity association of ServiceAccount \
                     {namespace}/{name} requests it{clause} ({word})"
                )
            };
            Message::first_line(name, &subject, "", line)
                .row("role", role_row() + &as_read)
                .row("note", hint.as_deref().map(text::value))
                .row("fix", "correct the role of the association, or create it".to_owned())
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
                    "make sure that rolegate can read the role",
                    Verdict::Unknown.as_str(),
                ),
            };
            Message::about_role(
                name,
                "could not be checked for EKS Pod Identity for",
                &subject,
                &clause,
                word,
            )
            .row("role", role_row())
            .row_if_cut("reason", &text::truncate(&text::line(reason), 600))
            .fix_with_docs(fix, docs(word))
        }
        Why::Explained(explanation) => {
            let explained = AssociationText {
                association,
                hop,
                explanation,
            };
            let fix = match judged.verdict {
                Verdict::NotTrusted => explained.hint().or_else(command),
                _ => None,
            };
            let word = judged.cause.map_or(judged.verdict.as_str(), Cause::as_str);
            let predicate = match judged.verdict {
                Verdict::NotTrusted => "does not trust EKS Pod Identity for",
                _ => "might not trust EKS Pod Identity for",
            };
            let statement = explanation.statement.as_ref().map(label);
            let statement = statement.map_or_else(String::new, |statement| format!(", {statement}"));
            let mut message = Message::about_role(name, predicate, &subject, &explained.clause(), word)
                .row("role", format!("{}{statement}{as_read}", role_row()));
            message = match explained.allowed_and_needed() {
                Some((allowed, needed)) => message.row("allowed", allowed).row("needed", needed),
                None => message.row_if_cut("reason", &explained.reason()),
            };
            // Line 1, what is there so far, and the fix, its second step and the documentation.
            let room = MAX_LINES.saturating_sub(1 + message.rows.len() + 3);
            for also in explained.others(room.max(1)) {
                message = message.row("also", also);
            }
            message.row("fix", fix).row("docs", docs(word))
        }
    }
}

impl Judged {
    /// The reason of a hop of an association on one line, every fault of it. Empty when trusted.
    #[must_use]
    pub fn reason_of_association(&self, association: &Association, hop: Hop) -> String {
        match &self.why {
            Why::Trusted => String::new(),
            Why::NoSuchRole { .. } => format!("no role has this ARN in account {}", self.role.account()),
            Why::Malformed(reason) | Why::Unreadable(reason) => text::line(reason).into_owned(),
            Why::Explained(explanation) => AssociationText {
                association,
                hop,
                explanation,
            }
            .reason(),
        }
    }
}
