//! What the log says of troubles: each change of state once, however often it is confirmed.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{info, warn};

use super::configurations::Trouble;

/// How long a quarrel about an object is let rest.
pub(super) const TRUCE: Duration = Duration::from_secs(5);

/// What was told and still holds.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of what could not be done: over once everything could.
    troubles: BTreeMap<String, String>,
    /// Of what was found wrong: over once it is found right.
    wrongs: BTreeMap<String, String>,
}

impl Told {
    /// Something could not be done.
    pub(super) fn trouble(&mut self, what: &str, why: &str) {
        tell(&mut self.troubles, what, why);
    }

    /// Somebody else writes what is ours.
    pub(super) fn quarrel(&mut self, trouble: &Trouble) {
        let Trouble::Quarrel { what } = trouble else { return };
        let why = format!(
            "somebody else keeps changing caBundle of {what}: is there another rolegate with that name, or an injector of CAs?"
        );
        self.trouble(what, &why);
    }

    /// Everything could be done.
    pub(super) fn well_again(&mut self) {
        for what in std::mem::take(&mut self.troubles).into_keys() {
            info!("{what} can be read and written again");
        }
    }

    /// Something was found wrong; whether that is news.
    pub(super) fn wrong(&mut self, what: &str, why: &str) -> bool {
        tell(&mut self.wrongs, what, why)
    }

    /// It was found right.
    pub(super) fn mended(&mut self, what: &str) {
        if self.wrongs.remove(what).is_some() {
            info!("{what} is in order again");
        }
    }
}

fn tell(told: &mut BTreeMap<String, String>, what: &str, why: &str) -> bool {
    let news = told.get(what).is_none_or(|before| before != why);
    if news {
        warn!("{why}");
        told.insert(what.to_owned(), why.to_owned());
    }
    news
}
