//! The judgment: may the holder of this web identity assume this role?

use super::explain::{self, Explanation};
use super::key::Request;
use super::policy::{Effect, Statement};
use super::truth::Truth;
use super::{Policy, RoleArn, Verdict, WebIdentity};

/// Judges one web identity against a role's trust policy. Pure and total.
///
/// With D what any Deny statement says and W what any Allow statement says: D true or W false is not trusted, D false and W
/// true is trusted, anything else depends on what only STS can know.
#[must_use]
pub fn judge(policy: &Policy, role: &RoleArn, identity: &WebIdentity, context: &Context<'_>) -> Judgment {
    let request = Request {
        role,
        identity,
        context,
    };
    let (denies, allows) = (
        any(policy, Effect::Deny, &request),
        any(policy, Effect::Allow, &request),
    );
    let verdict = of(denies, allows);
    let explanation = match verdict {
        Verdict::Trusted => None,
        Verdict::Undecided | Verdict::Unknown => Some(explain::undecided(policy, &request, allows)),
        Verdict::NotTrusted => Some(explain::not_trusted(policy, &request, denies)),
    };
    Judgment {
        verdict,
        explanation: explanation.map(Box::new),
    }
}

/// The verdict alone, without its reasons.
pub(crate) fn verdict(policy: &Policy, request: &Request<'_>) -> Verdict {
    of(any(policy, Effect::Deny, request), any(policy, Effect::Allow, request))
}

fn of(denies: Truth, allows: Truth) -> Verdict {
    match (denies, allows) {
        (Truth::True, _) | (_, Truth::False) => Verdict::NotTrusted,
        (Truth::False, Truth::True) => Verdict::Trusted,
        _ => Verdict::Undecided,
    }
}

/// What else is known of the request that the pod will make.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Now, in seconds since the epoch; none: time cannot be known.
    pub now: Option<i64>,
    /// The role's tags, when the source of the policy gave them.
    pub role_tags: Option<&'a [(String, String)]>,
    /// The session name that the pod will ask for.
    pub session_name: SessionName<'a>,
}

/// What is known of `sts:RoleSessionName`, which the caller of STS chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionName<'a> {
    /// Nothing but its alphabet.
    #[default]
    Unknown,
    /// The pod's own `AWS_ROLE_SESSION_NAME`: named in reasons, yet still not known, because a program may choose another.
    Suggested(&'a str),
    /// Judge as if it were this (to ask whether the policy would refuse the name that rolegate wants to set).
    Assumed(&'a str),
}

/// A verdict with its reasons.
#[derive(Clone, Debug)]
pub struct Judgment {
    /// Never [`Verdict::Unknown`].
    pub verdict: Verdict,
    /// Why, unless trusted. Boxed: a trusted judgment allocates nothing.
    pub explanation: Option<Box<Explanation>>,
}

fn any(policy: &Policy, effect: Effect, request: &Request<'_>) -> Truth {
    Truth::any(
        policy
            .statements
            .iter()
            .filter(|statement| statement.effect == effect)
            .map(|statement| statement.applies(request)),
    )
}

impl Statement {
    /// Whether it applies: its principal, its action and every entry of its condition.
    pub(crate) fn applies(&self, request: &Request<'_>) -> Truth {
        let mut applies = self.principal(request).and(self.actions.mean_web_identity.into());
        for entry in &self.entries {
            if applies == Truth::False {
                break;
            }
            applies = applies.and(entry.truth(request));
        }
        applies
    }

    /// Whether the principal matches: only the ARN of the token's provider in the role's own account does, byte for byte.
    pub(crate) fn principal(&self, request: &Request<'_>) -> Truth {
        let issuer = &request.identity.issuer;
        if self
            .principals
            .federated
            .iter()
            .any(|federated| request.role.is_provider_arn(federated, issuer))
        {
            return Truth::True;
        }
        // `{"AWS": "*"}` lets no web identity in (seen on STS); whether it keeps one out, nobody has seen.
        let may_deny = self.effect == Effect::Deny && self.principals.aws.iter().any(|aws| &**aws == "*");
        if may_deny { Truth::Unknown } else { Truth::False }
    }
}
