//! Evaluates a role's trust policy for a report.

pub(super) mod report;

use self::report::{LintReport, Report};
use crate::admission::judgment::{judge_association_role, judge_role};
use crate::decision::{Judged, Why};
use crate::roles::{KnownProvider, Trust};
use crate::trust::{Association, Hop, PodName, RoleArn, SessionName, WebIdentity, lint, lint_association};

/// The report of a role, evaluated as a review would evaluate it. A policy that IAM would not store is reported as malformed.
pub(super) fn of_role(
    role: RoleArn,
    trust: &Trust,
    provider: &KnownProvider,
    identity: WebIdentity,
    origin: Option<String>,
) -> Report {
    let mut lints = Vec::new();
    match trust {
        Trust::Malformed(reason) => return Report::malformed(role, identity, reason, origin),
        Trust::Policy { policy, .. } => {
            if let Some(objection) = policy.objection() {
                return Report::malformed(role, identity, &objection.to_string(), origin);
            }
            let found = lint(policy, &role, &identity);
            lints.extend(found.into_iter().map(LintReport::from));
        }
        Trust::NoSuchRole { .. } | Trust::Unknown(_) => {}
    }
    let judged = judge_role(role, trust, provider, &identity, SessionName::Unknown);
    Report::of_judged(judged, identity, lints, origin)
}

/// The report of a role of an association, evaluated as a review would evaluate it.
pub(super) fn of_hop(
    association: &Association,
    (hop, role): (Hop, &RoleArn),
    trust: &Trust,
    origin: Option<String>,
) -> Report {
    let mut lints = Vec::new();
    if let Trust::Policy { policy, .. } = trust {
        if let Some(objection) = policy.objection() {
            let judged = Judged::unknown(role.clone(), Why::Malformed(objection.to_string()));
            return Report::of_hop(&judged, association, hop, lints, origin);
        }
        let found = lint_association(policy, association, hop);
        lints.extend(found.into_iter().map(LintReport::from));
    }
    let judged = judge_association_role(hop, role, trust, association, PodName::Unknown);
    Report::of_hop(&judged, association, hop, lints, origin)
}
