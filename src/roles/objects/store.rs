//! The settled objects, by the ARN of their role.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

use super::role::State;
use crate::roles::source::{Answer, RoleDocument};
use crate::support::text;
use crate::trust::RoleArn;

/// An object: the place of its definition, and its name.
type Key = (usize, Arc<str>);

/// What the watches reported.
#[derive(Debug)]
pub(super) struct Store {
    known: RwLock<Known>,
    /// How many definitions were listed, or found not to be served, or failed, at least once.
    ready: watch::Sender<usize>,
    definitions: usize,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    objects: HashMap<Key, Option<RoleArn>>,
    roles: HashMap<RoleArn, BTreeMap<Key, RoleDocument>>,
    /// By the place of the definition: its list as far as it came, and why the last one failed before any succeeded.
    lists: BTreeMap<usize, List>,
}

#[derive(Debug, Default)]
struct List {
    seen: HashSet<Key>,
    was_tried: bool,
    failure: Option<Arc<str>>,
}

impl Store {
    /// For so many definitions.
    pub(super) fn new(definitions: usize) -> Self {
        Self {
            known: RwLock::default(),
            ready: watch::Sender::new(0),
            definitions,
            version: watch::Sender::new(0),
        }
    }

    /// Waits until every definition was tried once.
    pub(super) async fn first_listed(&self) {
        // The sender lives as long as this.
        let _ = self
            .ready
            .subscribe()
            .wait_for(|ready| *ready >= self.definitions)
            .await;
    }

    pub(super) fn answer(&self, role: &RoleArn) -> Answer {
        let known = self.read();
        let Some(definitions) = known.roles.get(role) else {
            let failure = known.lists.values().find_map(|list| list.failure.clone());
            return failure.map_or(Answer::NotMine, Answer::Failed);
        };
        let mut documents = definitions.iter();
        let Some((first, document)) = documents.next() else {
            return Answer::NotMine;
        };
        match documents.find(|(_, other)| *other != document) {
            None => Answer::Role(document.clone()),
            // Each controller would undo what the other does.
            Some((second, _)) => {
                let [first, second] = [first, second].map(|(_, name)| text::value(name));
                let why = format!(
                    "two Role objects, {first} and {second}, say different things of this role; let only one manage it"
                );
                Answer::Failed(why.into())
            }
        }
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn list_began(&self, place: usize) {
        self.write().lists.entry(place).or_default().seen.clear();
    }

    pub(super) fn put(&self, place: usize, name: String, state: State) {
        let mut known = self.write();
        let key: Key = (place, name.into());
        known.lists.entry(place).or_default().seen.insert(key.clone());
        known.forget(&key);
        match state {
            State::Settled(role, document) => {
                known.objects.insert(key.clone(), Some(role.clone()));
                known.roles.entry(role).or_default().insert(key, document);
            }
            State::Unsettled => {
                known.objects.insert(key, None);
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
        let gone: Vec<Key> = known
            .objects
            .keys()
            .filter(|key| key.0 == place && !seen.contains(*key))
            .cloned()
            .collect();
        for key in &gone {
            known.forget(key);
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
            list.failure = Some(format!("the Role objects could not be listed: {why}").into());
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

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write()
    }
}

impl Known {
    fn forget(&mut self, key: &Key) {
        let Some(Some(role)) = self.objects.remove(key) else {
            return;
        };
        if let Some(definitions) = self.roles.get_mut(&role) {
            definitions.remove(key);
            if definitions.is_empty() {
                self.roles.remove(&role);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Origin;

    fn role(name: &str) -> RoleArn {
        RoleArn::parse(&format!("arn:aws:iam::111122223333:role/{name}")).unwrap()
    }

    fn document(policy: &str) -> RoleDocument {
        RoleDocument {
            origin: Origin::Stored,
            policy: policy.into(),
            tags: None,
        }
    }

    fn settled(name: &str, policy: &str) -> State {
        State::Settled(role(name), document(policy))
    }

    /// A store of one definition, listed.
    fn listed(objects: &[(&str, State)]) -> Store {
        let store = Store::new(1);
        list(&store, objects);
        store
    }

    fn list(store: &Store, objects: &[(&str, State)]) {
        store.list_began(0);
        for (name, state) in objects {
            store.put(0, (*name).to_owned(), state.clone());
        }
        store.list_ended(0);
    }

    #[test]
    fn only_what_is_settled_is_answered() {
        let store = listed(&[("a", settled("a", "{}")), ("b", State::Unsettled)]);
        assert_eq!(store.answer(&role("a")), Answer::Role(document("{}")));
        assert_eq!(store.answer(&role("b")), Answer::NotMine);
        store.put(0, "a".to_owned(), State::Unsettled);
        assert_eq!(store.answer(&role("a")), Answer::NotMine);
    }

    #[test]
    fn an_object_may_become_another_role_and_a_list_forgets() {
        let store = listed(&[("a", settled("a", "{}")), ("b", settled("b", "{}"))]);
        store.put(0, "a".to_owned(), settled("z", "{}"));
        assert_eq!(store.answer(&role("a")), Answer::NotMine);
        assert_eq!(store.answer(&role("z")), Answer::Role(document("{}")));
        list(&store, &[("b", settled("b", "[]"))]);
        assert_eq!(store.answer(&role("z")), Answer::NotMine);
        assert_eq!(store.answer(&role("b")), Answer::Role(document("[]")));
        store.remove(0, "b");
        assert_eq!(store.answer(&role("b")), Answer::NotMine);
    }

    #[test]
    fn two_objects_of_one_role_must_agree() {
        let store = listed(&[("a", settled("r", "{}")), ("b", settled("r", "{}"))]);
        assert_eq!(store.answer(&role("r")), Answer::Role(document("{}")));
        store.put(0, "b".to_owned(), settled("r", "[]"));
        let Answer::Failed(why) = store.answer(&role("r")) else {
            panic!("{:?}", store.answer(&role("r")))
        };
        assert!(why.contains("a and b"), "{why}");
        store.remove(0, "a");
        assert_eq!(store.answer(&role("r")), Answer::Role(document("[]")));
    }

    #[test]
    fn a_failed_list_is_a_reason_only_until_a_list_succeeds() {
        let store = Store::new(1);
        store.list_failed(0, "403 Forbidden");
        let Answer::Failed(why) = store.answer(&role("a")) else {
            panic!("it was never listed")
        };
        assert!(why.contains("403 Forbidden"), "{why}");
        list(&store, &[]);
        assert_eq!(store.answer(&role("a")), Answer::NotMine);
        store.list_failed(0, "500");
        assert_eq!(store.answer(&role("a")), Answer::NotMine);
    }

    #[test]
    fn a_list_of_one_definition_does_not_change_the_other() {
        let store = Store::new(2);
        list(&store, &[("a", settled("a", "{}"))]);
        store.list_began(1);
        store.list_ended(1);
        assert_eq!(store.answer(&role("a")), Answer::Role(document("{}")));
    }
}
