//! Refusals that are added up until they are reported. No requests are sent here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Queued;
use super::key::SeriesKey;
use super::write::{Job, Name, Outcome, Request, Stage};

/// The maximum number of series, about 1.5 KB each. If pods of more ServiceAccounts are refused in ten minutes, something else is wrong,
/// which metrics and logs show better.
const SERIES: usize = 2048;

/// Whether a refusal will be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// Together with others of its series.
    ToSeries,
    /// As the first of a series.
    NewSeries,
    /// It will not.
    Full,
}

#[derive(Debug)]
pub(super) struct Pending {
    window: Duration,
    gather: Duration,
    series: HashMap<SeriesKey, Series>,
}

/// The refusals of one ServiceAccount for one cause.
#[derive(Debug)]
struct Series {
    /// Also distinguishes this series from a later one with the same key.
    started: Instant,
    uid: Option<Arc<str>>,
    /// The message of the last refusal.
    note: Box<str>,
    /// When the first refusal occurred that no Event reports yet.
    first: Timestamp,
    last: Timestamp,
    /// Refusals that no Event reports yet.
    unreported: u32,
    /// None: nothing can be written about this ServiceAccount.
    stage: Option<Stage>,
    /// When to send the next request.
    due: Option<Instant>,
}

impl Pending {
    pub(super) fn new(window: Duration, gather: Duration) -> Self {
        Self {
            window,
            gather,
            series: HashMap::new(),
        }
    }

    /// Adds a refusal: the first of a series is due at once, further ones are collected.
    pub(super) fn add(&mut self, refusal: Queued, now: Instant) -> Added {
        let (window, gather) = (self.window, self.gather);
        if let Some(series) = self.series.get_mut(&refusal.key) {
            if series.continues(&refusal, window, now) {
                series.add(refusal, now + gather);
            } else {
                // What the old series did not report is reported by the new one.
                let left = series.unreported;
                *series = Series::new(refusal, now);
                series.unreported = series.unreported.saturating_add(left);
            }
            return Added::ToSeries;
        }
        if self.series.len() >= SERIES {
            self.series.retain(|_, series| !series.is_over(window, now));
            if self.series.len() >= SERIES {
                return Added::Full;
            }
        }
        self.series.insert(refusal.key.clone(), Series::new(refusal, now));
        Added::NewSeries
    }

    /// When to send the next request, given until when each kind of request is paused.
    pub(super) fn due(&self, paused_until: impl Fn(Request) -> Option<Instant>) -> Option<Instant> {
        self.series
            .values()
            .filter_map(|series| series.due_after(&paused_until))
            .min()
    }

    /// The request that has waited longest.
    pub(super) fn next(&self, now: Instant, paused_until: impl Fn(Request) -> Option<Instant>) -> Option<Job> {
        let (_, key, series) = self
            .series
            .iter()
            .filter_map(|(key, series)| Some((series.due_after(&paused_until)?, key, series)))
            .filter(|(due, ..)| *due <= now)
            .min_by_key(|(due, ..)| *due)?;
        series.job(key)
    }

    /// All that is not reported, due or not.
    pub(super) fn unreported(&self) -> Vec<Job> {
        let mut jobs: Vec<Job> = self.series.iter().filter_map(|(key, series)| series.job(key)).collect();
        jobs.sort_by_key(|job| job.started);
        jobs
    }

    /// What is not reported of one series.
    pub(super) fn job(&self, key: &SeriesKey) -> Option<Job> {
        self.series.get(key)?.job(key)
    }

    /// Records the outcome of a request.
    pub(super) fn record_outcome(&mut self, job: &Job, outcome: Outcome, now: Instant) {
        let gather = self.gather;
        let Some(series) = self.series.get_mut(&job.key) else {
            return;
        };
        if series.started != job.started {
            return;
        }
        match outcome {
            Outcome::Reached { stage, reported, .. } => {
                series.unreported = series.unreported.saturating_sub(reported);
                series.due = match (&stage, reported, series.unreported) {
                    (Stage::Written { .. }, _, 0) => None,
                    (Stage::Written { .. }, 1.., _) => Some(now + gather),
                    _ => Some(now),
                };
                series.stage = Some(stage);
            }
            Outcome::Uid(uid) => {
                series.uid = Some(uid);
                series.due = Some(now);
            }
            Outcome::NoObject | Outcome::Rejected(_) => {
                series.stage = None;
                series.unreported = 0;
                series.due = None;
            }
            // The kind of request is paused until then.
            Outcome::Failed(_) => series.due = Some(now),
        }
    }
}

impl Series {
    fn new(refusal: Queued, now: Instant) -> Self {
        Self {
            started: now,
            uid: refusal.uid,
            note: refusal.note,
            first: refusal.at,
            last: refusal.at,
            unreported: 1,
            stage: Some(Stage::New(Name::OfCause)),
            due: Some(now),
        }
    }

    fn is_over(&self, window: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.started) >= window
    }

    /// A ServiceAccount that was deleted and created again is another object: `kubectl describe` looks for its uid.
    fn continues(&self, refusal: &Queued, window: Duration, now: Instant) -> bool {
        let same = match (&self.uid, &refusal.uid) {
            (Some(known), Some(uid)) => known == uid,
            _ => true,
        };
        same && !self.is_over(window, now)
    }

    fn add(&mut self, refusal: Queued, due: Instant) {
        if self.stage.is_none() {
            return;
        }
        if self.unreported == 0 {
            self.first = refusal.at;
        }
        self.note = refusal.note;
        self.last = refusal.at;
        self.uid = self.uid.take().or(refusal.uid);
        self.unreported = self.unreported.saturating_add(1);
        self.due.get_or_insert(due);
    }

    fn due_after(&self, paused_until: impl Fn(Request) -> Option<Instant>) -> Option<Instant> {
        let due = self.due?;
        let request = Request::of(self.stage.as_ref()?, self.uid.as_deref());
        Some(paused_until(request).map_or(due, |until| until.max(due)))
    }

    fn job(&self, key: &SeriesKey) -> Option<Job> {
        if self.unreported == 0 {
            return None;
        }
        Some(Job {
            key: key.clone(),
            started: self.started,
            uid: self.uid.clone(),
            note: self.note.clone(),
            first: self.first,
            last: self.last,
            unreported: self.unreported,
            stage: self.stage.clone()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Cause;

    fn refusal(number: usize) -> Queued {
        Queued {
            key: SeriesKey {
                namespace: "jobs".into(),
                service_account: format!("sa-{number}").into(),
                cause: Some(Cause::WrongSubject),
            },
            uid: Some("uid".into()),
            note: "refused".into(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn memory_is_bounded_and_a_series_that_is_over_is_removed() {
        let mut pending = Pending::new(Duration::from_secs(600), Duration::from_secs(5));
        let now = Instant::now();
        for number in 0..SERIES {
            assert_eq!(pending.add(refusal(number), now), Added::NewSeries);
        }
        assert_eq!(pending.add(refusal(SERIES), now), Added::Full);
        assert_eq!(
            pending.add(refusal(0), now),
            Added::ToSeries,
            "a known series continues"
        );
        assert_eq!(
            pending.add(refusal(SERIES), now + Duration::from_secs(600)),
            Added::NewSeries
        );
        assert_eq!(pending.series.len(), 1);
    }
}
