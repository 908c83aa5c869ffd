//! `/validate/workloads`: warnings at `kubectl apply`, where a person reads them. Nothing is refused here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::pods::{Admission, Advice, Answer, Record, Recorder};
use super::review::{self, AdmissionRequest, AdmissionResponse, Operation, ReviewError};
use crate::decision::Action;
use crate::pod::Warning;
use crate::pod::identity::ServiceAccountIdentity;
use crate::pod::view::PodView;

/// Answers one review of a Job, CronJob, Deployment, StatefulSet, DaemonSet or ServiceAccount by `deadline`.
pub(crate) async fn review(
    admission: &Admission,
    body: &[u8],
    deadline: Instant,
    recorder: &(impl Recorder + Sync),
) -> Answer {
    let request = match review::parse::<&RawValue>(body) {
        Ok(request) => request,
        Err(error) => return Answer::BadRequest(error),
    };
    let (service_account, advice) = match advice(admission, &request, deadline).await {
        Ok(advised) => advised,
        Err(error) => return Answer::BadRequest(error),
    };
    let response = AdmissionResponse {
        uid: request.uid(),
        warnings: &advice.warnings,
        ..AdmissionResponse::default()
    };
    let json = response.to_json();
    recorder.record(&Record {
        uid: request.uid(),
        namespace: request.namespace(),
        pod: "",
        service_account: &service_account,
        service_account_uid: None,
        role: advice.role.as_ref(),
        audience: None,
        verdict: advice.verdict,
        cause: advice.cause,
        mode: None,
        action: Action::None,
        policy_age: None,
        dry_run: request.is_dry_run(),
        not_used: &advice.not_used,
        message: advice.warnings.first().map(Warning::as_str),
    });
    Answer::Review(json)
}

/// The ServiceAccount that the object is or refers to, and what its author should know.
async fn advice(
    admission: &Admission,
    request: &AdmissionRequest<'_, &RawValue>,
    deadline: Instant,
) -> Result<(String, Advice), ReviewError> {
    let kind = Kind::of(request)?;
    if request.operation() == Operation::Other || !request.sub_resource().is_empty() {
        return Ok(Default::default());
    }
    let json = request.object().ok_or(ReviewError::Missing("request.object"))?.get();
    let malformed = |error: serde_json::Error| ReviewError::Malformed(format!("request.object: {error}"));
    let namespace = request.namespace();
    let template = match kind {
        Kind::ServiceAccount => {
            let account: Account = serde_json::from_str(json).map_err(malformed)?;
            let identity = account.identity(admission);
            let name = account.name(request.name());
            let pod = PodView::default();
            let advice = admission.advise(namespace, &name, &pod, Some(identity), deadline).await;
            return Ok((name, advice));
        }
        Kind::Templated => serde_json::from_str::<Templated<'_>>(json)
            .map_err(malformed)?
            .template(),
        Kind::CronJob => serde_json::from_str::<CronJob<'_>>(json).map_err(malformed)?.template(),
    };
    let Some(pod) = template.filter(PodView::has_spec) else {
        return Ok(Default::default());
    };
    let name = pod.service_account_name().to_owned();
    let advice = admission.advise(namespace, &name, &pod, None, deadline).await;
    Ok((name, advice))
}

/// Where an object has its pod template.
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
