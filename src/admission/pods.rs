//! Reviews of pods: looks up the ServiceAccount, evaluates the role, and responds with an AdmissionReview.
//!
//! Reviews are decided from memory. What is not in memory is read once, before the request's deadline. Before a refusal, both the
//! ServiceAccount and the policy are read again: no pod is refused because of a stale copy.

mod associations;
mod evaluate;
mod pod_request;
mod preview;
mod require_role;
mod role_evaluation;
mod service_account;
mod used_identities;

use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use tokio::time::Instant;

use self::associations::PodIdentityUse;
use self::pod_request::{Outcome, PodRequest};
pub(crate) use self::preview::Preview;
use self::service_account::{Account, Freshness, Unavailable};
use super::review::{self, AdmissionRequest, AdmissionResponse, AuditAnnotations, Operation, ReviewError};
use crate::admission::review_kind::PathMode;
use crate::associations::{Asker, Associations};
use crate::decision::{self, Action, DecisionSettings, Effect, Finding, Mode, Owner, RequireRole, Restart};
use crate::kubernetes::container_credentials::ContainerCredentials;
use crate::kubernetes::identity_map::IdentityMap;
use crate::kubernetes::namespaces::{GateLabel, Namespaces};
use crate::kubernetes::service_accounts::{ServiceAccounts, Stored};
use crate::pod::Warning;
use crate::pod::concerns::Concerns;
use crate::pod::effective::{EffectiveIdentities, Identity};
use crate::pod::identity::{self, AnnotationRules, Defaults, PodIdentityRequest, Requested, ServiceAccountIdentity};
use crate::pod::inject;
use crate::pod::misplaced;
use crate::pod::settings::{PodIdentitySettings, WebIdentitySettings};
use crate::pod::view::PodView;
use crate::roles::RoleCache;
use crate::trust::{Audience, Cause, Issuer, RoleArn, Verdict};

/// The label with which a pod opts out; its value does not matter. The same key as the peer's, whatever the prefix.
const SKIP_LABEL: &str = "eks.amazonaws.com/skip-pod-identity-webhook";

/// What flags say about admissions.
#[derive(Clone, Debug)]
pub struct AdmissionSettings {
    /// The mode of `/mutate`.
    pub mode: Mode,
    /// How annotations are read.
    pub rules: AnnotationRules,
    /// Defaults of an identity, where no annotation sets a value.
    pub defaults: Defaults,
    /// The injection of web identities.
    pub web_identity: WebIdentitySettings,
    /// The injection of EKS Pod Identity.
    pub pod_identity: PodIdentitySettings,
    /// How findings are decided.
    pub decision: DecisionSettings,
    /// What the skip label does.
    pub skip_label: SkipLabel,
    /// `--docs-url`.
    pub docs_url: Option<String>,
}

/// `--honor-skip-label`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipLabel {
    /// A labeled pod is admitted unchanged.
    Honored,
    /// The label has no effect.
    Ignored,
}

/// What is known of the cluster and of roles.
#[derive(Clone, Debug)]
pub struct ClusterState {
    /// The cluster's issuer.
    pub issuer: Issuer,
    /// ServiceAccounts.
    pub accounts: Arc<ServiceAccounts>,
    /// Labels of namespaces; none without a cluster.
    pub namespaces: Option<Arc<Namespaces>>,
    /// `--identity-config-map`.
    pub identity_map: Option<Arc<IdentityMap>>,
    /// `--container-credentials-config`.
    pub container_credentials: Option<Arc<ContainerCredentials>>,
    /// EKS Pod Identity associations; none without `--association-source`.
    pub associations: Option<Arc<Associations>>,
    /// Trust policies.
    pub cache: Arc<RoleCache>,
}

/// Whether the response may change the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/mutate`.
    Mutating,
    /// `/validate/pods`: the same evaluation without a patch.
    Validating,
}

/// What is sent back.
#[derive(Debug)]
pub enum Answer {
    /// 200 with an AdmissionReview.
    Review(Vec<u8>),
    /// 400: the body is not a review that this path serves.
    BadRequest(ReviewError),
    /// 503 with `Retry-After: 1`, and the reason in one line. The API server retries within its timeout.
    Unavailable(String),
}

