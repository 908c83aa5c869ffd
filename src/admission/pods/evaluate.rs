//! Computes the outcome of a pod request from the ServiceAccount and the role cache: which identity is requested, whether its role trusts
//! it, and what is injected.

use futures::future::join_all;

use super::Admission;
use super::pod_request::{Outcome, PodRequest};
use super::role_evaluation::{RoleEvaluation, role_evaluation};
use super::service_account::{Account, Freshness};
use super::used_identities::{Certainty, UsedIdentity, used_identities};
use crate::admission::judgment::context;
use crate::decision::{Action, Finding, OnUnknown};
use crate::pod::Warning;
use crate::pod::concerns::Concerns;
use crate::pod::effective::{ContainerIdentity, Identity, NoIdentity};
use crate::pod::identity::{self, Requested, WebIdentityRequest};
use crate::pod::inject::{self, PodSessionName, SetSessionName};
use crate::pod::misplaced;
use crate::roles::{KnownProvider, Trust};
use crate::support::text;
use crate::trust::{self, Audience, RoleArn, SessionName, Subject, Verdict, WebIdentity};

/// The longest name of a ServiceAccount in a warning about its annotations, in characters: the rest is for the warning itself.
const MOST_OF_NAME: usize = 80;

/// The worst of what was found about the containers of a pod.
#[derive(Default)]
pub(super) struct Worst {
    pub(super) outcome: Option<Outcome>,
}

impl Worst {
    pub(super) fn consider(&mut self, outcome: Outcome) {
        let severity = |outcome: &Outcome| (outcome.action == Action::Deny, outcome.decision.verdict);
        if self
            .outcome
            .as_ref()
            .is_none_or(|worst| severity(worst) < severity(&outcome))
        {
            self.outcome = Some(outcome);
        }
    }
}

/// The finding for a container whose identity is not evaluated; none if there is nothing to report.
fn unjudged<'a>(container: &'a ContainerIdentity<'_>) -> Option<Finding<'a>> {
    let (name, others) = (container.name(), 0);
    let no_identity = |why| Finding::NoIdentity {
        container: name,
        others,
        why,
    };
    match container.identity() {
        Identity::PodIdentity if container.missing_agent_token().is_some() => {
            Some(no_identity(Some(NoIdentity::NoAgentToken)))
        }
        Identity::Injected | Identity::WebIdentity(_) | Identity::PodIdentity | Identity::StaticKeys => None,
        Identity::Skipped => Some(no_identity(None)),
        Identity::None(why) => Some(no_identity(Some(*why))),
        Identity::ContainerCredentials { variable } => Some(Finding::OwnCredentials {
            container: name,
            others,
            variable,
        }),
        Identity::Unknown(why) => Some(Finding::Unverifiable {
            container: name,
            others,
            why,
        }),
    }
}

impl Admission {
    /// Evaluates what is in memory, or with [`Freshness::Fresh`] what the sources return now.
    pub(super) async fn evaluate(
        &self,
        pod_request: &PodRequest<'_>,
        account: &Account,
        freshness: Freshness,
    ) -> Outcome {
        let (requested, mut warnings) = identity::resolve(
            &self.settings.rules,
            account.identity.as_deref(),
            pod_request.pod,
            &self.settings.defaults,
        );
        let mut outcome = match requested {
            Requested::Nothing => {
                // The annotation that was meant is on the ServiceAccount, which the author did not necessarily apply.
                let of_pod = misplaced::role_annotation(&self.settings.rules, pod_request.pod, None);
                let no_role = Finding::NoRole {
                    account_exists: account.exists,
                    of_pod: of_pod.as_deref(),
                };
                let account = format!("{}/{}", pod_request.namespace, pod_request.service_account);
                let account = text::shorten(&account, MOST_OF_NAME);
                let named = |warning: &Warning| Warning::new(&format!("ServiceAccount {account}: {warning}"));
                warnings = warnings.iter().map(named).collect();
                match self.evaluate_own_with_association(pod_request, freshness).await {
                    Some(outcome) => outcome,
                    None => self.decided(pod_request, &no_role),
                }
            }
            Requested::Malformed(malformed) => self.decided(pod_request, &Finding::Malformed(&malformed)),
            Requested::WebIdentity(request) => {
                let mut outcome = self.evaluate_web_identity(pod_request, &request, freshness).await;
                self.add_concerns(pod_request, &request.role, &mut outcome);
                outcome
            }
        };
        outcome.warnings.splice(0..0, warnings);
        outcome
    }

    /// What keeps containers from using their identity, where one is injected.
    fn add_concerns(&self, pod_request: &PodRequest<'_>, role: &RoleArn, outcome: &mut Outcome) {
        if outcome.action == Action::Inject {
            let concerns = Concerns::of(&pod_request.identities, Some(role), &self.settings.web_identity);
            outcome.add_concerns(concerns);
        }
    }

    async fn evaluate_web_identity(
        &self,
        pod_request: &PodRequest<'_>,
        request: &WebIdentityRequest,
        freshness: Freshness,
    ) -> Outcome {
        let (outcome, judged) = self.evaluate_containers(pod_request, request, freshness).await;
        if outcome.action != Action::Inject {
            return outcome;
        }
        let session_name = match &judged {
            Some((role_evaluation, identity)) => self.session_name(pod_request, request, role_evaluation, identity),
            None => SetSessionName::No,
        };
        self.injected(pod_request, request, session_name, outcome)
    }

