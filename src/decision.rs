//! The decision: computes the response from the identity, the verdict and the mode. This is the only place where a verdict becomes an
//! action.
//!
//! The default is refusal on evidence, not on doubt: STS has the last word, and a pod whose verdict cannot be known is admitted with a
//! warning. Everything here is synchronous and total. The text for the pod's author is composed in `messages`.

pub(crate) mod causes;
pub mod messages;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::pod::Warning;
use crate::pod::compute::UnsupportedCompute;
use crate::pod::effective::{NoIdentity, Unverifiable};
use crate::pod::identity::MalformedAnnotation;
use crate::pod::inject::Conflict;
use crate::trust::{Association, Cause, Explanation, Hop, Judgment, RoleArn, Verdict, WebIdentity};

/// The flags that decisions depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecisionSettings {
    /// `--on-unknown`.
    pub on_unknown: OnUnknown,
    /// `--require-role`.
    pub require_role: RequireRole,
}

impl DecisionSettings {
    /// Whether credentials that cannot be evaluated are of interest: they are refused, or a role is required.
    fn checks_own_credentials(self) -> bool {
        self.on_unknown == OnUnknown::Deny || self.require_role != RequireRole::Off
    }
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

/// Whose pod is decided on: what a message names.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The namespace of the pod and of its ServiceAccount.
    pub namespace: &'a str,
    /// The ServiceAccount's name.
    pub service_account: &'a str,
    /// Annotation prefix, with its slash.
    pub prefix: &'a str,
    /// `--docs-url`: where causes are documented, for messages that shall name a page instead of a command.
    pub docs_url: Option<&'a str>,
    /// What to restart once the cause is fixed, for pods whose controller backs off for minutes.
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
    /// No role is requested.
    NoRole {
        /// Whether the ServiceAccount exists, as far as is known.
        account_exists: bool,
        /// The role annotation of the pod itself, which has no effect.
        of_pod: Option<&'a str>,
    },
    /// The role annotation is not a role ARN.
    Malformed(&'a MalformedAnnotation),
    /// Something else is in the pod where the token belongs.
    Conflict(&'a Conflict),
    /// The role's trust was evaluated for this web identity.
    Judged(&'a Judged, &'a WebIdentity),
    /// The trust of a role of the EKS Pod Identity association was evaluated.
    Associated {
        /// The verdict.
        judged: &'a Judged,
        /// The association.
        association: &'a Association,
        /// Which of its roles.
        hop: Hop,
    },
    /// The pod uses EKS Pod Identity, and its ServiceAccount has no association.
    NoAssociation {
        /// The name of the cluster, if it is known.
        cluster: Option<&'a str>,
    },
    /// The ServiceAccount has an EKS Pod Identity association, the pod has no credentials, and this webhook does not inject.
    AssociationNotInjected,
    /// The pod would use EKS Pod Identity where no agent runs.
    UnsupportedCompute(UnsupportedCompute),
    /// The EKS Pod Identity association of the ServiceAccount could not be read.
    AssociationUnreadable {
        /// Why, on one line.
        why: &'a str,
        /// Whether it is known that there is one, or the pod uses it as if there were.
        is_associated: bool,
    },
    /// What a container will use depends on something that is not known at admission.
    Unverifiable {
        /// The container's name.
        container: &'a str,
        /// How many others are like it.
        others: usize,
        /// What is not known.
        why: &'a Unverifiable<'a>,
    },
    /// A container has a credentials server of its own, which cannot be evaluated.
    OwnCredentials {
        /// The container's name.
        container: &'a str,
        /// How many others are like it.
        others: usize,
        /// The variable that names the server.
        variable: &'static str,
    },
    /// A container of a pod with a role has no identity.
    NoIdentity {
        /// The container's name.
        container: &'a str,
        /// How many others are like it.
        others: usize,
        /// What it sets; none when an annotation of the pod leaves it out.
        why: Option<NoIdentity>,
    },
}

impl Finding<'_> {
    /// The same for a container with so many others like it; other findings are not about containers.
    #[must_use]
    pub const fn with_others(mut self, count: usize) -> Self {
        match &mut self {
            Self::Unverifiable { others, .. }
            | Self::OwnCredentials { others, .. }
            | Self::NoIdentity { others, .. } => {
                *others = count;
            }
            Self::NoRole { .. }
            | Self::Malformed(_)
            | Self::Conflict(_)
            | Self::Judged(..)
            | Self::Associated { .. }
            | Self::NoAssociation { .. }
            | Self::AssociationNotInjected
            | Self::UnsupportedCompute(_)
            | Self::AssociationUnreadable { .. } => {}
        }
        self
    }
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
    /// The reasons, as values.
    pub why: Why,
    /// The age of the copy that was evaluated, where it could not be read again before a refusal.
    pub copy_age: Option<Duration>,
}

/// Why a verdict is what it is.
#[derive(Clone, Debug)]
pub enum Why {
    /// The policy trusts.
    Trusted,
    /// The policy, or the OIDC provider, does not (surely) let the web identity in.
    Explained(Box<Explanation>),
    /// No role has the ARN.
    NoSuchRole {
        /// What was found instead, one line: a role of the same name and another path.
        hint: Option<String>,
    },
    /// The policy is not one that IAM's grammar takes: where and how.
    Malformed(String),
    /// The policy could not be read: why, on one line.
    Unreadable(String),
}

impl Judged {
    /// Of an evaluation of the policy or of the provider.
    #[must_use]
    pub fn of(role: RoleArn, judgment: Judgment) -> Self {
        let Judgment { verdict, explanation } = judgment;
        Self {
            role,
            verdict,
            cause: explanation.as_ref().and_then(|why| why.cause),
            why: explanation.map_or(Why::Trusted, Why::Explained),
            copy_age: None,
        }
    }

