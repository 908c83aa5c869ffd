//! The evaluation of one role with the policy in the role cache.

use tokio::time::Instant;

use crate::admission::judgment::judge_role;
use crate::decision::Judged;
use crate::roles::{KnownProvider, RoleEntry, Trust};
use crate::trust::{RoleArn, SessionName, WebIdentity};

/// A role and the evaluation of it.
pub(super) struct RoleEvaluation {
    pub(super) judged: Judged,
    pub(super) trust: Option<Trust>,
    pub(super) read_at: Option<Instant>,
}

pub(super) fn role_evaluation(
    role: RoleArn,
    entry: RoleEntry,
    provider: &KnownProvider,
    identity: &WebIdentity,
    session_name: SessionName<'_>,
) -> RoleEvaluation {
    let judged = judge_role(role, &entry.trust, provider, identity, session_name);
    RoleEvaluation {
        judged: Judged {
            copy_age: entry.copy_age,
            ..judged
        },
        trust: Some(entry.trust),
        read_at: entry.read_at,
    }
}
