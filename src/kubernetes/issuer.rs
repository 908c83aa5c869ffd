//! The cluster's OIDC issuer, as published by the API server.

use hyper::Request;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::kubernetes::api_error;
use crate::support::text;
use crate::trust::Issuer;

/// The discovery document of an API server (Kubernetes, "ServiceAccount issuer discovery"). Every authenticated ServiceAccount is allowed
/// to read it.
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Asks the API server for the issuer of its ServiceAccount tokens.
///
/// # Errors
/// When it cannot be reached, does not answer by `deadline`, or does not return an issuer.
pub async fn discover(client: &kube::Client, deadline: Instant) -> Result<Issuer, DiscoveryError> {
    let request = Request::get(DISCOVERY)
        .body(Vec::new())
        .map_err(|error| DiscoveryError::new(error.to_string()))?;
    let document = match timeout_at(deadline, client.request_text(request)).await {
        Ok(answer) => answer.map_err(|error| DiscoveryError {
            why: api_error::one_line(&error),
            step: api_error::next_step(&error),
        })?,
        Err(_) => return Err(DiscoveryError::new("it did not respond in time".to_owned())),
    };
    let Document { issuer } = serde_json::from_str(&document)
        .map_err(|error| DiscoveryError::new(format!("expected JSON with `issuer`: {error}")))?;
    Issuer::parse(&issuer)
        .map_err(|error| DiscoveryError::new(format!("`{}` is not a valid issuer: {error}", text::value(&issuer))))
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
}

/// Why the issuer could not be discovered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster's OIDC issuer could not be read from the API server ({DISCOVERY}): {why}; set it with --issuer{step}"
)]
pub struct DiscoveryError {
    why: String,
    /// What else to do.
    step: &'static str,
}

impl DiscoveryError {
    const fn new(why: String) -> Self {
        Self { why, step: "" }
    }
}
