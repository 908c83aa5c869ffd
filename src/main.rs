//! The `rolegate` program: hands its command line over and exits with what comes back.

use std::process::ExitCode;

fn main() -> ExitCode {
    rolegate::commands::run()
}