    /// Of a role that does not exist.
    #[must_use]
    pub fn no_such_role(role: RoleArn, hint: Option<&str>) -> Self {
        Self {
            role,
            verdict: Verdict::NotTrusted,
            cause: Some(Cause::RoleNotFound),
            why: Why::NoSuchRole {
                hint: hint.map(str::to_owned),
            },
            copy_age: None,
        }
    }

    /// Of a role whose policy is malformed ([`Why::Malformed`]) or could not be read ([`Why::Unreadable`]).
    #[must_use]
    pub const fn unknown(role: RoleArn, why: Why) -> Self {
        Self {
            role,
            verdict: Verdict::Unknown,
            cause: None,
            why,
            copy_age: None,
        }
    }
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

/// The response.
#[derive(Debug)]
pub struct Decision {
    /// What is done.
    pub effect: Effect,
    /// The verdict, if trust was evaluated.
    pub verdict: Option<Verdict>,
    /// Why the pod is not served, if it is not (or would not be in mode `enforce`).
    pub cause: Option<Cause>,
    /// For the author.
    pub warnings: Vec<Warning>,
    /// The message of a refusal: line 1, and rows with details ([`messages::Message::text`]).
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
/// | no association, read again | deny | admit as it came, warn | admit as it came |
/// | association not injected, unsupported compute | deny | admit untouched, warn | admit untouched |
/// | association that could not be read | as unknown | as unknown | as unknown |
/// | malformed role ARN, conflict | deny | admit untouched, warn | admit untouched |
/// | own value that is not known | as unknown | as unknown | as unknown |
/// | own credentials server | inject; or deny ([`OnUnknown::Deny`], [`RequireRole::Enforce`]) | inject | inject |
/// | container without an identity | inject; or deny ([`RequireRole::Enforce`]) | inject | inject |
///
/// The last two warn where the settings would refuse them, or require a role.
#[must_use]
pub fn decide(settings: DecisionSettings, mode: Mode, finding: &Finding<'_>, owner: &Owner<'_>) -> Decision {
    let required = (settings.require_role != RequireRole::Off).then_some(Cause::NoRole);
    let (verdict, cause) = match finding {
        Finding::NoRole { .. } | Finding::NoIdentity { .. } => (None, required),
        Finding::Malformed(_) => (None, Some(Cause::MalformedAnnotation)),
        Finding::Conflict(_) => (None, Some(Cause::Conflict)),
        Finding::Judged(judged, _) | Finding::Associated { judged, .. } => (Some(judged.verdict), judged.cause),
        Finding::NoAssociation { .. } => (Some(Verdict::NotTrusted), Some(Cause::NoAssociation)),
        Finding::AssociationNotInjected => (None, Some(Cause::AssociationNotInjected)),
        Finding::UnsupportedCompute(_) => (None, Some(Cause::UnsupportedCompute)),
        Finding::AssociationUnreadable { .. } => (Some(Verdict::Unknown), None),
        Finding::Unverifiable { .. } => (Some(Verdict::Unknown), None),
        Finding::OwnCredentials { .. } => (settings.checks_own_credentials().then_some(Verdict::Unknown), None),
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
            messages::warnings(settings, finding, owner)
        } else {
            Vec::new()
        },
        refusal: (effect == Effect::Deny).then(|| messages::refusal(finding, owner).text()),
    }
}

fn effect(settings: DecisionSettings, mode: Mode, finding: &Finding<'_>) -> Effect {
    let requires = settings.require_role == RequireRole::Enforce;
    let denies_unknown = settings.on_unknown == OnUnknown::Deny;
    let refuses = mode == Mode::Enforce
        && match finding {
            Finding::NoRole { .. } | Finding::NoIdentity { .. } => requires,
            Finding::Malformed(_)
            | Finding::Conflict(_)
            | Finding::NoAssociation { .. }
            | Finding::AssociationNotInjected
            | Finding::UnsupportedCompute(_) => true,
            Finding::Judged(judged, _) | Finding::Associated { judged, .. } => match judged.verdict {
                Verdict::NotTrusted => true,
                Verdict::Unknown => denies_unknown,
                Verdict::Trusted | Verdict::Undecided => false,
            },
            Finding::Unverifiable { .. } | Finding::AssociationUnreadable { .. } => denies_unknown,
            Finding::OwnCredentials { .. } => denies_unknown || requires,
        };
    match finding {
        _ if refuses => Effect::Deny,
        Finding::NoRole { .. }
        | Finding::Malformed(_)
        | Finding::Conflict(_)
        | Finding::AssociationNotInjected
        | Finding::UnsupportedCompute(_)
        | Finding::AssociationUnreadable {
            is_associated: false, ..
        } => Effect::AdmitUntouched,
        Finding::Judged(..)
        | Finding::Associated { .. }
        | Finding::NoAssociation { .. }
        | Finding::AssociationUnreadable { .. }
        | Finding::Unverifiable { .. }
        | Finding::OwnCredentials { .. }
        | Finding::NoIdentity { .. } => Effect::Inject,
    }
}

/// The mode of a namespace.
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
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Warn, Self::Audit];

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
    /// Admitted unchanged: no identity is requested.
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
    use crate::pod::identity::MalformedAnnotation;
    use crate::trust::{Audience, Issuer, Subject};

