//! `rolegate trust-policy --apply`: reads, shows, asks, reads again, writes.

use std::future::Future;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::time::Duration;

use tokio::time::timeout;

use super::{merged, note, note_size, warn};
use crate::commands::output::{self, GOOD, Styled};
use crate::commands::sources::{self, AwsAccess};
use crate::commands::{Exit, serve::RoleSourceSpec};
use crate::roles::aws::{CurrentRole, managed_by, unique_id_principals};
use crate::support::text;
use crate::trust::{Grant, RoleArn};

/// The longest that a call to IAM may take, with the search for credentials.
const PATIENCE: Duration = Duration::from_secs(60);

/// Adds the trust to a role's policy.
///
/// # Errors
/// Why nothing was written, or might have been.
pub(super) fn apply(
    grant: &Grant,
    role: &RoleArn,
    specs: &[RoleSourceSpec],
    aws: &AwsAccess,
    yes: bool,
) -> Result<Exit, String> {
    if let Some(other) = specs.iter().find(|spec| !matches!(spec, RoleSourceSpec::Iam)) {
        return Err(format!(
            "--apply writes to IAM and reads the role from there; with --role-source {other}, print the policy without --apply and \
             change it where it is managed"
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let editor = runtime.block_on(in_time(sources::editor(aws, &grant.account)))?;
    let read = || runtime.block_on(in_time(editor.read(role)));
    let current = read()?;
    refuse_what_cannot_be_written(&current)?;
    if let Some(owner) = managed_by(&current.tags) {
        warn(&format!(
            "the tags of {role} say that {owner} manages it, which will undo this change or report it as drift; change it there"
        ));
    }
    let merged = merged(grant, &current.document, role.as_str())?;
    let exit = note(&merged, grant).max(note_size(&merged.json));
    if merged.edit.is_none() {
        return Ok(exit);
    }
    if exit != Exit::Yes {
        return Err(format!(
            "nothing was written: the new policy of {role} would not let the ServiceAccount in, or IAM would refuse it"
        ));
    }
    if !yes && !confirmed(role)? {
        return Err("nothing was written".to_owned());
    }
    // IAM has no compare-and-swap: this is as close as it gets.
    if read()?.document != current.document {
        return Err(format!(
            "nothing was written: the trust policy of {role} has changed in the meantime; run the command again"
        ));
    }
    runtime.block_on(in_time(editor.write(role, &merged.json)))?;
    output::note(&format!(
        "{} the trust policy of {role}; AWS may take up to a minute to use it everywhere",
        Styled(GOOD, "updated")
    ));
    Ok(exit)
}

async fn in_time<T>(call: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(PATIENCE, call).await.unwrap_or_else(|_| {
        Err(format!(
            "AWS did not answer within {} s; run the command again",
            PATIENCE.as_secs()
        ))
    })
}

/// IAM shows a principal that was deleted by its unique ID, and refuses a document that has it: what would be written is not
/// what was read.
fn refuse_what_cannot_be_written(current: &CurrentRole) -> Result<(), String> {
    let ids = unique_id_principals(&current.document);
    if ids.is_empty() {
        return Ok(());
    }
    Err(format!(
        "nothing was written: the trust policy of {} has principals that were deleted, and IAM shows their unique IDs instead ({}); \
         remove them from the policy first",
        current.arn,
        text::list(ids.iter().map(String::as_str), 3)
    ))
}

/// Asks on the terminal.
fn confirmed(role: &RoleArn) -> Result<bool, String> {
    if !io::stdin().is_terminal() {
        return Err(
            "nothing was written: --apply asks before it writes, and standard input is not a terminal; add --yes"
                .to_owned(),
        );
    }
    output::ask(&format!("Write this trust policy to {role}? [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| format!("standard input: {error}"))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
