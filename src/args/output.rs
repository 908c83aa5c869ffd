//! `--output`: the format of a report.

use clap::{Args, ValueEnum};

use super::values;

/// The output flags of commands that report.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,
}

/// How a command reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs: one JSON document
    Json,
    /// The same as YAML
    Yaml,
}

/// The output flags of commands that report findings.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct FindingsOutputArgs {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: FindingsFormat,

    /// The page that explains causes, to which junit, sarif, github, openreports and html link with #CAUSE
    ///
    /// Default: reports name `rolegate explain CAUSE`.
    #[arg(long, value_name = "URL", value_parser = values::docs_url)]
    pub(crate) docs_url: Option<String>,
}

/// How a command reports findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FindingsFormat {
    /// For people
    Text,
    /// For programs: one JSON document
    Json,
    /// The same as YAML
    Yaml,
    /// Test results: JUnit XML
    Junit,
    /// Code scanning: SARIF 2.1.0
    Sarif,
    /// Annotations of GitHub Actions
    Github,
    /// Reports for policy reporters: openreports.io/v1alpha1, as YAML
    Openreports,
    /// A page in one file, for a person
    Html,
}
