//! `rolegate demo`: starts the standalone webhook on the bundled example, sends it real reviews over TLS, and shows what a pod's author
//! sees.

mod client;
mod example;
mod pod;
mod report;
mod show;

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use prometheus_client::metrics::counter::Counter;

use self::client::Client;
use self::example::{ISSUER, SCENARIOS, Scenario, Unpacked};
use self::pod::{Added, Answer};
use self::report::{PodReport, Report};
use super::exit::Exit;
use super::serve::start;
use super::{output, runtime};
use crate::args::demo::DemoArgs;
use crate::args::output::OutputArgs;
use crate::args::serve::ServeArgs;
use crate::server::tls::install_crypto_provider;

/// Two threads: one for the API server's part, one for the webhook's.
const THREADS: usize = 2;

/// Runs the command.
pub(super) fn run(args: DemoArgs) -> Result<Exit> {
    let DemoArgs {
        output: OutputArgs { output: format },
    } = args;
    let report = runtime::with_threads(THREADS).and_then(|runtime| runtime.block_on(play()));
    let report = report.context("the demo could not run")?;
    output::report(format, &report, |report| show::text(report, output::width()))?;
    if report.pods.iter().all(PodReport::is_as_expected) {
        Ok(Exit::Yes)
    } else {
        Ok(Exit::No)
    }
}

/// Starts the webhook, posts a pod for each scenario, stops the webhook.
async fn play() -> Result<Report> {
    install_crypto_provider();
    let example = Unpacked::new().context("its files cannot be written")?;
    let started = start::start(serve_args(&example)?, Counter::default()).await?;
    let (address, life) = (started.reviews, started.life.clone());
    let authority = started.ca.clone().context("the webhook issued no certificate")?;
    let serving = tokio::spawn(started.serve());
    let report = async {
        let mut client = Client::connect(address, &authority).await?;
        let mut pods = Vec::with_capacity(SCENARIOS.len());
        for scenario in &SCENARIOS {
            pods.push(post(&mut client, scenario).await?);
        }
        Ok(Report {
            webhook: format!("https://{address}"),
            issuer: ISSUER,
            pods,
        })
    }
    .await;
    life.stop();
    // The webhook's tasks end before the runtime does, also after an error.
    let _ = tokio::time::timeout(Duration::from_secs(5), serving).await;
    report
}

/// As if they had been typed: variables of the environment that are meant for `serve` do not reach the demo.
fn serve_args(example: &Unpacked) -> Result<ServeArgs> {
    let flags = [
        "--issuer",
        ISSUER,
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--standalone",
    ];
    let flags = flags.iter().map(OsStr::new).chain([example.directory().as_os_str()]);
    Ok(ServeArgs::from_flags(flags)?)
}

async fn post(client: &mut Client, scenario: &'static Scenario) -> Result<PodReport> {
    let review = example::review(scenario)?;
    let start = Instant::now();
    let answer = client.post("/mutate/enforce?timeout=2s", &review).await?;
    let elapsed = start.elapsed();
    let answer = Answer::read(&answer)?;
    let added = Added::by(&answer.patch, &review)?;
    Ok(PodReport {
        namespace: scenario.namespace,
        service_account: scenario.service_account,
        role: scenario.role,
        description: scenario.description,
        allowed: answer.allowed,
        code: answer.code,
        message: answer.message,
        warnings: answer.warnings,
        added,
        patch: answer.patch,
        milliseconds: elapsed.as_secs_f64() * 1000.0,
        scenario,
    })
}
