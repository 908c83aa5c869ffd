//! ServiceAccounts of a live cluster: a watch on their metadata into a map of our own, and the direct GET.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{Api, ListParams};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use serde::{Deserialize, Deserializer};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::table::{ListNumber, Table};
use super::{Counts, Fetched, Stored, is_dns_label, is_dns_subdomain};
use crate::kubernetes::api_error;
use crate::kubernetes::list_watch::{Observer, WatchTiming, keep};
use crate::pod::identity::{AnnotationRules, ServiceAccountIdentity};
use crate::support::coalesce::{Caller, Coalescer, Outcome};
use crate::trust::RoleArn;

/// GETs in flight at a time. Each takes the API server a few milliseconds, so 64 are some ten thousand a second: more than
/// an API server admits pods, and few enough not to fill its share for one user when it is slow.
const CONCURRENT_GETS: usize = 64;

/// ServiceAccounts watched on an API server.
///
/// It owns the task of the watch and those of the GETs: [`LiveServiceAccounts::stop`] ends them and waits for their end;
/// dropping it ends them too, without waiting.
pub struct LiveServiceAccounts {
    client: kube::Client,
    rules: Arc<AnnotationRules>,
    table: Arc<Table>,
    gets: Coalescer<(Box<str>, Box<str>), Fetched>,
    synced: watch::Receiver<bool>,
    in_sync: Arc<AtomicBool>,
    tasks: TaskTracker,
    end: CancellationToken,
    _end_on_drop: DropGuard,
}

impl LiveServiceAccounts {
    /// Starts to watch, with a client made by [`crate::kubernetes::client`]. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(client: kube::Client, rules: Arc<AnnotationRules>, timing: WatchTiming) -> Self {
        let table = Arc::new(Table::new());
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let (say_synced, synced) = watch::channel(false);
        let in_sync = Arc::new(AtomicBool::new(false));
        let mirror = Mirror {
            rules: Arc::clone(&rules),
            table: Arc::clone(&table),
            list: ListNumber::default(),
            say_synced,
        };
        let api: Api<Account> = Api::all(client.clone());
        let watch = keep("ServiceAccounts", api, None, timing, Arc::clone(&in_sync), mirror);
        tasks.spawn(end.clone().run_until_cancelled_owned(watch));
        Self {
            client,
            rules,
            table,
            gets: Coalescer::limited(CONCURRENT_GETS, tasks.clone(), end.clone()),
            synced,
            in_sync,
            tasks,
            _end_on_drop: end.clone().drop_guard(),
            end,
        }
    }

    /// Ends the watch and waits for it and for the GETs in flight (each ends by its deadline).
    pub async fn stop(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// From memory; never waits.
    #[must_use]
    pub fn stored(&self, namespace: &str, name: &str) -> Stored {
        self.table.stored(namespace, name)
    }

    /// One GET, shared only with callers that asked before it was sent, over by `deadline`. What it finds is for these callers:
    /// the map is left to the watch, whose events know their order.
    pub async fn fetch(&self, namespace: &str, name: &str, deadline: Instant) -> Fetched {
        // Pods are seen before they are validated: an invalid name must not become part of a path.
        if !is_dns_label(namespace) || !is_dns_subdomain(name) {
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
        match self.gets.ask((namespace.into(), name.into()), caller, read).await {
            Outcome::Done { value, .. } => value,
            Outcome::Busy => Fetched::Busy,
            Outcome::TimedOut => Fetched::Unavailable(format!(
                "GET ServiceAccount {namespace}/{name}: the API server did not answer in time"
            )),
        }
    }

    /// Whether the first list is complete. Never false again after it was true.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        // An error means that the watch was stopped before; whoever waits is being stopped too.
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
    }

    /// Whether memory follows the API server: false before the first watch, while the watch is broken, and from when it was
    /// found silent until something is heard again.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.in_sync.load(Ordering::Relaxed)
    }

    /// How many are known.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.table.counts()
    }

    /// Calls `each` for every distinct role.
    pub fn for_each_role(&self, each: &mut dyn FnMut(&RoleArn)) {
        self.table.for_each_role(each);
    }
}

/// ServiceAccounts a page of [`list`]: what the API server's own clients ask for.
const PAGE: u32 = 500;

/// Lists the ServiceAccounts of a namespace, or of all, once: `each` is called for those whose annotations concern rolegate,
/// with namespace and name.
///
/// # Errors
/// One line: what the API server answered, and the right that is missing.
pub async fn list(
    client: &kube::Client,
    rules: &AnnotationRules,
    namespace: Option<&str>,
    each: &mut (dyn FnMut(&str, &str, &ServiceAccountIdentity) + Send),
) -> Result<(), String> {
    let api: Api<Account> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = api.list_metadata(&page).await.map_err(|error| {
            let hint = match &error {
                kube::Error::Api(status) if status.code == 403 => "; this needs `list` on serviceaccounts",
                _ => "",
            };
            format!("cannot list ServiceAccounts: {}{hint}", api_error::one_line(&error))
        })?;
        for PartialObjectMeta { metadata, .. } in &listed.items {
            if let (Some(namespace), Some(name), Some(identity)) =
                (&metadata.namespace, &metadata.name, identity(rules, metadata))
            {
                each(namespace, name, &identity);
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

/// What is read of a ServiceAccount: of its metadata what is needed, and of `managedFields`, which is the larger part of
/// every page of a list, nothing.
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

/// Writes what the watch tells into the table.
struct Mirror {
    rules: Arc<AnnotationRules>,
    table: Arc<Table>,
    list: ListNumber,
    say_synced: watch::Sender<bool>,
}

impl Mirror {
    fn put(&self, account: &Account) {
        let metadata = &account.metadata;
        if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
            self.table
                .put(namespace, name, identity(&self.rules, metadata), self.list);
        }
    }
}

impl Observer<Account> for Mirror {
    fn list_began(&mut self) {
        self.list = self.list.next();
    }

    fn listed(&mut self, account: Account) {
        self.put(&account);
    }

    fn list_ended(&mut self) {
        self.table.keep_only(self.list);
        self.say_synced
            .send_if_modified(|synced| !std::mem::replace(synced, true));
    }

    fn changed(&mut self, account: Account) {
        self.put(&account);
    }

    fn deleted(&mut self, account: Account) {
        if let (Some(namespace), Some(name)) = (&account.metadata.namespace, &account.metadata.name) {
            self.table.remove(namespace, name);
        }
    }

    fn meanwhile(&self) -> &'static str {
        "what is known stays in use, and what is not is asked of the API server"
    }
}