/// What happened to one review.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The request's uid.
    pub uid: &'a str,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name, or its `generateName` where the API server has not generated the name yet. Empty for other objects.
    pub pod: &'a str,
    /// Kind and name of an object other than a pod.
    pub object: Option<(&'a str, &'a str)>,
    /// The ServiceAccount's name; empty where the object names none.
    pub service_account: &'a str,
    /// The ServiceAccount's uid, where it was read from the API server.
    pub service_account_uid: Option<&'a Arc<str>>,
    /// The role that decided.
    pub role: Option<&'a RoleArn>,
    /// The audience that was evaluated.
    pub audience: Option<&'a Audience>,
    /// The verdict.
    pub verdict: Option<Verdict>,
    /// The cause of a verdict other than trusted.
    pub cause: Option<Cause>,
    /// The mode that was applied; none for workloads, which are only advised on.
    pub mode: Option<Mode>,
    /// What rolegate did.
    pub action: Action,
    /// The age of the copy of the policy.
    pub policy_age: Option<Duration>,
    /// Whether the request is a dry run.
    pub dry_run: bool,
    /// The containers of which at least one AWS SDK does not, or might not, use the identity.
    pub not_used: &'a [String],
    /// What is logged: the refusal, the first warning, or the reason why the review could not be answered.
    pub message: Option<&'a str>,
}

