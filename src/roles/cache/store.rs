//! The roles of the cache: a sharded map, bounded in size.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::entry::{CachedRole, Clock, Reference};
use crate::trust::RoleArn;

/// Enough that writers, who are rare, do not block a few dozen readers.
const SHARDS: usize = 32;

/// All roles.
#[derive(Debug)]
pub(super) struct Store {
    shards: Vec<RwLock<HashMap<RoleArn, Arc<CachedRole>>>>,
    len: AtomicUsize,
    capacity: usize,
    evicting: Mutex<()>,
    clock: Clock,
}

impl Store {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            len: AtomicUsize::new(0),
            capacity: capacity.max(1),
            evicting: Mutex::new(()),
            clock: Clock::start(),
        }
    }

    /// The clock of [`CachedRole::mark_used`].
    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Looks at a role under a shared lock.
    pub(super) fn peek<T>(&self, role: &RoleArn, read: impl FnOnce(&CachedRole) -> T) -> Option<T> {
        let shard = self.shard(role)?.read();
        shard.get(role).map(|cached| read(cached))
    }

    /// The entry of a role, new when there is none; another role may have to leave for it.
    pub(super) fn entry(&self, role: &RoleArn, reference: Reference, now: Instant) -> Arc<CachedRole> {
        let new = || Arc::new(CachedRole::new(role.clone(), reference, self.clock.millis(now)));
        let Some(shard) = self.shard(role) else {
            return new();
        };
        if let Some(cached) = shard.read().get(role) {
            return Arc::clone(cached);
        }
        let cached = {
            let mut shard = shard.write();
            // Another thread may have made it between the two locks.
            if let Some(cached) = shard.get(role) {
                return Arc::clone(cached);
            }
            let cached = new();
            shard.insert(role.clone(), Arc::clone(&cached));
            self.len.fetch_add(1, Ordering::Relaxed);
            cached
        };
        if self.len() > self.capacity {
            self.evict(role);
        }
        cached
    }

    /// Calls `each` for every role, shard by shard.
    pub(super) fn for_each(&self, mut each: impl FnMut(&Arc<CachedRole>)) {
        for shard in &self.shards {
            for cached in shard.read().values() {
                each(cached);
            }
        }
    }

    /// Removes a role.
    pub(super) fn remove(&self, role: &RoleArn) {
        let Some(shard) = self.shard(role) else { return };
        if shard.write().remove(role).is_some() {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Makes room: first the roles that no ServiceAccount names, the longest unused first. `newcomer` stays, since a caller is
    /// waiting for it.
    fn evict(&self, newcomer: &RoleArn) {
        let _one_at_a_time = self.evicting.lock();
        let excess = self.len().saturating_sub(self.capacity);
        if excess == 0 {
            return;
        }
        let mut others = Vec::with_capacity(self.len());
        self.for_each(|cached| {
            if cached.arn != *newcomer {
                others.push((cached.is_referenced(), cached.used(), cached.arn.clone()));
            }
        });
        others.sort_unstable();
        // A little more than needed, else a full cache would look at all roles for each new one.
        let spare = self.capacity / 16;
        for (index, (is_referenced, _, role)) in others.iter().enumerate().take(excess + spare) {
            if index >= excess && *is_referenced {
                break;
            }
            self.remove(role);
        }
    }

    fn shard(&self, role: &RoleArn) -> Option<&RwLock<HashMap<RoleArn, Arc<CachedRole>>>> {
        // Names differ at their ends. If all of them end alike, all are in one shard: slower, but still correct.
        let end = role.as_str().bytes().rev().take(4);
        let spread = end.fold(role.as_str().len(), |spread, byte| spread * 31 + usize::from(byte));
        self.shards.get(spread % SHARDS)
    }
}
