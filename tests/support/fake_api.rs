//! A Kubernetes API served over HTTP on loopback: as much of it as a list, a watch and a GET can distinguish from a real one.
//!
//! It keeps objects with resource versions and a history of changes. Lists are paged by `limit` and `continue` over one
//! snapshot; a watch sends what happened after its `resourceVersion` and bookmarks when asked to, ends after
//! `timeoutSeconds`, and is answered with 410 when its version is older than the history. Tests make it slow, silent, broken or
//! gone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Body, Frame};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::fake_events::{EventCall, Events};

/// How a kind of request fails, until it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this code and a `metav1.Status`.
    Status(u16),
    /// Answered, but only after this long.
    Slow(Duration),
    /// The connection is closed without an answer.
    Cut,
}

/// How watches behave, until it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watches {
    /// Each change is sent, and a bookmark at least every so often.
    Bookmarked(Duration),
    /// Open, and nothing is sent.
    Silent,
    /// Refused with this code.
    Refused(u16),
}

/// What was asked of the API so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Pages of lists.
    pub pages: usize,
    /// Lists from their first page on.
    pub lists: usize,
    pub watches: usize,
    pub gets: usize,
    /// The maximum number of concurrent GETs.
    pub gets_at_once: usize,
    /// The version of the last bookmark.
    pub bookmarked: u64,
    /// Requests of any kind, lists and watches included, that asked for whole objects and not metadata.
    pub whole: usize,
}

/// A served API. Dropping it ends it.
pub struct FakeApi {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    alive: CancellationToken,
}

