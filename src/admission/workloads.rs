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
use crate::workloads::{self, Listed, Resource};

/// How many distinct ServiceAccounts and pod templates of one object are evaluated: each can cost a call, and a person reads few
/// warnings.
const MAX_REFERENCES: usize = 32;

/// How many warnings an object has at most.
const MAX_WARNINGS: usize = 16;

/// Handles one review of a ServiceAccount or of a workload resource (`crate::workloads`) by `deadline`.
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
        object: Some((request.group_and_kind().1, request.name())),
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
    let object = *request.object().ok_or(ReviewError::Missing("request.object"))?;
    match kind {
        Kind::ServiceAccount => {
            let account: AppliedAccount = serde_json::from_str(object.get()).map_err(|error| malformed("", &error))?;
            let identity = identity(admission, account.annotations());
            let name = account.name(request.name());
            let pod = PodView::default();
            let namespace = request.namespace();
            let advice = admission.advise(namespace, &name, &pod, Some(identity), deadline).await;
            Ok((name, advice))
        }
        Kind::Workload(resource) => advice_on(admission, request, resource, object, deadline).await,
        Kind::OtherVersion => Ok(Default::default()),
    }
}

/// What the author of a workload should know about the ServiceAccounts that it refers to. The first reference with a cause is what is
/// recorded.
async fn advice_on(
    admission: &Admission,
    request: &AdmissionRequest<'_, &RawValue>,
    resource: &Resource,
    object: &RawValue,
    deadline: Instant,
) -> Result<(String, Advice), ReviewError> {
    let namespace = request.namespace();
    if namespace.is_empty() {
        // Templates of the whole cluster: their pods run in namespaces that are not known yet.
        return Ok(Default::default());
    }
    let mut recorded: Option<(String, Advice)> = None;
    let mut warnings: Vec<Warning> = Vec::new();
    for reference in workloads::references(resource, object).iter().take(MAX_REFERENCES) {
        let pod = reference.pod().map_err(|error| malformed(&reference.path, &error))?;
        let pod = pod.unwrap_or_default();
        let identity = reference.annotations().map(|annotations| {
            let pairs = annotations
                .iter()
                .filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)));
            identity(admission, pairs)
        });
        let name = reference.account.name();
        let mut advice = admission.advise(namespace, name, &pod, identity, deadline).await;
        let mut new = std::mem::take(&mut advice.warnings);
        new.retain(|warning| !warnings.contains(warning));
        // A reason is not shown without its fix.
        if warnings.is_empty() || warnings.len() + new.len() <= MAX_WARNINGS {
            warnings.append(&mut new);
        }
        if recorded
            .as_ref()
            .is_none_or(|(_, first)| first.cause.is_none() && advice.cause.is_some())
        {
            recorded = Some((name.to_owned(), advice));
        }
    }
    let (name, mut advice) = recorded.unwrap_or_default();
    advice.warnings = warnings;
    Ok((name, advice))
}

fn malformed(path: &str, error: &serde_json::Error) -> ReviewError {
    let dot = if path.is_empty() { "" } else { "." };
    ReviewError::Malformed(format!("request.object{dot}{path}: {error}"))
}

/// The identity that annotations request.
fn identity<'v>(
    admission: &Admission,
    annotations: impl Iterator<Item = (&'v str, &'v str)>,
) -> Option<Arc<ServiceAccountIdentity>> {
    ServiceAccountIdentity::from_annotations(&admission.settings().rules, annotations).map(Arc::new)
}

/// What is being applied.
enum Kind {
    ServiceAccount,
    Workload(&'static Resource),
    /// A workload in a version whose fields are not known.
    OtherVersion,
}

impl Kind {
    fn of(request: &AdmissionRequest<'_, &RawValue>) -> Result<Self, ReviewError> {
        let (group, kind) = request.group_and_kind();
        if (group, kind) == ("", "ServiceAccount") {
            return Ok(Self::ServiceAccount);
        }
        match workloads::lookup(group, request.version(), kind) {
            Listed::As(resource) => Ok(Self::Workload(resource)),
            Listed::InOtherVersions => Ok(Self::OtherVersion),
            Listed::No => Err(review::wrong_object(
                (group, kind),
                "ServiceAccounts and workload resources",
            )),
        }
    }
}

#[derive(Deserialize)]
struct AppliedAccount {
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

impl AppliedAccount {
    fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        let annotations = self
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.annotations.as_ref());
        let pairs = annotations.into_iter().flatten();
        pairs.filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)))
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
