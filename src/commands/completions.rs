//! `rolegate completions`: the completion script of a shell, or of kubectl.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

use super::exit::Exit;
use super::output;
use crate::args;
use crate::args::completions::{Completer, CompletionsArgs};

/// What follows the completion of bash in the script of kubectl, which passes it the words after `kubectl rolegate`. The last one is to be
/// completed. kubectl reads a completion from each line. It expects only the value of `--flag=value`; for bash, that is a word of its own.
const KUBECTL: &str = r#"
# Outside of a shell that completes, it would fail.
compopt() { :; }
last=${!#}
if [[ $last == --*=* ]]; then
    set -- "${@:1:$#-1}" "${last%%=*}" "${last#*=}"
fi
COMP_WORDS=(rolegate "$@")
COMP_CWORD=$#
COMPREPLY=()
_rolegate rolegate "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Runs the command.
pub(super) fn run(args: CompletionsArgs) -> Result<Exit> {
    let CompletionsArgs { completer } = args;
    let script = match completer {
        Completer::Shell(shell) => script(shell),
        Completer::Kubectl => format!("#!/usr/bin/env bash\n{}{KUBECTL}", script(Shell::Bash)),
    };
    output::print(&script)?;
    Ok(Exit::Yes)
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    let mut command = args::clap();
    clap_complete::generate(shell, &mut command, "rolegate", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Fish {
        complete_arguments_in_fish(&command, &mut script);
    }
    script
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
