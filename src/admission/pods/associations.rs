//! EKS Pod Identity: whether the ServiceAccount has an association, whether its roles trust EKS, and the injection that EKS's own webhook
//! has missed.
//!
//! That webhook learns of an association some seconds after it was created, and admits pods without credentials until then. A pod
//! that arrives here without credentials and has an association therefore gets what EKS would have injected. EKS Auth has the last
//! word about the association, so an injection that comes too early, or too late, gives no pod more than EKS does.

use std::sync::Arc;

use super::evaluate::Worst;
use super::pod_request::{Outcome, PodRequest};
use super::service_account::{Account, Freshness, Unavailable};
use super::{Admission, Endpoint};
use crate::admission::judgment::judge_association_role;
use crate::associations::{Asker, Associations, Lookup, Presence};
use crate::decision::{Action, Effect, Finding};
use crate::pod::Warning;
use crate::pod::compute::UnsupportedCompute;
use crate::pod::concerns::Concerns;
use crate::pod::effective::{ContainerIdentity, Identity};
use crate::pod::identity::{self, Requested, WebIdentityRequest};
use crate::pod::inject;
use crate::support::text;
use crate::trust::{Association, PodName};

/// What EKS Pod Identity is to a pod.
pub(super) enum PodIdentityUse {
    /// Nothing: no container uses it, and the ServiceAccount has no association.
    None,
    /// No container uses it, and whether the ServiceAccount has an association could not be read: why.
    Unknown(Arc<str>),
    /// The pod uses it, or is to use it.
    Used,
}

impl Admission {
    /// What EKS Pod Identity is to the pod. Nothing where no association source is configured.
    pub(super) async fn pod_identity_use(&self, pod_request: &PodRequest<'_>, asker: Asker) -> PodIdentityUse {
        let Some(associations) = &self.state.associations else {
            return PodIdentityUse::None;
        };
        let identities = &pod_request.identities;
        if identities.use_pod_identity() {
            return PodIdentityUse::Used;
        }
        // A ServiceAccount that is applied has no containers yet: they will use what is injected.
        if !identities.lack_identity() && identities.containers().next().is_some() {
            return PodIdentityUse::None;
        }
        let (namespace, name) = (pod_request.namespace, pod_request.service_account);
        match associations
            .presence(namespace, name, asker, pod_request.deadline)
            .await
        {
            Presence::Present => PodIdentityUse::Used,
            Presence::Absent => PodIdentityUse::None,
            Presence::Unknown(why) => PodIdentityUse::Unknown(why),
        }
    }

    /// The outcome for a pod that uses, or is to use, EKS Pod Identity. None: it runs where EKS Pod Identity does not, and has an IAM
    /// role by annotation, which works everywhere.
    pub(super) async fn associated(&self, pod_request: &PodRequest<'_>) -> Result<Option<Outcome>, Unavailable> {
        let pod = pod_request.pod;
        let uses = pod_request.identities.use_pod_identity();
        let lacks = pod_request.identities.lack_identity();
        if let Some(compute) = UnsupportedCompute::of(pod) {
            if !uses && self.account(pod_request).await?.requests_role() {
                return Ok(None);
            }
            return Ok(Some(self.decided(pod_request, &Finding::UnsupportedCompute(compute))));
        }
        if lacks && pod_request.endpoint == Endpoint::Validating {
            return Ok(Some(self.decided(pod_request, &Finding::AssociationNotInjected)));
        }
        let (request, mut warnings) = self.pod_identity_request(pod_request);
        let injection = inject::missing_pod_identity(
            &self.settings.rules,
            pod,
            &pod_request.identities,
            &request,
            &self.settings.pod_identity,
        );
        let injection = match injection {
            Ok(injection) => injection,
            Err(conflict) => return Ok(Some(self.decided(pod_request, &Finding::Conflict(&conflict)))),
        };
        let injected = pod_request.with_identities(pod_request.identities.with_pod_identity());
        let mut outcome = self.evaluate_association(&injected, Freshness::Cached).await?;
        if outcome.decision.effect == Effect::Deny {
            outcome = self.evaluate_association(&injected, Freshness::Fresh).await?;
        }
        if outcome.action != Action::Deny {
            outcome.action = Action::PodIdentity;
            outcome.injection = Some(injection);
            outcome.add_concerns(Concerns::of(&injected.identities, None, &self.settings.web_identity));
            warnings.extend(self.unused_association(&injected));
        }
        outcome.warnings.splice(0..0, warnings);
        Ok(Some(outcome))
    }

