//! `rolegate completions`: a shell's completion script.

use std::fmt::Write as _;

use clap::{Args, Command};
use clap_complete::Shell;

use super::{Exit, output};

/// What `--help` says below the flags.
const AFTER_HELP: &str = "\
Examples:
  rolegate completions bash > ~/.local/share/bash-completion/completions/rolegate
  rolegate completions zsh > ~/.zfunc/_rolegate
  rolegate completions fish > ~/.config/fish/completions/rolegate.fish";

/// The flags of `rolegate completions`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    let mut command = super::command();
    clap_complete::generate(args.shell, &mut command, "rolegate", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if args.shell == Shell::Fish {
        complete_arguments_in_fish(&command, &mut script);
    }
    match output::print(&script) {
        Ok(()) => Exit::Yes,
        Err(error) => {
            output::error(format!("standard output: {error}"));
            Exit::Unclear
        }
    }
}

/// Adds the values of arguments without a flag, such as the causes of `rolegate explain`: for fish, `clap_complete` generates
/// only those of flags.
fn complete_arguments_in_fish(command: &Command, script: &mut String) {
    for subcommand in command.get_subcommands() {
        for value in subcommand.get_positionals().flat_map(clap::Arg::get_possible_values) {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            let help = help.replace('\\', "\\\\").replace('\'', "\\'");
            let _ = writeln!(
                script,
                "complete -c rolegate -n \"__fish_rolegate_using_subcommand {}\" -f -a \"{}\" -d '{help}'",
                subcommand.get_name(),
                value.get_name()
            );
        }
    }
}
