//! The decision: identity, verdict and mode in, answer out. The one place where a verdict becomes an action.
//!
//! The default is refusal on evidence, not on doubt: STS has the last word, and what cannot be known is admitted with a
//! warning. Everything here is synchronous and total; the words that a pod's author reads are made here too.

mod words;

use std::fmt;
use std::str::FromStr;

use crate::iam::{Cause, Issuer, RoleArn, Verdict, WebIdentity};
use crate::pod::Warning;
use crate::pod::identity::MalformedRole;
use crate::pod::inject::Conflict;

/// What the flags say about deciding.
#[derive(Clone, Copy, Debug, Default)]
pub struct GateSettings {
    /// `--on-unknown`.
    pub on_unknown: OnUnknown,
    /// `--require-role`.
    pub require_role: RequireRole,
}

/// What happens in `enforce` when a policy could not be read or is malformed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// Inject and warn: an outage of IAM must not stop pods.
    #[default]
    Inject,
    /// Refuse.
    Deny,
}

/// What happens to a pod whose ServiceAccount has no role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequireRole {
    /// Nothing.
    #[default]
    Off,
    /// A warning.
    Warn,
    /// A refusal, in a namespace that enforces.
    Enforce,
}

/// Whose pod is decided on; what the words of an answer name.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The namespace of the pod and of its ServiceAccount.
    pub namespace: &'a str,
    /// The ServiceAccount's name.
    pub service_account: &'a str,
    /// The cluster's issuer.
    pub issuer: &'a Issuer,
    /// Annotation prefix, with its slash.
    pub prefix: &'a str,
    /// What to restart after mending, for pods whose controller backs off for minutes.
    pub restart: Option<Restart<'a>>,
}

/// The workload that `kubectl rollout restart` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart<'a> {
    /// `deployment`, `statefulset` or `daemonset`.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a str,
}

/// What was found out about a pod.
#[derive(Clone, Copy, Debug)]
pub enum Finding<'a> {
    /// Nothing asks for a role.
    NoRole,
    /// What should be a role ARN is none.
    Malformed(&'a MalformedRole),
    /// Something else stands in the pod where the token belongs.
    Conflict(&'a Conflict),
    /// The role's trust was judged for this web identity.
    Judged(&'a Judged, &'a WebIdentity),
}

/// A verdict on one role, with its reasons.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The role.
    pub role: RoleArn,
    /// What is known.
    pub verdict: Verdict,
    /// Why not, when not trusted.
    pub cause: Option<Cause>,
    /// One line: what was wanted and what was got, or why nothing is known. Empty when trusted.
    pub reason: String,
    /// What would mend it.
    pub hint: Option<String>,
    /// The condition keys that an undecided verdict depends on.
    pub undecided_keys: Vec<String>,
}

/// What is done with the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The identity is injected.
    Inject,
    /// The pod is admitted as it came.
    AdmitUntouched,
    /// The pod is refused.
    Deny,
}

/// The answer.
#[derive(Debug)]
pub struct Decision {
    /// What is done.
    pub effect: Effect,
    /// What was known, where trust was judged.
    pub verdict: Option<Verdict>,
    /// Why the pod is not served, where it is not (or would not be under `enforce`).
    pub cause: Option<Cause>,
    /// For the author.
    pub warnings: Vec<Warning>,
    /// What the author reads of a refusal: line 1 stands alone, line 2 tells how to mend it.
    pub refusal: Option<String>,
}

/// Decides. The table of verdicts and modes:
///
/// | finding | `enforce` | `warn` | `audit` |
/// | --- | --- | --- | --- |
/// | trusted | inject | inject | inject |
/// | not trusted | deny | inject, warn | inject |
/// | undecided | inject, warn | inject, warn | inject |
/// | unknown | inject, warn; or deny ([`OnUnknown::Deny`]) | inject, warn | inject |
/// | malformed role ARN, conflict | deny | admit untouched, warn | admit untouched |
#[must_use]
pub fn decide(settings: GateSettings, mode: Mode, finding: &Finding<'_>, who: &Who<'_>) -> Decision {
    let (verdict, cause) = match finding {
        Finding::NoRole => (
            None,
            (settings.require_role != RequireRole::Off).then_some(Cause::NoRole),
        ),
        Finding::Malformed(_) => (None, Some(Cause::MalformedAnnotation)),
        Finding::Conflict(_) => (None, Some(Cause::Conflict)),
        Finding::Judged(judged, _) => (Some(judged.verdict), judged.cause),
    };
    let effect = effect(settings, mode, finding);
    let warns = match effect {
        Effect::Deny => false,
        Effect::Inject | Effect::AdmitUntouched => mode != Mode::Audit,
    };
    Decision {
        effect,
        verdict,
        cause,
        warnings: if warns {
            words::warnings(settings, finding, who)
        } else {
            Vec::new()
        },
        refusal: (effect == Effect::Deny).then(|| words::refusal(finding, who)),
    }
}

