//! The web identities that the containers of a pod will use. Each of them is evaluated.

use crate::pod::effective::{EffectiveIdentities, Identity};
use crate::pod::identity::{MAX_AUDIENCE_CHARS, WebIdentityRequest};
use crate::pod::inject::Conflict;
use crate::pod::view::PodView;
use crate::trust::{Audience, RoleArn};

/// The most web identities of a pod that are evaluated. A pod with more is refused where it would take the time of others.
pub(super) const MOST_JUDGED: usize = 64;

/// A web identity that containers will use.
pub(super) struct UsedIdentity<'p> {
    pub(super) role: RoleArn,
    pub(super) audience: Audience,
    /// What the container sets itself, when that is known.
    pub(super) session_name: Option<&'p str>,
    pub(super) certainty: Certainty,
}

/// Whether the web identity is certainly used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    Certain,
    /// Static keys might come first, so nothing is refused for it.
    Possible,
}

/// Each once. None for a pod whose containers are all skipped, or have other credentials.
///
/// # Errors
/// More than [`MOST_JUDGED`] roles, or an audience that no OIDC provider can have.
pub(super) fn used_identities<'p>(
    pod: &'p PodView<'p>,
    identities: &'p EffectiveIdentities<'p>,
    request: &WebIdentityRequest,
) -> Result<Vec<UsedIdentity<'p>>, Box<Conflict>> {
    let our_audience = pod
        .token_audience()
        .map_or_else(|| request.audience.clone(), Audience::new);
    let mut session_names = SessionNames::Distinguished;
    loop {
        let used = collect(identities, request, &our_audience, session_names);
        match used {
            Some(used) => return within_bounds(used),
            // Only a policy that mentions the session name distinguishes these identities.
            None if session_names == SessionNames::Distinguished => session_names = SessionNames::Ignored,
            None => return Err(too_many()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SessionNames {
    Distinguished,
    Ignored,
}

/// None when there are too many.
fn collect<'p>(
    identities: &'p EffectiveIdentities<'p>,
    request: &WebIdentityRequest,
    our_audience: &Audience,
    session_names: SessionNames,
) -> Option<Vec<UsedIdentity<'p>>> {
    let mut used: Vec<UsedIdentity<'p>> = Vec::new();
    // A ServiceAccount that is applied has no pod yet: its pods' containers will use what is injected.
    if identities.containers().next().is_none() {
        used.push(UsedIdentity {
            role: request.role.clone(),
            audience: our_audience.clone(),
            session_name: None,
            certainty: Certainty::Certain,
        });
    }
    for container in identities.containers() {
        let (role, audience) = match container.identity() {
            Identity::Injected => (&request.role, None),
            Identity::WebIdentity(own) => (&own.role, own.audience.as_deref()),
            Identity::Skipped
            | Identity::PodIdentity
            | Identity::ContainerCredentials { .. }
            | Identity::StaticKeys
            | Identity::None(_)
            | Identity::Unknown(_) => continue,
        };
        let audience_text = audience.unwrap_or(our_audience.as_str());
        let session_name = match session_names {
            SessionNames::Distinguished => container.session_name(),
            SessionNames::Ignored => None,
        };
        let certainty = if container.might_use_static_keys() {
            Certainty::Possible
        } else {
            Certainty::Certain
        };
        let known = used.iter_mut().find(|known| {
            known.role == *role && known.audience.as_str() == audience_text && known.session_name == session_name
        });
        if let Some(known) = known {
            if certainty == Certainty::Certain {
                known.certainty = certainty;
            }
            continue;
        }
        if used.len() == MOST_JUDGED {
            return None;
        }
        used.push(UsedIdentity {
            role: role.clone(),
            audience: audience.map_or_else(|| our_audience.clone(), Audience::new),
            session_name,
            certainty,
        });
    }
    Some(used)
}

fn within_bounds(used: Vec<UsedIdentity<'_>>) -> Result<Vec<UsedIdentity<'_>>, Box<Conflict>> {
    let longest = used.iter().map(|used| used.audience.as_str().chars().count()).max();
    match longest {
        Some(length) if length > MAX_AUDIENCE_CHARS => Err(Box::new(Conflict {
            volume: String::new(),
            mount_path: None,
            message: format!(
                "a projected token of the pod has an audience of {length} characters, but IAM registers at most \
                 {MAX_AUDIENCE_CHARS} for an OIDC provider"
            ),
            fix: "shorten the audience of the projected token",
        })),
        _ => Ok(used),
    }
}

fn too_many() -> Box<Conflict> {
    Box::new(Conflict {
        volume: String::new(),
        mount_path: None,
        message: format!("the containers of the pod use more than {MOST_JUDGED} IAM roles"),
        fix: "use fewer IAM roles in one pod",
    })
}
