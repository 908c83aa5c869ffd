//! What is measured, and the table of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Phase;
use crate::release::Release;
use crate::replica::Replica;

/// Between two samples of a replica.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(3);

/// How much more memory the last quiet phase may take than the one after the first round: a factor, and MiB in addition. The first round
/// is the measure and not the quiet before it, because the allocator keeps what the most connections took.
const MEMORY_FACTOR: f64 = 1.25;
const MEMORY_MARGIN: f64 = 16.0;

/// The chart's limit, MiB: never more than this, whatever the phase.
const MEMORY_LIMIT: f64 = 512.0;

/// How many more descriptors the last quiet phase may have open than the first.
const DESCRIPTOR_MARGIN: u64 = 32;

/// Why a connection is closed, as `rolegate_connections_closed_total` counts it.
const REASONS: [&str; 3] = ["unused", "idle", "refused"];

/// Of each kind of mistake, so many are shown.
const SHOWN: usize = 5;

/// The outcome of a legitimate review or of a pod.
pub(crate) enum Outcome {
    Right,
    /// Not answered, or not as expected, while the API server that this requires was away.
    Excused,
    Failed(String),
    Wrong(String),
}

#[derive(Default)]
pub(crate) struct Figures {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    phase: Option<Phase>,
    phases: BTreeMap<Phase, PhaseFigures>,
    /// The latest values of counters, by replica.
    counters: BTreeMap<String, Counters>,
    failed: Vec<String>,
    wrong: Vec<String>,
    pods_failed: Vec<String>,
}

#[derive(Default)]
struct PhaseFigures {
    latencies: Vec<Duration>,
    failed: usize,
    wrong: usize,
    excused: usize,
    pods: usize,
    pods_failed: usize,
    pods_excused: usize,
    samples: Vec<Sample>,
    /// By reason.
    closed: [f64; 3],
    dropped: f64,
    probes_failed: usize,
}

/// One look at one replica.
#[derive(Clone)]
struct Sample {
    replica: String,
    /// MiB.
    memory: f64,
    descriptors: u64,
    threads: u64,
    connections: Option<f64>,
}

#[derive(Clone, Copy, Default)]
struct Counters {
    closed: [f64; 3],
    dropped: f64,
}

