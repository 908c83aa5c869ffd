//! Evaluates one role, in the same way for a review and for a command: the OIDC provider first, then the trust policy, in the order of STS.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::decision::{Judged, Why};
use crate::roles::{KnownProvider, Trust};
use crate::trust::{self, Association, Context, Hop, PodName, Policy, RoleArn, SessionName, WebIdentity};

/// Evaluates what is known of a role. A provider that is not known is not evaluated.
pub(crate) fn judge_role(
    role: RoleArn,
    trust: &Trust,
    provider: &KnownProvider,
    identity: &WebIdentity,
    session_name: SessionName<'_>,
) -> Judged {
    match trust {
        Trust::Policy { policy, tags } => {
            let of_provider = provider.as_provider();
            let of_provider = of_provider.and_then(|provider| trust::judge_provider(provider, identity));
            let judgment = of_provider.unwrap_or_else(|| {
                trust::judge(policy, &role, identity, &context(policy, tags.as_deref(), session_name))
            });
            Judged::of(role, judgment)
        }
        Trust::NoSuchRole { hint } => Judged::no_such_role(role, hint.as_deref()),
        Trust::Malformed(reason) => Judged::unknown(role, Why::Malformed(reason.to_string())),
        Trust::Unknown(reason) => Judged::unknown(role, Why::Unreadable(reason.to_string())),
    }
}

/// Evaluates what is known of a role of an EKS Pod Identity association.
pub(crate) fn judge_association_role(
    hop: Hop,
    role: &RoleArn,
    trust: &Trust,
    association: &Association,
    pod_name: PodName<'_>,
) -> Judged {
    let role = role.clone();
    match trust {
        Trust::Policy { policy, tags } => {
            let context = context(policy, tags.as_deref(), SessionName::Unknown);
            Judged::of(
                role,
                trust::judge_association(hop, policy, association, pod_name, &context),
            )
        }
        Trust::NoSuchRole { hint } => Judged::no_such_role(role, hint.as_deref()),
        Trust::Malformed(reason) => Judged::unknown(role, Why::Malformed(reason.to_string())),
        Trust::Unknown(reason) => Judged::unknown(role, Why::Unreadable(reason.to_string())),
    }
}

/// What is known of a request that is made now. The clock is read only for a policy that mentions the time.
pub(super) fn context<'a>(
    policy: &Policy,
    role_tags: Option<&'a [(String, String)]>,
    session_name: SessionName<'a>,
) -> Context<'a> {
    Context {
        now: policy.mentions_time().then(now).flatten(),
        role_tags,
        session_name,
    }
}

/// Seconds since the epoch; none when the clock is before it.
pub(crate) fn now() -> Option<i64> {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(elapsed.as_secs()).ok()
}
