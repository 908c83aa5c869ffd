//! The ServiceAccounts with an identity: their last verdicts, the roles they depend on, and which of them must be evaluated.
//!
//! A cluster can have 100,000 of them, so an entry is small: 40 bytes and the name. The annotations are read again from the map of
//! ServiceAccounts for each evaluation. The ServiceAccounts that depend on a role are found by scanning all of them, which takes a
//! millisecond; an index would be as large as the names.
//!
//! ServiceAccounts with a role annotation are kept in every namespace, because a namespace can become gated. Others are kept only in gated
//! namespaces, and only if they are in the identity ConfigMap or have an association.

mod namespace;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use self::namespace::{Hash32, Namespace, Report};
use super::identity::IdentitySources;
use super::standing::Basis;
use crate::kubernetes::service_accounts::{AccountObserver, Observed};
use crate::telemetry::metrics::{CountedVerdict, TrustChange};
use crate::trust::{Cause, RoleArn, Verdict};

/// The ServiceAccounts of a cluster that have an identity.
pub struct Accounts {
    known: Mutex<Known>,
    hasher: RandomState,
    sources: IdentitySources,
    /// Something must be evaluated.
    wake: Notify,
}

#[derive(Default)]
struct Known {
    namespaces: HashMap<Arc<str>, Namespace>,
    gated: HashSet<Arc<str>>,
    /// The namespaces with something to evaluate. They take turns, so that none waits for all ServiceAccounts of another.
    turns: VecDeque<Arc<str>>,
    /// How many were taken to be evaluated.
    taken: u64,
}

/// A ServiceAccount to evaluate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    uid: Hash32,
}

/// The result of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This verdict.
    Verdict {
        verdict: Verdict,
        cause: Option<Cause>,
        basis: Basis,
        /// Whether it depends on something that nothing reports: the time, or the age of what is known.
        is_rechecked: bool,
    },
    /// Not enough was read yet: what is known stays.
    NotYet,
    /// Its pods have no identity that can be evaluated.
    NotJudged,
}

impl Accounts {
    /// None so far.
    #[must_use]
    pub fn new(sources: IdentitySources) -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::default(),
            hasher: RandomState::new(),
            sources,
            wake: Notify::new(),
        })
    }

    /// Where identities come from, besides annotations.
    pub(super) const fn sources(&self) -> &IdentitySources {
        &self.sources
    }

    /// Waits until there is something to evaluate.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Sets the namespaces to evaluate from now on, and removes the data of others. Returns those that are new.
    pub(super) fn set_gated(&self, gated: HashSet<Arc<str>>) -> HashSet<Arc<str>> {
        let mut known = self.known.lock();
        let new = gated.difference(&known.gated).cloned().collect();
        known.gated = gated;
        known.each(|name, namespace, gated| namespace.set_gated(gated.contains(name)));
        new
    }

    /// The namespaces that are evaluated.
    pub(super) fn gated(&self) -> HashSet<Arc<str>> {
        self.known.lock().gated.clone()
    }

    /// The ServiceAccounts of gated namespaces that depend on one of these roles must be evaluated.
    pub(super) fn roles_changed<'a>(&self, roles: impl IntoIterator<Item = &'a RoleArn>) {
        let mut hashes: Vec<Hash32> = roles.into_iter().map(|role| self.hash_of_role(role)).collect();
        if hashes.is_empty() {
            return;
        }
        hashes.sort_unstable();
        let mut known = self.known.lock();
        known.each(|_, namespace, _| namespace.enqueue_with_role(&hashes));
    }

    /// All ServiceAccounts of gated namespaces must be evaluated.
    pub(super) fn all_changed(&self) {
        self.known.lock().each(|_, namespace, _| namespace.enqueue_all());
    }

    /// ServiceAccounts whose verdict can change without a notification must be evaluated.
    pub(super) fn time_passed(&self) {
        let mut known = self.known.lock();
        known.each(|_, namespace, _| namespace.enqueue_rechecked());
    }

    /// Associations were read: ServiceAccounts whose identity was uncertain because of them must be evaluated.
    pub(super) fn associations_changed(&self) {
        let mut known = self.known.lock();
        known.each(|_, namespace, _| namespace.enqueue_in_doubt());
    }

    /// The identity of a ServiceAccount might have changed: it must be evaluated.
    pub(super) fn identity_changed(&self, namespace: &str, name: &str, exists: impl FnOnce() -> bool) {
        let is_kept = self.known.lock().change(namespace, |known| known.enqueue_named(name));
        if is_kept != Some(true) {
            self.discover(namespace, name, exists);
        }
    }

    /// Keeps a ServiceAccount of a gated namespace from now on, if it exists and has an identity without annotations.
    pub(super) fn discover(&self, namespace: &str, name: &str, exists: impl FnOnce() -> bool) {
        let report = Report {
            name,
            uid: 0,
            is_annotated: false,
            is_changed: true,
        };
        if self.known.lock().might_keep(namespace, &report) && exists() && self.sources.might_name(namespace, name) {
            self.known.lock().insert(namespace, &report);
        }
    }

    /// Takes the next ServiceAccounts to evaluate, at most so many.
    pub(super) fn take(&self, most: usize) -> Vec<Candidate> {
        let mut known = self.known.lock();
        let known = &mut *known;
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(name) = known.turns.pop_front()
        {
            // It may have been removed.
            let Some(namespace) = known.namespaces.get_mut(&name) else {
                continue;
            };
            if let Some((account, uid)) = namespace.take() {
                taken.push(Candidate {
                    namespace: Arc::clone(&name),
                    name: account,
                    uid,
                });
            }
            namespace.has_turn = namespace.is_anything_queued();
            if namespace.has_turn {
                known.turns.push_back(name);
            }
        }
        if known.turns.is_empty() {
            known.turns.shrink_to(1024);
        }
        known.taken += taken.len() as u64;
        taken
    }

    /// Records the result of an evaluation, and the roles that it depended on, at most two. Nothing if the ServiceAccount is another one by
    /// now, or no longer gated.
    pub(super) fn record(&self, candidate: &Candidate, roles: &[RoleArn], outcome: Outcome) -> Option<TrustChange> {
        let mut hashes = [0; 2];
        for (hash, role) in hashes.iter_mut().zip(roles) {
            *hash = self.hash_of_role(role);
        }
        let record = |namespace: &mut Namespace| namespace.record(&candidate.name, candidate.uid, hashes, outcome);
        self.known.lock().change(&candidate.namespace, record)?
    }

    /// How many ServiceAccounts of each gated namespace have each verdict.
    #[must_use]
    pub fn counts(&self) -> Vec<CountedVerdict> {
        let known = self.known.lock();
        let mut counts = Vec::new();
        for (name, namespace) in &known.namespaces {
            counts.extend(namespace.counts().map(|((verdict, cause), count)| CountedVerdict {
                namespace: Arc::clone(name),
                verdict,
                cause,
                count,
            }));
        }
        counts
    }

    /// How many evaluations there were.
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.known.lock().taken
    }

    fn hash_of_role(&self, role: &RoleArn) -> Hash32 {
        self.hash(role.as_str())
    }

    fn hash(&self, text: &str) -> Hash32 {
        (self.hasher.hash_one(text) as Hash32).max(1)
    }
}

