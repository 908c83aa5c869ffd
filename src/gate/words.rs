//! What a pod's author reads: refusals and warnings.
//!
//! Many job systems and `kubectl get events` show only the first line of a refusal, so that line stands alone: role,
//! ServiceAccount and cause first, then what was wanted and what was got. The second line is a command.

use std::fmt::Write as _;

use super::{Finding, GateSettings, Judged, RequireRole, Who};
use crate::iam::{Audience, Cause, RoleArn, Verdict, WebIdentity, provider_command};
use crate::pod::identity::MalformedRole;
use crate::pod::{Warning, escape_control};

/// A user's text in a message is shortened to this many characters: the message has to stay readable.
const QUOTED_CHARACTERS: usize = 200;

pub(super) fn refusal(finding: &Finding<'_>, who: &Who<'_>) -> String {
    let Who {
        namespace,
        service_account,
        ..
    } = who;
    let mut text = match finding {
        Finding::NoRole => format!(
            "ServiceAccount {namespace}/{service_account} has no IAM role (no-role): this namespace requires one\n\
             fix: {}",
            annotate(who)
        ),
        Finding::Malformed(malformed) => format!(
            "ServiceAccount {namespace}/{service_account} names no usable IAM role ({}): {}\nfix: {}",
            Cause::MalformedAnnotation,
            malformed_reason(malformed),
            if is_annotation(malformed, who) {
                annotate(who)
            } else {
                format!("set {} to the ARN of an IAM role", malformed.key)
            },
        ),
        Finding::Conflict(conflict) => format!(
            "the pod leaves no place for the identity of ServiceAccount {namespace}/{service_account} ({}): {}\n\
             fix: rename the volume or move the mount, so that the token can stand there",
            Cause::Conflict,
            conflict.message,
        ),
        Finding::Judged(judged, identity) => judged_refusal(judged, identity, who),
    };
    if let Some(restart) = who.restart {
        let _ = write!(
            text,
            "; then: kubectl rollout restart {}/{} --namespace {namespace}",
            restart.kind, restart.name
        );
    }
    text
}

fn judged_refusal(judged: &Judged, identity: &WebIdentity, who: &Who<'_>) -> String {
    let mut text = headline(judged, who);
    let _ = write!(text, ": {}", judged.reason);
    if let Some(hint) = &judged.hint {
        let _ = write!(text, "; {hint}");
    }
    let _ = write!(
        text,
        " [role {}, subject {}, audience {}]",
        judged.role,
        escape_control(identity.subject.as_str()),
        escape_control(identity.audience.as_str())
    );
    if judged.verdict == Verdict::Unknown {
        text.push_str("\nfix: make the role readable for rolegate, or serve the namespace with --on-unknown=inject");
        return text;
    }
    let command = trust_policy_command(&judged.role, &identity.audience, who);
    let _ = match judged.cause {
        // A mistyped ARN is mended first; the policy is what a new role would be created with.
        Some(Cause::RoleNotFound) => write!(
            text,
            "\nfix: correct the annotation, or create the role with: {command}"
        ),
        cause => {
            let of_provider = cause.and_then(|cause| provider_command(cause, &judged.role, identity, shell_quoted));
            write!(text, "\nfix: {}", of_provider.unwrap_or(command))
        }
    };
    text
}

/// Role name, ServiceAccount and cause: what has to survive when a line is cut.
fn headline(judged: &Judged, who: &Who<'_>) -> String {
    let Who {
        namespace,
        service_account,
        ..
    } = who;
    let name = judged.role.name();
    match (judged.verdict, judged.cause) {
        (Verdict::NotTrusted, Some(Cause::RoleNotFound)) => {
            format!(
                "role {name} of ServiceAccount {namespace}/{service_account} does not exist ({})",
                Cause::RoleNotFound
            )
        }
        (Verdict::NotTrusted, Some(cause @ (Cause::ProviderNotFound | Cause::AudienceNotRegistered))) => {
            format!("role {name} cannot be assumed by ServiceAccount {namespace}/{service_account} ({cause})")
        }
        (Verdict::NotTrusted, cause) => format!(
            "role {name} does not trust ServiceAccount {namespace}/{service_account} ({})",
            cause.unwrap_or(Cause::OtherCondition)
        ),
        (Verdict::Undecided, _) => format!("role {name} may not trust ServiceAccount {namespace}/{service_account}"),
        (Verdict::Unknown, _) => {
            format!("role {name} of ServiceAccount {namespace}/{service_account} cannot be judged (unknown)")
        }
        (Verdict::Trusted, _) => format!("role {name} trusts ServiceAccount {namespace}/{service_account}"),
    }
}

