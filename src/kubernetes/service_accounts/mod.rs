//! ServiceAccounts of a live cluster, or of a directory of manifests.
//!
//! There are two backends with the same two lookups ([`ServiceAccounts::stored`], [`ServiceAccounts::fetch`]): `live` and `manifests`.

pub mod live;
pub mod manifests;
mod table;
pub(crate) mod yaml;

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use crate::kubernetes::namespaces::UNKNOWN;
use crate::pod::identity::ServiceAccountIdentity;

/// A ServiceAccount in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Not known.
    Missing,
    /// Exists without annotations for rolegate.
    Plain,
    /// Exists with these annotations.
    Identity(Arc<ServiceAccountIdentity>),
}

/// A ServiceAccount as read from the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// 404.
    NotFound,
    /// It exists.
    Found {
        /// `metadata.uid`; none for a manifest without one.
        uid: Option<Arc<str>>,
        /// Its annotations for rolegate, if there are any.
        identity: Option<Arc<ServiceAccountIdentity>>,
    },
    /// Too many reads are in progress.
    Busy,
    /// The API server could not be reached or did not respond in time: the reason in one line.
    Unavailable(String),
}

/// Observes the ServiceAccounts of a live cluster. Called by the watch, after memory was updated: it must not block.
pub trait AccountObserver: Send + Sync + fmt::Debug {
    /// A list begins: every ServiceAccount is reported until it ends.
    fn list_began(&self);
    /// A ServiceAccount was listed, is new, or was changed in any way.
    fn exists(&self, account: &Observed<'_>);
    /// A ServiceAccount no longer exists.
    fn is_gone(&self, namespace: &str, name: &str);
    /// The list is complete: what it did not contain no longer exists.
    fn list_ended(&self);
}

/// A ServiceAccount as the watch reports it.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// `metadata.uid`.
    pub uid: Option<&'a str>,
    /// Its annotations for rolegate, if there are any.
    pub identity: Option<&'a ServiceAccountIdentity>,
    /// Whether these are other than before.
    pub is_changed: bool,
}

/// Observes nothing.
impl AccountObserver for () {
    fn list_began(&self) {}
    fn exists(&self, _account: &Observed<'_>) {}
    fn is_gone(&self, _namespace: &str, _name: &str) {}
    fn list_ended(&self) {}
}

/// The ServiceAccounts of a cluster.
#[derive(Debug)]
pub enum ServiceAccounts {
    /// Watched on an API server.
    Live(live::LiveServiceAccounts),
    /// Read from manifests.
    Manifests(manifests::ManifestServiceAccounts),
}

impl ServiceAccounts {
    /// From memory; never waits.
    #[must_use]
    pub fn stored(&self, namespace: &str, name: &str) -> Stored {
        match self {
            Self::Live(live) => live.stored(namespace, name),
            Self::Manifests(manifests) => manifests.stored(namespace, name),
        }
    }
    /// One GET. Requests share it only if it started after they arrived; concurrency is capped; it ends by `deadline`.
    pub async fn fetch(&self, namespace: &str, name: &str, deadline: Instant) -> Fetched {
        match self {
            Self::Live(live) => live.fetch(namespace, name, deadline).await,
            Self::Manifests(manifests) => manifests.fetch(namespace, name, deadline).await,
        }
    }
    /// Whether a namespace is known to exist. Reviews can name any, if others than the API server can send them.
    #[must_use]
    pub fn has_namespace(&self, namespace: &str) -> bool {
        match self {
            Self::Live(live) => live.has_namespace(namespace),
            Self::Manifests(manifests) => manifests.has_namespace(namespace),
        }
    }
    /// The party that requests for a namespace count for: its own, if the namespace is known to exist.
    pub(crate) fn party<'a>(&self, namespace: &'a str) -> &'a str {
        if self.has_namespace(namespace) {
            namespace
        } else {
            UNKNOWN
        }
    }
    /// Whether the first list is complete. Never false again after it was true.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        match self {
            Self::Live(live) => live.is_synced(),
            // The directory was read when the value was created.
            Self::Manifests(_) => true,
        }
    }
    /// Whether memory is up to date. False while the watch is known to be broken or was found silent: a role in memory might then be
    /// outdated, and a caller with enough time calls [`ServiceAccounts::fetch`].
    #[must_use]
    pub fn is_current(&self) -> bool {
        match self {
            Self::Live(live) => live.is_current(),
            Self::Manifests(_) => true,
        }
    }
    /// Calls `each` for every distinct role, to read roles ahead.
    pub fn for_each_role(&self, each: &mut dyn FnMut(&crate::trust::RoleArn)) {
        match self {
            Self::Live(live) => live.for_each_role(each),
            Self::Manifests(manifests) => manifests.for_each_role(each),
        }
    }
    /// The number of ServiceAccounts by state, for the metric `service_accounts{state}`.
    #[must_use]
    pub fn counts(&self) -> Counts {
        match self {
            Self::Live(live) => live.counts(),
            Self::Manifests(manifests) => manifests.counts(),
        }
    }
    /// The number of edits of the manifests since the start that could not be used.
    #[must_use]
    pub fn reload_failures(&self) -> u64 {
        match self {
            Self::Live(_) => 0,
            Self::Manifests(manifests) => manifests.reload_failures(),
        }
    }
    /// Ends its tasks and waits for their end.
    pub async fn stop(&self) {
        match self {
            Self::Live(live) => live.stop().await,
            Self::Manifests(manifests) => manifests.stop().await,
        }
    }
}

/// The number of ServiceAccounts by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// With a well-formed role.
    pub with_role: usize,
    /// With a role annotation that is not a role ARN.
    pub malformed: usize,
    /// Without a role.
    pub without_role: usize,
}
