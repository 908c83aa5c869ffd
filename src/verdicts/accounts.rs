//! The ServiceAccounts with a role: their standing, those that name a role, and those that are to be judged.
//!
//! A cluster can have 100,000 of them, so what is kept is small: names, hashes of the role and of the uid, and the standing. What an
//! annotation says is read again from the map of ServiceAccounts when it is judged.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::standing::{Shown, Standing};
use crate::kubernetes::service_accounts::AccountObserver;
use crate::pod::identity::ServiceAccountIdentity;
use crate::telemetry::metrics::{CountedVerdict, TrustChange};
use crate::trust::{Cause, RoleArn, Verdict};

/// The ServiceAccounts of a cluster that have a role.
pub struct Accounts {
    known: Mutex<Known>,
    hasher: RandomState,
    /// Something is to be judged.
    wake: Notify,
}

#[derive(Default)]
struct Known {
    slots: Vec<Option<Account>>,
    free: Vec<Slot>,
    /// By the hash of namespace and name.
    by_name: BTreeMap<u64, Slot>,
    /// With the hash of the role first.
    by_role: BTreeSet<(u64, Slot)>,
    /// The namespaces of the ServiceAccounts, with the number of them.
    namespaces: HashMap<Arc<str>, usize>,
    gated: HashSet<Arc<str>>,
    queue: VecDeque<Slot>,
    counts: HashMap<(Arc<str>, Shown), usize>,
    list: u32,
    /// How many were taken to be judged.
    taken: u64,
}

type Slot = u32;

/// One ServiceAccount.
#[derive(Debug)]
struct Account {
    namespace: Arc<str>,
    name: Box<str>,
    /// Hashes.
    uid: u64,
    role: u64,
    audience: u32,
    /// The last list that contained it.
    list: u32,
    standing: Standing,
    is_gated: bool,
    is_queued: bool,
    /// Its verdict depends on more than what is reported: the time.
    is_rechecked: bool,
}

/// A ServiceAccount to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    slot: Slot,
    uid: u64,
}

/// What a judgment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This verdict.
    Verdict {
        verdict: Verdict,
        cause: Option<Cause>,
        /// Whether it depends on the time.
        by_clock: bool,
    },
    /// Not enough was read yet: what is known stays.
    NotYet,
    /// Its pods do not use the role.
    NotUsed,
}

impl Accounts {
    /// None so far.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::default(),
            hasher: RandomState::new(),
            wake: Notify::new(),
        })
    }

    /// Waits until there is something to judge.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// The namespaces to judge from now on. What was known of others is forgotten.
    pub(super) fn set_gated(&self, gated: HashSet<Arc<str>>) {
        let mut known = self.known.lock();
        if known.gated == gated {
            return;
        }
        known.gated = gated;
        for slot in known.all() {
            known.gate(slot);
        }
    }

    /// The ServiceAccounts of gated namespaces that name one of these roles are to be judged.
    pub(super) fn roles_changed<'a>(&self, roles: impl IntoIterator<Item = &'a RoleArn>) {
        let mut known = self.known.lock();
        for role in roles {
            let hash = self.hash(role.as_str());
            let slots: Vec<Slot> = known
                .by_role
                .range((hash, Slot::MIN)..=(hash, Slot::MAX))
                .map(|(_, slot)| *slot)
                .collect();
            for slot in slots {
                known.enqueue(slot);
            }
        }
    }

    /// All ServiceAccounts of gated namespaces are to be judged.
    pub(super) fn all_changed(&self) {
        let mut known = self.known.lock();
        for slot in known.all() {
            known.enqueue(slot);
        }
    }

    /// Those whose verdict depends on the time are to be judged.
    pub(super) fn time_passed(&self) {
        let mut known = self.known.lock();
        for slot in known.all() {
            if known.get(slot).is_some_and(|account| account.is_rechecked) {
                known.enqueue(slot);
            }
        }
    }

    /// Takes the next ServiceAccounts to judge, at most so many.
    pub(super) fn take(&self, most: usize) -> Vec<Candidate> {
        let mut known = self.known.lock();
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(slot) = known.queue.pop_front()
        {
            // It may have been removed, or its place may have another one by now.
            let Some(account) = known.get_mut(slot).filter(|account| account.is_queued) else {
                continue;
            };
            account.is_queued = false;
            taken.push(Candidate {
                namespace: Arc::clone(&account.namespace),
                name: account.name.clone(),
                slot,
                uid: account.uid,
            });
        }
        if known.queue.is_empty() {
            known.queue.shrink_to(1024);
        }
        known.taken += taken.len() as u64;
        taken
    }

    /// Records what a judgment came to. Nothing if the ServiceAccount is another one by now, or no longer gated.
    pub(super) fn record(&self, candidate: &Candidate, outcome: Outcome) -> Option<TrustChange> {
        let mut known = self.known.lock();
        let account = known.get_mut(candidate.slot)?;
        let is_same = account.namespace == candidate.namespace
            && account.name == candidate.name
            && account.uid == candidate.uid
            && account.is_gated;
        if !is_same {
            return None;
        }
        match outcome {
            Outcome::Verdict {
                verdict,
                cause,
                by_clock,
            } => {
                account.is_rechecked = by_clock;
                let before = account.standing.shown();
                let change = account.standing.take(verdict, cause);
                let (namespace, now) = (Arc::clone(&account.namespace), account.standing.shown());
                known.count(&namespace, before, now);
                change
            }
            Outcome::NotYet => None,
            Outcome::NotUsed => {
                known.forget(candidate.slot);
                None
            }
        }
    }

    /// How many ServiceAccounts of each gated namespace have each verdict.
    #[must_use]
    pub fn counts(&self) -> Vec<CountedVerdict> {
        let known = self.known.lock();
        let counts = known.counts.iter();
        counts
            .map(|((namespace, (verdict, cause)), count)| CountedVerdict {
                namespace: Arc::clone(namespace),
                verdict: *verdict,
                cause: *cause,
                count: *count,
            })
            .collect()
    }

    /// How many judgments there were.
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.known.lock().taken
    }

    fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }
}

