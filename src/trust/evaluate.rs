//! Evaluates a policy for a request, without reasons: the verdict, and the results of its Deny and Allow statements.

use super::arn::RoleArn;
use super::association::Hop;
use super::policy::{Effect, Policy, Statement};
use super::request::{Caller, Request};
use super::ternary::Ternary;
use super::verdict::Verdict;
use super::web_identity::WebIdentity;

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
        let mut applies = self.principal(request).and(self.actions.mean(request.action()).into());
        for condition in &self.conditions {
            if applies == Ternary::False {
                break;
            }
            applies = applies.and(condition.truth(request));
        }
        applies
    }

    /// Whether the principal matches.
    pub(crate) fn principal(&self, request: &Request<'_>) -> Ternary {
        match &request.caller {
            Caller::WebIdentity(identity) => self.is_for_web_identity(request.role, identity),
            Caller::PodIdentity(of) => match of.hop {
                Hop::Primary => self.is_for_service(),
                Hop::Target => self.is_for_role(&of.association.role),
            },
        }
    }

    /// Only the ARN of the token's provider in the role's own account matches, byte for byte.
    fn is_for_web_identity(&self, role: &RoleArn, identity: &WebIdentity) -> Ternary {
        let issuer = &identity.issuer;
        if self
            .principals
            .federated
            .iter()
            .any(|federated| role.is_provider_arn(federated, issuer))
        {
            return Ternary::True;
        }
        // `{"AWS": "*"}` trusts no web identity (observed on STS); whether it denies one is not known.
        let may_deny = self.effect == Effect::Deny && self.principals.aws.iter().any(|aws| &**aws == "*");
        if may_deny { Ternary::Unknown } else { Ternary::False }
    }

    /// The service of EKS Pod Identity, which is written the same in every partition.
    fn is_for_service(&self) -> Ternary {
        let is_listed = self.principals.service.iter().any(|one| &**one == PODS_SERVICE);
        // Whether `{"AWS": "*"}` is about a service, too, and whether the case of its name counts, is not documented for trust policies.
        if is_listed {
            Ternary::True
        } else if self.principals.aws.iter().any(|aws| &**aws == "*")
            || self
                .principals
                .service
                .iter()
                .any(|one| one.eq_ignore_ascii_case(PODS_SERVICE))
        {
            Ternary::Unknown
        } else {
            Ternary::False
        }
    }

    /// The role itself, its account (the number alone or `:root`), or anybody. A session of the role has a name that EKS Auth
    /// chooses, and a unique ID is known to IAM only.
    fn is_for_role(&self, role: &RoleArn) -> Ternary {
        Ternary::any(self.principals.aws.iter().map(|aws| match &**aws {
            "*" => Ternary::True,
            aws if aws == role.as_str() || names_account(aws, role) => Ternary::True,
            aws if aws.starts_with("AROA") && !aws.contains(':') => Ternary::Unknown,
            aws if is_session_of(aws, role) => Ternary::Unknown,
            _ => Ternary::False,
        }))
    }
}

/// The service as which EKS Auth assumes the role of an association.
pub(crate) const PODS_SERVICE: &str = "pods.eks.amazonaws.com";

/// Whether an `AWS` principal is the account of a role: its number, or its `:root`.
pub(crate) fn names_account(aws: &str, role: &RoleArn) -> bool {
    let root = || format!("arn:{}:iam::{}:root", role.partition(), role.account());
    aws == role.account() || aws == root()
}

/// Whether an `AWS` principal is a session of a role, `arn:…:assumed-role/NAME/SESSION`; without the role's path.
fn is_session_of(aws: &str, role: &RoleArn) -> bool {
    let beginning = format!(
        "arn:{}:sts::{}:assumed-role/{}/",
        role.partition(),
        role.account(),
        role.name()
    );
    aws.len() > beginning.len() && aws.starts_with(&beginning)
}
