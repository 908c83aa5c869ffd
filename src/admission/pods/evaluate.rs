//! From the ServiceAccount and the role cache to an outcome: which identity is requested, whether its role trusts it, and what is injected.

use super::Admission;
use super::pod_request::{Outcome, PodRequest};
use super::role_evaluation::{OwnRole, RoleEvaluation, own_role, role_evaluation};
use super::service_account::{Account, Freshness};
use crate::admission::judgment::context;
use crate::decision::{Action, Effect, Finding};
use crate::pod::identity::{self, Requested, WebIdentityRequest};
use crate::pod::inject::{self, PodSessionName, RolesUsed, SetSessionName};
use crate::roles::{KnownProvider, Trust};
use crate::trust::{self, Audience, RoleArn, SessionName, Subject, Verdict, WebIdentity};

impl Admission {
    /// Judges what is in memory, or with [`Freshness::Fresh`] what the sources return now.
    pub(super) async fn evaluate(
        &self,
        pod_request: &PodRequest<'_>,
        account: &Account,
        freshness: Freshness,
    ) -> Outcome {
        let (requested, warnings) = identity::resolve(
            &self.settings.rules,
            account.identity.as_deref(),
            pod_request.pod,
            &self.settings.defaults,
        );
        let mut outcome = match requested {
            Requested::Nothing => self.decided(pod_request, &Finding::NoRole),
            Requested::Malformed(malformed) => self.decided(pod_request, &Finding::Malformed(&malformed)),
            Requested::WebIdentity(request) => self.evaluate_web_identity(pod_request, &request, freshness).await,
        };
        outcome.warnings.splice(0..0, warnings);
        outcome
    }

    pub(super) async fn evaluate_web_identity(
        &self,
        pod_request: &PodRequest<'_>,
        request: &WebIdentityRequest,
        freshness: Freshness,
    ) -> Outcome {
        let settings = &self.settings.web_identity;
        let (annotated, own) = match inject::roles_used(&self.settings.rules, pod_request.pod, request, settings) {
            RolesUsed::Annotated => (true, Vec::new()),
            RolesUsed::Several { annotated, own } => (annotated, own),
        };
        let identity = self.web_identity(pod_request, request);
        let mut worst = None;
        if annotated || own.is_empty() {
            worst = Some(
                self.role_evaluation(pod_request, request.role.clone(), &identity, freshness)
                    .await,
            );
        }
        for text in own {
            let role = match own_role(text) {
                OwnRole::Role(role) => role,
                OwnRole::Computed => continue,
                OwnRole::Malformed(malformed) => return self.decided(pod_request, &Finding::Malformed(&malformed)),
            };
            let role_evaluation = self.role_evaluation(pod_request, role, &identity, freshness).await;
            if worst
                .as_ref()
                .is_none_or(|worst: &RoleEvaluation| worst.judged.verdict < role_evaluation.judged.verdict)
            {
                worst = Some(role_evaluation);
            }
        }
        let Some(role_evaluation) = worst else {
            // Every container computes its role: there is nothing to judge, so the pod is admitted.
            return self.injected(
                pod_request,
                request,
                SetSessionName::No,
                Outcome::untouched(Action::Inject),
            );
        };
        let outcome = Outcome {
            role: Some(role_evaluation.judged.role.clone()),
            audience: Some(identity.audience.clone()),
            policy_read_at: role_evaluation.read_at,
            ..self.decided(pod_request, &Finding::Judged(&role_evaluation.judged, &identity))
        };
        if outcome.decision.effect != Effect::Inject {
            return outcome;
        }
        self.injected(
            pod_request,
            request,
            self.session_name(pod_request, request, &role_evaluation, &identity),
            outcome,
        )
    }

