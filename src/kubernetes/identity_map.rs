//! Identities given by a ConfigMap instead of annotations (`--identity-config-map NAMESPACE/NAME`).
//!
//! Its key `config` holds JSON, `{"NAMESPACE/NAME": {"RoleARN": …, "Audience": …, "UseRegionalSTS": …, "TokenExpiration":
//! …}}`, the format of amazon-eks-pod-identity-webhook; the namespace `*` means any. As there, field names are
//! case-insensitive, and zero and the empty string count as absent. Annotations take precedence: callers use this map last.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::service_accounts::manifests::ManifestServiceAccounts;
use crate::kubernetes::list_watch::{Observer, WatchTiming, list_and_watch};
use crate::pod::identity::{AnnotationRules, ServiceAccountIdentity};
use crate::support::reload::LastGood;
use crate::support::state_log::StateLog;
use crate::support::tasks::OwnedTasks;
use crate::support::text;
use crate::trust::RoleArn;

/// The key of the ConfigMap that is read.
pub(crate) const KEY: &str = "config";

/// The identities of a ConfigMap.
#[derive(Debug)]
pub struct IdentityMap {
    content: Arc<Content>,
    synced: watch::Receiver<bool>,
    tasks: OwnedTasks,
}

impl IdentityMap {
    /// Starts to watch the ConfigMap, with a client made by [`crate::kubernetes::client`]. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(
        client: kube::Client,
        namespace: &str,
        name: &str,
        rules: Arc<AnnotationRules>,
        timing: WatchTiming,
    ) -> Self {
        let (set_synced, synced) = watch::channel(false);
        let content = Arc::new(Content::new(namespace, name, rules, Entries::default(), None));
        let tasks = OwnedTasks::new();
        let mirror = Mirror {
            content: Arc::clone(&content),
            what: format!("the identity ConfigMap {namespace}/{name}"),
            listed: None,
            missing: StateLog::default(),
            set_synced,
        };
        let api: Api<ConfigMap> = Api::namespaced(client, namespace);
        // A watch with this selector is allowed by a rule for the one ConfigMap.
        let fields = Some(format!("metadata.name={name}"));
        let watch = list_and_watch(
            "the identity ConfigMap",
            api,
            fields,
            timing,
            Arc::new(AtomicBool::new(false)),
            mirror,
        );
        tasks.spawn(watch);
        Self { content, synced, tasks }
    }

    /// Uses the ConfigMap of a directory of manifests, and follows its changes.
    ///
    /// # Errors
    /// When the directory contains it and it does not have the expected format.
    pub fn from_manifests(
        manifests: &ManifestServiceAccounts,
        namespace: &str,
        name: &str,
        rules: Arc<AnnotationRules>,
    ) -> Result<Self, IdentityMapError> {
        let data = manifests.config_map(namespace, name);
        if data.is_none() {
            tracing::warn!(
                "the identity ConfigMap {namespace}/{name} does not exist; until it is created, no ServiceAccount has a role from it"
            );
        }
        let map = Self::from_data(data.as_ref(), namespace, name, rules)?;
        let follower = Arc::clone(&map.content);
        manifests.on_config_map_change(namespace, name, move |data| follower.read(data));
        Ok(map)
    }

    /// Uses the `data` of the ConfigMap, or none if it does not exist, and does not follow its changes.
    ///
    /// # Errors
    /// When it does not have the expected format.
    pub(crate) fn from_data(
        data: Option<&BTreeMap<String, String>>,
        namespace: &str,
        name: &str,
        rules: Arc<AnnotationRules>,
    ) -> Result<Self, IdentityMapError> {
        let source = data.map(|data| data.get(KEY).cloned());
        let entries = parse(&rules, source.as_ref()).map_err(|error| IdentityMapError {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            error,
        })?;
        let (_, synced) = watch::channel(true);
        Ok(Self {
            content: Arc::new(Content::new(namespace, name, rules, entries, source)),
            synced,
            tasks: OwnedTasks::new(),
        })
    }

    /// The identity of a ServiceAccount, else that of its name in any namespace (`*`).
    #[must_use]
    pub fn lookup(&self, namespace: &str, name: &str) -> Option<Arc<ServiceAccountIdentity>> {
        let entries = self.content.entries.peek();
        entries.get(namespace, name).or_else(|| entries.get(ANY, name)).cloned()
    }

    /// What a ServiceAccount requests: by these annotations of it if they ask for a role, well-formed or not, else by its entry in the map.
    #[must_use]
    pub(crate) fn requested(
        map: Option<&Self>,
        namespace: &str,
        name: &str,
        annotations: Option<Arc<ServiceAccountIdentity>>,
    ) -> Option<Arc<ServiceAccountIdentity>> {
        match annotations {
            Some(identity) if identity.asks_for_role() => Some(identity),
            other => map.and_then(|map| map.lookup(namespace, name)).or(other),
        }
    }

    /// Calls `each` for every distinct role, to read roles ahead.
    pub fn for_each_role(&self, each: &mut dyn FnMut(&RoleArn)) {
        let entries = self.content.entries.peek();
        let roles = entries.0.values().filter_map(|identity| identity.role());
        let distinct: HashSet<&RoleArn> = roles.collect();
        distinct.into_iter().for_each(each);
    }

    /// All entries as they are now.
    pub(crate) fn entries(&self) -> Arc<Entries> {
        self.content.entries.value()
    }

    /// Changes with the entries.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.content.entries.changes()
    }

    /// Whether it has been read, or is known to be missing. Never false again after it was true.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until it has been read, or is known to be missing.
    pub async fn synced(&self) {
        // It fails when the watch was stopped, which happens at shutdown only.
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
    }

    /// The number of edits since the start that could not be used.
    #[must_use]
    pub fn reload_failures(&self) -> u64 {
        self.content.entries.failures()
    }

    /// Ends the watch and waits for its end.
    pub async fn stop(&self) {
        self.tasks.stop().await;
    }
}

