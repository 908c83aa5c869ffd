//! Messages about a pod that uses EKS Pod Identity, or should use it: what is wrong before any trust policy is evaluated.

use super::{Message, Subject, commands};
use crate::pod::compute::UnsupportedCompute;
use crate::support::text;
use crate::trust::{Cause, Verdict};

/// The pod uses EKS Pod Identity without an association.
pub(super) fn no_association(subject: &Subject<'_>, cluster: Option<&str>, docs: impl Fn(&str) -> String) -> Message {
    let word = Cause::NoAssociation.as_str();
    let clause = " has no EKS Pod Identity association, so EKS gives its pods no credentials";
    let fix = cluster.and_then(|cluster| commands::create_association(subject, cluster));
    Message::about_account(subject, clause, word)
        .row(
            "fix",
            fix.unwrap_or_else(|| "create the association, or remove the variables AWS_CONTAINER_…".to_owned()),
        )
        .row("docs", docs(word))
}

/// EKS's own webhook did not know the association yet.
pub(super) fn not_injected(subject: &Subject<'_>, docs: impl Fn(&str) -> String) -> Message {
    let word = Cause::AssociationNotInjected.as_str();
    let clause = " has an EKS Pod Identity association, but EKS did not inject its credentials into the pod";
    Message::about_account(subject, clause, word)
        .row(
            "fix",
            "create the pod again in a few seconds: EKS learns of a new association with a delay".to_owned(),
        )
        .row("docs", docs(word))
}

/// No agent runs where the pod will run.
pub(super) fn unsupported_compute(
    subject: &Subject<'_>,
    compute: UnsupportedCompute,
    prefix: &str,
    docs: impl Fn(&str) -> String,
) -> Message {
    let word = Cause::UnsupportedCompute.as_str();
    let clause = format!(" uses EKS Pod Identity, which does not work on {}", compute.as_str());
    let annotate = commands::annotate(subject, prefix);
    let fix = annotate.unwrap_or_else(|| "use an IAM role for ServiceAccounts instead".to_owned());
    Message::about_account(subject, &clause, word)
        .row("fix", fix)
        .row("docs", docs(word))
}

/// The association, or whether there is one, is not known.
pub(super) fn unreadable(subject: &Subject<'_>, why: &str, docs: impl Fn(&str) -> String) -> Message {
    let word = Verdict::Unknown.as_str();
    let clause = format!(": its EKS Pod Identity association could not be read: {why}");
    Message::about_account(subject, &clause, word)
        .row_if_cut("reason", &text::truncate(&text::line(why), 600))
        .fix_with_docs(
            "make sure that rolegate can read EKS Pod Identity associations",
            docs(word),
        )
}