impl FakeApi {
    /// Starts on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut api = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared::new()),
            alive: CancellationToken::new(),
        };
        api.serve(listener);
        api
    }

    fn serve(&mut self, listener: TcpListener) {
        self.alive = CancellationToken::new();
        let (shared, alive) = (Arc::clone(&self.shared), self.alive.clone());
        tokio::spawn(alive.clone().run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| Arc::clone(&shared).answer(request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(alive.clone().run_until_cancelled_owned(async move {
                    // A client that disconnects, or is disconnected on purpose, is not an error.
                    let _ = connection.await;
                }));
            }
        }));
    }

    /// A client configuration for it.
    pub fn config(&self) -> kube::Config {
        kube::Config::new(format!("http://{}", self.address).parse().unwrap())
    }

    /// The API server is gone: its port is closed and every connection with it.
    pub fn stop(&self) {
        self.alive.cancel();
    }

    /// It comes back where it was.
    pub async fn restart(&mut self) {
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        };
        self.serve(listener);
    }

    /// Creates or changes a ServiceAccount.
    pub fn put_account(&self, namespace: &str, name: &str, annotations: &[(&str, &str)]) {
        let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
        let object = json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {
                "namespace": namespace,
                "name": name,
                "uid": format!("uid-of-{namespace}-{name}"),
                "creationTimestamp": "2026-11-02T08:00:00Z",
                "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "Helm"},
                "annotations": annotations,
                "managedFields": [{
                    "manager": "helm", "operation": "Update", "apiVersion": "v1", "time": "2026-11-02T08:00:00Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:metadata": {
                        "f:annotations": {".": {}, "f:eks.amazonaws.com/role-arn": {}},
                        "f:labels": {".": {}, "f:app.kubernetes.io/name": {}, "f:app.kubernetes.io/managed-by": {}},
                    }},
                }],
            },
        });
        self.shared.put("serviceaccounts", namespace, name, object);
    }

    /// Creates or changes an object of a workload resource.
    pub fn put_workload(&self, resource: &'static str, object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        self.shared.put(resource, &namespace, &name, object);
    }

    /// Has another API group, next to those that every cluster has.
    pub fn serve_group(&self, group: &'static str, version: &'static str) {
        self.shared.lock().groups.push((group, version));
    }

    /// Deletes a ServiceAccount.
    pub fn delete_account(&self, namespace: &str, name: &str) {
        self.shared.delete("serviceaccounts", namespace, name);
    }

    /// Creates or changes a Namespace.
    pub fn put_namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let mut labels: BTreeMap<_, _> = labels.iter().copied().collect();
        labels.insert("kubernetes.io/metadata.name", name);
        let object = json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"name": name, "uid": format!("uid-of-{name}"), "labels": labels},
        });
        self.shared.put("namespaces", "", name, object);
    }

    /// Creates or changes a ConfigMap.
    pub fn put_config_map(&self, namespace: &str, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        let object = json!({
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {"namespace": namespace, "name": name, "uid": "uid-of-the-map"},
            "data": data,
        });
        self.shared.put("configmaps", namespace, name, object);
    }

    /// Deletes a ConfigMap.
    pub fn delete_config_map(&self, namespace: &str, name: &str) {
        self.shared.delete("configmaps", namespace, name);
    }

    /// Creates or changes a Secret.
    pub fn put_secret(&self, namespace: &str, name: &str, data: Option<Value>) {
        let mut object = json!({
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"namespace": namespace, "name": name, "uid": "uid-of-the-secret"},
            "type": "Opaque",
        });
        if let Some(data) = data {
            object["data"] = data;
        }
        self.shared.put("secrets", namespace, name, object);
    }

    /// Creates or changes a MutatingWebhookConfiguration with these entries, each with its bundle in base64.
    pub fn put_webhooks(&self, name: &str, bundles: &[Option<&str>]) {
        let entries = bundles.iter().enumerate().map(|(number, bundle)| {
            let mut entry = json!({"name": format!("entry-{number}.rolegate.io"),
                "clientConfig": {"service": {"name": "rolegate", "namespace": "rolegate"}}});
            if let Some(bundle) = bundle {
                entry["clientConfig"]["caBundle"] = json!(bundle);
            }
            entry
        });
        let object = json!({
            "kind": "MutatingWebhookConfiguration",
            "apiVersion": "admissionregistration.k8s.io/v1",
            "metadata": {"name": name, "uid": "uid-of-the-webhooks"},
            "webhooks": entries.collect::<Vec<_>>(),
        });
        self.shared.put("mutatingwebhookconfigurations", "", name, object);
    }

    /// An object as it is now; the namespace of what has none is empty.
    pub fn object(&self, kind: &'static str, namespace: &str, name: &str) -> Option<Value> {
        let id = (namespace.to_owned(), name.to_owned());
        let state = self.shared.lock();
        state.objects.get(kind)?.get(&id).map(|object| (**object).clone())
    }

    /// Deletes any object.
    pub fn delete(&self, kind: &'static str, namespace: &str, name: &str) {
        self.shared.delete(kind, namespace, name);
    }

    /// What goes wrong with patches.
    pub fn fail_patches(&self, fault: Option<Fault>) {
        self.shared.lock().patch_fault = fault;
    }

    /// What `/.well-known/openid-configuration` says; none is a 404.
    pub fn set_discovery(&self, document: Option<&str>) {
        self.shared.lock().discovery = document.map(str::to_owned);
    }

    pub fn fail_gets(&self, fault: Option<Fault>) {
        self.shared.lock().get_fault = fault;
    }

    pub fn fail_lists(&self, fault: Option<Fault>) {
        self.shared.lock().list_fault = fault;
    }

    /// The client has no right to list, watch or get objects of these kinds.
    pub fn forbid(&self, kinds: &[&'static str]) {
        self.shared.lock().forbidden = kinds.iter().copied().collect();
    }

    /// The client has no right to list or watch objects of this kind in this namespace.
    pub fn forbid_in(&self, namespace: &str, kind: &'static str) {
        self.shared.lock().forbidden_in.insert((namespace.to_owned(), kind));
    }

    /// The next page that continues a list is refused with 410, as when the snapshot was compacted in between.
    pub fn expire_continue_token(&self) {
        self.shared.lock().snapshots.clear();
        self.shared.lock().expire_next_continue = true;
    }

    /// How watches behave from now on, those that are open included.
    pub fn set_watches(&self, watches: Watches) {
        self.shared.lock().watches = watches;
        self.shared.stir();
    }

    /// Holds changes back from open watches: the API server answers GETs from newer state than it has sent.
    pub fn hold_events(&self) {
        self.shared.lock().held = true;
    }

    /// What was kept back is sent.
    pub fn release_events(&self) {
        self.shared.lock().held = false;
        self.shared.stir();
    }

    /// A client that reaches it without a network: for tests whose time is paused.
    pub fn client(&self) -> kube::Client {
        let shared = Arc::clone(&self.shared);
        let service = tower::service_fn(move |request| Arc::clone(&shared).answer(request));
        kube::Client::new(service, "default")
    }

    /// The Events, and what goes wrong with them.
    pub fn events<T>(&self, of: impl FnOnce(&mut Events) -> T) -> T {
        of(&mut self.shared.lock().events)
    }

    /// Compacts the history: a watch that resumes from before gets 410, open ones within the stream.
    pub fn compact(&self) {
        let mut state = self.shared.lock();
        // A version of its own, so that what was just listed counts as too old as well.
        state.version += 1;
        state.oldest = state.version;
        state.history.clear();
        drop(state);
        self.shared.stir();
    }

    /// Cuts the open watches off in the middle.
    pub fn cut_watches(&self) {
        self.shared.lock().cuts += 1;
        self.shared.stir();
    }

    pub fn asked(&self) -> Asked {
        self.shared.lock().asked
    }

    /// Whether a GET has asked for a ServiceAccount.
    pub fn was_asked_for(&self, namespace: &str, account: &str) -> bool {
        let key = (namespace.to_owned(), account.to_owned());
        self.shared.lock().accounts_asked_for.contains(&key)
    }

    /// The resource versions that watches started from, in order.
    pub fn watched_from(&self) -> Vec<u64> {
        self.shared.lock().watched_from.clone()
    }

    /// The version of the last change.
    pub fn version(&self) -> u64 {
        self.shared.lock().version
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.alive.cancel();
    }
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;
type Id = (String, String);

struct Shared {
    state: Mutex<State>,
    /// Moves whenever something changed that a watch may have to look at.
    stirred: watch::Sender<u64>,
}

struct State {
    version: u64,
    objects: HashMap<&'static str, BTreeMap<Id, Arc<Value>>>,
    history: Vec<Change>,
    /// Watches resume from this version or a later one.
    oldest: u64,
    snapshots: HashMap<String, Arc<Vec<Arc<Value>>>>,
    expire_next_continue: bool,
    discovery: Option<String>,
    get_fault: Option<Fault>,
    list_fault: Option<Fault>,
    patch_fault: Option<Fault>,
    forbidden: BTreeSet<&'static str>,
    forbidden_in: BTreeSet<(String, &'static str)>,
    /// Group and version of each API group.
    groups: Vec<(&'static str, &'static str)>,
    watches: Watches,
    held: bool,
    cuts: u64,
    gets_now: usize,
    /// The ServiceAccounts that were asked for by a GET, by namespace and name.
    accounts_asked_for: HashSet<(String, String)>,
    asked: Asked,
    watched_from: Vec<u64>,
    events: Events,
}

#[derive(Clone)]
struct Change {
    version: u64,
    kind: &'static str,
    what: &'static str,
    object: Arc<Value>,
}

impl Shared {
    fn new() -> Self {
        let state = State {
            version: 100,
            objects: HashMap::new(),
            history: Vec::new(),
            oldest: 0,
            snapshots: HashMap::new(),
            expire_next_continue: false,
            discovery: None,
            get_fault: None,
            list_fault: None,
            patch_fault: None,
            forbidden: BTreeSet::new(),
            forbidden_in: BTreeSet::new(),
            groups: vec![("apps", "v1"), ("batch", "v1")],
            watches: Watches::Bookmarked(Duration::from_secs(60)),
            held: false,
            cuts: 0,
            gets_now: 0,
            accounts_asked_for: HashSet::new(),
            asked: Asked::default(),
            watched_from: Vec::new(),
            events: Events::default(),
        };
        Self {
            state: Mutex::new(state),
            stirred: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn stir(&self) {
        self.stirred.send_modify(|count| *count += 1);
    }

    fn put(&self, kind: &'static str, namespace: &str, name: &str, mut object: Value) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(object);
        let id = (namespace.to_owned(), name.to_owned());
        let old = state.objects.entry(kind).or_default().insert(id, Arc::clone(&object));
        let what = if old.is_some() { "MODIFIED" } else { "ADDED" };
        state.history.push(Change {
            version,
            kind,
            what,
            object,
        });
        drop(state);
        self.stir();
    }

    fn delete(&self, kind: &'static str, namespace: &str, name: &str) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let id = (namespace.to_owned(), name.to_owned());
        let mut object = (*state.objects.entry(kind).or_default().remove(&id).unwrap()).clone();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        state.history.push(Change {
            version,
            kind,
            what: "DELETED",
            object: Arc::new(object),
        });
        drop(state);
        self.stir();
    }

    async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Result<Answer, std::io::Error>
    where
        B: Body<Error: Debug>,
    {
        let query: HashMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), decoded(value)))
            .collect();
        let path: Vec<String> = request.uri().path().split('/').skip(1).map(decoded).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let accept = request
            .headers()
            .get("accept")
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default();
        let is_slim = path.contains(&"serviceaccounts")
            || matches!(
                path.as_slice(),
                ["api", "v1", "namespaces"] | ["api", "v1", "namespaces", _]
            );
        if is_slim && !accept.contains("PartialObjectMetadata") {
            self.lock().asked.whole += 1;
        }
        match path.as_slice() {
            [".well-known", "openid-configuration"] => {
                let discovery = self.lock().discovery.clone();
                Ok(discovery.map_or_else(|| status(404, "NotFound", "not found"), |text| full(200, text)))
            }
            ["apis"] => {
                let groups = self.lock().groups.clone();
                let groups: Vec<Value> = groups
                    .iter()
                    .map(|(group, version)| {
                        let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
                        json!({"name": group, "versions": [version], "preferredVersion": version})
                    })
                    .collect();
                let list = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups});
                Ok(full(200, list.to_string()))
            }
            ["api", "v1", resource] => self.collection(kind(resource), None, &query).await,
            ["api", "v1", "namespaces", name] => self.get("namespaces", "", name).await,
            ["api", "v1", "namespaces", namespace, resource] => {
                self.collection(kind(resource), Some(namespace), &query).await
            }
            ["api", "v1", "namespaces", namespace, resource, name] if request.method() == "PATCH" => {
                let (kind, id) = (kind(resource), ((*namespace).to_owned(), (*name).to_owned()));
                let body = request.into_body().collect().await.unwrap().to_bytes();
                self.patch(kind, id, &body).await
            }
            ["api", "v1", "namespaces", namespace, resource, name] => self.get(kind(resource), namespace, name).await,
            ["apis", "admissionregistration.k8s.io", "v1", resource] => {
                self.collection(kind(resource), None, &query).await
            }
            ["apis", "admissionregistration.k8s.io", "v1", resource, name] if request.method() == "PATCH" => {
                let (kind, id) = (kind(resource), (String::new(), (*name).to_owned()));
                let body = request.into_body().collect().await.unwrap().to_bytes();
                self.patch(kind, id, &body).await
            }
            ["apis", "admissionregistration.k8s.io", "v1", resource, name] => self.get(kind(resource), "", name).await,
            [
                "apis",
                "events.k8s.io",
                "v1",
                "namespaces",
                namespace,
                "events",
                name @ ..,
            ] => {
                let (namespace, name) = ((*namespace).to_owned(), name.first().map(|name| (*name).to_owned()));
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap();
                self.event(&namespace, name.as_deref(), body).await
            }
            ["apis", group, version, rest @ ..] if self.serves(group, version) => match rest {
                [resource] => self.workloads(resource, None, &query).await,
                ["namespaces", namespace, resource] => self.workloads(resource, Some(namespace), &query).await,
                other => panic!("asked for {other:?} of {group}"),
            },
            other => panic!("asked for {other:?}"),
        }
    }

    fn serves(&self, group: &str, version: &str) -> bool {
        let state = self.lock();
        state.groups.contains(&(group, version))
    }

    /// A list of workloads; 404 for a resource that the group does not have.
    async fn workloads(
        self: &Arc<Self>,
        resource: &str,
        namespace: Option<&str>,
        query: &HashMap<String, String>,
    ) -> Result<Answer, std::io::Error> {
        match WORKLOADS.iter().find(|known| **known == resource) {
            Some(kind) => self.collection(kind, namespace, query).await,
            None => Ok(status(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )),
        }
    }

    /// A JSON patch. One that sets another version than the object's is a conflict, as for the real one.
    async fn patch(&self, kind: &'static str, id: Id, body: &[u8]) -> Result<Answer, std::io::Error> {
        let fault = self.lock().patch_fault;
        if let Some(answer) = suffer(fault).await? {
            return Ok(answer);
        }
        let patch: json_patch::Patch = serde_json::from_slice(body).unwrap();
        let mut state = self.lock();
        let Some(object) = state.objects.entry(kind).or_default().get(&id).cloned() else {
            return Ok(status(404, "NotFound", "not found"));
        };
        let mut patched = (*object).clone();
        if let Err(error) = json_patch::patch(&mut patched, &patch) {
            return Ok(status(422, "Invalid", &error.to_string()));
        }
        if patched["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return Ok(status(409, "Conflict", "the object has been modified"));
        }
        // No other writer runs between the check and the change.
        state.version += 1;
        let version = state.version;
        patched["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(patched);
        state.objects.entry(kind).or_default().insert(id, Arc::clone(&object));
        state.history.push(Change {
            version,
            kind,
            what: "MODIFIED",
            object: Arc::clone(&object),
        });
        drop(state);
        self.stir();
        Ok(full(200, object.to_string()))
    }

    async fn event(&self, namespace: &str, name: Option<&str>, body: Value) -> Result<Answer, std::io::Error> {
        let fault = {
            let events = &mut self.lock().events;
            let (verb, fault) = match name {
                None => ("create", events.create_fault),
                Some(_) => ("patch", events.patch_fault),
            };
            events.calls.push(EventCall {
                verb,
                at: Instant::now(),
                body: body.clone(),
            });
            fault
        };
        if let Some(answer) = suffer(fault).await? {
            return Ok(answer);
        }
        let events = &mut self.lock().events;
        let (code, object) = match name {
            None => events.create(namespace, &body),
            Some(name) => events.patch(namespace, name, &body),
        };
        Ok(full(code, object.to_string()))
    }

    async fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Result<Answer, std::io::Error> {
        let fault = {
            let mut state = self.lock();
            if kind == "serviceaccounts" {
                state.accounts_asked_for.insert((namespace.to_owned(), name.to_owned()));
            }
            state.asked.gets += 1;
            state.gets_now += 1;
            state.asked.gets_at_once = state.asked.gets_at_once.max(state.gets_now);
            state.get_fault
        };
        let _under_way = OnDrop(|| self.lock().gets_now -= 1);
        // What a GET answers is what is true when it arrives.
        let object = self
            .lock()
            .objects
            .entry(kind)
            .or_default()
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned();
        if let Some(answer) = self.forbidden(kind, "get") {
            return Ok(answer);
        }
        if let Some(answer) = suffer(fault).await? {
            return Ok(answer);
        }
        Ok(match object {
            Some(object) => full(200, object.to_string()),
            None => status(404, "NotFound", &format!("{kind} \"{name}\" not found")),
        })
    }

    async fn collection(
        self: &Arc<Self>,
        kind: &'static str,
        namespace: Option<&str>,
        query: &HashMap<String, String>,
    ) -> Result<Answer, std::io::Error> {
        let name = query
            .get("fieldSelector")
            .map(|selector| selector.strip_prefix("metadata.name=").unwrap().to_owned());
        let filter = Filter {
            kind,
            namespace: namespace.map(str::to_owned),
            name,
        };
        let is_watch = query.get("watch").is_some_and(|watch| watch == "true");
        let verb = if is_watch { "watch" } else { "list" };
        if let Some(answer) = self
            .forbidden(kind, verb)
            .or_else(|| self.forbidden_in(namespace, kind, verb))
        {
            return Ok(answer);
        }
        if is_watch {
            self.watch(filter, query)
        } else {
            self.list(&filter, query).await
        }
    }

    /// What RBAC answers.
    fn forbidden(&self, kind: &str, verb: &str) -> Option<Answer> {
        self.lock().forbidden.contains(kind).then(|| forbidden(kind, verb))
    }

    fn forbidden_in(&self, namespace: Option<&str>, kind: &'static str, verb: &str) -> Option<Answer> {
        let at = (namespace?.to_owned(), kind);
        self.lock().forbidden_in.contains(&at).then(|| forbidden(kind, verb))
    }

    async fn list(&self, filter: &Filter, query: &HashMap<String, String>) -> Result<Answer, std::io::Error> {
        let fault = {
            let mut state = self.lock();
            state.asked.pages += 1;
            state.asked.lists += usize::from(!query.contains_key("continue"));
            state.list_fault
        };
        if let Some(answer) = suffer(fault).await? {
            return Ok(answer);
        }
        let mut state = self.lock();
        if query.contains_key("continue") && std::mem::take(&mut state.expire_next_continue) {
            return Ok(status(410, "Expired", "The provided continue parameter is too old"));
        }
        let (version, from, snapshot) = match query.get("continue") {
            Some(token) => {
                let (version, from) = token.split_once(':').unwrap();
                let snapshot = state.snapshots.get(version).cloned();
                let Some(snapshot) = snapshot else {
                    return Ok(status(410, "Expired", "The provided continue parameter is too old"));
                };
                (version.to_owned(), from.parse().unwrap(), snapshot)
            }
            None => {
                let objects = state.objects.entry(filter.kind).or_default();
                let snapshot: Vec<_> = objects
                    .values()
                    .filter(|object| filter.takes(object))
                    .cloned()
                    .collect();
                (state.version.to_string(), 0, Arc::new(snapshot))
            }
        };
        let limit = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let to = snapshot.len().min(from + limit);
        let page: Vec<String> = snapshot[from..to].iter().map(ToString::to_string).collect();
        let mut metadata = json!({"resourceVersion": version});
        if to < snapshot.len() {
            metadata["continue"] = json!(format!("{version}:{to}"));
            state.snapshots.insert(version, snapshot);
        }
        let kind = if filter.kind == "configmaps" {
            ("ConfigMapList", "v1")
        } else {
            ("PartialObjectMetadataList", "meta.k8s.io/v1")
        };
        let text = format!(
            r#"{{"kind":"{}","apiVersion":"{}","metadata":{metadata},"items":[{}]}}"#,
            kind.0,
            kind.1,
            page.join(",")
        );
        Ok(full(200, text))
    }

    fn watch(self: &Arc<Self>, filter: Filter, query: &HashMap<String, String>) -> Result<Answer, std::io::Error> {
        let mut state = self.lock();
        // Without a version, existing objects are sent first; here, these are all in the history.
        let from = query.get("resourceVersion").map_or("", String::as_str);
        let from: u64 = from.parse().unwrap_or(state.oldest);
        state.asked.watches += 1;
        state.watched_from.push(from);
        if let Watches::Refused(code) = state.watches {
            return Ok(status(code, "Refused", "the watch was refused"));
        }
        let cuts = state.cuts;
        drop(state);
        let seconds: u64 = query.get("timeoutSeconds").unwrap().parse().unwrap();
        let cursor = Cursor {
            shared: Arc::clone(self),
            stirred: self.stirred.subscribe(),
            filter,
            version: from,
            cuts,
            bookmarks: query
                .get("allowWatchBookmarks")
                .is_some_and(|allowed| allowed == "true"),
            last: Instant::now(),
            end: Instant::now() + Duration::from_secs(seconds),
            over: false,
        };
        let body = StreamBody::new(
            cursor
                .lines()
                .map(|line| line.map(|line| Frame::data(Bytes::from(line)))),
        );
        Ok(Response::builder()
            .header("content-type", "application/json")
            .body(BodyExt::boxed(body))
            .unwrap())
    }
}

