//! ServiceAccounts of a live cluster: a watch of their metadata that fills a compact map, and direct GETs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{Api, ListParams};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use serde::{Deserialize, Deserializer};
use tokio::sync::watch;
use tokio::time::Instant;

use super::table::{ListNumber, Table};
use super::{AccountObserver, Counts, Fetched, Observed, Stored};
use crate::kubernetes::list_watch::{Observer, WatchTiming, list_and_watch};
use crate::kubernetes::namespaces::{Namespaces, UNKNOWN};
use crate::kubernetes::{api_error, objects};
use crate::pod::identity::{AnnotationRules, ServiceAccountIdentity};
use crate::support::coalesce::{Caller, Coalescer, Outcome};
use crate::support::dns;
use crate::support::pace::PaceLimit;
use crate::support::shares::Shares;
use crate::support::tasks::OwnedTasks;
use crate::trust::RoleArn;

/// The maximum number of concurrent GETs. Each takes a few milliseconds, so 64 allow about ten thousand per second: more than an API
/// server admits pods, and few enough not to use up the share of one user when it is slow.
const CONCURRENT_GETS: usize = 64;

/// The pace of GETs per namespace. A thousand new ServiceAccounts can each be followed at once by a pod. More than that is not a burst of
/// honest pods, since callers that wait for the same ServiceAccount share a GET; but anyone who reaches the webhook can send reviews.
const GETS: PaceLimit = PaceLimit {
    burst: 1000,
    refill: Duration::from_millis(5),
};

/// ServiceAccounts watched on an API server.
///
/// It owns the task of the watch and those of the GETs. [`LiveServiceAccounts::stop`] ends the watch and waits for all; dropping it ends
/// the watch without waiting.
pub struct LiveServiceAccounts {
    client: kube::Client,
    rules: Arc<AnnotationRules>,
    table: Arc<Table>,
    gets: Coalescer<(Box<str>, Box<str>), Fetched>,
    namespaces: Option<Arc<Namespaces>>,
    synced: watch::Receiver<bool>,
    in_sync: Arc<AtomicBool>,
    tasks: OwnedTasks,
}

impl LiveServiceAccounts {
    /// Starts to watch, with a client made by [`crate::kubernetes::client`]. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(client: kube::Client, rules: Arc<AnnotationRules>, timing: WatchTiming) -> Self {
        Self::start_observed(client, rules, timing, Arc::new(()))
    }

    /// The same; ServiceAccounts are reported to an observer.
    #[must_use]
    pub fn start_observed(
        client: kube::Client,
        rules: Arc<AnnotationRules>,
        timing: WatchTiming,
        observer: Arc<dyn AccountObserver>,
    ) -> Self {
        let table = Arc::new(Table::new());
        let tasks = OwnedTasks::new();
        let (set_synced, synced) = watch::channel(false);
        let in_sync = Arc::new(AtomicBool::new(false));
        let mirror = Mirror {
            rules: Arc::clone(&rules),
            table: Arc::clone(&table),
            list: ListNumber::default(),
            set_synced,
            observer,
        };
        let api: Api<Account> = Api::all(client.clone());
        let watch = list_and_watch("ServiceAccounts", api, None, timing, Arc::clone(&in_sync), mirror);
        tasks.spawn(watch);
        Self {
            client,
            rules,
            table,
            gets: Coalescer::shared(Shares::new(CONCURRENT_GETS, GETS), tasks.tracker(), tasks.end()),
            namespaces: None,
            synced,
            in_sync,
            tasks,
        }
    }

    /// Shares GETs between these namespaces, so that none can use up those of the others. Without, and for namespaces that are not among
    /// them, all count as one.
    #[must_use]
    pub fn shared_between(self, namespaces: Arc<Namespaces>) -> Self {
        Self {
            namespaces: Some(namespaces),
            ..self
        }
    }

    /// Ends the watch, and waits for it and for the GETs in progress (each ends by its deadline).
    pub async fn stop(&self) {
        self.tasks.stop().await;
    }

    /// From memory; never waits.
    #[must_use]
    pub fn stored(&self, namespace: &str, name: &str) -> Stored {
        self.table.stored(namespace, name)
    }

    /// One GET, which ends by `deadline` and is shared only by calls that were made before it was sent. Its result is not stored: only the
    /// watch updates the map, since its events have an order.
    pub async fn fetch(&self, namespace: &str, name: &str, deadline: Instant) -> Fetched {
        // Pods are reviewed before they are validated: an invalid name must not become part of a path.
        if !dns::is_label(namespace) || !dns::is_subdomain(name) {
            return Fetched::NotFound;
        }
        let read = {
            let api: Api<Account> = Api::namespaced(self.client.clone(), namespace);
            let (rules, namespace, name) = (
                Arc::clone(&self.rules),
                Box::<str>::from(namespace),
                Box::<str>::from(name),
            );
            move |_reading| {
                let (api, rules, namespace, name) = (api.clone(), Arc::clone(&rules), namespace.clone(), name.clone());
                async move { get(&api, &rules, &namespace, &name).await }
            }
        };
        let caller = Caller::as_of(Instant::now()).by(deadline);
        let party = if self.has_namespace(namespace) {
            namespace
        } else {
            UNKNOWN
        };
        match self
            .gets
            .ask_for(party, (namespace.into(), name.into()), caller, read)
            .await
        {
            Outcome::Done { value, .. } => value,
            Outcome::Busy => Fetched::Busy,
            Outcome::TimedOut => Fetched::Unavailable(format!(
                "GET ServiceAccount {namespace}/{name}: the API server did not respond in time"
            )),
        }
    }

    /// Whether a namespace is among those that GETs are shared between.
    #[must_use]
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces
            .as_ref()
            .is_some_and(|namespaces| namespaces.contains(namespace))
    }

    /// Whether the first list is complete. Never false again after it was true.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        // It fails when the watch was stopped, which happens at shutdown only.
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
    }

    /// Whether memory is up to date: false before the first watch, while the watch is broken, and after it was found silent until it
    /// receives something.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.in_sync.load(Ordering::Relaxed)
    }

    /// The number of ServiceAccounts by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.table.counts()
    }

    /// Calls `each` for every distinct role.
    pub fn for_each_role(&self, each: &mut dyn FnMut(&RoleArn)) {
        self.table.for_each_role(each);
    }
}

