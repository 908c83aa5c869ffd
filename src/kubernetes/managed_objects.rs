//! Objects with which controllers in the cluster manage AWS resources: ACK's and those of Crossplane's AWS provider.
//!
//! They are watched. A lookup reads memory and needs no AWS credentials. Only the state in AWS matters, so an object is used only if its
//! controller reports that it is in sync with AWS ([`ManagedObject::settled`]). In a cluster without these CRDs, the list is retried from
//! time to time, so that a controller can be installed later.

mod object;
mod store;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::future::join_all;
use kube::api::Api;
use tokio_util::sync::CancellationToken;

pub(crate) use self::object::{Definition, ManagedObject};
pub(crate) use self::store::{Named, Store};
use super::list_watch::{Observer, WatchTiming, list_and_watch};

/// Some kinds of objects that together answer one question: what is known of a `K`?
pub(crate) struct ManagedObjects<K, V> {
    client: kube::Client,
    timing: WatchTiming,
    kinds: Vec<Kind<K, V>>,
    store: Arc<Store<K, V>>,
}

/// A kind of managed object, and what one such object declares.
pub(crate) struct Kind<K, V> {
    pub(crate) definition: &'static Definition,
    pub(crate) read: Read<K, V>,
}

/// What an object declares, and for which `K`; none if it declares nothing.
pub(crate) type Read<K, V> = Arc<dyn Fn(&ManagedObject) -> Option<(K, V)> + Send + Sync>;

impl<K, V> ManagedObjects<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Nothing is asked before [`run`](Self::run).
    pub(crate) fn new(client: kube::Client, timing: WatchTiming, kinds: Vec<Kind<K, V>>) -> Self {
        Self {
            client,
            timing,
            store: Arc::new(Store::new(kinds.len())),
            kinds,
        }
    }

    /// What the watches reported.
    pub(crate) fn store(&self) -> &Store<K, V> {
        &self.store
    }

    /// Watches until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let watches = self.kinds.iter().enumerate().map(|(place, kind)| {
            let api: Api<ManagedObject> = Api::all_with(self.client.clone(), &kind.definition);
            let mirror = Mirror {
                store: Arc::clone(&self.store),
                read: Arc::clone(&kind.read),
                place,
            };
            list_and_watch(
                kind.definition.what,
                api,
                None,
                self.timing,
                Arc::new(AtomicBool::new(false)),
                mirror,
            )
        });
        stop.run_until_cancelled(join_all(watches)).await;
    }
}

impl<K, V> fmt::Debug for ManagedObjects<K, V>
where
    K: fmt::Debug,
    V: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedObjects")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Writes the events of one kind's watch to the store.
struct Mirror<K, V> {
    store: Arc<Store<K, V>>,
    read: Read<K, V>,
    place: usize,
}

impl<K, V> Mirror<K, V>
where
    K: Clone + Eq + Hash,
    V: Clone,
{
    fn put(&self, object: &ManagedObject) {
        self.store.put(self.place, object.name(), (self.read)(object));
    }
}

impl<K, V> Observer<ManagedObject> for Mirror<K, V>
where
    K: Clone + Eq + Hash + Send + Sync,
    V: Clone + Send + Sync,
{
    fn init(&mut self) {
        self.store.list_began(self.place);
    }

    fn init_apply(&mut self, object: ManagedObject) {
        self.put(&object);
    }

    fn init_done(&mut self) {
        self.store.list_ended(self.place);
    }

    fn apply(&mut self, object: ManagedObject) {
        self.put(&object);
        self.store.notify_changed();
    }

    fn delete(&mut self, object: ManagedObject) {
        self.store.remove(self.place, &object.name());
        self.store.notify_changed();
    }

    fn not_served(&mut self) {
        self.store.list_began(self.place);
        self.store.list_ended(self.place);
    }

    fn list_failed(&mut self, why: &str) {
        self.store.list_failed(self.place, why);
    }

    fn while_broken(&self) -> &'static str {
        "what is known stays in use"
    }
}