/// Records each review that was answered.
pub trait Recorder {
    /// Called once per review, before its response is sent.
    fn record(&self, record: &Record<'_>);
}

/// What the author of a workload or a ServiceAccount should know.
#[derive(Debug, Default)]
pub(super) struct Advice {
    pub(super) warnings: Vec<Warning>,
    pub(super) role: Option<RoleArn>,
    pub(super) verdict: Option<Verdict>,
    pub(super) cause: Option<Cause>,
    pub(super) not_used: Vec<String>,
}

/// Handles reviews of pods.
#[derive(Debug)]
pub struct Admission {
    settings: AdmissionSettings,
    state: ClusterState,
}

impl Admission {
    /// Answers with this state of the cluster.
    #[must_use]
    pub const fn new(settings: AdmissionSettings, state: ClusterState) -> Self {
        Self { settings, state }
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &AdmissionSettings {
        &self.settings
    }

    /// Handles one review by `deadline`.
    pub async fn review(
        &self,
        body: &[u8],
        asked: PathMode,
        endpoint: Endpoint,
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
        let mode = asked.or(self.settings.mode);
        let identities = match (request.sub_resource(), request.old_object()) {
            ("ephemeralcontainers", Some(old)) => self.ephemeral_identities(old, pod),
            _ => self.identities(pod),
        };
        let mut pod_request = PodRequest {
            pod,
            identities,
            namespace: request.namespace(),
            service_account: pod.service_account_name(),
            mode,
            decision_mode: match request.sub_resource() {
                "ephemeralcontainers" => without_refusal(mode),
                _ => mode,
            },
            asked,
            endpoint,
            deadline,
            require_role: None,
        };
        let evaluated = match (request.sub_resource(), request.operation()) {
            ("", Operation::Create) => self.created(&mut pod_request).await,
            ("ephemeralcontainers", Operation::Update) => {
                pod_request.require_role = self.require_role_label(&pod_request).await;
                Ok(self.ephemeral(&pod_request, request.old_object()).await)
            }
            // A volume cannot be added to an existing pod, and a deletion must not be refused.
            _ => Ok(Outcome::untouched(Action::None)),
        };
        match evaluated {
            Ok(outcome) => self.answer(&request, &pod_request, outcome, recorder),
            Err(Unavailable(reason)) => {
                recorder.record(&pod_request.record(&request, &Outcome::untouched(Action::Error), Some(&reason)));
                Answer::Unavailable(reason)
            }
        }
    }

    /// What the author of a workload or a ServiceAccount should know about its future pods. `identity` is that of a ServiceAccount that
    /// is being applied; without it, the ServiceAccount is looked up, and a failed lookup gives no warning.
    pub(super) async fn advise(
        &self,
        namespace: &str,
        service_account: &str,
        pod: &PodView<'_>,
        identity: Option<Option<Arc<ServiceAccountIdentity>>>,
        deadline: Instant,
    ) -> Advice {
        let asked = self.mode_of_advice(namespace, deadline).await;
        let mode = without_refusal(asked.or(self.settings.mode));
        let mut pod_request = PodRequest {
            pod,
            identities: self.identities(pod),
            namespace,
            service_account,
            mode,
            decision_mode: mode,
            asked,
            // A template has no credentials yet; another webhook may inject them.
            endpoint: Endpoint::Mutating,
            deadline,
            require_role: None,
        };
        if self.exemption(&pod_request).is_some() {
            return Advice::default();
        }
        if self.has_container_credentials(&pod_request) {
            let outcome = self.container_credentials(&pod_request);
            return self.advice(&pod_request, outcome);
        }
        pod_request.require_role = self.require_role_label(&pod_request).await;
        match self.pod_identity_use(&pod_request, Asker::Advice).await {
            PodIdentityUse::Used => match self.associated(&pod_request).await {
                Ok(Some(outcome)) => return self.advice(&pod_request, outcome),
                Ok(None) => {}
                Err(Unavailable(_)) => return Advice::default(),
            },
            PodIdentityUse::None | PodIdentityUse::Unknown(_) => {}
        }
        if self.is_pod_identity(&pod_request) {
            let outcome = self.pod_identity(&pod_request);
            return self.advice(&pod_request, outcome);
        }
        let account = match identity {
            Some(identity) => Account {
                uid: None,
                exists: true,
                identity,
                freshness: Freshness::Fresh,
            },
            None => match self.account(&pod_request).await {
                Ok(account) => account,
                Err(Unavailable(_)) => return Advice::default(),
            },
        };
        let mut outcome = self.evaluate(&pod_request, &account, Freshness::Cached).await;
        if outcome.decision.verdict == Some(Verdict::NotTrusted) {
            // The policy may have been fixed a moment ago, in the same `kubectl apply`.
            outcome = self.evaluate(&pod_request, &account, Freshness::Fresh).await;
        }
        self.add_unused_association(&pod_request, &account, &mut outcome);
        self.advice(&pod_request, outcome)
    }

    /// The warnings about an outcome for the author of a workload.
    fn advice(&self, pod_request: &PodRequest<'_>, mut outcome: Outcome) -> Advice {
        self.add_ignored_annotations(pod_request, &mut outcome);
        let mut warnings = pod_request.label_warnings(self.state.namespaces.as_deref());
        warnings.append(&mut outcome.take_warnings());
        Advice {
            // In this mode, authors are to notice nothing.
            warnings: if pod_request.mode == Mode::Audit {
                Vec::new()
            } else {
                warnings
            },
            role: outcome.role,
            verdict: outcome.decision.verdict,
            cause: outcome.decision.cause,
            not_used: outcome.not_used,
        }
    }

    /// Reviews of workloads arrive without a mode: the label of the namespace has it, or `--mode`. Nothing is refused.
    async fn mode_of_advice(&self, namespace: &str, deadline: Instant) -> PathMode {
        let label = match &self.state.namespaces {
            Some(namespaces) => namespaces.gate(namespace, deadline).await,
            None => None,
        };
        match label {
            Some(GateLabel::Mode(mode)) => PathMode::Named(mode),
            Some(GateLabel::Misspelled) => PathMode::Misspelled,
            None => PathMode::Configured,
        }
    }

    async fn created(&self, pod_request: &mut PodRequest<'_>) -> Result<Outcome, Unavailable> {
        if let Some(action) = self.exemption(pod_request) {
            return Ok(Outcome::untouched(action));
        }
        let mut outcome = self.created_without_exemption(pod_request).await?;
        self.add_ignored_annotations(pod_request, &mut outcome);
        Ok(outcome)
    }

    async fn created_without_exemption(&self, pod_request: &mut PodRequest<'_>) -> Result<Outcome, Unavailable> {
        if self.has_container_credentials(pod_request) {
            return Ok(self.container_credentials(pod_request));
        }
        pod_request.require_role = self.require_role_label(pod_request).await;
        let outcome = self.judged(pod_request).await?;
        if !self.only_the_label_refuses(pod_request, &outcome) {
            return Ok(outcome);
        }
        let label = self.fresh_require_role_label(pod_request).await?;
        if label == pod_request.require_role {
            return Ok(outcome);
        }
        pod_request.require_role = label;
        self.judged(pod_request).await
    }

    /// A pod that is neither exempt nor configured for EKS Pod Identity.
    async fn judged(&self, pod_request: &PodRequest<'_>) -> Result<Outcome, Unavailable> {
        let pod_identity_use = self.pod_identity_use(pod_request, Asker::Pod).await;
        if matches!(pod_identity_use, PodIdentityUse::Used)
            && let Some(outcome) = self.associated(pod_request).await?
        {
            return Ok(outcome);
        }
        if self.is_pod_identity(pod_request) {
            return Ok(self.pod_identity(pod_request));
        }
        let account = self.account(pod_request).await?;
        if let PodIdentityUse::Unknown(why) = &pod_identity_use
            && !account.requests_role()
        {
            return Ok(self.perhaps_associated(pod_request, why));
        }
        self.judged_account(pod_request, &account).await
    }

    /// A pod whose identity, if any, is that of an annotation.
    async fn judged_account(&self, pod_request: &PodRequest<'_>, account: &Account) -> Result<Outcome, Unavailable> {
        let mut outcome = self.evaluate(pod_request, account, Freshness::Cached).await;
        if outcome.decision.effect != Effect::Deny {
            self.add_unused_association(pod_request, account, &mut outcome);
            return Ok(outcome);
        }
        let fetched;
        let account = match account.freshness {
            Freshness::Fresh => account,
            Freshness::Cached => {
                fetched = self.fetched(pod_request, None, pod_request.deadline).await?;
                &fetched
            }
        };
        let mut outcome = Outcome {
            service_account_uid: account.uid.clone(),
            ..self.evaluate(pod_request, account, Freshness::Fresh).await
        };
        self.add_unused_association(pod_request, account, &mut outcome);
        Ok(outcome)
    }

    /// The action for a pod that is exempt: a mirror pod, or one with the skip label.
    fn exemption(&self, pod_request: &PodRequest<'_>) -> Option<Action> {
        if pod_request.pod.is_mirror() {
            return Some(Action::None);
        }
        let skips = self.settings.skip_label == SkipLabel::Honored && pod_request.pod.label(SKIP_LABEL).is_some();
        skips.then_some(Action::Skipped)
    }

    /// Warns about annotations of the pod that have no effect.
    fn add_ignored_annotations(&self, pod_request: &PodRequest<'_>, outcome: &mut Outcome) {
        if pod_request.mode == Mode::Audit {
            return;
        }
        let (rules, pod) = (&self.settings.rules, pod_request.pod);
        // A refusal for want of a role says so itself.
        let is_reported = outcome.decision.effect == Effect::Deny && outcome.decision.cause == Some(Cause::NoRole);
        if !is_reported && let Some(key) = misplaced::role_annotation(rules, pod, outcome.role.as_ref()) {
            let warning = Warning::new(&misplaced::belongs_on_service_account(&key));
            outcome.warnings.push(warning);
        }
        if outcome.injection.is_some() {
            outcome.warnings.extend(misplaced::ignored_settings(rules, pod));
        }
    }

    /// A pod that is EKS's.
    fn pod_identity(&self, pod_request: &PodRequest<'_>) -> Outcome {
        let mut outcome = Outcome::untouched(Action::PodIdentity);
        outcome.add_concerns(Concerns::of(&pod_request.identities, None, &self.settings.web_identity));
        outcome
    }

    fn identities<'p>(&self, pod: &'p PodView<'p>) -> EffectiveIdentities<'p> {
        let settings = &self.settings;
        EffectiveIdentities::of_pod(&settings.rules, pod, &settings.web_identity, &settings.pod_identity)
    }

    fn ephemeral_identities<'p>(&self, old: &PodView<'_>, new: &'p PodView<'p>) -> EffectiveIdentities<'p> {
        let settings = &self.settings;
        EffectiveIdentities::of_new_ephemeral(
            &settings.rules,
            old,
            new,
            &settings.web_identity,
            &settings.pod_identity,
        )
    }

