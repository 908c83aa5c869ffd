//! `rolegate serve`: the flags of the webhook, parsed into types.

use std::fmt;
use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, ValueEnum};
use tracing::error;

use super::assume_role::{self, AssumeRole};
use super::{Exit, duration, start, values};
use crate::certs::issue::SubjectName;
use crate::decision::{self, Mode};
use crate::pod::identity::EXPIRATION_SECONDS;
use crate::server::shutdown::{Ending, Signals, run_until_signalled};
use crate::server::tls::install_crypto_provider;
use crate::telemetry::audit::{AuditTarget, Rotation};
use crate::telemetry::log::{self, Color, LogFormat, LogLevel};
use crate::trust::{AccountId, Audience, Issuer, Partition};

const SERVING: &str = "Serving";
const CERTIFICATES: &str = "Certificates";
const JUDGING: &str = "Judging";
const POLICIES: &str = "Trust policies";
const IDENTITY: &str = "Identity and injection";
const POD_IDENTITY: &str = "EKS Pod Identity";
const TELEMETRY: &str = "Logs, metrics and audit";

/// What a shell tells of a process that SIGTERM ended.
const ENDED_BY_SIGNAL: i32 = 143;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What `--help` says below the flags.
const AFTER_HELP: &str = "\
Every flag can be set by an environment variable: `--some-flag` is ROLEGATE_SOME_FLAG, lists are separated by commas, and \
the flag wins. A switch takes true or false there, and as `--some-switch=false`.

Durations are written 500ms, 5s, 1m or 1h; a bare number is seconds.

Exit codes:
  0    stopped by a signal, after draining
  2    could not start: a wrong flag, variable, manifest or certificate, or an address in use
  143  ended at once, by a second signal

