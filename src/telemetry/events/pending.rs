//! Refusals and changes of trust that are aggregated until they are reported. No requests are sent here.
//!
//! Anyone who can reach the webhook can cause refusals, so no namespace can use up the capacity of others: a namespace gets a new series
//! only while it has fewer than there are free ones, each namespace has a rate limit, and of those that are due, the one with the fewest
//! recent requests is next. Changes of trust have their own capacity and rate limits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::key::{SeriesKey, Share};
use super::write::{Job, Name, Outcome, Request, Stage};
use super::{EventTiming, Queued};
use crate::support::pace::{Pace, PaceLimit};

/// The maximum number of series of refusals, about 1.5 KB each. If pods of more ServiceAccounts are refused in ten minutes, something else
/// is wrong, which metrics and logs show better.
const SERIES: usize = 2048;

/// The maximum number of series of changes of trust. Their paces report about as many in ten minutes.
const TRUST_SERIES: usize = 1024;

impl Share {
    const fn series(self) -> usize {
        match self {
            Self::Refusals => SERIES,
            Self::TrustChanges => TRUST_SERIES,
        }
    }
}

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
    /// How many of them each share has.
    of_share: HashMap<Share, usize>,
    /// The first series might be over at this moment, and none before.
    over_at: Option<Instant>,
    parties: HashMap<PartyKey, Party>,
    pace: PaceLimit,
}

/// A namespace, or all namespaces that are not known to exist.
type PartyKey = (Share, Box<str>);

/// The series of a party.
#[derive(Debug)]
struct Party {
    series: usize,
    pace: Pace,
}

/// The refusals of one ServiceAccount for one cause.
#[derive(Debug)]
struct Series {
    /// The party that it counts for.
    party: PartyKey,
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
    pub(super) fn new(timing: &EventTiming) -> Self {
        Self {
            window: timing.window,
            gather: timing.gather,
            series: HashMap::new(),
            of_share: HashMap::new(),
            over_at: None,
            parties: HashMap::new(),
            pace: PaceLimit {
                burst: timing.namespace_burst,
                refill: timing.namespace_refill,
            },
        }
    }

    /// Adds a refusal: the first of a series is due at once, further ones are collected.
    pub(super) fn add(&mut self, refusal: Queued, party: &str, now: Instant) -> Added {
        let (window, gather) = (self.window, self.gather);
        if let Some(series) = self.series.get_mut(&refusal.key) {
            if series.continues(&refusal, window, now) {
                series.add(refusal, now + gather);
            } else {
                // What the old series did not report is reported by the new one.
                let left = series.unreported;
                *series = Series::new(refusal, series.party.clone(), now);
                series.unreported = series.unreported.saturating_add(left);
            }
            return Added::ToSeries;
        }
        let party = (refusal.key.topic.share(), party.into());
        if !self.has_room_for(&party) {
            self.forget_what_is_over(now);
            if !self.has_room_for(&party) {
                return Added::Full;
            }
        }
        let entry = self.parties.entry(party.clone()).or_insert_with(|| Party {
            series: 0,
            pace: Pace::new(self.pace, now),
        });
        entry.series += 1;
        *self.of_share.entry(party.0).or_default() += 1;
        self.over_at.get_or_insert(now + window);
        self.series
            .insert(refusal.key.clone(), Series::new(refusal, party, now));
        Added::NewSeries
    }

    /// One namespace alone has at most half of all series of a share, so that there is room for others.
    fn has_room_for(&self, party: &PartyKey) -> bool {
        let of_party = self.parties.get(party).map_or(0, |party| party.series);
        let of_share = self.of_share.get(&party.0).copied().unwrap_or_default();
        of_party < party.0.series().saturating_sub(of_share)
    }

    /// Does nothing while no series can be over, because a flood of refusals comes here with each of them.
    fn forget_what_is_over(&mut self, now: Instant) {
        if self.over_at.is_none_or(|over_at| over_at > now) {
            return;
        }
        let (window, parties, of_share) = (self.window, &mut self.parties, &mut self.of_share);
        self.series.retain(|_, series| {
            let stays = !series.is_over(window, now);
            if !stays && let Some(party) = parties.get_mut(&series.party) {
                party.series -= 1;
                *of_share.entry(series.party.0).or_default() -= 1;
            }
            stays
        });
        parties.retain(|_, party| party.series > 0 || party.pace.full_at() > now);
        self.over_at = self.series.values().map(|series| series.started + window).min();
    }

