//! The judgment of one ServiceAccount with what is in memory.

use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::accounts::Outcome;
use crate::admission::judgment::judge_role;
use crate::associations::{Associations, Lookup};
use crate::decision::{self, DecisionSettings, Finding, Judged, Mode, Owner, messages};
use crate::kubernetes::container_credentials::ContainerCredentials;
use crate::kubernetes::service_accounts::{ServiceAccounts, Stored};
use crate::roles::{RoleCache, Trust};
use crate::telemetry::metrics::TrustChange;
use crate::trust::{Audience, Issuer, RoleArn, SessionName, Subject, WebIdentity};

/// What judgments are made with.
#[derive(Clone, Debug)]
pub struct Known {
    /// ServiceAccounts.
    pub accounts: Arc<ServiceAccounts>,
    /// Trust policies.
    pub cache: Arc<RoleCache>,
    /// `--container-credentials-config`: pods of these ServiceAccounts do not use their role.
    pub container_credentials: Option<Arc<ContainerCredentials>>,
    /// EKS Pod Identity associations: pods of ServiceAccounts with one do not use their annotation's role.
    pub associations: Option<Arc<Associations>>,
}

/// What flags say about judgments.
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

/// Why a verdict is what it is.
pub(super) struct Reason {
    pub(super) judged: Judged,
    pub(super) trust: Trust,
    identity: WebIdentity,
}

/// Judges the web identity of a ServiceAccount.
pub(super) fn judge(known: &Known, settings: &Settings, namespace: &str, name: &str) -> (Outcome, Option<Reason>) {
    let credentials = known.container_credentials.as_ref();
    if credentials.is_some_and(|credentials| credentials.contains(namespace, name)) {
        return (Outcome::NotUsed, None);
    }
    let associations = known.associations.as_ref();
    if let Some(Lookup::Association(_) | Lookup::Undescribed(_)) =
        associations.and_then(|associations| associations.cached(namespace, name))
    {
        return (Outcome::NotUsed, None);
    }
    // Without a role by now, the watch is about to report it.
    let Stored::Identity(account) = known.accounts.stored(namespace, name) else {
        return (Outcome::NotYet, None);
    };
    let Some(role) = account.role() else {
        return (Outcome::NotYet, None);
    };
    let Some((trust, provider)) = known.cache.in_memory(role) else {
        return (Outcome::NotYet, None);
    };
    let identity = WebIdentity {
        issuer: settings.issuer.clone(),
        subject: Subject::service_account(namespace, name),
        audience: account.audience().unwrap_or(&settings.audience).clone(),
    };
    let judged = judge_role(role.clone(), &trust, &provider, &identity, SessionName::Unknown);
    let outcome = Outcome::Verdict {
        verdict: judged.verdict,
        cause: judged.cause,
        by_clock: matches!(&trust, Trust::Policy { policy, .. } if policy.mentions_time()),
    };
    let reason = Reason {
        judged,
        trust,
        identity,
    };
    (outcome, Some(reason))
}

impl Reason {
    /// What a refusal would say, or that the role trusts the ServiceAccount.
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
                let finding = Finding::Judged(&self.judged, &self.identity);
                decision::decide(DecisionSettings::default(), Mode::Enforce, &finding, &owner).refusal
            }
            TrustChange::Restored => None,
        };
        refusal.unwrap_or_else(|| messages::about_judged(&self.judged, &self.identity, namespace, name).text())
    }
}

/// The same number in every replica for the same role and policy.
pub(super) fn digest(role: &RoleArn, trust: &Trust) -> u64 {
    let mut hasher = DefaultHasher::new();
    role.as_str().hash(&mut hasher);
    // The parsed policy, because sources encode and indent the same document differently.
    let _ = match trust {
        Trust::Policy { policy, .. } => write!(Hashed(&mut hasher), "{policy:?}"),
        Trust::NoSuchRole { .. } | Trust::Malformed(_) | Trust::Unknown(_) => Ok(()),
    };
    hasher.finish()
}

/// Hashes text as it is written.
struct Hashed<'a>(&'a mut DefaultHasher);

impl fmt::Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
