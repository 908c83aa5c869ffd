//! `rolegate version`: what `--version` prints, also for programs.

use anyhow::Result;

use super::exit::Exit;
use super::output;
use crate::args::output::OutputArgs;
use crate::args::version::{Version, VersionArgs};

/// Runs the command.
pub(super) fn run(args: VersionArgs) -> Result<Exit> {
    let VersionArgs {
        output: OutputArgs { output: format },
    } = args;
    output::report(format, &Version::of_program(), |version| {
        format!("rolegate {version}\n")
    })?;
    Ok(Exit::Yes)
}