    /// Counts a request in the pace of its namespace.
    pub(super) fn count_request(&mut self, job: &Job, now: Instant) {
        let series = self.series.get(&job.key);
        if let Some(party) = series.and_then(|series| self.parties.get_mut(&series.party)) {
            party.pace.take(now);
        }
    }

    fn due_of(
        &self,
        series: &Series,
        now: Instant,
        paused_until: impl Fn(Request) -> Option<Instant>,
    ) -> Option<Instant> {
        let due = series.due_after(paused_until)?;
        let party = self.parties.get(&series.party);
        Some(party.map_or(due, |party| due.max(party.pace.next(now))))
    }

    /// When to send the next request, given until when each kind of request is paused.
    pub(super) fn due(&self, now: Instant, paused_until: impl Fn(Request) -> Option<Instant>) -> Option<Instant> {
        self.series
            .values()
            .filter_map(|series| self.due_of(series, now, &paused_until))
            .min()
    }

    /// The request that has waited longest, of the namespace with the fewest recent requests.
    pub(super) fn next(&self, now: Instant, paused_until: impl Fn(Request) -> Option<Instant>) -> Option<Job> {
        let (_, key, series) = self
            .series
            .iter()
            .filter_map(|(key, series)| Some((self.due_of(series, now, &paused_until)?, key, series)))
            .filter(|(due, ..)| *due <= now)
            .min_by_key(|(_, _, series)| {
                let full_at = self.parties.get(&series.party).map(|party| party.pace.full_at());
                // All that had no request lately are alike.
                (full_at.filter(|full_at| *full_at > now), series.due)
            })?;
        series.job(key)
    }

