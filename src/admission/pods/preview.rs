//! Computes what would happen to a pod, without a review. The commands use it.

use tokio::time::Instant;

use super::pod_request::PodRequest;
use super::service_account::Unavailable;
use super::{Admission, Endpoint};
use crate::admission::review_kind::PathMode;
use crate::decision::Effect;
use crate::pod::Warning;
use crate::pod::inject::Patch;
use crate::pod::view::PodView;
use crate::trust::{Cause, RoleArn, Verdict};

/// What would happen to a pod.
pub(crate) struct Preview {
    /// The whole message, if the pod would be refused.
    pub(crate) refusal: Option<String>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) role: Option<RoleArn>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) cause: Option<Cause>,
    /// What is added. None for a pod that is refused or has no identity.
    pub(crate) patch: Option<Patch>,
}

impl Admission {
    /// Decides a pod that is created in this namespace, in the mode of the settings.
    ///
    /// # Errors
    /// Why it cannot be decided, in one line.
    pub(crate) async fn preview(
        &self,
        namespace: &str,
        pod: &PodView<'_>,
        deadline: Instant,
    ) -> Result<Preview, String> {
        let account = pod.service_account_name();
        self.preview_as(namespace, account, pod, deadline).await
    }

    /// As [`Admission::preview`], of a pod whose controller sets its ServiceAccount.
    ///
    /// # Errors
    /// As [`Admission::preview`].
    pub(crate) async fn preview_as(
        &self,
        namespace: &str,
        service_account: &str,
        pod: &PodView<'_>,
        deadline: Instant,
    ) -> Result<Preview, String> {
        let mode = self.settings.mode;
        let mut pod_request = PodRequest {
            pod,
            identities: self.identities(pod),
            namespace,
            service_account,
            mode,
            decision_mode: mode,
            asked: PathMode::Configured,
            endpoint: Endpoint::Mutating,
            deadline,
            require_role: None,
        };
        let mut outcome = match self.created(&mut pod_request).await {
            Ok(outcome) => outcome,
            Err(Unavailable(reason)) => return Err(reason),
        };
        Ok(Preview {
            warnings: outcome.take_warnings(),
            patch: match outcome.decision.effect {
                Effect::Deny => None,
                Effect::Inject | Effect::AdmitUntouched => outcome.injection.map(|injection| injection.patch),
            },
            role: outcome.role,
            verdict: outcome.decision.verdict,
            cause: outcome.decision.cause,
            refusal: outcome.decision.refusal,
        })
    }
}
