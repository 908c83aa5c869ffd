//! The judgment: may the holder of this web identity assume this role, and if not surely, why?

use super::arn::RoleArn;
use super::evaluate::evaluate;
use super::explain::{self, Explanation};
use super::policy::Policy;
use super::request::{Context, Request};
use super::verdict::Verdict;
use super::web_identity::WebIdentity;

/// Judges one web identity against a role's trust policy. Pure and total.
#[must_use]
pub fn judge(policy: &Policy, role: &RoleArn, identity: &WebIdentity, context: &Context<'_>) -> Judgment {
    let request = Request {
        role,
        identity,
        context,
    };
    let evaluation = evaluate(policy, &request);
    let verdict = evaluation.verdict();
    let explanation = match verdict {
        Verdict::Trusted => None,
        Verdict::Undecided | Verdict::Unknown => Some(explain::undecided(policy, &request, evaluation)),
        Verdict::NotTrusted => Some(explain::not_trusted(policy, &request, evaluation)),
    };
    Judgment {
        verdict,
        explanation: explanation.map(Box::new),
    }
}

/// A verdict with its reasons.
#[derive(Clone, Debug)]
pub struct Judgment {
    /// Never [`Verdict::Unknown`].
    pub verdict: Verdict,
    /// Why, unless trusted. Boxed: a trusted judgment allocates nothing.
    pub explanation: Option<Box<Explanation>>,
}
