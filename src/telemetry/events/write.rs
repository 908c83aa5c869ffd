//! The requests that report refusals, one at a time.
//!
//! The name of an Event is derived from the ServiceAccount's uid and what happened (the cause of a refusal; the role and policy of a change
//! of trust), so that all replicas, and a replica that was restarted,
//! find an existing Event and continue its series instead of creating another one.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::json;
use tokio::time::Instant;

use super::key::{SeriesKey, Topic};
use crate::kubernetes::api_error;
use crate::kubernetes::service_accounts::{Fetched, ServiceAccounts};
use crate::support::text;
use crate::telemetry::metrics::EventResult;
use crate::trust::Cause;

/// The reporting controller; `kubectl describe` shows it as the source.
const CONTROLLER: &str = "rolegate.io/webhook";

/// The name of the writer in `managedFields`.
const MANAGER: &str = "rolegate";

/// The longest name of an object.
const NAME_BYTES: usize = 253;

/// How far the reporting of a series has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No Event yet.
    New(Name),
    /// An Event of this name exists; its content is not known.
    Taken(Name),
    /// This Event reports so many refusals.
    Written {
        name: Name,
        version: Option<String>,
        count: i32,
    },
}

/// What the name of the Event is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// ServiceAccount and what happened.
    OfTopic,
    /// The note, too: the note of an Event is immutable, so that another note requires another Event.
    OfNote,
}

/// The kinds of requests. Each is paused after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// GET of the ServiceAccount.
    ReadUid,
    /// POST of an Event.
    Create,
    /// PATCH of an Event.
    Update,
}

impl Request {
    pub(super) const fn of(stage: &Stage, uid: Option<&str>) -> Self {
        match (stage, uid) {
            (_, None) => Self::ReadUid,
            (Stage::New(_), Some(_)) => Self::Create,
            (Stage::Taken(_) | Stage::Written { .. }, Some(_)) => Self::Update,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadUid => "read ServiceAccounts for Events",
            Self::Create => "create Events",
            Self::Update => "update Events",
        })
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) key: SeriesKey,
    pub(super) started: Instant,
    pub(super) uid: Option<Arc<str>>,
    pub(super) note: Box<str>,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) unreported: u32,
    pub(super) stage: Stage,
}

impl Job {
    pub(super) fn request(&self) -> Request {
        Request::of(&self.stage, self.uid.as_deref())
    }
}

/// The outcome of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The series reached this stage; the Event reports so many more refusals.
    Reached {
        stage: Stage,
        reported: u32,
        result: Option<EventResult>,
    },
    /// The ServiceAccount's uid.
    Uid(Arc<str>),
    /// The ServiceAccount or its namespace does not exist: there is nothing to attach an Event to.
    NoObject,
    /// The API server will never accept it.
    Rejected(String),
    /// To be retried later.
    Failed(String),
}

/// Sends the requests.
#[derive(Clone)]
pub(super) struct EventClient {
    pub(super) client: kube::Client,
    pub(super) accounts: Arc<ServiceAccounts>,
    pub(super) instance: String,
    pub(super) window: Duration,
}

