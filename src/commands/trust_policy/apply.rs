//! `rolegate trust-policy --apply`: reads, shows, asks, reads again, writes.

use std::fmt;
use std::future::Future;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::preview;
use crate::args::aws::AwsAccess;
use crate::args::role_source::RoleSourceSpec;
use crate::args::trust_policy::Confirm;
use crate::commands::exit::Exit;
use crate::commands::output::{self, GOOD, Styled};
use crate::commands::sources;
use crate::roles::aws::{CurrentRole, managed_by, unique_id_principals};
use crate::support::text;
use crate::trust::{AccountId, Addition, RoleArn};

/// How long a call to IAM may take, including the search for credentials.
const PATIENCE: Duration = Duration::from_secs(60);

/// Adds the trust to a role's policy.
///
/// # Errors
/// Why nothing was written, or might have been.
pub(super) fn apply(
    runtime: &Runtime,
    addition: &Addition,
    role: &RoleArn,
    specs: &[RoleSourceSpec],
    aws: &AwsAccess,
    confirm: Confirm,
) -> Result<Exit> {
    if let Some(other) = specs.iter().find(|spec| !matches!(spec, RoleSourceSpec::Iam)) {
        bail!(
            "--apply writes to IAM and reads the role from there; with --role-source {other}, print the policy without --apply and \
             change it where it is managed"
        );
    }
    let account = AccountId::parse(role.account()).context("the role has no account")?;
    let editor = runtime.block_on(in_time(sources::editor(aws, &account)))?;
    let read = || runtime.block_on(in_time(editor.read(role)));
    let current = read()?;
    refuse_what_cannot_be_written(&current)?;
    if let Some(owner) = managed_by(&current.tags) {
        output::warn(&format!(
            "the tags of {role} show that {owner} manages it, which will revert this change or report it as drift; change the policy in {owner}"
        ));
    }
    let merged = preview::merged(addition, &current.document, role.as_str())?;
    let exit = preview::show(&merged, addition).max(preview::show_size(&merged.json));
    if merged.edit.is_none() {
        return Ok(exit);
    }
    if exit != Exit::Yes {
        bail!(
            "nothing was written: the new policy of {role} would not trust the ServiceAccount, or IAM would refuse it"
        );
    }
    if confirm == Confirm::Ask && !is_confirmed(role)? {
        bail!("nothing was written");
    }
    // IAM has no compare-and-swap; a change after this read would be lost.
    if read()?.document != current.document {
        bail!("nothing was written: the trust policy of {role} has changed in the meantime; run the command again");
    }
    runtime.block_on(in_time(editor.write(role, &merged.json)))?;
    output::note(&format!(
        "{} the trust policy of {role}; AWS can take up to a minute to apply it everywhere",
        Styled(GOOD, "updated")
    ));
    Ok(exit)
}

async fn in_time<T, E: fmt::Display>(call: impl Future<Output = Result<T, E>>) -> Result<T> {
    match timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(anyhow!("{error:#}")),
        Err(_) => bail!(
            "AWS did not respond within {} s; run the command again",
            PATIENCE.as_secs()
        ),
    }
}

/// IAM returns the unique ID of a principal that was deleted, and refuses a document that has one: such a document cannot be
/// written back.
fn refuse_what_cannot_be_written(current: &CurrentRole) -> Result<()> {
    let ids = unique_id_principals(&current.document);
    if ids.is_empty() {
        return Ok(());
    }
    bail!(
        "nothing was written: the trust policy of {} has principals that were deleted, and IAM shows their unique IDs instead ({}); \
         remove them from the policy first",
        current.arn,
        text::list(ids.iter().map(String::as_str), 3)
    )
}

/// Asks on the terminal.
fn is_confirmed(role: &RoleArn) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("nothing was written: --apply asks before it writes, and standard input is not a terminal; add --yes");
    }
    output::ask(&format!("Write this trust policy to {role}? [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("standard input")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
