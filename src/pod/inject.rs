//! From an identity to the patch that gives it: only explicit `add` operations, parents first, pointers escaped.
//!
//! This is the one place where JSON pointers are made. The variables of a container are appended in this order, those that
//! it lacks: `AWS_STS_REGIONAL_ENDPOINTS`, `AWS_DEFAULT_REGION`, `AWS_REGION`, the two of the identity,
//! `AWS_EC2_METADATA_DISABLED`, `AWS_ROLE_SESSION_NAME`.

mod patch;
mod paths;
mod plan;
mod selection;
mod variables;

use std::collections::BTreeSet;

pub use self::patch::Patch;
use self::patch::VariableValue;
use self::paths::PathStyle;
use self::plan::Plan;
use self::selection::Selection;
use self::variables::{ROLE_ARN, WEB_IDENTITY_TOKEN_FILE, has_foreign_pod_identity, sets_any};
use super::identity::{AnnotationRules, PodIdentityRequest, WebIdentityRequest};
use super::view::{Container, PodView, TOKEN_PATH, TOKEN_VOLUME, VolumeMount};
use super::warning::Warning;

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
    /// One line for the author: what is there (container, volume, mount path) and what to rename or move. Escaped.
    pub message: String,
}

/// Adds a web identity. `set_session_name`: the caller found that the policy does not refuse it.
///
/// # Errors
/// A [`Conflict`] in the pod.
pub fn web_identity(
    rules: &AnnotationRules,
    pod: &PodView<'_>,
    request: &WebIdentityRequest,
    settings: &WebIdentitySettings,
    set_session_name: SetSessionName,
) -> Result<Injection, Box<Conflict>> {
    let session = match (set_session_name, session_name(pod)) {
        (SetSessionName::No, _) | (_, PodSessionName::Unfit) => None,
        (SetSessionName::FromPodName, PodSessionName::Known(name)) => Some(VariableValue::Text(name)),
        (SetSessionName::FromPodName, PodSessionName::Generated) => Some(VariableValue::PodName),
    };
    Plan::web_identity(rules, pod, request, settings, session).inject(pod)
}

/// Whether `AWS_ROLE_SESSION_NAME` is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetSessionName {
    /// From the pod's name: as it is where it is known, else by the downward API.
    FromPodName,
    /// Not added.
    No,
}

/// Adds EKS Pod Identity.
///
/// # Errors
/// A [`Conflict`] in the pod.
pub fn pod_identity(
    rules: &AnnotationRules,
    pod: &PodView<'_>,
    request: &PodIdentityRequest,
    settings: &PodIdentitySettings,
) -> Result<Injection, Box<Conflict>> {
    Plan::pod_identity(rules, pod, request, settings).inject(pod)
}

/// Adds a web identity to the ephemeral containers that `old` does not have, when the pod has the token volume. Never
/// refused: a conflict leaves that container alone.
#[must_use]
pub fn ephemeral_web_identity(
    rules: &AnnotationRules,
    old: &PodView<'_>,
    new: &PodView<'_>,
    request: &WebIdentityRequest,
    settings: &WebIdentitySettings,
) -> Injection {
    Plan::web_identity(rules, new, request, settings, None).inject_ephemeral(old, new)
}

/// The same for EKS Pod Identity.
#[must_use]
pub fn ephemeral_pod_identity(
    rules: &AnnotationRules,
    old: &PodView<'_>,
    new: &PodView<'_>,
    request: &PodIdentityRequest,
    settings: &PodIdentitySettings,
) -> Injection {
    Plan::pod_identity(rules, new, request, settings).inject_ephemeral(old, new)
}

/// Whose trust a pod needs.
#[derive(Debug, PartialEq, Eq)]
pub enum RolesUsed<'a> {
    /// The annotated role only (the usual case). Also when no container uses any role with our token (all are skipped, or
    /// bring an identity of their own): the pod is given a token for this role all the same.
    Annotated,
    /// The annotated role, when `annotated`, and these others: literal `AWS_ROLE_ARN` of containers whose token file is
    /// ours, each once, as written (a `$(REFERENCE)` is still in it); at least one.
    Several {
        /// Whether a container uses the annotated role.
        annotated: bool,
        /// The containers' own roles.
        own: Vec<&'a str>,
    },
}

/// Whether every container of a pod came with EKS Pod Identity's variables and without web identity: such a pod is EKS's, and
/// not judged. Skipped containers do not count.
#[must_use]
pub(crate) fn has_pod_identity_only(rules: &AnnotationRules, pod: &PodView<'_>) -> bool {
    // Nearly no pod has such a container; only of one that has is it asked which containers count.
    if !pod
        .containers()
        .any(|(_, _, container)| has_foreign_pod_identity(container))
    {
        return false;
    }
    let selection = Selection::of(rules, pod);
    let mut taken = pod
        .containers()
        .filter(|(_, _, container)| selection.takes(container.name()))
        .peekable();
    taken.peek().is_some() && taken.all(|(_, _, container)| has_foreign_pod_identity(container))
}

/// Which roles the containers of a pod will assume with our token. The token they assume it with is for
/// [`PodView::token_audience`] where the pod brings its own token volume, else for the requested audience.
#[must_use]
pub fn roles_used<'a>(
    rules: &AnnotationRules,
    pod: &'a PodView<'a>,
    request: &WebIdentityRequest,
    settings: &WebIdentitySettings,
) -> RolesUsed<'a> {
    let selection = Selection::of(rules, pod);
    let paths = PathStyle::of(pod);
    let mut annotated = false;
    let mut own = Vec::new();
    let mut seen = BTreeSet::new();
    for (_, _, container) in pod
        .containers()
        .filter(|(_, _, container)| selection.takes(container.name()))
    {
        if has_foreign_pod_identity(container) {
            continue;
        }
        if !sets_any(container, &[ROLE_ARN, WEB_IDENTITY_TOKEN_FILE]) {
            annotated = true;
            continue;
        }
        let Some(role) = container.literal(ROLE_ARN) else {
            continue;
        };
        if !reads_our_token(container, &settings.mount_path, paths) {
            continue;
        }
        if role == request.role.as_str() {
            annotated = true;
        } else if seen.insert(role) {
            own.push(role);
        }
    }
    if own.is_empty() {
        RolesUsed::Annotated
    } else {
        RolesUsed::Several { annotated, own }
    }
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
pub fn session_name<'a>(pod: &'a PodView<'a>) -> PodSessionName<'a> {
    let fits = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
    };
    if let Some(name) = pod.name() {
        return if (2..=64).contains(&name.len()) && fits(name) {
            PodSessionName::Known(name)
        } else {
            PodSessionName::Unfit
        };
    }
    // The API server cuts the stem at 58 characters and appends five letters or digits: never too long or too short.
    match pod.generate_name() {
        Some(stem) if fits(stem) => PodSessionName::Generated,
        _ => PodSessionName::Unfit,
    }
}

/// Whether the container's own token file is the token that rolegate puts into the pod, at our mount path or where the
/// container itself mounts the volume.
fn reads_our_token(container: &Container<'_>, mount_path: &str, paths: PathStyle) -> bool {
    let Some(file) = container.literal(WEB_IDENTITY_TOKEN_FILE) else {
        return false;
    };
    let own_mounts = container
        .mounts()
        .filter(|mount| mount.name() == TOKEN_VOLUME)
        .map(VolumeMount::path);
    own_mounts
        .chain([mount_path])
        .any(|directory| paths.same(file, &paths.file(directory, TOKEN_PATH)))
}

#[cfg(test)]
mod tests;
