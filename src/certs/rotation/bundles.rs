//! The `caBundle` of the webhook configurations: what is in it, since when, and what must be written to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::{ANNOUNCED, Ca};
use crate::certs::clock::Moment;

/// How long a CA that is not listed is kept in a bundle: as long as a rollout of another certificate mode takes.
pub(crate) const UNLISTED: Duration = Duration::from_secs(3600);

/// What was last read of a webhook configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Configuration {
    /// It was not read yet.
    Unread,
    /// It does not exist, so no API server has to trust the certificate.
    Absent,
    /// The CAs in the bundle of each of its entries, in their order.
    Entries(Vec<Vec<Ca>>),
}

/// A write of one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BundleWrite {
    /// Which configuration.
    pub configuration: usize,
    /// Which of its entries.
    pub entries: Vec<usize>,
    /// The new bundle of these entries.
    pub bundle: Vec<Ca>,
}

/// What to do with a CA that is no longer listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delisted {
    /// Remove it at once: all replicas use the same list.
    Goes,
    /// Keep it like one that was never listed: other replicas might observe the change later.
    IsLeft,
}

/// The known state of all configurations.
#[derive(Clone, Debug)]
pub(crate) struct Bundles {
    configurations: Vec<Configuration>,
    /// Since when each listed CA was read back in every entry, without a break; steady time.
    trusted: BTreeMap<Ca, Duration>,
    /// Whether there was any entry when they were last read.
    held_entries: bool,
    /// Since when each CA that is not listed has been in a bundle; steady time.
    unlisted: BTreeMap<Ca, Duration>,
    delisted: Delisted,
    /// The CAs in a bundle that were listed before.
    was_listed: BTreeSet<Ca>,
}

impl Bundles {
    /// Without any configuration read yet.
    #[must_use]
    pub(crate) fn new(configurations: usize, delisted: Delisted) -> Self {
        Self {
            configurations: vec![Configuration::Unread; configurations],
            trusted: BTreeMap::new(),
            held_entries: false,
            unlisted: BTreeMap::new(),
            delisted,
            was_listed: BTreeSet::new(),
        }
    }

    /// A configuration was read.
    pub(crate) fn see(&mut self, index: usize, configuration: Configuration) {
        if let Some(known) = self.configurations.get_mut(index) {
            *known = configuration;
        }
    }

    /// Updates the times. Must be called after each change of what is known or listed.
    pub(crate) fn settle(&mut self, listed: &[Ca], now: Moment) {
        let holds_entries = self.entries().next().is_some();
        if holds_entries && !self.held_entries {
            // Without an entry, no CA was read back anywhere.
            self.trusted.clear();
        }
        self.held_entries = holds_entries;
        let mut trusted = BTreeMap::new();
        for ca in listed.iter().filter(|ca| self.trust(ca)) {
            let since = self.trusted.get(ca).copied().unwrap_or(now.steady);
            trusted.insert(ca.clone(), since);
        }
        let mut unlisted = BTreeMap::new();
        for ca in self.entries().flatten().filter(|ca| !listed.contains(ca)) {
            let since = self.unlisted.get(ca).copied().unwrap_or(now.steady);
            unlisted.insert(ca.clone(), since);
        }
        let mut was_listed: BTreeSet<Ca> = listed.iter().cloned().collect();
        was_listed.extend(unlisted.keys().filter(|ca| self.was_listed.contains(ca)).cloned());
        self.trusted = trusted;
        self.unlisted = unlisted;
        self.was_listed = was_listed;
    }

    /// Whether a CA is in every entry of the existing configurations, as last read.
    #[must_use]
    pub(crate) fn trust(&self, ca: &Ca) -> bool {
        self.are_read() && self.entries().all(|bundle| bundle.contains(ca))
    }

    /// How long a listed CA has been in every entry.
    #[must_use]
    pub(crate) fn trusted_for(&self, ca: &Ca, now: Moment) -> Option<Duration> {
        let since = self.trusted.get(ca)?;
        Some(now.steady.saturating_sub(*since))
    }

    /// Whether all configurations were read or do not exist.
    #[must_use]
    pub(crate) fn are_read(&self) -> bool {
        !self.configurations.contains(&Configuration::Unread)
    }

    /// Whether any bundle has a CA that is still valid.
    #[must_use]
    pub(crate) fn hold_any(&self, now: SystemTime) -> bool {
        self.entries().flatten().any(|ca| !ca.has_ended(now))
    }

    /// The writes after which each entry has the listed CAs, and those that are kept for now.
    #[must_use]
    pub(crate) fn writes(&self, listed: &[Ca], now: Moment) -> Vec<BundleWrite> {
        let of_each = self.configurations.iter().enumerate();
        of_each
            .filter_map(|(configuration, known)| {
                let Configuration::Entries(entries) = known else {
                    return None;
                };
                let bundle = self.wanted(entries, listed, now);
                let differs = |entry: &[Ca]| {
                    bundle.iter().any(|ca| !entry.contains(ca)) || entry.iter().any(|ca| !bundle.contains(ca))
                };
                let entries: Vec<usize> = entries
                    .iter()
                    .enumerate()
                    .filter(|(_, entry)| differs(entry))
                    .map(|(index, _)| index)
                    .collect();
                (!entries.is_empty()).then_some(BundleWrite {
                    configuration,
                    entries,
                    bundle,
                })
            })
            .collect()
    }

    /// When the plan might change, in steady time.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Duration> {
        let announced = self.trusted.values().map(|since| since.saturating_add(ANNOUNCED));
        let left = self.unlisted.values().map(|since| since.saturating_add(UNLISTED));
        announced.chain(left)
    }

    fn wanted(&self, entries: &[Vec<Ca>], listed: &[Ca], now: Moment) -> Vec<Ca> {
        let mut wanted = listed.to_vec();
        for ca in entries.iter().flatten() {
            let since = self.unlisted.get(ca).copied().unwrap_or(now.steady);
            let goes = self.delisted == Delisted::Goes && self.was_listed.contains(ca);
            let is_left = !goes && !ca.has_ended(now.wall) && now.steady.saturating_sub(since) < UNLISTED;
            if is_left && !wanted.contains(ca) {
                wanted.push(ca.clone());
            }
        }
        wanted
    }

    /// The bundles of every entry of every configuration.
    fn entries(&self) -> impl Iterator<Item = &Vec<Ca>> {
        self.configurations
            .iter()
            .filter_map(|configuration| match configuration {
                Configuration::Entries(entries) => Some(entries),
                Configuration::Unread | Configuration::Absent => None,
            })
            .flatten()
    }
}