Examples:
  A webhook without a cluster: ServiceAccounts from ./example/*.yaml, trust policies from ./example/roles/
    rolegate serve --standalone ./example \\
      --issuer https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE

  In a cluster, with certificates that look after themselves
    rolegate serve --role-source files=/etc/rolegate/roles \\
      --tls-secret rolegate-system/rolegate-tls \\
      --tls-names rolegate.rolegate-system.svc \\
      --mutating-webhook-configuration rolegate

  In a cluster, with policies from AWS IAM, two accounts of them
    rolegate serve --tls-cert tls.crt --tls-key tls.key \\
      --assume-role 444455556666=arn:aws:iam::444455556666:role/rolegate-reader

  In a cluster, with policies from files and one's own certificate
    rolegate serve --role-source files=/etc/rolegate/roles \\
      --tls-cert tls.crt --tls-key tls.key";

/// The flags of `rolegate serve`: what was typed, each value already in its type.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub struct ServeArgs {
    /// Where the API server reaches the webhook (HTTPS)
    ///
    /// An address and a port; `:8443` is every IPv4 address, port 0 takes a free one (see the log).
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443", value_parser = listen_address, help_heading = SERVING)]
    pub listen: SocketAddr,

    /// Where probes, metrics and /roles are served (HTTP)
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080", value_parser = listen_address, help_heading = SERVING)]
    pub admin_listen: SocketAddr,

    /// Show /roles to other than loopback addresses
    ///
    /// It lists the roles that were read and their trust policies' state.
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = values::switch, help_heading = SERVING)]
    pub admin_allow_remote_roles: bool,

    /// Serve without a cluster, from a directory
    ///
    /// ServiceAccounts are read from DIR/*.yaml (documents and Lists; other kinds are skipped), trust policies from
    /// DIR/roles/ unless --role-source says otherwise. The certificate is self-signed unless --tls-cert and --tls-key
    /// are given. Needs --issuer.
    #[arg(long, value_name = "DIR", requires = "issuer", help_heading = SERVING)]
    pub standalone: Option<PathBuf>,

    /// How long to keep accepting after SIGTERM
    ///
    /// API servers go on using their connections to a pod that is ending; each is closed after its next answer. A second
    /// signal ends at once. From 0s to 10m.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::between(Duration::ZERO, Duration::from_secs(600)), help_heading = SERVING)]
    pub drain: Duration,

    /// Serving certificate chain, PEM; read again when its content changes
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = CERTIFICATES)]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the serving certificate, PEM (PKCS#8, PKCS#1 or SEC1)
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = CERTIFICATES)]
    pub tls_key: Option<PathBuf>,

    /// The Secret that keeps the CA of self-managed certificates
    ///
    /// In a cluster, without --tls-cert, certificates look after themselves: the CA lives in this Secret, each replica signs
    /// a certificate of its own in memory, and both are renewed at two thirds of their life. The Secret must exist; rolegate
    /// fills it. Needs --tls-names.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = NamespacedName::from_str, requires = "tls_names", conflicts_with_all = ["tls_cert", "standalone"], help_heading = CERTIFICATES)]
    pub tls_secret: Option<NamespacedName>,

    /// The MutatingWebhookConfiguration whose caBundle is kept up to date
    ///
    /// With --tls-secret or --ca-bundle; it need not exist.
    #[arg(long, value_name = "NAME", value_parser = values::object_name, conflicts_with = "standalone", help_heading = CERTIFICATES)]
    pub mutating_webhook_configuration: Option<String>,

    /// The ValidatingWebhookConfiguration whose caBundle is kept up to date
    #[arg(long, value_name = "NAME", value_parser = values::object_name, conflicts_with = "standalone", help_heading = CERTIFICATES)]
    pub validating_webhook_configuration: Option<String>,

    /// CA certificates, PEM, to write into the webhook configurations; read again when they change
    ///
    /// For a certificate of one's own (--tls-cert) when nobody else writes caBundle.
    #[arg(long, value_name = "FILE", requires = "tls_cert", conflicts_with = "standalone", help_heading = CERTIFICATES)]
    pub ca_bundle: Option<PathBuf>,

    /// How long a self-managed CA lives
    ///
    /// Renewed at two thirds of it. From 10m to 87600h.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration::between(MINUTE.saturating_mul(10), HOUR.saturating_mul(87_600)), help_heading = CERTIFICATES)]
    pub ca_lifetime: Duration,

    /// How long a self-managed serving certificate lives
    ///
    /// Renewed at two thirds of it. From 1m to 87600h, and at most --ca-lifetime.
    #[arg(long, value_name = "DURATION", default_value = "720h", value_parser = duration::between(MINUTE, HOUR.saturating_mul(87_600)), help_heading = CERTIFICATES)]
    pub certificate_lifetime: Duration,

    /// DNS names and IP addresses of the self-signed or self-managed certificate
    ///
    /// Beside localhost, 127.0.0.1 and ::1; in a cluster SERVICE.NAMESPACE.svc. May be repeated or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = SubjectName::parse, conflicts_with = "tls_cert", help_heading = CERTIFICATES)]
    pub tls_names: Vec<SubjectName>,

    /// CA certificates, PEM, that a client must be certified by
    ///
    /// To let in nobody but an API server that presents a certificate. Without it, clients present none.
    #[arg(long, value_name = "FILE", help_heading = CERTIFICATES)]
    pub client_ca: Option<PathBuf>,

    /// The cluster's OIDC issuer, with or without https://
    ///
    /// Default in a cluster: what the API server's /.well-known/openid-configuration says.
    #[arg(long, value_name = "URL", value_parser = Issuer::parse, help_heading = JUDGING)]
    pub issuer: Option<Issuer>,

    /// What /mutate does where its path names no mode: enforce, warn or audit
    #[arg(long, value_name = "MODE", default_value = "enforce", value_parser = Mode::from_str, help_heading = JUDGING)]
    pub mode: Mode,

    /// What happens in mode enforce when a policy cannot be read, is too old or is malformed
    #[arg(long, value_name = "ANSWER", default_value = "inject", help_heading = JUDGING)]
    pub on_unknown: OnUnknown,

    /// What happens to a pod whose ServiceAccount has no role
    #[arg(long, value_name = "ANSWER", default_value = "off", help_heading = JUDGING)]
    pub require_role: RequireRole,

    /// Where messages send their readers: a page with a section for each cause, as docs/causes.md
    ///
    /// Messages end with URL#CAUSE. Without it they name the command `rolegate explain CAUSE`.
    #[arg(long, value_name = "URL", value_parser = docs_url, help_heading = JUDGING)]
    pub docs_url: Option<String>,

    /// Leave pods with the label eks.amazonaws.com/skip-pod-identity-webhook alone
    ///
    /// `--honor-skip-label=false` judges and injects them like any other.
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = values::switch, help_heading = JUDGING)]
    pub honor_skip_label: bool,

    /// Where trust policies come from, asked in this order: iam, ack, crossplane, files=DIR
    ///
    /// May be repeated or separated by commas. A source that does not know a role passes on to the next. In a cluster the
    /// default is iam, under --standalone DIR it is files=DIR/roles. AWS is reached as every SDK reaches it: credentials by
    /// the default chain, AWS_REGION, AWS_ENDPOINT_URL, AWS_USE_FIPS_ENDPOINT.
    #[arg(long, value_name = "SOURCE", value_delimiter = ',', value_parser = RoleSourceSpec::from_str, help_heading = POLICIES)]
    pub role_source: Vec<RoleSourceSpec>,

    /// Another account whose roles source iam reads, and the role of it to assume for that
    ///
    /// May be repeated or separated by commas. Roles of accounts that are neither named here nor that of rolegate's own
    /// credentials cannot be read: their verdict is unknown.
    #[arg(long, value_name = "ACCOUNT=ROLE_ARN", value_delimiter = ',', value_parser = AssumeRole::from_str, help_heading = POLICIES)]
    pub assume_role: Vec<AssumeRole>,

    /// How long a policy that was read is fresh
    ///
    /// Then it is read again in the background while the old copy serves. From 1s to 24h.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::between(SECOND, HOUR.saturating_mul(24)), help_heading = POLICIES)]
    pub trust_ttl: Duration,

    /// How old a policy may be that still serves; an older one is unknown
    ///
    /// From 1s to 168h, and at least --trust-ttl.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::between(SECOND, HOUR.saturating_mul(168)), help_heading = POLICIES)]
    pub trust_max_stale: Duration,

    /// The longest that a pod waits for a policy to be read
    ///
    /// Only for a role that is unseen or about to be refused. From 1ms to 30s; the API server's own timeout still bounds it.
    #[arg(long, value_name = "DURATION", default_value = "700ms", value_parser = duration::between(MILLISECOND, SECOND.saturating_mul(30)), help_heading = POLICIES)]
    pub trust_read_timeout: Duration,

    /// Prefix of the annotations, with or without its slash
    #[arg(long, value_name = "PREFIX", default_value = "eks.amazonaws.com", value_parser = annotation_prefix, help_heading = IDENTITY)]
    pub annotation_prefix: AnnotationPrefix,

    /// Audience of tokens that no annotation sets
    #[arg(long, value_name = "AUDIENCE", default_value = values::DEFAULT_AUDIENCE, value_parser = values::audience, help_heading = IDENTITY)]
    pub token_audience: Audience,

    /// Lifetime of tokens that no annotation sets
    ///
    /// Seconds from 600 to 86400, or a duration from 10m to 24h.
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = token_expiration, help_heading = IDENTITY)]
    pub token_expiration: u32,

    /// Where the token is mounted
    #[arg(long, value_name = "PATH", default_value = "/var/run/secrets/eks.amazonaws.com/serviceaccount", value_parser = mount_path, help_heading = IDENTITY)]
    pub token_mount_path: String,

    /// AWS_REGION and AWS_DEFAULT_REGION of containers that set neither
    ///
    /// `auto` takes the Region that an EKS issuer names.
    #[arg(long, value_name = "REGION", value_parser = AwsRegion::from_str, help_heading = IDENTITY)]
    pub aws_region: Option<AwsRegion>,

    /// Set AWS_STS_REGIONAL_ENDPOINTS=regional where no annotation says otherwise
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = values::switch, help_heading = IDENTITY)]
    pub sts_regional_endpoints: bool,

    /// Take a bare `path/name` in the role annotation for a role of this account
    ///
    /// Its account is --aws-account-id and its partition --aws-partition; without an account, AWS STS is asked at the start
    /// whose credentials rolegate has.
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = values::switch, help_heading = IDENTITY)]
    pub compose_role_arn: bool,

    /// Account of composed role ARNs, twelve digits
    #[arg(long, value_name = "ACCOUNT", value_parser = values::account, help_heading = IDENTITY)]
    pub aws_account_id: Option<AccountId>,

    /// Partition of composed role ARNs: aws, aws-cn, aws-us-gov … (default: aws, or what STS says)
    #[arg(long, value_name = "PARTITION", value_parser = values::partition, help_heading = IDENTITY)]
    pub aws_partition: Option<Partition>,

    /// A ConfigMap that names roles of ServiceAccounts without annotations
    ///
    /// Its key `config` holds JSON: {"NAMESPACE/NAME": {"RoleARN": …, "Audience": …, "UseRegionalSTS": …,
    /// "TokenExpiration": …}}; the namespace * stands for any. Annotations win.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = NamespacedName::from_str, help_heading = IDENTITY)]
    pub identity_config_map: Option<NamespacedName>,

    /// Set AWS_ROLE_SESSION_NAME to the pod's name
    ///
    /// Where the name is sure to fit STS's rules and the policy does not refuse it.
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = values::switch, help_heading = IDENTITY)]
    pub role_session_name: bool,

    /// Set AWS_EC2_METADATA_DISABLED=true, so that nothing falls back to the node's role
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = values::switch, help_heading = IDENTITY)]
    pub disable_instance_metadata: bool,

    /// ServiceAccounts that use EKS Pod Identity, JSON
    ///
    /// {"identities": [{"namespace": …, "serviceAccount": …}]}; read again when it changes; wins over web identity.
    #[arg(long, value_name = "FILE", help_heading = POD_IDENTITY)]
    pub container_credentials_config: Option<PathBuf>,

    /// AWS_CONTAINER_CREDENTIALS_FULL_URI
    #[arg(long, value_name = "URI", default_value = "http://169.254.170.23/v1/credentials", value_parser = values::not_empty, help_heading = POD_IDENTITY)]
    pub container_credentials_full_uri: String,

    /// Audience of the token
    #[arg(long, value_name = "AUDIENCE", default_value = "pods.eks.amazonaws.com", value_parser = values::not_empty, help_heading = POD_IDENTITY)]
    pub container_credentials_audience: String,

    /// Where the token is mounted
    #[arg(long, value_name = "PATH", default_value = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", value_parser = mount_path, help_heading = POD_IDENTITY)]
    pub container_credentials_token_mount_path: String,

    /// Name of the token's volume
    #[arg(long, value_name = "NAME", default_value = "eks-pod-identity-token", value_parser = volume_name, help_heading = POD_IDENTITY)]
    pub container_credentials_token_volume_name: String,

    /// Path of the token within its mount
    #[arg(long, value_name = "PATH", default_value = "eks-pod-identity-token", value_parser = token_path, help_heading = POD_IDENTITY)]
    pub container_credentials_token_path: String,

    /// Form of the log on standard error: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = LogFormat::from_str, help_heading = TELEMETRY)]
    pub log_format: LogFormat,

    /// The least level that is logged
    ///
    /// error, warn, info, debug, trace or off; also for single modules: `info,rolegate::webhook=debug`. Refusals and
    /// warnings are info, other decisions debug.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = LogLevel::from_str, help_heading = TELEMETRY)]
    pub log_level: LogLevel,

    /// Write one JSON line for each answer to a file, or to standard output (-)
    #[arg(long, value_name = "FILE|-", value_parser = AuditTarget::from_str, help_heading = TELEMETRY)]
    pub audit_log: Option<AuditTarget>,

    /// When a new audit log file is begun: never, or hourly as FILE.2026-01-31T13
    #[arg(long, value_name = "WHEN", default_value = "never", value_parser = Rotation::from_str, help_heading = TELEMETRY)]
    pub audit_log_rotate: Rotation,

    /// Tell of refusals by Events about the ServiceAccount
    ///
    /// What `kubectl describe serviceaccount` shows: one Event for a ServiceAccount and a cause in 10 minutes, whose series
    /// counts further refusals. `--events=false` makes none; there are none under --standalone either.
    #[arg(long, value_name = "BOOL", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = values::switch, help_heading = TELEMETRY)]
    pub events: bool,

    /// Label the metric rolegate_decisions_total with the namespace, too
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = values::switch, help_heading = TELEMETRY)]
    pub metrics_namespace: bool,
}

/// What becomes of a pod in mode enforce whose role's policy could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnUnknown {
    /// Inject and warn
    #[value(alias = "warn", alias = "allow")]
    Inject,
    /// Refuse
    Deny,
}

/// What becomes of a pod whose ServiceAccount has no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RequireRole {
    /// Admit it untouched
    Off,
    /// Admit it with a warning
    Warn,
    /// Refuse it where the mode is enforce
    Enforce,
}

impl From<OnUnknown> for decision::OnUnknown {
    fn from(typed: OnUnknown) -> Self {
        match typed {
            OnUnknown::Inject => Self::Inject,
            OnUnknown::Deny => Self::Deny,
        }
    }
}

impl From<RequireRole> for decision::RequireRole {
    fn from(typed: RequireRole) -> Self {
        match typed {
            RequireRole::Off => Self::Off,
            RequireRole::Warn => Self::Warn,
            RequireRole::Enforce => Self::Enforce,
        }
    }
}

/// A value of `--role-source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleSourceSpec {
    /// AWS IAM.
    Iam,
    /// `Role` objects of the ACK IAM controller.
    Ack,
    /// `Role` objects of Crossplane's AWS provider.
    Crossplane,
    /// A directory of JSON files.
    Files(PathBuf),
}

impl FromStr for RoleSourceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            None if text == "iam" => Ok(Self::Iam),
            None if text == "ack" => Ok(Self::Ack),
            None if text == "crossplane" => Ok(Self::Crossplane),
            Some(("files", directory)) if !directory.is_empty() => Ok(Self::Files(directory.into())),
            _ => Err("expected iam, ack, crossplane or files=DIR".to_owned()),
        }
    }
}

impl fmt::Display for RoleSourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iam => f.write_str("iam"),
            Self::Ack => f.write_str("ack"),
            Self::Crossplane => f.write_str("crossplane"),
            Self::Files(directory) => write!(f, "files={}", directory.display()),
        }
    }
}

/// The value of `--annotation-prefix`, with its slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationPrefix(String);

impl AnnotationPrefix {
    /// With its slash: `eks.amazonaws.com/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The value of `--aws-region`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsRegion {
    /// The Region in an EKS issuer.
    Auto,
    /// This one.
    Named(String),
}

impl FromStr for AwsRegion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > 63 || !text.bytes().all(fits) {
            return Err("expected a Region such as us-west-2, or auto for the one in an EKS issuer".to_owned());
        }
        Ok(Self::Named(text.to_owned()))
    }
}

/// The value of `--identity-config-map`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacedName {
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl FromStr for NamespacedName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if values::is_dns_label(namespace) && values::is_dns_subdomain(name) => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("expected NAMESPACE/NAME, such as rolegate-system/rolegate-tls".to_owned()),
        }
    }
}

impl ServeArgs {
    /// What no flag can see alone.
    ///
    /// # Errors
    /// The kind of error and what contradicts what.
    pub(crate) fn contradictions(&self) -> Result<(), (ErrorKind, String)> {
        if self.trust_max_stale < self.trust_ttl {
            let message = format!(
                "--trust-max-stale ({}) must be at least --trust-ttl ({})",
                duration::display(self.trust_max_stale),
                duration::display(self.trust_ttl)
            );
            return Err((ErrorKind::ArgumentConflict, message));
        }
        self.contradicting_certificates()?;
        assume_role::refuse_repeated(&self.assume_role).map_err(|message| (ErrorKind::ValueValidation, message))?;
        if self.audit_log_rotate == Rotation::Hourly && !matches!(self.audit_log, Some(AuditTarget::File(_))) {
            let message = "--audit-log-rotate=hourly needs --audit-log FILE".to_owned();
            return Err((ErrorKind::MissingRequiredArgument, message));
        }
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            let message = format!(
                "--listen and --admin-listen are both {}; give each its own port",
                self.listen
            );
            return Err((ErrorKind::ArgumentConflict, message));
        }
        if self.standalone.is_some() {
            let needs_cluster = [(RoleSourceSpec::Ack, "ack"), (RoleSourceSpec::Crossplane, "crossplane")];
            for (source, word) in needs_cluster {
                if self.role_source.contains(&source) {
                    let message = format!("--role-source {word} reads a cluster, which --standalone has none of");
                    return Err((ErrorKind::ArgumentConflict, message));
                }
            }
        }
        Ok(())
    }

    fn contradicting_certificates(&self) -> Result<(), (ErrorKind, String)> {
        if self.certificate_lifetime > self.ca_lifetime {
            let message = format!(
                "--certificate-lifetime ({}) must be at most --ca-lifetime ({})",
                duration::display(self.certificate_lifetime),
                duration::display(self.ca_lifetime)
            );
            return Err((ErrorKind::ArgumentConflict, message));
        }
        let named = self.mutating_webhook_configuration.is_some() || self.validating_webhook_configuration.is_some();
        if self.ca_bundle.is_some() && !named {
            let message =
                "--ca-bundle needs --mutating-webhook-configuration or --validating-webhook-configuration: where it \
                           is written"
                    .to_owned();
            return Err((ErrorKind::MissingRequiredArgument, message));
        }
        Ok(())
    }
}

/// Runs the webhook until a signal stops it.
pub(crate) fn run(args: &ServeArgs) -> Exit {
    let color = if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    {
        Color::Always
    } else {
        Color::Never
    };
    log::init(args.log_level.clone(), args.log_format, color);
    install_crypto_provider();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("cannot start: no runtime: {error}");
            return Exit::Unclear;
        }
    };
    runtime.block_on(serve(args))
}

async fn serve(args: &ServeArgs) -> Exit {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            error!("cannot start: no signals: {error}");
            return Exit::Unclear;
        }
    };
    let started = tokio::select! {
        started = start::start(args) => started,
        () = signals.next() => return Exit::Yes,
    };
    let started = match started {
        Ok(started) => started,
        Err(why) => {
            error!("cannot start: {why}");
            return Exit::Unclear;
        }
    };
    let life = started.life.clone();
    match run_until_signalled(&life, args.drain, async || signals.next().await, started.serve()).await {
        Ending::Graceful => Exit::Yes,
        Ending::Immediate => std::process::exit(ENDED_BY_SIGNAL),
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let expanded = match text.strip_prefix("localhost:") {
        Some(port) => format!("{}:{port}", Ipv4Addr::LOCALHOST),
        None if text.starts_with(':') => format!("{}{text}", Ipv4Addr::UNSPECIFIED),
        None => text.to_owned(),
    };
    expanded
        .parse()
        .map_err(|_| "expected an IP address and a port, such as 0.0.0.0:8443, [::]:8443 or :8443".to_owned())
}

/// The value of `--docs-url`: short enough for every message, and without a fragment of its own.
fn docs_url(text: &str) -> Result<String, String> {
    const LONGEST: usize = 120;
    let is_url = text.starts_with("https://") || text.starts_with("http://");
    let is_plain = text
        .chars()
        .all(|character| character.is_ascii_graphic() && !matches!(character, '"' | '\'' | '`' | '<' | '>' | '#'));
    if !is_url || !is_plain {
        return Err("expected a URL that starts with https:// and has no fragment (#…)".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("expected at most {LONGEST} characters"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

pub(crate) fn annotation_prefix(text: &str) -> Result<AnnotationPrefix, String> {
    let name = text.strip_suffix('/').unwrap_or(text);
    if values::is_dns_subdomain(name) {
        Ok(AnnotationPrefix(format!("{name}/")))
    } else {
        Err("expected the DNS name that annotation keys begin with, such as eks.amazonaws.com".to_owned())
    }
}

fn token_expiration(text: &str) -> Result<u32, String> {
    let expected = || {
        format!(
            "expected seconds from {} to {} (or 10m to 24h)",
            EXPIRATION_SECONDS.start(),
            EXPIRATION_SECONDS.end()
        )
    };
    let duration = duration::parse(text).map_err(|_| expected())?;
    let seconds = u32::try_from(duration.as_secs()).map_err(|_| expected())?;
    if duration.subsec_nanos() == 0 && EXPIRATION_SECONDS.contains(&seconds) {
        Ok(seconds)
    } else {
        Err(expected())
    }
}

/// Kubernetes refuses a mount path with a colon; a relative one would depend on the container's image.
fn mount_path(text: &str) -> Result<String, String> {
    let windows = text.as_bytes().get(1) == Some(&b':');
    let path = if windows {
        text.get(2..).unwrap_or_default()
    } else {
        text
    };
    if path.starts_with(['/', '\\']) && !path.contains(':') && !text.chars().any(char::is_control) {
        Ok(text.trim_end_matches('/').to_owned()).and_then(|path| values::not_empty(&path))
    } else {
        Err("expected an absolute path without a colon".to_owned())
    }
}

fn volume_name(text: &str) -> Result<String, String> {
    if values::is_dns_label(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a volume name: 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit".to_owned())
    }
}

/// The rule of Kubernetes for a path in a projected volume: relative, without `..`.
fn token_path(text: &str) -> Result<String, String> {
    let relative = !text.is_empty() && !text.starts_with('/') && !text.split('/').any(|part| part == "..");
    if relative && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("expected a relative path without ..".to_owned())
    }
}

#[cfg(test)]
mod tests;