    /// Whether the pod is EKS's: each container uses EKS Pod Identity. Where a role is required, one that is left out needs one, too.
    fn is_pod_identity(&self, pod_request: &PodRequest<'_>) -> bool {
        let requires_roles = self.decision_settings(pod_request).require_role != RequireRole::Off;
        let lacks_identity = || {
            let mut containers = pod_request.identities.containers();
            containers.any(|container| {
                *container.identity() == Identity::Skipped || container.missing_agent_token().is_some()
            })
        };
        pod_request.identities.are_all_pod_identity() && !(requires_roles && lacks_identity())
    }

    fn has_container_credentials(&self, pod_request: &PodRequest<'_>) -> bool {
        self.state
            .container_credentials
            .as_ref()
            .is_some_and(|config| config.contains(pod_request.namespace, pod_request.service_account))
    }

    fn container_credentials(&self, pod_request: &PodRequest<'_>) -> Outcome {
        let (request, warnings) = self.pod_identity_request(pod_request);
        match inject::pod_identity(
            &self.settings.rules,
            pod_request.pod,
            &request,
            &self.settings.pod_identity,
        ) {
            Ok(injection) => Outcome {
                warnings,
                injection: Some(injection),
                ..Outcome::untouched(Action::PodIdentity)
            },
            Err(conflict) => Outcome {
                warnings,
                ..self.decided(pod_request, &Finding::Conflict(&conflict))
            },
        }
    }

