//! The role sources that `--role-source` names.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::serve::RoleSourceSpec;
use crate::iam::RoleArn;
use crate::roles::files::{FileRoles, WhenMissing};
use crate::roles::{Book, BookSettings, Entry, RoleSource};

/// The longest that a command waits for one role. Nobody's pod waits here, so it may be long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the sources, to be asked in this order. The last one knows that a role it lacks does not exist.
///
/// # Errors
/// Which source cannot be opened, and why.
pub(crate) fn open(specs: &[RoleSourceSpec]) -> Result<Vec<Arc<dyn RoleSource>>, String> {
    let last = specs.len().saturating_sub(1);
    specs
        .iter()
        .enumerate()
        .map(|(place, spec)| {
            let when_missing = if place == last {
                WhenMissing::NoSuchRole
            } else {
                WhenMissing::NotMine
            };
            open_one(spec, when_missing)
        })
        .collect()
}

fn open_one(spec: &RoleSourceSpec, when_missing: WhenMissing) -> Result<Arc<dyn RoleSource>, String> {
    match spec {
        RoleSourceSpec::Files(directory) => {
            let files = FileRoles::open(directory, when_missing, FileRoles::POLL).map_err(|error| error.to_string())?;
            Ok(Arc::new(files))
        }
        RoleSourceSpec::Iam | RoleSourceSpec::Ack | RoleSourceSpec::Crossplane => Err(format!(
            "this version does not read the role source {spec} yet; use files=DIR"
        )),
    }
}

/// Reads one role through the sources, once.
///
/// # Errors
/// When a source cannot be opened at all: which, and why.
pub(crate) fn read(specs: &[RoleSourceSpec], role: &RoleArn) -> Result<Entry, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime for reading roles: {error}"))?;
    let sources = open(specs)?;
    runtime.block_on(async {
        let settings = BookSettings {
            ttl: PATIENCE,
            max_stale: PATIENCE,
            read_timeout: PATIENCE,
            capacity: 1,
        };
        let deadline = Instant::now().checked_add(PATIENCE).unwrap_or_else(Instant::now);
        Ok(Book::new(sources, settings).entry(role, deadline).await)
    })
}

/// How many roles are read at once: a source over the network limits itself, and files need no more.
const READS_AT_ONCE: usize = 16;

/// Reads these roles through the sources, each once.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_all(specs: &[RoleSourceSpec], roles: &[RoleArn]) -> Result<HashMap<RoleArn, Entry>, String> {
    let settings = BookSettings {
        ttl: PATIENCE,
        max_stale: PATIENCE,
        read_timeout: PATIENCE,
        capacity: roles.len().max(1),
    };
    let book = Book::new(open(specs)?, settings);
    let reads = stream::iter(roles).map(|role| {
        let book = &book;
        async move {
            let deadline = Instant::now().checked_add(PATIENCE).unwrap_or_else(Instant::now);
            (role.clone(), book.entry(role, deadline).await)
        }
    });
    Ok(reads.buffer_unordered(READS_AT_ONCE).collect().await)
}
