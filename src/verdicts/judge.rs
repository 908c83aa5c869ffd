//! Evaluates one ServiceAccount with the data in memory.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::accounts::Outcome;
use super::identity::{Credentials, IdentitySources};
use super::standing::Basis;
use crate::admission::judgment::{judge_association_role, judge_role};
use crate::decision::{self, DecisionSettings, Finding, Judged, Mode, Owner, messages};
use crate::kubernetes::container_credentials::ContainerCredentials;
use crate::kubernetes::service_accounts::ServiceAccounts;
use crate::pod::identity::ServiceAccountIdentity;
use crate::roles::{RoleCache, Trust};
use crate::telemetry::metrics::TrustChange;
use crate::trust::{Association, Audience, Hop, Issuer, PodName, RoleArn, SessionName, Subject, Verdict, WebIdentity};

/// The data that evaluations use.
#[derive(Clone, Debug)]
pub struct Known {
    /// ServiceAccounts.
    pub accounts: Arc<ServiceAccounts>,
    /// `--container-credentials-config`: what pods of these ServiceAccounts use cannot be evaluated.
    pub container_credentials: Option<Arc<ContainerCredentials>>,
    /// Trust policies.
    pub cache: Arc<RoleCache>,
}

/// The settings of evaluations, from flags.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's issuer.
    pub issuer: Issuer,
    /// `--token-audience`.
    pub audience: Audience,
    /// `--annotation-prefix`, with its slash.
    pub prefix: String,
    /// `--docs-url`.
    pub docs_url: Option<String>,
}

/// What was found about a ServiceAccount.
pub(super) struct Judgment {
    /// The roles that it depends on.
    pub(super) roles: Vec<RoleArn>,
    pub(super) outcome: Outcome,
    /// None without a role that was evaluated.
    pub(super) reason: Option<Reason>,
}

/// Why a verdict is what it is.
pub(super) struct Reason {
    pub(super) judged: Judged,
    about: About,
    /// All roles that were evaluated.
    policies: Vec<(RoleArn, Trust)>,
}

/// What was evaluated.
enum About {
    WebIdentity(WebIdentity),
    Association(Arc<Association>, Hop),
}

/// Evaluates the identity of a ServiceAccount's pods.
pub(super) fn judge(
    known: &Known,
    sources: &IdentitySources,
    settings: &Settings,
    namespace: &str,
    name: &str,
) -> Judgment {
    let credentials = known.container_credentials.as_ref();
    if credentials.is_some_and(|credentials| credentials.contains(namespace, name)) {
        return Judgment::without_role(Outcome::NotJudged);
    }
    let stored = known.accounts.stored(namespace, name);
    match sources.credentials_of(stored, namespace, name) {
        Credentials::NotJudged => Judgment::without_role(Outcome::NotJudged),
        Credentials::WebIdentity { requested, basis } => {
            judge_web_identity(known, settings, &requested, basis, namespace, name)
        }
        Credentials::Association(association) => judge_association(&known.cache, association),
        // As at an admission.
        Credentials::UnknownAssociation => Judgment::without_role(Outcome::Verdict {
            verdict: Verdict::Unknown,
            cause: None,
            basis: Basis::Association,
            is_rechecked: true,
        }),
    }
}

fn judge_web_identity(
    known: &Known,
    settings: &Settings,
    requested: &ServiceAccountIdentity,
    basis: Basis,
    namespace: &str,
    name: &str,
) -> Judgment {
    let Some(role) = requested.role() else {
        return Judgment::without_role(Outcome::NotJudged);
    };
    let roles = vec![role.clone()];
    let Some((trust, provider)) = known.cache.in_memory(role) else {
        return Judgment::not_yet(roles);
    };
    let identity = WebIdentity {
        issuer: settings.issuer.clone(),
        subject: Subject::service_account(namespace, name),
        audience: requested.audience().unwrap_or(&settings.audience).clone(),
    };
    let judged = judge_role(role.clone(), &trust, &provider, &identity, SessionName::Unknown);
    let by_clock = matches!(&trust, Trust::Policy { policy, .. } if policy.mentions_time());
    Judgment {
        roles,
        outcome: Outcome::Verdict {
            verdict: judged.verdict,
            cause: judged.cause,
            basis,
            is_rechecked: by_clock || basis == Basis::PerhapsWebIdentity,
        },
        reason: Some(Reason {
            judged,
            about: About::WebIdentity(identity),
            policies: vec![(role.clone(), trust)],
        }),
    }
}

