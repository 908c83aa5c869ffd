//! One pod's way: review in, ServiceAccount found, role judged, answer out.
//!
//! Everything is answered from memory. What memory does not know is asked once, within the request's budget, and before
//! any refusal both the ServiceAccount and the policy are read afresh: no pod is refused because of a stale copy.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::review::{self, AdmissionRequest, AdmissionResponse, AuditAnnotations, Operation, ReviewError};
use super::route::PathMode;
use crate::cluster::container_credentials::ContainerCredentials;
use crate::cluster::identity_map::IdentityMap;
use crate::cluster::{Fetched, ServiceAccounts, Stored};
use crate::gate::{self, Action, Decision, Effect, Finding, GateSettings, Judged, Mode, Restart, Who};
use crate::iam::{self, Audience, Cause, Context, Issuer, RoleArn, SessionName, Subject, Verdict, WebIdentity};
use crate::pod::Warning;
use crate::pod::identity::{
    self, AnnotationRules, Defaults, MalformedRole, PodIdentityRequest, Requested, ServiceAccountIdentity,
    WebIdentityRequest,
};
use crate::pod::inject::{
    self, Injection, PodIdentitySettings, PodSessionName, RolesUsed, SetSessionName, WebIdentitySettings,
};
use crate::pod::view::PodView;
use crate::roles::{Book, Entry, Trust};

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
}

/// `--honour-skip-label`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipLabel {
    /// A labelled pod is admitted untouched.
    Honoured,
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
    pub book: Arc<Book>,
}

/// Whether the answer may change the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// `/mutate`.
    Mutating,
    /// `/validate/pods`: the same judgement without a patch.
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
    /// The pod's name; its `generateName` where the API server is yet to make the name.
    pub pod: &'a str,
    /// The ServiceAccount's name.
    pub service_account: &'a str,
    /// The role that decided.
    pub role: Option<&'a RoleArn>,
    /// The audience judged.
    pub audience: Option<&'a Audience>,
    /// What was known.
    pub verdict: Option<Verdict>,
    /// Why not.
    pub cause: Option<Cause>,
    /// The mode that was applied.
    pub mode: Mode,
    /// What was done.
    pub action: Action,
    /// How old the policy's copy was.
    pub policy_age: Option<Duration>,
    /// Whether nothing comes of it.
    pub dry_run: bool,
    /// The refusal, the first warning, or why nothing could be said: what deserves a line of the log.
    pub message: Option<&'a str>,
}

/// Told of each review of a pod that was answered.
pub trait Recorder {
    /// Once a review, before its answer is sent.
    fn record(&self, record: &Record<'_>);
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
        let request = match review::parse::<PodView<'_>>(body) {
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
    ) -> Vec<Warning> {
        let case = Case {
            pod,
            namespace,
            service_account,
            mode: Mode::Warn,
            asked: PathMode::Configured,
            deadline,
        };
        if self.is_left_alone(&case).is_some() || self.has_container_credentials(&case) {
            return Vec::new();
        }
        let account = match identity {
            Some(identity) => Account {
                identity,
                freshness: Freshness::Asked,
            },
            None => match self.account(&case).await {
                Ok(account) => account,
                Err(Unavailable(_)) => return Vec::new(),
            },
        };
        let mut assessment = self.assess(&case, &account, Freshness::Kept).await;
        if assessment.decision.verdict == Some(Verdict::NotTrusted) {
            // The policy may have been mended a moment ago, in the same `kubectl apply`.
            assessment = self.assess(&case, &account, Freshness::Asked).await;
        }
        let mut warnings = assessment.warnings;
        warnings.append(&mut assessment.decision.warnings);
        warnings
    }

