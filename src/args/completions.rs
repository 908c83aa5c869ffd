//! The arguments of `rolegate completions`.

use clap::Args;
use clap_complete::Shell;

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
Examples:
  rolegate completions bash > ~/.local/share/bash-completion/completions/rolegate
  rolegate completions zsh > ~/.zfunc/_rolegate
  rolegate completions fish > ~/.config/fish/completions/rolegate.fish";

/// The arguments of `rolegate completions`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}
