//! Metrics for Prometheus, all with the prefix `rolegate_`, in base units. They count reviews, not pods: the API server calls a webhook
//! again after other webhooks have changed the pod, and on retries.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::decision::{Action, Mode};
use crate::trust::{Cause, Verdict};

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Buckets in seconds, from what memory answers in to what no webhook must take.
const ADMISSION_BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Buckets in seconds, around `--trust-ttl` (60 s) and `--trust-max-stale` (1 h).
const AGE_BUCKETS: [f64; 12] = [
    1.0, 5.0, 15.0, 30.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0,
];

/// Buckets in seconds for a read of a role: a file takes microseconds, AWS up to seconds.
const READ_BUCKETS: [f64; 13] = [
    0.000_1, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.7, 1.0, 2.5, 5.0,
];

/// Whether decisions are also counted by namespace (`--metrics-namespace`): one series per outcome and namespace that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByNamespace {
    /// The default.
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
    /// From the request headers to the response.
    pub elapsed: Duration,
    /// The age of the trust policy.
    pub policy_age: Option<Duration>,
    /// Whether a container does not, or might not, use its identity.
    pub identity_not_used: bool,
}

/// The result of reporting a refusal by an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventResult {
    /// An Event was created.
    Created,
    /// A series was updated.
    Updated,
    /// The API server rejected it, or did not answer.
    Failed,
    /// A refusal without an Event: too many occurred at once, or for too many ServiceAccounts.
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

/// How the trust of a role in a ServiceAccount changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrustChange {
    /// It no longer trusts it.
    Lost,
    /// It trusts it again.
    Restored,
}

impl TrustChange {
    /// Every change, for metrics that exist before they count.
    pub const ALL: [Self; 2] = [Self::Lost, Self::Restored];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Restored => "restored",
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

    /// Adds to the counter of a result.
    pub fn count(&self, result: EventResult, more: u64) {
        self.0.get_or_create(&[("result", result.as_str())]).inc_by(more);
    }
}

