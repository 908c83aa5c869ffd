//! The webhook: responds to reviews, and records each response for operators in metrics, audit log, Events and log.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::pods::{Admission, Answer, Endpoint, Record, Recorder};
use super::review_kind::{PathMode, ReviewKind};
use super::workloads;
use crate::decision::{Action, Mode};
use crate::support::text;
use crate::telemetry::audit::{AuditLog, AuditRecord};
use crate::telemetry::events::{Events, Refusal};
use crate::telemetry::metrics::{Metrics, Review};
use crate::trust::{Audience, Cause, RoleArn, Verdict};

/// The parts of a replica that handle reviews.
#[derive(Debug)]
pub struct Webhook {
    /// Decides.
    pub admission: Admission,
    /// Counts each response.
    pub metrics: Arc<Metrics>,
    /// The audit log, when one is configured.
    pub audit: Option<AuditLog>,
    /// Events of refusals, in a cluster.
    pub events: Option<Events>,
}

impl Webhook {
    /// Handles a review by `deadline`, and records the response.
    pub async fn review(&self, kind: ReviewKind, body: &[u8], arrived: Instant, deadline: Instant) -> Answer {
        let recorder = Recording { webhook: self, arrived };
        let pods =
            |mode: PathMode, endpoint: Endpoint| self.admission.review(body, mode, endpoint, deadline, &recorder);
        match kind {
            ReviewKind::MutatePods(mode) => pods(mode, Endpoint::Mutating).await,
            ReviewKind::ValidatePods(mode) => pods(mode, Endpoint::Validating).await,
            ReviewKind::ValidateWorkloads => workloads::review(&self.admission, body, deadline, &recorder).await,
        }
    }

    /// Records a request that was rejected before its review was read, or because the review could not be read. `kind` is `None`
    /// for a path that serves no reviews.
    pub fn rejected(&self, kind: Option<ReviewKind>, elapsed: Duration) {
        let mode = kind.and_then(|kind| kind.mode(self.admission.settings().mode));
        self.metrics.review(&Review {
            action: Action::Error,
            mode,
            verdict: None,
            cause: None,
            namespace: "",
            elapsed,
            policy_age: None,
            identity_not_used: false,
        });
        if let Some(audit) = &self.audit {
            audit.record(&AuditRecord {
                time: Timestamp::now(),
                uid: None,
                namespace: None,
                pod: None,
                service_account: None,
                role: None,
                audience: None,
                verdict: None,
                cause: None,
                mode,
                action: Action::Error,
                policy_age_seconds: None,
                latency_seconds: elapsed,
                dry_run: false,
                identity_not_used: &[],
            });
        }
    }
}

struct Recording<'a> {
    webhook: &'a Webhook,
    arrived: Instant,
}

impl Recorder for Recording<'_> {
    fn record(&self, record: &Record<'_>) {
        let elapsed = self.arrived.elapsed();
        self.webhook.metrics.review(&Review {
            action: record.action,
            mode: record.mode,
            verdict: record.verdict,
            cause: record.cause,
            namespace: record.namespace,
            elapsed,
            policy_age: record.policy_age,
            identity_not_used: !record.not_used.is_empty(),
        });
        if let Some(audit) = &self.webhook.audit {
            audit.record(&AuditRecord {
                time: Timestamp::now(),
                uid: Some(record.uid),
                namespace: Some(record.namespace).filter(|name| !name.is_empty()),
                pod: Some(record.pod).filter(|name| !name.is_empty()),
                service_account: Some(record.service_account).filter(|name| !name.is_empty()),
                role: record.role.map(RoleArn::as_str),
                audience: record.audience.map(Audience::as_str),
                verdict: record.verdict,
                cause: record.cause,
                mode: record.mode,
                action: record.action,
                policy_age_seconds: record.policy_age,
                latency_seconds: elapsed,
                dry_run: record.dry_run,
                identity_not_used: record.not_used,
            });
        }
        if let (Action::Deny, false, Some(events)) = (record.action, record.dry_run, &self.webhook.events) {
            events.record(&Refusal {
                namespace: record.namespace,
                service_account: record.service_account,
                uid: record.service_account_uid,
                cause: record.cause,
                message: record.message.unwrap_or_default(),
            });
        }
        log(record);
    }
}

/// One line per refusal or warning; other decisions are logged at debug. What does not apply is left out.
fn log(record: &Record<'_>) {
    // Nothing has validated these yet.
    let shown = |value| text::shorten(value, text::MAX_VALUE_CHARS);
    macro_rules! decision {
        ($level:ident, $words:literal $(, $field:ident = $value:expr)*) => {
            $level!(
                $($field = $value,)*
                namespace = &*shown(record.namespace),
                pod = (!record.pod.is_empty()).then(|| shown(record.pod)).as_deref(),
                service_account = &*shown(record.service_account),
                role = record.role.map(RoleArn::as_str),
                verdict = record.verdict.map(Verdict::as_str),
                cause = record.cause.map(Cause::as_str),
                mode = record.mode.map(Mode::as_str),
                action = record.action.as_str(),
                dry_run = record.dry_run,
                // The first line says it all; what follows repeats the fields and lists next steps for the author.
                reason = record
                    .message
                    .and_then(|message| message.lines().next())
                    .unwrap_or_default(),
                uid = &*shown(record.uid),
                $words
            )
        };
    }
    match (record.action, record.message) {
        (Action::Error, _) => decision!(warn, "failed to respond to a review"),
        (Action::Deny, _) => decision!(info, "refused a pod"),
        (_, Some(_)) if record.mode.is_none() => {
            let (kind, name) = record.object.unwrap_or_default();
            decision!(
                info,
                "warned about a workload",
                kind = &*shown(kind),
                name = &*shown(name)
            )
        }
        (_, Some(_)) => decision!(info, "admitted a pod with a warning"),
        (_, None) => decision!(debug, "admitted"),
    }
}
