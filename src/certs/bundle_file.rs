//! The CA bundle of the operator's own certificate, written into the webhook configurations from a file (`--ca-bundle`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::Clock;
use super::configurations::{ConfigurationName, Configurations, ObjectError};
use super::files;
use super::keyring::cas;
use super::rotation::{Bundles, Ca, Delisted};
use super::serving::BundleError;
use super::state_log::ObjectLog;
use super::status::Status;
use crate::kubernetes::list_watch::WatchTiming;
use crate::support::reload::{Reload, Reloaded, Source};

/// Writes the CAs of a file into the bundles of webhook configurations.
#[derive(Debug)]
pub struct BundleFile {
    file: Arc<Reloaded<File>>,
    configurations: Configurations,
    bundles: Bundles,
    clock: Arc<dyn Clock>,
    timing: WatchTiming,
    status: Arc<Status>,
    log: ObjectLog,
}

/// Why a bundle file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleFileError {
    /// It cannot be read.
    #[error("{0}")]
    Read(files::FilesError),
    /// It has no usable certificates.
    #[error("--ca-bundle {}: {error}", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: BundleError,
    },
}

impl BundleFile {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it, in one line that names it.
    pub fn load(
        path: PathBuf,
        client: &kube::Client,
        configurations: &[ConfigurationName],
        clock: Arc<dyn Clock>,
        timing: WatchTiming,
    ) -> Result<Self, BundleFileError> {
        let file = Reloaded::load(File { path })?;
        let configurations = Configurations::new(client, configurations);
        let status = Arc::<Status>::default();
        record_expiry(&status, &file.peek());
        Ok(Self {
            file,
            bundles: Bundles::new(configurations.len(), Delisted::IsLeft),
            configurations,
            clock,
            timing,
            status,
            log: ObjectLog::default(),
        })
    }

    /// The state of the CA, for the rest of the process.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Counts the edits that could not be used.
    pub fn reload_failures(&self) -> impl Fn() -> u64 + Clone + Send + Sync + use<> {
        let file = Arc::clone(&self.file);
        move || file.failures()
    }

    /// Keeps the bundles up to date until dropped, and reads the file again at this interval. A file that cannot be used leaves the last
    /// good content in the bundles.
    pub async fn run(self, every: Duration) {
        let changed = Arc::new(Notify::new());
        let watching = self.configurations.notify_on_change(self.timing, &changed);
        tokio::join!(watching, self.work(every, &changed));
    }

    async fn work(mut self, every: Duration, changed: &Notify) {
        let mut backoff = self.timing.backoff();
        loop {
            if self.file.reload().await == Reload::Changed {
                record_expiry(&self.status, &self.file.peek());
            }
            match self.write_all().await {
                Ok(()) => {
                    backoff.reset();
                    self.log.recovered();
                    let until = self.clock.now().steady.saturating_add(every);
                    tokio::select! {
                        () = changed.notified() => {}
                        () = self.clock.wait_until(until) => {}
                    }
                }
                Err(error) => {
                    self.log.failed(&error);
                    error.pause(&mut backoff, changed).await;
                }
            }
        }
    }

    async fn write_all(&mut self) -> Result<(), ObjectError> {
        for index in 0..self.configurations.len() {
            let read = self.configurations.read(index).await?;
            self.bundles.see(index, read);
        }
        let listed = self.file.value();
        loop {
            let now = self.clock.now();
            self.bundles.settle(&listed, now);
            if listed.iter().all(|ca| self.bundles.trust(ca)) {
                self.status.record_trusted();
            }
            let writes = self.bundles.writes(&listed, now);
            if writes.is_empty() {
                return Ok(());
            }
            for write in writes {
                let seen = match self.configurations.write(&write).await? {
                    Some(written) => written,
                    None => self.configurations.read(write.configuration).await?,
                };
                self.bundles.see(write.configuration, seen);
            }
        }
    }
}

#[derive(Debug)]
struct File {
    path: PathBuf,
}

impl Source for File {
    type Content = Vec<u8>;
    type Value = Vec<Ca>;
    type Error = BundleFileError;

    fn name(&self) -> String {
        format!("CA bundle {}", self.path.display())
    }

    fn read(&self) -> Result<Vec<u8>, BundleFileError> {
        files::read("--ca-bundle", &self.path).map_err(BundleFileError::Read)
    }

    fn parse(&self, pem: &Vec<u8>) -> Result<Vec<Ca>, BundleFileError> {
        cas(pem).map_err(|error| BundleFileError::Bundle {
            path: self.path.clone(),
            error,
        })
    }
}

fn record_expiry(status: &Status, listed: &[Ca]) {
    if let Some(first) = listed.iter().map(Ca::not_after).min() {
        status.record_expiry(first);
    }
}
