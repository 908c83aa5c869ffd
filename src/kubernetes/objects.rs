//! Objects of any resource, as the API server writes them.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::api_error;

/// Objects per page of [`list`], as in client-go.
const PAGE: u32 = 500;

/// How long the API server may take for a page: as long as it works on one, by default (its flag --request-timeout).
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer to one request of a command, which nothing else bounds.
///
/// # Errors
/// That of the request, or that there was no answer, as the client says that it could not connect in time.
pub(super) async fn in_time<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    timeout(PATIENCE, request).await.unwrap_or_else(|_| {
        let silent = io::Error::from(io::ErrorKind::TimedOut);
        Err(kube::Error::Service(silent.into()))
    })
}

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
/// What the API server answered, or that it did not.
pub(crate) async fn groups(client: &Client) -> Result<HashMap<String, Vec<String>>, kube::Error> {
    let listed = in_time(client.list_api_groups()).await?;
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
        let page: Page = in_time(client.request(page)).await.map_err(|error| match &error {
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use hyper::http::{Request as HttpRequest, Response};
    use kube::client::Body;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_is_not_waited_for() {
        let silent = tower::service_fn(|_: HttpRequest<Body>| pending::<Result<Response<Body>, Infallible>>());
        let client = Client::new(silent, "default");
        let expected = "the API server cannot be reached: it does not respond";
        let error = groups(&client).await.unwrap_err();
        assert!(!api_error::is_answer(&error));
        assert_eq!(api_error::one_line(&error), expected);
        let listed = list(&client, "/apis/apps/v1/deployments", &mut |_| {}).await;
        assert_eq!(listed, Err(ListError::Failed(expected.to_owned())));
    }
}
