//! Changes that require new evaluations, collected from all parts that report them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::accounts::Accounts;
use super::identity::IdentitySources;
use super::judge::Known;
use crate::associations::{AccountName, Lookup};
use crate::kubernetes::container_credentials::Identities;
use crate::kubernetes::identity_map::{Entries, EntryKey};
use crate::kubernetes::namespaces::Namespaces;
use crate::kubernetes::service_accounts::Stored;
use crate::support::any_change::AnyChange;

/// How often ServiceAccounts are evaluated again whose verdict can change without a notification: conditions on the time, and associations
/// that become too old.
const RECHECK: Duration = Duration::from_secs(300);

/// Follows what evaluations depend on.
pub(super) struct News {
    gates: watch::Receiver<()>,
    /// Of the identity ConfigMap, the associations and the container credentials.
    sources: AnyChange,
    /// These, as they were when they were taken last.
    entries: Arc<Entries>,
    associations: HashMap<AccountName, Lookup>,
    container_credentials: Arc<Identities>,
    is_first: bool,
    recheck: Instant,
}

impl News {
    /// What is there already is new when it is taken first.
    pub(super) fn new(known: &Known, sources: &IdentitySources, namespaces: &Namespaces) -> Self {
        let map = sources.identity_map.as_ref().map(|map| map.changes());
        let credentials = known.container_credentials.as_ref().map(|config| config.changes());
        let associations = sources.associations.as_ref().map(|associations| associations.changes());
        let changes = map.into_iter().chain(credentials);
        let mut gates = namespaces.gate_changes();
        gates.mark_changed();
        Self {
            gates,
            sources: AnyChange::of(changes.chain(associations.into_iter().flatten())),
            entries: Arc::default(),
            associations: HashMap::new(),
            container_credentials: Arc::default(),
            is_first: true,
            recheck: Instant::now() + RECHECK,
        }
    }

    /// Queues what must be evaluated because of what happened since the last call.
    pub(super) fn take(&mut self, known: &Known, namespaces: &Namespaces, accounts: &Accounts) {
        if self.gates.has_changed().unwrap_or(false) {
            self.gates.mark_unchanged();
            let newly_gated = accounts.set_gated(namespaces.gated().into_iter().collect());
            self.discover(&newly_gated, known, accounts);
        }
        if self.sources.take() || self.is_first {
            self.is_first = false;
            self.take_sources(known, accounts);
        }
        let changed = known.cache.take_changes();
        if changed.all {
            accounts.all_changed();
        } else {
            accounts.roles_changed(&changed.roles);
        }
        if Instant::now() >= self.recheck {
            self.recheck = Instant::now() + RECHECK;
            accounts.time_passed();
        }
    }

    /// Waits until there is something to take, except for what `accounts` report. Cancel-safe.
    pub(super) async fn arrived(&mut self, known: &Known) {
        tokio::select! {
            () = known.cache.changed() => {}
            Ok(()) = self.gates.changed() => self.gates.mark_changed(),
            () = self.sources.changed() => {}
            () = sleep_until(self.recheck) => {}
        }
    }

    /// ServiceAccounts without annotations that have an identity in namespaces that are gated from now on.
    fn discover(&self, newly_gated: &HashSet<Arc<str>>, known: &Known, accounts: &Accounts) {
        if newly_gated.is_empty() {
            return;
        }
        let mut discover =
            |namespace: &str, name: &str| accounts.discover(namespace, name, || exists(known, namespace, name));
        for (namespace, name) in self.associations.keys() {
            if newly_gated.contains(namespace) {
                discover(namespace, name);
            }
        }
        for key in self.entries.keys() {
            each_account(key, newly_gated, &mut discover);
        }
    }

    /// Queues the evaluation of ServiceAccounts whose identity has changed.
    fn take_sources(&mut self, known: &Known, accounts: &Accounts) {
        let mut changed = |namespace: &str, name: &str| {
            accounts.identity_changed(namespace, name, || exists(known, namespace, name));
        };
        let sources = accounts.sources();
        if let Some(map) = &sources.identity_map {
            let now = map.entries();
            if !Arc::ptr_eq(&now, &self.entries) {
                let gated = accounts.gated();
                for key in now.differences(&self.entries) {
                    each_account(key, &gated, &mut changed);
                }
                self.entries = now;
            }
        }
        if let Some(config) = &known.container_credentials {
            let now = config.identities();
            for (namespace, name) in now.symmetric_difference(&self.container_credentials) {
                changed(namespace, name);
            }
            self.container_credentials = now;
        }
        if let Some(associations) = &sources.associations {
            let now = associations.all_in_memory();
            let others = |(account, lookup): &(&AccountName, &Lookup)| self.associations.get(*account) != Some(*lookup);
            let gone = self.associations.keys().filter(|account| !now.contains_key(*account));
            for (namespace, name) in now.iter().filter(others).map(|(account, _)| account).chain(gone) {
                changed(namespace, name);
            }
            self.associations = now;
            accounts.associations_changed();
        }
    }
}

/// Calls `each` for the ServiceAccounts that an entry of the map might be for, in these namespaces.
fn each_account(key: EntryKey<'_>, namespaces: &HashSet<Arc<str>>, each: &mut impl FnMut(&str, &str)) {
    match key.namespace {
        Some(namespace) => {
            if namespaces.contains(namespace) {
                each(namespace, key.name);
            }
        }
        None => namespaces.iter().for_each(|namespace| each(namespace, key.name)),
    }
}

fn exists(known: &Known, namespace: &str, name: &str) -> bool {
    known.accounts.stored(namespace, name) != Stored::Missing
}