    fn judged(verdict: Verdict) -> Judged {
        let role = RoleArn::parse("arn:aws:iam::111122223333:role/jobs/worker").unwrap();
        let (condition, cause) = match verdict {
            Verdict::Unknown => return Judged::unknown(role, Why::Unreadable("no answer".to_owned())),
            Verdict::Trusted => ("{}", None),
            Verdict::Undecided => (r#"{"StringEquals": {"aws:SourceIp": "192.0.2.1"}}"#, None),
            Verdict::NotTrusted => (
                r#"{"StringEquals": {"oidc.example.com:sub": "system:serviceaccount:prod:worker"}}"#,
                Some(Cause::WrongSubject),
            ),
        };
        let policy = format!(
            r#"{{"Statement": {{"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {condition},
                "Principal": {{"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.example.com"}}}}}}"#
        );
        let policy = crate::trust::Policy::parse(&policy).unwrap();
        let judgment = crate::trust::judge(&policy, &role, &identity(), &crate::trust::Context::default());
        let judged = Judged::of(role, judgment);
        assert_eq!((judged.verdict, judged.cause), (verdict, cause));
        judged
    }

    fn identity() -> WebIdentity {
        WebIdentity {
            issuer: Issuer::parse("oidc.example.com").unwrap(),
            subject: Subject::service_account("jobs", "worker"),
            audience: Audience::new("sts.amazonaws.com"),
        }
    }

    fn with<T>(finding: Case, then: impl FnOnce(&Finding<'_>, &Owner<'_>) -> T) -> T {
        let identity = identity();
        let owner = Owner {
            namespace: "jobs",
            service_account: "worker",
            prefix: "eks.amazonaws.com/",
            docs_url: None,
            restart: None,
        };
        match finding {
            Case::NoRole => {
                let finding = Finding::NoRole {
                    account_exists: true,
                    of_pod: None,
                };
                then(&finding, &owner)
            }
            Case::Malformed => {
                let malformed = MalformedAnnotation {
                    key: "eks.amazonaws.com/role-arn".to_owned(),
                    value: "a\tb".to_owned(),
                    error: RoleArn::parse("a\tb").unwrap_err().into(),
                };
                then(&Finding::Malformed(&malformed), &owner)
            }
            Case::Conflict => {
                let conflict = Conflict {
                    volume: "aws-iam-token".to_owned(),
                    mount_path: None,
                    message: "volume aws-iam-token is a hostPath".to_owned(),
                    fix: "rename the volume",
                };
                then(&Finding::Conflict(&conflict), &owner)
            }
            Case::Judged(verdict) => then(&Finding::Judged(&judged(verdict), &identity), &owner),
            Case::Unverifiable => {
                let why = &Unverifiable::Value("AWS_ROLE_ARN");
                let finding = Finding::Unverifiable {
                    container: "main",
                    others: 0,
                    why,
                };
                then(&finding, &owner)
            }
            Case::OwnCredentials => {
                let finding = Finding::OwnCredentials {
                    container: "main",
                    others: 0,
                    variable: "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                };
                then(&finding, &owner)
            }
            Case::NoIdentity => {
                let finding = Finding::NoIdentity {
                    container: "main",
                    others: 0,
                    why: None,
                };
                then(&finding, &owner)
            }
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Case {
        NoRole,
        Malformed,
        Conflict,
        Unverifiable,
        OwnCredentials,
        NoIdentity,
        Judged(Verdict),
    }

    #[test]
    fn a_refusal_that_uses_a_copy_states_its_age() {
        let role = RoleArn::parse("arn:aws:iam::111122223333:role/gone").unwrap();
        for judged in [judged(Verdict::NotTrusted), Judged::no_such_role(role, None)] {
            let text = |judged: &Judged| {
                let message = messages::about_judged(judged, &identity(), "jobs", "worker");
                message.text()
            };
            assert!(!text(&judged).contains("as read"), "{}", text(&judged));
            let judged = Judged {
                copy_age: Some(Duration::from_millis(12_900)),
                ..judged
            };
            let text = text(&judged);
            let row = text.lines().find(|line| line.starts_with("  role")).unwrap();
            assert!(row.ends_with(", as read 12 s ago"), "{text}");
        }
    }

    #[test]
    fn the_table() {
        use Effect::{AdmitUntouched, Deny, Inject};
        let warned = true;
        let (inject, deny) = (
            DecisionSettings::default(),
            DecisionSettings {
                on_unknown: OnUnknown::Deny,
                ..DecisionSettings::default()
            },
        );
        let requiring = |require_role| DecisionSettings {
            require_role,
            ..DecisionSettings::default()
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
        let silent = (Inject, !warned);
        let spoken = (Inject, warned);
        let refused = (Deny, !warned);
        let of_containers = [
            (inject, Case::Unverifiable, spoken, spoken, Inject),
            (deny, Case::Unverifiable, refused, spoken, Inject),
            (inject, Case::OwnCredentials, silent, silent, Inject),
            (deny, Case::OwnCredentials, refused, spoken, Inject),
            (
                requiring(RequireRole::Warn),
                Case::OwnCredentials,
                spoken,
                spoken,
                Inject,
            ),
            (
                requiring(RequireRole::Enforce),
                Case::OwnCredentials,
                refused,
                spoken,
                Inject,
            ),
            (inject, Case::NoIdentity, silent, silent, Inject),
            (deny, Case::NoIdentity, silent, silent, Inject),
            (requiring(RequireRole::Warn), Case::NoIdentity, spoken, spoken, Inject),
            (
                requiring(RequireRole::Enforce),
                Case::NoIdentity,
                refused,
                spoken,
                Inject,
            ),
        ];
        for (settings, case, enforce, warn, audit) in rows.into_iter().chain(of_containers) {
            for (mode, (effect, warns)) in [
                (Mode::Enforce, enforce),
                (Mode::Warn, warn),
                (Mode::Audit, (audit, false)),
            ] {
                let decision = with(case, |finding, owner| decide(settings, mode, finding, owner));
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
            let decision = with(case, |finding, owner| {
                decide(DecisionSettings::default(), Mode::Audit, finding, owner)
            });
            assert_eq!(decision.cause, cause, "{case:?}");
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
}
