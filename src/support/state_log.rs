//! Logging state changes once: a failure is logged when it begins and when it is over, not at each attempt.
//!
//! The caller logs, at its own level and with its own fields. [`StateLog`] returns whether an attempt changes the state.

use std::collections::BTreeSet;

/// How many different reasons of one failure are logged until it has recovered.
const REASONS: usize = 8;

/// Whether something works, and which reasons for its failure were logged.
#[derive(Debug, Default)]
pub(crate) struct StateLog {
    /// Failures in a row.
    failures: u32,
    /// How many failures in a row are not logged.
    tolerated: u32,
    reasons: BTreeSet<Box<str>>,
    failing: bool,
}

impl StateLog {
    /// Reports a change from the `failures`-th failure in a row on: single failures of frequent operations are normal.
    pub(crate) fn after(failures: u32) -> Self {
        Self {
            tolerated: failures.saturating_sub(1),
            ..Self::default()
        }
    }

    /// Records a failure. Returns true if it must be logged, because the operation worked before.
    pub(crate) fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures > self.tolerated && !std::mem::replace(&mut self.failing, true)
    }

    /// Records a failure with a reason. Returns true if it must be logged, because the operation worked before or failed only for other
    /// reasons. A server that is down leads to several reasons in turn. Each is logged once, and only the first few, because some contain a
    /// number that never repeats.
    pub(crate) fn failed_because(&mut self, reason: &str) -> bool {
        let began = self.failed();
        let is_known = self.reasons.contains(reason);
        if !self.failing || is_known || self.reasons.len() >= REASONS {
            return began;
        }
        self.reasons.insert(reason.into())
    }

    /// It works. The number of failures in a row before, when they were news; none when there is nothing to log.
    pub(crate) fn recovered(&mut self) -> Option<u32> {
        let failures = std::mem::take(&mut self.failures);
        self.reasons.clear();
        std::mem::take(&mut self.failing).then_some(failures)
    }

    /// Whether its failure was news and it has not recovered since.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_once_until_it_has_recovered() {
        let mut log = StateLog::default();
        assert_eq!(log.recovered(), None);
        assert!(log.failed());
        assert!(!log.failed());
        assert!(log.is_failing());
        assert_eq!(log.recovered(), Some(2));
        assert_eq!(log.recovered(), None);
        assert!(log.failed());
    }

    #[test]
    fn single_failures_are_not_logged_where_they_are_tolerated() {
        let mut log = StateLog::after(3);
        assert!(!log.failed() && !log.failed_because("timeout"));
        assert_eq!(log.recovered(), None);
        assert!(!log.failed() && !log.failed());
        assert!(log.failed());
        assert_eq!(log.recovered(), Some(3));
    }

    #[test]
    fn reasons_that_take_turns_are_news_once_each() {
        let mut log = StateLog::default();
        let reasons = ["reset by peer", "handshake eof", "reset by peer", "handshake eof"];
        assert_eq!(
            reasons.map(|reason| log.failed_because(reason)),
            [true, true, false, false]
        );
        log.recovered();
        assert!(log.failed_because("reset by peer"));
    }

    #[test]
    fn reasons_that_never_repeat_are_not_logged_without_end() {
        let mut log = StateLog::default();
        let news = (0..100).filter(|number| log.failed_because(&format!("reason {number}")));
        assert_eq!(news.count(), REASONS);
    }
}
