//! The map of ServiceAccounts: what is kept of each is its key and what its annotations ask for.
//!
//! Lean, because a cluster may have 100,000: one allocation for `NAMESPACE/NAME`, one for the role's ARN, and 48 bytes in
//! the table. Cut into shards, so that a table that grows, which for a moment is held twice, is a small one, and so that
//! a reader waits at most for one entry to be written.
//!
//! A new list does not build a second table: each entry bears the number of the last list that held it, and when a list
//! is complete, those that it did not hold go. Readers see each ServiceAccount as it was or as it is, and never a table
//! that is half filled; and a list costs no memory beyond its page.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Counts, Stored};
use crate::iam::RoleArn;
use crate::pod::identity::ServiceAccountIdentity;

/// Enough that with 100,000 entries a shard's table is some 100 KB.
const SHARDS: usize = 64;

/// ServiceAccounts by namespace and name.
#[derive(Debug)]
pub(crate) struct Table {
    shards: Vec<RwLock<Shard>>,
    hasher: RandomState,
    with_role: AtomicUsize,
    malformed: AtomicUsize,
    without_role: AtomicUsize,
}

type Shard = HashMap<Box<str>, Entry, RandomState>;

#[derive(Debug)]
struct Entry {
    identity: Option<ServiceAccountIdentity>,
    list: ListNumber,
}

/// Which list an entry was last held by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListNumber(u32);

impl ListNumber {
    /// The next list's.
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        let hasher = RandomState::new();
        let shards = (0..SHARDS)
            .map(|_| RwLock::new(HashMap::with_hasher(hasher.clone())))
            .collect();
        Self {
            shards,
            hasher,
            with_role: AtomicUsize::new(0),
            malformed: AtomicUsize::new(0),
            without_role: AtomicUsize::new(0),
        }
    }

    pub(crate) fn stored(&self, namespace: &str, name: &str) -> Stored {
        let key = key(namespace, name);
        let Some(shard) = self.read(&key) else {
            return Stored::Missing;
        };
        match shard.get(key.as_str()) {
            None => Stored::Missing,
            Some(Entry { identity: None, .. }) => Stored::Plain,
            Some(Entry {
                identity: Some(identity),
                ..
            }) => Stored::Identity(Arc::new(identity.clone())),
        }
    }

    pub(crate) fn put(&self, namespace: &str, name: &str, identity: Option<ServiceAccountIdentity>, list: ListNumber) {
        let key = key(namespace, name);
        let Some(mut shard) = self.write(&key) else { return };
        self.count_of(identity.as_ref()).fetch_add(1, Ordering::Relaxed);
        match shard.get_mut(key.as_str()) {
            Some(entry) => {
                self.count_of(entry.identity.as_ref()).fetch_sub(1, Ordering::Relaxed);
                entry.list = list;
                // What did not change stays where it is: a list that repeats what is known moves no memory.
                if entry.identity != identity {
                    entry.identity = identity;
                }
            }
            None => {
                shard.insert(key.into_boxed_str(), Entry { identity, list });
            }
        }
    }

    pub(crate) fn remove(&self, namespace: &str, name: &str) {
        let key = key(namespace, name);
        let Some(mut shard) = self.write(&key) else { return };
        if let Some(entry) = shard.remove(key.as_str()) {
            self.count_of(entry.identity.as_ref()).fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Drops what a complete list did not hold.
    pub(crate) fn keep_only(&self, list: ListNumber) {
        for shard in &self.shards {
            let mut shard = write(shard);
            shard.retain(|_, entry| {
                let stays = entry.list == list;
                if !stays {
                    self.count_of(entry.identity.as_ref()).fetch_sub(1, Ordering::Relaxed);
                }
                stays
            });
            // A namespace with 50,000 ServiceAccounts may be gone.
            if shard.capacity() > 4 * (shard.len() + 16) {
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

    /// Calls `each` once for every distinct role, no lock held.
    pub(crate) fn for_each_role(&self, each: &mut dyn FnMut(&RoleArn)) {
        // Roles are told apart by a 64-bit hash: a set of ARNs would for a moment cost three times as much, and a role that
        // is left out by a collision is one that is not read ahead.
        let mut seen = std::collections::HashSet::new();
        for shard in &self.shards {
            let roles: Vec<RoleArn> = read(shard)
                .values()
                .filter_map(|entry| entry.identity.as_ref()?.role())
                .filter(|role| seen.insert(self.hasher.hash_one(role.as_str())))
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

    fn read(&self, key: &str) -> Option<RwLockReadGuard<'_, Shard>> {
        self.shard(key).map(read)
    }

    fn write(&self, key: &str) -> Option<RwLockWriteGuard<'_, Shard>> {
        self.shard(key).map(write)
    }

    fn shard(&self, key: &str) -> Option<&RwLock<Shard>> {
        // The upper half: a shard's own table goes by the lowest bits and the seven highest of the same hash.
        let number = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        self.shards.get(number)
    }
}

fn key(namespace: &str, name: &str) -> String {
    [namespace, name].join("/")
}

// A panic under one of these locks cannot leave half an entry behind, so a poisoned lock is still good.

fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}
