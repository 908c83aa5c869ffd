//! How scenarios are registered, run and reported.

use std::cell::{Cell, RefCell};
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::cluster::{Cluster, ExclusiveCluster};
use crate::kubectl::take_transcript;
use crate::support::tools::{self, Programs};

/// Lines of each log that a failure shows.
const SHOWN_LINES: usize = 60;

/// Commands that a failure shows.
const SHOWN_COMMANDS: usize = 12;

/// Scenarios at the same time: they wait for controllers more than they compute.
const AT_ONCE: usize = 4;

type Parallel = Box<dyn Fn(&Cluster) + Send>;
type Serial = Box<dyn Fn(&ExclusiveCluster<'_>) + Send>;

/// The scenarios of a run, in the order in which they run.
#[derive(Default)]
pub(crate) struct Scenarios {
    parallel: Vec<(String, Parallel)>,
    serial: Vec<(String, Serial)>,
    on_demand: Vec<(String, Serial)>,
}

impl Scenarios {
    /// A scenario that shares the cluster and its release with others at the same time, in a namespace of its own.
    pub(crate) fn parallel<S: Fn(&Cluster) + Send + 'static>(&mut self, scenario: S) {
        self.parallel.push((name_of::<S>(), Box::new(scenario)));
    }

    /// A scenario that restarts, kills or installs something: it has the cluster to itself.
    pub(crate) fn serial<S: Fn(&ExclusiveCluster<'_>) + Send + 'static>(&mut self, scenario: S) {
        self.serial.push((name_of::<S>(), Box::new(scenario)));
    }

    /// A serial scenario that takes long: it is listed as ignored, and runs only with `--ignored` or `--include-ignored`.
    pub(crate) fn on_demand<S: Fn(&ExclusiveCluster<'_>) + Send + 'static>(&mut self, scenario: S) {
        self.on_demand.push((name_of::<S>(), Box::new(scenario)));
    }

    /// Runs those that were asked for, and ends the process.
    pub(crate) fn run(self) -> ! {
        let mut args = Arguments::from_args();
        args.test_threads.get_or_insert(AT_ONCE);
        let ordinary = !args.ignored && self.names().any(|name| is_wanted(&args, name));
        let ignored =
            (args.ignored || args.include_ignored) && self.on_demand.iter().any(|(name, _)| is_wanted(&args, name));
        let wanted = !args.list && (ordinary || ignored);
        let programs = match wanted.then(tools::control_plane).transpose() {
            Ok(programs) => programs,
            // A scenario that was requested with this flag must not be skipped without an error.
            Err(missing) if ignored => panic!("{missing}"),
            Err(missing) => {
                missing.skip("the scenarios on a real control plane (tests/e2e)");
                std::process::exit(0);
            }
        };
        remember_panics();
        let stage = Arc::new(Stage {
            programs,
            cluster: Mutex::new(None),
            turn: RwLock::new(()),
        });
        let conclusion = libtest_mimic::run(&args, self.trials(&stage));
        stage.end();
        conclusion.exit()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let parallel = self.parallel.iter().map(|(name, _)| name.as_str());
        parallel.chain(self.serial.iter().map(|(name, _)| name.as_str()))
    }

    fn trials(self, stage: &Arc<Stage>) -> Vec<Trial> {
        let parallel = self.parallel.into_iter().map(|(name, scenario)| {
            let stage = Arc::clone(stage);
            Trial::test(name, move || {
                let _turn = stage.turn.read().unwrap_or_else(PoisonError::into_inner);
                stage.run(scenario)
            })
        });
        let serial = self.serial.into_iter().map(|scenario| (scenario, false));
        let on_demand = self.on_demand.into_iter().map(|scenario| (scenario, true));
        let serial = serial.chain(on_demand).map(|((name, scenario), is_ignored)| {
            let stage = Arc::clone(stage);
            Trial::test(name, move || {
                let _turn = stage.turn.write().unwrap_or_else(PoisonError::into_inner);
                stage.run(|cluster| scenario(&ExclusiveCluster(cluster)))
            })
            .with_ignored_flag(is_ignored)
        });
        parallel.chain(serial).collect()
    }
}

/// A function's file and name, as in other tests: `jobs::a_job_gets_its_role`.
fn name_of<S>() -> String {
    let path = std::any::type_name::<S>();
    path.split_once("::").map_or(path, |(_, within)| within).to_owned()
}

/// Whether the command line asks for this scenario.
fn is_wanted(args: &Arguments, name: &str) -> bool {
    let matches = |pattern: &str| {
        if args.exact {
            name == pattern
        } else {
            name.contains(pattern)
        }
    };
    args.filter.as_deref().is_none_or(matches) && !args.skip.iter().any(|skipped| matches(skipped))
}

struct Stage {
    programs: Option<Programs>,
    /// Started by the first scenario; what went wrong then is what the others fail with.
    cluster: Mutex<Option<Result<Arc<Cluster>, String>>>,
    /// Shared by parallel scenarios, exclusive for a serial one.
    turn: RwLock<()>,
}

impl Stage {
    fn run(&self, scenario: impl FnOnce(&Cluster)) -> Result<(), Failed> {
        let cluster = self.cluster()?;
        let begun = SystemTime::now();
        take_transcript();
        IN_SCENARIO.set(true);
        match panic::catch_unwind(AssertUnwindSafe(|| scenario(&cluster))) {
            Ok(()) => Ok(()),
            Err(_) => Err(report(&cluster, begun).into()),
        }
    }

    fn cluster(&self) -> Result<Arc<Cluster>, String> {
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        let started = cluster.get_or_insert_with(|| {
            IN_SCENARIO.set(true);
            let programs = self.programs.clone().ok_or("no programs")?;
            panic::catch_unwind(|| Arc::new(Cluster::start(programs)))
                .map_err(|_| format!("the control plane did not start: {}", last_panic()))
        });
        started.clone()
    }

    fn end(&self) {
        let cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(cluster)) = &*cluster {
            cluster.end();
        }
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    /// Whether this thread's panics are shown by a report.
    static IN_SCENARIO: Cell<bool> = const { Cell::new(false) };
}

/// A scenario's panic is shown in its report, with its place, not while others run.
fn remember_panics() {
    let shown = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("it panicked");
        LAST_PANIC.set(format!("{place}: {message}"));
        if !IN_SCENARIO.get() {
            shown(info);
        }
    }));
}

