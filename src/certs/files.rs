//! Certificates from files: cert-manager's, or the operator's own.
//!
//! Changes are detected by content. A Secret mount is updated by swapping symbolic links, so watching inodes is of little use. A
//! certificate that has expired or is not valid yet does not replace the current one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::serving::{BundleError, ClientCa, OutsideValidity, Pair, PairError, Serving, Verifier};
use crate::support::files;
use crate::support::reload::{Reloaded, Source};

/// How often certificate files are read again. The kubelet takes up to a minute to update a mounted Secret anyway.
pub(crate) const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// The files of a certificate and its key (`--tls-cert`, `--tls-key`), and of the clients' CA (`--client-ca`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
    /// The CAs that client certificates must be signed by, PEM; none when clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// Why certificate files cannot be used. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("cannot read {flag} {}: {}", path.display(), files::why(error))]
    Read {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system reported.
        error: std::io::Error,
    },
    /// A certificate and its key cannot be used.
    #[error("{} with {}: {error}", certificate.display(), key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        error: PairError,
    },
    /// A CA bundle cannot be used.
    #[error("{}: the CA bundle is not usable: {error}", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: BundleError,
    },
}

/// Certificate files that were read once, and are read again by [`ReloadedFiles::run`].
#[derive(Debug)]
pub struct ReloadedFiles {
    pair: Arc<Reloaded<PairFiles>>,
    serving: Arc<Serving>,
    client_ca: Option<(Arc<Reloaded<ClientCaFile>>, Arc<ClientCa>)>,
}

impl CertificateFiles {
    /// Reads all files and puts the pair into `serving`.
    ///
    /// # Errors
    /// Which file cannot be used, and why. There is no last good content yet, so that a program should not start.
    pub fn load(self, serving: Arc<Serving>) -> Result<ReloadedFiles, FilesError> {
        let pair = Reloaded::load(PairFiles {
            certificate: self.certificate,
            key: self.key,
        })?;
        let client_ca = match self.client_ca {
            None => None,
            Some(path) => {
                let file = Reloaded::load(ClientCaFile { path })?;
                let client_ca = ClientCa::new((*file.value()).clone());
                Some((file, client_ca))
            }
        };
        serving.swap((*pair.value()).clone());
        Ok(ReloadedFiles {
            pair,
            serving,
            client_ca,
        })
    }
}

impl ReloadedFiles {
    /// The CAs that client certificates must be signed by.
    #[must_use]
    pub fn client_ca(&self) -> Option<Arc<ClientCa>> {
        self.client_ca.as_ref().map(|(_, client_ca)| Arc::clone(client_ca))
    }

    /// Counts the edits that could not be used.
    pub fn reload_failures(&self) -> impl Fn() -> u64 + Clone + Send + Sync + use<> {
        let pair = Arc::clone(&self.pair);
        let client_ca = self.client_ca.as_ref().map(|(file, _)| Arc::clone(file));
        move || pair.failures() + client_ca.as_ref().map_or(0, |file| file.failures())
    }

    /// Reads the files again at this interval until dropped. What cannot be used leaves the last good content in service.
    pub async fn run(self, every: Duration) {
        let Self {
            pair,
            serving,
            client_ca,
        } = self;
        let pair = pair.poll(every, |pair| serving.swap(pair.clone()));
        let client_ca = async {
            if let Some((file, client_ca)) = client_ca {
                file.poll(every, |verifier| client_ca.swap(verifier.clone())).await;
            }
        };
        tokio::join!(pair, client_ca);
    }
}

#[derive(Debug)]
struct PairFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl PairFiles {
    fn pair(&self, content: &PairContent) -> Result<Pair, FilesError> {
        Pair::from_pem(&content.certificate, &content.key).map_err(|error| self.unusable(error))
    }

    fn unusable(&self, error: PairError) -> FilesError {
        FilesError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            error,
        }
    }
}

/// The content of both files, and whether it can be served now. A certificate that was not yet valid becomes valid without an edit.
#[derive(Debug, PartialEq)]
struct PairContent {
    certificate: Vec<u8>,
    key: Vec<u8>,
    validity: Result<(), OutsideValidity>,
}

impl Source for PairFiles {
    type Content = PairContent;
    type Value = Pair;
    type Error = FilesError;

    fn name(&self) -> String {
        format!("certificate {} with {}", self.certificate.display(), self.key.display())
    }

    fn read(&self) -> Result<PairContent, FilesError> {
        let (certificate, key) = (read("--tls-cert", &self.certificate)?, read("--tls-key", &self.key)?);
        let validity = Pair::from_pem(&certificate, &key).map_or(Ok(()), |pair| pair.valid_at(Timestamp::now()));
        Ok(PairContent {
            certificate,
            key,
            validity,
        })
    }

    fn parse(&self, content: &PairContent) -> Result<Pair, FilesError> {
        let pair = self.pair(content)?;
        match content.validity {
            Ok(()) => Ok(pair),
            Err(outside) => Err(self.unusable(PairError::OutsideValidity(outside))),
        }
    }

    /// A certificate that clients reject is served at the start: nothing better is known, and a webhook that does not start cannot
    /// serve the next one.
    fn parse_first(&self, content: &PairContent) -> Result<Pair, FilesError> {
        let pair = self.pair(content)?;
        if let Err(outside) = content.validity {
            let error = self.unusable(PairError::OutsideValidity(outside));
            tracing::error!("serving a certificate that API servers reject: {error}");
        }
        Ok(pair)
    }
}

#[derive(Debug)]
struct ClientCaFile {
    path: PathBuf,
}

impl Source for ClientCaFile {
    type Content = Vec<u8>;
    type Value = Verifier;
    type Error = FilesError;

    fn name(&self) -> String {
        format!("CA bundle {} of clients", self.path.display())
    }

    fn read(&self) -> Result<Vec<u8>, FilesError> {
        read("--client-ca", &self.path)
    }

    fn parse(&self, bundle: &Vec<u8>) -> Result<Verifier, FilesError> {
        Verifier::from_pem(bundle).map_err(|error| FilesError::Bundle {
            path: self.path.clone(),
            error,
        })
    }
}

pub(super) fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, FilesError> {
    files::read(path).map_err(|error| FilesError::Read {
        flag,
        path: path.to_owned(),
        error,
    })
}
