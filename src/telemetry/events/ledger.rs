//! What was refused and what of it the cluster was told: sums, and no requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Noted;
use super::write::{Job, Name, Outcome, Request, Stage};
use crate::trust::Cause;

/// Series that are kept at a time, some 1.5 KB each. So many ServiceAccounts are not refused in ten minutes unless
/// something else is wrong, which metrics and logs tell better.
const SERIES: usize = 2048;

/// What a series is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) namespace: Box<str>,
    pub(super) service_account: Box<str>,
    pub(super) cause: Option<Cause>,
}

/// Whether a refusal will be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// With the others of its series.
    Counted,
    /// As the first of a series.
    Begun,
    /// It will not.
    Full,
}

#[derive(Debug)]
pub(super) struct Ledger {
    window: Duration,
    gather: Duration,
    series: HashMap<Key, Series>,
}

/// The refusals of one ServiceAccount for one cause.
#[derive(Debug)]
struct Series {
    /// Also tells this series from a later one of the same key.
    began: Instant,
    uid: Option<Arc<str>>,
    /// The words of the last refusal.
    note: Box<str>,
    /// When the first refusal was that no Event tells of yet.
    first: Timestamp,
    last: Timestamp,
    /// Refusals that no Event tells of yet.
    unwritten: u32,
    /// None: nothing can be written about this ServiceAccount.
    stage: Option<Stage>,
    /// When the next request is to be made.
    due: Option<Instant>,
}

impl Ledger {
    pub(super) fn new(window: Duration, gather: Duration) -> Self {
        Self {
            window,
            gather,
            series: HashMap::new(),
        }
    }

    /// Counts a refusal: the first of a series is due at once, further ones gather.
    pub(super) fn heed(&mut self, noted: Noted, now: Instant) -> Heard {
        let (window, gather) = (self.window, self.gather);
        if let Some(series) = self.series.get_mut(&noted.key) {
            if series.goes_on(&noted, window, now) {
                series.add(noted, now + gather);
            } else {
                // What was not told of the old series is told of the new one.
                let untold = series.unwritten;
                *series = Series::begin(noted, now);
                series.unwritten = series.unwritten.saturating_add(untold);
            }
            return Heard::Counted;
        }
        if self.series.len() >= SERIES {
            self.series.retain(|_, series| !series.is_over(window, now));
            if self.series.len() >= SERIES {
                return Heard::Full;
            }
        }
        self.series.insert(noted.key.clone(), Series::begin(noted, now));
        Heard::Begun
    }

    /// When the next request is to be made, given until when each kind of request rests.
    pub(super) fn due(&self, rests_until: impl Fn(Request) -> Option<Instant>) -> Option<Instant> {
        self.series
            .values()
            .filter_map(|series| series.due_after(&rests_until))
            .min()
    }

    /// The request that has waited longest.
    pub(super) fn next(&self, now: Instant, rests_until: impl Fn(Request) -> Option<Instant>) -> Option<Job> {
        let (_, key, series) = self
            .series
            .iter()
            .filter_map(|(key, series)| Some((series.due_after(&rests_until)?, key, series)))
            .filter(|(due, ..)| *due <= now)
            .min_by_key(|(due, ..)| *due)?;
        series.job(key)
    }

    /// Whatever is not written, due or not.
    pub(super) fn unwritten(&self) -> Vec<Job> {
        let mut jobs: Vec<Job> = self.series.iter().filter_map(|(key, series)| series.job(key)).collect();
        jobs.sort_by_key(|job| job.began);
        jobs
    }

    /// What is not written of one series.
    pub(super) fn job(&self, key: &Key) -> Option<Job> {
        self.series.get(key)?.job(key)
    }

    /// Takes up what came of a request.
    pub(super) fn settle(&mut self, job: &Job, outcome: Outcome, now: Instant) {
        let gather = self.gather;
        let Some(series) = self.series.get_mut(&job.key) else {
            return;
        };
        if series.began != job.began {
            return;
        }
        match outcome {
            Outcome::Now { stage, told, .. } => {
                series.unwritten = series.unwritten.saturating_sub(told);
                series.due = match (&stage, told, series.unwritten) {
                    (Stage::Written { .. }, _, 0) => None,
                    (Stage::Written { .. }, 1.., _) => Some(now + gather),
                    _ => Some(now),
                };
                series.stage = Some(stage);
            }
            Outcome::Account(uid) => {
                series.uid = Some(uid);
                series.due = Some(now);
            }
            Outcome::Pointless | Outcome::Impossible(_) => {
                series.stage = None;
                series.unwritten = 0;
                series.due = None;
            }
            // The kind of request rests meanwhile.
            Outcome::Failed(_) => series.due = Some(now),
        }
    }
}

impl Series {
    fn begin(noted: Noted, now: Instant) -> Self {
        Self {
            began: now,
            uid: noted.uid,
            note: noted.note,
            first: noted.at,
            last: noted.at,
            unwritten: 1,
            stage: Some(Stage::New(Name::OfCause)),
            due: Some(now),
        }
    }

    fn is_over(&self, window: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= window
    }

    /// A ServiceAccount that was deleted and made again is another one: `kubectl describe` looks for its uid.
    fn goes_on(&self, noted: &Noted, window: Duration, now: Instant) -> bool {
        let same = match (&self.uid, &noted.uid) {
            (Some(known), Some(told)) => known == told,
            _ => true,
        };
        same && !self.is_over(window, now)
    }

    fn add(&mut self, noted: Noted, due: Instant) {
        if self.stage.is_none() {
            return;
        }
        if self.unwritten == 0 {
            self.first = noted.at;
        }
        self.note = noted.note;
        self.last = noted.at;
        self.uid = self.uid.take().or(noted.uid);
        self.unwritten = self.unwritten.saturating_add(1);
        self.due.get_or_insert(due);
    }

    fn due_after(&self, rests_until: impl Fn(Request) -> Option<Instant>) -> Option<Instant> {
        let due = self.due?;
        let request = Request::of(self.stage.as_ref()?, self.uid.as_deref());
        Some(rests_until(request).map_or(due, |until| until.max(due)))
    }

    fn job(&self, key: &Key) -> Option<Job> {
        if self.unwritten == 0 {
            return None;
        }
        Some(Job {
            key: key.clone(),
            began: self.began,
            uid: self.uid.clone(),
            note: self.note.clone(),
            first: self.first,
            last: self.last,
            unwritten: self.unwritten,
            stage: self.stage.clone()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(number: usize) -> Noted {
        Noted {
            key: Key {
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
    fn memory_is_bounded_and_what_is_over_makes_room() {
        let mut ledger = Ledger::new(Duration::from_secs(600), Duration::from_secs(5));
        let now = Instant::now();
        for number in 0..SERIES {
            assert_eq!(ledger.heed(noted(number), now), Heard::Begun);
        }
        assert_eq!(ledger.heed(noted(SERIES), now), Heard::Full);
        assert_eq!(
            ledger.heed(noted(0), now),
            Heard::Counted,
            "a series that is known goes on"
        );
        assert_eq!(ledger.heed(noted(SERIES), now + Duration::from_secs(600)), Heard::Begun);
        assert_eq!(ledger.series.len(), 1);
    }
}
