//! The serving certificate: from files, from the CA in a Secret, or self-signed for this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::future::{BoxFuture, FutureExt as _};
use jiff::Timestamp;
use tracing::warn;

use crate::args::namespaced_name::NamespacedName;
use crate::args::serve::certificates::CertificateArgs;
use crate::certs::bundle_file::{BundleFile, BundleFileError};
use crate::certs::clock::SystemClock;
use crate::certs::files::{CertificateFiles, FilesError, RELOAD_INTERVAL};
use crate::certs::issue::{Authority, SubjectName};
use crate::certs::self_managed::{ConfigurationKind, ConfigurationName, SelfManaged, Settings};
use crate::certs::serving::{ClientCa, Pair, Serving, Verifier};
use crate::certs::status::Status;
use crate::http::admin::Readiness;
use crate::kubernetes::list_watch::WatchTiming;
use crate::support::files;

/// Validity of the certificate that a standalone webhook issues for itself. It does not outlive the process.
const SELF_SIGNED: Duration = Duration::from_secs(365 * 24 * 3600);

/// What to do about a file that a flag names and that cannot be read.
const READABLE: &str = "name a file that exists and that rolegate can read";

/// What is served, and what keeps it up to date.
pub(super) struct Certificates {
    pub(super) serving: Arc<Serving>,
    pub(super) client_ca: Option<Arc<ClientCa>>,
    /// The certificate of the CA that was made for this process, PEM.
    pub(super) ca: Option<String>,
    /// Counts the edits of files that could not be used.
    pub(super) reload_failures: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Keeps everything up to date; never ends.
    pub(super) following: BoxFuture<'static, ()>,
    /// Of the CA in the webhook configurations, where this process writes it.
    in_configurations: Option<Arc<Status>>,
}

/// Opens what the flags name. `client`: the cluster's, if there is one.
///
/// # Errors
/// What could not be used, and why.
pub(super) async fn open(args: CertificateArgs, client: Option<&kube::Client>) -> Result<Certificates> {
    let CertificateArgs {
        tls_cert,
        tls_key,
        tls_secret,
        mutating_webhook_configuration,
        validating_webhook_configuration,
        ca_bundle,
        ca_lifetime,
        certificate_lifetime,
        tls_names,
        client_ca,
    } = args;
    let configurations = configurations(mutating_webhook_configuration, validating_webhook_configuration);
    let mut names = SubjectName::loopback();
    names.extend(tls_names);
    match (tls_cert, tls_key, tls_secret, client) {
        (Some(certificate), Some(key), ..) => {
            let files = CertificateFiles {
                certificate,
                key,
                client_ca,
            };
            let bundle = ca_bundle.zip(client);
            from_files(files, bundle, &configurations).await
        }
        (_, _, Some(secret), Some(client)) => {
            let NamespacedName { namespace, name } = secret;
            let settings = Settings {
                secret_namespace: namespace,
                secret_name: name,
                configurations,
                names,
                ca_lifetime,
                certificate_lifetime,
            };
            Ok(self_managed(settings, read_client_ca(client_ca)?, client))
        }
        (.., Some(_)) => bail!(
            "no serving certificate: set --tls-secret NAMESPACE/NAME to the Secret that stores a CA, or --tls-cert FILE and \
             --tls-key FILE"
        ),
        (.., None) => self_signed(&names, read_client_ca(client_ca)?),
    }
}

impl Certificates {
    /// What must hold before the process is ready.
    pub(super) fn conditions(&self, readiness: Readiness) -> Readiness {
        let serving = self.serving.clone();
        let readiness = readiness.and("a certificate is served", move || serving.is_ready());
        match self.in_configurations.clone() {
            None => readiness,
            Some(status) => readiness.and("its CA is in caBundle of the webhook configurations", move || {
                status.is_trusted()
            }),
        }
    }

