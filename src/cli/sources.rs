//! The role sources that `--role-source` names.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::serve::RoleSourceSpec;
use crate::iam::RoleArn;
use crate::kubernetes::{self, watch::WatchTiming};
use crate::roles::files::{FileRoles, WhenMissing};
use crate::roles::{Book, BookSettings, Entry, RoleObjects, RoleSource};

/// The longest that a command waits for one role. Nobody's pod waits here, so it may be long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the sources, to be asked in this order. The last one knows that a role it lacks does not exist.
///
/// # Errors
/// Which source cannot be opened, and why.
pub(crate) async fn open(specs: &[RoleSourceSpec]) -> Result<Vec<Arc<dyn RoleSource>>, String> {
    let last = specs.len().saturating_sub(1);
    let mut sources = Vec::with_capacity(specs.len());
    for (place, spec) in specs.iter().enumerate() {
        let when_missing = if place == last {
            WhenMissing::NoSuchRole
        } else {
            WhenMissing::NotMine
        };
        sources.push(open_one(spec, when_missing).await?);
    }
    Ok(sources)
}

async fn open_one(spec: &RoleSourceSpec, when_missing: WhenMissing) -> Result<Arc<dyn RoleSource>, String> {
    match spec {
        RoleSourceSpec::Files(directory) => {
            let files = FileRoles::open(directory, when_missing, FileRoles::POLL).map_err(|error| error.to_string())?;
            Ok(Arc::new(files))
        }
        RoleSourceSpec::Ack => Ok(Arc::new(RoleObjects::ack(client(spec).await?, WatchTiming::default()))),
        RoleSourceSpec::Crossplane => Ok(Arc::new(RoleObjects::crossplane(
            client(spec).await?,
            WatchTiming::default(),
        ))),
        RoleSourceSpec::Iam => Err(format!(
            "this version does not read the role source {spec} yet; use files=DIR"
        )),
    }
}

/// A client of the cluster whose objects a source reads.
async fn client(spec: &RoleSourceSpec) -> Result<kube::Client, String> {
    let config = kube::Config::infer().await.map_err(|error| {
        format!("role source {spec}: no cluster to read roles from ({error}); set KUBECONFIG or run in a pod")
    })?;
    kubernetes::client(&config)
        .map_err(|error| format!("role source {spec}: cannot talk to {}: {error}", config.cluster_url))
}

/// Reads one role through the sources, once.
///
/// # Errors
/// When a source cannot be opened at all: which, and why.
pub(crate) fn read(specs: &[RoleSourceSpec], role: &RoleArn) -> Result<Entry, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime for reading roles: {error}"))?;
    let mut entries = runtime.block_on(read_all(specs, std::slice::from_ref(role)))?;
    entries.remove(role).ok_or_else(|| format!("{role} was not read"))
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
    let sources = open(specs).await?;
    let book = Book::new(sources.clone(), settings);
    let reads = stream::iter(roles).map(|role| {
        let book = &book;
        async move {
            let deadline = Instant::now().checked_add(PATIENCE).unwrap_or_else(Instant::now);
            (role.clone(), book.entry(role, deadline).await)
        }
    });
    // A source that watches answers only while it runs.
    let stop = CancellationToken::new();
    let running = join_all(sources.iter().map(|source| source.run(stop.clone())));
    let reading = async {
        let entries = reads.buffer_unordered(READS_AT_ONCE).collect().await;
        stop.cancel();
        entries
    };
    let (entries, _) = tokio::join!(reading, running);
    Ok(entries)
}