/// Why the ConfigMap of a directory of manifests cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ConfigMap {namespace}/{name}: {error}")]
pub struct IdentityMapError {
    namespace: String,
    name: String,
    error: FormatError,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum FormatError {
    #[error(r#"it has no key `{KEY}`; add it, with JSON as its value: {{"NAMESPACE/NAME": {{"RoleARN": "…"}}}}"#)]
    NoKey,
    #[error(r#"expected JSON, {{"NAMESPACE/NAME": {{"RoleARN": "…"}}}}: {0}"#)]
    Json(String),
    #[error("entry `{key}`: expected {expected}")]
    Entry { key: String, expected: &'static str },
}

/// The namespace of entries for a ServiceAccount of this name in any namespace.
const ANY: &str = "*";

/// What the ServiceAccounts of the map request, by namespace (or `*`) and name.
#[derive(Debug, Default)]
pub(crate) struct Entries(HashMap<(Box<str>, Box<str>), Arc<ServiceAccountIdentity>>);

/// The ServiceAccounts that an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryKey<'a> {
    /// None: in any namespace.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
}

impl Entries {
    fn get(&self, namespace: &str, name: &str) -> Option<&Arc<ServiceAccountIdentity>> {
        self.0.get(&(namespace.into(), name.into()))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = EntryKey<'_>> {
        self.0.keys().map(|(namespace, name)| EntryKey {
            namespace: (**namespace != *ANY).then_some(&**namespace),
            name,
        })
    }

    /// The keys of entries that came, went or are other than before.
    pub(crate) fn differences<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = EntryKey<'a>> {
        let entry_of = |entries: &'a Self, key: EntryKey<'a>| entries.get(key.namespace.unwrap_or(ANY), key.name);
        let here = self
            .keys()
            .filter(move |key| entry_of(self, *key) != entry_of(before, *key));
        let gone = before.keys().filter(move |key| entry_of(self, *key).is_none());
        here.chain(gone)
    }
}

/// The ConfigMap's text: none without the ConfigMap, and none inside without the key.
type Source = Option<Option<String>>;

