//! What the objects declare, by the resource that they are about.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

/// An object: the place of its kind, and its name.
type ObjectId = (usize, Arc<str>);

/// An object's name, and what it declares.
pub(crate) type Named<V> = (Arc<str>, V);

/// What the watches reported.
#[derive(Debug)]
pub(crate) struct Store<K, V> {
    known: RwLock<Known<K, V>>,
    /// How many kinds were listed, or found not to be served, or failed, at least once.
    ready: watch::Sender<usize>,
    kinds: usize,
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct Known<K, V> {
    /// The resource that each object is about.
    objects: HashMap<ObjectId, Option<K>>,
    values: HashMap<K, BTreeMap<ObjectId, V>>,
    /// By the place of the kind: its list as far as it came, and why the last one failed before any succeeded.
    lists: BTreeMap<usize, List>,
}

#[derive(Debug, Default)]
struct List {
    seen: HashSet<ObjectId>,
    was_tried: bool,
    failure: Option<Arc<str>>,
}

impl<K, V> Store<K, V>
where
    K: Clone + Eq + Hash,
    V: Clone,
{
    /// For so many kinds.
    pub(crate) fn new(kinds: usize) -> Self {
        Self {
            known: RwLock::new(Known {
                objects: HashMap::new(),
                values: HashMap::new(),
                lists: BTreeMap::new(),
            }),
            ready: watch::Sender::new(0),
            kinds,
            version: watch::Sender::new(0),
        }
    }

    /// Waits until every kind was tried once.
    pub(crate) async fn first_listed(&self) {
        // The sender lives as long as this.
        let _ = self.ready.subscribe().wait_for(|ready| *ready >= self.kinds).await;
    }

    /// Whether every kind was tried once.
    pub(crate) fn is_first_listed(&self) -> bool {
        *self.ready.borrow() >= self.kinds
    }

    /// Why a kind was never listed, if its list failed.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.read().lists.values().find_map(|list| list.failure.clone())
    }

    /// What the objects declare for this resource, in the order of kinds and names.
    pub(crate) fn find(&self, key: &K) -> Vec<Named<V>> {
        let known = self.read();
        let found = known.values.get(key).into_iter().flatten();
        found
            .map(|((_, name), value)| (Arc::clone(name), value.clone()))
            .collect()
    }