fn forbidden(kind: &str, verb: &str) -> Answer {
    let why = format!("{kind} is forbidden: User \"x\" cannot {verb} resource \"{kind}\" in API group \"\"");
    status(403, "Forbidden", &why)
}

/// What a list or a watch is about.
struct Filter {
    kind: &'static str,
    namespace: Option<String>,
    name: Option<String>,
}

impl Filter {
    fn takes(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        self.namespace
            .as_ref()
            .is_none_or(|namespace| metadata["namespace"] == **namespace)
            && self.name.as_ref().is_none_or(|name| metadata["name"] == **name)
    }
}

/// How far one watch has sent.
struct Cursor {
    shared: Arc<Shared>,
    stirred: watch::Receiver<u64>,
    filter: Filter,
    version: u64,
    cuts: u64,
    bookmarks: bool,
    last: Instant,
    end: Instant,
    over: bool,
}

enum Next {
    Line(String),
    Cut,
    Wait(Instant),
}

impl Cursor {
    fn lines(self) -> impl Stream<Item = Result<String, std::io::Error>> + Send + Sync {
        futures::stream::unfold(self, |mut cursor| async move {
            if cursor.over {
                return None;
            }
            let mut stirred = cursor.stirred.clone();
            loop {
                stirred.borrow_and_update();
                match cursor.next() {
                    Next::Line(line) => {
                        cursor.last = Instant::now();
                        return Some((Ok(line + "\n"), cursor));
                    }
                    Next::Cut => {
                        cursor.over = true;
                        return Some((Err(std::io::Error::other("cut")), cursor));
                    }
                    Next::Wait(until) => {
                        tokio::select! {
                            _ = stirred.changed() => {}
                            () = sleep_until(until.min(cursor.end)) => {
                                if Instant::now() >= cursor.end {
                                    return None;
                                }
                            }
                        }
                    }
                }
            }
        })
    }

