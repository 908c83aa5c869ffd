//! The labels of namespaces: a watch of the metadata of Namespaces that fills a map, and direct GETs.
//!
//! Only two labels are kept, in two bytes per namespace, and their values if they are not valid. A namespace that is not in the map is
//! read from the API server, because a pod can be created a millisecond after its namespace.

mod unknown_labels;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;

use self::unknown_labels::UnknownLabels;
use super::api_error;
use super::list_watch::{Observer, WatchTiming, list_and_watch};
use crate::decision::{Mode, RequireRole};
use crate::support::coalesce::{Caller, Coalescer, Outcome};
use crate::support::dns;
use crate::support::pace::PaceLimit;
use crate::support::shares::Shares;
use crate::support::state_log::StateLog;
use crate::support::tasks::OwnedTasks;

/// The label that sets the mode: `enforce`, `warn` or `audit`.
pub const GATE_LABEL: &str = "rolegate.io/gate";

/// The label that replaces `--require-role` for one namespace: `warn` or `enforce`.
pub const REQUIRE_ROLE_LABEL: &str = "rolegate.io/require-role";

/// The maximum number of concurrent GETs. Only new namespaces are read, and those whose label leads to a refusal.
/// One namespace has at most half of them.
const CONCURRENT_GETS: usize = 32;

/// The pace of GETs per namespace, and of all namespaces that are not known together.
const GETS: PaceLimit = PaceLimit {
    burst: 100,
    refill: Duration::from_millis(20),
};

/// The party of all namespaces that are not known. It is not a valid name of a namespace.
pub(crate) const UNKNOWN: &str = "";

/// Namespaces watched on an API server.
///
/// It owns the task of the watch and those of the GETs. [`Namespaces::stop`] ends the watch and waits for all; dropping it ends the watch
/// without waiting.
pub struct Namespaces {
    client: kube::Client,
    known: Arc<Known>,
    gets: Coalescer<Box<str>, Read>,
    reads: Mutex<StateLog>,
    tasks: OwnedTasks,
}

