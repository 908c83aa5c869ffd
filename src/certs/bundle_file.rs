//! The CA of a certificate of one's own, written into the webhook configurations from a file (`--ca-bundle`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tracing::info;

use super::clock::Clock;
use super::configurations::{ConfigurationName, Configurations, Trouble};
use super::keyring::cas;
use super::rotation::{Bundles, Ca, Delisted};
use super::state_log::{CONFLICT_BACKOFF, StateLog};
use super::status::Status;
use crate::kubernetes::list_watch::WatchTiming;

/// Writes what a file holds into the bundles of webhook configurations.
#[derive(Debug)]
pub struct BundleFile {
    path: PathBuf,
    listed: Vec<Ca>,
    configurations: Configurations,
    bundles: Bundles,
    clock: Arc<dyn Clock>,
    timing: WatchTiming,
    status: Arc<Status>,
    log: StateLog,
}

impl BundleFile {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it, in one line that names it.
    pub async fn load(
        path: PathBuf,
        client: &kube::Client,
        configurations: &[ConfigurationName],
        clock: Arc<dyn Clock>,
        timing: WatchTiming,
    ) -> Result<Self, String> {
        let listed = read(&path).await?;
        let configurations = Configurations::new(client, configurations);
        let status = Arc::<Status>::default();
        say_end(&status, &listed);
        Ok(Self {
            path,
            listed,
            bundles: Bundles::new(configurations.len(), Delisted::IsLeft),
            configurations,
            clock,
            timing,
            status,
            log: StateLog::default(),
        })
    }

    /// What the rest of the process may ask.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Keeps the bundles up to date until dropped; the file is read again `every` so often, and `failed` is told of each new
    /// failure. What cannot be read leaves what was read before.
    pub async fn run(self, every: Duration, failed: impl Fn() + Send) {
        let changed = Arc::new(Notify::new());
        let watching = self.configurations.notify_on_change(self.timing, &changed);
        tokio::join!(watching, self.work(every, &changed, failed));
    }

    async fn work(mut self, every: Duration, changed: &Notify, failed: impl Fn() + Send) {
        let mut backoff = self.timing.backoff();
        loop {
            if !self.read_file().await {
                failed();
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
                Err(Trouble::Failed { what, why }) => {
                    self.log.trouble(&what, &why);
                    tokio::select! {
                        () = changed.notified() => {}
                        () = tokio::time::sleep(backoff.next()) => {}
                    }
                }
                Err(trouble @ Trouble::WriteConflict { .. }) => {
                    self.log.write_conflict(&trouble);
                    tokio::time::sleep(CONFLICT_BACKOFF).await;
                }
            }
        }
    }

    /// Whether the file is as good as before; a failure that was told is not told again.
    async fn read_file(&mut self) -> bool {
        match read(&self.path).await {
            Ok(listed) => {
                if listed != self.listed {
                    info!(file = %self.path.display(), "the webhook configurations get what the file holds now");
                    say_end(&self.status, &listed);
                    self.listed = listed;
                }
                self.log.resolved("--ca-bundle");
                true
            }
            Err(why) => !self
                .log
                .wrong("--ca-bundle", &format!("{why}; the last good content stays")),
        }
    }

    async fn write_all(&mut self) -> Result<(), Trouble> {
        for index in 0..self.configurations.len() {
            let read = self.configurations.read(index).await?;
            self.bundles.see(index, read);
        }
        loop {
            let now = self.clock.now();
            self.bundles.settle(&self.listed, now);
            if self.listed.iter().all(|ca| self.bundles.trust(ca)) {
                self.status.say_trusted();
            }
            let writes = self.bundles.writes(&self.listed, now);
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

async fn read(path: &PathBuf) -> Result<Vec<Ca>, String> {
    let cannot = |why: String| format!("--ca-bundle {}: {why}", path.display());
    let text = tokio::fs::read(path)
        .await
        .map_err(|error| cannot(format!("cannot be read: {error}")))?;
    cas(&text).map_err(cannot)
}

fn say_end(status: &Status, listed: &[Ca]) {
    if let Some(first) = listed.iter().map(Ca::not_after).min() {
        status.say_ca_ends(first);
    }
}
