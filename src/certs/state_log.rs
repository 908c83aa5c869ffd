//! Logs each change of state once, however often it is confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{info, warn};

use super::configurations::Trouble;

/// How long to wait after a write conflict with somebody else who writes the same field.
pub(super) const CONFLICT_BACKOFF: Duration = Duration::from_secs(5);

/// How many different reasons are logged for one failure, until it is over.
const REASONS: usize = 8;

/// What was logged and still holds.
#[derive(Debug, Default)]
pub(super) struct StateLog {
    /// Of what could not be done, each reason: over once everything could. An API server that is away gives several in turn.
    troubles: BTreeMap<String, BTreeSet<String>>,
    /// Of what was found wrong: over once it is found right.
    wrongs: BTreeMap<String, String>,
}

impl StateLog {
    /// Something could not be done; whether that is news.
    pub(super) fn trouble(&mut self, what: &str, why: &str) -> bool {
        let logged = self.troubles.entry(what.to_owned()).or_default();
        let news = logged.len() < REASONS && logged.insert(why.to_owned());
        if news {
            warn!("{why}");
        }
        news
    }

    /// Somebody else writes what is ours.
    pub(super) fn write_conflict(&mut self, trouble: &Trouble) {
        let Trouble::WriteConflict { what } = trouble else {
            return;
        };
        let why = format!(
            "somebody else keeps changing caBundle of {what}: is there another rolegate with that name, or an injector of CAs?"
        );
        self.trouble(what, &why);
    }

    /// Everything could be done.
    pub(super) fn recovered(&mut self) {
        for what in std::mem::take(&mut self.troubles).into_keys() {
            info!("{what} can be read and written again");
        }
    }

    /// Something was found wrong; whether that is news.
    pub(super) fn wrong(&mut self, what: &str, why: &str) -> bool {
        let news = self.wrongs.get(what).is_none_or(|before| before != why);
        if news {
            warn!("{why}");
            self.wrongs.insert(what.to_owned(), why.to_owned());
        }
        news
    }

    /// It was found right.
    pub(super) fn resolved(&mut self, what: &str) {
        if self.wrongs.remove(what).is_some() {
            info!("{what} is in order again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_take_turns_are_logged_once_each_until_all_has_recovered() {
        let mut log = StateLog::default();
        let reasons = [
            "reset by peer",
            "tls handshake eof",
            "reset by peer",
            "tls handshake eof",
        ];
        let news = reasons.map(|why| log.trouble("Secret a/b", why));
        assert_eq!(news, [true, true, false, false]);
        log.recovered();
        assert!(log.trouble("Secret a/b", "reset by peer"));
    }

    #[test]
    fn reasons_that_never_repeat_are_not_logged_without_end() {
        let mut log = StateLog::default();
        let news = (0..100).filter(|number| log.trouble("Secret a/b", &format!("reason {number}")));
        assert_eq!(news.count(), REASONS);
    }
}
