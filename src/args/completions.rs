//! The arguments of `rolegate completions`.

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use clap_complete::Shell;

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
Examples:
  rolegate completions bash > ~/.local/share/bash-completion/completions/rolegate
  rolegate completions zsh > ~/.zfunc/_rolegate
  rolegate completions fish > ~/.config/fish/completions/rolegate.fish

  For the kubectl plugin, in every shell that completes kubectl; the directory must be in PATH, and the script requires bash
    rolegate completions kubectl > ~/.local/bin/kubectl_complete-rolegate
    chmod +x ~/.local/bin/kubectl_complete-rolegate";

/// The arguments of `rolegate completions`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct CompletionsArgs {
    /// The shell, or kubectl for the plugin `kubectl rolegate`
    #[arg(value_name = "SHELL")]
    pub(crate) completer: Completer,
}

/// What runs a completion script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completer {
    /// A shell.
    Shell(Shell),
    /// kubectl, which runs `kubectl_complete-rolegate`.
    Kubectl,
}

impl ValueEnum for Completer {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Shell(Shell::Bash),
            Self::Shell(Shell::Elvish),
            Self::Shell(Shell::Fish),
            Self::Kubectl,
            Self::Shell(Shell::PowerShell),
            Self::Shell(Shell::Zsh),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Shell(shell) => shell.to_possible_value(),
            Self::Kubectl => Some(PossibleValue::new("kubectl")),
        }
    }
}
