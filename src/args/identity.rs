//! The web identity that `check` judges and `trust-policy` adds.

use clap::{Arg, Args};

use super::values;
use crate::decision::messages::commands::DEFAULT_AUDIENCE;
use crate::trust::{Audience, Issuer, Subject, WebIdentity};

/// A ServiceAccount of a cluster, and the audience of its token. The command says when the flags are required.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Web identity")]
pub(super) struct WebIdentityArgs {
    /// The cluster's OIDC issuer, with or without https://
    #[arg(long, value_name = "URL", value_parser = Issuer::parse)]
    issuer: Option<Issuer>,

    /// Namespace of the ServiceAccount
    #[arg(short, long, value_name = "NAMESPACE", value_parser = values::namespace)]
    namespace: Option<String>,

    /// Name of the ServiceAccount
    #[arg(long, value_name = "NAME", value_parser = values::service_account)]
    service_account: Option<String>,

    /// Audience of the token
    #[arg(long, value_name = "AUDIENCE", default_value = DEFAULT_AUDIENCE, value_parser = values::audience)]
    audience: Audience,
}

impl WebIdentityArgs {
    /// Namespace and name of the ServiceAccount; none if a flag is missing.
    pub(super) fn service_account(self) -> Option<(String, String)> {
        Some((self.namespace?, self.service_account?))
    }

    /// None if a flag is missing.
    pub(super) fn web_identity(self) -> Option<WebIdentity> {
        let Self {
            issuer,
            namespace,
            service_account,
            audience,
        } = self;
        Some(WebIdentity {
            issuer: issuer?,
            subject: Subject::service_account(&namespace?, &service_account?),
            audience,
        })
    }
}

/// For `mut_arg`: the flag is required.
pub(super) fn required(flag: Arg) -> Arg {
    flag.required(true)
}
