//! Objects of any resource, as the API server writes them.

use std::collections::HashMap;

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api_error;

/// Objects per page of [`list`], as in client-go.
const PAGE: u32 = 500;

/// Why a resource could not be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListError {
    /// The API server does not have it.
    NotServed,
    /// `list` on it is not permitted.
    Forbidden,
    /// What the API server answered, in one line.
    Failed(String),
}

/// The API groups that the API server has, except the core group, each with its versions.
///
/// # Errors
/// What the API server answered, in one line.
pub(crate) async fn groups(client: &Client) -> Result<HashMap<String, Vec<String>>, String> {
    let listed = client.list_api_groups().await;
    let listed = listed.map_err(|error| api_error::one_line(&error))?;
    let groups = listed.groups.into_iter().map(|group| {
        let versions = group.versions.into_iter().map(|version| version.version);
        (group.name, versions.collect())
    });
    Ok(groups.collect())
}

/// Lists the objects at the path of a resource once, page by page.
///
/// # Errors
/// Why it could not be listed to the end.
pub(crate) async fn list(
    client: &Client,
    path: &str,
    each: &mut (dyn FnMut(&RawValue) + Send),
) -> Result<(), ListError> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        metadata: Metadata,
        #[serde(default)]
        items: Option<Vec<Box<RawValue>>>,
    }
    #[derive(Default, Deserialize)]
    struct Metadata {
        #[serde(default, rename = "continue")]
        next: Option<String>,
    }
    let request = Request::new(path);
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = request
            .list(&parameters)
            .map_err(|error| ListError::Failed(error.to_string()))?;
        let page: Page = client.request(page).await.map_err(|error| match &error {
            kube::Error::Api(status) if status.code == 404 => ListError::NotServed,
            kube::Error::Api(status) if status.code == 403 => ListError::Forbidden,
            _ => ListError::Failed(api_error::one_line(&error)),
        })?;
        for object in page.items.unwrap_or_default() {
            each(&object);
        }
        match page.metadata.next.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}
