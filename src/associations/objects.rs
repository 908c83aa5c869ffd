//! Associations that controllers in the cluster manage: `PodIdentityAssociation` objects of ACK's EKS controller and of Crossplane's AWS
//! provider.
//!
//! They are watched; a question is answered from memory and needs no AWS credentials. An object counts only when its controller reports
//! that AWS has what it says: until then, the association of its ServiceAccount is not known. A ServiceAccount without an object may have
//! an association that something else manages.

mod object;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use kube::api::Api;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use self::object::{ACK, CROSSPLANE, Definition, Object, Said};
use super::source::{ClusterId, Found, HeldAssociations};
use crate::kubernetes::list_watch::{Observer, WatchTiming, list_and_watch};
use crate::support::text;
use crate::trust::{Association, RoleArn};

/// Associations that a controller in the cluster manages.
pub struct AssociationObjects {
    name: &'static str,
    client: kube::Client,
    definitions: &'static [Definition],
    timing: WatchTiming,
    known: Arc<RwLock<Known>>,
}

/// An object: the place of its definition, and its name.
type Key = (usize, Arc<str>);

#[derive(Debug)]
struct Known {
    cluster: ClusterId,
    associations: HashMap<Key, Said>,
    /// The ARNs of the roles that associations refer to, by `NAMESPACE/NAME`.
    roles: HashMap<Arc<str>, RoleArn>,
    /// By the place of the definition: whether it was listed, and why that failed.
    lists: HashMap<usize, Result<(), Arc<str>>>,
    definitions: usize,
}

impl AssociationObjects {
    /// Objects of the ACK controller for EKS, and the roles that they refer to. Nothing is asked before [`HeldAssociations::run`].
    #[must_use]
    pub fn ack(client: kube::Client, cluster: ClusterId, timing: WatchTiming) -> Self {
        Self::of("ack", client, ACK, cluster, timing)
    }

    /// Objects of provider-upjet-aws, of the cluster and of its namespaces. Nothing is asked before [`HeldAssociations::run`].
    #[must_use]
    pub fn crossplane(client: kube::Client, cluster: ClusterId, timing: WatchTiming) -> Self {
        Self::of("crossplane", client, CROSSPLANE, cluster, timing)
    }

    fn of(
        name: &'static str,
        client: kube::Client,
        definitions: &'static [Definition],
        cluster: ClusterId,
        timing: WatchTiming,
    ) -> Self {
        Self {
            name,
            client,
            definitions,
            timing,
            known: Arc::new(RwLock::new(Known {
                cluster,
                associations: HashMap::new(),
                roles: HashMap::new(),
                lists: HashMap::new(),
                definitions: definitions.len(),
            })),
        }
    }
}

impl fmt::Debug for AssociationObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssociationObjects")
            .field("name", &self.name)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl HeldAssociations for AssociationObjects {
    fn name(&self) -> &'static str {
        self.name
    }

    fn find(&self, namespace: &str, service_account: &str) -> Found {
        self.known.read().find(namespace, service_account)
    }

    fn all(&self) -> Vec<Arc<Association>> {
        let known = self.known.read();
        let all = known.associations.values();
        all.filter_map(|said| match known.found(said) {
            Found::Association(association) => Some(association),
            _ => None,
        })
        .collect()
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, ()> {
        let watches = self.definitions.iter().enumerate().map(|(place, definition)| {
            let api: Api<Object> = Api::all_with(self.client.clone(), &definition);
            let mirror = Mirror {
                known: Arc::clone(&self.known),
                definition,
                place,
                listed: Vec::new(),
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

impl Known {
    fn find(&self, namespace: &str, service_account: &str) -> Found {
        let is_it = |said: &&Said| *said.namespace == *namespace && *said.service_account == *service_account;
        let mut found = self.associations.iter().filter(|(_, said)| is_it(said));
        match (found.next(), found.next()) {
            (Some(((_, first), _)), Some(((_, second), _))) => {
                let [first, second] = [first, second].map(|name| text::value(name));
                Found::Unknown(
                    format!("two PodIdentityAssociation objects, {first} and {second}, are about this ServiceAccount")
                        .into(),
                )
            }
            (Some((_, said)), None) => self.found(said),
            (None, _) => self.not_found(),
        }
    }

    /// Before every list was tried, nothing is known.
    fn not_found(&self) -> Found {
        if let Some(Err(why)) = self.lists.values().find(|listed| listed.is_err()) {
            return Found::Unknown(Arc::clone(why));
        }
        if self.lists.len() < self.definitions {
            return Found::Unknown("PodIdentityAssociation objects were not listed yet".into());
        }
        Found::Unlisted
    }

    fn found(&self, said: &Said) -> Found {
        said.found(&self.cluster, |name| self.roles.get(name).cloned())
    }
}

/// Writes the events of one definition's watch.
struct Mirror {
    known: Arc<RwLock<Known>>,
    definition: &'static Definition,
    place: usize,
    /// The names of a list so far.
    listed: Vec<Arc<str>>,
}

impl Mirror {
    fn put(&mut self, object: &Object) -> Arc<str> {
        let name: Arc<str> = object.name().into();
        let mut known = self.known.write();
        if self.definition.is_role {
            match object.role_arn() {
                Some(arn) => known.roles.insert(Arc::clone(&name), arn),
                None => known.roles.remove(&name),
            };
        } else {
            let key = (self.place, Arc::clone(&name));
            match object.says(self.definition, &known.cluster) {
                Some(said) => known.associations.insert(key, said),
                None => known.associations.remove(&key),
            };
        }
        name
    }

    fn remove(&self, name: &str) {
        let mut known = self.known.write();
        if self.definition.is_role {
            known.roles.remove(name);
        } else {
            known.associations.remove(&(self.place, name.into()));
        }
    }

    /// Objects that a list did not have are gone.
    fn list_ended(&mut self, result: Result<(), Arc<str>>) {
        let listed: std::collections::HashSet<Arc<str>> = std::mem::take(&mut self.listed).into_iter().collect();
        let mut known = self.known.write();
        if self.definition.is_role {
            known.roles.retain(|name, _| listed.contains(name));
        } else {
            known
                .associations
                .retain(|(place, name), _| *place != self.place || listed.contains(name));
        }
        known.lists.insert(self.place, result);
    }
}

impl Observer<Object> for Mirror {
    fn init(&mut self) {
        self.listed.clear();
    }

    fn init_apply(&mut self, object: Object) {
        let name = self.put(&object);
        self.listed.push(name);
    }

    fn init_done(&mut self) {
        self.list_ended(Ok(()));
    }

    fn apply(&mut self, object: Object) {
        self.put(&object);
    }

    fn delete(&mut self, object: Object) {
        self.remove(&object.name());
    }

    fn not_served(&mut self) {
        self.listed.clear();
        self.list_ended(Ok(()));
    }

    fn list_failed(&mut self, why: &str) {
        // What was listed before stays in use.
        let mut known = self.known.write();
        known.lists.entry(self.place).or_insert_with(|| Err(why.into()));
    }

    fn while_broken(&self) -> &'static str {
        "what is known stays in use"
    }
}
