//! The command line: every flag, its type, its environment variable, and the rules that relate it to other flags.
//!
//! Flags are declared in groups. Each group is destructured once, by a `let Self { … } = self` where it becomes settings, so that the
//! compiler warns about a flag that nothing reads. Nothing here opens, connects or prints; `commands` does.

pub(crate) mod association_source;
mod assume_role;
pub(crate) mod audit;
pub(crate) mod aws;
pub(crate) mod certs;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod demo;
mod duration;
pub(crate) mod explain;
pub(crate) mod identity;
pub(crate) mod inject;
pub(crate) mod namespaced_name;
pub(crate) mod output;
pub(crate) mod role_source;
pub(crate) mod serve;
mod switch;
pub(crate) mod trust_policy;
mod usage;
pub(crate) mod values;
mod variables;
pub(crate) mod version;

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::serve::peer;
use self::usage::UsageError;
use crate::support::text;

const AFTER_HELP: &str = "\
Exit codes:
  0  success: trusted, or no findings
  1  not trusted, or findings
  2  undetermined, or usage error

Every flag whose help names an environment variable can be set by it: `--some-flag` is ROLEGATE_SOME_FLAG, lists are \
separated by commas, and the flag takes precedence.

With the name kubectl-rolegate in PATH (a link is enough), it is a kubectl plugin: `kubectl rolegate audit --context NAME`. \
`rolegate completions --help` says how kubectl completes it.

Run `rolegate COMMAND --help` for the flags of a command, with examples.";

/// Gives pods their AWS identity and refuses pods whose IAM role does not trust them
///
/// A Kubernetes mutating admission webhook for IAM Roles for Service Accounts. It injects what the AWS SDKs need to assume
/// the role that a pod's ServiceAccount is annotated with, and refuses the pod when the role's trust policy would not let
/// it, saying which statement is wrong and how to fix it.
#[derive(Debug, Parser)]
#[command(name = "rolegate", version = version::Version::of_program().to_string(), after_long_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the webhook
    Serve(Box<serve::ServeArgs>),
    /// Check whether a role's trust policy allows a ServiceAccount to assume it
    Check(Box<check::CheckArgs>),
    /// Check every annotated ServiceAccount of a cluster or a directory
    Audit(Box<audit::AuditArgs>),
    /// Add a ServiceAccount to a trust policy, or print the policy for a new role
    TrustPolicy(Box<trust_policy::TrustPolicyArgs>),
    /// Print manifests as they would be admitted, with the identity of their pods
    Inject(Box<inject::InjectArgs>),
    /// Explain a cause or a verdict and how to fix it, or a lint
    Explain(explain::ExplainArgs),
    /// Issue a CA and a serving certificate for development
    Certs(certs::CertsArgs),
    /// Start a webhook on the bundled example, send it pods over TLS and show the responses
    Demo(demo::DemoArgs),
    /// Print the completion script of a shell or of kubectl
    Completions(completions::CompletionsArgs),
    /// Print the version
    Version(version::VersionArgs),
}

/// What a process is to do.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) command: Command,
    /// Notes about flags, to print before it starts.
    pub(crate) notes: Vec<String>,
}

/// What a process that was started with these arguments, and the environment, is to do.
///
/// # Errors
/// The error to print, or the help or version that was asked for.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Parsed, clap::Error> {
    let mut clap = clap();
    if is_kubectl_plugin(arguments) {
        clap = clap.bin_name("kubectl rolegate");
    }
    let peer::Translated {
        arguments: translated,
        notes,
        refused,
    } = match arguments.split_at_checked(2) {
        Some((program, flags)) if program.get(1).is_some_and(|command| command == "serve") => {
            let mut translated = peer::translate(flags);
            translated.arguments.splice(0..0, program.iter().cloned());
            translated
        }
        _ => peer::Translated {
            arguments: arguments.to_vec(),
            ..peer::Translated::default()
        },
    };
    if !refused.is_empty() {
        // Builds the subcommand, so that the error shows its usage.
        clap.build();
        let message = refused.join("\n  ");
        return Err(subcommand(clap, Some("serve")).error(ErrorKind::UnknownArgument, message));
    }
    let arguments = translated.as_slice();
    let matches = clap
        .try_get_matches_from_mut(arguments)
        .map_err(|error| variables::name(suggest_command(error, &clap), &clap, arguments))?;
    let Cli { mut command } = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut clap))?;
    let validated = match (&mut command, matches.subcommand()) {
        (Command::Serve(args), Some((_, matches))) => {
            args.validate().and_then(|()| cluster::reject_with_standalone(matches))
        }
        (Command::Check(args), Some((_, matches))) => args.resolve_conflicts(matches),
        (Command::Audit(args), Some((_, matches))) => args.validate(matches),
        (Command::TrustPolicy(args), Some((_, matches))) => args.resolve_conflicts(matches),
        (Command::Inject(args), _) => args.source.validate(),
        _ => Ok(()),
    };
    match validated {
        Ok(()) => Ok(Parsed { command, notes }),
        Err(UsageError { kind, message }) => Err(subcommand(clap, matches.subcommand_name()).error(kind, message)),
    }
}

/// `rolegate help WORD` suggests the nearest command as `rolegate WORD` does.
fn suggest_command(mut error: clap::Error, clap: &clap::Command) -> clap::Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    if error.get(ContextKind::SuggestedSubcommand).is_some() {
        return error;
    }
    let commands = clap.get_subcommands().map(clap::Command::get_name);
    if let Some(near) = text::nearest_word(word, commands) {
        let near = ContextValue::Strings(vec![near.to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, near);
    }
    error
}

/// The subcommand of this name, whose errors show its usage.
fn subcommand(clap: clap::Command, name: Option<&str>) -> clap::Command {
    let subcommand = name.and_then(|name| clap.find_subcommand(name)).cloned();
    subcommand.unwrap_or(clap)
}

/// Whether kubectl started this: it finds plugins by their names.
pub(crate) fn is_kubectl_plugin(arguments: &[OsString]) -> bool {
    // Without the extension of Windows.
    let program = arguments.first().map(Path::new).and_then(Path::file_stem);
    program.is_some_and(|name| name == "kubectl-rolegate")
}

/// What to do about each environment variable that begins with `ROLEGATE_` and is not that of a flag.
pub(crate) fn unknown_variables() -> Vec<String> {
    variables::unknown(&clap())
}

/// The whole command line, each flag with its environment variable.
pub(crate) fn clap() -> clap::Command {
    Cli::command().mut_subcommands(|subcommand| subcommand.mut_args(variables::with_variable))
}
