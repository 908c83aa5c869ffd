//! The parts of a request that every step needs, and the outcome.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Endpoint, Record};
use crate::admission::review::AdmissionRequest;
use crate::admission::review_kind::PathMode;
use crate::decision::{Action, Decision, Effect, Mode, messages};
use crate::kubernetes::namespaces::{GATE_LABEL, Namespaces, REQUIRE_ROLE_LABEL, RequireRoleLabel};
use crate::pod::Warning;
use crate::pod::concerns::Concerns;
use crate::pod::effective::EffectiveIdentities;
use crate::pod::inject::Injection;
use crate::pod::view::PodView;
use crate::support::text;
use crate::trust::{Audience, Cause, RoleArn};

/// The parts of a request that every step needs.
pub(super) struct PodRequest<'a> {
    pub(super) pod: &'a PodView<'a>,
    /// Of the containers that may be changed.
    pub(super) identities: EffectiveIdentities<'a>,
    pub(super) namespace: &'a str,
    pub(super) service_account: &'a str,
    pub(super) mode: Mode,
    /// The mode of decisions: not that of the namespace where nothing is refused.
    pub(super) decision_mode: Mode,
    pub(super) asked: PathMode,
    pub(super) endpoint: Endpoint,
    pub(super) deadline: Instant,
    /// The label of the namespace; none without it, and until it is looked up.
    pub(super) require_role: Option<RequireRoleLabel>,
}

impl<'a> PodRequest<'a> {
    /// The same request with other identities.
    pub(super) const fn with_identities(&self, identities: EffectiveIdentities<'a>) -> Self {
        Self {
            pod: self.pod,
            identities,
            namespace: self.namespace,
            service_account: self.service_account,
            mode: self.mode,
            decision_mode: self.decision_mode,
            asked: self.asked,
            endpoint: self.endpoint,
            deadline: self.deadline,
            require_role: self.require_role,
        }
    }
}

impl PodRequest<'_> {
    /// The warnings about labels of the namespace whose values are not valid, each with its fix. In mode `audit`, authors read nothing.
    pub(super) fn label_warnings(&self, namespaces: Option<&Namespaces>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut add = |label: &str, expected: &str| {
            let value = namespaces.and_then(|namespaces| namespaces.invalid_value(self.namespace, label));
            let value = value.map_or_else(String::new, |value| format!("={}", text::quote_within(&value, 63)));
            let namespace = text::value_within(self.namespace, 63);
            warnings.push(Warning::new(&format!(
                "rolegate: label {label}{value} of namespace {namespace} is not a valid {expected}: treated as enforce"
            )));
            let fix = messages::commands::label_namespace(self.namespace, label);
            warnings.extend(fix.map(|fix| Warning::new(&format!("fix: {fix}"))));
        };
        if self.asked == PathMode::Misspelled {
            add(GATE_LABEL, "mode (enforce, warn, audit)");
        }
        if self.require_role == Some(RequireRoleLabel::Misspelled) && self.mode != Mode::Audit {
            add(REQUIRE_ROLE_LABEL, "value (warn, enforce)");
        }
        warnings
    }

    pub(super) fn record<'r>(
        &'r self,
        request: &'r AdmissionRequest<'_, PodView<'_>>,
        outcome: &'r Outcome,
        message: Option<&'r str>,
    ) -> Record<'r> {
        Record {
            uid: request.uid(),
            namespace: self.namespace,
            pod: self.pod.name().or(self.pod.generate_name()).unwrap_or(request.name()),
            object: None,
            service_account: self.service_account,
            service_account_uid: outcome.service_account_uid.as_ref(),
            role: outcome.role.as_ref(),
            audience: outcome.audience.as_ref(),
            verdict: outcome.decision.verdict,
            cause: outcome.decision.cause,
            mode: Some(self.mode),
            action: outcome.action,
            policy_age: outcome.policy_read_at.map(|at| at.elapsed()),
            dry_run: request.is_dry_run(),
            not_used: &outcome.not_used,
            message,
        }
    }
}

/// The decision, with what it is based on.
pub(super) struct Outcome {
    pub(super) action: Action,
    pub(super) decision: Decision,
    pub(super) role: Option<RoleArn>,
    pub(super) audience: Option<Audience>,
    pub(super) injection: Option<Injection>,
    pub(super) warnings: Vec<Warning>,
    pub(super) policy_read_at: Option<Instant>,
    pub(super) service_account_uid: Option<Arc<str>>,
    /// The containers that do not, or might not, use their identity.
    pub(super) not_used: Vec<String>,
}

impl Outcome {
    pub(super) const fn untouched(action: Action) -> Self {
        Self {
            action,
            decision: Decision {
                effect: Effect::AdmitUntouched,
                verdict: None,
                cause: None,
                warnings: Vec::new(),
                refusal: None,
            },
            role: None,
            audience: None,
            injection: None,
            warnings: Vec::new(),
            policy_read_at: None,
            service_account_uid: None,
            not_used: Vec::new(),
        }
    }

    /// All warnings, that about the verdict first: it is the one that is logged.
    pub(super) fn take_warnings(&mut self) -> Vec<Warning> {
        let mut warnings = std::mem::take(&mut self.decision.warnings);
        warnings.append(&mut self.warnings);
        if let Some(injection) = &mut self.injection {
            warnings.append(&mut injection.warnings);
        }
        warnings
    }

    /// An identity that is not used is the cause where there is no other.
    pub(super) fn add_concerns(&mut self, concerns: Concerns<'_>) {
        self.warnings.extend(concerns.warnings);
        if !concerns.not_used.is_empty() {
            self.decision.cause.get_or_insert(Cause::IdentityNotUsed);
            self.not_used = concerns.not_used.into_iter().map(str::to_owned).collect();
        }
    }

    pub(super) fn of(decision: Decision) -> Self {
        let action = match decision.effect {
            Effect::Inject => Action::Inject,
            Effect::AdmitUntouched => Action::None,
            Effect::Deny => Action::Deny,
        };
        Self {
            decision,
            ..Self::untouched(action)
        }
    }
}