    /// When the serving certificate and its CA expire, by the labels of the metric.
    pub(super) fn expiry(&self) -> impl Fn() -> Vec<(&'static str, f64)> + Send + Sync + 'static + use<> {
        let (serving, status) = (self.serving.clone(), self.in_configurations.clone());
        move || {
            let ca = status.as_ref().and_then(|status| status.ca_not_after());
            [("serving", serving.not_after()), ("ca", ca)]
                .into_iter()
                .filter_map(|(kind, end)| Some((kind, seconds(end?))))
                .collect()
        }
    }
}

fn seconds(end: Timestamp) -> f64 {
    end.as_duration().as_secs_f64()
}

async fn from_files(
    files: CertificateFiles,
    bundle: Option<(PathBuf, &kube::Client)>,
    configurations: &[ConfigurationName],
) -> Result<Certificates> {
    let serving = Serving::new();
    let files = files.load(serving.clone()).map_err(|error| match error {
        FilesError::Read { .. } => anyhow!("{error}; {READABLE}"),
        _ => anyhow!("{error}"),
    })?;
    let client_ca = files.client_ca();
    let of_files = files.reload_failures();
    let mut reload_failures: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(of_files.clone());
    let mut in_configurations = None;
    let mut following = files.run(RELOAD_INTERVAL).boxed();
    if let Some((path, client)) = bundle {
        let clock = Arc::new(SystemClock::new());
        let timing = WatchTiming::default();
        let bundle = BundleFile::load(path, client, configurations, clock, timing).map_err(|error| match error {
            BundleFileError::Read(_) => anyhow!("{error}; {READABLE}"),
            BundleFileError::Bundle { .. } => anyhow!("{error}"),
        })?;
        in_configurations = Some(bundle.status());
        let of_bundle = bundle.reload_failures();
        reload_failures = Arc::new(move || of_files() + of_bundle());
        let bundle = bundle.run(RELOAD_INTERVAL);
        following = futures::future::join(following, bundle).map(|_| ()).boxed();
    }
    Ok(Certificates {
        serving,
        client_ca,
        ca: None,
        reload_failures,
        following,
        in_configurations,
    })
}

fn self_managed(settings: Settings, client_ca: Option<Arc<ClientCa>>, client: &kube::Client) -> Certificates {
    let serving = Serving::new();
    let clock = Arc::new(SystemClock::new());
    let managed = SelfManaged::new(client, settings, clock, WatchTiming::default(), serving.clone());
    Certificates {
        serving,
        client_ca,
        ca: None,
        reload_failures: Arc::new(|| 0),
        in_configurations: Some(managed.status()),
        following: managed.run().boxed(),
    }
}

/// Serves a certificate of a CA that exists for this process only.
fn self_signed(names: &[SubjectName], client_ca: Option<Arc<ClientCa>>) -> Result<Certificates> {
    let serving = Serving::new();
    let (authority, pair) = issue(names).context("cannot issue a serving certificate")?;
    serving.swap(pair);
    warn!("serving with a certificate of a CA issued for this run; set --tls-cert and --tls-key to use your own");
    Ok(Certificates {
        serving,
        client_ca,
        ca: Some(authority.certificate_pem().to_owned()),
        reload_failures: Arc::new(|| 0),
        following: std::future::pending().boxed(),
        in_configurations: None,
    })
}

fn issue(names: &[SubjectName]) -> Result<(Authority, Pair)> {
    let now = SystemTime::now();
    let authority = Authority::generate("rolegate standalone", now, SELF_SIGNED)?;
    let leaf = authority.issue(names, now, SELF_SIGNED)?;
    let pair = Pair::from_pem(leaf.certificate_pem().as_bytes(), leaf.key_pem().as_bytes())
        .map_err(|error| anyhow!("{error}"))?;
    Ok((authority, pair))
}

fn read_client_ca(path: Option<PathBuf>) -> Result<Option<Arc<ClientCa>>> {
    let Some(path) = path else { return Ok(None) };
    let bundle = files::read(&path).map_err(|error| {
        let why = files::why(&error);
        anyhow!("cannot read --client-ca {}: {why}; {READABLE}", path.display())
    })?;
    let verifier = Verifier::from_pem(&bundle).map_err(|error| anyhow!("--client-ca {}: {error}", path.display()))?;
    Ok(Some(ClientCa::new(verifier)))
}

fn configurations(mutating: Option<String>, validating: Option<String>) -> Vec<ConfigurationName> {
    let named = [
        (ConfigurationKind::Mutating, mutating),
        (ConfigurationKind::Validating, validating),
    ];
    named
        .into_iter()
        .filter_map(|(kind, name)| Some(ConfigurationName { kind, name: name? }))
        .collect()
}
