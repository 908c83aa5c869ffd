//! What the role cache knows of OIDC providers: one an account, since a cluster has one issuer.
//!
//! The check is an extra: what cannot be read stands in nobody's way. It is asked for once, the first time that a role of its
//! account is judged, and then kept up to date in the background; before a refusal because of it, it is read afresh.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};

use super::cache::{AS_GOOD_AS_NOW, Core};
use super::fetch::LONGEST_READ;
use super::limiter::{Priority, Urgency};
use super::source::ProviderAnswer;
use crate::trust::{Issuer, Provider, RoleArn};

/// A provider changes once in a cluster's life: it is read so many times less often than a role.
const TTLS: u32 = 5;

/// How many accounts are remembered.
const MOST_ACCOUNTS: usize = 256;

/// What is known of the provider of a role's account; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownProvider {
    /// It exists, with these client IDs.
    Registered(Arc<[Box<str>]>),
    /// It does not exist.
    Missing,
    /// Nobody can tell, or may.
    Unknown,
}

impl KnownProvider {
    /// For judging; none when nothing is known.
    #[must_use]
    pub fn as_provider(&self) -> Option<Provider<'_>> {
        match self {
            Self::Registered(client_ids) => Some(Provider::Registered(client_ids)),
            Self::Missing => Some(Provider::Missing),
            Self::Unknown => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Providers {
    issuer: OnceLock<Issuer>,
    accounts: ArcSwap<Vec<Arc<Account>>>,
    adding: Mutex<()>,
}

/// The provider of one account.
#[derive(Debug)]
pub(super) struct Account {
    /// `arn:PARTITION:iam::ACCOUNT:role/`, what its roles begin with.
    prefix: Box<str>,
    /// A role of the account, to ask by.
    role: RoleArn,
    held: ArcSwapOption<Held>,
    reading: tokio::sync::Mutex<()>,
    /// What was said of it in the log.
    told: Mutex<Option<Arc<str>>>,
}

#[derive(Clone, Debug)]
struct Held {
    known: KnownProvider,
    /// Why it is not known better, when the last read failed.
    failure: Option<Arc<str>>,
    /// When what is known was read.
    read_at: Instant,
    /// When the last read began, failed or not.
    tried_at: Instant,
}

impl Core {
    /// From now on the providers of this issuer are checked. Only the first one counts.
    pub(super) fn check_providers_of(&self, issuer: Issuer) {
        if self.sources.iter().any(|reader| reader.source.reads_providers()) {
            let _second = self.providers.issuer.set(issuer);
        }
    }

    /// What is known; waits, by `deadline` and the read timeout, only when nobody ever asked.
    pub(super) async fn provider(&self, role: &RoleArn, deadline: Instant) -> KnownProvider {
        let Some(account) = self.provider_account(role) else {
            return KnownProvider::Unknown;
        };
        if account.held.load().is_none() {
            let arrived = Instant::now();
            let limit = self.limit(arrived, deadline);
            let _late = timeout_at(limit, self.read_provider(&account, arrived, Priority::Admission)).await;
        }
        let held = account.held.load();
        match held.as_deref() {
            Some(held) if held.read_at.elapsed() <= self.settings.max_stale => held.known.clone(),
            _ => KnownProvider::Unknown,
        }
    }

    /// What is known now.
    ///
    /// # Errors
    /// One line that says why it could not be read.
    pub(super) async fn provider_afresh(&self, role: &RoleArn, limit: Instant) -> Result<KnownProvider, Arc<str>> {
        let Some(account) = self.provider_account(role) else {
            return Ok(KnownProvider::Unknown);
        };
        let late = || Arc::from("the OIDC provider could not be read in time");
        let arrived = Instant::now();
        timeout_at(limit, self.read_provider(&account, arrived, Priority::Admission))
            .await
            .map_err(|_elapsed| late())?;
        match account.held.load().as_deref() {
            None => Ok(KnownProvider::Unknown),
            Some(Held {
                failure: None, known, ..
            }) => Ok(known.clone()),
            Some(Held { failure: Some(why), .. }) => Err(Arc::clone(why)),
        }
    }

    /// The accounts whose provider is due to be read in the background.
    pub(super) fn due_providers(&self, now: Instant) -> Vec<Arc<Account>> {
        let ttl = self.settings.ttl.saturating_mul(TTLS);
        let is_due = |account: &&Arc<Account>| {
            let held = account.held.load();
            held.as_deref()
                .is_none_or(|held| now.saturating_duration_since(held.tried_at) >= ttl)
        };
        self.providers.accounts.load().iter().filter(is_due).cloned().collect()
    }

    /// Remembers the accounts of roles that are named.
    pub(super) fn want_providers<'a>(&self, roles: impl Iterator<Item = &'a RoleArn>) {
        for role in roles {
            self.provider_account(role);
        }
    }

    /// Reads it, unless what is held was read about when this was asked for.
    pub(super) async fn read_provider(&self, account: &Account, asked: Instant, priority: Priority) {
        let Some(issuer) = self.providers.issuer.get() else {
            return;
        };
        let _one_at_a_time = account.reading.lock().await;
        let before = account.held.load_full();
        if before
            .as_deref()
            .is_some_and(|held| held.tried_at + AS_GOOD_AS_NOW > asked)
        {
            return;
        }
        let tried_at = Instant::now();
        let answer = timeout(LONGEST_READ, self.ask_provider(account, issuer, priority)).await;
        let answer = answer.unwrap_or_else(|_| ProviderAnswer::Failed("AWS did not answer in time".into()));
        account.tell(&answer);
        let (known, failure) = match answer {
            ProviderAnswer::Provider { client_ids } => (KnownProvider::Registered(client_ids), None),
            ProviderAnswer::NoSuchProvider => (KnownProvider::Missing, None),
            ProviderAnswer::NotMine | ProviderAnswer::NotPermitted(_) => (KnownProvider::Unknown, None),
            ProviderAnswer::Failed(why) => match before.as_deref() {
                None => (KnownProvider::Unknown, Some(why)),
                Some(before) => {
                    let held = Held {
                        failure: Some(why),
                        tried_at,
                        ..before.clone()
                    };
                    account.held.store(Some(Arc::new(held)));
                    return;
                }
            },
        };
        account.held.store(Some(Arc::new(Held {
            known,
            failure,
            read_at: tried_at,
            tried_at,
        })));
    }

    async fn ask_provider(&self, account: &Account, issuer: &Issuer, priority: Priority) -> ProviderAnswer {
        for reader in self.sources.iter().filter(|reader| reader.source.reads_providers()) {
            if reader.source.knows(&account.role).is_some() {
                continue;
            }
            if let Some(limiter) = &reader.limiter {
                limiter.turn(&Urgency::of(priority)).await;
            }
            match reader.source.provider(&account.role, issuer).await {
                ProviderAnswer::NotMine => {}
                answer => return answer,
            }
        }
        ProviderAnswer::NotMine
    }

    /// The account of a role, remembered from now on; none when providers are not checked.
    fn provider_account(&self, role: &RoleArn) -> Option<Arc<Account>> {
        self.providers.issuer.get()?;
        let find = || {
            let accounts = self.providers.accounts.load();
            accounts
                .iter()
                .find(|account| role.as_str().starts_with(&*account.prefix))
                .cloned()
        };
        if let Some(account) = find() {
            return Some(account);
        }
        let _one_at_a_time = self.providers.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = find() {
            return Some(account);
        }
        let mut accounts = Vec::clone(&self.providers.accounts.load());
        if accounts.len() >= MOST_ACCOUNTS {
            return None;
        }
        let account = Arc::new(Account {
            prefix: format!("arn:{}:iam::{}:role/", role.partition(), role.account()).into(),
            role: role.clone(),
            held: ArcSwapOption::empty(),
            reading: tokio::sync::Mutex::default(),
            told: Mutex::default(),
        });
        accounts.push(Arc::clone(&account));
        self.providers.accounts.store(Arc::new(accounts));
        Some(account)
    }
}

impl Account {
    /// Logs what cannot be checked, once and not once a read.
    fn tell(&self, answer: &ProviderAnswer) {
        let account = self.role.account();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            ProviderAnswer::NotPermitted(reason) => {
                if told.replace(Arc::clone(reason)).is_none() {
                    info!(account, %reason, "the OIDC provider is not checked");
                }
            }
            ProviderAnswer::Failed(reason) => {
                debug!(account, %reason, "the OIDC provider could not be read");
            }
            ProviderAnswer::Provider { .. } | ProviderAnswer::NoSuchProvider => {
                if told.take().is_some() {
                    info!(account, "the OIDC provider is checked again");
                }
            }
            ProviderAnswer::NotMine => {}
        }
    }
}
