//! Where the role cache keeps its roles: a map in shards, bounded in size, read without waiting.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arc_swap::ArcSwapOption;

use super::cache::Held;
use super::fetch::RefreshState;
use crate::trust::RoleArn;

/// Enough that writers, who are rare, do not stand in the way of a few dozen readers.
const SHARDS: usize = 32;

/// One role's place.
#[derive(Debug)]
pub(super) struct CachedRole {
    pub(super) role: RoleArn,
    /// The last answer. Swapped whole, so that a reader never waits for a writer.
    pub(super) held: ArcSwapOption<Held>,
    /// The read under way and the failures since the last answer.
    pub(super) refresh_state: Mutex<RefreshState>,
    /// When the role cache was last asked for it, in milliseconds of the role cache's own clock.
    pub(super) used: AtomicU64,
    /// Whether a ServiceAccount names it.
    pub(super) wanted: AtomicBool,
    /// Whether its source has said that something changed since the last read began.
    pub(super) changed: AtomicBool,
    /// Whether the background was already told that a stale copy is in use.
    pub(super) nudged: AtomicBool,
}

/// Whether ServiceAccounts name a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Wanted,
    Unwanted,
}

/// All roles.
#[derive(Debug)]
pub(super) struct Store {
    shards: Vec<RwLock<HashMap<RoleArn, Arc<CachedRole>>>>,
    len: AtomicUsize,
    capacity: usize,
    evicting: Mutex<()>,
}

impl Store {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            len: AtomicUsize::new(0),
            capacity: capacity.max(1),
            evicting: Mutex::new(()),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Looks at a role's place under a shared lock.
    pub(super) fn look<T>(&self, role: &RoleArn, read: impl FnOnce(&CachedRole) -> T) -> Option<T> {
        let shard = self.shard(role)?.read().unwrap_or_else(PoisonError::into_inner);
        shard.get(role).map(|cached| read(cached))
    }

    /// A role's place, made when it is not there; something else may have to leave for it.
    pub(super) fn place(&self, role: &RoleArn, reference: Reference, now_ms: u64) -> Arc<CachedRole> {
        let fresh = || {
            Arc::new(CachedRole {
                role: role.clone(),
                held: ArcSwapOption::empty(),
                refresh_state: Mutex::default(),
                used: AtomicU64::new(now_ms),
                wanted: AtomicBool::new(reference == Reference::Wanted),
                changed: AtomicBool::new(false),
                nudged: AtomicBool::new(false),
            })
        };
        let Some(shard) = self.shard(role) else {
            return fresh();
        };
        if let Some(cached) = shard.read().unwrap_or_else(PoisonError::into_inner).get(role) {
            return Arc::clone(cached);
        }
        let cached = {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            // Somebody else may have made it between the two locks.
            if let Some(cached) = shard.get(role) {
                return Arc::clone(cached);
            }
            let cached = fresh();
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
            for cached in shard.read().unwrap_or_else(PoisonError::into_inner).values() {
                each(cached);
            }
        }
    }

    /// Forgets a role.
    pub(super) fn remove(&self, role: &RoleArn) {
        let Some(shard) = self.shard(role) else { return };
        if shard
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(role)
            .is_some()
        {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Makes room: first the roles that no ServiceAccount names, the longest unused first. `newcomer` stays, since somebody
    /// waits for it.
    fn evict(&self, newcomer: &RoleArn) {
        let _one_at_a_time = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
        let excess = self.len().saturating_sub(self.capacity);
        if excess == 0 {
            return;
        }
        let mut others = Vec::with_capacity(self.len());
        self.for_each(|cached| {
            if cached.role != *newcomer {
                let wanted = cached.wanted.load(Ordering::Relaxed);
                others.push((wanted, cached.used.load(Ordering::Relaxed), cached.role.clone()));
            }
        });
        others.sort_unstable();
        // A little more than needed, else a full cache would look at all roles for each new one.
        let spare = self.capacity / 16;
        for (index, (wanted, _, role)) in others.iter().enumerate().take(excess + spare) {
            if index >= excess && *wanted {
                break;
            }
            self.remove(role);
        }
    }

    fn shard(&self, role: &RoleArn) -> Option<&RwLock<HashMap<RoleArn, Arc<CachedRole>>>> {
        // Names differ at their ends. Whoever makes all of them end alike has one shard, which is slower and no more.
        let end = role.as_str().bytes().rev().take(4);
        let spread = end.fold(role.as_str().len(), |spread, byte| spread * 31 + usize::from(byte));
        self.shards.get(spread % SHARDS)
    }
}