impl Namespaces {
    /// Starts to watch, with a client made by [`crate::kubernetes::client`]. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(client: kube::Client, timing: WatchTiming) -> Self {
        Self::start_excluding(Vec::new(), client, timing)
    }

    /// As [`Namespaces::start`]; the label `rolegate.io/gate` has no effect on these namespaces, which is logged.
    #[must_use]
    pub fn start_excluding(excluded: Vec<String>, client: kube::Client, timing: WatchTiming) -> Self {
        let known = Arc::new(Known::default());
        let tasks = OwnedTasks::new();
        let mirror = Mirror {
            known: Arc::clone(&known),
            listed: HashMap::new(),
            listed_invalid: HashMap::new(),
            unknown_labels: UnknownLabels::new(excluded),
        };
        let api: Api<Metadata> = Api::all(client.clone());
        // Labels in memory are used while the watch is broken, too.
        let in_sync = Arc::new(AtomicBool::new(false));
        tasks.spawn(list_and_watch("Namespaces", api, None, timing, in_sync, mirror));
        Self {
            client,
            known,
            gets: Coalescer::shared(Shares::new(CONCURRENT_GETS, GETS), tasks.tracker(), tasks.end()),
            reads: Mutex::default(),
            tasks,
        }
    }

    /// Ends the watch, and waits for it and for the GETs in progress (each ends by its deadline).
    pub async fn stop(&self) {
        self.tasks.stop().await;
    }

    /// The label `rolegate.io/require-role`: from memory, or read if the namespace is not in memory. None without the label, and if the
    /// namespace cannot be read in half of the time until `deadline`.
    pub async fn require_role(&self, namespace: &str, deadline: Instant) -> Option<RequireRoleLabel> {
        self.labels(namespace, deadline).await.require_role
    }

    /// The label `rolegate.io/gate`, looked up in the same way.
    pub async fn gate(&self, namespace: &str, deadline: Instant) -> Option<GateLabel> {
        self.labels(namespace, deadline).await.gate
    }

    /// The label `rolegate.io/require-role` as the API server has it now, for a caller that is about to refuse a pod because of it.
    ///
    /// # Errors
    /// Why the namespace could not be read by `deadline`, in one line.
    pub async fn read_require_role(
        &self,
        namespace: &str,
        deadline: Instant,
    ) -> Result<Option<RequireRoleLabel>, String> {
        let read = self.read(namespace, deadline).await;
        read.map(|labels| labels.require_role).map_err(Arc::unwrap_or_clone)
    }

    /// Whether the first list is complete, or rolegate is not allowed to list Namespaces. Never false again after it was true.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.known.is_ready.load(Ordering::Relaxed)
    }

    /// The namespaces with the label `rolegate.io/gate`, as far as the watch knows.
    #[must_use]
    pub fn gated(&self) -> Vec<Arc<str>> {
        let labels = self.known.labels.read();
        let gated = labels.iter().filter(|(_, labels)| labels.gate.is_some());
        gated.map(|(name, _)| Arc::from(&**name)).collect()
    }

    /// Changes when namespaces with the label `rolegate.io/gate` come or go.
    #[must_use]
    pub fn gate_changes(&self) -> watch::Receiver<()> {
        self.known.gates.subscribe()
    }

    /// The value of `rolegate.io/gate` or `rolegate.io/require-role` that is not valid, if the namespace is in memory.
    #[must_use]
    pub fn invalid_value(&self, namespace: &str, label: &str) -> Option<Box<str>> {
        self.known.invalid.read().get(namespace)?.get(label).cloned()
    }

    /// Whether a namespace exists, as far as the watch knows. False for every namespace if rolegate is not allowed to list them.
    #[must_use]
    pub fn contains(&self, namespace: &str) -> bool {
        // Reviews are not validated: a name might have megabytes.
        dns::is_label(namespace) && self.known.labels.read().contains_key(namespace)
    }

    /// The party that requests for a namespace count for. Names of namespaces that do not exist can be invented without end, so they
    /// count together.
    pub(crate) fn party<'a>(&self, namespace: &'a str) -> &'a str {
        if self.contains(namespace) { namespace } else { UNKNOWN }
    }

    async fn labels(&self, namespace: &str, deadline: Instant) -> Labels {
        if let Some(labels) = self.known.labels.read().get(namespace) {
            return *labels;
        }
        // The failed list was logged. One GET per pod would not change anything.
        if self.known.is_forbidden.load(Ordering::Relaxed) {
            return Labels::default();
        }
        // The caller goes on without the labels.
        let now = Instant::now();
        let deadline = now + deadline.saturating_duration_since(now) / 2;
        match self.read(namespace, deadline).await {
            Ok(labels) => {
                if self.reads.lock().recovered().is_some() {
                    tracing::info!("reading namespaces that are not in memory works again");
                }
                labels
            }
            Err(reason) => {
                if self.reads.lock().failed() {
                    tracing::warn!(
                        "failed to read a namespace that is not in memory: {reason}; --require-role applies to it"
                    );
                }
                Labels::default()
            }
        }
    }

    /// One GET, shared only by calls that were made before it was sent. Its result is not stored: only the watch updates the map, since its
    /// events have an order. A namespace that does not exist has no labels.
    async fn read(&self, namespace: &str, deadline: Instant) -> Read {
        // Reviews are not validated: an invalid name must not become part of a path.
        if !dns::is_label(namespace) {
            return Ok(Labels::default());
        }
        let read = {
            let api: Api<Metadata> = Api::all(self.client.clone());
            let namespace = Box::<str>::from(namespace);
            move |_reading| {
                let (api, namespace) = (api.clone(), namespace.clone());
                async move { get(&api, &namespace).await }
            }
        };
        let caller = Caller::as_of(Instant::now()).by(deadline);
        let party = self.party(namespace);
        match self.gets.ask_for(party, namespace.into(), caller, read).await {
            Outcome::Done { value, .. } => value,
            Outcome::Busy => Err(Arc::new(format!(
                "GET Namespace {namespace}: too many reads of Namespaces are in flight"
            ))),
            Outcome::TimedOut => Err(Arc::new(format!(
                "GET Namespace {namespace}: the API server did not respond in time"
            ))),
        }
    }
}

/// The label `rolegate.io/gate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateLabel {
    /// `enforce`, `warn` or `audit`.
    Mode(Mode),
    /// Any other value is served as `enforce`.
    Misspelled,
}

