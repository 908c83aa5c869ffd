//! The map of ServiceAccounts, with the identity that their annotations request.
//!
//! It is compact, because a cluster can have 100,000 of them: 48 bytes per entry, and the text of the role's ARN. Names are not stored,
//! only a randomly keyed hash of 96 bits: names are never listed, and the probability that two of 100,000 have the same hash is below
//! 10^-19. Entries are sorted in many small vectors instead of a hash table, which has half as many free places as used ones, and exists
//! twice while it grows.
//!
//! A new list does not build a second map: each entry has the number of the last list that contained it, and when a list is complete,
//! entries with other numbers are removed. Readers see the old or the new state of each ServiceAccount, never a map that is half filled,
//! and a list needs no memory except for its page.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::{Counts, Stored};
use crate::pod::identity::ServiceAccountIdentity;
use crate::trust::RoleArn;

/// With 100,000 entries, a shard has a hundred: seven steps to find one, 5 KB to move for a new one.
const SHARDS: usize = 1024;

/// ServiceAccounts by namespace and name.
#[derive(Debug)]
pub(crate) struct Table {
    shards: Vec<RwLock<Shard>>,
    hashers: (RandomState, RandomState),
    with_role: AtomicUsize,
    malformed: AtomicUsize,
    without_role: AtomicUsize,
}

/// INVARIANT: sorted by key, each key once.
type Shard = Vec<Entry>;

#[derive(Debug)]
struct Entry {
    key: u64,
    more: u32,
    list: ListNumber,
    identity: Option<ServiceAccountIdentity>,
}

type Key = (u64, u32);

impl Entry {
    const fn key(&self) -> Key {
        (self.key, self.more)
    }
}

/// The list that contained an entry last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListNumber(u32);