    /// The outcome for a pod without credentials whose ServiceAccount has no role by annotation, when it is not known whether it has
    /// an association.
    pub(super) fn perhaps_associated(&self, pod_request: &PodRequest<'_>, why: &str) -> Outcome {
        let finding = Finding::AssociationUnreadable {
            why,
            is_associated: false,
        };
        self.decided(pod_request, &finding)
    }

    /// Evaluates both roles of the association, and the web identities that containers set themselves. The worst decides.
    async fn evaluate_association(
        &self,
        pod_request: &PodRequest<'_>,
        freshness: Freshness,
    ) -> Result<Outcome, Unavailable> {
        let mut worst = Worst::default();
        match self.association(pod_request, freshness).await {
            Lookup::Association(association) => {
                self.evaluate_roles(pod_request, &association, freshness, &mut worst)
                    .await;
            }
            Lookup::Absent => {
                let cluster = self.associations().map(|associations| &*associations.cluster().name);
                worst.consider(self.decided(pod_request, &Finding::NoAssociation { cluster }));
            }
            Lookup::Undescribed(why) | Lookup::Unknown(why) => {
                let finding = Finding::AssociationUnreadable {
                    why: &why,
                    is_associated: true,
                };
                worst.consider(self.decided(pod_request, &finding));
            }
        }
        if pod_request.identities.own_web_identity().is_some() {
            let account = self.account_for(pod_request, freshness).await?;
            self.evaluate_own(pod_request, &account, freshness, &mut worst).await;
        }
        let warnings = self.consider_unjudged(pod_request, &mut worst);
        let mut outcome = worst.outcome.unwrap_or_else(|| Outcome::untouched(Action::PodIdentity));
        if outcome.action != Action::Deny {
            outcome.warnings.extend(warnings);
        }
        Ok(outcome)
    }

    async fn association(&self, pod_request: &PodRequest<'_>, freshness: Freshness) -> Lookup {
        let Some(associations) = self.associations() else {
            return Lookup::Absent;
        };
        let (namespace, name) = (pod_request.namespace, pod_request.service_account);
        match freshness {
            Freshness::Cached => associations.association(namespace, name, pod_request.deadline).await,
            Freshness::Fresh => associations.fresh(namespace, name, pod_request.deadline).await,
        }
    }

    fn associations(&self) -> Option<&Associations> {
        self.state.associations.as_deref()
    }

    /// Each hop by itself. The policies of both are read at the same time.
    async fn evaluate_roles(
        &self,
        pod_request: &PodRequest<'_>,
        association: &Association,
        freshness: Freshness,
        worst: &mut Worst,
    ) {
        let cache = &self.state.cache;
        let limit = cache.limit(pod_request.deadline);
        let entries = association.hops().map(|(hop, role)| async move {
            let entry = match freshness {
                Freshness::Fresh => cache.fresh(role, limit).await,
                Freshness::Cached => cache.entry(role, limit).await,
            };
            (hop, role, entry)
        });
        let pod_name = pod_name(pod_request);
        for (hop, role, entry) in futures::future::join_all(entries).await {
            let mut judged = judge_association_role(hop, role, &entry.trust, association, pod_name);
            judged.copy_age = entry.copy_age;
            let finding = Finding::Associated {
                judged: &judged,
                association,
                hop,
            };
            worst.consider(Outcome {
                role: Some(role.clone()),
                policy_read_at: entry.read_at,
                ..self.decided(pod_request, &finding)
            });
        }
    }

    /// Containers that set a web identity themselves use that, whatever the association says.
    async fn evaluate_own(
        &self,
        pod_request: &PodRequest<'_>,
        account: &Account,
        freshness: Freshness,
        worst: &mut Worst,
    ) {
        let (requested, _) = identity::resolve(
            &self.settings.rules,
            account.identity.as_deref(),
            pod_request.pod,
            &self.settings.defaults,
        );
        let outcome = match requested {
            Requested::WebIdentity(request) => {
                let (outcome, _) = self.evaluate_containers(pod_request, &request, freshness).await;
                Some(outcome)
            }
            Requested::Nothing | Requested::Malformed(_) => self.evaluate_own_only(pod_request, freshness).await,
        };
        if let Some(outcome) = outcome {
            worst.consider(outcome);
        }
    }

