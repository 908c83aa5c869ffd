//! The lints of the roles of an EKS Pod Identity association.

use super::{Lint, lint_document};
use crate::support::text::quote;
use crate::trust::action::Action;
use crate::trust::association::{Association, Hop, PodName, SessionTags};
use crate::trust::condition::key::pod_identity::{About, SessionTag};
use crate::trust::condition::{Condition, Test};
use crate::trust::evaluate::names_account;
use crate::trust::policy::{Effect, Policy, Statement};
use crate::trust::request::{Caller, Context, PodIdentity, Request};
use crate::trust::ternary::Ternary;

/// The lints of the policy of a hop's role: for the statements that are about EKS Auth there, and for the document.
#[must_use]
pub fn lint_association(policy: &Policy, association: &Association, hop: Hop) -> Vec<Lint> {
    let context = Context::default();
    let request = Request {
        role: association.role_of(hop).unwrap_or(&association.role),
        caller: Caller::PodIdentity(PodIdentity {
            hop,
            action: Action::AssumeRole,
            association,
            pod_name: PodName::Unknown,
        }),
        context: &context,
    };
    let mut lints = Vec::new();
    for statement in &policy.statements {
        if statement.actions.mean(Action::AssumeRole) && statement.principal(&request) == Ternary::True {
            lint_statement(statement, association, hop, &request, &mut lints);
        }
    }
    lints.extend(lint_document(policy));
    lints
}

fn lint_statement(
    statement: &Statement,
    association: &Association,
    hop: Hop,
    request: &Request<'_>,
    lints: &mut Vec<Lint>,
) {
    let number = statement.number;
    if association.session_tags == SessionTags::Disabled
        && let Some(condition) = statement.conditions.iter().find(|one| is_about_a_tag(one))
    {
        lints.push(Lint {
            code: "condition-on-disabled-tag",
            message: format!(
                "statement {number} has a condition on {}, and the association disables session tags",
                quote(condition.key.as_str())
            ),
        });
    }
    if statement.effect == Effect::Deny {
        return;
    }
    // What no association can use is not too wide; which one it is for does not matter here.
    let can_match = |condition: &Condition| limits(condition) || condition.truth(request) != Ternary::False;
    if !statement.conditions.iter().all(can_match) {
        return;
    }
    match hop {
        Hop::Primary if !statement.conditions.iter().any(limits) => lints.push(Lint {
            code: "any-association",
            message: format!(
                "statement {number} has no condition on the cluster, its account, the namespace or the ServiceAccount; any \
                 association that may pass the role can use it"
            ),
        }),
        Hop::Target => {
            let role = &association.role;
            let by_account = |aws: &str| aws == "*" || names_account(aws, role);
            let names_role = statement.principals.aws.iter().any(|aws| &**aws == role.as_str());
            if !names_role && statement.principals.aws.iter().any(|aws| by_account(aws)) {
                lints.push(Lint {
                    code: "delegates-to-caller-policy",
                    message: format!(
                        "statement {number} trusts the account of the primary role; the permissions policies of {role} must allow it, too"
                    ),
                });
            }
        }
        Hop::Primary => {}
    }
}

/// Whether a condition limits which association can use the role. `Null` does not limit the value of a key.
fn limits(condition: &Condition) -> bool {
    let is_limit = match condition.key.about() {
        About::SourceArn | About::SourceAccount => true,
        About::RequestTag(tag) => !matches!(tag, SessionTag::PodName | SessionTag::PodUid),
        _ => false,
    };
    is_limit && condition.operator.test != Test::Null
}

fn is_about_a_tag(condition: &Condition) -> bool {
    matches!(
        condition.key.about(),
        About::RequestTag(_) | About::OtherRequestTag | About::TagKeys | About::TransitiveTagKeys
    )
}