type HistogramFamily<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    decisions: Decisions,
    identity_not_used: Family<[(&'static str, &'static str); 1], Counter>,
    durations: HistogramFamily<OutcomeLabels>,
    policy_age: Histogram,
    role_reads: Family<[(&'static str, &'static str); 2], Counter>,
    role_read_durations: HistogramFamily<[(&'static str, &'static str); 1]>,
    /// Registered with the first association source.
    association_reads: Family<[(&'static str, &'static str); 3], Counter>,
    audit_dropped: Counter,
    events: EventCounters,
    trust_changes: Family<[(&'static str, &'static str); 1], Counter>,
    rejected_under_load: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new(by_namespace: ByNamespace) -> Arc<Self> {
        let mut registry = Registry::with_prefix("rolegate");
        let decisions = Decisions::new(by_namespace);
        let help = "Reviews by decision";
        match &decisions {
            Decisions::Total(family) => registry.register("decisions", help, family.clone()),
            Decisions::ByNamespace(counters) => registry.register("decisions", help, counters.family.clone()),
        }
        let identity_not_used = Family::default();
        registry.register(
            "identity_not_used",
            "Reviews of pods with a container that does not, or might not, use its identity, by mode",
            identity_not_used.clone(),
        );
        for mode in Mode::ALL {
            drop(identity_not_used.get_or_create(&[("mode", mode.as_str())]));
        }
        let durations = Family::new_with_constructor((|| Histogram::new(ADMISSION_BUCKETS)) as fn() -> Histogram);
        drop(durations.get_or_create(&DecisionLabels::ALWAYS.outcome));
        registry.register(
            "admission_duration_seconds",
            "Duration of reviews, from the request headers to the response",
            durations.clone(),
        );
        let policy_age = Histogram::new(AGE_BUCKETS);
        registry.register(
            "policy_age_seconds",
            "Age of the trust policies that decisions were based on",
            policy_age.clone(),
        );
        let role_reads = Family::default();
        registry.register(
            "role_reads",
            "Reads of roles from their sources, by result",
            role_reads.clone(),
        );
        let role_read_durations = Family::new_with_constructor((|| Histogram::new(READ_BUCKETS)) as fn() -> Histogram);
        registry.register(
            "role_read_duration_seconds",
            "Duration of reads of roles",
            role_read_durations.clone(),
        );
        let audit_dropped = Counter::default();
        registry.register(
            "audit_log_dropped",
            "Audit log lines that were dropped",
            audit_dropped.clone(),
        );
        let events = EventCounters::new();
        registry.register(
            "events",
            "Requests to create or update Events, by result, and refusals and changes of trust without an Event (dropped)",
            events.0.clone(),
        );
        let trust_changes = Family::default();
        registry.register(
            "trust_changes",
            "Changes between trusted and not trusted of ServiceAccounts of gated namespaces",
            trust_changes.clone(),
        );
        for change in TrustChange::ALL {
            drop(trust_changes.get_or_create(&[("change", change.as_str())]));
        }
        let rejected_under_load = Family::default();
        registry.register(
            "requests_rejected",
            "Requests that were rejected with 503 because of the load, by reason",
            rejected_under_load.clone(),
        );
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of rolegate", version);
        Arc::new(Self {
            registry: Mutex::new(registry),
            decisions,
            identity_not_used,
            durations,
            policy_age,
            role_reads,
            role_read_durations,
            association_reads: Family::default(),
            audit_dropped,
            events,
            trust_changes,
            rejected_under_load,
        })
    }

    /// Counts a review.
    pub fn review(&self, review: &Review<'_>) {
        let labels = DecisionLabels::of(review);
        self.decisions.count(labels, review.namespace);
        self.durations
            .get_or_create(&labels.outcome)
            .observe(review.elapsed.as_secs_f64());
        if let (true, Some(mode)) = (review.identity_not_used, review.mode) {
            self.identity_not_used.get_or_create(&[("mode", mode.as_str())]).inc();
        }
        if let Some(age) = review.policy_age {
            self.policy_age.observe(age.as_secs_f64());
        }
    }

    /// Creates the series of a role source at zero: alerts cannot use absent series.
    pub(crate) fn announce_source(&self, source: &'static str, results: impl IntoIterator<Item = &'static str>) {
        for result in results {
            drop(self.role_reads.get_or_create(&[("source", source), ("result", result)]));
        }
        drop(self.role_read_durations.get_or_create(&[("source", source)]));
    }

    /// Creates the series of requests that are rejected because of the load, at zero.
    pub(crate) fn announce_rejected_under_load(&self, reasons: impl IntoIterator<Item = &'static str>) {
        for reason in reasons {
            drop(self.rejected_under_load.get_or_create(&[("reason", reason)]));
        }
    }

    /// Counts a request that is rejected because of the load.
    pub(crate) fn count_rejected_under_load(&self, reason: &'static str) {
        self.rejected_under_load.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a read of a role.
    pub(crate) fn count_role_read(&self, source: &'static str, result: &'static str, elapsed: Duration) {
        self.role_reads
            .get_or_create(&[("source", source), ("result", result)])
            .inc();
        self.role_read_durations
            .get_or_create(&[("source", source)])
            .observe(elapsed.as_secs_f64());
    }

    /// Registers the reads of an association source over the network.
    pub(crate) fn announce_association_source(&self, source: &'static str) {
        self.registry.lock().register(
            "association_reads",
            "Calls to read EKS Pod Identity associations, by call and result",
            self.association_reads.clone(),
        );
        for call in ["list", "describe"] {
            for result in ["answered", "throttled", "failed", "timed-out"] {
                let labels = [("source", source), ("call", call), ("result", result)];
                drop(self.association_reads.get_or_create(&labels));
            }
        }
    }

    /// Counts a call to read associations.
    pub(crate) fn count_association_read(&self, source: &'static str, call: &'static str, result: &'static str) {
        let labels = [("source", source), ("call", call), ("result", result)];
        self.association_reads.get_or_create(&labels).inc();
    }

    /// Adds a counter with one label that is read at each scrape: pairs of the label's value and the count.
    pub fn counters(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static,
    ) {
        self.registry.lock().register_collector(Box::new(Scraped {
            name,
            help,
            label: Some(label),
            read: Read::Counters(Box::new(read)),
        }));
    }

    /// Adds the counter of lost lines of the log, which begins before the metrics.
    pub(crate) fn log_dropped(&self, dropped: Counter) {
        let help = "Log lines that were dropped";
        self.registry.lock().register("log_lines_dropped", help, dropped);
    }

    /// The counter of lost lines of the audit log.
    #[must_use]
    pub(crate) fn audit_dropped(&self) -> Counter {
        self.audit_dropped.clone()
    }

    /// The counters of Events.
    #[must_use]
    pub fn events(&self) -> EventCounters {
        self.events.clone()
    }

    /// Adds a gauge that is read at each scrape.
    pub(crate) fn gauge(&self, name: &'static str, help: &'static str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.registry.lock().register_collector(Box::new(Scraped {
            name,
            help,
            label: None,
            read: Read::Gauges(Box::new(move || vec![("", read())])),
        }));
    }

    /// Adds a gauge with one label that is read at each scrape: pairs of the label's value and the number.
    pub(crate) fn gauges(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: impl Fn() -> Vec<(&'static str, f64)> + Send + Sync + 'static,
    ) {
        self.registry.lock().register_collector(Box::new(Scraped {
            name,
            help,
            label: Some(label),
            read: Read::Gauges(Box::new(read)),
        }));
    }

    /// Counts a change of trust.
    pub(crate) fn count_trust_change(&self, change: TrustChange) {
        self.trust_changes.get_or_create(&[("change", change.as_str())]).inc();
    }

    /// Adds the gauge of ServiceAccounts by verdict, which is read at each scrape.
    pub(crate) fn service_account_verdicts(&self, read: impl Fn() -> Vec<CountedVerdict> + Send + Sync + 'static) {
        let by_namespace = match &self.decisions {
            Decisions::Total(_) => ByNamespace::No,
            Decisions::ByNamespace(_) => ByNamespace::Yes,
        };
        self.registry
            .lock()
            .register_collector(Box::new(ServiceAccountVerdicts {
                by_namespace,
                read: Box::new(read),
            }));
    }

    /// Which namespaces exist, for `--metrics-namespace`: only these have series of their own. Until this is called, none has. Only the
    /// first call counts.
    pub fn know_namespaces(&self, exists: impl Fn(&str) -> bool + Send + Sync + 'static) {
        if let Decisions::ByNamespace(counters) = &self.decisions {
            let _known_before = counters.exists.set(Box::new(exists));
        }
    }

    /// All metrics in the OpenMetrics text format ([`CONTENT_TYPE`]).
    #[must_use]
    pub fn text(&self) -> String {
        if let Decisions::ByNamespace(counters) = &self.decisions {
            counters.forget_namespaces_that_are_gone();
        }
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut text, &self.registry.lock());
        text
    }
}

