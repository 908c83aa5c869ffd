//! What is known of a pod's ServiceAccount: from memory, or asked for.

use std::sync::Arc;

use tokio::time::Instant;

use super::Admission;
use super::pod_request::PodRequest;
use crate::kubernetes::service_accounts::{Fetched, Stored};
use crate::pod::identity::ServiceAccountIdentity;

/// Whether what is used was kept in memory or asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Kept,
    Asked,
}

pub(super) struct Account {
    /// Known when it was asked for.
    pub(super) uid: Option<Arc<str>>,
    pub(super) identity: Option<Arc<ServiceAccountIdentity>>,
    pub(super) freshness: Freshness,
}

/// Nothing can be said now; the caller is to ask again.
pub(super) struct Unavailable(pub(super) String);

impl Admission {
    /// The ServiceAccount from memory when its copy has a role, else from the API server.
    pub(super) async fn account(&self, pod_request: &PodRequest<'_>) -> Result<Account, Unavailable> {
        let accounts = &self.state.accounts;
        match accounts.stored(pod_request.namespace, pod_request.service_account) {
            Stored::Identity(identity) if identity.asks_for_role() => {
                let kept = Account {
                    uid: None,
                    identity: Some(identity),
                    freshness: Freshness::Kept,
                };
                if accounts.is_current() {
                    return Ok(kept);
                }
                // The watch is broken or silent: the role may be another by now. An answer that does not come in time is
                // no reason to refuse what memory can serve.
                let now = Instant::now();
                let deadline = now + pod_request.deadline.saturating_duration_since(now) / 2;
                Ok(self.fetched(pod_request, None, deadline).await.unwrap_or(kept))
            }
            Stored::Identity(identity) => {
                self.fetched(pod_request, Some(Some(identity)), pod_request.deadline)
                    .await
            }
            Stored::Plain => self.fetched(pod_request, Some(None), pod_request.deadline).await,
            Stored::Missing => self.fetched(pod_request, None, pod_request.deadline).await,
        }
    }

    /// `known`: the copy without a role that may serve when too many questions are under way already.
    pub(super) async fn fetched(
        &self,
        pod_request: &PodRequest<'_>,
        known: Option<Option<Arc<ServiceAccountIdentity>>>,
        deadline: Instant,
    ) -> Result<Account, Unavailable> {
        let (namespace, name) = (pod_request.namespace, pod_request.service_account);
        let (uid, identity) = match self.state.accounts.fetch(namespace, name, deadline).await {
            Fetched::Found { uid, identity } => (uid, identity),
            Fetched::NotFound => (None, None),
            Fetched::Busy => known.map(|identity| (None, identity)).ok_or_else(|| {
                Unavailable(format!(
                    "ServiceAccount {namespace}/{name}: too many reads of ServiceAccounts are under way"
                ))
            })?,
            Fetched::Unavailable(reason) => {
                return Err(Unavailable(format!(
                    "ServiceAccount {namespace}/{name} could not be read: {reason}"
                )));
            }
        };
        let identity = match identity {
            Some(identity) if identity.asks_for_role() => Some(identity),
            other => self.identity_map_entry(pod_request).or(other),
        };
        Ok(Account {
            uid,
            identity,
            freshness: Freshness::Asked,
        })
    }

    pub(super) fn identity_map_entry(&self, pod_request: &PodRequest<'_>) -> Option<Arc<ServiceAccountIdentity>> {
        self.state
            .identity_map
            .as_ref()?
            .lookup(pod_request.namespace, pod_request.service_account)
    }
}
