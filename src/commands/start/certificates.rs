//! Where the serving certificate comes from: files, an API server, or nowhere but this process.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, FutureExt as _};
use jiff::Timestamp;
use tracing::warn;

use crate::certs::bundle_file::BundleFile;
use crate::certs::clock::SystemClock;
use crate::certs::files::{CertificateFiles, RELOAD_INTERVAL};
use crate::certs::issue::{Authority, SubjectName};
use crate::certs::self_managed::{ConfigurationKind, ConfigurationName, SelfManaged, Settings};
use crate::certs::serving::{ClientCa, Pair, Serving, Verifier};
use crate::certs::status::Status;
use crate::commands::serve::{NamespacedName, ServeArgs};
use crate::http::admin::Readiness;
use crate::kubernetes::list_watch::WatchTiming;

/// Lifetime of the certificate that a standalone webhook makes for itself. It lives no longer than the process.
const SELF_SIGNED: Duration = Duration::from_secs(365 * 24 * 3600);

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
    /// Of the CA in the webhook configurations, where that is ours to write.
    in_configurations: Option<Arc<Status>>,
}

/// Opens what the flags name. `client` is there in a cluster.
///
/// # Errors
/// One line that names what could not be used, and why.
pub(super) async fn open(args: &ServeArgs, client: Option<&kube::Client>) -> Result<Certificates, String> {
    match (&args.tls_cert, &args.tls_key, &args.tls_secret, client) {
        (Some(certificate), Some(key), ..) => from_files(args, certificate, key, client).await,
        (_, _, Some(secret), Some(client)) => self_managed(args, secret, client),
        (.., Some(_)) => Err(
            "no serving certificate: name the Secret that keeps a CA with --tls-secret NAMESPACE/NAME, or give \
                              --tls-cert FILE and --tls-key FILE"
                .to_owned(),
        ),
        (.., None) => self_signed(args),
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

    /// When what is served ends, and its CA, by the metric's words.
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
    args: &ServeArgs,
    certificate: &Path,
    key: &Path,
    client: Option<&kube::Client>,
) -> Result<Certificates, String> {
    let serving = Serving::new();
    let files = CertificateFiles {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        client_ca: args.client_ca.clone(),
    };
    let files = files.load(serving.clone()).map_err(|error| error.to_string())?;
    let client_ca = files.client_ca();
    let of_files = files.reload_failures();
    let mut reload_failures: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(of_files.clone());
    let mut in_configurations = None;
    let mut following = files.run(RELOAD_INTERVAL).boxed();
    if let (Some(path), Some(client)) = (&args.ca_bundle, client) {
        let clock = Arc::new(SystemClock::new());
        let timing = WatchTiming::default();
        let bundle = BundleFile::load(path.clone(), client, &configurations(args), clock, timing)
            .map_err(|error| error.to_string())?;
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

fn self_managed(args: &ServeArgs, secret: &NamespacedName, client: &kube::Client) -> Result<Certificates, String> {
    let serving = Serving::new();
    let settings = Settings {
        secret_namespace: secret.namespace.clone(),
        secret_name: secret.name.clone(),
        configurations: configurations(args),
        names: names(args),
        ca_lifetime: args.ca_lifetime,
        certificate_lifetime: args.certificate_lifetime,
    };
    let clock = Arc::new(SystemClock::new());
    let managed = SelfManaged::new(client, settings, clock, WatchTiming::default(), serving.clone());
    Ok(Certificates {
        serving,
        client_ca: client_ca(args)?,
        ca: None,
        reload_failures: Arc::new(|| 0),
        in_configurations: Some(managed.status()),
        following: managed.run().boxed(),
    })
}

/// Serves a certificate of a CA that exists for this process only.
fn self_signed(args: &ServeArgs) -> Result<Certificates, String> {
    let cannot = |error: &dyn std::fmt::Display| format!("cannot make a serving certificate: {error}");
    let serving = Serving::new();
    let now = SystemTime::now();
    let authority = Authority::generate("rolegate standalone", now, SELF_SIGNED).map_err(|error| cannot(&error))?;
    let leaf = authority
        .issue(&names(args), now, SELF_SIGNED)
        .map_err(|error| cannot(&error))?;
    let pair =
        Pair::from_pem(leaf.certificate_pem().as_bytes(), leaf.key_pem().as_bytes()).map_err(|error| cannot(&error))?;
    serving.swap(pair);
    warn!("serving with a certificate of a CA made for this run; give --tls-cert and --tls-key to use your own");
    Ok(Certificates {
        serving,
        client_ca: client_ca(args)?,
        ca: Some(authority.certificate_pem().to_owned()),
        reload_failures: Arc::new(|| 0),
        following: std::future::pending().boxed(),
        in_configurations: None,
    })
}

fn client_ca(args: &ServeArgs) -> Result<Option<Arc<ClientCa>>, String> {
    let Some(path) = &args.client_ca else { return Ok(None) };
    let bundle = std::fs::read(path).map_err(|error| format!("cannot read --client-ca {}: {error}", path.display()))?;
    let verifier = Verifier::from_pem(&bundle).map_err(|error| format!("--client-ca {}: {error}", path.display()))?;
    Ok(Some(ClientCa::new(verifier)))
}

fn names(args: &ServeArgs) -> Vec<SubjectName> {
    let mut names = SubjectName::loopback();
    names.extend(args.tls_names.iter().cloned());
    names
}

fn configurations(args: &ServeArgs) -> Vec<ConfigurationName> {
    let named = [
        (ConfigurationKind::Mutating, &args.mutating_webhook_configuration),
        (ConfigurationKind::Validating, &args.validating_webhook_configuration),
    ];
    named
        .into_iter()
        .filter_map(|(kind, name)| {
            Some(ConfigurationName {
                kind,
                name: name.clone()?,
            })
        })
        .collect()
}
