//! From an identity to the patch that gives it: only explicit `add` operations, parents first, pointers escaped.
//!
//! This is the one place where JSON pointers are made.

use serde::Serialize;

use super::Warning;
use super::identity::{AnnotationRules, PodIdentityRequest, WebIdentityRequest};
use super::view::PodView;

/// What flags say about the injection of a web identity.
#[derive(Clone, Debug)]
pub struct WebIdentitySettings {
    /// `--token-mount-path`, by default `/var/run/secrets/eks.amazonaws.com/serviceaccount`.
    pub mount_path: String,
    /// `AWS_REGION` and `AWS_DEFAULT_REGION`; none: not set.
    pub region: Option<String>,
    /// `--disable-instance-metadata`.
    pub disable_instance_metadata: bool,
    /// `--role-session-name`.
    pub role_session_name: bool,
}

/// What flags say about EKS Pod Identity (`--container-credentials-…`).
#[derive(Clone, Debug)]
pub struct PodIdentitySettings {
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub full_uri: String,
    /// Audience of the token.
    pub audience: String,
    /// Where the token is mounted.
    pub mount_path: String,
    /// Name of the volume.
    pub volume_name: String,
    /// Path of the token within the mount.
    pub token_path: String,
    /// As for a web identity.
    pub region: Option<String>,
    /// As for a web identity.
    pub disable_instance_metadata: bool,
}

/// A JSON patch (RFC 6902) of `add` operations only; serialises to the array that the API server takes.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Patch {
    operations: Vec<serde_json::Value>, // the room's author makes this a typed, fast operation
}

impl Patch {
    /// Whether nothing is added; then neither `patch` nor `patchType` belongs in the answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}

/// What is added to a pod.
#[derive(Debug, Default)]
pub struct Injection {
    /// The operations.
    pub patch: Patch,
    /// What the author should know (an `include-containers` name that the pod does not have, …).
    pub warnings: Vec<Warning>,
}

/// The pod already holds something else where the token belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The volume's name.
    pub volume: String,
    /// The mount path, when a mount is what conflicts.
    pub mount_path: Option<String>,
    /// One line for the author: what stands there (container, volume, mount path) and what to rename or move. Escaped.
    pub message: String,
}

/// Whose trust a pod needs.
#[derive(Debug, PartialEq, Eq)]
pub enum RolesUsed<'a> {
    /// The annotated role only (the usual case).
    Annotated,
    /// The annotated role, when `annotated`, and these others: literal `AWS_ROLE_ARN` of containers whose token file is
    /// ours, each once, as written.
    Several {
        /// Whether a container uses the annotated role.
        annotated: bool,
        /// The containers' own roles.
        own: Vec<&'a str>,
    },
    /// Every container came with EKS Pod Identity's variables and without web identity: not judged.
    PodIdentityOnly,
}

/// Which roles the containers of a pod will assume with our token.
#[must_use]
pub fn roles_used<'a>(
    _rules: &AnnotationRules,
    _pod: &'a PodView<'a>,
    _request: &WebIdentityRequest,
    _settings: &WebIdentitySettings,
) -> RolesUsed<'a> {
    todo!()
}

/// The session name that `--role-session-name` may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodSessionName<'a> {
    /// The pod's name does not surely fit `[\w+=,.@-]{2,64}`.
    Unfit,
    /// Known at admission: `metadata.name`.
    Known(&'a str),
    /// Made by the API server from `generateName`, sure to fit.
    Generated,
}

/// Whether and how a pod's name can be a session name.
#[must_use]
pub fn session_name<'a>(_pod: &'a PodView<'a>) -> PodSessionName<'a> {
    todo!()
}

/// Adds a web identity. `set_session_name`: the caller found that the policy does not refuse it.
///
/// # Errors
/// A [`Conflict`] in the pod.
pub fn web_identity(
    _rules: &AnnotationRules,
    _pod: &PodView<'_>,
    _request: &WebIdentityRequest,
    _settings: &WebIdentitySettings,
    _set_session_name: SetSessionName,
) -> Result<Injection, Box<Conflict>> {
    todo!()
}

/// Whether `AWS_ROLE_SESSION_NAME` is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetSessionName {
    /// From the pod's name (downward API).
    FromPodName,
    /// Not added.
    No,
}

/// Adds EKS Pod Identity.
///
/// # Errors
/// A [`Conflict`] in the pod.
pub fn pod_identity(
    _rules: &AnnotationRules,
    _pod: &PodView<'_>,
    _request: &PodIdentityRequest,
    _settings: &PodIdentitySettings,
) -> Result<Injection, Box<Conflict>> {
    todo!()
}

/// Adds a web identity to the ephemeral containers that `old` does not have, when the pod has the token volume. Never
/// refused: a conflict leaves that container alone.
#[must_use]
pub fn ephemeral_web_identity(
    _rules: &AnnotationRules,
    _old: &PodView<'_>,
    _new: &PodView<'_>,
    _request: &WebIdentityRequest,
    _settings: &WebIdentitySettings,
) -> Injection {
    todo!()
}

/// The same for EKS Pod Identity.
#[must_use]
pub fn ephemeral_pod_identity(
    _rules: &AnnotationRules,
    _old: &PodView<'_>,
    _new: &PodView<'_>,
    _request: &PodIdentityRequest,
    _settings: &PodIdentitySettings,
) -> Injection {
    todo!()
}