impl AccountObserver for Accounts {
    fn list_began(&self) {
        let mut known = self.known.lock();
        known.list = known.list.wrapping_add(1);
    }

    fn has_role(&self, namespace: &str, name: &str, uid: Option<&str>, identity: &ServiceAccountIdentity) {
        let Some(role) = identity.role() else { return };
        let account = Observed {
            key: self.hash((namespace, name)),
            namespace,
            name,
            uid: self.hash(uid),
            role: self.hash(role.as_str()),
            audience: self.hash(identity.audience().map(|audience| audience.as_str())) as u32,
        };
        let mut known = self.known.lock();
        known.put(&account);
        if !known.queue.is_empty() {
            self.wake.notify_one();
        }
    }

    fn has_no_role(&self, namespace: &str, name: &str) {
        let key = self.hash((namespace, name));
        let mut known = self.known.lock();
        if let Some(slot) = known.by_name.get(&key).copied() {
            known.remove(key, slot);
        }
    }

    fn list_ended(&self) {
        let mut known = self.known.lock();
        let list = known.list;
        let gone: Vec<(u64, Slot)> = known
            .by_name
            .iter()
            .filter(|(_, slot)| known.get(**slot).is_none_or(|account| account.list != list))
            .map(|(key, slot)| (*key, *slot))
            .collect();
        for (key, slot) in gone {
            known.remove(key, slot);
        }
    }
}

/// A ServiceAccount as the watch reports it, with hashes.
struct Observed<'a> {
    key: u64,
    namespace: &'a str,
    name: &'a str,
    uid: u64,
    role: u64,
    audience: u32,
}

impl Known {
    fn get(&self, slot: Slot) -> Option<&Account> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn get_mut(&mut self, slot: Slot) -> Option<&mut Account> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn all(&self) -> Vec<Slot> {
        self.by_name.values().copied().collect()
    }

    fn put(&mut self, observed: &Observed<'_>) {
        let list = self.list;
        if let Some(slot) = self.by_name.get(&observed.key).copied() {
            let Some(account) = self.get_mut(slot) else { return };
            if (&*account.namespace, &*account.name) != (observed.namespace, observed.name) {
                // Two names with one hash of 64 bits: the second is not judged.
                return;
            }
            if account.uid == observed.uid {
                account.list = list;
                let before = std::mem::replace(&mut account.role, observed.role);
                let audience = std::mem::replace(&mut account.audience, observed.audience);
                if before != observed.role {
                    self.by_role.remove(&(before, slot));
                    self.by_role.insert((observed.role, slot));
                }
                if before != observed.role || audience != observed.audience {
                    self.enqueue(slot);
                }
                return;
            }
            // Deleted and created again: nothing is known of the new one.
            self.remove(observed.key, slot);
        }
        self.insert(observed, list);
    }

