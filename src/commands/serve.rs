//! `rolegate serve`: the webhook, until a signal stops it.

mod certificates;
mod observe;
pub(super) mod start;
mod state;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use prometheus_client::metrics::counter::Counter;
use tracing::error;

use super::exit::Exit;
use super::{output, runtime};
use crate::args::serve::ServeArgs;
use crate::server::shutdown::{Ending, Signals, run_until_signalled};
use crate::server::tls::install_crypto_provider;
use crate::telemetry::log::{Color, Log};

/// What a shell reports for a process that SIGTERM ended.
const ENDED_BY_SIGNAL: i32 = 143;

/// How long the last lines of the log are written, if standard error is not read.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs the webhook. What fails is logged, not printed: the log has a format that is collected.
pub(super) fn run(args: ServeArgs) -> Exit {
    let (format, level) = args.log.clone().settings();
    let log = match Log::start(level, format, color()) {
        Ok(log) => log,
        Err(error) => {
            output::error(format_args!("cannot start the log: {error}"));
            return Exit::Unclear;
        }
    };
    install_crypto_provider();
    let ended = runtime::with_thread_per_core().and_then(|runtime| runtime.block_on(serve(args, log.dropped())));
    let exit = ended.unwrap_or_else(|error| {
        error!("cannot start: {error:#}");
        Exit::Unclear
    });
    log.finish(LAST_LINES);
    exit
}

async fn serve(args: ServeArgs, log_dropped: Counter) -> Result<Exit> {
    let mut signals = Signals::new().context("cannot handle signals")?;
    let started = tokio::select! {
        started = start::start(args, log_dropped) => started?,
        () = signals.next() => return Ok(Exit::Yes),
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