/// The label `rolegate.io/require-role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequireRoleLabel {
    /// `warn` or `enforce`.
    Valid(RequireRole),
    /// Any other value counts as `enforce`: a typing error must not admit pods.
    Misspelled,
}

impl RequireRoleLabel {
    /// What the namespace requires.
    #[must_use]
    pub const fn required(self) -> RequireRole {
        match self {
            Self::Valid(required) => required,
            Self::Misspelled => RequireRole::Enforce,
        }
    }
}

/// The values of the labels of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Labels {
    require_role: Option<RequireRoleLabel>,
    gate: Option<GateLabel>,
}

impl Labels {
    fn of(labels: Option<&BTreeMap<String, String>>) -> Self {
        let value = |key: &str| labels?.get(key).map(String::as_str);
        Self {
            require_role: value(REQUIRE_ROLE_LABEL).map(|value| match value {
                "warn" => RequireRoleLabel::Valid(RequireRole::Warn),
                "enforce" => RequireRoleLabel::Valid(RequireRole::Enforce),
                // `off` as well: removing the label is the way to go back to the flag.
                _ => RequireRoleLabel::Misspelled,
            }),
            gate: value(GATE_LABEL).map(|value| value.parse().map_or(GateLabel::Misspelled, GateLabel::Mode)),
        }
    }
}

/// The labels whose values are not valid, with their values; of few namespaces.
type InvalidValues = BTreeMap<&'static str, Box<str>>;

fn invalid_values(metadata: &ObjectMeta) -> InvalidValues {
    let found = labels(metadata);
    let value = |label: &'static str| Some((label, metadata.labels.as_ref()?.get(label)?.as_str().into()));
    let gate = (found.gate == Some(GateLabel::Misspelled)).then(|| value(GATE_LABEL));
    let require_role = (found.require_role == Some(RequireRoleLabel::Misspelled)).then(|| value(REQUIRE_ROLE_LABEL));
    gate.flatten().into_iter().chain(require_role.flatten()).collect()
}

/// The answer of a GET, or why there is none.
type Read = Result<Labels, Arc<String>>;

type Metadata = PartialObjectMeta<Namespace>;

async fn get(api: &Api<Metadata>, namespace: &str) -> Read {
    match api.get_opt(namespace).await {
        Ok(found) => Ok(found.map_or_else(Labels::default, |found| labels(&found.metadata))),
        Err(error) => {
            let hint = match &error {
                kube::Error::Api(status) if status.code == 403 => "; rolegate needs `get` on namespaces",
                _ => "",
            };
            Err(Arc::new(format!(
                "GET Namespace {namespace}: {}{hint}",
                api_error::one_line(&error)
            )))
        }
    }
}

fn labels(metadata: &ObjectMeta) -> Labels {
    Labels::of(metadata.labels.as_ref())
}

/// What is known of namespaces.
#[derive(Default)]
struct Known {
    labels: RwLock<HashMap<Box<str>, Labels>>,
    invalid: RwLock<HashMap<Box<str>, InvalidValues>>,
    is_ready: AtomicBool,
    /// The last list was forbidden, and none succeeded since.
    is_forbidden: AtomicBool,
    /// Changes when namespaces become gated, or no longer are.
    gates: watch::Sender<()>,
}

/// Writes watched Namespaces into the map. A list replaces the map at its end, so that readers never see half of one.
struct Mirror {
    known: Arc<Known>,
    listed: HashMap<Box<str>, Labels>,
    listed_invalid: HashMap<Box<str>, InvalidValues>,
    unknown_labels: UnknownLabels,
}

impl Observer<Metadata> for Mirror {
    fn init(&mut self) {
        self.listed = HashMap::new();
        self.listed_invalid = HashMap::new();
    }

    fn init_apply(&mut self, namespace: Metadata) {
        if let Some(name) = &namespace.metadata.name {
            self.unknown_labels.observe(name, namespace.metadata.labels.as_ref());
            self.listed.insert(name.as_str().into(), labels(&namespace.metadata));
            let invalid = invalid_values(&namespace.metadata);
            if !invalid.is_empty() {
                self.listed_invalid.insert(name.as_str().into(), invalid);
            }
        }
    }