    async fn created(&self, case: &Case<'_>) -> Result<Assessment, Unavailable> {
        if let Some(action) = self.is_left_alone(case) {
            return Ok(Assessment::untouched(action));
        }
        if self.has_container_credentials(case) {
            return Ok(self.container_credentials(case));
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
        Ok(self.assess(case, &account, Freshness::Asked).await)
    }

    /// Why a pod is none of our business.
    fn is_left_alone(&self, case: &Case<'_>) -> Option<Action> {
        if case.pod.is_mirror() {
            return Some(Action::None);
        }
        let skips = self.settings.skip_label == SkipLabel::Honoured && case.pod.label(SKIP_LABEL).is_some();
        skips.then_some(Action::Skipped)
    }

    /// The ServiceAccount from memory when its copy has a role, else from the API server.
    async fn account(&self, case: &Case<'_>) -> Result<Account, Unavailable> {
        let accounts = &self.knowledge.accounts;
        match accounts.stored(case.namespace, case.service_account) {
            Stored::Identity(identity) if identity.asks_for_role() => {
                let kept = Account {
                    identity: Some(identity),
                    freshness: Freshness::Kept,
                };
                if accounts.is_current() {
                    return Ok(kept);
                }
                // The watch is broken or silent: the role may be another by now. An answer that does not come in time is
                // no reason to refuse what memory can serve.
                let now = Instant::now();
                let deadline = now + case.deadline.saturating_duration_since(now) / 2;
                Ok(self.fetched(case, None, deadline).await.unwrap_or(kept))
            }
            Stored::Identity(identity) => self.fetched(case, Some(Some(identity)), case.deadline).await,
            Stored::Plain => self.fetched(case, Some(None), case.deadline).await,
            Stored::Missing => self.fetched(case, None, case.deadline).await,
        }
    }

    /// `known`: the copy without a role that may serve when too many questions are under way already.
    async fn fetched(
        &self,
        case: &Case<'_>,
        known: Option<Option<Arc<ServiceAccountIdentity>>>,
        deadline: Instant,
    ) -> Result<Account, Unavailable> {
        let (namespace, name) = (case.namespace, case.service_account);
        let identity = match self.knowledge.accounts.fetch(namespace, name, deadline).await {
            Fetched::Found { identity, .. } => identity,
            Fetched::NotFound => None,
            Fetched::Busy => known.ok_or_else(|| {
                Unavailable(format!(
                    "ServiceAccount {namespace}/{name}: too many reads of ServiceAccounts are under way"
                ))
            })?,
            Fetched::Unavailable(reason) => {
                return Err(Unavailable(format!(
                    "ServiceAccount {namespace}/{name} could not be read: {reason}"
                )));
            }
        };
        let identity = match identity {
            Some(identity) if identity.asks_for_role() => Some(identity),
            other => self.from_identity_map(case).or(other),
        };
        Ok(Account {
            identity,
            freshness: Freshness::Asked,
        })
    }

    fn from_identity_map(&self, case: &Case<'_>) -> Option<Arc<ServiceAccountIdentity>> {
        self.knowledge
            .identity_map
            .as_ref()?
            .lookup(case.namespace, case.service_account)
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

    /// Judges with what memory holds, or (`Freshness::Asked`) with what the sources say now.
    async fn assess(&self, case: &Case<'_>, account: &Account, freshness: Freshness) -> Assessment {
        let (requested, warnings) = identity::resolve(
            &self.settings.rules,
            account.identity.as_deref(),
            case.pod,
            &self.settings.defaults,
        );
        let mut assessment = match requested {
            Requested::Nothing => self.decided(case, &Finding::NoRole),
            Requested::Malformed(malformed) => self.decided(case, &Finding::Malformed(&malformed)),
            Requested::WebIdentity(request) => self.assess_web_identity(case, &request, freshness).await,
        };
        assessment.warnings.splice(0..0, warnings);
        assessment
    }

    async fn assess_web_identity(
        &self,
        case: &Case<'_>,
        request: &WebIdentityRequest,
        freshness: Freshness,
    ) -> Assessment {
        let settings = &self.settings.web_identity;
        let (annotated, own) = match inject::roles_used(&self.settings.rules, case.pod, request, settings) {
            RolesUsed::Annotated => (true, Vec::new()),
            RolesUsed::Several { annotated, own } => (annotated, own),
            RolesUsed::PodIdentityOnly => return Assessment::untouched(Action::PodIdentity),
        };
        let identity = self.web_identity(case, request);
        let mut worst = None;
        if annotated || own.is_empty() {
            worst = Some(self.trial(case, request.role.clone(), &identity, freshness).await);
        }
        for text in own {
            let role = match own_role(text) {
                OwnRole::Role(role) => role,
                OwnRole::Computed => continue,
                OwnRole::Malformed(malformed) => return self.decided(case, &Finding::Malformed(&malformed)),
            };
            let trial = self.trial(case, role, &identity, freshness).await;
            if worst
                .as_ref()
                .is_none_or(|worst: &Trial| worst.judged.verdict < trial.judged.verdict)
            {
                worst = Some(trial);
            }
        }
        let Some(trial) = worst else {
            // Every container computes its role's name: nothing can be judged, so nothing stands in the way.
            return self.injected(case, request, SetSessionName::No, Assessment::untouched(Action::Inject));
        };
        let assessment = Assessment {
            role: Some(trial.judged.role.clone()),
            audience: Some(identity.audience.clone()),
            policy_read_at: trial.read_at,
            ..self.decided(case, &Finding::Judged(&trial.judged, &identity))
        };
        if assessment.decision.effect != Effect::Inject {
            return assessment;
        }
        self.injected(
            case,
            request,
            self.session_name(case, request, &trial, &identity),
            assessment,
        )
    }

    /// The web identity that the pod's token will carry. An author's own token volume keeps its own audience.
    fn web_identity(&self, case: &Case<'_>, request: &WebIdentityRequest) -> WebIdentity {
        WebIdentity {
            issuer: self.knowledge.issuer.clone(),
            subject: Subject::service_account(case.namespace, case.service_account),
            audience: case
                .pod
                .token_audience()
                .map_or_else(|| request.audience.clone(), Audience::new),
        }
    }

    async fn trial(&self, case: &Case<'_>, role: RoleArn, identity: &WebIdentity, freshness: Freshness) -> Trial {
        let book = &self.knowledge.book;
        let entry = match freshness {
            Freshness::Asked => book.fresh(&role, case.deadline).await,
            Freshness::Kept => match book.stored(&role) {
                Some(entry) => entry,
                None => book.entry(&role, case.deadline).await,
            },
        };
        let session_name = case
            .pod
            .own_session_name()
            .map_or(SessionName::Unknown, SessionName::Suggested);
        trial(role, entry, identity, session_name)
    }

    /// Whether the pod's name becomes the session's: only when the policy surely does not refuse it.
    fn session_name(
        &self,
        case: &Case<'_>,
        request: &WebIdentityRequest,
        trial: &Trial,
        identity: &WebIdentity,
    ) -> SetSessionName {
        if !self.settings.web_identity.role_session_name || trial.judged.role != request.role {
            return SetSessionName::No;
        }
        let Some(Trust::Policy { policy, tags }) = &trial.trust else {
            return SetSessionName::No;
        };
        match inject::session_name(case.pod) {
            PodSessionName::Unfit => SetSessionName::No,
            _ if !policy.mentions_role_session_name() => SetSessionName::FromPodName,
            PodSessionName::Generated => SetSessionName::No,
            PodSessionName::Known(name) => {
                let context = context(tags.as_deref(), SessionName::Assumed(name));
                match iam::judge(policy, &request.role, identity, &context).verdict {
                    Verdict::NotTrusted => SetSessionName::No,
                    Verdict::Trusted | Verdict::Undecided | Verdict::Unknown => SetSessionName::FromPodName,
                }
            }
        }
    }

    fn injected(
        &self,
        case: &Case<'_>,
        request: &WebIdentityRequest,
        set_name: SetSessionName,
        assessment: Assessment,
    ) -> Assessment {
        match inject::web_identity(
            &self.settings.rules,
            case.pod,
            request,
            &self.settings.web_identity,
            set_name,
        ) {
            Ok(injection) => Assessment {
                injection: Some(injection),
                ..assessment
            },
            Err(conflict) => Assessment {
                role: assessment.role,
                audience: assessment.audience,
                ..self.decided(case, &Finding::Conflict(&conflict))
            },
        }
    }

    fn decided(&self, case: &Case<'_>, finding: &Finding<'_>) -> Assessment {
        Assessment::of(gate::decide(self.settings.gate, case.mode, finding, &self.who(case)))
    }

    fn who<'a>(&'a self, case: &Case<'a>) -> Who<'a> {
        Who {
            namespace: case.namespace,
            service_account: case.service_account,
            issuer: &self.knowledge.issuer,
            prefix: &self.settings.rules.prefix,
            restart: restart(case.pod),
        }
    }

    /// `kubectl debug`: the new containers get what the others have. Nothing here is ever a reason to refuse.
    async fn ephemeral(&self, case: &Case<'_>, old: Option<&PodView<'_>>) -> Assessment {
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
            (Requested::WebIdentity(request), warnings) => Assessment {
                role: Some(request.role.clone()),
                injection: Some(inject::ephemeral_web_identity(
                    rules,
                    old,
                    case.pod,
                    &request,
                    &settings.web_identity,
                )),
                warnings,
                ..Assessment::untouched(Action::Inject)
            },
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

/// Whether what is used was kept in memory or asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    Kept,
    Asked,
}

struct Account {
    identity: Option<Arc<ServiceAccountIdentity>>,
    freshness: Freshness,
}

/// Nothing can be said now; the caller is to ask again.
struct Unavailable(String);

/// The parts of a request that every step needs.
struct Case<'a> {
    pod: &'a PodView<'a>,
    namespace: &'a str,
    service_account: &'a str,
    mode: Mode,
    asked: PathMode,
    deadline: Instant,
}

impl Case<'_> {
    fn mode_warning(&self) -> Vec<Warning> {
        match self.asked {
            PathMode::Configured | PathMode::Named(_) => Vec::new(),
            PathMode::Misspelt => vec![Warning::new(&format!(
                "rolegate: label {GATE_LABEL} of namespace {} holds no mode (enforce, warn, audit): served as enforce",
                self.namespace
            ))],
        }
    }

    fn record<'r>(
        &'r self,
        request: &'r AdmissionRequest<'_, PodView<'_>>,
        assessment: &'r Assessment,
        message: Option<&'r str>,
    ) -> Record<'r> {
        Record {
            uid: request.uid(),
            namespace: self.namespace,
            pod: self.pod.name().or(self.pod.generate_name()).unwrap_or(request.name()),
            service_account: self.service_account,
            role: assessment.role.as_ref(),
            audience: assessment.audience.as_ref(),
            verdict: assessment.decision.verdict,
            cause: assessment.decision.cause,
            mode: self.mode,
            action: assessment.action,
            policy_age: assessment.policy_read_at.map(|at| at.elapsed()),
            dry_run: request.is_dry_run(),
            message,
        }
    }
}

