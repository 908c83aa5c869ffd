//! The flags of `rolegate explain`.

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::output::OutputArgs;
use crate::decision::causes::{self, Section};

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
Exit codes:
  0  printed
  2  unknown word, or usage error

Examples:
  List all causes, verdicts and lints
    rolegate explain

  Explain the cause in a refusal
    rolegate explain wrong-subject

  The Markdown source, for programs
    rolegate explain wrong-subject --output json";

/// The flags of `rolegate explain`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct ExplainArgs {
    /// The cause, the verdict or the lint to explain
    ///
    /// Without it, all of them are listed.
    #[arg(value_name = "CAUSE", value_parser = words(), hide_possible_values = true)]
    pub(crate) cause: Option<String>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What the pages explain, for clap: it suggests the nearest word, and completions offer them.
fn words() -> PossibleValuesParser {
    let value = |section: Section| PossibleValue::new(section.cause).help(section.summary.replace('`', ""));
    causes::sections()
        .chain(causes::lints())
        .map(value)
        .collect::<Vec<_>>()
        .into()
}
