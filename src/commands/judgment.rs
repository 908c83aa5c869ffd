//! Judging a role's trust policy for a report.

pub(super) mod report;

use std::time::SystemTime;

use self::report::{LintReport, Report};
use super::sources::Found;
use crate::decision::{Judged, Why};
use crate::roles::{KnownProvider, Trust};
use crate::trust::{Context, Policy, RoleArn, WebIdentity, judge, judge_provider, lint};

/// The report of a role that was read through the sources.
pub(super) fn of_role(found: &Found, role: RoleArn, identity: WebIdentity, origin: Option<String>) -> Report {
    match &found.entry.trust {
        Trust::Policy { policy, tags } => of_policy(policy, tags.as_deref(), &found.provider, role, identity, origin),
        Trust::NoSuchRole { hint } => Report::of_judged(
            Judged::no_such_role(role, hint.as_deref()),
            identity,
            Vec::new(),
            origin,
        ),
        Trust::Malformed(reason) => Report::malformed(role, identity, reason, origin),
        Trust::Unknown(reason) => {
            let judged = Judged::unknown(role, Why::Unreadable(reason.to_string()));
            Report::of_judged(judged, identity, Vec::new(), origin)
        }
    }
}

/// The report of a policy.
pub(super) fn of_policy(
    policy: &Policy,
    role_tags: Option<&[(String, String)]>,
    provider: &KnownProvider,
    role: RoleArn,
    identity: WebIdentity,
    origin: Option<String>,
) -> Report {
    if let Some(objection) = policy.objection() {
        return Report::malformed(role, identity, &objection.to_string(), origin);
    }
    let context = Context {
        now: now(),
        role_tags,
        ..Context::default()
    };
    let lints = lint(policy, &role, &identity)
        .into_iter()
        .map(LintReport::from)
        .collect();
    let of_provider = provider.as_provider();
    let of_provider = of_provider.and_then(|provider| judge_provider(provider, &identity));
    let judgment = of_provider.unwrap_or_else(|| judge(policy, &role, &identity, &context));
    Report::of_judged(Judged::of(role, judgment), identity, lints, origin)
}

/// Seconds since the epoch; none when the clock is before it.
pub(super) fn now() -> Option<i64> {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(elapsed.as_secs()).ok()
}
