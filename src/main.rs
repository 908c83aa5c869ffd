//! The `rolegate` program: runs its command line and exits with the exit code of the command.

use std::process::ExitCode;

fn main() -> ExitCode {
    rolegate::commands::run()
}