    fn next(&mut self) -> Next {
        let mut state = self.shared.lock();
        if state.cuts != self.cuts {
            return Next::Cut;
        }
        let Watches::Bookmarked(every) = state.watches else {
            return Next::Wait(self.end);
        };
        if self.version < state.oldest {
            self.over = true;
            let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
                "reason": "Expired", "message": "too old resource version"});
            return Next::Line(json!({"type": "ERROR", "object": gone}).to_string());
        }
        if !state.held {
            let first = state.history.partition_point(|change| change.version <= self.version);
            let next = state.history[first..]
                .iter()
                .find(|change| change.kind == self.filter.kind && self.filter.takes(&change.object))
                .cloned();
            if let Some(change) = next {
                self.version = change.version;
                return Next::Line(format!(r#"{{"type":"{}","object":{}}}"#, change.what, change.object));
            }
        }
        let due = self.last + every;
        if self.bookmarks && Instant::now() >= due {
            if !state.held {
                self.version = state.version;
            }
            state.asked.bookmarked = self.version;
            let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": self.version.to_string(), "creationTimestamp": null}});
            return Next::Line(json!({"type": "BOOKMARK", "object": object}).to_string());
        }
        Next::Wait(due)
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

async fn suffer(fault: Option<Fault>) -> Result<Option<Answer>, std::io::Error> {
    match fault {
        None => Ok(None),
        Some(Fault::Slow(time)) => {
            sleep(time).await;
            Ok(None)
        }
        Some(Fault::Cut) => Err(std::io::Error::other("cut")),
        Some(Fault::Status(403)) => Ok(Some(status(
            403,
            "Forbidden",
            "serviceaccounts is forbidden: User \"x\" cannot",
        ))),
        Some(Fault::Status(429)) => Ok(Some(status(
            429,
            "TooManyRequests",
            "the server has received too many requests",
        ))),
        Some(Fault::Status(code)) => Ok(Some(status(code, "InternalError", "something is broken"))),
    }
}

/// The resources of workloads that it has.
const WORKLOADS: [&str; 10] = [
    "pods",
    "podtemplates",
    "replicationcontrollers",
    "daemonsets",
    "deployments",
    "replicasets",
    "statefulsets",
    "cronjobs",
    "jobs",
    "workflows",
];

fn kind(resource: &str) -> &'static str {
    match resource {
        "serviceaccounts" => "serviceaccounts",
        "namespaces" => "namespaces",
        "configmaps" => "configmaps",
        "secrets" => "secrets",
        "mutatingwebhookconfigurations" => "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations" => "validatingwebhookconfigurations",
        other => match WORKLOADS.iter().find(|known| **known == other) {
            Some(kind) => kind,
            None => panic!("asked for the resource {other}"),
        },
    }
}

fn status(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message});
    full(code, status.to_string())
}

fn full(code: u16, text: String) -> Answer {
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
    Response::builder()
        .status(StatusCode::from_u16(code).unwrap())
        .header("content-type", "application/json")
        .body(body.boxed())
        .unwrap()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " "))
        .decode_utf8()
        .unwrap()
        .into_owned()
}
