//! How pods are evaluated and what follows from a verdict.

use clap::{Args, ValueEnum};

use crate::args::switch::{Default::On, SwitchArg as _};
use crate::args::values;
use crate::decision::{self, Mode};
use crate::trust::Issuer;

/// The cluster's issuer, modes and exceptions.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Decisions")]
pub(crate) struct DecisionArgs {
    /// The cluster's OIDC issuer, with or without https://
    ///
    /// Default in a cluster: the issuer in the API server's /.well-known/openid-configuration.
    #[arg(long, value_name = "URL", value_parser = values::issuer)]
    pub(crate) issuer: Option<Issuer>,

    /// Mode of requests to /mutate, the path without a mode: enforce, warn or audit
    #[arg(long, value_name = "MODE", default_value = "enforce", hide_possible_values = true, value_parser = values::suggesting::<Mode>(&["enforce", "warn", "audit"]))]
    pub(crate) mode: Mode,

    /// In mode enforce, what to do when a trust policy cannot be read, is too old or is malformed
    #[arg(long, value_name = "ACTION", default_value = "inject")]
    pub(crate) on_unknown: OnUnknown,

    /// What to do with a pod whose ServiceAccount has no role
    ///
    /// In a cluster, the label rolegate.io/require-role of a namespace (warn or enforce) takes precedence; `inject`
    /// does not read labels.
    #[arg(long, value_name = "ACTION", default_value = "off")]
    pub(crate) require_role: RequireRole,

    /// URL of a page with a section for each cause, like docs/causes.md, for messages to link to
    ///
    /// Messages end with URL#CAUSE. Without it, they name the command `rolegate explain CAUSE`.
    #[arg(long, value_name = "URL", value_parser = values::docs_url)]
    pub(crate) docs_url: Option<String>,

    /// Skip pods with the label eks.amazonaws.com/skip-pod-identity-webhook
    ///
    /// With `--honor-skip-label=false`, they are evaluated and injected like any other pod.
    #[arg(long, switch = On)]
    pub(crate) honor_skip_label: bool,
}

/// What happens to a pod in mode enforce when its role's trust policy could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnUnknown {
    /// Inject and warn
    #[value(alias = "warn", alias = "allow")]
    Inject,
    /// Refuse the pod
    Deny,
}

/// What happens to a pod whose ServiceAccount has no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RequireRole {
    /// Admit it unchanged
    Off,
    /// Admit it with a warning
    Warn,
    /// Refuse it in mode enforce
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