    /// Evaluates a pod whose ServiceAccount has, or might have, an association but no role annotation, and whose containers set web
    /// identities themselves. Nothing is injected. None for every other pod.
    pub(super) async fn evaluate_own_with_association(
        &self,
        pod_request: &PodRequest<'_>,
        freshness: Freshness,
    ) -> Option<Outcome> {
        let identities = &pod_request.identities;
        if identities.lack_identity() || identities.own_web_identity().is_none() {
            return None;
        }
        if matches!(self.association(pod_request, freshness).await, Lookup::Absent) {
            return None;
        }
        let mut outcome = self.evaluate_own_only(pod_request, freshness).await?;
        if outcome.action == Action::Inject {
            outcome.action = Action::None;
        }
        if outcome.action != Action::Deny {
            outcome.add_concerns(Concerns::of(identities, None, &self.settings.web_identity));
        }
        Some(outcome)
    }

    /// Evaluates the web identities that containers set themselves in a pod that gets none.
    async fn evaluate_own_only(&self, pod_request: &PodRequest<'_>, freshness: Freshness) -> Option<Outcome> {
        let Identity::WebIdentity(own) = pod_request.identities.own_web_identity()?.identity() else {
            return None;
        };
        let defaults = &self.settings.defaults;
        // In place of what an annotation would request. No container has what is injected for it.
        let request = WebIdentityRequest {
            role: own.role.clone(),
            audience: defaults.audience.clone(),
            expiration_seconds: defaults.expiration_seconds,
            regional_sts: defaults.regional_sts,
        };
        let without = pod_request.with_identities(pod_request.identities.without_injection());
        let (outcome, _) = self.evaluate_containers(&without, &request, freshness).await;
        Some(outcome)
    }

    /// `kubectl debug` of a pod that has the token volume of the agent: the new containers get what the others have.
    pub(super) async fn ephemeral_pod_identity(&self, pod_request: &PodRequest<'_>) -> Option<Outcome> {
        let settings = &self.settings.pod_identity;
        let pod = pod_request.pod;
        self.associations()?;
        if !pod.has_projected_token(&settings.volume_name, &settings.token_path)
            || !pod_request.identities.lack_identity()
        {
            return None;
        }
        let (request, warnings) = self.pod_identity_request(pod_request);
        let (rules, identities) = (&self.settings.rules, &pod_request.identities);
        let injection = inject::ephemeral_missing_pod_identity(rules, pod, identities, &request, settings);
        let injected = pod_request.with_identities(identities.with_pod_identity());
        let evaluated = self.evaluate_association(&injected, Freshness::Cached).await;
        let outcome = evaluated.unwrap_or_else(|_| Outcome::untouched(Action::PodIdentity));
        let mut outcome = Outcome {
            action: Action::PodIdentity,
            injection: Some(injection),
            ..outcome
        };
        outcome.warnings.splice(0..0, warnings);
        Some(outcome)
    }

    /// What there is to say to the author of a pod without EKS Pod Identity, if its ServiceAccount has an association.
    pub(super) fn add_unused_association(
        &self,
        pod_request: &PodRequest<'_>,
        account: &Account,
        outcome: &mut Outcome,
    ) {
        if !self.has_cached_association(pod_request) {
            return;
        }
        // Where a role is evaluated, there is a warning about it already.
        let is_silent = !account.requests_role() && pod_request.identities.own_web_identity().is_none();
        if is_silent && outcome.action != Action::Deny {
            outcome.add_concerns(Concerns::of(&pod_request.identities, None, &self.settings.web_identity));
        }
        outcome.warnings.extend(self.unused_association(pod_request));
    }

    fn has_cached_association(&self, pod_request: &PodRequest<'_>) -> bool {
        let (namespace, name) = (pod_request.namespace, pod_request.service_account);
        let found = self
            .associations()
            .and_then(|associations| associations.cached(namespace, name));
        matches!(found, Some(Lookup::Association(_) | Lookup::Undescribed(_)))
    }

    /// The warning about an association that containers do not use, because they have a web identity.
    fn unused_association(&self, pod_request: &PodRequest<'_>) -> Option<Warning> {
        let (namespace, name) = (pod_request.namespace, pod_request.service_account);
        let container = pod_request.identities.own_web_identity().map(ContainerIdentity::name)?;
        self.has_cached_association(pod_request).then(|| {
            Warning::new(&format!(
                "rolegate: the EKS Pod Identity association of ServiceAccount {}/{} is not used by container {}: AWS SDKs take its web \
                 identity first",
                text::value(namespace),
                text::value(name),
                text::quote_within(container, 63),
            ))
        })
    }
}

/// What is known of the pod's name, which EKS Auth sends as a session tag.
fn pod_name<'a>(pod_request: &PodRequest<'a>) -> PodName<'a> {
    let pod = pod_request.pod;
    match (pod.name(), pod.generate_name()) {
        (Some(name), _) => PodName::Known(name),
        (None, Some(beginning)) => PodName::Beginning(beginning),
        (None, None) => PodName::Unknown,
    }
}