/// The counter `decisions`.
#[derive(Debug)]
enum Decisions {
    Total(Family<DecisionLabels, Counter>),
    ByNamespace(NamespacedDecisions),
}

impl Decisions {
    /// With one series from the start, so that a rate over the counter always has data.
    fn new(by_namespace: ByNamespace) -> Self {
        match by_namespace {
            ByNamespace::No => {
                let family = Family::default();
                drop(family.get_or_create(&DecisionLabels::ALWAYS));
                Self::Total(family)
            }
            ByNamespace::Yes => {
                let counters = NamespacedDecisions::default();
                drop(counters.family.get_or_create(&NamespacedLabels::ALWAYS));
                Self::ByNamespace(counters)
            }
        }
    }

    fn count(&self, decision: DecisionLabels, namespace: &str) {
        match self {
            Self::Total(family) => {
                family.get_or_create(&decision).inc();
            }
            Self::ByNamespace(counters) => counters.count(decision, namespace),
        }
    }
}

type NamespaceExists = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// The counter `decisions` by namespace. Reviews can name any namespace, if others than the API server can send them. So those that are
/// not known to exist have no series: they are counted without a namespace. The series of a namespace are removed when it is gone.
#[derive(Default)]
struct NamespacedDecisions {
    family: Family<NamespacedLabels, Counter>,
    exists: OnceLock<NamespaceExists>,
    /// The series of each namespace.
    counted: Mutex<HashMap<Box<str>, HashSet<DecisionLabels>>>,
}

