//! The ServiceAccounts of one namespace.

use super::Outcome;
use crate::telemetry::metrics::TrustChange;
use crate::verdicts::standing::{Shown, Standing};

/// The ServiceAccounts of a namespace that have, or might have, an identity.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    /// INVARIANT: sorted by name, each name once.
    accounts: Vec<Account>,
    is_gated: bool,
    /// Whether it is among those whose turn will come.
    pub(super) has_turn: bool,
    /// How many must be evaluated.
    queued: usize,
    /// Where to look for the next of them.
    next: usize,
    counts: Vec<(Shown, usize)>,
}

/// One ServiceAccount.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: Box<str>,
    uid: Hash32,
    /// The roles that its last evaluation depended on.
    roles: [Hash32; 2],
    standing: Standing,
    /// Whether its annotations name a role.
    is_annotated: bool,
    /// Whether the list in progress, or the last one, has it.
    is_listed: bool,
    is_queued: bool,
    /// Its verdict depends on more than what is reported.
    is_rechecked: bool,
}

/// A hash of 32 bits; zero where there is nothing to hash. A collision of roles costs an evaluation; one of the uids of a ServiceAccount
/// that was created again makes it the same one.
pub(super) type Hash32 = u32;

/// A ServiceAccount as it is reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    pub(super) name: &'a str,
    /// Zero: not known.
    pub(super) uid: Hash32,
    pub(super) is_annotated: bool,
    pub(super) is_changed: bool,
}

impl Namespace {
    pub(super) const fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    pub(super) const fn is_anything_queued(&self) -> bool {
        self.queued > 0
    }