fn effect(settings: GateSettings, mode: Mode, finding: &Finding<'_>) -> Effect {
    match (finding, mode) {
        (Finding::NoRole, Mode::Enforce) if settings.require_role == RequireRole::Enforce => Effect::Deny,
        (Finding::Malformed(_) | Finding::Conflict(_), Mode::Enforce) => Effect::Deny,
        (Finding::NoRole | Finding::Malformed(_) | Finding::Conflict(_), _) => Effect::AdmitUntouched,
        (Finding::Judged(judged, _), Mode::Enforce) => match judged.verdict {
            Verdict::NotTrusted => Effect::Deny,
            Verdict::Unknown if settings.on_unknown == OnUnknown::Deny => Effect::Deny,
            Verdict::Trusted | Verdict::Undecided | Verdict::Unknown => Effect::Inject,
        },
        (Finding::Judged(..), Mode::Warn | Mode::Audit) => Effect::Inject,
    }
}

/// What a namespace asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Refuse on evidence.
    Enforce,
    /// Inject and warn.
    Warn,
    /// Inject and only record.
    Audit,
}

impl Mode {
    /// The word of the label, of the path and of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "enforce" => Ok(Self::Enforce),
            "warn" => Ok(Self::Warn),
            "audit" => Ok(Self::Audit),
            _ => Err("expected enforce, warn or audit".to_owned()),
        }
    }
}

/// What was done with a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Identity was (or already is) in the pod.
    Inject,
    /// Admitted untouched: nothing asks for identity.
    None,
    /// Refused.
    Deny,
    /// Admitted untouched by its skip label.
    Skipped,
    /// EKS Pod Identity.
    PodIdentity,
    /// The review could not be answered (4xx, 5xx).
    Error,
}

impl Action {
    /// The word of metrics and audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::None => "none",
            Self::Deny => "deny",
            Self::Skipped => "skipped",
            Self::PodIdentity => "pod-identity",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::{Audience, Subject};
    use crate::pod::identity::MalformedRole;

    fn judged(verdict: Verdict) -> Judged {
        Judged {
            role: RoleArn::parse("arn:aws:iam::111122223333:role/jobs/worker").unwrap(),
            verdict,
            cause: (verdict == Verdict::NotTrusted).then_some(Cause::WrongSubject),
            reason: "statement 1 wants this, the token says that".to_owned(),
            hint: None,
            undecided_keys: vec!["aws:SourceIp".to_owned()],
        }
    }

    fn identity() -> WebIdentity {
        WebIdentity {
            issuer: Issuer::parse("oidc.example.com").unwrap(),
            subject: Subject::service_account("jobs", "worker"),
            audience: Audience::new("sts.amazonaws.com"),
        }
    }

