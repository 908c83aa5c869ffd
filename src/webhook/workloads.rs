//! `/validate/workloads`: warnings where a person still looks, at `kubectl apply`. Nothing is ever refused here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::pods::{Admission, Answer};
use super::review::{self, AdmissionRequest, AdmissionResponse, Operation, ReviewError};
use crate::pod::Warning;
use crate::pod::identity::ServiceAccountIdentity;
use crate::pod::view::PodView;

/// Answers one review of a Job, CronJob, Deployment, StatefulSet, DaemonSet or ServiceAccount by `deadline`.
pub async fn review(admission: &Admission, body: &[u8], deadline: Instant) -> Answer {
    match review::parse::<&RawValue>(body) {
        Ok(request) => match warnings(admission, &request, deadline).await {
            Ok(warnings) => Answer::Review(
                AdmissionResponse {
                    uid: request.uid(),
                    warnings: &warnings,
                    ..AdmissionResponse::default()
                }
                .to_json(),
            ),
            Err(error) => Answer::BadRequest(error),
        },
        Err(error) => Answer::BadRequest(error),
    }
}

async fn warnings(
    admission: &Admission,
    request: &AdmissionRequest<'_, &RawValue>,
    deadline: Instant,
) -> Result<Vec<Warning>, ReviewError> {
    let kind = Kind::of(request)?;
    if request.operation() == Operation::Other || !request.sub_resource().is_empty() {
        return Ok(Vec::new());
    }
    let json = request.object().ok_or(ReviewError::Missing("request.object"))?.get();
    let malformed = |error: serde_json::Error| ReviewError::Malformed(format!("request.object: {error}"));
    let namespace = request.namespace();
    let template = match kind {
        Kind::ServiceAccount => {
            let account: Account = serde_json::from_str(json).map_err(malformed)?;
            let identity = account.identity(admission);
            let pod = PodView::default();
            let name = account.name(request.name());
            return Ok(admission.advise(namespace, &name, &pod, Some(identity), deadline).await);
        }
        Kind::Templated => serde_json::from_str::<Templated<'_>>(json)
            .map_err(malformed)?
            .template(),
        Kind::CronJob => serde_json::from_str::<CronJob<'_>>(json).map_err(malformed)?.template(),
    };
    let Some(pod) = template.filter(PodView::has_spec) else {
        return Ok(Vec::new());
    };
    let name = pod.service_account_name().to_owned();
    Ok(admission.advise(namespace, &name, &pod, None, deadline).await)
}

/// What holds a pod template, and where.
#[derive(Clone, Copy)]
enum Kind {
    /// `spec.template`.
    Templated,
    /// `spec.jobTemplate.spec.template`.
    CronJob,
    ServiceAccount,
}

impl Kind {
    fn of(request: &AdmissionRequest<'_, &RawValue>) -> Result<Self, ReviewError> {
        match request.group_and_kind() {
            ("batch", "Job") | ("apps", "Deployment" | "StatefulSet" | "DaemonSet") => Ok(Self::Templated),
            ("batch", "CronJob") => Ok(Self::CronJob),
            ("", "ServiceAccount") => Ok(Self::ServiceAccount),
            other => Err(review::wrong_object(
                other,
                "Job, CronJob, Deployment, StatefulSet, DaemonSet and ServiceAccount",
            )),
        }
    }
}

#[derive(Deserialize)]
struct Templated<'a> {
    #[serde(borrow, default)]
    spec: Option<TemplatedSpec<'a>>,
}

#[derive(Deserialize)]
struct TemplatedSpec<'a> {
    #[serde(borrow, default)]
    template: Option<PodView<'a>>,
}

impl<'a> Templated<'a> {
    fn template(self) -> Option<PodView<'a>> {
        self.spec?.template
    }
}

#[derive(Deserialize)]
struct CronJob<'a> {
    #[serde(borrow, default)]
    spec: Option<CronJobSpec<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CronJobSpec<'a> {
    #[serde(borrow, default)]
    job_template: Option<Templated<'a>>,
}

impl<'a> CronJob<'a> {
    fn template(self) -> Option<PodView<'a>> {
        self.spec?.job_template?.template()
    }
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    metadata: Option<AccountMetadata>,
}

#[derive(Deserialize)]
struct AccountMetadata {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, Option<String>>>,
}

impl Account {
    fn identity(&self, admission: &Admission) -> Option<Arc<ServiceAccountIdentity>> {
        let annotations = self.metadata.as_ref()?.annotations.as_ref()?;
        let pairs = annotations
            .iter()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)));
        ServiceAccountIdentity::from_annotations(&admission.settings().rules, pairs).map(Arc::new)
    }

    fn name(&self, requested: &str) -> String {
        if !requested.is_empty() {
            return requested.to_owned();
        }
        self.metadata
            .as_ref()
            .and_then(|metadata| metadata.name.clone())
            .unwrap_or_default()
    }
}
