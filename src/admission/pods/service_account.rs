//! The pod's ServiceAccount: from memory, or read from the API server.

use std::sync::Arc;

use tokio::time::Instant;

use super::Admission;
use super::pod_request::PodRequest;
use crate::kubernetes::identity_map::IdentityMap;
use crate::kubernetes::service_accounts::{Fetched, Stored};
use crate::pod::identity::ServiceAccountIdentity;

/// Whether a copy in memory is used, or one that is read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Cached,
    Fresh,
}

pub(super) struct Account {
    /// Known when it was read from the API server.
    pub(super) uid: Option<Arc<str>>,
    /// False when the API server answered that there is none.
    pub(super) exists: bool,
    pub(super) identity: Option<Arc<ServiceAccountIdentity>>,
    pub(super) freshness: Freshness,
}

impl Account {
    /// Whether its annotations, or its entry in the identity ConfigMap, request a role, well-formed or not. Other annotations, such as the
    /// lifetime of tokens, do not.
    pub(super) fn requests_role(&self) -> bool {
        self.identity
            .as_deref()
            .is_some_and(ServiceAccountIdentity::asks_for_role)
    }
}

/// The review cannot be answered now; the API server is asked to retry.
pub(super) struct Unavailable(pub(super) String);

impl Admission {
    /// The ServiceAccount from memory when its copy has a role, else from the API server.
    pub(super) async fn account(&self, pod_request: &PodRequest<'_>) -> Result<Account, Unavailable> {
        let accounts = &self.state.accounts;
        match accounts.stored(pod_request.namespace, pod_request.service_account) {
            Stored::Identity(identity) if identity.asks_for_role() => {
                let cached = Account {
                    uid: None,
                    exists: true,
                    identity: Some(identity),
                    freshness: Freshness::Cached,
                };
                if accounts.is_current() {
                    return Ok(cached);
                }
                // The watch is broken or silent, so the role may have changed. If the API server does not answer in time, the cached
                // copy is used.
                let now = Instant::now();
                let deadline = now + pod_request.deadline.saturating_duration_since(now) / 2;
                Ok(self.fetched(pod_request, None, deadline).await.unwrap_or(cached))
            }
            Stored::Identity(identity) => {
                self.fetched(pod_request, Some(Some(identity)), pod_request.deadline)
                    .await
            }
            Stored::Plain => self.fetched(pod_request, Some(None), pod_request.deadline).await,
            Stored::Missing => self.fetched(pod_request, None, pod_request.deadline).await,
        }
    }

    /// The ServiceAccount, as fresh as this.
    pub(super) async fn account_for(
        &self,
        pod_request: &PodRequest<'_>,
        freshness: Freshness,
    ) -> Result<Account, Unavailable> {
        match freshness {
            Freshness::Cached => self.account(pod_request).await,
            Freshness::Fresh => self.fetched(pod_request, None, pod_request.deadline).await,
        }
    }

    /// `known` is the cached copy without a role: it is used when too many reads are in flight.
    pub(super) async fn fetched(
        &self,
        pod_request: &PodRequest<'_>,
        known: Option<Option<Arc<ServiceAccountIdentity>>>,
        deadline: Instant,
    ) -> Result<Account, Unavailable> {
        let (namespace, name) = (pod_request.namespace, pod_request.service_account);
        let (uid, exists, identity) = match self.state.accounts.fetch(namespace, name, deadline).await {
            Fetched::Found { uid, identity } => (uid, true, identity),
            Fetched::NotFound => (None, false, None),
            Fetched::Busy => known.map(|identity| (None, true, identity)).ok_or_else(|| {
                Unavailable(format!(
                    "ServiceAccount {namespace}/{name}: too many reads of ServiceAccounts are in flight"
                ))
            })?,
            Fetched::Unavailable(reason) => {
                return Err(Unavailable(format!(
                    "ServiceAccount {namespace}/{name} could not be read: {reason}"
                )));
            }
        };
        let map = self.state.identity_map.as_deref();
        Ok(Account {
            uid,
            exists,
            identity: IdentityMap::requested(map, namespace, name, identity),
            freshness: Freshness::Fresh,
        })
    }
}
