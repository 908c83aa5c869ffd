//! The evaluation of one role: the evaluator judges what the role cache holds.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::decision::{Judged, Why};
use crate::pod::identity::MalformedRole;
use crate::roles::{Entry, KnownProvider, Trust};
use crate::trust::{self, Context, Policy, RoleArn, SessionName, WebIdentity};

/// A role and the judgment of it.
pub(super) struct RoleEvaluation {
    pub(super) judged: Judged,
    pub(super) trust: Option<Trust>,
    pub(super) read_at: Option<Instant>,
}

pub(super) fn role_evaluation(
    role: RoleArn,
    entry: Entry,
    provider: &KnownProvider,
    identity: &WebIdentity,
    session_name: SessionName<'_>,
) -> RoleEvaluation {
    let judged = match &entry.trust {
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
    };
    RoleEvaluation {
        judged,
        trust: Some(entry.trust),
        read_at: entry.read_at,
    }
}

pub(super) fn context<'a>(
    policy: &Policy,
    role_tags: Option<&'a [(String, String)]>,
    session_name: SessionName<'a>,
) -> Context<'a> {
    let seconds_since_the_epoch = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    };
    let now = policy.mentions_time().then(seconds_since_the_epoch).flatten();
    Context {
        now,
        role_tags,
        session_name,
    }
}

pub(super) enum OwnRole {
    Role(RoleArn),
    /// Contains `$(VARIABLE)`: its value is known only in the container.
    Computed,
    Malformed(MalformedRole),
}

pub(super) fn own_role(text: &str) -> OwnRole {
    if text.contains("$(") {
        return OwnRole::Computed;
    }
    match RoleArn::parse(text) {
        Ok(role) => OwnRole::Role(role),
        Err(error) => OwnRole::Malformed(MalformedRole {
            key: "AWS_ROLE_ARN".to_owned(),
            value: text.to_owned(),
            error,
        }),
    }
}
