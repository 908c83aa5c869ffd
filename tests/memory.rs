//! 100,000 annotated ServiceAccounts cost at most 43 MB of resident memory, at the peak of the first list and of a later one
//! too, and next to no processor time while nothing changes.
//!
//! Three processes: the API server, the one that is measured, and the test itself. The first two are this same program,
//! told by an environment variable which part to play.

#![cfg(target_os = "linux")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rolegate::kubernetes::client;
use rolegate::kubernetes::list_watch::WatchTiming;
use rolegate::kubernetes::service_accounts::live::LiveServiceAccounts;
use rolegate::pod::identity::AnnotationRules;
use support::fake_api::FakeApi;

const ACCOUNTS: usize = 100_000;
const LIMIT_KB: usize = 43_000;
const IDLE: Duration = Duration::from_secs(4);

const PART: &str = "ROLEGATE_TEST_PART";
const ADDRESS: &str = "ROLEGATE_TEST_ADDRESS";

#[test]
fn a_hundred_thousand_service_accounts_cost_at_most_43_mb() {
    let mut api = Part::start("the_api_server", "");
    let address = api.hears("ADDRESS=");
    let mut measured = Part::start("the_measured_process", &address);

    let before: usize = measured.hears("BEFORE=").parse().unwrap();
    let first: usize = measured.hears("FIRST=").parse().unwrap();
    let idle: u64 = measured.hears("IDLE_MS=").parse().unwrap();
    api.say("compact");
    let again: usize = measured.hears("AGAIN=").parse().unwrap();
    println!("before {before} kB, peak of the first list {first} kB, of the second {again} kB, {idle} ms in {IDLE:?}");
    assert!(first <= LIMIT_KB, "{first} kB at the peak of the first list");
    assert!(again <= LIMIT_KB, "{again} kB at the peak of the second list");
    // A hundredth of one processor.
    assert!(
        u128::from(idle) <= IDLE.as_millis() / 100,
        "{idle} ms of processor time in {IDLE:?}"
    );
}

#[test]
fn the_api_server() {
    if !Part::is("the_api_server") {
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let api = FakeApi::start().await;
        for number in 0..ACCOUNTS {
            let (namespace, name) = (
                format!("team-{:04}-jobs", number / 50),
                format!("batch-worker-{number:06}"),
            );
            let role = format!(
                "arn:aws:iam::111122223333:role/workloads/team-{:04}-worker-{number:06}",
                number / 50
            );
            api.put_account(&namespace, &name, &[("eks.amazonaws.com/role-arn", &role)]);
        }
        println!("ADDRESS={}", api.address);
        let api = Arc::new(api);
        tokio::task::spawn_blocking(move || {
            for line in std::io::stdin().lines() {
                match line.unwrap().as_str() {
                    "compact" => {
                        api.compact();
                        api.put_account("team-new", "listed-anew", &[]);
                    }
                    other => panic!("{other}"),
                }
            }
        })
        .await
        .unwrap();
    });
}

#[test]
fn the_measured_process() {
    if !Part::is("the_measured_process") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        println!("BEFORE={}", peak_kb());
        let config = kube::Config::new(format!("http://{}", std::env::var(ADDRESS).unwrap()).parse().unwrap());
        let rules = AnnotationRules {
            prefix: "eks.amazonaws.com/".to_owned(),
            compose: None,
        };
        let client = client(&config).unwrap();
        let accounts = LiveServiceAccounts::start(client, Arc::new(rules), WatchTiming::default());
        accounts.synced().await;
        assert_eq!(accounts.counts().with_role, ACCOUNTS);
        println!("FIRST={}", peak_kb());

        let before = processor_ms();
        tokio::time::sleep(IDLE).await;
        println!("IDLE_MS={}", processor_ms() - before);

        while accounts.counts().without_role == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("AGAIN={}", peak_kb());
    });
}

/// A process that plays a part.
struct Part {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Part {
    fn start(name: &str, address: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(PART, name)
            .env(ADDRESS, address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, input, output }
    }

    fn is(name: &str) -> bool {
        std::env::var(PART).is_ok_and(|part| part == name)
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// What follows `key` on the first line that holds it: the test harness begins lines of its own.
    fn hears(&mut self, key: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.output.by_ref().read_line(&mut line).unwrap();
            assert!(read > 0, "the process ended before it said {key}");
            if let Some((_, value)) = line.trim_end().split_once(key) {
                return value.to_owned();
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The most memory that was ever resident, in kB.
fn peak_kb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Processor time used so far.
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10
}
