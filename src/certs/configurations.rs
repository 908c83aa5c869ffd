//! The webhook configurations whose `caBundle` rolegate writes.
//!
//! A bundle is written by a JSON patch to the entries of the live object. Server-side apply would own the entries: one that the chart
//! removes would then remain as a stub without rules, and no later apply of the chart would be valid.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::keyring::{cas, to_pem};
use super::rotation::{BundleWrite, Ca, Configuration};
use crate::kubernetes::api_error;
use crate::kubernetes::list_watch::WatchTiming;
use crate::kubernetes::notify::{Named, notify_on_change};
use crate::support::backoff::Backoff;
use crate::support::sliding_window::SlidingWindow;

/// The timeout of a request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The name of the writer in `managedFields`.
pub(super) const FIELD_MANAGER: &str = "rolegate";

/// The pause after a conflict with another writer of the same field.
const CONFLICT_BACKOFF: Duration = Duration::from_secs(5);

/// More writes than this within [`WRITES_WINDOW`] are a conflict with another writer of the same field.
const MAX_WRITES: usize = 30;
const WRITES_WINDOW: Duration = Duration::from_secs(60);

/// Which kind of webhook configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationKind {
    /// A `MutatingWebhookConfiguration`.
    Mutating,
    /// A `ValidatingWebhookConfiguration`.
    Validating,
}

impl ConfigurationKind {
    const fn kind(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }

    const fn plural(self) -> &'static str {
        match self {
            Self::Mutating => "mutatingwebhookconfigurations",
            Self::Validating => "validatingwebhookconfigurations",
        }
    }
}

/// A webhook configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationName {
    /// Its kind.
    pub kind: ConfigurationKind,
    /// Its name.
    pub name: String,
}

/// Why an object could not be read or written, in one line that names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ObjectError {
    /// It could not be read or written.
    #[error("{why}")]
    Failed { object: String, why: String },
    /// Another writer changes it after each write.
    #[error(
        "another writer keeps changing caBundle of {object}: check for a second rolegate with that name, or a CA injector"
    )]
    WriteConflict { object: String },
}

impl ObjectError {
    /// The object's name in log lines.
    pub(super) fn object(&self) -> &str {
        match self {
            Self::Failed { object, .. } | Self::WriteConflict { object } => object,
        }
    }

    /// Waits before the next attempt; after a conflict, changes do not shorten the pause.
    pub(super) async fn pause(&self, backoff: &mut Backoff, changed: &Notify) {
        match self {
            Self::Failed { .. } => tokio::select! {
                () = changed.notified() => {}
                () = sleep(backoff.next()) => {}
            },
            Self::WriteConflict { .. } => sleep(CONFLICT_BACKOFF).await,
        }
    }
}

/// The configurations, each with the version that was last read.
#[derive(Debug)]
pub(super) struct Configurations {
    objects: Vec<Object>,
}

#[derive(Debug)]
struct Object {
    named: Named<DynamicObject>,
    version: String,
    writes: SlidingWindow,
}

