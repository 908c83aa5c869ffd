//! One pod's way: review in, ServiceAccount found, role judged, answer out.
//!
//! Everything is answered from memory. What memory does not know is asked once, within the request's budget, and before
//! any refusal both the ServiceAccount and the policy are read afresh: no pod is refused because of a stale copy.

mod account;
mod assess;
mod case;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use tokio::time::Instant;

use self::account::{Account, Freshness, Unavailable};
use self::case::{Assessment, Case};
use super::review::{self, AdmissionRequest, AdmissionResponse, AuditAnnotations, Operation, ReviewError};
use super::route::PathMode;
use crate::cluster::container_credentials::ContainerCredentials;
use crate::cluster::identity_map::IdentityMap;
use crate::cluster::{ServiceAccounts, Stored};
use crate::decision::{self, Action, Effect, Finding, GateSettings, Mode, Owner, Restart};
use crate::pod::Warning;
use crate::pod::identity::{self, AnnotationRules, Defaults, PodIdentityRequest, Requested, ServiceAccountIdentity};
use crate::pod::inject::{self, PodIdentitySettings, WebIdentitySettings};
use crate::pod::view::PodView;
use crate::roles::RoleCache;
use crate::trust::{Audience, Cause, Issuer, RoleArn, Verdict};

/// The label with which a pod opts out; its value does not matter. The same key as the peer's, whatever the prefix.
const SKIP_LABEL: &str = "eks.amazonaws.com/skip-pod-identity-webhook";

/// The namespace label that sets the mode.
const GATE_LABEL: &str = "rolegate.io/gate";

/// What flags say about admissions.
#[derive(Clone, Debug)]
pub struct AdmissionSettings {
    /// The mode of `/mutate`.
    pub mode: Mode,
    /// How annotations are read.
    pub rules: AnnotationRules,
    /// What an identity is made of where nothing else is said.
    pub defaults: Defaults,
    /// The injection of web identities.
    pub web_identity: WebIdentitySettings,
    /// The injection of EKS Pod Identity.
    pub pod_identity: PodIdentitySettings,
    /// Deciding.
    pub gate: GateSettings,
    /// What the skip label does.
    pub skip_label: SkipLabel,
    /// `--docs-url`.
    pub docs_url: Option<String>,
}

/// `--honor-skip-label`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipLabel {
    /// A labelled pod is admitted untouched.
    Honored,
    /// The label means nothing.
    Ignored,
}

/// What is known of the cluster and of roles.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// The cluster's issuer.
    pub issuer: Issuer,
    /// ServiceAccounts.
    pub accounts: Arc<ServiceAccounts>,
    /// `--identity-config-map`.
    pub identity_map: Option<Arc<IdentityMap>>,
    /// `--container-credentials-config`.
    pub container_credentials: Option<Arc<ContainerCredentials>>,
    /// Trust policies.
    pub cache: Arc<RoleCache>,
}

/// Whether the answer may change the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// `/mutate`.
    Mutating,
    /// `/validate/pods`: the same judgment without a patch.
    Validating,
}

/// What is sent back.
#[derive(Debug)]
pub enum Answer {
    /// 200 with an AdmissionReview.
    Review(Vec<u8>),
    /// 400: the body is no review that belongs here.
    BadRequest(ReviewError),
    /// 503 with `Retry-After: 1`: one line that says why. The API server tries again within its timeout.
    Unavailable(String),
}

/// What happened to one review.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The request's uid.
    pub uid: &'a str,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name; its `generateName` where the API server is yet to make the name. Empty for what is no pod.
    pub pod: &'a str,
    /// The ServiceAccount's name; empty where the object names none.
    pub service_account: &'a str,
    /// The ServiceAccount's uid, where it was asked for.
    pub service_account_uid: Option<&'a Arc<str>>,
    /// The role that decided.
    pub role: Option<&'a RoleArn>,
    /// The audience judged.
    pub audience: Option<&'a Audience>,
    /// What was known.
    pub verdict: Option<Verdict>,
    /// Why not.
    pub cause: Option<Cause>,
    /// The mode that was applied; none for workloads, which are only advised on.
    pub mode: Option<Mode>,
    /// What was done.
    pub action: Action,
    /// How old the policy's copy was.
    pub policy_age: Option<Duration>,
    /// Whether nothing comes of it.
    pub dry_run: bool,
    /// The refusal, the first warning, or why nothing could be said: what deserves a line of the log.
    pub message: Option<&'a str>,
}

