//! Which ServiceAccounts use EKS Pod Identity (`--container-credentials-config FILE`).
//!
//! The file is `{"identities": [{"namespace": …, "serviceAccount": …}]}`, and is read again while serving.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;

use crate::support::files;
use crate::support::reload::{Reloaded, Source};
use crate::support::tasks::OwnedTasks;
use crate::support::text;

/// The ServiceAccounts of a container credentials file.
#[derive(Debug)]
pub struct ContainerCredentials {
    file: Arc<Reloaded<File>>,
    tasks: OwnedTasks,
}

/// Why a container credentials file cannot be used: the file, the line and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum ContainerCredentialsError {
    /// It cannot be read.
    #[error("{}: cannot be read: {}", path.display(), files::why(error))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system reported.
        error: std::io::Error,
    },
    /// It does not have the expected format.
    #[error(r#"{}: expected {{"identities": [{{"namespace": "…", "serviceAccount": "…"}}]}}: {why}"#, path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        why: String,
    },
}

impl ContainerCredentials {
    /// Reads the file. It is not read again until [`ContainerCredentials::keep_reading`] is called.
    ///
    /// # Errors
    /// When it cannot be read or does not have the expected format.
    pub fn load(path: &Path) -> Result<Self, ContainerCredentialsError> {
        Ok(Self {
            file: Reloaded::load(File { path: path.to_owned() })?,
            tasks: OwnedTasks::new(),
        })
    }

    /// Starts to read the file again at this interval. Must be called within a Tokio runtime.
    pub fn keep_reading(&self, every: Duration) {
        self.tasks.spawn(Arc::clone(&self.file).poll(every, |_| {}));
    }

    /// Stops reading the file, and waits until that is done.
    pub async fn stop(&self) {
        self.tasks.stop().await;
    }

    /// Whether the pods of a ServiceAccount use EKS Pod Identity.
    #[must_use]
    pub fn contains(&self, namespace: &str, name: &str) -> bool {
        self.file.peek().contains(&(namespace.into(), name.into()))
    }

    /// All ServiceAccounts of the file as they are now, by namespace and name.
    pub(crate) fn identities(&self) -> Arc<Identities> {
        self.file.value()
    }

    /// Changes with them.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.file.changes()
    }

    /// The number of edits since the start that could not be used.
    #[must_use]
    pub fn reload_failures(&self) -> u64 {
        self.file.failures()
    }
}

#[derive(Debug)]
struct File {
    path: PathBuf,
}

/// Namespaces and names.
pub(crate) type Identities = HashSet<(Box<str>, Box<str>)>;

impl Source for File {
    type Content = Vec<u8>;
    type Value = Identities;
    type Error = ContainerCredentialsError;

    fn name(&self) -> String {
        format!("container credentials {}", self.path.display())
    }

    fn read(&self) -> Result<Vec<u8>, ContainerCredentialsError> {
        files::read(&self.path).map_err(|error| ContainerCredentialsError::Read {
            path: self.path.clone(),
            error,
        })
    }

    fn parse(&self, content: &Vec<u8>) -> Result<Identities, ContainerCredentialsError> {
        let Config { identities } =
            serde_json::from_slice(content).map_err(|error| ContainerCredentialsError::Format {
                path: self.path.clone(),
                why: text::line(&error.to_string()).into_owned(),
            })?;
        let identities = identities.into_iter();
        Ok(identities
            .map(|identity| (identity.namespace, identity.service_account))
            .collect())
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