    /// All that is not reported, due or not: the oldest of each namespace first, then the second of each, and so on.
    pub(super) fn unreported(&self) -> Vec<Job> {
        let mut series: Vec<_> = self.series.iter().collect();
        series.sort_by_key(|(_, series)| series.started);
        let mut of_party: HashMap<&PartyKey, usize> = HashMap::new();
        let mut jobs: Vec<(usize, Job)> = series
            .into_iter()
            .filter_map(|(key, series)| {
                let job = series.job(key)?;
                let turn = of_party.entry(&series.party).or_default();
                *turn += 1;
                Some((*turn, job))
            })
            .collect();
        jobs.sort_by_key(|(turn, job)| (*turn, job.started));
        jobs.into_iter().map(|(_, job)| job).collect()
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
    fn new(refusal: Queued, party: PartyKey, now: Instant) -> Self {
        Self {
            party,
            started: now,
            uid: refusal.uid,
            note: refusal.note,
            first: refusal.at,
            last: refusal.at,
            unreported: 1,
            stage: Some(Stage::New(Name::OfTopic)),
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
    use crate::telemetry::events::key::Topic;
    use crate::telemetry::metrics::TrustChange;
    use crate::trust::Cause;

    fn refusal(namespace: &str, number: usize) -> Queued {
        Queued {
            key: SeriesKey {
                namespace: namespace.into(),
                service_account: format!("sa-{number}").into(),
                topic: Topic::Refused(Some(Cause::WrongSubject)),
            },
            uid: Some("uid".into()),
            note: "refused".into(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn trust_lost(namespace: &str, number: usize) -> Queued {
        let mut queued = refusal(namespace, number);
        queued.key.topic = Topic::Trust {
            change: TrustChange::Lost,
            digest: 7,
        };
        queued
    }

    fn pending() -> Pending {
        Pending::new(&EventTiming::default())
    }

    #[test]
    fn memory_is_bounded_and_a_series_that_is_over_is_removed() {
        let mut pending = pending();
        let window = EventTiming::default().window;
        let now = Instant::now();
        let mut added = 0;
        for number in 0..10 * SERIES {
            let namespace = format!("jobs-{}", number % SERIES);
            match pending.add(refusal(&namespace, number), &namespace, now) {
                Added::NewSeries => added += 1,
                Added::Full => {}
                Added::ToSeries => panic!("each is another series"),
            }
        }
        assert_eq!((added, pending.series.len()), (SERIES, SERIES));
        assert_eq!(pending.add(refusal("new", 0), "new", now), Added::Full);
        assert_eq!(
            pending.add(refusal("jobs-0", 0), "jobs-0", now),
            Added::ToSeries,
            "a known series continues"
        );
        assert_eq!(pending.add(refusal("new", 0), "new", now + window), Added::NewSeries);
        assert_eq!((pending.series.len(), pending.parties.len()), (1, 1));
    }

    #[test]
    fn a_namespace_leaves_series_to_others() {
        let mut pending = pending();
        let now = Instant::now();
        let added = (0..2 * SERIES)
            .filter(|number| pending.add(refusal("flood", *number), "flood", now) == Added::NewSeries)
            .count();
        assert_eq!(added, SERIES / 2);
        assert_eq!(pending.add(refusal("calm", 0), "calm", now), Added::NewSeries);
        // Namespaces that do not exist count together, whatever their names.
        let invented = (0..2 * SERIES)
            .filter(|number| pending.add(refusal(&format!("invented-{number}"), 0), "", now) == Added::NewSeries)
            .count();
        assert!(invented <= SERIES / 4, "{invented}");
        assert_eq!(pending.add(refusal("late", 0), "late", now), Added::NewSeries);
    }

    #[test]
    fn refusals_and_changes_of_trust_do_not_push_each_other_out() {
        type Made = fn(&str, usize) -> Queued;
        let (refused, lost): ((Made, usize), (Made, usize)) = ((refusal, SERIES), (trust_lost, TRUST_SERIES));
        for ((flood, most), (other, most_of_other)) in [(refused, lost), (lost, refused)] {
            let mut pending = pending();
            let now = Instant::now();
            let fill = |pending: &mut Pending, made: Made, now| {
                let namespaces = (0..2 * SERIES).map(|number| format!("jobs-{number}-{now:?}"));
                let added = namespaces.filter(|name| pending.add(made(name, 0), name, now) == Added::NewSeries);
                added.count()
            };
            assert_eq!(fill(&mut pending, flood, now), most);
            assert_eq!(fill(&mut pending, other, now), most_of_other);
            // What is over gives its room back to its own share.
            let later = now + EventTiming::default().window;
            assert_eq!(fill(&mut pending, flood, later), most);
            assert_eq!(fill(&mut pending, other, later), most_of_other);
        }
    }

    #[test]
    fn changes_of_trust_do_not_delay_refusals_of_the_same_namespace() {
        let timing = EventTiming::default();
        let mut pending = pending();
        let start = Instant::now();
        for number in 0..500 {
            pending.add(trust_lost("jobs", number), "jobs", start);
        }
        while let Some(job) = pending.next(start, |_| None) {
            pending.count_request(&job, start);
            pending.record_outcome(&job, Outcome::NoObject, start);
        }
        let now = start + timing.namespace_refill / 2;
        assert!(pending.next(now, |_| None).is_none(), "the pace of changes of trust");
        pending.add(refusal("jobs", 0), "jobs", now);
        let next = pending.next(now, |_| None).map(|job| job.key.topic);
        assert_eq!(next, Some(Topic::Refused(Some(Cause::WrongSubject))));
    }

    #[test]
    fn a_flood_of_one_namespace_does_not_delay_the_events_of_others() {
        let timing = EventTiming::default();
        let mut pending = pending();
        let start = Instant::now();
        for number in 0..500 {
            pending.add(refusal("flood", number), "flood", start);
        }
        let now = start + Duration::from_millis(1);
        pending.add(refusal("calm", 0), "calm", now);
        let next = |pending: &mut Pending, now| {
            let job = pending.next(now, |_| None)?;
            pending.count_request(&job, now);
            pending.record_outcome(&job, Outcome::NoObject, now);
            Some(job.key.namespace)
        };
        // Both are alike at first; then it is the turn of the one that had fewer.
        let first = [next(&mut pending, now), next(&mut pending, now)];
        assert!(first.contains(&Some("calm".into())), "{first:?}");
        let burst = (0..).take_while(|_| next(&mut pending, now).is_some()).count();
        assert_eq!(burst + 1, timing.namespace_burst as usize);
        let due = pending.due(now, |_| None).expect("the flood goes on at its pace");
        assert_eq!(due, now + timing.namespace_refill);
        assert!(next(&mut pending, due).is_some());
        assert!(next(&mut pending, due).is_none());
    }
}