impl NamespacedDecisions {
    fn count(&self, decision: DecisionLabels, namespace: &str) {
        let namespace = if self.exists(namespace) { namespace } else { "" };
        let labels = NamespacedLabels {
            decision,
            namespace: namespace.to_owned(),
        };
        if !namespace.is_empty() && self.family.get(&labels).is_none() {
            self.counted
                .lock()
                .entry(namespace.into())
                .or_default()
                .insert(decision);
        }
        self.family.get_or_create(&labels).inc();
    }

    fn exists(&self, namespace: &str) -> bool {
        self.exists.get().is_some_and(|exists| exists(namespace))
    }

    fn forget_namespaces_that_are_gone(&self) {
        self.counted.lock().retain(|namespace, decisions| {
            let stays = self.exists(namespace);
            if !stays {
                for decision in decisions.iter() {
                    self.family.remove(&NamespacedLabels {
                        decision: *decision,
                        namespace: namespace.to_string(),
                    });
                }
            }
            stays
        });
    }
}

impl fmt::Debug for NamespacedDecisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespacedDecisions")
            .field("namespaces", &self.counted.lock().len())
            .finish_non_exhaustive()
    }
}

/// The labels of a duration. A label that does not apply is empty, which Prometheus treats as absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct OutcomeLabels {
    action: Action,
    mode: Option<Mode>,
}

impl EncodeLabelSet for OutcomeLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [
            ("action", self.action.as_str()),
            ("mode", self.mode.map_or("", Mode::as_str)),
        ]
        .encode(encoder)
    }
}

/// The labels of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DecisionLabels {
    outcome: OutcomeLabels,
    verdict: Option<Verdict>,
    cause: Option<Cause>,
}

impl DecisionLabels {
    /// The series that exists from the start.
    const ALWAYS: Self = Self {
        outcome: OutcomeLabels {
            action: Action::Inject,
            mode: Some(Mode::Enforce),
        },
        verdict: Some(Verdict::Trusted),
        cause: None,
    };

    fn of(review: &Review<'_>) -> Self {
        Self {
            outcome: OutcomeLabels {
                action: review.action,
                mode: review.mode,
            },
            verdict: review.verdict,
            cause: review.cause,
        }
    }
}

impl EncodeLabelSet for DecisionLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let OutcomeLabels { action, mode } = self.outcome;
        [
            ("action", action.as_str()),
            ("verdict", self.verdict.map_or("", Verdict::as_str)),
            ("cause", self.cause.map_or("", Cause::as_str)),
            ("mode", mode.map_or("", Mode::as_str)),
        ]
        .encode(encoder)
    }
}

/// The labels of a decision with `--metrics-namespace`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct NamespacedLabels {
    decision: DecisionLabels,
    namespace: String,
}

impl NamespacedLabels {
    const ALWAYS: Self = Self {
        decision: DecisionLabels::ALWAYS,
        namespace: String::new(),
    };
}

impl EncodeLabelSet for NamespacedLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.decision.encode(encoder)?;
        [("namespace", self.namespace.as_str())].encode(encoder)
    }
}

/// So many ServiceAccounts of a namespace have this verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedVerdict {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The verdict.
    pub verdict: Verdict,
    /// Its cause, if it has one.
    pub cause: Option<Cause>,
    /// How many.
    pub count: usize,
}

/// The gauge `service_account_verdicts`.
struct ServiceAccountVerdicts {
    by_namespace: ByNamespace,
    read: Box<dyn Fn() -> Vec<CountedVerdict> + Send + Sync>,
}

impl fmt::Debug for ServiceAccountVerdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountVerdicts")
            .field("by_namespace", &self.by_namespace)
            .finish_non_exhaustive()
    }
}

