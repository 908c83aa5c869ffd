//! The command line: one file a command, flags to settings in one step.

use std::process::ExitCode;

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    todo!()
}
