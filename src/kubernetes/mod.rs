//! What is known of Kubernetes and how the API server is talked to: the client, lists that are kept up to date, ServiceAccounts,
//! the identity ConfigMap, the OIDC issuer.

pub(crate) mod api_error;
pub mod container_credentials;
pub mod identity_map;
pub mod issuer;
pub mod list_watch;
pub(crate) mod notify;
pub mod service_accounts;

use std::time::Duration;

/// How long it may take to connect. A GET has a second or two in all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A client fit for the admission path: it never tries again on its own, since every request there has a deadline, and
/// the watch has pauses of its own.
///
/// # Errors
/// When the configuration's certificates or credentials cannot be used.
pub fn client(config: &kube::Config) -> Result<kube::Client, kube::Error> {
    let mut config = config.clone();
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // No read timeout: it would count idle time in the pool, and both callers bound their waiting themselves.
    config.read_timeout = None;
    kube::Client::try_from(config)
}
