//! `rolegate completions`: a shell's completion script.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

use super::exit::Exit;
use super::output;
use crate::args;
use crate::args::completions::CompletionsArgs;

/// Runs the command.
pub(super) fn run(args: CompletionsArgs) -> Result<Exit> {
    let CompletionsArgs { shell } = args;
    let mut script = Vec::new();
    let mut command = args::clap();
    clap_complete::generate(shell, &mut command, "rolegate", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Fish {
        complete_arguments_in_fish(&command, &mut script);
    }
    output::print(&script)?;
    Ok(Exit::Yes)
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
