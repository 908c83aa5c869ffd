//! Metrics for Prometheus, all with the prefix `rolegate_`, in base units. They count reviews, not pods: the API server
//! asks again after other webhooks, and on retries.
//!
//! What a review touches is made beforehand: counting one takes no lock and allocates nothing, except with
//! `--metrics-namespace`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::histogram::DurationHistogram;
use crate::decision::{Action, Mode};
use crate::roles::{ReadObserver, ReadResult};
use crate::trust::{Cause, Verdict};

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;

/// From what memory answers in to what no webhook may take.
static ADMISSION_BUCKETS: [u64; 17] = [
    50 * MICROSECOND,
    100 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2_500 * MICROSECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    25 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    250 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2_500 * MILLISECOND,
    5 * SECOND,
    10 * SECOND,
];

/// Around `--trust-ttl` (60 s) and `--trust-max-stale` (1 h).
static AGE_BUCKETS: [u64; 12] = [
    SECOND,
    5 * SECOND,
    15 * SECOND,
    30 * SECOND,
    60 * SECOND,
    90 * SECOND,
    120 * SECOND,
    300 * SECOND,
    600 * SECOND,
    1_200 * SECOND,
    1_800 * SECOND,
    3_600 * SECOND,
];

/// One read of a role: a file takes microseconds, AWS up to seconds.
static READ_BUCKETS: [u64; 13] = [
    100 * MICROSECOND,
    MILLISECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    25 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    250 * MILLISECOND,
    500 * MILLISECOND,
    700 * MILLISECOND,
    SECOND,
    2_500 * MILLISECOND,
    5 * SECOND,
];

/// Whether decisions are also counted by namespace (`--metrics-namespace`): one series a namespace and outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByNamespace {
    /// As by default.
    #[default]
    No,
    /// With the label `namespace`.
    Yes,
}

/// A review that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Review<'a> {
    /// What was done.
    pub action: Action,
    /// In which mode; none where no mode applies.
    pub mode: Option<Mode>,
    /// The verdict, when one was reached.
    pub verdict: Option<Verdict>,
    /// The cause, when there is one.
    pub cause: Option<Cause>,
    /// The pod's namespace; empty when it is not known.
    pub namespace: &'a str,
    /// From the request's head to its answer.
    pub elapsed: Duration,
    /// How old the policy was that decided.
    pub policy_age: Option<Duration>,
}

/// What came of telling the cluster of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventResult {
    /// An Event was created.
    Created,
    /// A series was updated.
    Updated,
    /// The API server did not take it, or did not answer.
    Failed,
    /// A refusal that no Event will tell of: too many came at once, or of too many ServiceAccounts.
    Dropped,
}

impl EventResult {
    const ALL: [Self; 4] = [Self::Created, Self::Updated, Self::Failed, Self::Dropped];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Counts Events by their result. Clones count together.
#[derive(Clone, Debug)]
pub struct EventCounters(Family<[(&'static str, &'static str); 1], Counter>);

impl EventCounters {
    fn new() -> Self {
        let counters = Self(Family::default());
        for result in EventResult::ALL {
            counters.count(result, 0);
        }
        counters
    }