impl Collector for ServiceAccountVerdicts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // One series of each verdict exists from the start: alerts cannot use absent series.
        let always = [
            Verdict::Trusted,
            Verdict::Undecided,
            Verdict::Unknown,
            Verdict::NotTrusted,
        ];
        let mut counts: BTreeMap<(Verdict, Option<Cause>, Arc<str>), usize> = always
            .into_iter()
            .map(|verdict| ((verdict, None, Arc::from("")), 0))
            .collect();
        for counted in (self.read)() {
            let namespace = match self.by_namespace {
                ByNamespace::Yes => counted.namespace,
                ByNamespace::No => Arc::from(""),
            };
            *counts.entry((counted.verdict, counted.cause, namespace)).or_default() += counted.count;
        }
        let mut encoder = encoder.encode_descriptor(
            "service_account_verdicts",
            "ServiceAccounts of gated namespaces by the verdict on their role",
            None,
            MetricType::Gauge,
        )?;
        for ((verdict, cause, namespace), count) in counts {
            let count = count as f64;
            let verdict = ("verdict", verdict.as_str());
            let cause = ("cause", cause.map_or("", Cause::as_str));
            match self.by_namespace {
                ByNamespace::No => encoder.encode_family(&[verdict, cause])?.encode_gauge(&count)?,
                ByNamespace::Yes => encoder
                    .encode_family(&[verdict, cause, ("namespace", &namespace)])?
                    .encode_gauge(&count)?,
            }
        }
        Ok(())
    }
}

/// A metric that is read at each scrape.
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
        // Sorted and without duplicates: Prometheus rejects a scrape in which a series occurs twice.
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

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
            identity_not_used: true,
        }
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

    fn of_namespace(namespace: &str) -> Review<'_> {
        Review { namespace, ..review() }
    }

    /// The namespaces that have series, with the number of reviews.
    fn counted(metrics: &Metrics) -> Vec<(String, u64)> {
        let mut counted: Vec<(String, u64)> = metrics
            .text()
            .lines()
            .filter(|line| line.starts_with("rolegate_decisions_total{action=\"deny\""))
            .map(|line| {
                let (labels, count) = line.rsplit_once("\"} ").unwrap();
                let (_, namespace) = labels.split_once("namespace=\"").unwrap();
                (namespace.to_owned(), count.parse().unwrap())
            })
            .collect();
        counted.sort();
        counted
    }

    #[test]
    fn namespaces_are_counted_only_on_request() {
        let metrics = Metrics::new(ByNamespace::Yes);
        metrics.know_namespaces(|namespace| namespace == "jobs");
        metrics.review(&review());
        let line = r#"rolegate_decisions_total{action="deny",verdict="not-trusted",cause="wrong-subject",mode="warn",namespace="jobs"} 1"#;
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }

    #[test]
    fn namespaces_that_do_not_exist_have_no_series() {
        let metrics = Metrics::new(ByNamespace::Yes);
        metrics.review(&review());
        assert_eq!(counted(&metrics), [(String::new(), 1)], "none is known yet");
        metrics.know_namespaces(|namespace| namespace == "jobs");
        for number in 0..20_000 {
            metrics.review(&of_namespace(&format!("invented-{number}")));
        }
        metrics.review(&of_namespace(&"x".repeat(1 << 20)));
        metrics.review(&review());
        assert_eq!(counted(&metrics), [(String::new(), 20_002), ("jobs".to_owned(), 1)]);
        assert!(metrics.text().len() < 100_000, "{}", metrics.text().len());
    }

    #[test]
    fn the_series_of_a_namespace_that_is_gone_are_forgotten() {
        let existing: Arc<Mutex<Vec<&str>>> = Arc::new(Mutex::new(vec!["jobs", "other"]));
        let metrics = Metrics::new(ByNamespace::Yes);
        let exist = Arc::clone(&existing);
        metrics.know_namespaces(move |namespace| exist.lock().contains(&namespace));
        for namespace in ["jobs", "jobs", "other"] {
            metrics.review(&of_namespace(namespace));
        }
        assert_eq!(counted(&metrics), [("jobs".to_owned(), 2), ("other".to_owned(), 1)]);
        existing.lock().retain(|namespace| *namespace != "jobs");
        assert_eq!(counted(&metrics), [("other".to_owned(), 1)]);
        // A namespace of the same name starts again.
        existing.lock().push("jobs");
        metrics.review(&of_namespace("jobs"));
        assert_eq!(counted(&metrics), [("jobs".to_owned(), 1), ("other".to_owned(), 1)]);
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
