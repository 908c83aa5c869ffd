//! The cluster that a command talks to: `--kubeconfig` and `--context`, as for kubectl.

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PathBufValueParser, TypedValueParser as _};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::usage::UsageError;

/// Which cluster.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file of the cluster
    ///
    /// Default: the files of KUBECONFIG, or ~/.kube/config; in a pod without these, the pod's own cluster.
    #[arg(long, value_name = "FILE", value_parser = file())]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig
    ///
    /// Default: its current context.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    context: Option<String>,
}

/// Which cluster, for a command that reads all of its namespaces unless some are named.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct WholeClusterArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// Read every namespace, which is the default
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
}

impl WholeClusterArgs {
    pub(crate) fn cluster(self) -> ClusterArgs {
        let Self {
            cluster,
            // The default.
            all_namespaces: _,
        } = self;
        cluster
    }
}

/// Which cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterSettings {
    /// `--kubeconfig`.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub(crate) context: Option<String>,
}

impl ClusterArgs {
    pub(crate) fn settings(self) -> ClusterSettings {
        let Self { kubeconfig, context } = self;
        ClusterSettings { kubeconfig, context }
    }
}

/// Rejects a flag that names a cluster next to `--standalone`, which would ignore it. A variable that may be set for other commands gives
/// way to `--standalone` where that was typed.
pub(super) fn reject_with_standalone(matches: &ArgMatches) -> Result<(), UsageError> {
    let Some(standalone) = matches.value_source("standalone") else {
        return Ok(());
    };
    for flag in ["kubeconfig", "context"] {
        let source = matches.value_source(flag);
        if source.is_some() && (source == Some(ValueSource::CommandLine) || standalone != ValueSource::CommandLine) {
            return Err(UsageError::conflict(format!(
                "--{flag} selects a cluster, but --standalone runs without one; remove one of the two"
            )));
        }
    }
    Ok(())
}

fn file() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|file| {
        if file.as_os_str().is_empty() {
            Err("expected the path of a file")
        } else {
            Ok(file)
        }
    })
}