/// Told of each review that was answered.
pub trait Recorder {
    /// Once a review, before its answer is sent.
    fn record(&self, record: &Record<'_>);
}

/// What the author of a workload or a ServiceAccount should know.
#[derive(Debug, Default)]
pub(super) struct Advice {
    pub(super) warnings: Vec<Warning>,
    pub(super) role: Option<RoleArn>,
    pub(super) verdict: Option<Verdict>,
    pub(super) cause: Option<Cause>,
}

/// Answers reviews of pods.
#[derive(Debug)]
pub struct Admission {
    settings: AdmissionSettings,
    knowledge: Knowledge,
}

impl Admission {
    /// Over what is known.
    #[must_use]
    pub const fn new(settings: AdmissionSettings, knowledge: Knowledge) -> Self {
        Self { settings, knowledge }
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &AdmissionSettings {
        &self.settings
    }

    /// Answers one review by `deadline`.
    pub async fn review(
        &self,
        body: &[u8],
        asked: PathMode,
        face: Face,
        deadline: Instant,
        recorder: &(impl Recorder + Sync),
    ) -> Answer {
        let request = match review::parse_quickly::<PodView<'_>>(body) {
            Ok(request) => request,
            Err(error) => return Answer::BadRequest(wrong_kind(body).unwrap_or(error)),
        };
        let pod = match pod_of(&request) {
            Ok(pod) => pod,
            Err(error) => return Answer::BadRequest(error),
        };
        let case = Case {
            pod,
            namespace: request.namespace(),
            service_account: pod.service_account_name(),
            mode: asked.or(self.settings.mode),
            asked,
            deadline,
        };
        let assessed = match (request.sub_resource(), request.operation()) {
            ("", Operation::Create) => self.created(&case).await,
            ("ephemeralcontainers", Operation::Update) => Ok(self.ephemeral(&case, request.old_object()).await),
            // A pod that exists already cannot be given a volume, and refusing its deletion would help nobody.
            _ => Ok(Assessment::untouched(Action::None)),
        };
        match assessed {
            Ok(assessment) => self.answer(&request, &case, face, assessment, recorder),
            Err(Unavailable(reason)) => {
                recorder.record(&case.record(&request, &Assessment::untouched(Action::Error), Some(&reason)));
                Answer::Unavailable(reason)
            }
        }
    }

    /// What an author should know of pods to come, at the time when a workload or a ServiceAccount is applied. `identity`:
    /// of a ServiceAccount that is being applied; none: it is looked up. What cannot be looked up is no news.
    pub(super) async fn advise(
        &self,
        namespace: &str,
        service_account: &str,
        pod: &PodView<'_>,
        identity: Option<Option<Arc<ServiceAccountIdentity>>>,
        deadline: Instant,
    ) -> Advice {
        let case = Case {
            pod,
            namespace,
            service_account,
            mode: Mode::Warn,
            asked: PathMode::Configured,
            deadline,
        };
        let left_alone = self.is_left_alone(&case).is_some()
            || self.has_container_credentials(&case)
            || inject::has_pod_identity_only(&self.settings.rules, pod);
        if left_alone {
            return Advice::default();
        }
        let account = match identity {
            Some(identity) => Account {
                uid: None,
                identity,
                freshness: Freshness::Asked,
            },
            None => match self.account(&case).await {
                Ok(account) => account,
                Err(Unavailable(_)) => return Advice::default(),
            },
        };
        let mut assessment = self.assess(&case, &account, Freshness::Kept).await;
        if assessment.decision.verdict == Some(Verdict::NotTrusted) {
            // The policy may have been mended a moment ago, in the same `kubectl apply`.
            assessment = self.assess(&case, &account, Freshness::Asked).await;
        }
        let mut warnings = assessment.warnings;
        warnings.append(&mut assessment.decision.warnings);
        Advice {
            warnings,
            role: assessment.role,
            verdict: assessment.decision.verdict,
            cause: assessment.decision.cause,
        }
    }

