//! Creates the patch that gives a pod its identity: only explicit `add` operations, parents first, pointers escaped.
//!
//! This is the only place that creates JSON pointers. The variables of a container are appended in this order, those that
//! it lacks: `AWS_STS_REGIONAL_ENDPOINTS`, `AWS_DEFAULT_REGION`, `AWS_REGION`, the two of the identity,
//! `AWS_EC2_METADATA_DISABLED`, `AWS_ROLE_SESSION_NAME`.

mod patch;
mod plan;

pub use self::patch::Patch;
use self::patch::VariableValue;
use self::plan::Plan;
use super::effective::EffectiveIdentities;
use super::identity::{AnnotationRules, PodIdentityRequest, WebIdentityRequest};
use super::settings::{PodIdentitySettings, WebIdentitySettings};
use super::view::PodView;
use super::warning::Warning;

/// What is added to a pod.
#[derive(Debug, Default)]
pub struct Injection {
    /// The operations.
    pub patch: Patch,
    /// What the author should know (an `include-containers` name that the pod does not have, …).
    pub warnings: Vec<Warning>,
}

/// The pod cannot be served as it is: it holds something else where the token belongs, or it exceeds a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The volume's name; empty when no volume conflicts.
    pub volume: String,
    /// The mount path, when a mount is what conflicts.
    pub mount_path: Option<String>,
    /// One line for the author: what is there (container, volume, mount path) and what to rename or move. Escaped.
    pub message: String,
    /// What to do about it, in a few words.
    pub fix: &'static str,
}

/// Adds a web identity. `set_session_name`: the caller found that the policy does not refuse it.
///
/// # Errors
/// A [`Conflict`] in the pod.
pub fn web_identity(
    rules: &AnnotationRules,
    pod: &PodView<'_>,
    identities: &EffectiveIdentities<'_>,
    request: &WebIdentityRequest,
    settings: &WebIdentitySettings,
    set_session_name: SetSessionName,
) -> Result<Injection, Box<Conflict>> {
    let session = match (set_session_name, session_name(pod)) {
        (SetSessionName::No, _) | (_, PodSessionName::Unfit) => None,
        (SetSessionName::FromPodName, PodSessionName::Known(name)) => Some(VariableValue::Text(name)),
        (SetSessionName::FromPodName, PodSessionName::Generated) => Some(VariableValue::PodName),
    };
    Plan::web_identity(rules, pod, request, settings, session).inject_web(pod, identities)
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
    Plan::pod_identity(rules, pod, request, settings).inject_pod(pod)
}

/// Adds EKS Pod Identity to the containers that set no credentials at all. Unlike [`pod_identity`], which follows the reference webhook,
/// it leaves every container alone that has credentials of its own, or a part of them.
///
/// # Errors
/// A [`Conflict`] in the pod.
pub fn missing_pod_identity(
    rules: &AnnotationRules,
    pod: &PodView<'_>,
    identities: &EffectiveIdentities<'_>,
    request: &PodIdentityRequest,
    settings: &PodIdentitySettings,
) -> Result<Injection, Box<Conflict>> {
    Plan::pod_identity(rules, pod, request, settings).inject_missing_pod(pod, identities)
}

/// Adds a web identity to new ephemeral containers, whose `identities` are given, when the pod has the token volume. Never refused: a
/// conflict leaves that container alone.
#[must_use]
pub fn ephemeral_web_identity(
    rules: &AnnotationRules,
    pod: &PodView<'_>,
    identities: &EffectiveIdentities<'_>,
    request: &WebIdentityRequest,
    settings: &WebIdentitySettings,
) -> Injection {
    Plan::web_identity(rules, pod, request, settings, None).inject_web_ephemeral(pod, identities)
}

/// Adds EKS Pod Identity to new ephemeral containers that set no credentials, when the pod has the token volume of the agent.
#[must_use]
pub fn ephemeral_missing_pod_identity(
    rules: &AnnotationRules,
    pod: &PodView<'_>,
    identities: &EffectiveIdentities<'_>,
    request: &PodIdentityRequest,
    settings: &PodIdentitySettings,
) -> Injection {
    Plan::pod_identity(rules, pod, request, settings).inject_missing_pod_ephemeral(pod, identities)
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
    Plan::pod_identity(rules, new, request, settings).inject_pod_ephemeral(old, new)
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

#[cfg(test)]
mod tests;
