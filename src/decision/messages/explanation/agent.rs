//! What is wrong with a statement for EKS Pod Identity.

use super::policy_text;
use crate::support::text::{self, quote};
use crate::trust::{AgentFault, Association, Carried, Cause, Hop, Requirement};

/// The service that assumes primary roles.
const SERVICE: &str = "pods.eks.amazonaws.com";

/// Who assumes the role.
pub(in crate::decision::messages) fn principal(association: &Association, hop: Hop) -> &str {
    match hop {
        Hop::Primary => SERVICE,
        Hop::Target => association.role.as_str(),
    }
}

/// Line 1.
pub(in crate::decision::messages) fn clause(fault: &AgentFault) -> String {
    match fault {
        AgentFault::Principal {
            hop,
            services,
            aws,
            federated,
        } => {
            let only = policy_text::list(services.iter().chain(aws).chain(federated));
            match hop {
                _ if services.is_empty() && aws.is_empty() => {
                    "its trust policy allows only identity providers (IRSA)".to_owned()
                }
                Hop::Primary => format!("its trust policy allows only {only}, not {SERVICE}"),
                Hop::Target => format!("its trust policy allows only {only}, not the primary role"),
            }
        }
        AgentFault::Action {
            actions,
            excluded: true,
        } => {
            format!(
                "its trust policy excludes sts:AssumeRole (NotAction {})",
                policy_text::list(actions)
            )
        }
        AgentFault::Action { actions, .. } => {
            format!(
                "its trust policy allows {}, not sts:AssumeRole",
                policy_text::list(actions)
            )
        }
        AgentFault::TagSession { .. } => "its trust policy allows sts:AssumeRole, but not sts:TagSession".to_owned(),
        AgentFault::TagSessionPerhaps => {
            "its trust policy lacks sts:TagSession, which sessions without tags might not need".to_owned()
        }
        AgentFault::Condition {
            cause,
            requirement,
            carried,
        } => {
            let key = text::value(&requirement.key);
            match carried {
                Carried::Absent if *cause == Cause::SessionTagsDisabled => {
                    format!("its trust policy requires {key}, but session tags are disabled")
                }
                Carried::Absent => format!("its trust policy requires {key}, which the request does not have"),
                Carried::Text(found) if *cause == Cause::WrongCluster && !requirement.negated => {
                    let names: Vec<String> = requirement.values.iter().map(|value| short(value).to_owned()).collect();
                    format!(
                        "its trust policy is for {}, not {}",
                        policy_text::list(&names),
                        text::value(short(found))
                    )
                }
                carried => {
                    let verb = if requirement.negated { "excludes" } else { "requires" };
                    format!(
                        "its trust policy {verb} {key} {}, {}",
                        policy_text::values(requirement),
                        carried_text(carried)
                    )
                }
            }
        }
    }
}

/// The cluster in an ARN; other text as it is.
fn short(value: &str) -> &str {
    match value.rsplit_once(":cluster/") {
        Some((_, name)) => name,
        None => value,
    }
}

fn carried_text(carried: &Carried) -> String {
    match carried {
        Carried::Text(value) => format!("not {}", quote(value)),
        Carried::PastTime => "and that time has passed".to_owned(),
        Carried::SessionName => "which no session name can match".to_owned(),
        _ => "which is false for every value".to_owned(),
    }
}

/// A predicate of the statement.
pub(in crate::decision::messages) fn sentence(fault: &AgentFault) -> String {
    match fault {
        AgentFault::Condition {
            requirement, carried, ..
        } => match carried {
            Carried::Absent => format!(
                "requires {}; the request does not have this key",
                policy_text::long_requirement(requirement)
            ),
            Carried::Text(value) => format!(
                "requires {}; its value is {}",
                policy_text::long_requirement(requirement),
                quote(value)
            ),
            carried => format!(
                "requires {}, {}",
                policy_text::long_requirement(requirement),
                carried_text(carried)
            ),
        },
        AgentFault::TagSession { actions, excluded } => {
            let verb = if *excluded { "excludes" } else { "allows" };
            format!("{verb} {}, and so not sts:TagSession", policy_text::list(actions))
        }
        fault => clause(fault).replacen("its trust policy ", "", 1),
    }
}

/// What is allowed and what would be needed, as written in policies.
pub(in crate::decision::messages) fn allowed_and_needed(
    fault: &AgentFault,
    association: &Association,
) -> Option<(String, String)> {
    Some(match fault {
        AgentFault::Principal {
            hop,
            services,
            aws,
            federated,
        } => (
            policy_text::list(services.iter().chain(aws).chain(federated)),
            format!("{} as well", principal(association, *hop)),
        ),
        AgentFault::Action { actions, excluded } => (
            excluding(actions, *excluded),
            "sts:AssumeRole and sts:TagSession".to_owned(),
        ),
        AgentFault::TagSession { actions, excluded } => {
            (excluding(actions, *excluded), "sts:TagSession as well".to_owned())
        }
        AgentFault::Condition {
            requirement,
            carried: Carried::Text(value),
            ..
        } => (keyed(requirement), format!("{} {value}", requirement.key)),
        AgentFault::TagSessionPerhaps | AgentFault::Condition { .. } => return None,
    })
}

fn excluding(actions: &[String], excluded: bool) -> String {
    let prefix = if excluded { "all but " } else { "" };
    format!("{prefix}{}", policy_text::list(actions))
}

fn keyed(requirement: &Requirement) -> String {
    format!("{} {}", requirement.key, policy_text::values_bare(requirement))
}