    /// Evaluates what the containers will use. The worst decides. The evaluation of what is injected is returned, too, where there is one.
    pub(super) async fn evaluate_containers(
        &self,
        pod_request: &PodRequest<'_>,
        request: &WebIdentityRequest,
        freshness: Freshness,
    ) -> (Outcome, Option<(RoleEvaluation, WebIdentity)>) {
        let used = match used_identities(pod_request.pod, &pod_request.identities, request) {
            Ok(used) => used,
            Err(conflict) => return (self.decided(pod_request, &Finding::Conflict(&conflict)), None),
        };
        // A key that does not exist in the cluster must not be a way around strict settings.
        let refuses_doubt = self.decision_settings(pod_request).on_unknown == OnUnknown::Deny;
        let mut worst = Worst::default();
        let mut injected = None;
        // All at once: the roles of a pod share the time that a review has for reads.
        let reads = used
            .into_iter()
            .map(|used| self.evaluate_used(pod_request, used, freshness));
        for (certainty, session_name, role_evaluation, identity) in join_all(reads).await {
            let is_injected = role_evaluation.judged.role == request.role && session_name.is_none();
            let finding = Finding::Judged(&role_evaluation.judged, &identity);
            let outcome = Outcome {
                role: Some(role_evaluation.judged.role.clone()),
                audience: Some(identity.audience.clone()),
                policy_read_at: role_evaluation.read_at,
                ..match certainty {
                    Certainty::Certain => self.decided(pod_request, &finding),
                    Certainty::Possible if refuses_doubt => self.decided(pod_request, &finding),
                    Certainty::Possible => self.decided_without_refusal(pod_request, &finding),
                }
            };
            worst.consider(outcome);
            if is_injected {
                injected = Some((role_evaluation, identity));
            }
        }
        let warnings = self.consider_unjudged(pod_request, &mut worst);
        let mut outcome = worst.outcome.unwrap_or_else(|| Outcome::untouched(Action::Inject));
        if outcome.action == Action::Inject {
            outcome.warnings.extend(warnings);
        }
        (outcome, injected)
    }

    /// Reads and evaluates the role of one web identity.
    async fn evaluate_used<'p>(
        &self,
        pod_request: &PodRequest<'_>,
        used: UsedIdentity<'p>,
        freshness: Freshness,
    ) -> (Certainty, Option<&'p str>, RoleEvaluation, WebIdentity) {
        let identity = self.web_identity(pod_request, used.audience);
        let session_name = used.session_name.map_or(SessionName::Unknown, SessionName::Suggested);
        let role_evaluation = self
            .role_evaluation(pod_request, used.role, &identity, session_name, freshness)
            .await;
        (used.certainty, used.session_name, role_evaluation, identity)
    }

    /// Containers whose identity is missing or unknown. Their warnings are returned; a finding that is worse than what was evaluated
    /// decides.
    pub(super) fn consider_unjudged(&self, pod_request: &PodRequest<'_>, worst: &mut Worst) -> Vec<Warning> {
        // One container of each kind is named, with the number of others: a pod may have thousands.
        let mut found: Vec<(Finding<'_>, usize)> = Vec::new();
        for container in pod_request.identities.containers() {
            let Some(finding) = unjudged(container) else {
                continue;
            };
            let kind = std::mem::discriminant(&finding);
            match found
                .iter_mut()
                .find(|(known, _)| std::mem::discriminant(known) == kind)
            {
                Some((_, others)) => *others += 1,
                None => found.push((finding, 0)),
            }
        }
        let mut warnings = Vec::new();
        for (finding, others) in found {
            let mut outcome = self.decided(pod_request, &finding.with_others(others));
            warnings.append(&mut outcome.decision.warnings);
            if outcome.action == Action::Deny || outcome.decision.verdict.is_some() || worst.outcome.is_none() {
                worst.consider(outcome);
            }
        }
        warnings
    }

    /// The web identity of the pod with a token for this audience.
    fn web_identity(&self, pod_request: &PodRequest<'_>, audience: Audience) -> WebIdentity {
        WebIdentity {
            issuer: self.state.issuer.clone(),
            subject: Subject::service_account(pod_request.namespace, pod_request.service_account),
            audience,
        }
    }

    pub(super) async fn role_evaluation(
        &self,
        pod_request: &PodRequest<'_>,
        role: RoleArn,
        identity: &WebIdentity,
        session_name: SessionName<'_>,
        freshness: Freshness,
    ) -> RoleEvaluation {
        let cache = &self.state.cache;
        // A cached result needs no deadline, so the clock is not read.
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
                    Ok(fresh) => {
                        provider = fresh.provider;
                        entry.copy_age = entry.copy_age.max(fresh.copy_age);
                    }
                    Err(reason) => {
                        provider = KnownProvider::Unknown;
                        entry.trust = Trust::Unknown(reason);
                    }
                }
            }
        }
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
            &pod_request.identities,
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
