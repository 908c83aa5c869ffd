//! `rolegate demo`: the standalone webhook on the shipped example, real reviews over TLS, and what a pod's author sees.

mod client;
mod example;
mod pod;
mod show;

use std::time::{Duration, Instant};

use clap::{Args, Parser as _};
use serde::Serialize;

use self::client::Client;
use self::example::{ISSUER, SCENARIOS, Scenario, Unpacked};
use self::pod::Added;
use super::output::{self, OutputArgs};
use super::serve::ServeArgs;
use super::{Exit, start};
use crate::server::tls::install_crypto_provider;

/// What `--help` says below the flags.
const AFTER_HELP: &str = "\
Nothing is needed and nothing is left behind: the example is part of the program, the webhook listens on free ports of
127.0.0.1, its certificate lives as long as the demo.

Exit codes:
  0  every pod was answered as the example means it
  1  one was not
  2  the demo could not run";

/// The flags of `rolegate demo`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub(crate) fn run(args: DemoArgs) -> Exit {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let report = runtime
        .map_err(|error| format!("no runtime: {error}"))
        .and_then(|runtime| runtime.block_on(play()));
    let report = match report {
        Ok(report) => report,
        Err(message) => {
            output::error(format!("the demo could not run: {message}"));
            return Exit::Unclear;
        }
    };
    if let Err(error) = output::report(args.output.output, &report, show::text) {
        output::error(format!("standard output: {error}"));
        return Exit::Unclear;
    }
    if report.pods.iter().all(PodReport::is_as_meant) {
        Exit::Yes
    } else {
        Exit::No
    }
}

/// What the demo saw.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Where reviews were posted.
    webhook: String,
    issuer: &'static str,
    pods: Vec<PodReport>,
}

/// What became of one pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodReport {
    namespace: &'static str,
    service_account: &'static str,
    role: Option<&'static str>,
    /// What the example shows with it.
    story: &'static str,
    allowed: bool,
    code: Option<u16>,
    /// Why it was refused.
    message: Option<String>,
    warnings: Vec<String>,
    /// What the patch added, for people.
    #[serde(skip)]
    added: Added,
    /// The patch itself.
    patch: serde_json::Value,
    /// From the request's first byte to the answer's last, milliseconds.
    milliseconds: f64,
    #[serde(skip)]
    scenario: &'static Scenario,
}

impl PodReport {
    fn is_as_meant(&self) -> bool {
        self.scenario
            .expected
            .holds(self.allowed, !self.added.is_empty(), self.warnings.len())
    }
}

/// Starts the webhook, posts a pod for each scenario, stops the webhook.
async fn play() -> Result<Report, String> {
    install_crypto_provider();
    let example = Unpacked::new().map_err(|error| format!("its files cannot be written: {error}"))?;
    let started = start::start(&serve_args(&example)?).await?;
    let (address, life) = (started.reviews, started.life.clone());
    let authority = started.ca.clone().ok_or("the webhook made no certificate")?;
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
    // Whatever became of the demo, the webhook's tasks end before the runtime does.
    let _ = tokio::time::timeout(Duration::from_secs(5), serving).await;
    report
}

/// As if they had been typed; variables of the environment that are meant for `serve` do not reach the demo.
fn serve_args(example: &Unpacked) -> Result<ServeArgs, String> {
    #[derive(clap::Parser)]
    struct Typed {
        #[command(flatten)]
        serve: ServeArgs,
    }
    let directory = example.directory().as_os_str();
    let typed = [
        "serve",
        "--issuer",
        ISSUER,
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--standalone",
    ];
    let typed = typed.iter().map(AsRef::as_ref).chain([directory]);
    Typed::try_parse_from(typed)
        .map(|typed| typed.serve)
        .map_err(|error| error.to_string())
}

async fn post(client: &mut Client, scenario: &'static Scenario) -> Result<PodReport, String> {
    let review = example::review(scenario)?;
    let began = Instant::now();
    let answer = client.post("/mutate/enforce?timeout=2s", &review).await?;
    let took = began.elapsed();
    let answer = pod::Answer::read(&answer)?;
    let added = Added::by(&answer.patch, &review)?;
    Ok(PodReport {
        namespace: scenario.namespace,
        service_account: scenario.service_account,
        role: scenario.role,
        story: scenario.story,
        allowed: answer.allowed,
        code: answer.code,
        message: answer.message,
        warnings: answer.warnings,
        added,
        patch: answer.patch,
        milliseconds: took.as_secs_f64() * 1000.0,
        scenario,
    })
}
