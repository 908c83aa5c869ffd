//! What roles say of ServiceAccounts after admission.
//!
//! Credentials are exchanged again while a pod runs, so a role that stops trusting breaks pods that were admitted. Each time a trust policy
//! or a ServiceAccount of a gated namespace (label `rolegate.io/gate`) changes, its web identity is judged again: a gauge shows the verdict,
//! and a change between trusted and not trusted is logged, counted and reported by an Event about the ServiceAccount.
//!
//! Only memory is used: the map of ServiceAccounts, and the role cache, which keeps every role that a ServiceAccount names up to date. The
//! cost does not depend on the number of pods. Judgments have a pace of their own ([`BATCH`] every [`PAUSE`], and at most a tenth of one
//! processor), and run in another task than reviews.

mod accounts;
mod judge;
mod standing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::accounts::Accounts;
use self::accounts::{Candidate, Outcome};
pub use self::judge::{Known, Settings};
use self::judge::{Reason, digest, judge};
use crate::kubernetes::namespaces::Namespaces;
use crate::telemetry::events::{Events, TrustChanged};
use crate::telemetry::metrics::{Metrics, TrustChange};

/// How many ServiceAccounts are judged at once.
pub const BATCH: usize = 10;

/// The pause between two batches: 1,000 judgments per second at most.
pub const PAUSE: Duration = Duration::from_millis(10);

/// A batch is followed by a pause so many times as long as it took.
const REST: u32 = 9;

/// How long changes are collected before they are judged.
const GATHER: Duration = Duration::from_millis(100);

/// How often what depends on the time is judged again, and what depends on files and associations.
const RECHECK: Duration = Duration::from_secs(300);

/// Judges ServiceAccounts of gated namespaces.
#[derive(Debug)]
pub struct Verdicts {
    accounts: Arc<Accounts>,
    namespaces: Arc<Namespaces>,
    known: Known,
    settings: Settings,
    metrics: Arc<Metrics>,
    events: Option<Events>,
}

impl Verdicts {
    /// Judges these ServiceAccounts. The role cache must not have been read yet.
    #[must_use]
    pub fn new(
        accounts: Arc<Accounts>,
        namespaces: Arc<Namespaces>,
        known: Known,
        settings: Settings,
        metrics: Arc<Metrics>,
        events: Option<Events>,
    ) -> Self {
        known.cache.follow_changes();
        let counted = Arc::clone(&accounts);
        metrics.service_account_verdicts(move || counted.counts());
        Self {
            accounts,
            namespaces,
            known,
            settings,
            metrics,
            events,
        }
    }

    /// Judges until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.judge_forever()).await;
    }

    async fn judge_forever(&self) {
        let mut gates = self.namespaces.gate_changes();
        gates.mark_changed();
        let mut recheck = tokio::time::Instant::now() + RECHECK;
        loop {
            if gates.has_changed().unwrap_or(false) {
                gates.mark_unchanged();
                self.accounts.set_gated(self.namespaces.gated().into_iter().collect());
            }
            let changed = self.known.cache.take_changes();
            if changed.all {
                self.accounts.all_changed();
            } else {
                self.accounts.roles_changed(&changed.roles);
            }
            if tokio::time::Instant::now() >= recheck {
                recheck = tokio::time::Instant::now() + RECHECK;
                self.recheck();
            }
            let began = Instant::now();
            let batch = self.accounts.take(BATCH);
            if batch.is_empty() {
                tokio::select! {
                    () = self.accounts.changed() => {}
                    () = self.known.cache.changed() => {}
                    Ok(()) = gates.changed() => gates.mark_changed(),
                    () = tokio::time::sleep_until(recheck) => {}
                }
                tokio::time::sleep(GATHER).await;
                continue;
            }
            for candidate in &batch {
                self.judge(candidate);
            }
            tokio::time::sleep(PAUSE.max(began.elapsed().saturating_mul(REST))).await;
        }
    }

    /// What changes without a report.
    fn recheck(&self) {
        if self.known.associations.is_some() || self.known.container_credentials.is_some() {
            self.accounts.all_changed();
        } else {
            self.accounts.time_passed();
        }
    }

    fn judge(&self, candidate: &Candidate) {
        let (outcome, reason) = judge(&self.known, &self.settings, &candidate.namespace, &candidate.name);
        let change = self.accounts.record(candidate, outcome);
        if let (Some(change), Some(reason)) = (change, reason) {
            self.report(candidate, change, outcome, &reason);
        }
    }

    fn report(&self, candidate: &Candidate, change: TrustChange, outcome: Outcome, reason: &Reason) {
        let message = reason.message(change, &self.settings, &candidate.namespace, &candidate.name);
        let line = message.lines().next().unwrap_or_default();
        let (namespace, service_account) = (&*candidate.namespace, &*candidate.name);
        let role = reason.judged.role.as_str();
        match change {
            TrustChange::Lost => {
                let cause = match outcome {
                    Outcome::Verdict { cause: Some(cause), .. } => cause.as_str(),
                    _ => "",
                };
                warn!(namespace, service_account, role, cause, "trust lost: {line}");
            }
            TrustChange::Restored => info!(namespace, service_account, role, "trust restored: {line}"),
        }
        self.metrics.count_trust_change(change);
        if let Some(events) = &self.events {
            events.record_trust(&TrustChanged {
                namespace,
                service_account,
                change,
                digest: digest(&reason.judged.role, &reason.trust),
                message: &message,
            });
        }
    }
}
