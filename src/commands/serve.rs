//! `rolegate serve`: the webhook, until a signal stops it.

mod certificates;
mod observe;
pub(super) mod start;
pub(super) mod state;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use prometheus_client::metrics::counter::Counter;
use tracing::{error, info};

use super::exit::Exit;
use super::{output, runtime};
use crate::args::serve::ServeArgs;
use crate::server::limits::Limits;
use crate::server::shutdown::{Forced, Signals, run_until_signalled};
use crate::server::tls::install_crypto_provider;
use crate::telemetry::log::{Color, Log};

/// What a shell reports for a process that SIGTERM ended.
const ENDED_BY_SIGNAL: i32 = 143;

/// How long the last lines of the log are written, if standard error is not read.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The same, if the process must exit immediately.
const LAST_LINES_OF_FORCED_EXIT: Duration = Duration::from_millis(100);

/// How long the shutdown takes at most after the drain and the answers in flight: a part that is blocked for longer, such as a read from
/// a hung file system, ends with the process. The chart's `terminationGracePeriodSeconds` is longer.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(5);

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
    let exit = serve(args, &log).unwrap_or_else(|error| {
        error!("cannot start: {error:#}");
        Exit::Unclear
    });
    log.finish(LAST_LINES);
    exit
}

fn serve(args: ServeArgs, log: &Log) -> Result<Exit> {
    let limit = args.serving.drain + Limits::default().stop + SHUTDOWN_MARGIN;
    let exit = {
        let log = log.clone();
        move |why| {
            match why {
                Forced::SecondSignal => info!("second signal received: exiting immediately"),
                Forced::TimedOut => error!("the shutdown did not end in time: exiting; a read or a write is blocked"),
            }
            log.finish(LAST_LINES_OF_FORCED_EXIT);
            std::process::exit(ENDED_BY_SIGNAL)
        }
    };
    let signals = Signals::listen(limit, exit).context("cannot handle signals")?;
    let runtime = runtime::with_thread_per_core()?;
    let ended = runtime.block_on(serve_until(signals, args, log.dropped()));
    // What is still blocked ends with the process.
    runtime.shutdown_background();
    ended
}

async fn serve_until(signals: Signals, args: ServeArgs, log_dropped: Counter) -> Result<Exit> {
    // In a task of its own: a start that blocks its thread does not block this one.
    let starting = tokio::spawn(start::start(args, log_dropped));
    let started = tokio::select! {
        started = starting => started??,
        () = signals.shutdown() => return Ok(Exit::Yes),
    };
    let (life, drain) = (started.life.clone(), started.drain);
    run_until_signalled(&life, drain, signals.shutdown(), started.serve()).await;
    Ok(Exit::Yes)
}

fn color() -> Color {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stderr().is_terminal() && !no_color {
        Color::Always
    } else {
        Color::Never
    }
}