/// What is to be answered, and what it rests on.
struct Assessment {
    action: Action,
    decision: Decision,
    role: Option<RoleArn>,
    audience: Option<Audience>,
    injection: Option<Injection>,
    warnings: Vec<Warning>,
    policy_read_at: Option<Instant>,
}

impl Assessment {
    const fn untouched(action: Action) -> Self {
        Self {
            action,
            decision: Decision {
                effect: Effect::AdmitUntouched,
                verdict: None,
                cause: None,
                warnings: Vec::new(),
                refusal: None,
            },
            role: None,
            audience: None,
            injection: None,
            warnings: Vec::new(),
            policy_read_at: None,
        }
    }

    fn of(decision: Decision) -> Self {
        let action = match decision.effect {
            Effect::Inject => Action::Inject,
            Effect::AdmitUntouched => Action::None,
            Effect::Deny => Action::Deny,
        };
        Self {
            decision,
            ..Self::untouched(action)
        }
    }
}

/// One role, judged.
struct Trial {
    judged: Judged,
    trust: Option<Trust>,
    read_at: Option<Instant>,
}

fn trial(role: RoleArn, entry: Entry, identity: &WebIdentity, session_name: SessionName<'_>) -> Trial {
    let mut judged = Judged {
        role,
        verdict: Verdict::Unknown,
        cause: None,
        reason: String::new(),
        hint: None,
        undecided_keys: Vec::new(),
    };
    match &entry.trust {
        Trust::Policy { policy, tags } => {
            let judgement = iam::judge(policy, &judged.role, identity, &context(tags.as_deref(), session_name));
            judged.verdict = judgement.verdict;
            if let Some(explanation) = judgement.explanation {
                judged.cause = explanation.cause;
                judged.reason = explanation.reason;
                judged.hint = explanation.hint;
                judged.undecided_keys = explanation.undecided_keys;
            }
        }
        Trust::NoSuchRole { hint } => {
            judged.hint = hint.as_deref().map(str::to_owned);
            judged.verdict = Verdict::NotTrusted;
            judged.cause = Some(Cause::RoleNotFound);
            judged.reason = "no role of that ARN exists; check account, path and name".to_owned();
        }
        Trust::Malformed(reason) | Trust::Unknown(reason) => judged.reason = reason.to_string(),
    }
    Trial {
        judged,
        trust: Some(entry.trust),
        read_at: entry.read_at,
    }
}