impl AccountObserver for Accounts {
    fn list_began(&self) {
        self.known.lock().each(|_, namespace, _| namespace.list_began());
    }

    fn exists(&self, account: &Observed<'_>) {
        let report = Report {
            name: account.name,
            uid: account.uid.map_or(0, |uid| self.hash(uid)),
            is_annotated: account.identity.is_some_and(|identity| identity.role().is_some()),
            is_changed: account.is_changed,
        };
        let might_keep = {
            let mut known = self.known.lock();
            let is_kept = known.change(account.namespace, |namespace| namespace.update(&report));
            is_kept != Some(true) && known.might_keep(account.namespace, &report)
        };
        // Not under the lock: the sources have locks of their own.
        if might_keep && (report.is_annotated || self.sources.might_name(account.namespace, account.name)) {
            self.known.lock().insert(account.namespace, &report);
        }
        if !self.known.lock().turns.is_empty() {
            self.wake.notify_one();
        }
    }

    fn is_gone(&self, namespace: &str, name: &str) {
        self.known.lock().change(namespace, |known| known.remove(name));
    }

    fn list_ended(&self) {
        self.known.lock().each(|_, namespace, _| namespace.list_ended());
    }
}

impl Known {
    /// Whether a ServiceAccount that is not kept would be, if it has an identity.
    fn might_keep(&self, namespace: &str, report: &Report<'_>) -> bool {
        let is_kept = self
            .namespaces
            .get(namespace)
            .is_some_and(|known| known.contains(report.name));
        !is_kept && (report.is_annotated || self.gated.contains(namespace))
    }

    fn insert(&mut self, namespace: &str, report: &Report<'_>) {
        // It may be gated no longer.
        if !self.might_keep(namespace, report) {
            return;
        }
        if !self.namespaces.contains_key(namespace) {
            let gated = self.gated.get(namespace);
            let mut known = Namespace::default();
            known.set_gated(gated.is_some());
            let name = gated.map_or_else(|| namespace.into(), Arc::clone);
            self.namespaces.insert(name, known);
        }
        self.change(namespace, |known| known.insert(report));
    }

    /// Changes a namespace, if one of its ServiceAccounts is kept.
    fn change<T>(&mut self, name: &str, change: impl FnOnce(&mut Namespace) -> T) -> Option<T> {
        let namespace = self.namespaces.get_mut(name)?;
        let result = change(namespace);
        if namespace.is_anything_queued() && !namespace.has_turn {
            namespace.has_turn = true;
            if let Some((name, _)) = self.namespaces.get_key_value(name) {
                self.turns.push_back(Arc::clone(name));
            }
        } else if namespace.is_empty() {
            self.namespaces.remove(name);
        }
        Some(result)
    }

    /// Changes every namespace. `change` is given those that are gated, too.
    fn each(&mut self, mut change: impl FnMut(&Arc<str>, &mut Namespace, &HashSet<Arc<str>>)) {
        let (turns, gated) = (&mut self.turns, &self.gated);
        self.namespaces.retain(|name, namespace| {
            change(name, namespace, gated);
            if namespace.is_anything_queued() && !namespace.has_turn {
                namespace.has_turn = true;
                turns.push_back(Arc::clone(name));
            }
            !namespace.is_empty()
        });
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.lock();
        f.debug_struct("Accounts")
            .field("namespaces", &known.namespaces.len())
            .field("turns", &known.turns.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