/// ServiceAccounts per page of [`list`], as in client-go.
const PAGE: u32 = 500;

/// Lists the ServiceAccounts of one or all namespaces once. `each` is called for those with annotations for rolegate, with namespace and
/// name.
///
/// # Errors
/// What the API server answered and which permission is missing, in one line.
pub async fn list(
    client: &kube::Client,
    rules: &AnnotationRules,
    namespace: Option<&str>,
    each: &mut (dyn FnMut(&str, &str, Option<&ServiceAccountIdentity>) + Send),
) -> Result<(), String> {
    let api: Api<Account> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = objects::in_time(api.list_metadata(&page)).await.map_err(|error| {
            let hint = match &error {
                kube::Error::Api(status) if status.code == 403 => match namespace {
                    None => {
                        "; this needs `list` on serviceaccounts in all namespaces; with -n NAMESPACE, it is needed only in that namespace"
                    }
                    Some(_) => "; this needs `list` on serviceaccounts",
                },
                other => api_error::next_step(other),
            };
            format!("cannot list ServiceAccounts: {}{hint}", api_error::one_line(&error))
        })?;
        for PartialObjectMeta { metadata, .. } in &listed.items {
            if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
                each(namespace, name, identity(rules, metadata).as_ref());
            }
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

impl fmt::Debug for LiveServiceAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveServiceAccounts")
            .field("synced", &self.is_synced())
            .field("current", &self.is_current())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

async fn get(api: &Api<Account>, rules: &AnnotationRules, namespace: &str, name: &str) -> Fetched {
    match api.get_opt(name).await {
        Ok(None) => Fetched::NotFound,
        Ok(Some(account)) => Fetched::Found {
            uid: account.metadata.uid.as_deref().map(Arc::from),
            identity: identity(rules, &account.metadata).map(Arc::new),
        },
        Err(error) => {
            let hint = match &error {
                kube::Error::Api(status) if status.code == 403 => "; rolegate needs `get` on serviceaccounts",
                _ => "",
            };
            Fetched::Unavailable(format!(
                "GET ServiceAccount {namespace}/{name}: {}{hint}",
                api_error::one_line(&error)
            ))
        }
    }
}

fn identity(rules: &AnnotationRules, metadata: &ObjectMeta) -> Option<ServiceAccountIdentity> {
    let annotations = metadata.annotations.as_ref()?;
    ServiceAccountIdentity::from_annotations(
        rules,
        annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

/// The metadata of a ServiceAccount that is used. `managedFields`, the larger part of every page of a list, is skipped.
#[derive(Clone, Debug)]
struct Account {
    metadata: ObjectMeta,
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            namespace: Option<String>,
            name: Option<String>,
            uid: Option<String>,
            resource_version: Option<String>,
            annotations: Option<BTreeMap<String, String>>,
        }
        let Wire {
            metadata:
                Metadata {
                    namespace,
                    name,
                    uid,
                    resource_version,
                    annotations,
                },
        } = Wire::deserialize(deserializer)?;
        let metadata = ObjectMeta {
            namespace,
            name,
            uid,
            resource_version,
            annotations,
            ..ObjectMeta::default()
        };
        Ok(Self { metadata })
    }
}

impl Resource for Account {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        <ServiceAccount as Resource>::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        <ServiceAccount as Resource>::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        <ServiceAccount as Resource>::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        <ServiceAccount as Resource>::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    /// Requests ask for `PartialObjectMetadata`.
    fn metadata_api() -> bool {
        true
    }
}

/// Writes watched ServiceAccounts into the table.
struct Mirror {
    rules: Arc<AnnotationRules>,
    table: Arc<Table>,
    list: ListNumber,
    set_synced: watch::Sender<bool>,
    observer: Arc<dyn AccountObserver>,
}

impl Mirror {
    fn put(&self, account: &Account) {
        let metadata = &account.metadata;
        if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
            let identity = identity(&self.rules, metadata);
            let is_changed = self.table.put(namespace, name, identity.clone(), self.list);
            self.observer.exists(&Observed {
                namespace,
                name,
                uid: metadata.uid.as_deref(),
                identity: identity.as_ref(),
                is_changed,
            });
        }
    }
}

impl Observer<Account> for Mirror {
    fn init(&mut self) {
        self.list = self.list.next();
        self.observer.list_began();
    }

    fn init_apply(&mut self, account: Account) {
        self.put(&account);
    }

    fn init_done(&mut self) {
        self.table.keep_only(self.list);
        self.observer.list_ended();
        self.set_synced
            .send_if_modified(|synced| !std::mem::replace(synced, true));
    }

    fn apply(&mut self, account: Account) {
        self.put(&account);
    }

    fn delete(&mut self, account: Account) {
        if let (Some(namespace), Some(name)) = (&account.metadata.namespace, &account.metadata.name) {
            self.table.remove(namespace, name);
            self.observer.is_gone(namespace, name);
        }
    }

    fn while_broken(&self) -> &'static str {
        "known ServiceAccounts stay in use, others are read from the API server"
    }
}