    /// So many more.
    pub fn count(&self, result: EventResult, more: u64) {
        self.0.get_or_create(&[("result", result.as_str())]).inc_by(more);
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    reviews: Arc<Reviews>,
    by_namespace: Option<Family<NamespaceLabels, Counter>>,
    role_reads: Family<[(&'static str, &'static str); 2], Counter>,
    role_read_durations: Family<[(&'static str, &'static str); 1], Shared<13>, MakeReadHistogram>,
    audit_dropped: Counter,
    events: EventCounters,
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new(by_namespace: ByNamespace) -> Arc<Self> {
        let mut registry = Registry::with_prefix("rolegate");
        let reviews = Arc::new(Reviews::new());
        let by_namespace = (by_namespace == ByNamespace::Yes).then(decisions_by_namespace);
        registry.register_collector(Box::new(ReviewCollector {
            reviews: reviews.clone(),
            by_namespace: by_namespace.clone(),
        }));
        let role_reads = Family::default();
        registry.register("role_reads", "Reads of roles from their sources", role_reads.clone());
        let role_read_durations = Family::new_with_constructor(MakeReadHistogram);
        registry.register(
            "role_read_duration_seconds",
            "How long reads of roles took",
            role_read_durations.clone(),
        );
        let audit_dropped = Counter::default();
        registry.register(
            "audit_log_dropped",
            "Lines that the audit log lost",
            audit_dropped.clone(),
        );
        let events = EventCounters::new();
        registry.register(
            "events",
            "Events of refusals: requests by what came of them, and refusals that no Event tells of",
            events.0.clone(),
        );
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", version);
        let metrics = Self {
            registry: Mutex::new(registry),
            reviews,
            by_namespace,
            role_reads,
            role_read_durations,
            audit_dropped,
            events,
        };
        Arc::new(metrics)
    }

    /// Counts a review.
    pub fn review(&self, review: &Review<'_>) {
        self.reviews.observe(review);
        if let Some(family) = &self.by_namespace {
            family.get_or_create(&NamespaceLabels::of(review)).inc();
        }
    }

    /// Makes the series of a role source, at zero: what is absent cannot be alerted on.
    pub fn announce_source(&self, source: &'static str) {
        for result in ReadResult::ALL {
            drop(
                self.role_reads
                    .get_or_create(&[("source", source), ("result", result.as_str())]),
            );
        }
        drop(self.role_read_durations.get_or_create(&[("source", source)]));
    }

    /// Adds the counter of what could not be read again while serving, read at each scrape: each thing that is re-read with
    /// its count.
    pub fn reload_failures(&self, read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static) {
        self.registry().register_collector(Box::new(Scraped {
            name: "reload_failures",
            help: "Files and objects that could not be read again; their last good content serves on",
            label: Some("what"),
            read: Read::Counters(Box::new(read)),
        }));
    }

    /// The counter of lines that the audit log lost.
    #[must_use]
    pub fn audit_dropped(&self) -> Counter {
        self.audit_dropped.clone()
    }

    /// The counters of Events.
    #[must_use]
    pub fn events(&self) -> EventCounters {
        self.events.clone()
    }

    /// Adds a gauge that is read at each scrape.
    pub fn gauge(&self, name: &'static str, help: &'static str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.registry().register_collector(Box::new(Scraped {
            name,
            help,
            label: None,
            read: Read::Gauges(Box::new(move || vec![("", read())])),
        }));
    }

    /// Adds a gauge with one label that is read at each scrape: pairs of the label's value and the number.
    pub fn gauges(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: impl Fn() -> Vec<(&'static str, f64)> + Send + Sync + 'static,
    ) {
        self.registry().register_collector(Box::new(Scraped {
            name,
            help,
            label: Some(label),
            read: Read::Gauges(Box::new(read)),
        }));
    }

    /// Everything, in the OpenMetrics text format ([`CONTENT_TYPE`]).
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut text, &self.registry());
        text
    }

