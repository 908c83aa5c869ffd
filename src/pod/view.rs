//! The slim view of a pod: what is read, borrowed from the review's bytes; a field that is not named here is never touched.
//!
//! A JSON null reads as absent everywhere.

use std::borrow::Cow;

use serde::Deserialize;

/// What rolegate reads of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView<'a> {
    // The room's author decides the fields; all of them private to `pod/`, with accessors for what others need.
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

impl PodView<'_> {
    /// `metadata.name`, when not empty.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    /// `metadata.generateName`, when not empty.
    #[must_use]
    pub fn generate_name(&self) -> Option<&str> {
        todo!()
    }
    /// Whether the object has a `spec`. One without is refused as a bad request.
    #[must_use]
    pub fn has_spec(&self) -> bool {
        todo!()
    }
    /// `spec.serviceAccountName`; `default` when empty or absent.
    #[must_use]
    pub fn service_account_name(&self) -> &str {
        todo!()
    }
    /// A label's value.
    #[must_use]
    pub fn label(&self, _key: &str) -> Option<&str> {
        todo!()
    }
    /// Whether it mirrors a static pod (annotation `kubernetes.io/config.mirror`).
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        todo!()
    }
    /// Kind and name of the controlling owner (`metadata.ownerReferences[].controller`).
    #[must_use]
    pub fn controller(&self) -> Option<(&str, &str)> {
        todo!()
    }
    /// The literal value of the first `AWS_ROLE_SESSION_NAME` in a container.
    #[must_use]
    pub fn own_session_name(&self) -> Option<&str> {
        todo!()
    }
    /// The audience of a token volume that the pod brings itself (a `serviceAccountToken` at path `token` in the projected
    /// volume `aws-iam-token`), none when it brings none. What the author set wins, so this is the audience to judge.
    #[must_use]
    pub fn token_audience(&self) -> Option<&str> {
        todo!()
    }
}
