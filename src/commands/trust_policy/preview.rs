//! Shows the changes to a trust policy before it is printed or written.

use anyhow::{Result, anyhow};
use similar::TextDiff;

use crate::commands::exit::Exit;
use crate::commands::output::{self, BAD, DOUBT, GOOD, STRONG, Styled};
use crate::decision::Judged;
use crate::support::text;
use crate::trust::{Addition, Edit, Merged};
use crate::trust::{DEFAULT_QUOTA, LARGEST_QUOTA, size};
use crate::trust::{Judgment, RoleArn, Verdict};

/// The present document with the trust added.
///
/// # Errors
/// That it is not a trust policy.
pub(super) fn merged(addition: &Addition, document: &str, name: &str) -> Result<Merged> {
    addition
        .merge(document)
        .map_err(|error| anyhow!("{name}: IAM would refuse this policy: {error}"))
}

/// Shows the difference, and warns about everything that the edit does not do.
pub(super) fn show(merged: &Merged, addition: &Addition) -> Exit {
    let done = match &merged.edit {
        None => "no change: the policy already contains this trust".to_owned(),
        Some(Edit::AddSubject { statement, .. }) => format!("added the subject to statement {statement}"),
        Some(_) => "added a statement".to_owned(),
    };
    if merged.edit.is_some() {
        output::note(&diff(&merged.before, &merged.json));
    }
    output::note(&done);
    for key in &merged.left_out {
        output::warn(&format!(
            "the new statement has no condition on {}, which another statement for the same principal has",
            text::quote(key)
        ));
    }
    for error in &merged.unstorable {
        output::warn(&format!("IAM would refuse this policy: {error}"));
    }
    let mut exit = if merged.unstorable.is_empty() {
        Exit::Yes
    } else {
        Exit::No
    };
    if let Some(judgment) = &merged.obstacle {
        let verdict = judgment.verdict;
        if let Some(reason) = reason(addition, judgment) {
            output::warn(&match verdict {
                Verdict::NotTrusted => format!("the policy still does not trust it: {reason}"),
                _ => format!("the policy might still not trust it: {reason}"),
            });
        }
        exit = Exit::No;
    }
    exit
}

fn reason(addition: &Addition, judgment: &Judgment) -> Option<String> {
    let judgment = judgment.clone();
    match addition {
        Addition::WebIdentity(grant) => {
            let role = RoleArn::compose(&grant.partition, &grant.account, "any").ok()?;
            Some(Judged::of(role, judgment).reason(&grant.identity))
        }
        Addition::PodIdentity(grant) => {
            let role = grant.association.role_of(grant.hop)?.clone();
            Some(Judged::of(role, judgment).reason_of_association(&grant.association, grant.hop))
        }
    }
}

/// A comparison line by line, colored for terminals.
fn diff(before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let unified = diff
        .unified_diff()
        .context_radius(3)
        .missing_newline_hint(false)
        .header("present", "new")
        .to_string();
    let lines: Vec<String> = unified
        .lines()
        .map(|line| match line.chars().next() {
            Some('+') => Styled(GOOD, text::escape(line)).to_string(),
            Some('-') => Styled(BAD, text::escape(line)).to_string(),
            _ => text::escape(line).into_owned(),
        })
        .collect();
    lines.join("\n")
}

/// Shows the size and the quota of IAM.
pub(super) fn show_size(json: &str) -> Exit {
    let used = size(json);
    let (style, remark, fits) = match used {
        _ if used > LARGEST_QUOTA => (BAD, format!(", more than IAM accepts ({LARGEST_QUOTA})"), Exit::No),
        _ if used > DEFAULT_QUOTA => (
            DOUBT,
            format!(": requires a higher quota for trust policies ({LARGEST_QUOTA} at most)"),
            Exit::Yes,
        ),
        _ => (
            GOOD,
            format!(" ({LARGEST_QUOTA} at most with a higher quota)"),
            Exit::Yes,
        ),
    };
    let used = Styled(style, used);
    output::note(&format!(
        "{STRONG}size:{STRONG:#} {used} of IAM's {DEFAULT_QUOTA} characters{remark}"
    ));
    fits
}