    /// Held while metrics are added and while one scrape is written, never for a review.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadObserver for Metrics {
    fn role_read(&self, source: &'static str, result: ReadResult, elapsed: Duration) {
        self.role_reads
            .get_or_create(&[("source", source), ("result", result.as_str())])
            .inc();
        self.role_read_durations
            .get_or_create(&[("source", source)])
            .0
            .observe(elapsed);
    }
}

const ACTIONS: [Action; 6] = [
    Action::Inject,
    Action::None,
    Action::Deny,
    Action::Skipped,
    Action::PodIdentity,
    Action::Error,
];
const MODES: [Option<Mode>; 4] = [Some(Mode::Enforce), Some(Mode::Warn), Some(Mode::Audit), None];
const VERDICTS: [Option<Verdict>; 5] = [
    Some(Verdict::Trusted),
    Some(Verdict::Undecided),
    Some(Verdict::Unknown),
    Some(Verdict::NotTrusted),
    None,
];

/// Each combination of labels has its place, found by arithmetic.
#[derive(Debug)]
struct Reviews {
    decisions: Box<[AtomicU64]>,
    durations: Box<[DurationHistogram<17>]>,
    policy_age: DurationHistogram<12>,
}

impl Reviews {
    fn new() -> Self {
        let decisions = ACTIONS.len() * MODES.len() * VERDICTS.len() * (Cause::ALL.len() + 1);
        Self {
            decisions: (0..decisions).map(|_| AtomicU64::new(0)).collect(),
            durations: (0..ACTIONS.len() * MODES.len())
                .map(|_| DurationHistogram::new(&ADMISSION_BUCKETS))
                .collect(),
            policy_age: DurationHistogram::new(&AGE_BUCKETS),
        }
    }

    fn observe(&self, review: &Review<'_>) {
        let outcome = outcome_place(review.action, review.mode);
        if let Some(histogram) = self.durations.get(outcome) {
            histogram.observe(review.elapsed);
        }
        if let Some(counter) = self
            .decisions
            .get(decision_place(outcome, review.verdict, review.cause))
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(age) = review.policy_age {
            self.policy_age.observe(age);
        }
    }

    /// Every combination of labels with its count.
    fn decisions(&self) -> impl Iterator<Item = (Labels, u64)> {
        let causes = || Cause::ALL.into_iter().map(Some).chain([None]);
        let outcomes = ACTIONS
            .into_iter()
            .flat_map(|action| MODES.into_iter().map(move |mode| (action, mode)));
        outcomes.flat_map(move |(action, mode)| {
            VERDICTS.into_iter().flat_map(move |verdict| {
                causes().map(move |cause| {
                    let place = decision_place(outcome_place(action, mode), verdict, cause);
                    let count = self
                        .decisions
                        .get(place)
                        .map_or(0, |count| count.load(Ordering::Relaxed));
                    (
                        Labels {
                            action,
                            verdict,
                            cause,
                            mode,
                        },
                        count,
                    )
                })
            })
        })
    }
}

fn outcome_place(action: Action, mode: Option<Mode>) -> usize {
    let action = match action {
        Action::Inject => 0,
        Action::None => 1,
        Action::Deny => 2,
        Action::Skipped => 3,
        Action::PodIdentity => 4,
        Action::Error => 5,
    };
    let mode = match mode {
        Some(Mode::Enforce) => 0,
        Some(Mode::Warn) => 1,
        Some(Mode::Audit) => 2,
        None => 3,
    };
    action * MODES.len() + mode
}

fn decision_place(outcome: usize, verdict: Option<Verdict>, cause: Option<Cause>) -> usize {
    let verdict = match verdict {
        Some(Verdict::Trusted) => 0,
        Some(Verdict::Undecided) => 1,
        Some(Verdict::Unknown) => 2,
        Some(Verdict::NotTrusted) => 3,
        None => 4,
    };
    // `Cause` numbers its variants in the order of `ALL`; a test holds it to that.
    let cause = cause.map_or(Cause::ALL.len(), |cause| cause as usize);
    (outcome * VERDICTS.len() + verdict) * (Cause::ALL.len() + 1) + cause
}

/// The labels of a decision. What does not apply is the empty string, which to Prometheus is a label that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Labels {
    action: Action,
    verdict: Option<Verdict>,
    cause: Option<Cause>,
    mode: Option<Mode>,
}

impl Labels {
    /// Present from the start, so that a rate over it is never without data.
    const ALWAYS: Self = Self {
        action: Action::Inject,
        verdict: Some(Verdict::Trusted),
        cause: None,
        mode: Some(Mode::Enforce),
    };