impl fmt::Debug for EventClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventClient")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl EventClient {
    pub(super) async fn write(&self, job: &Job) -> Outcome {
        let Some(uid) = &job.uid else {
            return self.read_uid(job).await;
        };
        match &job.stage {
            Stage::New(name) => self.create(job, uid, *name).await,
            Stage::Taken(name) => self.read(job, uid, *name).await,
            Stage::Written { name, version, count } => self.update(job, uid, *name, version.as_deref(), *count).await,
        }
    }

    /// The uid of a ServiceAccount, for which no admission had to ask.
    async fn read_uid(&self, job: &Job) -> Outcome {
        let deadline = Instant::now() + UID_TIMEOUT;
        let SeriesKey {
            namespace,
            service_account,
            ..
        } = &job.key;
        match self.accounts.fetch(namespace, service_account, deadline).await {
            Fetched::Found { uid: Some(uid), .. } => Outcome::Uid(uid),
            Fetched::Found { uid: None, .. } | Fetched::NotFound => Outcome::NoObject,
            Fetched::Busy => Outcome::Failed("too many reads of ServiceAccounts are in progress".to_owned()),
            Fetched::Unavailable(why) => Outcome::Failed(why),
        }
    }

    async fn create(&self, job: &Job, uid: &Arc<str>, name: Name) -> Outcome {
        let parameters = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        match self.events(job).create(&parameters, &self.event(job, uid, name)).await {
            Ok(event) => Outcome::Reached {
                stage: written(name, &event),
                reported: job.unreported,
                result: Some(EventResult::Created),
            },
            Err(kube::Error::Api(status)) if status.code == 409 => Outcome::Reached {
                stage: Stage::Taken(name),
                reported: 0,
                result: None,
            },
            // When an object is created, only its namespace can be missing.
            Err(kube::Error::Api(status)) if status.code == 404 || is_terminating(&status) => Outcome::NoObject,
            Err(error) => failed(&error, "create"),
        }
    }

    /// A patch that changes nothing returns the object, so that no permission to read is required.
    async fn read(&self, job: &Job, uid: &Arc<str>, name: Name) -> Outcome {
        match self.patch(job, uid, name, &json!({})).await {
            Ok(event) => Outcome::Reached {
                stage: if name == Name::OfNote || self.is_ours(&event, job) {
                    written(name, &event)
                } else {
                    Stage::New(Name::OfNote)
                },
                reported: 0,
                result: None,
            },
            Err(error) => not_patched(&error, name),
        }
    }

    async fn update(&self, job: &Job, uid: &Arc<str>, name: Name, version: Option<&str>, count: i32) -> Outcome {
        let count = count.saturating_add(i32::try_from(job.unreported).unwrap_or(i32::MAX));
        let series = EventSeries {
            count,
            last_observed_time: MicroTime(job.last),
        };
        // With the version, so that replicas do not overwrite each other's counts.
        let patch = json!({"metadata": {"resourceVersion": version}, "series": series});
        match self.patch(job, uid, name, &patch).await {
            Ok(event) => Outcome::Reached {
                stage: written(name, &event),
                reported: job.unreported,
                result: Some(EventResult::Updated),
            },
            Err(kube::Error::Api(status)) if status.code == 409 => Outcome::Reached {
                stage: Stage::Taken(name),
                reported: 0,
                result: None,
            },
            Err(error) => not_patched(&error, name),
        }
    }

    async fn patch(
        &self,
        job: &Job,
        uid: &Arc<str>,
        name: Name,
        patch: &serde_json::Value,
    ) -> Result<Event, kube::Error> {
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.events(job)
            .patch(&object_name(job, uid, name), &parameters, &Patch::Merge(patch))
            .await
    }

    fn events(&self, job: &Job) -> Api<Event> {
        Api::namespaced(self.client.clone(), &job.key.namespace)
    }

    /// Whether refusals belong to this Event's series: it has the same note, or is not old enough for a second one.
    fn is_ours(&self, event: &Event, job: &Job) -> bool {
        let age = event
            .event_time
            .as_ref()
            .map(|MicroTime(begun)| job.last.duration_since(*begun).unsigned_abs());
        event.note.as_deref() == Some(&*job.note) || age.is_some_and(|age| age < self.window)
    }

    fn event(&self, job: &Job, uid: &Arc<str>, name: Name) -> Event {
        let namespace = job.key.namespace.to_string();
        let topic = job.key.topic;
        let series = (job.unreported > 1).then(|| EventSeries {
            count: i32::try_from(job.unreported).unwrap_or(i32::MAX),
            last_observed_time: MicroTime(job.last),
        });
        Event {
            metadata: ObjectMeta {
                name: Some(object_name(job, uid, name)),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(job.first)),
            type_: Some(topic.kind().to_owned()),
            reason: Some(topic.reason().to_owned()),
            action: Some(topic.action().to_owned()),
            note: Some(job.note.to_string()),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("ServiceAccount".to_owned()),
                namespace: Some(namespace),
                name: Some(job.key.service_account.to_string()),
                uid: Some(uid.to_string()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            series,
            ..Event::default()
        }
    }
}

/// Longer than any single-flight round takes; the request's own timeout ends it earlier.
const UID_TIMEOUT: Duration = Duration::from_secs(10);

fn written(name: Name, event: &Event) -> Stage {
    Stage::Written {
        name,
        version: event.metadata.resource_version.clone(),
        count: event.series.as_ref().map_or(1, |series| series.count),
    }
}

fn not_patched(error: &kube::Error, name: Name) -> Outcome {
    match error {
        // It was deleted, or expired on the API server.
        kube::Error::Api(status) if status.code == 404 => Outcome::Reached {
            stage: Stage::New(name),
            reported: 0,
            result: None,
        },
        error => failed(error, "patch"),
    }
}

/// `SERVICE-ACCOUNT.HASH`, as Kubernetes' own components name Events after what they are about.
fn object_name(job: &Job, uid: &str, name: Name) -> String {
    let mut hasher = DefaultHasher::new();
    match job.key.topic {
        Topic::Refused(cause) => (uid, cause.map(Cause::as_str)).hash(&mut hasher),
        topic @ Topic::Trust { digest, .. } => (uid, topic.reason(), digest).hash(&mut hasher),
    }
    if name == Name::OfNote {
        job.note.hash(&mut hasher);
    }
    let hash = format!(".{:016x}", hasher.finish());
    let account = text::prefix_bytes(&job.key.service_account, NAME_BYTES - hash.len());
    format!("{}{hash}", account.trim_end_matches(['.', '-']))
}

/// A namespace that is being deleted accepts no new objects.
fn is_terminating(status: &Status) -> bool {
    status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .any(|cause| cause.reason == "NamespaceTerminating")
}

fn failed(error: &kube::Error, verb: &str) -> Outcome {
    let line = api_error::one_line(error);
    match error {
        kube::Error::Api(status) if status.code == 403 => Outcome::Failed(format!(
            "{line}; rolegate needs `{verb}` on events in the API group events.k8s.io (or set --events=false)"
        )),
        kube::Error::Api(status) if matches!(status.code, 400 | 413 | 422) => Outcome::Rejected(line),
        _ => Outcome::Failed(line),
    }
}