fn context<'a>(role_tags: Option<&'a [(String, String)]>, session_name: SessionName<'a>) -> Context<'a> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok());
    Context {
        now,
        role_tags,
        session_name,
    }
}

enum OwnRole {
    Role(RoleArn),
    /// Holds `$(VARIABLE)`: what it comes to is known in the container only.
    Computed,
    Malformed(MalformedRole),
}

fn own_role(text: &str) -> OwnRole {
    if text.contains("$(") {
        return OwnRole::Computed;
    }
    match RoleArn::parse(text) {
        Ok(role) => OwnRole::Role(role),
        Err(error) => OwnRole::Malformed(MalformedRole {
            key: "AWS_ROLE_ARN".to_owned(),
            value: text.to_owned(),
            error,
        }),
    }
}

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
    if pod.has_spec() {
        Ok(pod)
    } else {
        Err(ReviewError::Missing("request.object.spec"))
    }
}

/// An object that does not fit a pod's view may be no pod at all, which tells more than the field that did not fit.
fn wrong_kind(body: &[u8]) -> Option<ReviewError> {
    let request = review::parse::<serde::de::IgnoredAny>(body).ok()?;
    (request.group_and_kind() != ("", "Pod")).then(|| review::wrong_object(request.group_and_kind(), "pods"))
}