    /// Only annotations in memory are used, since they set no more than the token's lifetime here.
    fn pod_identity_request(&self, pod_request: &PodRequest<'_>) -> (PodIdentityRequest, Vec<Warning>) {
        let stored = match self
            .state
            .accounts
            .stored(pod_request.namespace, pod_request.service_account)
        {
            Stored::Identity(identity) => Some(identity),
            Stored::Plain | Stored::Missing => None,
        };
        identity::resolve_pod_identity(
            &self.settings.rules,
            stored.as_deref(),
            pod_request.pod,
            &self.settings.defaults,
            fastrand::u32(POD_IDENTITY_EXPIRATION_SECONDS),
        )
    }

    fn decided(&self, pod_request: &PodRequest<'_>, finding: &Finding<'_>) -> Outcome {
        self.decided_in(pod_request.decision_mode, pod_request, finding)
    }

    /// The same for something that is not certain: it is reported, but nothing is refused for it.
    fn decided_without_refusal(&self, pod_request: &PodRequest<'_>, finding: &Finding<'_>) -> Outcome {
        self.decided_in(without_refusal(pod_request.decision_mode), pod_request, finding)
    }

    fn decided_in(&self, mode: Mode, pod_request: &PodRequest<'_>, finding: &Finding<'_>) -> Outcome {
        let settings = self.decision_settings(pod_request);
        Outcome::of(decision::decide(settings, mode, finding, &self.owner(pod_request)))
    }

    fn owner<'a>(&'a self, pod_request: &PodRequest<'a>) -> Owner<'a> {
        Owner {
            namespace: pod_request.namespace,
            service_account: pod_request.service_account,
            prefix: &self.settings.rules.prefix,
            docs_url: self.settings.docs_url.as_deref(),
            restart: restart(pod_request.pod),
        }
    }

