//! Roles that controllers in the cluster manage: `Role` objects of ACK's IAM controller and of Crossplane's AWS provider.
//!
//! They are watched; a read answers from memory and needs no AWS credentials. An object counts only when its controller reports that
//! AWS has what it says (`role`): anything else, and any role without an object, is left to the next source. In a cluster without
//! these CRDs the list is retried from time to time, so that a controller may be installed later.

mod role;
mod store;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use kube::api::Api;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::role::{ACK, CROSSPLANE, Definition, RoleObject};
use self::store::Store;
use super::source::{Answer, Listing, Pace, RoleSource};
use crate::kubernetes::list_watch::{Observer, WatchTiming, list_and_watch};
use crate::trust::RoleArn;

/// Roles that a controller in the cluster manages.
pub struct RoleObjects {
    name: &'static str,
    client: kube::Client,
    definitions: &'static [Definition],
    timing: WatchTiming,
    store: Arc<Store>,
}

impl RoleObjects {
    /// `Role` objects of the ACK controller for IAM. Nothing is asked before [`RoleSource::run`].
    #[must_use]
    pub fn ack(client: kube::Client, timing: WatchTiming) -> Self {
        Self::of("ack", client, ACK, timing)
    }

    /// `Role` objects of provider-upjet-aws, of the cluster and of its namespaces. Nothing is asked before
    /// [`RoleSource::run`].
    #[must_use]
    pub fn crossplane(client: kube::Client, timing: WatchTiming) -> Self {
        Self::of("crossplane", client, CROSSPLANE, timing)
    }

    fn of(name: &'static str, client: kube::Client, definitions: &'static [Definition], timing: WatchTiming) -> Self {
        Self {
            name,
            client,
            definitions,
            timing,
            store: Arc::new(Store::new(definitions.len())),
        }
    }
}

impl fmt::Debug for RoleObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleObjects")
            .field("name", &self.name)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl RoleSource for RoleObjects {
    fn name(&self) -> &'static str {
        self.name
    }

    fn read<'a>(&'a self, role: &'a RoleArn, _as_of: Instant) -> BoxFuture<'a, Answer> {
        async move {
            // Waits at the start only; the caller bounds the wait.
            self.store.first_listed().await;
            self.store.answer(role)
        }
        .boxed()
    }

    fn list(&self) -> Option<Listing<'_>> {
        None
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.store.changes())
    }

    fn pace(&self) -> Pace {
        Pace::Memory
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, ()> {
        let watches = self.definitions.iter().enumerate().map(|(place, definition)| {
            let api: Api<RoleObject> = Api::all_with(self.client.clone(), &definition);
            let mirror = Mirror {
                store: Arc::clone(&self.store),
                definition,
                place,
            };
            list_and_watch(
                definition.what,
                api,
                None,
                self.timing,
                Arc::new(AtomicBool::new(false)),
                mirror,
            )
        });
        let watches = join_all(watches);
        async move {
            tokio::select! {
                _ = watches => {}
                () = stop.cancelled() => {}
            }
        }
        .boxed()
    }
}

/// Writes the events of one definition's watch to the store.
struct Mirror {
    store: Arc<Store>,
    definition: &'static Definition,
    place: usize,
}

impl Observer<RoleObject> for Mirror {
    fn init(&mut self) {
        self.store.list_began(self.place);
    }

    fn init_apply(&mut self, object: RoleObject) {
        self.store.put(self.place, object.name(), object.state(self.definition));
    }

    fn init_done(&mut self) {
        self.store.list_ended(self.place);
    }

    fn apply(&mut self, object: RoleObject) {
        self.store.put(self.place, object.name(), object.state(self.definition));
        self.store.notify_changed();
    }

    fn delete(&mut self, object: RoleObject) {
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
