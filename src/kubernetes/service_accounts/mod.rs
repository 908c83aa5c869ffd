//! ServiceAccounts: those of a live cluster, or of a folder of manifests.
//!
//! Two backends answer the same two questions ([`ServiceAccounts::stored`], [`ServiceAccounts::fetch`]): a live cluster
//! (`live`) and a folder of manifests (`manifests`).

pub mod live;
pub mod manifests;
mod table;
mod yaml;

use std::sync::Arc;

use tokio::time::Instant;

use crate::pod::identity::ServiceAccountIdentity;

/// What memory holds of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Never heard of.
    Missing,
    /// Exists, and no annotation concerns rolegate.
    Plain,
    /// Exists with these annotations.
    Identity(Arc<ServiceAccountIdentity>),
}

/// What the API server says of a ServiceAccount, asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// 404.
    NotFound,
    /// It exists.
    Found {
        /// `metadata.uid`; none for a manifest without one.
        uid: Option<Arc<str>>,
        /// Its annotations, when any concerns rolegate.
        identity: Option<Arc<ServiceAccountIdentity>>,
    },
    /// Too many questions are under way already.
    Busy,
    /// The API server could not be asked or did not answer in time: one line that says why.
    Unavailable(String),
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
    /// Whether the first list is complete. Never false again after it was true.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        match self {
            Self::Live(live) => live.is_synced(),
            // A folder is read before there is a value to ask.
            Self::Manifests(_) => true,
        }
    }
    /// Whether memory follows its source. False while a watch is known to be broken or was found silent: a role that memory
    /// holds may then be one that was changed since, and a caller who has the time asks with [`ServiceAccounts::fetch`].
    #[must_use]
    pub fn is_current(&self) -> bool {
        match self {
            Self::Live(live) => live.is_current(),
            Self::Manifests(_) => true,
        }
    }
    /// Counts for the metric `service_accounts{state}` and the roles to read ahead: calls `each` for every distinct role.
    pub fn for_each_role(&self, each: &mut dyn FnMut(&crate::trust::RoleArn)) {
        match self {
            Self::Live(live) => live.for_each_role(each),
            Self::Manifests(manifests) => manifests.for_each_role(each),
        }
    }
    /// How many are known, and how many of them are annotated (with a role).
    #[must_use]
    pub fn counts(&self) -> Counts {
        match self {
            Self::Live(live) => live.counts(),
            Self::Manifests(manifests) => manifests.counts(),
        }
    }
    /// How many edits of the manifests could not be read since the start, for a metric.
    #[must_use]
    pub fn reload_failures(&self) -> u64 {
        match self {
            Self::Live(_) => 0,
            Self::Manifests(manifests) => manifests.reload_failures(),
        }
    }
    /// Ends the tasks behind it and waits for their end.
    pub async fn stop(&self) {
        match self {
            Self::Live(live) => live.stop().await,
            Self::Manifests(manifests) => manifests.stop().await,
        }
    }
}

/// How many ServiceAccounts are known, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// With a well-formed role.
    pub with_role: usize,
    /// With a role annotation that is no role ARN.
    pub malformed: usize,
    /// Without a role.
    pub without_role: usize,
}
