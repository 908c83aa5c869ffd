//! Certificates from files: cert-manager's, or the operator's own.
//!
//! They are read again by content every few seconds. A Secret mount changes by a swap of symbolic links, so that inodes
//! and their watches tell little; the bytes tell all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::serving::{ClientCa, Pair, Serving};

/// How often files are read again.
pub const EVERY: Duration = Duration::from_secs(10);

/// The files of a certificate and its key (`--tls-cert`, `--tls-key`), and of the clients' CA (`--client-ca`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
    /// The CAs that clients must be signed by, PEM; none when clients are not asked.
    pub client_ca: Option<PathBuf>,
}

/// What keeps being followed after the first read.
#[derive(Debug)]
pub struct Followed {
    files: CertificateFiles,
    serving: Arc<Serving>,
    client_ca: Option<Arc<ClientCa>>,
    pair_state: State,
    client_ca_state: State,
}

/// Why the files cannot be served: one line that names the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesError(String);

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FilesError {}

/// What could not be read again, as the metric `reload_failures_total` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The certificate or its key.
    Certificate,
    /// The clients' CA.
    ClientCa,
}

impl What {
    /// The metric's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::ClientCa => "client-ca",
        }
    }
}

impl CertificateFiles {
    /// Reads all files, puts the pair into `serving` and returns the clients' CA, and what is needed to follow the files.
    ///
    /// # Errors
    /// Which file is wrong and how. A program that starts should stop here: there is no last good pair yet.
    pub async fn load(self, serving: Arc<Serving>) -> Result<(Option<Arc<ClientCa>>, Followed), FilesError> {
        let (pair, pair_state) = self.read_pair().await;
        serving.swap(pair?);
        let (client_ca, client_ca_state) = match &self.client_ca {
            None => (None, State::default()),
            Some(path) => {
                let bundle = read(path).await?;
                let client_ca = ClientCa::from_pem(&bundle).map_err(|why| unusable_ca(path, &why))?;
                (Some(client_ca), State::good(vec![bundle]))
            }
        };
        let followed = Followed {
            files: self,
            serving,
            client_ca: client_ca.clone(),
            pair_state,
            client_ca_state,
        };
        Ok((client_ca, followed))
    }

    async fn read_pair(&self) -> (Result<Pair, FilesError>, State) {
        match self.read_pair_bytes().await {
            Ok(bytes) => {
                let pair = self.pair(&bytes);
                let failure = pair.as_ref().err().map(ToString::to_string);
                (pair, State { bytes, failure })
            }
            Err(error) => {
                let failure = Some(error.to_string());
                (
                    Err(error),
                    State {
                        bytes: Vec::new(),
                        failure,
                    },
                )
            }
        }
    }

    async fn read_pair_bytes(&self) -> Result<Vec<Vec<u8>>, FilesError> {
        Ok(vec![read(&self.certificate).await?, read(&self.key).await?])
    }

    fn pair(&self, bytes: &[Vec<u8>]) -> Result<Pair, FilesError> {
        let (certificate, key) = match bytes {
            [certificate, key] => (certificate.as_slice(), key.as_slice()),
            _ => Default::default(),
        };
        Pair::from_pem(certificate, key).map_err(|why| {
            FilesError(format!(
                "{} with {}: {why}",
                self.certificate.display(),
                self.key.display()
            ))
        })
    }
}