    /// Every resource that an object is about, in any order.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.read().values.keys().cloned().collect()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn list_began(&self, place: usize) {
        self.write().lists.entry(place).or_default().seen.clear();
    }

    pub(super) fn put(&self, place: usize, name: String, says: Option<(K, V)>) {
        let mut known = self.write();
        let id: ObjectId = (place, name.into());
        known.lists.entry(place).or_default().seen.insert(id.clone());
        known.forget(&id);
        match says {
            Some((key, value)) => {
                known.objects.insert(id.clone(), Some(key.clone()));
                known.values.entry(key).or_default().insert(id, value);
            }
            None => {
                known.objects.insert(id, None);
            }
        }
    }

    pub(super) fn remove(&self, place: usize, name: &str) {
        self.write().forget(&(place, name.into()));
    }

    /// Objects that the list did not contain are gone.
    pub(super) fn list_ended(&self, place: usize) {
        let mut known = self.write();
        let list = known.lists.entry(place).or_default();
        let seen = std::mem::take(&mut list.seen);
        list.failure = None;
        let is_first = !std::mem::replace(&mut list.was_tried, true);
        let gone: Vec<ObjectId> = known
            .objects
            .keys()
            .filter(|id| id.0 == place && !seen.contains(*id))
            .cloned()
            .collect();
        for id in &gone {
            known.forget(id);
        }
        drop(known);
        self.tried(is_first);
        self.notify_changed();
    }

    /// Counts only before the first list succeeded: afterwards what is known stays in use.
    pub(super) fn list_failed(&self, place: usize, why: &str) {
        let mut known = self.write();
        let list = known.lists.entry(place).or_default();
        let is_first = !std::mem::replace(&mut list.was_tried, true);
        let never_listed = is_first || list.failure.is_some();
        if never_listed {
            list.failure = Some(why.into());
        }
        drop(known);
        self.tried(is_first);
    }

    /// Something changed.
    pub(super) fn notify_changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    fn tried(&self, is_first: bool) {
        if is_first {
            self.ready.send_modify(|ready| *ready += 1);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known<K, V>> {
        self.known.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known<K, V>> {
        self.known.write()
    }
}

#[cfg(test)]
impl<K, V> Store<K, V>
where
    K: Clone + Eq + Hash,
    V: Clone,
{
    /// Objects of one kind, listed.
    pub(crate) fn with(objects: &[(&str, K, V)]) -> Self {
        let store = Self::new(1);
        for (name, key, value) in objects {
            store.put(0, (*name).to_owned(), Some((key.clone(), value.clone())));
        }
        store.list_ended(0);
        store
    }

    /// A list that failed.
    pub(crate) fn that_failed(why: &str) -> Self {
        let store = Self::new(1);
        store.list_failed(0, why);
        store
    }
}

impl<K: Eq + Hash, V> Known<K, V> {
    fn forget(&mut self, id: &ObjectId) {
        let Some(Some(key)) = self.objects.remove(id) else {
            return;
        };
        if let Some(found) = self.values.get_mut(&key) {
            found.remove(id);
            if found.is_empty() {
                self.values.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Texts = Store<&'static str, &'static str>;

    /// A store of one kind, listed.
    fn listed(objects: &[(&str, Option<(&'static str, &'static str)>)]) -> Texts {
        let store = Store::new(1);
        list(&store, objects);
        store
    }

    fn list(store: &Texts, objects: &[(&str, Option<(&'static str, &'static str)>)]) {
        store.list_began(0);
        for (name, says) in objects {
            store.put(0, (*name).to_owned(), *says);
        }
        store.list_ended(0);
    }

    fn found(store: &Texts, key: &'static str) -> Vec<String> {
        let values = store.find(&key).into_iter();
        values.map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn an_object_counts_for_what_it_says_now() {
        let store = listed(&[("a", Some(("r", "1"))), ("b", None)]);
        assert_eq!(found(&store, "r"), ["a: 1"]);
        store.put(0, "b".to_owned(), Some(("r", "2")));
        assert_eq!(found(&store, "r"), ["a: 1", "b: 2"]);
        store.put(0, "a".to_owned(), None);
        assert_eq!(found(&store, "r"), ["b: 2"]);
        store.put(0, "b".to_owned(), Some(("s", "2")));
        assert!(found(&store, "r").is_empty());
        assert_eq!(store.keys(), ["s"]);
    }

    #[test]
    fn a_list_and_a_deletion_forget() {
        let store = listed(&[("a", Some(("r", "1"))), ("b", Some(("s", "2")))]);
        list(&store, &[("b", Some(("s", "3")))]);
        assert!(found(&store, "r").is_empty());
        assert_eq!(found(&store, "s"), ["b: 3"]);
        store.remove(0, "b");
        assert!(found(&store, "s").is_empty());
    }

    #[test]
    fn a_failed_list_is_a_reason_only_until_a_list_succeeds() {
        let store = Texts::new(1);
        assert!(!store.is_first_listed());
        store.list_failed(0, "403 Forbidden");
        assert_eq!(store.failure().as_deref(), Some("403 Forbidden"));
        assert!(store.is_first_listed());
        list(&store, &[]);
        assert_eq!(store.failure(), None);
        store.list_failed(0, "500");
        assert_eq!(store.failure(), None);
    }

    #[test]
    fn a_list_of_one_kind_does_not_change_the_other() {
        let store = Texts::new(2);
        list(&store, &[("a", Some(("r", "1")))]);
        assert!(!store.is_first_listed());
        store.list_began(1);
        store.list_ended(1);
        assert!(store.is_first_listed());
        assert_eq!(found(&store, "r"), ["a: 1"]);
    }
}