fn last_panic() -> String {
    LAST_PANIC.take()
}

/// What failed, what was typed and answered, and what the programs logged meanwhile.
fn report(cluster: &Cluster, begun: SystemTime) -> String {
    let mut report = last_panic();
    let transcript = take_transcript();
    report.push_str("\n\n---- what was typed last, and the answers\n");
    for output in transcript.iter().skip(transcript.len().saturating_sub(SHOWN_COMMANDS)) {
        report.push_str(&format!("{output}\n"));
    }
    for (name, log) in logs_since(&cluster.folder().join("logs"), begun) {
        report.push_str(&format!("\n---- {name}\n{log}\n"));
    }
    report
}

/// The ends of logs that were written to since then.
fn logs_since(folder: &Path, begun: SystemTime) -> Vec<(String, String)> {
    let mut logs: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok()?;
            let recent = metadata.modified().ok()? >= begun;
            let name = entry.file_name().into_string().ok()?;
            // etcd has nothing to say of webhooks, and the audit logs say too much.
            let is_useful = !name.starts_with("etcd") && !name.ends_with(".out");
            (recent && metadata.len() > 0 && is_useful).then(|| {
                let text = fs::read(entry.path()).unwrap_or_default();
                (name, last_lines(&String::from_utf8_lossy(&text)))
            })
        })
        .collect();
    logs.sort();
    logs
}

/// The last lines, without the news of Kubernetes' own parts (`I1122 16:16:49.187784 …`).
fn last_lines(text: &str) -> String {
    let is_news = |line: &&str| line.starts_with("I1") || line.starts_with("I0");
    let lines: Vec<_> = text.lines().filter(|line| !is_news(line)).collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines[from..].join("\n")
}