    #[cfg(test)]
    pub(super) const fn parts(&self) -> (&Vec<Account>, &Vec<(Shown, usize)>) {
        (&self.accounts, &self.counts)
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (Shown, usize)> {
        self.counts.iter().copied()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.accounts.binary_search_by(|account| (*account.name).cmp(name))
    }

    /// Gates it, which queues all, or not, which forgets all verdicts.
    pub(super) fn set_gated(&mut self, is_gated: bool) {
        if std::mem::replace(&mut self.is_gated, is_gated) == is_gated {
            return;
        }
        if is_gated {
            self.enqueue_if(|_| true);
            return;
        }
        // What else than annotations names a ServiceAccount is looked up again once the namespace is gated.
        self.accounts.retain(|account| account.is_annotated);
        for account in &mut self.accounts {
            account.standing = Standing::default();
            (account.roles, account.is_queued, account.is_rechecked) = ([0; 2], false, false);
        }
        self.shrink();
        self.counts = Vec::new();
        self.queued = 0;
    }

    /// Takes over a report about a ServiceAccount that is kept. Returns whether it is.
    pub(super) fn update(&mut self, report: &Report<'_>) -> bool {
        let Ok(place) = self.find(report.name) else {
            return false;
        };
        if !self.is_gated && !report.is_annotated {
            self.remove_at(place);
            return true;
        }
        let Some(account) = self.accounts.get_mut(place) else {
            return false;
        };
        account.is_listed = true;
        account.is_annotated = report.is_annotated;
        let before = account.uid;
        if report.uid != 0 {
            account.uid = report.uid;
        }
        let is_another = before != 0 && before != account.uid;
        if is_another {
            // Deleted and created again: nothing is known of the new one.
            self.forget(place);
        }
        if is_another || report.is_changed {
            self.enqueue(place);
        }
        true
    }

    /// Keeps a ServiceAccount from now on, and queues it.
    pub(super) fn insert(&mut self, report: &Report<'_>) {
        let Err(place) = self.find(report.name) else { return };
        if self.accounts.len() == self.accounts.capacity() {
            // By an eighth, not by doubling: most namespaces are small, and unused room is most of what can be saved.
            self.accounts.reserve_exact(1.max(self.accounts.len() / 8));
        }
        let account = Account {
            name: report.name.into(),
            uid: report.uid,
            roles: [0; 2],
            standing: Standing::default(),
            is_annotated: report.is_annotated,
            is_listed: true,
            is_queued: false,
            is_rechecked: false,
        };
        self.accounts.insert(place, account);
        self.enqueue(place);
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Ok(place) = self.find(name) {
            self.remove_at(place);
        }
    }

    fn remove_at(&mut self, place: usize) {
        self.forget(place);
        if place < self.accounts.len() {
            let account = self.accounts.remove(place);
            self.queued -= usize::from(account.is_queued);
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.accounts.capacity() > 2 * (self.accounts.len() + 4) {
            self.accounts.shrink_to_fit();
        }
    }

    pub(super) fn list_began(&mut self) {
        for account in &mut self.accounts {
            account.is_listed = false;
        }
    }

    /// Removes what the list did not contain.
    pub(super) fn list_ended(&mut self) {
        for place in (0..self.accounts.len()).rev() {
            if self.accounts.get(place).is_some_and(|account| !account.is_listed) {
                self.remove_at(place);
            }
        }
    }

    /// Queues a ServiceAccount if it is kept. Returns whether it is.
    pub(super) fn enqueue_named(&mut self, name: &str) -> bool {
        let Ok(place) = self.find(name) else { return false };
        self.enqueue(place);
        true
    }

    pub(super) fn enqueue_all(&mut self) {
        self.enqueue_if(|_| true);
    }

    /// Queues those that depend on what nothing reports.
    pub(super) fn enqueue_rechecked(&mut self) {
        self.enqueue_if(|account| account.is_rechecked);
    }

    /// Queues those whose identity might be another one.
    pub(super) fn enqueue_in_doubt(&mut self) {
        self.enqueue_if(|account| account.standing.is_in_doubt());
    }

    /// Queues those that depend on one of these roles, given as sorted hashes.
    pub(super) fn enqueue_with_role(&mut self, roles: &[Hash32]) {
        let is_one = |role: &Hash32| *role != 0 && roles.binary_search(role).is_ok();
        self.enqueue_if(|account| account.roles.iter().any(is_one));
    }

    fn enqueue_if(&mut self, condition: impl Fn(&Account) -> bool) {
        if !self.is_gated {
            return;
        }
        for account in &mut self.accounts {
            if !account.is_queued && condition(account) {
                account.is_queued = true;
                self.queued += 1;
            }
        }
    }

    fn enqueue(&mut self, place: usize) {
        if !self.is_gated {
            return;
        }
        if let Some(account) = self.accounts.get_mut(place)
            && !account.is_queued
        {
            account.is_queued = true;
            self.queued += 1;
        }
    }

    /// Takes the next queued one: its name and uid.
    pub(super) fn take(&mut self) -> Option<(Box<str>, Hash32)> {
        if self.queued == 0 {
            return None;
        }
        let start = self.next.min(self.accounts.len());
        let (before, after) = self.accounts.split_at_mut(start);
        let mut places = (start..).zip(after).chain((0..).zip(before));
        let (place, account) = places.find(|(_, account)| account.is_queued)?;
        account.is_queued = false;
        let taken = (account.name.clone(), account.uid);
        self.queued -= 1;
        self.next = place + 1;
        Some(taken)
    }

    /// Records the result of an evaluation. Nothing if the ServiceAccount is another one by now, or no longer evaluated.
    pub(super) fn record(
        &mut self,
        name: &str,
        uid: Hash32,
        roles: [Hash32; 2],
        outcome: Outcome,
    ) -> Option<TrustChange> {
        if !self.is_gated {
            return None;
        }
        let place = self.find(name).ok()?;
        let account = self.accounts.get_mut(place)?;
        // The uid may be known only since the evaluation began.
        if uid != 0 && account.uid != uid {
            return None;
        }
        account.roles = roles;
        match outcome {
            Outcome::Verdict {
                verdict,
                cause,
                basis,
                is_rechecked,
            } => {
                account.is_rechecked = is_rechecked;
                let before = account.standing.shown();
                let change = account.standing.take(verdict, cause, basis);
                let now = account.standing.shown();
                self.count(before, now);
                change
            }
            Outcome::NotYet => None,
            Outcome::NotJudged if account.is_annotated => {
                self.forget(place);
                None
            }
            Outcome::NotJudged => {
                self.remove_at(place);
                None
            }
        }
    }

    /// Forgets the verdicts on a ServiceAccount.
    fn forget(&mut self, place: usize) {
        if let Some(account) = self.accounts.get_mut(place) {
            account.is_rechecked = false;
            let before = std::mem::take(&mut account.standing).shown();
            self.count(before, None);
        }
    }

    fn count(&mut self, before: Option<Shown>, now: Option<Shown>) {
        if before == now {
            return;
        }
        if let Some(place) = self.counts.iter().position(|(shown, _)| Some(*shown) == before)
            && let Some((_, count)) = self.counts.get_mut(place)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.swap_remove(place);
            }
        }
        if let Some(now) = now {
            match self.counts.iter_mut().find(|(shown, _)| *shown == now) {
                Some((_, count)) => *count += 1,
                None => {
                    self.counts.reserve_exact(1);
                    self.counts.push((now, 1));
                }
            }
        }
    }
}
