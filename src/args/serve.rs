//! The flags of `rolegate serve`, one group for each part of the webhook that they configure.

pub(crate) mod certificates;
pub(crate) mod decision;
pub(crate) mod identity;
pub(super) mod peer;
pub(crate) mod pod_identity;
pub(crate) mod serving;
pub(crate) mod telemetry;
pub(crate) mod trust_policies;

use std::ffi::OsString;

use clap::{Args, Parser};

use self::certificates::CertificateArgs;
use self::decision::DecisionArgs;
use self::identity::IdentityArgs;
use self::pod_identity::PodIdentityArgs;
use self::serving::ServingArgs;
use self::telemetry::{LogArgs, TelemetryArgs};
use self::trust_policies::TrustPoliciesArgs;
use super::association_source::AssociationArgs;
use super::cluster::ClusterArgs;
use super::role_source::RoleSourceSpec;
use super::usage::UsageError;

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
The flags of amazon-eks-pod-identity-webhook that have a different name in rolegate, such as --port, are accepted with a note.

Every flag can be set by an environment variable: `--some-flag` is ROLEGATE_SOME_FLAG, lists are separated by commas, and \
the flag takes precedence. Switches take true or false, also on the command line: `--some-switch=false`.

Durations are written 500ms, 5s, 1m, 1h or 1h30m; a bare number is seconds.

Exit codes:
  0    stopped by a signal, after draining
  2    could not start: an invalid flag, variable, manifest or certificate, or an address in use
  143  stopped at once, by a second signal

Examples:
  Without a cluster: ServiceAccounts from ./example/, trust policies from ./example/roles/
    rolegate serve --standalone ./example \\
      --issuer https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE

  In a cluster, with automatically managed certificates
    rolegate serve --role-source files=/etc/rolegate/roles \\
      --tls-secret rolegate-system/rolegate-tls \\
      --tls-names rolegate.rolegate-system.svc \\
      --mutating-webhook-configuration rolegate

  In a cluster, with trust policies from the AWS IAM of two accounts
    rolegate serve --tls-cert tls.crt --tls-key tls.key \\
      --assume-role 444455556666=arn:aws:iam::444455556666:role/rolegate-reader

  In a cluster, with trust policies from files and your own certificate
    rolegate serve --role-source files=/etc/rolegate/roles \\
      --tls-cert tls.crt --tls-key tls.key";

/// The flags of `rolegate serve`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) certificates: CertificateArgs,
    #[command(flatten)]
    pub(crate) decision: DecisionArgs,
    #[command(flatten)]
    pub(crate) trust_policies: TrustPoliciesArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) pod_identity: PodIdentityArgs,
    #[command(flatten)]
    pub(crate) associations: AssociationArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

impl ServeArgs {
    /// The flags as if they had been typed, with nothing from the environment.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn from_flags<T: Into<OsString> + Clone>(
        flags: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        #[derive(Parser)]
        #[command(no_binary_name = true)]
        struct Typed {
            #[command(flatten)]
            serve: ServeArgs,
        }
        Typed::try_parse_from(flags).map(|typed| typed.serve)
    }

    /// Checks what no value parser can see.
    pub(super) fn validate(&self) -> Result<(), UsageError> {
        self.serving.validate()?;
        self.certificates.validate()?;
        self.trust_policies.validate()?;
        self.telemetry.validate()?;
        self.associations.validate(self.serving.standalone.is_some())?;
        if self.serving.standalone.is_some() {
            for source in [RoleSourceSpec::Ack, RoleSourceSpec::Crossplane] {
                if self.trust_policies.role_source.contains(&source) {
                    return Err(UsageError::conflict(format!(
                        "--role-source {source} reads objects of a cluster, but --standalone runs without one"
                    )));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
