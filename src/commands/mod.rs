//! The commands: one file each, with a `run` that takes the command's flags.

mod associations;
mod audit;
mod certs;
mod check;
mod cluster;
mod completions;
mod demo;
mod documents;
mod exit;
mod explain;
mod inject;
mod input;
mod judgment;
mod output;
mod runtime;
mod serve;
mod sources;
mod trust_policy;
mod version;
mod wrap;

use std::ffi::OsString;
use std::process::ExitCode;

use self::exit::Exit;
use crate::args::{self, Command, Parsed};

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    for message in args::unknown_variables() {
        output::warn(&message);
    }
    let Parsed { command, notes } = match args::parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    for note in notes {
        output::warn(&note);
    }
    let ended = match command {
        Command::Serve(args) => Ok(serve::run(*args)),
        Command::Check(args) => check::run(*args),
        Command::Audit(args) => audit::run(*args),
        Command::TrustPolicy(args) => trust_policy::run(*args),
        Command::Inject(args) => inject::run(*args),
        Command::Explain(args) => explain::run(args),
        Command::Certs(args) => certs::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Version(args) => version::run(args),
    };
    let exit = ended.unwrap_or_else(|error| {
        output::error(format_args!("{error:#}"));
        Exit::Unclear
    });
    exit.into()
}

/// Prints help, the version, or what is wrong with the arguments, which it repeats.
fn usage(error: &clap::Error) -> ExitCode {
    let rendered = error.render().ansi().to_string();
    let rendered = output::as_typed(&rendered);
    if error.use_stderr() {
        output::note(rendered.trim_end());
    } else {
        // It fails only when standard output is closed; then there is no reader.
        let _ = output::print(&rendered);
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
