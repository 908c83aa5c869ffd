//! The serving certificate, and who keeps it and the webhook configurations up to date.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use clap::Args;

use crate::args::duration;
use crate::args::namespaced_name::NamespacedName;
use crate::args::usage::UsageError;
use crate::args::values;
use crate::certs::issue::SubjectName;

const SHORTEST_CA: Duration = Duration::from_mins(10);
const SHORTEST_CERTIFICATE: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_hours(87_600);

/// Certificates from files, from the CA in a Secret, or self-signed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Certificates")]
pub(crate) struct CertificateArgs {
    /// Serving certificate chain, PEM; reloaded when its content changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key of the serving certificate, PEM (PKCS#8, PKCS#1 or SEC1)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Secret that stores the CA of automatically managed certificates
    ///
    /// In a cluster, without --tls-cert, certificates are managed automatically: the CA is stored in this Secret, each replica
    /// signs a serving certificate of its own in memory, and both are renewed after two thirds of their lifetime. The Secret
    /// must exist; rolegate fills it. Requires --tls-names.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = NamespacedName::from_str, requires = "tls_names", conflicts_with_all = ["tls_cert", "standalone"])]
    pub(crate) tls_secret: Option<NamespacedName>,

    /// MutatingWebhookConfiguration whose caBundle is kept up to date
    ///
    /// With --tls-secret or --ca-bundle. It does not have to exist yet.
    #[arg(long, value_name = "NAME", value_parser = values::object_name, conflicts_with = "standalone")]
    pub(crate) mutating_webhook_configuration: Option<String>,

    /// ValidatingWebhookConfiguration whose caBundle is kept up to date
    #[arg(long, value_name = "NAME", value_parser = values::object_name, conflicts_with = "standalone")]
    pub(crate) validating_webhook_configuration: Option<String>,

    /// CA certificates, PEM, to write into the webhook configurations; reloaded when they change
    ///
    /// For your own certificate (--tls-cert) when nothing else writes caBundle.
    #[arg(long, value_name = "FILE", requires = "tls_cert", conflicts_with = "standalone")]
    pub(crate) ca_bundle: Option<PathBuf>,

    /// Lifetime of an automatically managed CA
    ///
    /// Renewed after two thirds of it. From 10m to 87600h.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration::between(SHORTEST_CA, LONGEST))]
    pub(crate) ca_lifetime: Duration,

    /// Lifetime of an automatically managed serving certificate
    ///
    /// Renewed after two thirds of it. From 1m to 87600h, and at most --ca-lifetime.
    #[arg(long, value_name = "DURATION", default_value = "720h", value_parser = duration::between(SHORTEST_CERTIFICATE, LONGEST))]
    pub(crate) certificate_lifetime: Duration,

    /// DNS names and IP addresses of the self-signed or automatically managed certificate
    ///
    /// In addition to localhost, 127.0.0.1 and ::1; in a cluster SERVICE.NAMESPACE.svc. May be repeated or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = SubjectName::parse, conflicts_with = "tls_cert")]
    pub(crate) tls_names: Vec<SubjectName>,

    /// CA certificates, PEM, to verify client certificates against
    ///
    /// Only clients that present a certificate of such a CA are accepted: an API server that is configured for it. Without this
    /// flag, no client certificate is requested.
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca: Option<PathBuf>,
}

impl CertificateArgs {
    pub(super) fn validate(&self) -> Result<(), UsageError> {
        if self.certificate_lifetime > self.ca_lifetime {
            return Err(UsageError::conflict(format!(
                "--certificate-lifetime ({}) must be at most --ca-lifetime ({})",
                duration::display(self.certificate_lifetime),
                duration::display(self.ca_lifetime)
            )));
        }
        let named = self.mutating_webhook_configuration.is_some() || self.validating_webhook_configuration.is_some();
        if self.ca_bundle.is_some() && !named {
            return Err(UsageError::missing(
                "--ca-bundle requires --mutating-webhook-configuration or --validating-webhook-configuration, which it is \
                 written to",
            ));
        }
        Ok(())
    }
}