    fn insert(&mut self, observed: &Observed<'_>, list: u32) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let Ok(slot) = Slot::try_from(self.slots.len()) else {
                    return;
                };
                self.slots.push(None);
                slot
            }
        };
        let namespace = match self.namespaces.get_key_value(observed.namespace) {
            Some((namespace, _)) => Arc::clone(namespace),
            None => observed.namespace.into(),
        };
        *self.namespaces.entry(Arc::clone(&namespace)).or_default() += 1;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Account {
                namespace,
                name: observed.name.into(),
                uid: observed.uid,
                role: observed.role,
                audience: observed.audience,
                list,
                standing: Standing::default(),
                is_gated: false,
                is_queued: false,
                is_rechecked: false,
            });
        }
        self.by_name.insert(observed.key, slot);
        self.by_role.insert((observed.role, slot));
        self.gate(slot);
    }

    fn remove(&mut self, key: u64, slot: Slot) {
        self.by_name.remove(&key);
        self.forget(slot);
        let Some(account) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.by_role.remove(&(account.role, slot));
        self.free.push(slot);
        if let Some(left) = self.namespaces.get_mut(&account.namespace) {
            *left -= 1;
            if *left == 0 {
                self.namespaces.remove(&account.namespace);
            }
        }
    }

    /// Looks again at whether the namespace of a ServiceAccount is gated.
    fn gate(&mut self, slot: Slot) {
        let Some(account) = self.get(slot) else { return };
        let is_gated = self.gated.contains(&account.namespace);
        if account.is_gated == is_gated {
            return;
        }
        if is_gated {
            if let Some(account) = self.get_mut(slot) {
                account.is_gated = true;
            }
            self.enqueue(slot);
        } else {
            self.forget(slot);
            if let Some(account) = self.get_mut(slot) {
                account.is_gated = false;
            }
        }
    }

    fn enqueue(&mut self, slot: Slot) {
        let Some(account) = self.get_mut(slot) else { return };
        if account.is_gated && !account.is_queued {
            account.is_queued = true;
            self.queue.push_back(slot);
        }
    }

    /// Forgets the verdicts on a ServiceAccount.
    fn forget(&mut self, slot: Slot) {
        let Some(account) = self.get_mut(slot) else { return };
        account.is_rechecked = false;
        let before = std::mem::take(&mut account.standing).shown();
        let namespace = Arc::clone(&account.namespace);
        self.count(&namespace, before, None);
    }

    fn count(&mut self, namespace: &Arc<str>, before: Option<Shown>, now: Option<Shown>) {
        if before == now {
            return;
        }
        if let Some(before) = before {
            let key = (Arc::clone(namespace), before);
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
        }
        if let Some(now) = now {
            *self.counts.entry((Arc::clone(namespace), now)).or_default() += 1;
        }
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.lock();
        f.debug_struct("Accounts")
            .field("known", &known.by_name.len())
            .field("queued", &known.queue.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::identity::AnnotationRules;

    const LOST: Outcome = Outcome::Verdict {
        verdict: Verdict::NotTrusted,
        cause: Some(Cause::WrongSubject),
        by_clock: false,
    };
    const TRUSTED: Outcome = Outcome::Verdict {
        verdict: Verdict::Trusted,
        cause: None,
        by_clock: false,
    };

    fn role(name: &str) -> RoleArn {
        RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{name}")).unwrap()
    }

    fn identity(role: &RoleArn, audience: &str) -> ServiceAccountIdentity {
        let rules = AnnotationRules {
            prefix: "eks.amazonaws.com/".to_owned(),
            compose: None,
        };
        let annotations = [
            ("eks.amazonaws.com/role-arn", role.as_str()),
            ("eks.amazonaws.com/audience", audience),
        ];
        ServiceAccountIdentity::from_annotations(&rules, annotations).unwrap()
    }

    fn put(accounts: &Accounts, namespace: &str, name: &str, of_role: &str) {
        accounts.has_role(namespace, name, Some("uid"), &identity(&role(of_role), ""));
    }

    fn gate(accounts: &Accounts, namespaces: &[&str]) {
        accounts.set_gated(namespaces.iter().map(|name| Arc::from(*name)).collect());
    }

    /// Judges all that is queued, and returns their names.
    fn judge_all(accounts: &Accounts, outcome: Outcome) -> Vec<(String, Option<TrustChange>)> {
        let mut judged: Vec<_> = accounts
            .take(usize::MAX)
            .iter()
            .map(|candidate| (candidate.name.to_string(), accounts.record(candidate, outcome)))
            .collect();
        judged.sort_by(|left, right| left.0.cmp(&right.0));
        judged
    }

    fn names(judged: &[(String, Option<TrustChange>)]) -> Vec<&str> {
        judged.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Namespace, verdict and number.
    fn counts(accounts: &Accounts) -> Vec<(String, Verdict, usize)> {
        let mut counts: Vec<_> = accounts
            .counts()
            .into_iter()
            .map(|counted| (counted.namespace.to_string(), counted.verdict, counted.count))
            .collect();
        counts.sort();
        counts
    }

    #[test]
    fn only_service_accounts_of_gated_namespaces_are_judged() {
        let accounts = Accounts::new();
        put(&accounts, "jobs", "api", "a");
        put(&accounts, "other", "api", "a");
        assert_eq!(accounts.take(9), []);
        gate(&accounts, &["jobs"]);
        assert_eq!(names(&judge_all(&accounts, TRUSTED)), ["api"]);
        assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 1)]);
        put(&accounts, "jobs", "worker", "b");
        assert_eq!(names(&judge_all(&accounts, LOST)), ["worker"]);
        gate(&accounts, &["other"]);
        assert_eq!(names(&judge_all(&accounts, LOST)), ["api"]);
        assert_eq!(counts(&accounts), [("other".to_owned(), Verdict::NotTrusted, 1)]);
        // The first judgment since the label is back.
        gate(&accounts, &["jobs"]);
        assert_eq!(
            judge_all(&accounts, LOST),
            [("api".to_owned(), None), ("worker".to_owned(), None)]
        );
    }

    #[test]
    fn a_changed_role_concerns_those_that_name_it() {
        let accounts = Accounts::new();
        gate(&accounts, &["jobs"]);
        for (name, of_role) in [("api", "a"), ("worker", "a"), ("other", "b")] {
            put(&accounts, "jobs", name, of_role);
        }
        assert_eq!(judge_all(&accounts, TRUSTED).len(), 3);
        accounts.roles_changed([&role("a"), &role("a"), &role("unnamed")]);
        let lost = Some(TrustChange::Lost);
        assert_eq!(
            judge_all(&accounts, LOST),
            [("api".to_owned(), lost), ("worker".to_owned(), lost)]
        );
        accounts.all_changed();
        accounts.all_changed();
        assert_eq!(names(&judge_all(&accounts, LOST)), ["api", "other", "worker"]);
        assert_eq!(accounts.take(9), []);
    }

    #[test]
    fn another_role_or_audience_is_judged_and_other_edits_are_not() {
        let accounts = Accounts::new();
        gate(&accounts, &["jobs"]);
        put(&accounts, "jobs", "api", "a");
        judge_all(&accounts, TRUSTED);
        put(&accounts, "jobs", "api", "a");
        assert_eq!(accounts.take(9), [], "nothing that counts was edited");
        put(&accounts, "jobs", "api", "b");
        accounts.roles_changed([&role("a")]);
        assert_eq!(
            judge_all(&accounts, LOST),
            [("api".to_owned(), Some(TrustChange::Lost))]
        );
        accounts.roles_changed([&role("a")]);
        assert_eq!(accounts.take(9), [], "no longer its role");
        accounts.has_role("jobs", "api", Some("uid"), &identity(&role("b"), "other"));
        assert_eq!(
            judge_all(&accounts, TRUSTED),
            [("api".to_owned(), Some(TrustChange::Restored))]
        );
    }

    #[test]
    fn a_service_account_that_was_created_again_is_another_one() {
        let accounts = Accounts::new();
        gate(&accounts, &["jobs"]);
        put(&accounts, "jobs", "api", "a");
        judge_all(&accounts, TRUSTED);
        accounts.has_no_role("jobs", "api");
        assert_eq!(counts(&accounts), []);
        put(&accounts, "jobs", "api", "a");
        assert_eq!(judge_all(&accounts, LOST), [("api".to_owned(), None)]);
        // Within a list after a broken watch, only the uid shows it.
        accounts.has_role("jobs", "api", Some("second"), &identity(&role("a"), ""));
        assert_eq!(judge_all(&accounts, TRUSTED), [("api".to_owned(), None)]);
        assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 1)]);
    }

    #[test]
    fn a_list_removes_what_it_does_not_contain() {
        let accounts = Accounts::new();
        gate(&accounts, &["jobs"]);
        for name in ["api", "gone"] {
            put(&accounts, "jobs", name, "a");
        }
        judge_all(&accounts, TRUSTED);
        accounts.list_began();
        put(&accounts, "jobs", "api", "a");
        assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 2)]);
        accounts.list_ended();
        assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 1)]);
        accounts.roles_changed([&role("a")]);
        assert_eq!(names(&judge_all(&accounts, TRUSTED)), ["api"]);
    }

    #[test]
    fn a_judgment_of_what_has_changed_meanwhile_is_discarded() {
        let accounts = Accounts::new();
        gate(&accounts, &["jobs"]);
        put(&accounts, "jobs", "api", "a");
        let candidates = accounts.take(9);
        accounts.has_no_role("jobs", "api");
        put(&accounts, "jobs", "other", "a");
        assert_eq!(accounts.record(&candidates[0], TRUSTED), None);
        assert_eq!(counts(&accounts), []);
        assert_eq!(names(&judge_all(&accounts, TRUSTED)), ["other"]);
        let candidates = {
            accounts.all_changed();
            accounts.take(9)
        };
        gate(&accounts, &[]);
        assert_eq!(accounts.record(&candidates[0], LOST), None);
        assert_eq!(counts(&accounts), []);
    }

    #[test]
    fn what_is_not_known_yet_leaves_the_last_verdict_and_an_unused_role_has_none() {
        let accounts = Accounts::new();
        gate(&accounts, &["jobs"]);
        put(&accounts, "jobs", "api", "a");
        judge_all(&accounts, TRUSTED);
        accounts.all_changed();
        judge_all(&accounts, Outcome::NotYet);
        assert_eq!(counts(&accounts), [("jobs".to_owned(), Verdict::Trusted, 1)]);
        accounts.all_changed();
        assert_eq!(
            judge_all(&accounts, LOST),
            [("api".to_owned(), Some(TrustChange::Lost))]
        );
        accounts.all_changed();
        judge_all(&accounts, Outcome::NotUsed);
        assert_eq!(counts(&accounts), []);
    }

    #[test]
    fn only_policies_that_mention_the_time_are_judged_as_time_passes() {
        let accounts = Accounts::new();
        gate(&accounts, &["jobs"]);
        put(&accounts, "jobs", "api", "a");
        judge_all(&accounts, TRUSTED);
        accounts.time_passed();
        assert_eq!(accounts.take(9), []);
        accounts.all_changed();
        judge_all(
            &accounts,
            Outcome::Verdict {
                verdict: Verdict::Trusted,
                cause: None,
                by_clock: true,
            },
        );
        accounts.time_passed();
        assert_eq!(names(&judge_all(&accounts, LOST)), ["api"]);
    }

    /// The memory of 100,000 ServiceAccounts with 5,000 roles, from the sizes of what is kept. A B-tree keeps its nodes at least half
    /// full, and appends fill them.
    #[test]
    fn a_service_account_costs_at_most_220_bytes_and_a_changed_role_concerns_only_its_own() {
        let accounts = Accounts::new();
        let namespaces: Vec<String> = (0..2_000).map(|number| format!("team-{number:04}-jobs")).collect();
        accounts.set_gated(namespaces.iter().map(|name| Arc::from(name.as_str())).collect());
        accounts.list_began();
        for number in 0..100_000 {
            let name = format!("batch-worker-{number:06}");
            put(
                &accounts,
                &namespaces[number / 50],
                &name,
                &format!("role-{}", number % 5_000),
            );
        }
        accounts.list_ended();
        let (all, mut batches) = (100_000, 0);
        loop {
            let batch = accounts.take(10);
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() <= 10);
            batches += 1;
            for candidate in &batch {
                accounts.record(candidate, TRUSTED);
            }
        }
        assert_eq!((batches, accounts.judged()), (10_000, all as u64));
        accounts.roles_changed([&role("role-7")]);
        assert_eq!(accounts.take(usize::MAX).len(), 20);

        let known = accounts.known.lock();
        let heap = |account: &Account| account.name.len() + 16;
        let names: usize = known.slots.iter().flatten().map(heap).sum();
        let slots = known.slots.capacity() * size_of::<Option<Account>>();
        let index = size_of::<(u64, Slot)>() * 2 * all;
        let indexes = 2 * index;
        let queue = known.queue.capacity() * size_of::<Slot>();
        let bytes = names + slots + indexes + queue;
        assert!(
            bytes / all <= 220,
            "{} bytes: {names} {slots} {indexes} {queue}",
            bytes / all
        );
        assert_eq!(known.counts.len(), 2_000);
    }
}
