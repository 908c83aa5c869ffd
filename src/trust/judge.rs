//! The complete evaluation: can the holder of this web identity, or EKS Auth for this association, assume this role? If not, or if that is
//! undecided, why?

use super::action::Action;
use super::arn::RoleArn;
use super::association::{Association, Hop, PodName, SessionTags};
use super::evaluate::evaluate;
use super::explain::association::{self, Asked};
use super::explain::{self, Explanation};
use super::policy::Policy;
use super::request::{Caller, Context, PodIdentity, Request, WebRequest};
use super::verdict::Verdict;
use super::web_identity::WebIdentity;

/// Evaluates one web identity against a role's trust policy. Pure and total.
#[must_use]
pub fn judge(policy: &Policy, role: &RoleArn, identity: &WebIdentity, context: &Context<'_>) -> Judgment {
    let request = WebRequest::new(role, identity, context);
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

/// Evaluates one hop of an EKS Pod Identity association against the trust policy of the hop's role. Pure and total; a hop that
/// the association does not have is trusted.
///
/// EKS Auth needs `sts:AssumeRole` and, unless session tags are disabled, `sts:TagSession`: the verdict is the worse of both.
/// Whether it needs `sts:TagSession` for a session without tags is not documented, so that nothing is refused for it.
#[must_use]
pub fn judge_association(
    hop: Hop,
    policy: &Policy,
    association: &Association,
    pod_name: PodName<'_>,
    context: &Context<'_>,
) -> Judgment {
    let trusted = Judgment {
        verdict: Verdict::Trusted,
        explanation: None,
    };
    let Some(role) = association.role_of(hop) else {
        return trusted;
    };
    let asked = [Action::AssumeRole, Action::TagSession].map(|action| {
        let of = PodIdentity {
            hop,
            action,
            association,
            pod_name,
        };
        let request = Request {
            role,
            caller: Caller::PodIdentity(of),
            context,
        };
        Asked {
            request,
            of,
            evaluation: evaluate(policy, &request),
        }
    });
    let has_tags = association.session_tags == SessionTags::Enabled;
    let verdict_of = |asked: &Asked<'_>| match asked.evaluation.verdict() {
        Verdict::NotTrusted if asked.of.action == Action::TagSession && !has_tags => Verdict::Undecided,
        verdict => verdict,
    };
    let verdict = asked.iter().map(verdict_of).max().unwrap_or(Verdict::Trusted);
    let explanation = match verdict {
        Verdict::Trusted => return trusted,
        Verdict::Undecided | Verdict::Unknown => association::undecided(policy, &asked),
        Verdict::NotTrusted => {
            let is_refused = |asked: &&Asked<'_>| verdict_of(asked) == Verdict::NotTrusted;
            let refused: Vec<Asked<'_>> = asked.iter().filter(is_refused).copied().collect();
            association::not_trusted(policy, &refused)
        }
    };
    Judgment {
        verdict,
        explanation: Some(Box::new(explanation)),
    }
}

/// A verdict with its reasons.
#[derive(Clone, Debug)]
pub struct Judgment {
    /// Never [`Verdict::Unknown`].
    pub verdict: Verdict,
    /// Why, unless trusted. Boxed: a trusted evaluation allocates nothing.
    pub explanation: Option<Box<Explanation>>,
}
