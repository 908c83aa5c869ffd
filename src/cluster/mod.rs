//! What is known of Kubernetes: ServiceAccounts, the issuer, the identity ConfigMap.
//!
//! Two backends answer the same two questions ([`ServiceAccounts::stored`], [`ServiceAccounts::fetch`]): a live cluster
//! (`live`) and a folder of manifests (`manifests`).

pub mod container_credentials;
pub mod identity_map;
pub mod issuer;
pub mod live;
pub mod manifests;

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
    pub fn stored(&self, _namespace: &str, _name: &str) -> Stored {
        todo!()
    }
    /// One GET. Requests share it only if it started after they arrived; concurrency is capped; it ends by `deadline`.
    pub async fn fetch(&self, _namespace: &str, _name: &str, _deadline: Instant) -> Fetched {
        todo!()
    }
    /// Whether the first list is complete. Never false again after it was true.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        todo!()
    }
    /// Counts for the metric `service_accounts{state}` and the roles to read ahead: calls `each` for every distinct role.
    pub fn for_each_role(&self, _each: &mut dyn FnMut(&crate::iam::RoleArn)) {
        todo!()
    }
    /// How many are known, and how many of them are annotated (with a role).
    #[must_use]
    pub fn counts(&self) -> Counts {
        todo!()
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