    async fn created(&self, case: &Case<'_>) -> Result<Assessment, Unavailable> {
        if let Some(action) = self.is_left_alone(case) {
            return Ok(Assessment::untouched(action));
        }
        if self.has_container_credentials(case) {
            return Ok(self.container_credentials(case));
        }
        if inject::has_pod_identity_only(&self.settings.rules, case.pod) {
            return Ok(Assessment::untouched(Action::PodIdentity));
        }
        let account = self.account(case).await?;
        let assessment = self.assess(case, &account, Freshness::Kept).await;
        if assessment.decision.effect != Effect::Deny {
            return Ok(assessment);
        }
        let account = match account.freshness {
            Freshness::Asked => account,
            Freshness::Kept => self.fetched(case, None, case.deadline).await?,
        };
        Ok(Assessment {
            service_account_uid: account.uid.clone(),
            ..self.assess(case, &account, Freshness::Asked).await
        })
    }

    /// Why a pod is none of our business.
    fn is_left_alone(&self, case: &Case<'_>) -> Option<Action> {
        if case.pod.is_mirror() {
            return Some(Action::None);
        }
        let skips = self.settings.skip_label == SkipLabel::Honored && case.pod.label(SKIP_LABEL).is_some();
        skips.then_some(Action::Skipped)
    }

    fn has_container_credentials(&self, case: &Case<'_>) -> bool {
        self.knowledge
            .container_credentials
            .as_ref()
            .is_some_and(|config| config.contains(case.namespace, case.service_account))
    }

    fn container_credentials(&self, case: &Case<'_>) -> Assessment {
        let (request, warnings) = self.pod_identity_request(case);
        match inject::pod_identity(&self.settings.rules, case.pod, &request, &self.settings.pod_identity) {
            Ok(injection) => Assessment {
                warnings,
                injection: Some(injection),
                ..Assessment::untouched(Action::PodIdentity)
            },
            Err(conflict) => Assessment {
                warnings,
                ..self.decided(case, &Finding::Conflict(&conflict))
            },
        }
    }

    /// The ServiceAccount's annotations count as far as memory holds them: here they set a token's lifetime, no more.
    fn pod_identity_request(&self, case: &Case<'_>) -> (PodIdentityRequest, Vec<Warning>) {
        let stored = match self.knowledge.accounts.stored(case.namespace, case.service_account) {
            Stored::Identity(identity) => Some(identity),
            Stored::Plain | Stored::Missing => None,
        };
        identity::resolve_pod_identity(
            &self.settings.rules,
            stored.as_deref(),
            case.pod,
            &self.settings.defaults,
            fastrand::u32(POD_IDENTITY_EXPIRATION_SECONDS),
        )
    }

    fn decided(&self, case: &Case<'_>, finding: &Finding<'_>) -> Assessment {
        Assessment::of(decision::decide(
            self.settings.gate,
            case.mode,
            finding,
            &self.owner(case),
        ))
    }

    fn owner<'a>(&'a self, case: &Case<'a>) -> Owner<'a> {
        Owner {
            namespace: case.namespace,
            service_account: case.service_account,
            prefix: &self.settings.rules.prefix,
            docs_url: self.settings.docs_url.as_deref(),
            restart: restart(case.pod),
        }
    }

    /// `kubectl debug`: the new containers get what the others have. Nothing here is ever a reason to refuse.
    async fn ephemeral(&self, case: &Case<'_>, old: Option<&PodView<'_>>) -> Assessment {
        if let Some(action) = self.is_left_alone(case) {
            return Assessment::untouched(action);
        }
        let Some(old) = old else {
            return Assessment::untouched(Action::None);
        };
        let (rules, settings) = (&self.settings.rules, &self.settings);
        if self.has_container_credentials(case) {
            let (request, warnings) = self.pod_identity_request(case);
            let injection = inject::ephemeral_pod_identity(rules, old, case.pod, &request, &settings.pod_identity);
            return Assessment {
                injection: Some(injection),
                warnings,
                ..Assessment::untouched(Action::PodIdentity)
            };
        }
        let account = match self.account(case).await {
            Ok(account) => account,
            Err(Unavailable(reason)) => {
                let warning = Warning::new(&format!("rolegate: no identity for the new container: {reason}"));
                return Assessment {
                    warnings: vec![warning],
                    ..Assessment::untouched(Action::None)
                };
            }
        };
        match identity::resolve(rules, account.identity.as_deref(), case.pod, &settings.defaults) {
            (Requested::WebIdentity(request), warnings) => {
                let injection = inject::ephemeral_web_identity(rules, old, case.pod, &request, &settings.web_identity);
                // A pod without the token volume cannot get it any more.
                let action = if injection.patch.is_empty() {
                    Action::None
                } else {
                    Action::Inject
                };
                Assessment {
                    role: Some(request.role),
                    injection: Some(injection),
                    warnings,
                    ..Assessment::untouched(action)
                }
            }
            (Requested::Nothing | Requested::Malformed(_), warnings) => Assessment {
                warnings,
                ..Assessment::untouched(Action::None)
            },
        }
    }