impl Figures {
    pub(crate) fn begin(&self, phase: Phase) {
        let mut inner = self.lock();
        inner.phase = Some(phase);
        inner.phases.entry(phase).or_default();
    }

    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase.unwrap_or(Phase::FirstQuiet)
    }

    pub(crate) fn reviewed(&self, phase: Phase, took: Duration, outcome: Outcome) {
        let mut inner = self.lock();
        let of_phase = inner.phases.entry(phase).or_default();
        match outcome {
            Outcome::Right => of_phase.latencies.push(took),
            Outcome::Excused => of_phase.excused += 1,
            Outcome::Failed(why) => {
                of_phase.failed += 1;
                note(&mut inner.failed, phase, why);
            }
            Outcome::Wrong(why) => {
                of_phase.wrong += 1;
                note(&mut inner.wrong, phase, why);
            }
        }
    }

    pub(crate) fn created(&self, phase: Phase, outcome: Outcome) {
        let mut inner = self.lock();
        let of_phase = inner.phases.entry(phase).or_default();
        match outcome {
            Outcome::Right => of_phase.pods += 1,
            Outcome::Excused => of_phase.pods_excused += 1,
            Outcome::Failed(why) => {
                of_phase.pods_failed += 1;
                note(&mut inner.pods_failed, phase, why);
            }
            Outcome::Wrong(why) => {
                of_phase.wrong += 1;
                note(&mut inner.wrong, phase, why);
            }
        }
    }

    fn sampled(&self, sample: Sample, counters: Option<Counters>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(phase) = inner.phase else { return };
        let of_phase = inner.phases.entry(phase).or_default();
        match counters {
            Some(now) => {
                let before = inner.counters.insert(sample.replica.clone(), now).unwrap_or_default();
                for (reason, closed) in of_phase.closed.iter_mut().enumerate() {
                    *closed += now.closed[reason] - before.closed[reason];
                }
                of_phase.dropped += now.dropped - before.dropped;
            }
            None => of_phase.probes_failed += 1,
        }
        of_phase.samples.push(sample);
    }

    /// The row of a phase.
    pub(crate) fn line(&self, phase: Phase) -> String {
        self.lock()
            .phases
            .get(&phase)
            .map(|figures| figures.row(phase))
            .unwrap_or_default()
    }

    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| phase | reviews | failed | p50 | p99 | max | pods | not created | memory | descriptors | threads | connections | closed: unused, idle, refused | lines dropped |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for (phase, figures) in &self.lock().phases {
            let _ = writeln!(table, "{}", figures.row(*phase));
        }
        table
    }

    /// Memory after the first round and at the end, and descriptors before the first round and at the end.
    pub(crate) fn comparison(&self) -> String {
        let mut text = String::new();
        for Compared { replica, first, last } in self.compared() {
            let _ = writeln!(
                text,
                "{replica}: memory {:.1} MiB, then {:.1} MiB (at most {MEMORY_FACTOR} times and {MEMORY_MARGIN} MiB: {}); \
                 descriptors {}, then {} (at most {DESCRIPTOR_MARGIN} more: {})",
                first.memory,
                last.memory,
                yes_or_no(memory_is_back(&first, &last)),
                first.descriptors,
                last.descriptors,
                yes_or_no(descriptors_are_back(&first, &last)),
            );
        }
        let inner = self.lock();
        for (what, list) in [
            ("wrong answers", &inner.wrong),
            ("reviews that failed", &inner.failed),
            ("pods that were not created", &inner.pods_failed),
        ] {
            let _ = writeln!(text, "{what}: {}", list.len());
            for line in list.iter().take(SHOWN) {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }

    #[track_caller]
    pub(crate) fn assert_all_well(&self) {
        let compared = self.compared();
        assert!(!compared.is_empty(), "no replica was measured in both quiet phases");
        for Compared { replica, first, last } in compared {
            assert!(
                memory_is_back(&first, &last),
                "{replica}: {:.1} MiB after the first round, {:.1} MiB at the end",
                first.memory,
                last.memory
            );
            assert!(
                last.memory < MEMORY_LIMIT,
                "{replica}: {:.1} MiB, more than the limit of the chart",
                last.memory
            );
            assert!(
                descriptors_are_back(&first, &last),
                "{replica}: {} descriptors in the first quiet phase, {} in the last",
                first.descriptors,
                last.descriptors
            );
        }
        let inner = self.lock();
        assert!(
            inner.pods_failed.is_empty(),
            "{} pods were not created: {:?}",
            inner.pods_failed.len(),
            inner.pods_failed.first()
        );
        assert!(
            inner.wrong.is_empty(),
            "{} wrong answers: {:?}",
            inner.wrong.len(),
            inner.wrong.first()
        );
        assert!(
            inner.failed.is_empty(),
            "{} reviews failed: {:?}",
            inner.failed.len(),
            inner.failed.first()
        );
        for (phase, figures) in &inner.phases {
            assert!(
                !figures.latencies.is_empty(),
                "no review was answered in the phase {:?}",
                phase.name()
            );
            assert_eq!(figures.probes_failed, 0, "scrapes in the phase {:?}", phase.name());
        }
        assert!(
            inner.phases.values().any(|figures| figures.pods > 0),
            "no pod was created"
        );
    }

    /// The attacks took effect: what they take was taken.
    #[track_caller]
    pub(crate) fn assert_attacked(&self) {
        let inner = self.lock();
        let of = |phase: Phase| &inner.phases[&phase];
        for phase in [Phase::IdleConnections, Phase::AdminConnections] {
            let closed = of(phase).closed;
            assert!(
                closed.iter().sum::<f64>() > 0.0,
                "no connection gave way: {:?}",
                phase.name()
            );
        }
        for (phase, expected) in [(Phase::IdleConnections, 4_000.0), (Phase::OneByteBodies, 900.0)] {
            let connections = of(phase).samples.iter().filter_map(|sample| sample.connections);
            let most = connections.fold(0.0, f64::max);
            assert!(most >= expected, "{most} connections at most: {:?}", phase.name());
        }
        assert!(of(Phase::UnreadLog).dropped > 0.0, "the log was read");
    }

    fn compared(&self) -> Vec<Compared> {
        let inner = self.lock();
        let last_of = |phase: Phase| -> BTreeMap<String, Sample> {
            let samples = inner
                .phases
                .get(&phase)
                .into_iter()
                .flat_map(|figures| &figures.samples);
            samples.map(|sample| (sample.replica.clone(), sample.clone())).collect()
        };
        let (between, mut last) = (last_of(Phase::Quiet), last_of(Phase::LastQuiet));
        last_of(Phase::FirstQuiet)
            .into_iter()
            .filter_map(|(replica, first)| {
                let last = last.remove(&replica)?;
                let memory = between.get(&replica)?.memory;
                let first = Sample { memory, ..first };
                Some(Compared { replica, first, last })
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores a failure for the final report, and prints the first ones immediately.
fn note(list: &mut Vec<String>, phase: Phase, why: String) {
    let line = format!("{}: {why}", phase.name());
    if list.len() < SHOWN {
        eprintln!("soak: {line}");
    }
    list.push(line);
}

struct Compared {
    replica: String,
    first: Sample,
    last: Sample,
}

fn memory_is_back(first: &Sample, last: &Sample) -> bool {
    last.memory <= first.memory * MEMORY_FACTOR + MEMORY_MARGIN
}

fn descriptors_are_back(first: &Sample, last: &Sample) -> bool {
    last.descriptors <= first.descriptors + DESCRIPTOR_MARGIN
}

fn yes_or_no(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
}

impl PhaseFigures {
    fn row(&self, phase: Phase) -> String {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let percentile = |part: usize| {
            let last = latencies.len().saturating_sub(1);
            let found = latencies.get(last * part / 100).copied().unwrap_or_default();
            format!("{:.1} ms", found.as_secs_f64() * 1000.0)
        };
        let memory = self.samples.iter().map(|sample| sample.memory);
        let (low, high) = memory.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), memory| {
            (low.min(memory), high.max(memory))
        });
        let most = |of: fn(&Sample) -> u64| self.samples.iter().map(of).max().unwrap_or_default();
        let connections = self
            .samples
            .iter()
            .filter_map(|sample| sample.connections)
            .fold(0.0, f64::max);
        let excused = |count: usize| {
            if count > 0 {
                format!(" ({count} without the API server)")
            } else {
                String::new()
            }
        };
        let unanswered = if self.probes_failed > 0 {
            format!(", {} scrapes failed", self.probes_failed)
        } else {
            String::new()
        };
        format!(
            "| {} | {} | {}{} | {} | {} | {} | {} | {}{} | {low:.0} to {high:.0} MiB | {} | {} | {connections}{unanswered} | {} | {} |",
            phase.name(),
            self.latencies.len() + self.failed + self.wrong + self.excused,
            self.failed + self.wrong,
            excused(self.excused),
            percentile(50),
            percentile(99),
            percentile(100),
            self.pods,
            self.pods_failed,
            excused(self.pods_excused),
            most(|sample| sample.descriptors),
            most(|sample| sample.threads),
            self.closed.map(|closed| closed.to_string()).join(", "),
            self.dropped,
        )
    }
}

/// Looks at each replica every few seconds.
pub(crate) struct Observer {
    replicas: Vec<Arc<Replica>>,
    figures: Arc<Figures>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    pub(crate) fn start(release: &Release, figures: &Arc<Figures>) -> Self {
        let (replicas, ended) = (release.replicas(), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (replicas, figures, ended) = (replicas.clone(), Arc::clone(figures), Arc::clone(&ended));
            move || {
                while !ended.load(Ordering::Relaxed) {
                    let next = Instant::now() + SAMPLE_INTERVAL;
                    look(&replicas, &figures);
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            }
        });
        Self {
            replicas,
            figures: Arc::clone(figures),
            ended,
            thread: Some(thread),
        }
    }

    pub(crate) fn sample(&self) {
        look(&self.replicas, &self.figures);
    }

    pub(crate) fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn look(replicas: &[Arc<Replica>], figures: &Figures) {
    for replica in replicas {
        let process = format!("/proc/{}", replica.pid());
        let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let number = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
        };
        // A replica that has ended has no memory; the soak fails at its end.
        let (Some(kib), Some(threads), Ok(descriptors)) = (
            number("VmRSS"),
            number("Threads"),
            fs::read_dir(format!("{process}/fd")),
        ) else {
            continue;
        };
        let metrics = replica.get("/metrics").ok().filter(|(status, _)| *status == 200);
        let connections = metrics
            .as_ref()
            .map(|(_, text)| Replica::sum(text, "rolegate_connections", &[]));
        let sample = Sample {
            replica: replica.name.clone(),
            memory: kib as f64 / 1024.0,
            descriptors: descriptors.count() as u64,
            threads,
            connections,
        };
        let counters = metrics.as_ref().map(|(_, text)| Counters {
            closed: REASONS.map(|reason| {
                let label = format!("reason=\"{reason}\"");
                Replica::sum(text, "rolegate_connections_closed_total", &[&label])
            }),
            dropped: Replica::sum(text, "rolegate_log_lines_dropped_total", &[]),
        });
        figures.sampled(sample, counters);
    }
}