    fn words(self) -> [(&'static str, &'static str); 4] {
        [
            ("action", self.action.as_str()),
            ("verdict", self.verdict.map_or("", Verdict::as_str)),
            ("cause", self.cause.map_or("", Cause::as_str)),
            ("mode", self.mode.map_or("", Mode::as_str)),
        ]
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabels {
    action: &'static str,
    verdict: &'static str,
    cause: &'static str,
    mode: &'static str,
    namespace: String,
}

impl NamespaceLabels {
    fn of(review: &Review<'_>) -> Self {
        Self {
            action: review.action.as_str(),
            verdict: review.verdict.map_or("", Verdict::as_str),
            cause: review.cause.map_or("", Cause::as_str),
            mode: review.mode.map_or("", Mode::as_str),
            namespace: review.namespace.to_owned(),
        }
    }
}

/// With one series from the start, as without namespaces.
fn decisions_by_namespace() -> Family<NamespaceLabels, Counter> {
    let family = Family::default();
    let [action, verdict, cause, mode] = Labels::ALWAYS.words().map(|(_, word)| word);
    let namespace = String::new();
    drop(family.get_or_create(&NamespaceLabels {
        action,
        verdict,
        cause,
        mode,
        namespace,
    }));
    family
}

#[derive(Debug)]
struct ReviewCollector {
    reviews: Arc<Reviews>,
    by_namespace: Option<Family<NamespaceLabels, Counter>>,
}

impl Collector for ReviewCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let reviews = &self.reviews;
        let decisions =
            encoder.encode_descriptor("decisions", "Reviews by what was decided.", None, MetricType::Counter)?;
        match &self.by_namespace {
            Some(family) => family.encode(decisions)?,
            None => encode_decisions(reviews, decisions)?,
        }

        let help = "How long reviews took, from the request's head to its answer.";
        let mut durations =
            encoder.encode_descriptor("admission_duration_seconds", help, None, MetricType::Histogram)?;
        for action in ACTIONS {
            for mode in MODES {
                let always = action == Labels::ALWAYS.action && mode == Labels::ALWAYS.mode;
                let histogram = reviews.durations.get(outcome_place(action, mode));
                if let Some(histogram) = histogram.filter(|histogram| always || !histogram.is_empty()) {
                    let labels = [("action", action.as_str()), ("mode", mode.map_or("", Mode::as_str))];
                    histogram.encode(durations.encode_family(&labels)?)?;
                }
            }
        }

        let help = "The age of the trust policies that decided.";
        let age = encoder.encode_descriptor("policy_age_seconds", help, None, MetricType::Histogram)?;
        reviews.policy_age.encode(age)
    }
}

