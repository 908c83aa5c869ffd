//! Whether a pod needs a role: the label of its namespace decides, else `--require-role`.

use super::Admission;
use super::pod_request::{Outcome, PodRequest};
use super::service_account::Unavailable;
use crate::decision::{DecisionSettings, Effect, OnUnknown, RequireRole};
use crate::kubernetes::namespaces::RequireRoleLabel;
use crate::trust::Cause;

impl Admission {
    /// How findings about this pod are decided: the flags, with the label of its namespace.
    pub(super) fn decision_settings(&self, pod_request: &PodRequest<'_>) -> DecisionSettings {
        let flags = self.settings.decision;
        DecisionSettings {
            require_role: pod_request
                .require_role
                .map_or(flags.require_role, RequireRoleLabel::required),
            ..flags
        }
    }

    /// The label `rolegate.io/require-role` of the namespace.
    pub(super) async fn require_role_label(&self, pod_request: &PodRequest<'_>) -> Option<RequireRoleLabel> {
        let namespaces = self.state.namespaces.as_ref()?;
        namespaces
            .require_role(pod_request.namespace, pod_request.deadline)
            .await
    }

    /// Whether the flags would admit the pod, so that its refusal depends on the label.
    pub(super) fn only_the_label_refuses(&self, pod_request: &PodRequest<'_>, outcome: &Outcome) -> bool {
        let flags = self.settings.decision;
        let label = pod_request.require_role.map(RequireRoleLabel::required);
        let decides = label == Some(RequireRole::Enforce) && flags.require_role != RequireRole::Enforce;
        let is_required = match outcome.decision.cause {
            Some(Cause::NoRole) => true,
            // Credentials of the container's own cannot be evaluated: refused where a role is required, and where unknown is refused.
            None => flags.on_unknown != OnUnknown::Deny,
            Some(_) => false,
        };
        outcome.decision.effect == Effect::Deny && decides && is_required
    }

    /// The label as the API server has it now.
    pub(super) async fn fresh_require_role_label(
        &self,
        pod_request: &PodRequest<'_>,
    ) -> Result<Option<RequireRoleLabel>, Unavailable> {
        let Some(namespaces) = self.state.namespaces.as_ref() else {
            return Ok(None);
        };
        let (namespace, deadline) = (pod_request.namespace, pod_request.deadline);
        namespaces
            .read_require_role(namespace, deadline)
            .await
            .map_err(|reason| Unavailable(format!("namespace {namespace} could not be read: {reason}")))
    }
}