    fn init_done(&mut self) {
        let mut listed = std::mem::take(&mut self.listed);
        listed.shrink_to_fit();
        self.unknown_labels.retain(|namespace| listed.contains_key(namespace));
        *self.known.invalid.write() = std::mem::take(&mut self.listed_invalid);
        let replaced = std::mem::replace(&mut *self.known.labels.write(), listed);
        // Not under the lock: it can be 100,000 names.
        drop(replaced);
        self.known.gates.send_replace(());
        self.known.is_forbidden.store(false, Ordering::Relaxed);
        self.known.is_ready.store(true, Ordering::Relaxed);
    }

    fn apply(&mut self, namespace: Metadata) {
        if let Some(name) = &namespace.metadata.name {
            self.unknown_labels.observe(name, namespace.metadata.labels.as_ref());
            let labels = labels(&namespace.metadata);
            let invalid = invalid_values(&namespace.metadata);
            if invalid.is_empty() {
                self.known.invalid.write().remove(name.as_str());
            } else {
                self.known.invalid.write().insert(name.as_str().into(), invalid);
            }
            let before = self.known.labels.write().insert(name.as_str().into(), labels);
            if before.is_some_and(|before| before.gate.is_some()) != labels.gate.is_some() {
                self.known.gates.send_replace(());
            }
        }
    }

    fn delete(&mut self, namespace: Metadata) {
        if let Some(name) = &namespace.metadata.name {
            self.unknown_labels.forget(name);
            self.known.invalid.write().remove(name.as_str());
            let gone = self.known.labels.write().remove(name.as_str());
            if gone.is_some_and(|gone| gone.gate.is_some()) {
                self.known.gates.send_replace(());
            }
        }
    }

    fn list_forbidden(&mut self) {
        self.known.is_forbidden.store(true, Ordering::Relaxed);
        self.known.is_ready.store(true, Ordering::Relaxed);
    }

    fn while_broken(&self) -> &'static str {
        "known labels stay in use, and --require-role applies to namespaces that cannot be read"
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces")
            .field("known", &self.known.labels.read().len())
            .field("is_ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labeled(pairs: &[(&str, &str)]) -> Labels {
        let labels = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Labels::of(Some(&labels))
    }

    #[test]
    fn require_role_is_warn_or_enforce_and_any_other_value_counts_as_enforce() {
        for (value, label, required) in [
            ("warn", RequireRoleLabel::Valid(RequireRole::Warn), RequireRole::Warn),
            (
                "enforce",
                RequireRoleLabel::Valid(RequireRole::Enforce),
                RequireRole::Enforce,
            ),
            ("off", RequireRoleLabel::Misspelled, RequireRole::Enforce),
            ("", RequireRoleLabel::Misspelled, RequireRole::Enforce),
            ("Warn", RequireRoleLabel::Misspelled, RequireRole::Enforce),
            ("audit", RequireRoleLabel::Misspelled, RequireRole::Enforce),
        ] {
            let read = labeled(&[(REQUIRE_ROLE_LABEL, value)]);
            assert_eq!(read.require_role, Some(label), "{value:?}");
            assert_eq!(label.required(), required, "{value:?}");
            assert_eq!(read.gate, None, "{value:?}");
        }
    }

    #[test]
    fn the_gate_label_is_a_mode_or_misspelled() {
        for (value, gate) in [
            ("enforce", GateLabel::Mode(Mode::Enforce)),
            ("warn", GateLabel::Mode(Mode::Warn)),
            ("audit", GateLabel::Mode(Mode::Audit)),
            ("audited", GateLabel::Misspelled),
            ("", GateLabel::Misspelled),
        ] {
            let read = labeled(&[(GATE_LABEL, value)]);
            assert_eq!((read.gate, read.require_role), (Some(gate), None), "{value:?}");
        }
    }

    #[test]
    fn other_labels_say_nothing() {
        assert_eq!(Labels::of(None), Labels::default());
        assert_eq!(
            labeled(&[("rolegate.io/require-roles", "enforce"), ("gate", "audit")]),
            Labels::default()
        );
    }

    #[test]
    fn a_namespace_costs_its_name_and_24_bytes() {
        assert_eq!(size_of::<(Box<str>, Labels)>(), 24);
    }
}
