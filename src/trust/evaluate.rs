//! What a policy says of a request, without reasons: the verdict, and what its Deny and Allow statements come to.

use super::policy::{Effect, Policy, Statement};
use super::request::Request;
use super::ternary::Ternary;
use super::verdict::Verdict;

/// What the statements of each effect come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evaluation {
    pub(crate) denies: Ternary,
    pub(crate) allows: Ternary,
}

/// Evaluates a policy for a request.
pub(crate) fn evaluate(policy: &Policy, request: &Request<'_>) -> Evaluation {
    Evaluation {
        denies: any(policy, Effect::Deny, request),
        allows: any(policy, Effect::Allow, request),
    }
}

/// The verdict alone.
pub(crate) fn verdict(policy: &Policy, request: &Request<'_>) -> Verdict {
    evaluate(policy, request).verdict()
}

impl Evaluation {
    /// A Deny that holds or no Allow that can hold is not trusted; no Deny that can hold and an Allow that holds is trusted;
    /// anything else depends on what only STS can know.
    pub(crate) fn verdict(self) -> Verdict {
        match (self.denies, self.allows) {
            (Ternary::True, _) | (_, Ternary::False) => Verdict::NotTrusted,
            (Ternary::False, Ternary::True) => Verdict::Trusted,
            _ => Verdict::Undecided,
        }
    }
}

fn any(policy: &Policy, effect: Effect, request: &Request<'_>) -> Ternary {
    Ternary::any(
        policy
            .statements
            .iter()
            .filter(|statement| statement.effect == effect)
            .map(|statement| statement.applies(request)),
    )
}

impl Statement {
    /// Whether it applies: its principal, its action and every one of its conditions.
    pub(crate) fn applies(&self, request: &Request<'_>) -> Ternary {
        let mut applies = self.principal(request).and(self.actions.mean_web_identity.into());
        for condition in &self.conditions {
            if applies == Ternary::False {
                break;
            }
            applies = applies.and(condition.truth(request));
        }
        applies
    }

    /// Whether the principal matches: only the ARN of the token's provider in the role's own account does, byte for byte.
    pub(crate) fn principal(&self, request: &Request<'_>) -> Ternary {
        let issuer = &request.identity.issuer;
        if self
            .principals
            .federated
            .iter()
            .any(|federated| request.role.is_provider_arn(federated, issuer))
        {
            return Ternary::True;
        }
        // `{"AWS": "*"}` trusts no web identity (observed on STS); whether it denies one is not known.
        let may_deny = self.effect == Effect::Deny && self.principals.aws.iter().any(|aws| &**aws == "*");
        if may_deny { Ternary::Unknown } else { Ternary::False }
    }
}
