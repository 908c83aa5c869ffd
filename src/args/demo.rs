//! The flags of `rolegate demo`.

use clap::Args;

use super::output::OutputArgs;

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
The demo needs no preparation and leaves nothing behind: the example is part of the program, the webhook listens on free ports \
of 127.0.0.1, and its certificate exists only while the demo runs.

Exit codes:
  0  every pod received the response that the example expects
  1  a pod received a different response
  2  the demo could not run";

/// The flags of `rolegate demo`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
