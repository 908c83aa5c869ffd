//! Verdicts on ServiceAccounts after admission.
//!
//! The AWS SDKs request new credentials while a pod runs, so a role that stops trusting a ServiceAccount breaks pods that were admitted.
//! When a trust policy or the identity of a ServiceAccount in a gated namespace (label `rolegate.io/gate`) changes, the ServiceAccount is
//! evaluated again: a gauge shows the verdict, and a change between trusted and not trusted is logged, counted and reported by an Event
//! about the ServiceAccount.
//!
//! Evaluations only use memory: the map of ServiceAccounts, the identity ConfigMap, the known associations, and the role cache, which keeps
//! all of their roles up to date. The cost does not depend on the number of pods. Evaluations have their own rate limit (`pace`) and do not
//! run in the tasks of reviews.

mod accounts;
mod identity;
mod judge;
mod news;
mod pace;
mod standing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::accounts::Accounts;
use self::accounts::{Candidate, Outcome};
pub use self::identity::IdentitySources;
use self::judge::{Judgment, Reason, judge};
pub use self::judge::{Known, Settings};
use self::news::News;
pub use self::pace::{BATCH, PAUSE};
use self::pace::{Step, until_done};
use crate::kubernetes::namespaces::Namespaces;
use crate::telemetry::events::{Events, TrustChanged};
use crate::telemetry::metrics::{Metrics, TrustChange};

/// How long changes are collected before they are evaluated.
const GATHER: Duration = Duration::from_millis(100);

/// Evaluates ServiceAccounts of gated namespaces.
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
    /// Evaluates these ServiceAccounts. The role cache must not have been read yet.
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

    /// Evaluates until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.judge_forever()).await;
    }

    async fn judge_forever(&self) {
        let mut news = News::new(&self.known, self.accounts.sources(), &self.namespaces);
        loop {
            until_done(Instant::now, || self.step(&mut news)).await;
            tokio::select! {
                () = self.accounts.changed() => {}
                () = news.arrived(&self.known) => {}
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    fn step(&self, news: &mut News) -> Step {
        news.take(&self.known, &self.namespaces, &self.accounts);
        let batch = self.accounts.take(BATCH);
        for candidate in &batch {
            self.judge(candidate);
        }
        if batch.is_empty() {
            Step::NothingLeft
        } else {
            Step::Worked
        }
    }

    fn judge(&self, candidate: &Candidate) {
        let Judgment { roles, outcome, reason } = judge(
            &self.known,
            self.accounts.sources(),
            &self.settings,
            &candidate.namespace,
            &candidate.name,
        );
        let change = self.accounts.record(candidate, &roles, outcome);
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
                digest: reason.digest(),
                message: &message,
            });
        }
    }
}