fn encode_decisions(reviews: &Reviews, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    for (labels, count) in reviews.decisions() {
        if count > 0 || labels == Labels::ALWAYS {
            encoder
                .encode_family(&labels.words())?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    Ok(())
}

/// What is read at each scrape rather than counted as it happens.
struct Scraped {
    name: &'static str,
    help: &'static str,
    label: Option<&'static str>,
    read: Read,
}

enum Read {
    Gauges(Box<dyn Fn() -> Vec<(&'static str, f64)> + Send + Sync>),
    Counters(Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>),
}

impl fmt::Debug for Scraped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scraped")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Sorted and without doubles: a series that stands twice makes Prometheus refuse the whole scrape.
        match &self.read {
            Read::Gauges(read) => {
                let values: BTreeMap<_, _> = read().into_iter().collect();
                let mut encoder = encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
                for (word, value) in values {
                    match self.label {
                        Some(label) => encoder.encode_family(&[(label, word)])?.encode_gauge(&value)?,
                        None => encoder.encode_gauge(&value)?,
                    }
                }
            }
            Read::Counters(read) => {
                let values: BTreeMap<_, _> = read().into_iter().collect();
                let mut encoder = encoder.encode_descriptor(self.name, self.help, None, MetricType::Counter)?;
                for (word, value) in values {
                    let labels: Vec<_> = self.label.map(|label| (label, word)).into_iter().collect();
                    encoder
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
                }
            }
        }
        Ok(())
    }
}

/// A histogram that a family can hand out.
#[derive(Clone, Debug)]
struct Shared<const N: usize>(Arc<DurationHistogram<N>>);

impl<const N: usize> EncodeMetric for Shared<N> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl<const N: usize> TypedMetric for Shared<N> {
    const TYPE: MetricType = MetricType::Histogram;
}

#[derive(Clone, Debug)]
struct MakeReadHistogram;

impl MetricConstructor<Shared<13>> for MakeReadHistogram {
    fn new_metric(&self) -> Shared<13> {
        Shared(Arc::new(DurationHistogram::new(&READ_BUCKETS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review() -> Review<'static> {
        Review {
            action: Action::Deny,
            mode: Some(Mode::Warn),
            verdict: Some(Verdict::NotTrusted),
            cause: Some(Cause::WrongSubject),
            namespace: "jobs",
            elapsed: Duration::from_micros(60),
            policy_age: Some(Duration::from_secs(20)),
        }
    }

    #[test]
    fn every_combination_of_labels_has_a_place_of_its_own() {
        for (number, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, number, "{cause}");
        }
        let reviews = Reviews::new();
        for (number, counter) in reviews.decisions.iter().enumerate() {
            counter.store(number as u64 + 1, Ordering::Relaxed);
        }
        let mut seen: Vec<u64> = reviews.decisions().map(|(_, count)| count).collect();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(1..=reviews.decisions.len() as u64));
    }

    #[test]
    fn a_review_is_counted_by_what_was_decided() {
        let metrics = Metrics::new(ByNamespace::No);
        metrics.review(&review());
        metrics.review(&review());
        let text = metrics.text();
        for line in [
            r#"rolegate_decisions_total{action="deny",verdict="not-trusted",cause="wrong-subject",mode="warn"} 2"#,
            r#"rolegate_decisions_total{action="inject",verdict="trusted",cause="",mode="enforce"} 0"#,
            r#"rolegate_admission_duration_seconds_bucket{le="0.00005",action="deny",mode="warn"} 0"#,
            r#"rolegate_admission_duration_seconds_bucket{le="0.0001",action="deny",mode="warn"} 2"#,
            r#"rolegate_admission_duration_seconds_bucket{le="+Inf",action="deny",mode="warn"} 2"#,
            r#"rolegate_admission_duration_seconds_count{action="deny",mode="warn"} 2"#,
            r#"rolegate_admission_duration_seconds_sum{action="deny",mode="warn"} 0.00012"#,
            r#"rolegate_policy_age_seconds_bucket{le="15.0"} 0"#,
            r#"rolegate_policy_age_seconds_bucket{le="30.0"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
        }
        assert!(!text.contains("namespace="), "{text}");
    }

    #[test]
    fn namespaces_are_counted_only_on_request() {
        let metrics = Metrics::new(ByNamespace::Yes);
        metrics.review(&review());
        let line = r#"rolegate_decisions_total{action="deny",verdict="not-trusted",cause="wrong-subject",mode="warn",namespace="jobs"} 1"#;
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }

    #[test]
    fn gauges_are_read_at_the_scrape() {
        let metrics = Metrics::new(ByNamespace::No);
        let count = Arc::new(AtomicU64::new(1));
        let read = count.clone();
        metrics.gauge("connections", "Open connections.", move || {
            read.load(Ordering::Relaxed) as f64
        });
        metrics.gauges("service_accounts", "Known ServiceAccounts.", "state", || {
            vec![("with-role", 3.0), ("malformed", 0.0)]
        });
        count.store(7, Ordering::Relaxed);
        let text = metrics.text();
        for line in [
            "rolegate_connections 7.0",
            r#"rolegate_service_accounts{state="malformed"} 0.0"#,
            r#"rolegate_service_accounts{state="with-role"} 3.0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
        }
    }
}
