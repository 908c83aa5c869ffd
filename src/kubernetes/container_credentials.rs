//! Which ServiceAccounts use EKS Pod Identity (`--container-credentials-config FILE`).
//!
//! The file is `{"identities": [{"namespace": …, "serviceAccount": …}]}`, and is read again while serving.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::support::reload::LastGood;
use crate::support::text;

/// The ServiceAccounts of a container credentials file.
#[derive(Debug)]
pub struct ContainerCredentials {
    file: Arc<File>,
    tasks: TaskTracker,
    end: CancellationToken,
    _end_on_drop: DropGuard,
}

/// Namespaces and names.
type Identities = HashSet<(Box<str>, Box<str>)>;

#[derive(Debug)]
struct File {
    path: PathBuf,
    identities: LastGood<Identities, Vec<u8>>,
}

impl ContainerCredentials {
    /// Reads the file. It is not read again until [`ContainerCredentials::keep_reading`] is called.
    ///
    /// # Errors
    /// When it cannot be read, or is not of its format: file, line and what was expected.
    pub fn load(path: &Path) -> Result<Self, String> {
        let content = read(path)?;
        let identities = parse(&content).map_err(|why| format!("{}: {why}", path.display()))?;
        let end = CancellationToken::new();
        Ok(Self {
            file: Arc::new(File {
                path: path.to_owned(),
                identities: LastGood::new(path.display().to_string(), identities, content),
            }),
            tasks: TaskTracker::new(),
            _end_on_drop: end.clone().drop_guard(),
            end,
        })
    }

    /// Starts to read the file again every `every`, compared by content: a mounted ConfigMap is a symlink that is swapped.
    /// Must be called within a Tokio runtime.
    pub fn keep_reading(&self, every: Duration) {
        let file = Arc::clone(&self.file);
        let poll = async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let file = Arc::clone(&file);
                // That the task was cancelled means we are stopping.
                let _ = tokio::task::spawn_blocking(move || {
                    file.identities.refresh_settled(|| read(&file.path), |text| parse(text))
                })
                .await;
            }
        };
        self.tasks.spawn(self.end.clone().run_until_cancelled_owned(poll));
    }

    /// Ends the reading and waits for its end.
    pub async fn stop(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Whether the pods of a ServiceAccount get EKS Pod Identity.
    #[must_use]
    pub fn contains(&self, namespace: &str, name: &str) -> bool {
        self.file.identities.peek().contains(&(namespace.into(), name.into()))
    }

    /// How many edits could not be read since the start.
    #[must_use]
    pub fn reload_failures(&self) -> u64 {
        self.file.identities.failures()
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `identities`")]
struct Config {
    #[serde(default)]
    identities: Vec<Identity>,
}

#[derive(Deserialize)]
#[serde(
    rename_all = "camelCase",
    expecting = "an object with `namespace` and `serviceAccount`"
)]
struct Identity {
    namespace: Box<str>,
    service_account: Box<str>,
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))
}

fn parse(content: &[u8]) -> Result<Identities, String> {
    let Config { identities } = serde_json::from_slice(content).map_err(|error| {
        let expected = r#"expected {"identities": [{"namespace": "…", "serviceAccount": "…"}]}"#;
        format!("{expected}: {}", text::line(&error.to_string()))
    })?;
    Ok(identities
        .into_iter()
        .map(|identity| (identity.namespace, identity.service_account))
        .collect())
}