impl ListNumber {
    /// The number of the next list.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hashers: (RandomState::new(), RandomState::new()),
            with_role: AtomicUsize::new(0),
            malformed: AtomicUsize::new(0),
            without_role: AtomicUsize::new(0),
        }
    }

    pub(crate) fn stored(&self, namespace: &str, name: &str) -> Stored {
        let key = self.key(namespace, name);
        let Some(shard) = self.shard(key).map(RwLock::read) else {
            return Stored::Missing;
        };
        match find(&shard, key).ok().and_then(|place| shard.get(place)) {
            None => Stored::Missing,
            Some(Entry { identity: None, .. }) => Stored::Plain,
            Some(Entry {
                identity: Some(identity),
                ..
            }) => Stored::Identity(Arc::new(identity.clone())),
        }
    }

    /// Whether its annotations are other than before.
    pub(crate) fn put(
        &self,
        namespace: &str,
        name: &str,
        identity: Option<ServiceAccountIdentity>,
        list: ListNumber,
    ) -> bool {
        let key = self.key(namespace, name);
        let Some(mut shard) = self.shard(key).map(RwLock::write) else {
            return false;
        };
        self.count_of(identity.as_ref()).fetch_add(1, Ordering::Relaxed);
        let place = match find(&shard, key) {
            Ok(place) => place,
            Err(place) => {
                if shard.len() == shard.capacity() {
                    // By an eighth, not by doubling: unused room is the reason against a hash table.
                    let room = 4.max(shard.len() / 8);
                    shard.reserve_exact(room);
                }
                shard.insert(
                    place,
                    Entry {
                        key: key.0,
                        more: key.1,
                        list,
                        identity,
                    },
                );
                return true;
            }
        };
        let Some(entry) = shard.get_mut(place) else {
            return false;
        };
        self.count_of(entry.identity.as_ref()).fetch_sub(1, Ordering::Relaxed);
        entry.list = list;
        // An unchanged value is kept, so that a list of known objects moves no memory.
        let is_changed = entry.identity != identity;
        if is_changed {
            entry.identity = identity;
        }
        is_changed
    }

    pub(crate) fn remove(&self, namespace: &str, name: &str) {
        let key = self.key(namespace, name);
        let Some(mut shard) = self.shard(key).map(RwLock::write) else {
            return;
        };
        if let Ok(place) = find(&shard, key) {
            let entry = shard.remove(place);
            self.count_of(entry.identity.as_ref()).fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Removes entries that a complete list did not contain.
    pub(crate) fn keep_only(&self, list: ListNumber) {
        for shard in &self.shards {
            let mut shard = shard.write();
            shard.retain(|entry| {
                let stays = entry.list == list;
                if !stays {
                    self.count_of(entry.identity.as_ref()).fetch_sub(1, Ordering::Relaxed);
                }
                stays
            });
            // A namespace with 50,000 ServiceAccounts might have been deleted.
            if shard.capacity() > 2 * (shard.len() + 4) {
                shard.shrink_to_fit();
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            with_role: self.with_role.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
            without_role: self.without_role.load(Ordering::Relaxed),
        }
    }

    /// Calls `each` once for every distinct role, without holding a lock.
    pub(crate) fn for_each_role(&self, each: &mut dyn FnMut(&RoleArn)) {
        // Roles are compared by a 64-bit hash: a set of ARNs would temporarily take three times as much memory, and a collision only means
        // that a role is not read ahead. With capacity: a set exists twice while it grows.
        let mut seen = HashSet::with_capacity(self.with_role.load(Ordering::Relaxed));
        for shard in &self.shards {
            let roles: Vec<RoleArn> = shard
                .read()
                .iter()
                .filter_map(|entry| entry.identity.as_ref()?.role())
                .filter(|role| seen.insert(self.hashers.0.hash_one(role.as_str())))
                .cloned()
                .collect();
            roles.iter().for_each(&mut *each);
        }
    }

    fn count_of(&self, identity: Option<&ServiceAccountIdentity>) -> &AtomicUsize {
        match identity {
            Some(identity) if identity.role().is_some() => &self.with_role,
            Some(identity) if identity.asks_for_role() => &self.malformed,
            Some(_) | None => &self.without_role,
        }
    }

    fn key(&self, namespace: &str, name: &str) -> Key {
        // As a pair, so that the boundary between both is part of the hash.
        let hash = |hasher: &RandomState| hasher.hash_one((namespace, name));
        (hash(&self.hashers.0), hash(&self.hashers.1) as u32)
    }

    fn shard(&self, key: Key) -> Option<&RwLock<Shard>> {
        self.shards.get(key.0 as usize % SHARDS)
    }
}

/// Where an entry is, or would have to be put.
fn find(shard: &Shard, key: Key) -> Result<usize, usize> {
    shard.binary_search_by_key(&key, Entry::key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::identity::AnnotationRules;

    fn identity(role: &str) -> Option<ServiceAccountIdentity> {
        let rules = AnnotationRules {
            prefix: "eks.amazonaws.com/".to_owned(),
            compose: None,
        };
        ServiceAccountIdentity::from_annotations(&rules, [("eks.amazonaws.com/role-arn", role)])
    }

    fn arn(name: &str) -> String {
        format!("arn:aws:iam::111122223333:role/{name}")
    }

    #[test]
    fn an_entry_costs_48_bytes() {
        assert_eq!(size_of::<Entry>(), 48);
    }

    #[test]
    fn each_of_many_is_found_under_its_own_name_and_gone_when_removed() {
        let (table, list) = (Table::new(), ListNumber::default());
        let names: Vec<(String, String)> = (0..5_000)
            .map(|n| (format!("team-{}", n % 9), format!("job-{n}")))
            .collect();
        for (namespace, name) in &names {
            table.put(namespace, name, identity(&arn(name)), list);
        }
        assert_eq!(
            table.counts(),
            Counts {
                with_role: 5_000,
                malformed: 0,
                without_role: 0
            }
        );
        for (number, (namespace, name)) in names.iter().enumerate() {
            let stored = table.stored(namespace, name);
            assert_eq!(
                stored,
                Stored::Identity(Arc::new(identity(&arn(name)).unwrap())),
                "{namespace}/{name}"
            );
            if number % 2 == 0 {
                table.remove(namespace, name);
            }
        }
        for (number, (namespace, name)) in names.iter().enumerate() {
            assert_eq!(
                table.stored(namespace, name) == Stored::Missing,
                number % 2 == 0,
                "{namespace}/{name}"
            );
        }
        assert_eq!(table.counts().with_role, 2_500);
        assert!(
            table
                .shards
                .iter()
                .all(|shard| shard.read().is_sorted_by_key(Entry::key))
        );
    }

    #[test]
    fn where_a_namespace_ends_matters() {
        let table = Table::new();
        table.put("a", "bc", None, ListNumber::default());
        assert_eq!(table.stored("a", "bc"), Stored::Plain);
        assert_eq!(table.stored("ab", "c"), Stored::Missing);
    }

    #[test]
    fn counts_follow_each_change_of_an_account() {
        let (table, list) = (Table::new(), ListNumber::default());
        for (now, counts) in [
            (
                identity(&arn("a")),
                Counts {
                    with_role: 1,
                    malformed: 0,
                    without_role: 0,
                },
            ),
            (
                identity("nonsense"),
                Counts {
                    with_role: 0,
                    malformed: 1,
                    without_role: 0,
                },
            ),
            (
                None,
                Counts {
                    with_role: 0,
                    malformed: 0,
                    without_role: 1,
                },
            ),
            (
                identity(&arn("b")),
                Counts {
                    with_role: 1,
                    malformed: 0,
                    without_role: 0,
                },
            ),
        ] {
            assert!(table.put("jobs", "trainer", now.clone(), list), "other than before");
            assert!(!table.put("jobs", "trainer", now, list), "the same again");
            assert_eq!(table.counts(), counts);
        }
        table.remove("jobs", "trainer");
        table.remove("jobs", "trainer");
        assert_eq!(table.counts(), Counts::default());
    }

    #[test]
    fn entries_missing_from_a_list_are_removed_only_when_it_is_complete() {
        let table = Table::new();
        let first = ListNumber::default();
        for number in 0..20_000 {
            table.put("jobs", &format!("job-{number}"), identity(&arn("a")), first);
        }
        // Wraps around: only that the numbers differ counts.
        let second = ListNumber(u32::MAX).next().next();
        table.put("jobs", "job-7", None, second);
        assert_ne!(table.stored("jobs", "job-8"), Stored::Missing);
        table.keep_only(second);
        assert_eq!(table.stored("jobs", "job-8"), Stored::Missing);
        assert_eq!(table.stored("jobs", "job-7"), Stored::Plain);
        assert_eq!(
            table.counts(),
            Counts {
                with_role: 0,
                malformed: 0,
                without_role: 1
            }
        );
        let room: usize = table.shards.iter().map(|shard| shard.read().capacity()).sum();
        assert!(room < 100, "room for {room}");
    }

    #[test]
    fn each_distinct_role_is_passed_once() {
        let table = Table::new();
        for number in 0..100 {
            table.put(
                "jobs",
                &format!("job-{number}"),
                identity(&arn(&format!("r{}", number % 3))),
                ListNumber::default(),
            );
        }
        let mut roles = Vec::new();
        table.for_each_role(&mut |role| roles.push(role.name().to_owned()));
        roles.sort();
        assert_eq!(roles, ["r0", "r1", "r2"]);
    }
}