    fn answer(
        &self,
        request: &AdmissionRequest<'_, PodView<'_>>,
        case: &Case<'_>,
        face: Face,
        mut assessment: Assessment,
        recorder: &impl Recorder,
    ) -> Answer {
        let mut warnings = case.mode_warning();
        warnings.append(&mut assessment.warnings);
        warnings.append(&mut assessment.decision.warnings);
        if let Some(injection) = &mut assessment.injection {
            warnings.append(&mut injection.warnings);
        }
        let patch = match face {
            Face::Mutating => assessment.injection.as_ref().map(|injection| &injection.patch),
            Face::Validating => None,
        };
        let response = AdmissionResponse {
            uid: request.uid(),
            refusal: assessment.decision.refusal.as_deref(),
            patch,
            warnings: &warnings,
            audit: AuditAnnotations {
                role: assessment.role.as_ref().map(RoleArn::as_str),
                verdict: assessment.decision.verdict.map(Verdict::as_str),
                cause: assessment.decision.cause.map(Cause::as_str),
                mode: Some(case.mode.as_str()),
            },
        };
        let json = response.to_json();
        let message = assessment
            .decision
            .refusal
            .as_deref()
            .or_else(|| warnings.first().map(Warning::as_str));
        recorder.record(&case.record(request, &assessment, message));
        Answer::Review(json)
    }
}

/// Lifetimes of Pod Identity tokens where nothing else is said, in seconds: spread, so that tokens of pods that were
/// created together do not all expire together.
const POD_IDENTITY_EXPIRATION_SECONDS: std::ops::RangeInclusive<u32> = 79_200..=86_400;

/// What to restart once the role is mended: controllers that back off up to 17 minutes are told to try at once. A Job's
/// controller tries again within a minute by itself.
fn restart<'a>(pod: &'a PodView<'a>) -> Option<Restart<'a>> {
    let (kind, name) = pod.controller()?;
    match kind {
        // A ReplicaSet of a Deployment is named after it and the hash of its template.
        "ReplicaSet" => {
            let hash = pod.label("pod-template-hash")?;
            let name = name.strip_suffix(hash)?.strip_suffix('-')?;
            Some(Restart {
                kind: "deployment",
                name,
            })
        }
        "StatefulSet" => Some(Restart {
            kind: "statefulset",
            name,
        }),
        "DaemonSet" => Some(Restart {
            kind: "daemonset",
            name,
        }),
        _ => None,
    }
}

fn pod_of<'a>(request: &'a AdmissionRequest<'a, PodView<'a>>) -> Result<&'a PodView<'a>, ReviewError> {
    if request.group_and_kind() != ("", "Pod") {
        return Err(review::wrong_object(request.group_and_kind(), "pods"));
    }
    if request.namespace().is_empty() {
        return Err(ReviewError::Missing("request.namespace"));
    }
    if request.operation() == Operation::Other {
        // A deletion has no object, only an oldObject.
        return request
            .object()
            .or(request.old_object())
            .ok_or(ReviewError::Missing("request.object"));
    }
    let pod = request.object().ok_or(ReviewError::Missing("request.object"))?;
    if let Some(kind) = pod.kind().filter(|kind| *kind != "Pod") {
        return Err(review::wrong_object(("", kind), "pods"));
    }
    if pod.has_spec() {
        Ok(pod)
    } else {
        Err(ReviewError::Missing("request.object.spec"))
    }
}

/// An object that does not fit a pod's view may be no pod at all, which tells more than the field that did not fit.
fn wrong_kind(body: &[u8]) -> Option<ReviewError> {
    let request = review::parse::<IgnoredAny>(body).ok()?;
    (request.group_and_kind() != ("", "Pod")).then(|| review::wrong_object(request.group_and_kind(), "pods"))
}
