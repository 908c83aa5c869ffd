//! What the HTTPS endpoint hands whole bodies to: reviews are answered, and each answer is recorded for operators.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::admission::path_mode::PathMode;
use crate::admission::pods::{Admission, Answer, Endpoint, Record, Recorder};
use crate::admission::workloads;
use crate::decision::{Action, Mode};
use crate::http::route::Route;
use crate::http::service::{Call, Handler};
use crate::http::status::{JSON, Reason, Reply, status_response};
use crate::support::text;
use crate::telemetry::audit::{AuditLog, AuditRecord};
use crate::telemetry::events::{Events, Refusal};
use crate::telemetry::metrics::{Metrics, Review};
use crate::trust::{Audience, Cause, RoleArn, Verdict};

/// Answers reviews and records the answers.
#[derive(Debug)]
pub struct Webhook {
    /// Answers.
    pub admission: Admission,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Writes down, when asked to.
    pub audit: Option<AuditLog>,
    /// Tells the cluster of refusals, when there is one.
    pub events: Option<Events>,
}

impl Handler for Webhook {
    async fn answer(&self, call: Call) -> Reply {
        let recorder = Recording {
            webhook: self,
            arrived: call.arrived,
        };
        let pods = |mode: PathMode, endpoint: Endpoint| {
            self.admission
                .review(&call.body, mode, endpoint, call.deadline, &recorder)
        };
        let answer = match call.route {
            Route::MutatePods(mode) => pods(mode, Endpoint::Mutating).await,
            Route::ValidatePods(mode) => pods(mode, Endpoint::Validating).await,
            Route::ValidateWorkloads => workloads::review(&self.admission, &call.body, call.deadline, &recorder).await,
        };
        match answer {
            Answer::Review(json) => review(json),
            Answer::Unavailable(reason) => status_response(Reason::ServiceUnavailable, &reason),
            Answer::BadRequest(error) => {
                let reason = error.to_string();
                debug!(reason, "refused a request that is no review");
                self.turned_away(Some(call.route), StatusCode::BAD_REQUEST, call.arrived.elapsed());
                status_response(Reason::BadRequest, &reason)
            }
        }
    }

    fn turned_away(&self, route: Option<Route>, _status: StatusCode, elapsed: Duration) {
        let mode = match route {
            Some(Route::MutatePods(mode) | Route::ValidatePods(mode)) => Some(mode.or(self.admission.settings().mode)),
            Some(Route::ValidateWorkloads) | None => None,
        };
        self.metrics.review(&Review {
            action: Action::Error,
            mode,
            verdict: None,
            cause: None,
            namespace: "",
            elapsed,
            policy_age: None,
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
            });
        }
    }
}

fn review(json: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(json)));
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
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

/// One line a refusal or warning; other decisions are for whoever looks closely.
fn log(record: &Record<'_>) {
    // Nothing has validated these yet.
    let shown = |value| text::shorten(value, text::MAX_VALUE_CHARS);
    macro_rules! decision {
        ($level:ident, $words:literal) => {
            $level!(
                namespace = &*shown(record.namespace),
                pod = &*shown(record.pod),
                service_account = &*shown(record.service_account),
                role = record.role.map_or("", RoleArn::as_str),
                verdict = record.verdict.map_or("", Verdict::as_str),
                cause = record.cause.map_or("", Cause::as_str),
                mode = record.mode.map_or("", Mode::as_str),
                action = record.action.as_str(),
                dry_run = record.dry_run,
                // The first line stands alone; what follows repeats the fields and tells the author what to do.
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
        (Action::Error, _) => decision!(warn, "could not answer"),
        (Action::Deny, _) => decision!(info, "refused a pod"),
        (_, Some(_)) if record.mode.is_none() => decision!(info, "warned about a workload"),
        (_, Some(_)) => decision!(info, "admitted a pod with a warning"),
        (_, None) => decision!(debug, "admitted"),
    }
}