struct Content {
    rules: Arc<AnnotationRules>,
    entries: LastGood<Entries, Source>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("entries", &self.entries.peek().0.len())
            .finish_non_exhaustive()
    }
}

impl Content {
    fn new(namespace: &str, name: &str, rules: Arc<AnnotationRules>, entries: Entries, source: Source) -> Self {
        let what = format!("the identity ConfigMap {namespace}/{name}");
        Self {
            rules,
            entries: LastGood::new(what, entries, source),
        }
    }

    fn read(&self, data: Option<&BTreeMap<String, String>>) {
        let source = data.map(|data| data.get(KEY).cloned());
        self.entries.update(Ok(source), |source| {
            parse(&self.rules, source.as_ref()).map_err(|error| error.to_string())
        });
    }
}

/// Passes the watched ConfigMap to the content.
struct Mirror {
    content: Arc<Content>,
    /// For log lines.
    what: String,
    listed: Option<BTreeMap<String, String>>,
    /// A wrong name looks the same as a ConfigMap that is created later.
    missing: StateLog,
    set_synced: watch::Sender<bool>,
}

impl Mirror {
    fn read(&mut self, data: Option<&BTreeMap<String, String>>) {
        if data.is_some() {
            self.missing.recovered();
        } else if self.missing.failed() {
            tracing::warn!(
                "{} does not exist; until it is created, no ServiceAccount has a role from it",
                self.what
            );
        }
        self.content.read(data);
    }
}

impl Observer<ConfigMap> for Mirror {
    fn init(&mut self) {
        self.listed = None;
    }

    fn init_apply(&mut self, config_map: ConfigMap) {
        self.listed = Some(config_map.data.unwrap_or_default());
    }

    fn init_done(&mut self) {
        let listed = self.listed.take();
        self.read(listed.as_ref());
        self.set_synced
            .send_if_modified(|synced| !std::mem::replace(synced, true));
    }

    fn apply(&mut self, config_map: ConfigMap) {
        self.read(Some(&config_map.data.unwrap_or_default()));
    }

    fn delete(&mut self, _config_map: ConfigMap) {
        self.read(None);
    }

    fn while_broken(&self) -> &'static str {
        "the last content stays in use"
    }
}

fn parse(rules: &AnnotationRules, source: Option<&Option<String>>) -> Result<Entries, FormatError> {
    let text = match source {
        // Without the ConfigMap there are no identities: it might be created later, or was deleted on purpose.
        None => return Ok(Entries::default()),
        Some(None) => return Err(FormatError::NoKey),
        Some(Some(text)) => text,
    };
    let entries: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| FormatError::Json(text::line(&error.to_string()).into_owned()))?;
    let entry = |(key, value): (&String, &Value)| entry(rules, key, value).transpose();
    entries.iter().filter_map(entry).collect::<Result<_, _>>().map(Entries)
}

type Entry = ((Box<str>, Box<str>), Arc<ServiceAccountIdentity>);

fn entry(rules: &AnnotationRules, key: &str, value: &Value) -> Result<Option<Entry>, FormatError> {
    let wrong = |expected| FormatError::Entry {
        key: text::value(key),
        expected,
    };
    let (namespace, name) = match key.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            (namespace, name)
        }
        _ => return Err(wrong("NAMESPACE/NAME")),
    };
    let Value::Object(fields) = value else {
        return Err(wrong("an object with RoleARN"));
    };
    let role_arn = field(fields, "RoleARN", Value::as_str).map_err(|()| wrong("RoleARN to be a string"))?;
    let audience = field(fields, "Audience", Value::as_str).map_err(|()| wrong("Audience to be a string"))?;
    let regional =
        field(fields, "UseRegionalSTS", Value::as_bool).map_err(|()| wrong("UseRegionalSTS to be true or false"))?;
    let expiration = field(fields, "TokenExpiration", Value::as_i64)
        .map_err(|()| wrong("TokenExpiration to be a whole number of seconds"))?;
    let identity = ServiceAccountIdentity::from_config_map_entry(
        rules,
        role_arn.unwrap_or_default(),
        audience.filter(|audience| !audience.is_empty()),
        regional,
        expiration.filter(|seconds| *seconds != 0),
    );
    Ok(identity.map(|identity| ((namespace.into(), name.into()), Arc::new(identity))))
}