    /// The web identity of the pod's token. A token volume of the author's keeps its own audience.
    pub(super) fn web_identity(&self, pod_request: &PodRequest<'_>, request: &WebIdentityRequest) -> WebIdentity {
        WebIdentity {
            issuer: self.state.issuer.clone(),
            subject: Subject::service_account(pod_request.namespace, pod_request.service_account),
            audience: pod_request
                .pod
                .token_audience()
                .map_or_else(|| request.audience.clone(), Audience::new),
        }
    }

    pub(super) async fn role_evaluation(
        &self,
        pod_request: &PodRequest<'_>,
        role: RoleArn,
        identity: &WebIdentity,
        freshness: Freshness,
    ) -> RoleEvaluation {
        let cache = &self.state.cache;
        // A cached answer needs no deadline, so the clock is not read.
        let (mut limit, stored) = match freshness {
            Freshness::Fresh => (pod_request.deadline, None),
            Freshness::Cached => (pod_request.deadline, cache.cached(&role)),
        };
        let mut entry = match stored {
            Some(entry) => entry,
            None => {
                limit = cache.limit(pod_request.deadline);
                match freshness {
                    Freshness::Fresh => cache.fresh(&role, limit).await,
                    Freshness::Cached => cache.entry(&role, limit).await,
                }
            }
        };
        let mut provider = KnownProvider::Unknown;
        if matches!(entry.trust, Trust::Policy { .. }) {
            provider = cache.provider(&role, limit).await;
            let refuses = |provider: &KnownProvider| {
                let provider = provider.as_provider();
                provider.is_some_and(|provider| trust::judge_provider(provider, identity).is_some())
            };
            if freshness == Freshness::Fresh && refuses(&provider) {
                match cache.fresh_provider(&role, limit).await {
                    Ok(fresh) => provider = fresh,
                    Err(reason) => {
                        provider = KnownProvider::Unknown;
                        entry.trust = Trust::Unknown(reason);
                    }
                }
            }
        }
        let session_name = pod_request
            .pod
            .own_session_name()
            .map_or(SessionName::Unknown, SessionName::Suggested);
        role_evaluation(role, entry, &provider, identity, session_name)
    }

    /// Whether the pod's name becomes the session name: only when the policy is certain to accept it.
    pub(super) fn session_name(
        &self,
        pod_request: &PodRequest<'_>,
        request: &WebIdentityRequest,
        role_evaluation: &RoleEvaluation,
        identity: &WebIdentity,
    ) -> SetSessionName {
        if !self.settings.web_identity.role_session_name || role_evaluation.judged.role != request.role {
            return SetSessionName::No;
        }
        let Some(Trust::Policy { policy, tags }) = &role_evaluation.trust else {
            return SetSessionName::No;
        };
        match inject::session_name(pod_request.pod) {
            PodSessionName::Unfit => SetSessionName::No,
            _ if !policy.mentions_role_session_name() => SetSessionName::FromPodName,
            PodSessionName::Generated => SetSessionName::No,
            PodSessionName::Known(name) => {
                let context = context(policy, tags.as_deref(), SessionName::Assumed(name));
                match trust::judge(policy, &request.role, identity, &context).verdict {
                    Verdict::NotTrusted => SetSessionName::No,
                    Verdict::Trusted | Verdict::Undecided | Verdict::Unknown => SetSessionName::FromPodName,
                }
            }
        }
    }

    pub(super) fn injected(
        &self,
        pod_request: &PodRequest<'_>,
        request: &WebIdentityRequest,
        set_name: SetSessionName,
        outcome: Outcome,
    ) -> Outcome {
        match inject::web_identity(
            &self.settings.rules,
            pod_request.pod,
            request,
            &self.settings.web_identity,
            set_name,
        ) {
            Ok(injection) => Outcome {
                injection: Some(injection),
                ..outcome
            },
            Err(conflict) => Outcome {
                role: outcome.role,
                audience: outcome.audience,
                ..self.decided(pod_request, &Finding::Conflict(&conflict))
            },
        }
    }
}
