//! 100,000 annotated ServiceAccounts take at most 48 MB of resident memory, including the data to evaluate them after admission, even at
//! the peak of the first list and of a later one. While nothing changes, they take almost no CPU time: a scan of all of them every second
//! would be noticed.
//!
//! There are three processes: the API server, the one that is measured, and the test. The first two are ignored tests of this program,
//! which the test starts.

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
use rolegate::verdicts::{Accounts, IdentitySources};
use support::fake_api::FakeApi;

const ACCOUNTS: usize = 100_000;
const LIMIT_KB: usize = 48_000;
const IDLE: Duration = Duration::from_secs(4);

/// Set for the processes that the test starts.
const ADDRESS: &str = "ROLEGATE_TEST_ADDRESS";

#[test]
fn a_hundred_thousand_service_accounts_cost_at_most_48_mb() {
    let mut api = Process::start("api_server_process", "");
    let address = api.reported("ADDRESS=");
    let mut measured = Process::start("measured_process", &address);

    let before: usize = measured.reported("BEFORE=").parse().unwrap();
    let first: usize = measured.reported("FIRST=").parse().unwrap();
    let list: u64 = measured.reported("LIST_MS=").parse().unwrap();
    let idle: u64 = measured.reported("IDLE_MS=").parse().unwrap();
    api.send("compact");
    let again: usize = measured.reported("AGAIN=").parse().unwrap();
    println!(
        "before {before} kB, peak of the first list {first} kB, of the second {again} kB; {list} ms of processor time for the first \
         list, {idle} ms in {IDLE:?} after it"
    );
    assert!(first <= LIMIT_KB, "{first} kB at the peak of the first list");
    assert!(again <= LIMIT_KB, "{again} kB at the peak of the second list");
    // Compared with the list and not with a number of milliseconds, so that a slow or busy machine slows both.
    assert!(
        idle * 10 <= list,
        "{idle} ms of processor time in {IDLE:?}, {list} ms for the first list"
    );
}

#[test]
#[ignore = "a process that the test of this file starts"]
fn api_server_process() {
    std::env::var(ADDRESS).expect("started by the test of this file");
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
                        api.put_account("team-new", "listed-again", &[]);
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
#[ignore = "a process that the test of this file starts"]
fn measured_process() {
    let address = std::env::var(ADDRESS).expect("started by the test of this file");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        println!("BEFORE={}", peak_kb());
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let rules = AnnotationRules {
            prefix: "eks.amazonaws.com/".to_owned(),
            compose: None,
        };
        let client = client(&config).unwrap();
        let before = processor_ms();
        let judged = Accounts::new(IdentitySources::default());
        let accounts = LiveServiceAccounts::start_observed(client, Arc::new(rules), WatchTiming::default(), judged);
        accounts.synced().await;
        assert_eq!(accounts.counts().with_role, ACCOUNTS);
        println!("FIRST={}", peak_kb());
        println!("LIST_MS={}", processor_ms() - before);

        let before = processor_ms();
        tokio::time::sleep(IDLE).await;
        println!("IDLE_MS={}", processor_ms() - before);

        while accounts.counts().without_role == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("AGAIN={}", peak_kb());
    });
}

/// A process that the test starts.
struct Process {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(name: &str, address: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", name, "--nocapture", "--test-threads=1"])
            .env(ADDRESS, address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, input, output }
    }

    fn send(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The value after `key` in the first line with it: the test harness writes lines, too.
    fn reported(&mut self, key: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.output.by_ref().read_line(&mut line).unwrap();
            assert!(read > 0, "the process ended before it reported {key}");
            if let Some((_, value)) = line.trim_end().split_once(key) {
                return value.to_owned();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The peak of resident memory, in kB.
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