fn trust_policy_command(role: &RoleArn, audience: &Audience, who: &Who<'_>) -> String {
    let mut command = format!(
        "rolegate trust-policy --account {} --issuer {} --namespace {} --service-account {}",
        role.account(),
        who.issuer.as_str(),
        who.namespace,
        who.service_account
    );
    if role.partition() != "aws" {
        let _ = write!(command, " --partition {}", role.partition());
    }
    if audience.as_str() != "sts.amazonaws.com" {
        let _ = write!(command, " --audience {}", shell_quoted(audience.as_str()));
    }
    command
}

fn annotate(who: &Who<'_>) -> String {
    format!(
        "kubectl annotate serviceaccount {} --namespace {} --overwrite {}role-arn=arn:aws:iam::ACCOUNT:role/NAME",
        who.service_account, who.namespace, who.prefix
    )
}

fn is_annotation(malformed: &MalformedRole, who: &Who<'_>) -> bool {
    malformed.key.starts_with(who.prefix)
}

fn malformed_reason(malformed: &MalformedRole) -> String {
    format!(
        "{}={} is no role ARN: {}",
        malformed.key,
        quoted(&malformed.value),
        malformed.error
    )
}

fn quoted(text: &str) -> String {
    let escaped = escape_control(text).replace('"', "\\\"");
    if escaped.chars().count() <= QUOTED_CHARACTERS {
        return format!("\"{escaped}\"");
    }
    let kept: String = escaped.chars().take(QUOTED_CHARACTERS).collect();
    format!("\"{kept}…\"")
}

/// A word that a POSIX shell reads as written.
fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    let escaped = escape_control(text);
    if !escaped.is_empty() && escaped.chars().all(plain) {
        return escaped.into_owned();
    }
    format!("'{}'", escaped.replace('\'', r"'\''"))
}

/// The first warning fits in 120 characters where names allow it; the second carries the reason.
pub(super) fn warnings(settings: GateSettings, finding: &Finding<'_>, who: &Who<'_>) -> Vec<Warning> {
    let Who {
        namespace,
        service_account,
        ..
    } = who;
    match finding {
        Finding::NoRole if settings.require_role == RequireRole::Off => Vec::new(),
        Finding::NoRole => vec![Warning::new(&format!(
            "rolegate: no-role: ServiceAccount {namespace}/{service_account} has no IAM role"
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
    let Who {
        namespace,
        service_account,
        ..
    } = who;
    let name = judged.role.name();
    match judged.verdict {
        Verdict::Trusted => Vec::new(),
        Verdict::NotTrusted => vec![
            Warning::new(&format!("rolegate: {}", headline(judged, who))),
            Warning::new(&format!("rolegate: {}", judged.reason)),
        ],
        // A Deny for any AWS principal, for one, depends on no key.
        Verdict::Undecided if judged.undecided_keys.is_empty() => vec![Warning::new(&format!(
            "rolegate: role {name} may not trust {namespace}/{service_account}: {}",
            judged.reason
        ))],
        Verdict::Undecided => vec![
            Warning::new(&format!(
                "rolegate: role {name} may not trust {namespace}/{service_account}: depends on {}, which only STS knows",
                judged.undecided_keys.join(", ")
            )),
            Warning::new(&format!("rolegate: {}", judged.reason)),
        ],
        Verdict::Unknown => vec![Warning::new(&format!(
            "rolegate: trust of role {name} in {namespace}/{service_account} is unknown: {}",
            judged.reason
        ))],
    }
}
