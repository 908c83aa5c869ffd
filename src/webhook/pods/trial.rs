//! One role, judged: what the book tells, put to the evaluator.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::gate::Judged;
use crate::iam::{self, Cause, Context, Policy, RoleArn, SessionName, Verdict, WebIdentity};
use crate::pod::identity::MalformedRole;
use crate::roles::{Entry, KnownProvider, Trust};

/// One role, judged.
pub(super) struct Trial {
    pub(super) judged: Judged,
    pub(super) trust: Option<Trust>,
    pub(super) read_at: Option<Instant>,
}

pub(super) fn trial(
    role: RoleArn,
    entry: Entry,
    provider: &KnownProvider,
    identity: &WebIdentity,
    session_name: SessionName<'_>,
) -> Trial {
    let mut judged = Judged {
        role,
        verdict: Verdict::Unknown,
        cause: None,
        reason: String::new(),
        hint: None,
        undecided_keys: Vec::new(),
    };
    match &entry.trust {
        Trust::Policy { policy, tags } => {
            let of_policy = || {
                iam::judge(
                    policy,
                    &judged.role,
                    identity,
                    &context(policy, tags.as_deref(), session_name),
                )
            };
            let of_provider = provider.as_provider();
            let of_provider = of_provider.and_then(|provider| iam::judge_provider(provider, &judged.role, identity));
            let judgement = of_provider.unwrap_or_else(of_policy);
            judged.verdict = judgement.verdict;
            if let Some(explanation) = judgement.explanation {
                judged.cause = explanation.cause;
                judged.reason = explanation.reason;
                judged.hint = explanation.hint;
                judged.undecided_keys = explanation.undecided_keys;
            }
        }
        Trust::NoSuchRole { hint } => {
            judged.hint = hint.as_deref().map(str::to_owned);
            judged.verdict = Verdict::NotTrusted;
            judged.cause = Some(Cause::RoleNotFound);
            judged.reason = "no role of that ARN exists; check account, path and name".to_owned();
        }
        Trust::Malformed(reason) | Trust::Unknown(reason) => judged.reason = reason.to_string(),
    }
    Trial {
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
    /// Holds `$(VARIABLE)`: what it comes to is known in the container only.
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