impl Configurations {
    pub(super) fn new(client: &kube::Client, names: &[ConfigurationName]) -> Self {
        let objects = names.iter().map(|name| {
            let (kind, plural) = (name.kind.kind(), name.kind.plural());
            let resource = ApiResource {
                group: "admissionregistration.k8s.io".to_owned(),
                version: "v1".to_owned(),
                api_version: "admissionregistration.k8s.io/v1".to_owned(),
                kind: kind.to_owned(),
                plural: plural.to_owned(),
            };
            let named = Named {
                api: Api::all_with(client.clone(), &resource),
                name: name.name.clone(),
                what: format!("{kind} {}", name.name),
                needs: format!(
                    "`get`, `watch` and `patch` on {plural} with resourceNames: [{}]",
                    name.name
                ),
            };
            Object {
                named,
                version: String::new(),
                writes: SlidingWindow::new(WRITES_WINDOW),
            }
        });
        Self {
            objects: objects.collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Notifies whenever one of them might have changed, until dropped.
    pub(super) fn notify_on_change(
        &self,
        timing: WatchTiming,
        changed: &Arc<Notify>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let objects: Vec<_> = self.objects.iter().map(|object| object.named.clone()).collect();
        let changed = changed.clone();
        async move {
            join_all(
                objects
                    .into_iter()
                    .map(|named| notify_on_change(named, timing, &changed)),
            )
            .await;
        }
    }

    pub(super) async fn read(&mut self, index: usize) -> Result<Configuration, ObjectError> {
        let Some(object) = self.objects.get_mut(index) else {
            return Ok(Configuration::Absent);
        };
        let read = bounded(&object.named, "read", object.named.api.get_opt(&object.named.name)).await?;
        Ok(read.map_or(Configuration::Absent, |read| object.read(&read)))
    }

    /// Writes bundles and returns the configuration as written; none if it was changed or deleted since it was read.
    pub(super) async fn write(&mut self, write: &BundleWrite) -> Result<Option<Configuration>, ObjectError> {
        let Some(object) = self.objects.get_mut(write.configuration) else {
            return Ok(None);
        };
        object.check_for_conflict()?;
        let patch = bundle_patch(&object.version, write);
        Ok(patch_object(&object.named, &object.version, patch)
            .await?
            .map(|written| {
                tracing::info!(
                    entries = write.entries.len(),
                    authorities = write.bundle.len(),
                    "wrote caBundle of {}",
                    object.named.what
                );
                object.read(&written)
            }))
    }
}

impl Object {
    fn read(&mut self, object: &DynamicObject) -> Configuration {
        self.version = object.metadata.resource_version.clone().unwrap_or_default();
        let entries = object.data.get("webhooks").and_then(Value::as_array);
        Configuration::Entries(entries.into_iter().flatten().map(entry).collect())
    }

    /// Limits the rate of writes, so that a conflict costs the API server little.
    fn check_for_conflict(&mut self) -> Result<(), ObjectError> {
        if self.writes.admit(MAX_WRITES, Instant::now()).is_err() {
            // After the pause, one more write is tried.
            self.writes.forget_oldest();
            return Err(ObjectError::WriteConflict {
                object: self.named.what.clone(),
            });
        }
        Ok(())
    }
}

/// Patches an object at the version that the patch names. None if it was changed or deleted since.
pub(super) async fn patch_object<K>(named: &Named<K>, version: &str, patch: Value) -> Result<Option<K>, ObjectError>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let patch: kube::core::params::Patch<()> = match serde_json::from_value(patch) {
        Ok(patch) => Patch::Json(patch),
        Err(error) => return Err(failed(named, "write", &error.to_string())),
    };
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patching = named.api.patch(&named.name, &params, &patch);
    match timeout(REQUEST_TIMEOUT, patching).await {
        Ok(Ok(written)) => Ok(Some(written)),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(None),
        // A patch is applied before versions are compared: it does not apply when an entry has just been removed.
        Ok(Err(error @ kube::Error::Api(_))) => {
            let now = bounded(named, "read", named.api.get_opt(&named.name)).await?;
            let is_same = now.is_some_and(|now| now.meta().resource_version.as_deref() == Some(version));
            if is_same {
                return bounded(named, "write", std::future::ready(Err(error))).await;
            }
            Ok(None)
        }
        other => bounded(named, "write", std::future::ready(flatten(other)))
            .await
            .map(Some),
    }
}

fn flatten<T>(outcome: Result<Result<T, kube::Error>, tokio::time::error::Elapsed>) -> Result<T, kube::Error> {
    outcome.unwrap_or_else(|_| {
        Err(kube::Error::Service(Box::new(std::io::Error::from(
            std::io::ErrorKind::TimedOut,
        ))))
    })
}

/// The API server's answer, or why there is none within [`REQUEST_TIMEOUT`].
pub(super) async fn bounded<K, T>(
    named: &Named<K>,
    doing: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ObjectError> {
    match timeout(REQUEST_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let line = api_error::one_line(&error);
            let refused = matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403));
            let hint = if refused {
                format!("; rolegate needs {}", named.needs)
            } else {
                String::new()
            };
            Err(failed(named, doing, &format!("{line}{hint}")))
        }
        Err(_) => Err(failed(named, doing, &format!("no response within {REQUEST_TIMEOUT:?}"))),
    }
}

fn failed<K>(named: &Named<K>, doing: &str, why: &str) -> ObjectError {
    ObjectError::Failed {
        object: named.what.clone(),
        why: format!("cannot {doing} {}: {why}", named.what),
    }
}

/// The CAs in the bundle of an entry. A bundle that cannot be parsed is empty, as it is for the API server.
fn entry(entry: &Value) -> Vec<Ca> {
    let bundle = entry.pointer("/clientConfig/caBundle").and_then(Value::as_str);
    bundle
        .and_then(|bundle| STANDARD.decode(bundle).ok())
        .and_then(|text| cas(&text).ok())
        .unwrap_or_default()
}

fn bundle_patch(version: &str, write: &BundleWrite) -> Value {
    let bundle = STANDARD.encode(to_pem(&write.bundle));
    let version = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version});
    // `add` replaces what is there (RFC 6902 §4.1); an entry always has a clientConfig.
    let entries = write
        .entries
        .iter()
        .map(|entry| json!({"op": "add", "path": format!("/webhooks/{entry}/clientConfig/caBundle"), "value": bundle}));
    Value::Array(std::iter::once(version).chain(entries).collect())
}
