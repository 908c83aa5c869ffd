//! `rolegate serve`: the webhook, until a signal stops it.

mod certificates;
mod observe;
pub(super) mod start;
mod state;

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use tracing::error;

use super::exit::Exit;
use super::runtime;
use crate::args::serve::ServeArgs;
use crate::server::shutdown::{Ending, Signals, run_until_signalled};
use crate::server::tls::install_crypto_provider;
use crate::telemetry::log::{self, Color};

/// What a shell reports for a process that SIGTERM ended.
const ENDED_BY_SIGNAL: i32 = 143;

/// Runs the webhook. What fails is logged, not printed: the log has a format that is collected.
pub(super) fn run(args: ServeArgs) -> Exit {
    let (format, level) = args.log.clone().settings();
    log::init(level, format, color());
    install_crypto_provider();
    let ended = runtime::with_thread_per_core().and_then(|runtime| runtime.block_on(serve(args)));
    ended.unwrap_or_else(|error| {
        error!("cannot start: {error:#}");
        Exit::Unclear
    })
}

async fn serve(args: ServeArgs) -> Result<Exit> {
    let mut signals = Signals::new().context("cannot handle signals")?;
    // In a task of its own: what it reads can block, and a start can always be ended.
    let start = tokio::spawn(start::start(args));
    let started = tokio::select! {
        started = start => started.context("the start was interrupted")??,
        // Not a return, which would wait for what blocks.
        () = signals.next() => std::process::exit(0),
    };
    let (life, drain) = (started.life.clone(), started.drain);
    match run_until_signalled(&life, drain, async || signals.next().await, started.serve()).await {
        Ending::Graceful => Ok(Exit::Yes),
        Ending::Immediate => std::process::exit(ENDED_BY_SIGNAL),
    }
}

fn color() -> Color {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stderr().is_terminal() && !no_color {
        Color::Always
    } else {
        Color::Never
    }
}