impl Followed {
    /// Reads the files again and again, forever; `failed` is told of each new failure. What is wrong leaves the last good
    /// content in service.
    pub async fn follow(mut self, every: Duration, failed: impl Fn(What) + Send) {
        let mut ticks = interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(&failed).await;
        }
    }

    async fn look(&mut self, failed: &(impl Fn(What) + Send)) {
        let pair = self.files.read_pair_bytes().await;
        let (files, serving) = (&self.files, &self.serving);
        let seen = self.pair_state.see(pair, |bytes| {
            serving.swap(files.pair(bytes)?);
            Ok(())
        });
        report(What::Certificate, &self.files.certificate, seen, failed);

        let (Some(path), Some(client_ca)) = (&self.files.client_ca, &self.client_ca) else {
            return;
        };
        let bundle = read(path).await.map(|bundle| vec![bundle]);
        let seen = self.client_ca_state.see(bundle, |bundles| {
            bundles
                .iter()
                .try_for_each(|bundle| client_ca.swap(bundle).map_err(|why| unusable_ca(path, &why)))
        });
        report(What::ClientCa, path, seen, failed);
    }
}

/// What the last look found.
#[derive(Debug, Default)]
struct State {
    bytes: Vec<Vec<u8>>,
    failure: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Same,
    Swapped,
    Failed(String),
}

impl State {
    fn good(bytes: Vec<Vec<u8>>) -> Self {
        Self { bytes, failure: None }
    }

    /// Takes in what was read. Only a change is reported: new content, or another failure.
    fn see(
        &mut self,
        read: Result<Vec<Vec<u8>>, FilesError>,
        apply: impl FnOnce(&[Vec<u8>]) -> Result<(), FilesError>,
    ) -> Seen {
        let outcome = match read {
            Ok(bytes) if bytes == self.bytes => {
                // The content of before, good or bad, back after it could not be read: judged again below.
                if self.failure.is_none() {
                    return Seen::Same;
                }
                apply(&bytes)
            }
            Ok(bytes) => {
                let outcome = apply(&bytes);
                self.bytes = bytes;
                outcome
            }
            Err(error) => Err(error),
        };
        let failure = outcome.err().map(|error| error.to_string());
        if failure.is_some() && failure == self.failure {
            return Seen::Same;
        }
        self.failure.clone_from(&failure);
        failure.map_or(Seen::Swapped, Seen::Failed)
    }
}

fn report(what: What, path: &Path, seen: Seen, failed: &impl Fn(What)) {
    match seen {
        Seen::Same => {}
        Seen::Swapped => info!(what = what.as_str(), file = %path.display(), "serving what the file holds now"),
        Seen::Failed(why) => {
            failed(what);
            warn!(what = what.as_str(), error = %why, "the last good content stays in service");
        }
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    tokio::fs::read(path)
        .await
        .map_err(|error| FilesError(format!("cannot read {}: {error}", path.display())))
}

fn unusable_ca(path: &Path, why: &str) -> FilesError {
    FilesError(format!("{}: the CA bundle is not usable: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(bytes: &str) -> Result<Vec<Vec<u8>>, FilesError> {
        Ok(vec![bytes.as_bytes().to_vec()])
    }

    fn missing() -> Result<Vec<Vec<u8>>, FilesError> {
        Err(FilesError("cannot read it".to_owned()))
    }

    #[test]
    fn only_a_change_is_told() {
        let accept = |bytes: &[Vec<u8>]| match bytes {
            [bytes] if bytes.starts_with(b"good") => Ok(()),
            _ => Err(FilesError("bad content".to_owned())),
        };
        let mut state = State::good(vec![b"good 1".to_vec()]);
        let steps = [
            (good("good 1"), Seen::Same),
            (good("good 2"), Seen::Swapped),
            (good("good 2"), Seen::Same),
            (good("bad"), Seen::Failed("bad content".to_owned())),
            (good("bad"), Seen::Same),
            (good("worse"), Seen::Same),
            (missing(), Seen::Failed("cannot read it".to_owned())),
            (missing(), Seen::Same),
            (good("good 2"), Seen::Swapped),
            (missing(), Seen::Failed("cannot read it".to_owned())),
            (good("good 2"), Seen::Swapped),
            (good("good 2"), Seen::Same),
        ];
        for (step, (read, expected)) in steps.into_iter().enumerate() {
            assert_eq!(state.see(read, accept), expected, "step {step}");
        }
    }
}
