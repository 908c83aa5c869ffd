//! The cluster's OIDC issuer, as the API server itself tells it.

use std::fmt;

use hyper::Request;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::kubernetes::api_error;
use crate::support::text;
use crate::trust::Issuer;

/// Where an API server tells its issuer (Kubernetes, "ServiceAccount issuer discovery"). Every authenticated ServiceAccount
/// may read it.
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Asks the API server for the issuer of its ServiceAccount tokens.
///
/// # Errors
/// When it cannot be asked, does not answer by `deadline`, or names no issuer.
pub async fn discover(client: &kube::Client, deadline: Instant) -> Result<Issuer, DiscoveryError> {
    let request = Request::get(DISCOVERY)
        .body(Vec::new())
        .map_err(|error| DiscoveryError(error.to_string()))?;
    let document = match timeout_at(deadline, client.request_text(request)).await {
        Ok(answer) => answer.map_err(|error| DiscoveryError(api_error::one_line(&error)))?,
        Err(_) => return Err(DiscoveryError("it did not answer in time".to_owned())),
    };
    let Document { issuer } = serde_json::from_str(&document)
        .map_err(|error| DiscoveryError(format!("expected JSON with `issuer`: {error}")))?;
    Issuer::parse(&issuer)
        .map_err(|error| DiscoveryError(format!("its issuer `{}` is none: {error}", text::value(&issuer))))
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
}

/// Why the issuer could not be learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryError(String);

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the cluster's OIDC issuer could not be read from the API server ({DISCOVERY}): {}; name it with --issuer",
            self.0
        )
    }
}

impl std::error::Error for DiscoveryError {}