/// Evaluates each role separately: the worst verdict decides; of equal ones, the first.
fn judge_association(cache: &RoleCache, association: Arc<Association>) -> Judgment {
    let mut roles = Vec::with_capacity(2);
    let mut policies = Vec::with_capacity(2);
    let mut worst: Option<(Hop, Judged)> = None;
    for (hop, role) in association.hops() {
        roles.push(role.clone());
        let Some(trust) = cache.trust_in_memory(role) else {
            continue;
        };
        let judged = judge_association_role(hop, role, &trust, &association, PodName::Unknown);
        if worst.as_ref().is_none_or(|(_, worst)| worst.verdict < judged.verdict) {
            worst = Some((hop, judged));
        }
        policies.push((role.clone(), trust));
    }
    match worst {
        Some((hop, judged)) if policies.len() == roles.len() => Judgment {
            roles,
            outcome: Outcome::Verdict {
                verdict: judged.verdict,
                cause: judged.cause,
                basis: Basis::Association,
                // What is known of it may become too old.
                is_rechecked: true,
            },
            reason: Some(Reason {
                judged,
                about: About::Association(association, hop),
                policies,
            }),
        },
        _ => Judgment::not_yet(roles),
    }
}

impl Judgment {
    const fn without_role(outcome: Outcome) -> Self {
        Self {
            roles: Vec::new(),
            outcome,
            reason: None,
        }
    }

    const fn not_yet(roles: Vec<RoleArn>) -> Self {
        Self {
            roles,
            outcome: Outcome::NotYet,
            reason: None,
        }
    }
}

impl Reason {
    /// The message of a refusal, or that the role trusts the ServiceAccount.
    pub(super) fn message(&self, change: TrustChange, settings: &Settings, namespace: &str, name: &str) -> String {
        let owner = Owner {
            namespace,
            service_account: name,
            prefix: &settings.prefix,
            docs_url: settings.docs_url.as_deref(),
            restart: None,
        };
        let refusal = match change {
            TrustChange::Lost => {
                decision::decide(DecisionSettings::default(), Mode::Enforce, &self.finding(), &owner).refusal
            }
            TrustChange::Restored => None,
        };
        let message = || match &self.about {
            About::WebIdentity(identity) => messages::about_judged(&self.judged, identity, namespace, name),
            About::Association(association, hop) => messages::about_association(&self.judged, association, *hop),
        };
        refusal.unwrap_or_else(|| message().text())
    }

    fn finding(&self) -> Finding<'_> {
        match &self.about {
            About::WebIdentity(identity) => Finding::Judged(&self.judged, identity),
            About::Association(association, hop) => Finding::Associated {
                judged: &self.judged,
                association,
                hop: *hop,
            },
        }
    }

    /// The same number in every replica for the same roles and policies.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (role, trust) in &self.policies {
            role.as_str().hash(&mut hasher);
            // The parsed policy, because sources encode and indent the same document differently.
            let _ = match trust {
                Trust::Policy { policy, .. } => write!(Hashed(&mut hasher), "{policy:?}"),
                Trust::NoSuchRole { .. } | Trust::Malformed(_) | Trust::Unknown(_) => Ok(()),
            };
        }
        hasher.finish()
    }
}

/// Hashes text as it is written.
struct Hashed<'a>(&'a mut DefaultHasher);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