    fn with<T>(finding: Case, then: impl FnOnce(&Finding<'_>, &Who<'_>) -> T) -> T {
        let identity = identity();
        let who = Who {
            namespace: "jobs",
            service_account: "worker",
            issuer: &identity.issuer,
            prefix: "eks.amazonaws.com/",
            restart: None,
        };
        match finding {
            Case::NoRole => then(&Finding::NoRole, &who),
            Case::Malformed => {
                let malformed = MalformedRole {
                    key: "eks.amazonaws.com/role-arn".to_owned(),
                    value: "a\tb".to_owned(),
                    error: RoleArn::parse("a\tb").unwrap_err(),
                };
                then(&Finding::Malformed(&malformed), &who)
            }
            Case::Conflict => {
                let conflict = Conflict {
                    volume: "aws-iam-token".to_owned(),
                    mount_path: None,
                    message: "volume aws-iam-token is a hostPath".to_owned(),
                };
                then(&Finding::Conflict(&conflict), &who)
            }
            Case::Judged(verdict) => then(&Finding::Judged(&judged(verdict), &identity), &who),
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Case {
        NoRole,
        Malformed,
        Conflict,
        Judged(Verdict),
    }

    #[test]
    fn the_table() {
        use Effect::{AdmitUntouched, Deny, Inject};
        let warned = true;
        let (inject, deny) = (
            GateSettings::default(),
            GateSettings {
                on_unknown: OnUnknown::Deny,
                ..GateSettings::default()
            },
        );
        let requiring = |require_role| GateSettings {
            require_role,
            ..GateSettings::default()
        };
        let rows = [
            (
                inject,
                Case::Judged(Verdict::Trusted),
                (Inject, !warned),
                (Inject, !warned),
                Inject,
            ),
            (
                inject,
                Case::Judged(Verdict::NotTrusted),
                (Deny, !warned),
                (Inject, warned),
                Inject,
            ),
            (
                inject,
                Case::Judged(Verdict::Undecided),
                (Inject, warned),
                (Inject, warned),
                Inject,
            ),
            (
                inject,
                Case::Judged(Verdict::Unknown),
                (Inject, warned),
                (Inject, warned),
                Inject,
            ),
            (
                deny,
                Case::Judged(Verdict::Unknown),
                (Deny, !warned),
                (Inject, warned),
                Inject,
            ),
            (
                deny,
                Case::Judged(Verdict::Undecided),
                (Inject, warned),
                (Inject, warned),
                Inject,
            ),
            (
                inject,
                Case::Malformed,
                (Deny, !warned),
                (AdmitUntouched, warned),
                AdmitUntouched,
            ),
            (
                inject,
                Case::Conflict,
                (Deny, !warned),
                (AdmitUntouched, warned),
                AdmitUntouched,
            ),
            (
                inject,
                Case::NoRole,
                (AdmitUntouched, !warned),
                (AdmitUntouched, !warned),
                AdmitUntouched,
            ),
            (
                requiring(RequireRole::Warn),
                Case::NoRole,
                (AdmitUntouched, warned),
                (AdmitUntouched, warned),
                AdmitUntouched,
            ),
            (
                requiring(RequireRole::Enforce),
                Case::NoRole,
                (Deny, !warned),
                (AdmitUntouched, warned),
                AdmitUntouched,
            ),
        ];
        for (settings, case, enforce, warn, audit) in rows {
            for (mode, (effect, warns)) in [
                (Mode::Enforce, enforce),
                (Mode::Warn, warn),
                (Mode::Audit, (audit, false)),
            ] {
                let decision = with(case, |finding, who| decide(settings, mode, finding, who));
                assert_eq!(decision.effect, effect, "{case:?} in {mode}");
                assert_eq!(
                    !decision.warnings.is_empty(),
                    warns,
                    "{case:?} in {mode}: {:?}",
                    decision.warnings
                );
                assert_eq!(decision.refusal.is_some(), effect == Deny, "{case:?} in {mode}");
            }
        }
    }

    #[test]
    fn causes_are_recorded_whatever_the_mode() {
        for (case, cause) in [
            (Case::NoRole, None),
            (Case::Malformed, Some(Cause::MalformedAnnotation)),
            (Case::Conflict, Some(Cause::Conflict)),
            (Case::Judged(Verdict::NotTrusted), Some(Cause::WrongSubject)),
            (Case::Judged(Verdict::Trusted), None),
        ] {
            let decision = with(case, |finding, who| {
                decide(GateSettings::default(), Mode::Audit, finding, who)
            });
            assert_eq!(decision.cause, cause, "{case:?}");
        }
    }

    fn refusal(case: Case, change: impl FnOnce(&mut Who<'_>)) -> String {
        with(case, |finding, who| {
            let mut who = *who;
            change(&mut who);
            words::refusal(finding, &who)
        })
    }

    #[test]
    fn refusals_as_authors_read_them() {
        let restart = Restart {
            kind: "deployment",
            name: "web",
        };
        for (refusal, expected) in [
            (
                refusal(Case::Judged(Verdict::NotTrusted), |_| ()),
                "role worker does not trust ServiceAccount jobs/worker (wrong-subject): statement 1 wants this, the token says \
                 that [role arn:aws:iam::111122223333:role/jobs/worker, subject system:serviceaccount:jobs:worker, audience \
                 sts.amazonaws.com]\n\
                 fix: rolegate trust-policy --account 111122223333 --issuer oidc.example.com --namespace jobs \
                 --service-account worker",
            ),
            (
                refusal(Case::Judged(Verdict::Unknown), |_| ()),
                "role worker of ServiceAccount jobs/worker cannot be judged (unknown): statement 1 wants this, the token says \
                 that [role arn:aws:iam::111122223333:role/jobs/worker, subject system:serviceaccount:jobs:worker, audience \
                 sts.amazonaws.com]\n\
                 fix: make the role readable for rolegate, or serve the namespace with --on-unknown=inject",
            ),
            (
                refusal(Case::Malformed, |_| ()),
                "ServiceAccount jobs/worker names no usable IAM role (malformed-annotation): \
                 eks.amazonaws.com/role-arn=\"a\\tb\" is no role ARN: it holds a blank, a newline or another character that \
                 does not print; remove it\n\
                 fix: kubectl annotate serviceaccount worker --namespace jobs --overwrite \
                 eks.amazonaws.com/role-arn=arn:aws:iam::ACCOUNT:role/NAME",
            ),
            (
                refusal(Case::Conflict, |who| who.restart = Some(restart)),
                "the pod leaves no place for the identity of ServiceAccount jobs/worker (conflict): volume aws-iam-token is a \
                 hostPath\n\
                 fix: rename the volume or move the mount, so that the token can stand there; then: kubectl rollout restart \
                 deployment/web --namespace jobs",
            ),
            (
                refusal(Case::NoRole, |_| ()),
                "ServiceAccount jobs/worker has no IAM role (no-role): this namespace requires one\n\
                 fix: kubectl annotate serviceaccount worker --namespace jobs --overwrite \
                 eks.amazonaws.com/role-arn=arn:aws:iam::ACCOUNT:role/NAME",
            ),
        ] {
            assert_eq!(refusal, expected);
        }
    }

    #[test]
    fn what_stood_in_the_config_map_is_mended_there() {
        let malformed = MalformedRole {
            key: "RoleARN".to_owned(),
            value: "app".to_owned(),
            error: RoleArn::parse("app").unwrap_err(),
        };
        let refusal = with(Case::NoRole, |_, who| {
            words::refusal(&Finding::Malformed(&malformed), who)
        });
        assert_eq!(
            refusal,
            "ServiceAccount jobs/worker names no usable IAM role (malformed-annotation): RoleARN=\"app\" is no role ARN: it \
             is a role's name without the ARN; write arn:aws:iam::ACCOUNT:role/NAME\n\
             fix: set RoleARN to the ARN of an IAM role"
        );
    }

    #[test]
    fn the_command_of_a_refusal_can_be_pasted_into_a_shell() {
        for (audience, option) in [
            ("sts.amazonaws.com", ""),
            (
                "https://a.example/b_c:1@x%2F+=,-",
                " --audience https://a.example/b_c:1@x%2F+=,-",
            ),
            ("a b", " --audience 'a b'"),
            ("$(reboot)", " --audience '$(reboot)'"),
            ("it's", " --audience \"it's\""),
            ("ä", " --audience 'ä'"),
            ("", " --audience ''"),
        ] {
            let mut identity = identity();
            identity.audience = Audience::new(audience);
            let refusal = with(Case::NoRole, |_, who| {
                words::refusal(&Finding::Judged(&judged(Verdict::NotTrusted), &identity), who)
            });
            let command = refusal.lines().nth(1).unwrap();
            assert_eq!(
                command.strip_prefix(
                    "fix: rolegate trust-policy --account 111122223333 --issuer oidc.example.com --namespace jobs \
                     --service-account worker"
                ),
                Some(option),
                "{audience:?}"
            );
        }
    }

    #[test]
    fn modes_and_actions_have_the_words_of_labels_and_metrics() {
        for (mode, word) in [(Mode::Enforce, "enforce"), (Mode::Warn, "warn"), (Mode::Audit, "audit")] {
            assert_eq!((mode.as_str(), mode.to_string().as_str()), (word, word));
            assert_eq!(word.parse(), Ok(mode));
        }
        for text in ["", "Enforce", "enforced", " warn"] {
            assert_eq!(
                text.parse::<Mode>(),
                Err("expected enforce, warn or audit".to_owned()),
                "{text}"
            );
        }
        for (action, word) in [
            (Action::Inject, "inject"),
            (Action::None, "none"),
            (Action::Deny, "deny"),
            (Action::Skipped, "skipped"),
            (Action::PodIdentity, "pod-identity"),
            (Action::Error, "error"),
        ] {
            assert_eq!(action.as_str(), word);
        }
    }

    #[test]
    fn warnings_as_authors_read_them() {
        for (case, expected) in [
            (
                Case::Judged(Verdict::Undecided),
                "rolegate: role worker may not trust jobs/worker: depends on aws:SourceIp, which only STS knows",
            ),
            (
                Case::Judged(Verdict::NotTrusted),
                "rolegate: role worker does not trust ServiceAccount jobs/worker (wrong-subject)",
            ),
        ] {
            let decision = with(case, |finding, who| {
                decide(GateSettings::default(), Mode::Warn, finding, who)
            });
            assert_eq!(decision.warnings[0].as_str(), expected);
            assert!(expected.chars().count() <= 120);
        }
    }
}
