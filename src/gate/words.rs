//! What a pod's author reads: refusals and warnings.
//!
//! Many job systems and `kubectl get events` show only the first line of a refusal, so that line stands alone: role,
//! ServiceAccount and cause first, then what was wanted and what was got. The second line is a command.

use std::fmt::Write as _;

use super::{Finding, GateSettings, Judged, RequireRole, Restart, Who};
use crate::iam::{Audience, Cause, RoleArn, Verdict, WebIdentity, provider_command};
use crate::pod::Warning;
use crate::pod::identity::MalformedRole;
use crate::support::text::{self, shell::Command};

/// A Kubernetes object's name is at most this long (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;

pub(super) fn refusal(finding: &Finding<'_>, who: &Who<'_>) -> String {
    let account = account(who);
    let (mut message, fix) = match finding {
        Finding::NoRole => (
            format!("ServiceAccount {account} has no IAM role (no-role): this namespace requires one"),
            annotate(who),
        ),
        Finding::Malformed(malformed) => (
            format!(
                "ServiceAccount {account} names no usable IAM role ({}): {}",
                Cause::MalformedAnnotation,
                malformed_reason(malformed),
            ),
            if is_annotation(malformed, who) {
                annotate(who)
            } else {
                Some(format!("set {} to the ARN of an IAM role", text::value(&malformed.key)))
            },
        ),
        Finding::Conflict(conflict) => (
            format!(
                "the pod leaves no place for the identity of ServiceAccount {account} ({}): {}",
                Cause::Conflict,
                conflict.message,
            ),
            Some("rename the volume or move the mount, so that the token can stand there".to_owned()),
        ),
        Finding::Judged(judged, identity) => (judged_reason(judged, identity, who), judged_fix(judged, identity, who)),
    };
    let steps: Vec<String> = [
        fix.map(|fix| format!("fix: {fix}")),
        who.restart
            .and_then(|restart| restart_command(restart, who))
            .map(|command| format!("then: {command}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !steps.is_empty() {
        let _ = write!(message, "\n{}", steps.join("; "));
    }
    text::message(&message).into_owned()
}

/// The ServiceAccount as `NAMESPACE/NAME`. Both are asked of the pod before the API server has validated it.
fn account(who: &Who<'_>) -> String {
    format!("{}/{}", text::value(who.namespace), text::value(who.service_account))
}

/// Nothing for an owner that no controller can have made: what follows such a name is not a name.
fn restart_command(restart: Restart<'_>, who: &Who<'_>) -> Option<String> {
    let is_name = !restart.name.is_empty()
        && restart.name.len() <= LONGEST_NAME
        && restart
            .name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    is_name
        .then(|| {
            Command::new("kubectl rollout restart")
                .arg(&format!("{}/{}", restart.kind, restart.name))
                .flag("--namespace")
                .arg(who.namespace)
                .finish()
        })
        .flatten()
}

fn judged_reason(judged: &Judged, identity: &WebIdentity, who: &Who<'_>) -> String {
    let mut message = format!("{}: {}", headline(judged, who), judged.reason);
    if let Some(hint) = &judged.hint {
        let _ = write!(message, "; {hint}");
    }
    let _ = write!(
        message,
        " [role {}, subject {}, audience {}]",
        judged.role,
        text::value(identity.subject.as_str()),
        text::value(identity.audience.as_str())
    );
    message
}

fn judged_fix(judged: &Judged, identity: &WebIdentity, who: &Who<'_>) -> Option<String> {
    if judged.verdict == Verdict::Unknown {
        return Some("make the role readable for rolegate, or serve the namespace with --on-unknown=inject".to_owned());
    }
    let command = trust_policy_command(&judged.role, &identity.audience, who);
    match judged.cause {
        // A mistyped ARN is mended first; the policy is what a new role would be created with.
        Some(Cause::RoleNotFound) => {
            command.map(|command| format!("correct the annotation, or create the role with: {command}"))
        }
        Some(cause @ (Cause::ProviderNotFound | Cause::AudienceNotRegistered)) => {
            provider_command(cause, &judged.role, identity)
        }
        _ => command,
    }
}

/// Role name, ServiceAccount and cause: what has to survive when a line is cut.
fn headline(judged: &Judged, who: &Who<'_>) -> String {
    let account = account(who);
    let name = judged.role.name();
    match (judged.verdict, judged.cause) {
        (Verdict::NotTrusted, Some(Cause::RoleNotFound)) => {
            format!(
                "role {name} of ServiceAccount {account} does not exist ({})",
                Cause::RoleNotFound
            )
        }
        (Verdict::NotTrusted, Some(cause @ (Cause::ProviderNotFound | Cause::AudienceNotRegistered))) => {
            format!("role {name} cannot be assumed by ServiceAccount {account} ({cause})")
        }
        (Verdict::NotTrusted, cause) => format!(
            "role {name} does not trust ServiceAccount {account} ({})",
            cause.unwrap_or(Cause::OtherCondition)
        ),
        (Verdict::Undecided, _) => format!("role {name} may not trust ServiceAccount {account}"),
        (Verdict::Unknown, _) => {
            format!("role {name} of ServiceAccount {account} cannot be judged (unknown)")
        }
        (Verdict::Trusted, _) => format!("role {name} trusts ServiceAccount {account}"),
    }
}

fn trust_policy_command(role: &RoleArn, audience: &Audience, who: &Who<'_>) -> Option<String> {
    let mut command = Command::new("rolegate trust-policy")
        .flag("--account")
        .arg(role.account())
        .flag("--issuer")
        .arg(who.issuer.as_str())
        .flag("--namespace")
        .arg(who.namespace)
        .flag("--service-account")
        .arg(who.service_account);
    if role.partition() != "aws" {
        command = command.flag("--partition").arg(role.partition());
    }
    if audience.as_str() != "sts.amazonaws.com" {
        command = command.flag("--audience").arg(audience.as_str());
    }
    command.finish()
}

fn annotate(who: &Who<'_>) -> Option<String> {
    Command::new("kubectl annotate serviceaccount")
        .arg(who.service_account)
        .flag("--namespace")
        .arg(who.namespace)
        .flag("--overwrite")
        .arg(&format!("{}role-arn=arn:aws:iam::ACCOUNT:role/NAME", who.prefix))
        .finish()
}

fn is_annotation(malformed: &MalformedRole, who: &Who<'_>) -> bool {
    malformed.key.starts_with(who.prefix)
}

fn malformed_reason(malformed: &MalformedRole) -> String {
    format!(
        "{}={} is no role ARN: {}",
        text::value(&malformed.key),
        text::quote(&malformed.value),
        malformed.error
    )
}

/// The first warning fits in 120 characters where names allow it; the second carries the reason.
pub(super) fn warnings(settings: GateSettings, finding: &Finding<'_>, who: &Who<'_>) -> Vec<Warning> {
    let account = account(who);
    match finding {
        Finding::NoRole if settings.require_role == RequireRole::Off => Vec::new(),
        Finding::NoRole => vec![Warning::new(&format!(
            "rolegate: no-role: ServiceAccount {account} has no IAM role"
        ))],
        Finding::Malformed(malformed) => vec![Warning::new(&format!(
            "rolegate: {}: {}; the pod gets no identity",
            Cause::MalformedAnnotation,
            malformed_reason(malformed)
        ))],
        Finding::Conflict(conflict) => vec![Warning::new(&format!(
            "rolegate: {}: {}; the pod gets no identity",
            Cause::Conflict,
            conflict.message
        ))],
        Finding::Judged(judged, _) => judged_warnings(judged, who),
    }
}

fn judged_warnings(judged: &Judged, who: &Who<'_>) -> Vec<Warning> {
    let account = account(who);
    let name = judged.role.name();
    match judged.verdict {
        Verdict::Trusted => Vec::new(),
        Verdict::NotTrusted => vec![
            Warning::new(&format!("rolegate: {}", headline(judged, who))),
            Warning::new(&format!("rolegate: {}", judged.reason)),
        ],
        // A Deny for any AWS principal, for one, depends on no key.
        Verdict::Undecided if judged.undecided_keys.is_empty() => vec![Warning::new(&format!(
            "rolegate: role {name} may not trust {account}: {}",
            judged.reason
        ))],
        Verdict::Undecided => vec![
            Warning::new(&format!(
                "rolegate: role {name} may not trust {account}: depends on {}, which only STS knows",
                judged.undecided_keys.join(", ")
            )),
            Warning::new(&format!("rolegate: {}", judged.reason)),
        ],
        Verdict::Unknown => vec![Warning::new(&format!(
            "rolegate: trust of role {name} in {account} is unknown: {}",
            judged.reason
        ))],
    }
}
