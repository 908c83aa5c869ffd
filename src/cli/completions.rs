//! `rolegate completions`: a shell's completion script.

use clap::Args;
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
    clap_complete::generate(args.shell, &mut super::command(), "rolegate", &mut script);
    match output::print(&String::from_utf8_lossy(&script)) {
        Ok(()) => Exit::Yes,
        Err(error) => {
            output::error(format!("standard output: {error}"));
            Exit::Unclear
        }
    }
}
