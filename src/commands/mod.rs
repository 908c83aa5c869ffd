//! The command line: one file a command, flags to settings in one step.
//!
//! What is common to all commands is here: the list of commands, the environment variable of every flag, the words of an
//! error, the exit code.

pub mod assume_role;
mod audit;
mod aws_args;
mod certs;
mod check;
mod completions;
mod demo;
pub(crate) mod duration;
mod explain;
pub(crate) mod input;
pub(crate) mod output;
pub mod serve;
pub(crate) mod sources;
mod start;
mod trust_policy;
pub(crate) mod values;
mod variables;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};

const AFTER_HELP: &str = "\
Exit codes:
  0  yes
  1  no: not trusted, or findings
  2  undetermined, or usage error

Every flag can be set by an environment variable: `--some-flag` is ROLEGATE_SOME_FLAG, lists are separated by commas, and \
the flag wins.

`rolegate COMMAND --help` explains a command, with examples.";

/// Gives pods their AWS identity and refuses pods whose IAM role does not trust them
///
/// A Kubernetes mutating admission webhook for IAM Roles for Service Accounts. It injects what the AWS SDKs need to assume
/// the role that a pod's ServiceAccount is annotated with, and refuses the pod when the role's trust policy would not let
/// it, saying which statement is wrong and how to fix it.
#[derive(Debug, Parser)]
#[command(name = "rolegate", version, after_long_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the webhook
    Serve(Box<serve::ServeArgs>),
    /// Check whether a role's trust policy allows a ServiceAccount to assume it
    Check(Box<check::CheckArgs>),
    /// Check every annotated ServiceAccount of a cluster or a directory
    Audit(Box<audit::AuditArgs>),
    /// Add a ServiceAccount to a trust policy, or print the policy for a new role
    TrustPolicy(trust_policy::TrustPolicyArgs),
    /// Explain a cause or a verdict, and how to fix it
    Explain(explain::ExplainArgs),
    /// Issue a CA and a serving certificate for development
    Certs(certs::CertsArgs),
    /// Start a webhook on the shipped example, send it pods over TLS and show what came back
    Demo(demo::DemoArgs),
    /// Print a shell's completion script
    Completions(completions::CompletionsArgs),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// 0.
    Yes,
    /// 2: could not tell, or bad use.
    Unclear,
    /// 1: not trusted, findings.
    No,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Yes => Self::from(0),
            Exit::No => Self::from(1),
            Exit::Unclear => Self::from(2),
        }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // What was typed is repeated in it. A closed pipe is the only way this fails, and then nobody reads.
            let rendered = error.render().ansi().to_string();
            if error.use_stderr() {
                output::note(rendered.trim_end());
            } else {
                let _ = output::print(&rendered);
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let exit = match cli.command {
        Subcommands::Serve(args) => serve::run(&args),
        Subcommands::Check(args) => check::run(*args),
        Subcommands::Audit(args) => audit::run(*args),
        Subcommands::TrustPolicy(args) => trust_policy::run(args),
        Subcommands::Explain(args) => explain::run(&args),
        Subcommands::Certs(args) => certs::run(args),
        Subcommands::Demo(args) => demo::run(args),
        Subcommands::Completions(args) => completions::run(&args),
    };
    exit.into()
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = command();
    variables::warn_of_misspelt(&command);
    let matches = command
        .try_get_matches_from_mut(arguments)
        .map_err(|error| variables::name(error, &command, arguments))?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    let contradictions = match (&mut cli.command, matches.subcommand()) {
        (Subcommands::Serve(args), _) => args.contradictions(),
        (Subcommands::Check(args), Some((_, matches))) => args.settle(matches),
        _ => Ok(()),
    };
    match contradictions {
        Ok(()) => Ok(cli),
        Err((kind, message)) => {
            // From the subcommand, so that the error shows its usage.
            let subcommand = matches
                .subcommand_name()
                .and_then(|name| command.find_subcommand(name))
                .cloned();
            Err(subcommand.unwrap_or(command).error(kind, message))
        }
    }
}

/// The whole command line, every flag with its environment variable.
pub(crate) fn command() -> Command {
    Cli::command().mut_subcommands(|subcommand| subcommand.mut_args(variables::with_variable))
}
