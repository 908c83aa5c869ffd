//! From what is known to an assessment: what is asked for, whose trust it needs, and what is done about it.

use super::Admission;
use super::account::{Account, Freshness};
use super::case::{Assessment, Case};
use super::trial::{OwnRole, Trial, context, own_role, trial};
use crate::decision::{Action, Effect, Finding};
use crate::pod::identity::{self, Requested, WebIdentityRequest};
use crate::pod::inject::{self, PodSessionName, RolesUsed, SetSessionName};
use crate::roles::{KnownProvider, Trust};
use crate::trust::{self, Audience, RoleArn, SessionName, Subject, Verdict, WebIdentity};

impl Admission {
    /// Judges with what memory holds, or (`Freshness::Asked`) with what the sources say now.
    pub(super) async fn assess(&self, case: &Case<'_>, account: &Account, freshness: Freshness) -> Assessment {
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

    pub(super) async fn assess_web_identity(
        &self,
        case: &Case<'_>,
        request: &WebIdentityRequest,
        freshness: Freshness,
    ) -> Assessment {
        let settings = &self.settings.web_identity;
        let (annotated, own) = match inject::roles_used(&self.settings.rules, case.pod, request, settings) {
            RolesUsed::Annotated => (true, Vec::new()),
            RolesUsed::Several { annotated, own } => (annotated, own),
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
    pub(super) fn web_identity(&self, case: &Case<'_>, request: &WebIdentityRequest) -> WebIdentity {
        WebIdentity {
            issuer: self.knowledge.issuer.clone(),
            subject: Subject::service_account(case.namespace, case.service_account),
            audience: case
                .pod
                .token_audience()
                .map_or_else(|| request.audience.clone(), Audience::new),
        }
    }

    pub(super) async fn trial(
        &self,
        case: &Case<'_>,
        role: RoleArn,
        identity: &WebIdentity,
        freshness: Freshness,
    ) -> Trial {
        let cache = &self.knowledge.cache;
        // What memory answers needs no time, nor the time.
        let (mut limit, stored) = match freshness {
            Freshness::Asked => (case.deadline, None),
            Freshness::Kept => (case.deadline, cache.stored(&role)),
        };
        let mut entry = match stored {
            Some(entry) => entry,
            None => {
                limit = cache.limit(case.deadline);
                match freshness {
                    Freshness::Asked => cache.fresh(&role, limit).await,
                    Freshness::Kept => cache.entry(&role, limit).await,
                }
            }
        };
        let mut provider = KnownProvider::Unknown;
        if matches!(entry.trust, Trust::Policy { .. }) {
            provider = cache.provider(&role, limit).await;
            let stands_in_the_way = |provider: &KnownProvider| {
                let provider = provider.as_provider();
                provider.is_some_and(|provider| trust::judge_provider(provider, identity).is_some())
            };
            if freshness == Freshness::Asked && stands_in_the_way(&provider) {
                match cache.provider_afresh(&role, limit).await {
                    Ok(afresh) => provider = afresh,
                    Err(reason) => {
                        provider = KnownProvider::Unknown;
                        entry.trust = Trust::Unknown(reason);
                    }
                }
            }
        }
        let session_name = case
            .pod
            .own_session_name()
            .map_or(SessionName::Unknown, SessionName::Suggested);
        trial(role, entry, &provider, identity, session_name)
    }

    /// Whether the pod's name becomes the session's: only when the policy surely does not refuse it.
    pub(super) fn session_name(
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
}
