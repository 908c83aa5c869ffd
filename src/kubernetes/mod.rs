//! Access to Kubernetes: the client, lists that are kept up to date, ServiceAccounts, labels of namespaces, the identity ConfigMap, the
//! OIDC issuer, objects of controllers that manage AWS resources.

pub(crate) mod api_error;
pub mod container_credentials;
mod exec_plugin;
pub mod identity_map;
pub mod issuer;
pub mod list_watch;
pub(crate) mod managed_objects;
pub mod namespaces;
pub(crate) mod notify;
pub(crate) mod objects;
pub mod service_accounts;

use std::time::Duration;

/// The timeout of connecting. A GET has one or two seconds in total.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A client for the admission path. It does not retry: every request there has a deadline, and watches have their own backoff.
///
/// # Errors
/// When the configuration's certificates or credentials cannot be used.
pub fn client(config: &kube::Config) -> Result<kube::Client, kube::Error> {
    let mut config = config.clone();
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // No read timeout: it would include idle time in the pool, and all callers have their own timeouts.
    config.read_timeout = None;
    let token = exec_plugin::log_in(&mut config.auth_info).map_err(kube::Error::Auth)?;
    let client = kube::Client::try_from(config)?;
    Ok(match token {
        Some(token) => token.on(client),
        None => client,
    })
}