/// A field by its name in any letter case; null counts as absent.
fn field<'a, T>(
    fields: &'a Map<String, Value>,
    name: &str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Option<T>, ()> {
    match fields
        .iter()
        .find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null())
    {
        None => Ok(None),
        Some((_, value)) => read(value).map(Some).ok_or(()),
    }
}

#[cfg(test)]
impl IdentityMap {
    /// With this content of the key.
    pub(crate) fn of(text: &str) -> Self {
        let rules = AnnotationRules {
            prefix: "eks.amazonaws.com/".to_owned(),
            compose: None,
        };
        let entries = parse(&rules, Some(&Some(text.to_owned()))).unwrap();
        Self {
            content: Arc::new(Content::new("namespace", "map", Arc::new(rules), entries, None)),
            synced: watch::channel(true).1,
            tasks: OwnedTasks::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(role: &str) -> String {
        format!(r#"{{"RoleARN": "arn:aws:iam::111122223333:role/{role}"}}"#)
    }

    #[test]
    fn a_config_map_without_its_key_says_what_to_add() {
        let rules = AnnotationRules {
            prefix: "eks.amazonaws.com/".to_owned(),
            compose: None,
        };
        let error = parse(&rules, Some(&None)).err().unwrap().to_string();
        assert_eq!(
            error,
            r#"it has no key `config`; add it, with JSON as its value: {"NAMESPACE/NAME": {"RoleARN": "…"}}"#
        );
    }

    #[test]
    fn differences_are_what_came_went_or_changed() {
        let [a, b] = [entry("a"), entry("b")];
        let before = IdentityMap::of(&format!(
            r#"{{"jobs/same": {a}, "jobs/gone": {a}, "jobs/edited": {a}, "*/gone": {a}}}"#
        ));
        let now = IdentityMap::of(&format!(
            r#"{{"jobs/same": {a}, "jobs/new": {a}, "jobs/edited": {b}, "*/same": {a}}}"#
        ));
        let (before, now) = (before.entries(), now.entries());
        let mut found: Vec<_> = now.differences(&before).collect();
        found.sort();
        let key = |namespace, name| EntryKey { namespace, name };
        let jobs = Some("jobs");
        assert_eq!(
            found,
            [
                key(None, "gone"),
                key(None, "same"),
                key(jobs, "edited"),
                key(jobs, "gone"),
                key(jobs, "new"),
            ]
        );
        assert_eq!(now.differences(&now).count(), 0);
    }

    #[test]
    fn annotations_that_ask_for_a_role_win_over_the_map() {
        let identity = |text: &str| IdentityMap::of(&format!(r#"{{"jobs/api": {text}}}"#)).lookup("jobs", "api");
        let annotated = identity(&entry("annotated"));
        let malformed = identity(r#"{"RoleARN": "api"}"#);
        let only_audience = identity(r#"{"Audience": "other"}"#);
        let (map, empty) = (
            IdentityMap::of(&format!(r#"{{"jobs/api": {}}}"#, entry("mapped"))),
            IdentityMap::of("{}"),
        );
        let mapped = map.lookup("jobs", "api");
        for (annotations, map, expected) in [
            (&annotated, Some(&map), &annotated),
            (&malformed, Some(&map), &malformed),
            (&only_audience, Some(&map), &mapped),
            (&None, Some(&map), &mapped),
            (&only_audience, Some(&empty), &only_audience),
            (&None, Some(&empty), &None),
            (&annotated, None, &annotated),
            (&None, None, &None),
        ] {
            assert_eq!(
                &IdentityMap::requested(map, "jobs", "api", annotations.clone()),
                expected
            );
        }
    }
}
