//! When listing all roles of a source takes fewer calls than reading them one by one.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::fetch::PacedSource;
use super::list::{Listed, QUIET};
use crate::roles::source::ListingFailure;
use crate::support::age::as_good_as_now;
use crate::support::state_log::StateLog;

/// While it is not known what a listing costs, this many due roles are worth one (IAM lists 1000 roles per call).
const UNKNOWN_COST: usize = 20;

/// The longest pause after listings that are not allowed.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// A source that can list, and how its listings went.
#[derive(Debug, Default)]
pub(super) struct ListSchedule {
    /// Whether a listing makes calls. Otherwise its outcome is not worth a line in the log.
    is_remote: bool,
    /// How many calls the last complete listing took.
    calls: Option<usize>,
    /// When the last complete listing began.
    last: Option<Instant>,
    /// The earliest time of the next listing.
    not_before: Option<Instant>,
    /// The number of consecutive listings that were aborted.
    failures: u32,
    log: StateLog,
}

impl ListSchedule {
    pub(super) fn of(source: &PacedSource) -> Self {
        Self {
            is_remote: source.is_remote(),
            ..Self::default()
        }
    }

    /// Whether a listing costs less than reading so many roles one by one.
    pub(super) fn is_worth(&self, due: usize, now: Instant) -> bool {
        let is_paused = self.not_before.is_some_and(|not_before| not_before > now);
        due > self.calls.unwrap_or(UNKNOWN_COST) && !is_paused
    }

    /// How many calls a listing takes, where the last one came to its end.
    pub(super) const fn calls(&self) -> Option<usize> {
        match self.failures {
            0 => self.calls,
            _ => None,
        }
    }

    /// Whether so many refusals that wait for a call are better served by a listing. The last one is not as good as one of now.
    pub(super) fn is_worth_for_refusals(&self, waiting: usize, now: Instant) -> bool {
        let is_as_good_as_now = self.last.is_some_and(|last| last > as_good_as_now(now));
        self.calls().is_some_and(|calls| waiting > calls) && !is_as_good_as_now
    }

    /// Records how a listing ended, and logs it when the outcome has changed.
    pub(super) fn record(&mut self, source: &'static str, listed: &Listed, ttl: Duration) {
        match &listed.result {
            Ok(()) => self.succeeded(source, listed, ttl),
            Err(failure) => self.failed(source, failure, ttl),
        }
    }

    fn succeeded(&mut self, source: &'static str, listed: &Listed, ttl: Duration) {
        let took = listed.began.elapsed();
        let (roles, calls) = (listed.pass.roles, listed.pass.calls);
        if self.log.recovered().is_some() {
            info!(source, roles, "listing roles recovered");
        } else if self.is_remote && (self.calls.is_none() || took > QUIET) {
            info!(source, roles, calls, ?took, "listed roles");
        }
        self.failures = 0;
        self.calls = Some(calls.max(1));
        self.last = Some(listed.began);
        self.not_before = listed.began.checked_add(ttl / 2);
    }

    fn failed(&mut self, source: &'static str, failure: &ListingFailure, ttl: Duration) {
        if self.log.failed() {
            let reason = failure.reason();
            warn!(source, %reason, "failed to list roles; reading them one by one until it works again");
        }
        let pause = (ttl / 2).saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        // A missing permission stays missing until it is granted; a failure passes, and credentials are renewed.
        let longest = match failure {
            ListingFailure::Denied(_) => LONGEST_PAUSE,
            ListingFailure::Failed(_) | ListingFailure::Throttled(_) | ListingFailure::Credentials(_) => {
                ttl.min(LONGEST_PAUSE)
            }
        };
        self.not_before = Instant::now().checked_add(pause.min(longest));
    }
}
