//! Messages of the commands about what a workload refers to.

use super::{ANNOTATE, Message, Subject, commands, docs};
use crate::support::text;
use crate::trust::Cause;

/// An object that refers to a ServiceAccount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referrer<'a> {
    /// Its kind.
    pub(crate) kind: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Where in it the reference is. Empty for the object itself.
    pub(crate) path: &'a str,
}

/// Why the ServiceAccount of a workload gives its pods no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRole {
    /// The cluster does not have it.
    Missing,
    /// The manifests do not have it.
    NotInInput,
    /// None is written, and the manifests do not have `default`.
    Silent,
    /// It has no role.
    Plain,
}

/// What the commands say of a workload whose ServiceAccount gives its pods no role.
#[must_use]
pub(crate) fn about_workload(referrer: &Referrer<'_>, subject: &Subject<'_>, why: NoRole, prefix: &str) -> Message {
    let word = Cause::NoRole.as_str();
    let object = format!(
        "{} {}",
        text::value(referrer.kind),
        text::quote_within(referrer.name, 63)
    );
    let clause = match why {
        NoRole::Missing => format!(" does not exist; {object} names it"),
        NoRole::NotInInput => format!(" is not in the manifests; {object} names it"),
        NoRole::Silent => format!(" is not in the manifests; {object} names no ServiceAccount"),
        NoRole::Plain => format!(" has no IAM role; {object} uses it"),
    };
    let annotate = || commands::annotate(subject, prefix).unwrap_or_else(|| ANNOTATE.to_owned());
    let fix = match why {
        NoRole::Missing => "create the ServiceAccount, or correct its name in the workload".to_owned(),
        NoRole::NotInInput => {
            "add the ServiceAccount with its role annotation, or correct its name in the workload".to_owned()
        }
        NoRole::Silent => "set serviceAccountName to a ServiceAccount with a role annotation".to_owned(),
        NoRole::Plain => annotate(),
    };
    of_referrer(Message::about_account(subject, &clause, word), referrer)
        .row("fix", fix)
        .row("docs", docs(None, word))
}

/// What the commands say of a workload whose pods would be refused: the refusal.
#[must_use]
pub(crate) fn about_refused_workload(referrer: &Referrer<'_>, refusal: &str) -> Message {
    let mut lines = refusal.lines();
    let mut message = of_referrer(Message::new(lines.next().unwrap_or_default().to_owned()), referrer);
    for (label, value) in lines.filter_map(|row| row.trim_start().split_once("  ")) {
        const LABELS: [&str; 12] = [
            "role", "reason", "found", "allowed", "needed", "also", "edit", "problem", "note", "fix", "then", "docs",
        ];
        if let Some(label) = LABELS.into_iter().find(|known| *known == label) {
            message = message.row(label, value.trim_start().to_owned());
        }
    }
    message
}

fn of_referrer(message: Message, referrer: &Referrer<'_>) -> Message {
    let at = match referrer.path {
        "" => String::new(),
        path => format!(", {}", text::value(path)),
    };
    let object = format!("{} {}{at}", text::value(referrer.kind), text::value(referrer.name));
    message.row("used by", object)
}