    /// `kubectl debug`: the new containers get what the others have. An ephemeral container is never refused.
    async fn ephemeral(&self, pod_request: &PodRequest<'_>, old: Option<&PodView<'_>>) -> Outcome {
        if let Some(action) = self.exemption(pod_request) {
            return Outcome::untouched(action);
        }
        let Some(old) = old.filter(|_| pod_request.identities.containers().next().is_some()) else {
            return Outcome::untouched(Action::None);
        };
        let (rules, settings) = (&self.settings.rules, &self.settings);
        if self.has_container_credentials(pod_request) {
            let (request, warnings) = self.pod_identity_request(pod_request);
            let injection =
                inject::ephemeral_pod_identity(rules, old, pod_request.pod, &request, &settings.pod_identity);
            return Outcome {
                injection: Some(injection),
                warnings,
                ..Outcome::untouched(Action::PodIdentity)
            };
        }
        if let Some(outcome) = self.ephemeral_pod_identity(pod_request).await {
            return outcome;
        }
        let account = match self.account(pod_request).await {
            Ok(account) => account,
            Err(Unavailable(reason)) => {
                let warning = Warning::new(&format!("rolegate: no identity for the new container: {reason}"));
                return Outcome {
                    warnings: vec![warning],
                    ..Outcome::untouched(Action::None)
                };
            }
        };
        match identity::resolve(rules, account.identity.as_deref(), pod_request.pod, &settings.defaults) {
            // The token volume cannot be added to an existing pod.
            (Requested::WebIdentity(request), warnings) if pod_request.pod.token_audience().is_none() => Outcome {
                role: Some(request.role),
                warnings,
                ..Outcome::untouched(Action::None)
            },
            (Requested::WebIdentity(request), warnings) => {
                let injection = inject::ephemeral_web_identity(
                    rules,
                    pod_request.pod,
                    &pod_request.identities,
                    &request,
                    &settings.web_identity,
                );
                let (mut outcome, _) = self.evaluate_containers(pod_request, &request, Freshness::Cached).await;
                outcome.action = if injection.patch.is_empty() {
                    Action::None
                } else {
                    Action::Inject
                };
                outcome.injection = Some(injection);
                outcome.warnings.splice(0..0, warnings);
                let concerns = Concerns::of(&pod_request.identities, Some(&request.role), &settings.web_identity);
                outcome.add_concerns(concerns);
                outcome.role.get_or_insert(request.role);
                outcome
            }
            (Requested::Nothing | Requested::Malformed(_), warnings) => Outcome {
                warnings,
                ..Outcome::untouched(Action::None)
            },
        }
    }

    fn answer(
        &self,
        request: &AdmissionRequest<'_, PodView<'_>>,
        pod_request: &PodRequest<'_>,
        mut outcome: Outcome,
        recorder: &impl Recorder,
    ) -> Answer {
        let mut warnings = pod_request.label_warnings(self.state.namespaces.as_deref());
        warnings.append(&mut outcome.take_warnings());
        let patch = match pod_request.endpoint {
            Endpoint::Mutating => outcome.injection.as_ref().map(|injection| &injection.patch),
            Endpoint::Validating => None,
        };
        let response = AdmissionResponse {
            uid: request.uid(),
            refusal: outcome.decision.refusal.as_deref(),
            patch,
            // In this mode, authors are to notice nothing.
            warnings: if pod_request.mode == Mode::Audit {
                &[]
            } else {
                &warnings
            },
            audit: AuditAnnotations {
                role: outcome.role.as_ref().map(RoleArn::as_str),
                verdict: outcome.decision.verdict.map(Verdict::as_str),
                cause: outcome.decision.cause.map(Cause::as_str),
                mode: Some(pod_request.mode.as_str()),
            },
        };
        let json = response.to_json();
        let message = outcome
            .decision
            .refusal
            .as_deref()
            .or_else(|| warnings.first().map(Warning::as_str));
        recorder.record(&pod_request.record(request, &outcome, message));
        Answer::Review(json)
    }
}

/// Default lifetimes of Pod Identity tokens, in seconds. They vary, so that the tokens of pods that were created together do not
/// expire together.
const POD_IDENTITY_EXPIRATION_SECONDS: std::ops::RangeInclusive<u32> = 79_200..=86_400;

/// The mode in which the same is reported, but nothing is refused.
const fn without_refusal(mode: Mode) -> Mode {
    match mode {
        Mode::Enforce | Mode::Warn => Mode::Warn,
        Mode::Audit => Mode::Audit,
    }
}

/// What to restart once the role is fixed: a restart avoids the controller's backoff of up to 17 minutes. A Job's controller
/// retries within a minute.
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

/// An object that does not match the pod's view might be of another kind, which is a better error than the field that did not match.
fn wrong_kind(body: &[u8]) -> Option<ReviewError> {
    let request = review::parse::<IgnoredAny>(body).ok()?;
    (request.group_and_kind() != ("", "Pod")).then(|| review::wrong_object(request.group_and_kind(), "pods"))
}
