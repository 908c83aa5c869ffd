//! The OIDC providers of accounts: one per account, since a cluster has one issuer. They are kept, read and shared as roles are.
//!
//! The check is an extra: a provider that cannot be read does not block any pod. It is read once, the first time that a role of its
//! account is evaluated, and then kept up to date in the background; before a refusal because of it, it is read again.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use super::entry::{Answered, Cached, Pause, RoleCacheSettings};
use super::fetch::Fetcher;
use crate::roles::source::ProviderAnswer;
use crate::support::age::as_good_as_now;
use crate::support::coalesce::{Caller, Coalescer, Outcome, Reading};
use crate::support::state_log::StateLog;
use crate::trust::{Issuer, Provider, RoleArn};

/// A provider changes once in a cluster's life: it is read this many times less often than a role.
const TTLS: u32 = 5;

/// How many accounts are kept.
const MOST_ACCOUNTS: usize = 256;

/// What is known of the provider of a role's account; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownProvider {
    /// It exists, with these client IDs.
    Registered(Arc<[Box<str>]>),
    /// It does not exist.
    Missing,
    /// No source can read it, or has the permission to.
    Unknown,
}

impl KnownProvider {
    /// For the evaluation; none when nothing is known.
    #[must_use]
    pub(crate) fn as_provider(&self) -> Option<Provider<'_>> {
        match self {
            Self::Registered(client_ids) => Some(Provider::Registered(client_ids)),
            Self::Missing => Some(Provider::Missing),
            Self::Unknown => None,
        }
    }
}

/// What is known of a provider before a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FreshProvider {
    pub(crate) provider: KnownProvider,
    /// The age of the copy, where the read had no turn.
    pub(crate) copy_age: Option<Duration>,
}

impl FreshProvider {
    const fn of(provider: KnownProvider) -> Self {
        let copy_age = None;
        Self { provider, copy_age }
    }
}

/// The providers of all accounts.
#[derive(Debug)]
pub(super) struct Providers {
    fetcher: Arc<Fetcher>,
    settings: RoleCacheSettings,
    issuer: OnceLock<Issuer>,
    /// Few, and read by every admission.
    accounts: ArcSwap<Vec<Arc<CachedProvider>>>,
    adding: Mutex<()>,
    reads: Coalescer<Arc<str>, ()>,
}

/// The provider of one account.
#[derive(Debug)]
pub(super) struct CachedProvider {
    /// `arn:PARTITION:iam::ACCOUNT:role/`, which the ARNs of its roles begin with.
    prefix: Arc<str>,
    /// A role of the account, to ask with.
    role: RoleArn,
    provider: Cached<KnownProvider>,
    log: Mutex<StateLog>,
}

impl Providers {
    /// Reads in tasks of `tasks`, until `end`.
    pub(super) fn new(
        fetcher: Arc<Fetcher>,
        settings: RoleCacheSettings,
        tasks: TaskTracker,
        end: CancellationToken,
    ) -> Self {
        Self {
            fetcher,
            settings,
            issuer: OnceLock::new(),
            accounts: ArcSwap::default(),
            adding: Mutex::new(()),
            reads: Coalescer::new(tasks, end),
        }
    }

    /// Checks the providers of this issuer from now on. Only the first call counts.
    pub(super) fn check(&self, issuer: Issuer) {
        if self.fetcher.reads_providers() {
            let _second = self.issuer.set(issuer);
        }
    }

    /// What is known; waits, by `deadline` and the read timeout, only when the provider was never read.
    pub(super) async fn known(&self, role: &RoleArn, deadline: Instant) -> KnownProvider {
        let Some(account) = self.account(role) else {
            return KnownProvider::Unknown;
        };
        if account.provider.answer().is_none() {
            let limit = self.settings.limit(Instant::now(), deadline);
            let _late = self.read(&account, Caller::any().by(limit)).await;
        }
        match account.provider.answer().as_deref() {
            Some(known) if known.began.elapsed() <= self.settings.max_stale => known.value.clone(),
            _ => KnownProvider::Unknown,
        }
    }

    /// What is in memory, for an evaluation that no pod waits for. None: the first read has not ended, or what it found is too old.
    pub(super) fn in_memory(&self, role: &RoleArn, now: Instant) -> Option<KnownProvider> {
        if self.issuer.get().is_none() {
            return Some(KnownProvider::Unknown);
        }
        let accounts = self.accounts.load();
        let account = accounts
            .iter()
            .find(|account| role.as_str().starts_with(&*account.prefix));
        match account {
            // The account will never be kept.
            None if accounts.len() >= MOST_ACCOUNTS => Some(KnownProvider::Unknown),
            None => None,
            Some(account) => {
                let answer = account.provider.answer();
                let serves = |known: &&Arc<Answered<KnownProvider>>| {
                    now.saturating_duration_since(known.began) <= self.settings.max_stale
                };
                answer.as_ref().filter(serves).map(|known| known.value.clone())
            }
        }
    }

    /// What is known as of now.
    ///
    /// # Errors
    /// One line that says why it could not be read.
    pub(super) async fn fresh(&self, role: &RoleArn, limit: Instant) -> Result<FreshProvider, Arc<str>> {
        let Some(account) = self.account(role) else {
            return Ok(FreshProvider::of(KnownProvider::Unknown));
        };
        let as_of = as_good_as_now(Instant::now());
        let mut copy_age = None;
        if account.provider.tried_at().is_none_or(|tried_at| tried_at < as_of) {
            match self.read(&account, Caller::as_of(as_of).urgent().by(limit)).await {
                Outcome::Done { .. } => {}
                Outcome::Busy | Outcome::TimedOut => {
                    copy_age = self.age_without_turn(&account);
                    if copy_age.is_none() {
                        return Err("the OIDC provider could not be read in time".into());
                    }
                }
            }
        }
        if let Some(reason) = account.provider.failure_reason() {
            return Err(reason);
        }
        let known = account.provider.answer();
        let provider = known
            .as_deref()
            .map_or(KnownProvider::Unknown, |known| known.value.clone());
        Ok(FreshProvider { provider, copy_age })
    }

    /// The age of a copy that is young enough for a refusal, where its read waits for a turn.
    fn age_without_turn(&self, account: &CachedProvider) -> Option<Duration> {
        if !self.reads.waits_for_turn(&account.prefix) {
            return None;
        }
        let known = account.provider.answer();
        self.settings.age_for_refusal(known.as_deref()?, Instant::now())
    }

    /// Keeps the providers of the accounts of these roles from now on.
    pub(super) fn reference<'a>(&self, roles: impl Iterator<Item = &'a RoleArn>) {
        for role in roles {
            self.account(role);
        }
    }

    /// The accounts whose provider is due to be read in the background.
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<CachedProvider>> {
        let ttl = self.settings.ttl.saturating_mul(TTLS);
        let is_due = |account: &&Arc<CachedProvider>| {
            let tried_at = account.provider.tried_at();
            tried_at.is_none_or(|tried_at| now.saturating_duration_since(tried_at) >= ttl)
        };
        self.accounts.load().iter().filter(is_due).cloned().collect()
    }

    pub(super) async fn read_in_background(&self, account: &Arc<CachedProvider>) {
        self.read(account, Caller::any().in_background()).await;
    }

    async fn read(&self, account: &Arc<CachedProvider>, caller: Caller) -> Outcome<()> {
        let Some(issuer) = self.issuer.get() else {
            return Outcome::TimedOut;
        };
        let (fetcher, issuer, read) = (Arc::clone(&self.fetcher), issuer.clone(), Arc::clone(account));
        let read = move |reading: Reading| {
            let (fetcher, issuer, account) = (Arc::clone(&fetcher), issuer.clone(), Arc::clone(&read));
            async move {
                let answer = fetcher
                    .fetch_provider(&account.role, &issuer, account.provider.tried_at(), &reading)
                    .await;
                if account.take(answer, reading.begin(Duration::ZERO)) {
                    fetcher.changes().provider();
                }
            }
        };
        self.reads.ask(Arc::clone(&account.prefix), caller, read).await
    }

    /// The account of a role, kept from now on; none when providers are not checked.
    fn account(&self, role: &RoleArn) -> Option<Arc<CachedProvider>> {
        self.issuer.get()?;
        let find = || {
            let accounts = self.accounts.load();
            let mut accounts = accounts.iter();
            accounts
                .find(|account| role.as_str().starts_with(&*account.prefix))
                .cloned()
        };
        if let Some(account) = find() {
            return Some(account);
        }
        let _one_at_a_time = self.adding.lock();
        if let Some(account) = find() {
            return Some(account);
        }
        let mut accounts = Vec::clone(&self.accounts.load());
        if accounts.len() >= MOST_ACCOUNTS {
            return None;
        }
        let account = Arc::new(CachedProvider {
            prefix: format!("arn:{}:iam::{}:role/", role.partition(), role.account()).into(),
            role: role.clone(),
            provider: Cached::default(),
            log: Mutex::default(),
        });
        accounts.push(Arc::clone(&account));
        self.accounts.store(Arc::new(accounts));
        Some(account)
    }
}

impl CachedProvider {
    /// Keeps what a read found. A failed read leaves what is known, or that nothing is. Returns whether it is news.
    fn take(&self, answer: ProviderAnswer, began: Instant) -> bool {
        self.log(&answer);
        let (value, failure) = match answer {
            ProviderAnswer::Provider { client_ids } => (Some(KnownProvider::Registered(client_ids)), None),
            ProviderAnswer::NoSuchProvider => (Some(KnownProvider::Missing), None),
            ProviderAnswer::NotMine | ProviderAnswer::NotPermitted(_) => (Some(KnownProvider::Unknown), None),
            ProviderAnswer::Failed(reason) => {
                let is_first = self.provider.answer().is_none();
                (is_first.then_some(KnownProvider::Unknown), Some(reason))
            }
        };
        let is_news = value.is_some_and(|value| {
            let answer = Arc::new(Answered { value, began });
            self.provider.keep(answer, |before, now| now != before)
        });
        if let Some(reason) = failure {
            self.provider.fail(reason, began, Pause::None);
        }
        is_news
    }

    /// Logs once that the provider is not checked, and why.
    fn log(&self, answer: &ProviderAnswer) {
        let account = self.role.account();
        let mut log = self.log.lock();
        match answer {
            ProviderAnswer::NotPermitted(reason) => {
                if log.failed() {
                    info!(account, %reason, "the OIDC provider is not checked");
                }
            }
            ProviderAnswer::Failed(reason) => {
                debug!(account, %reason, "failed to read the OIDC provider");
            }
            ProviderAnswer::Provider { .. } | ProviderAnswer::NoSuchProvider => {
                if log.recovered().is_some() {
                    info!(account, "the OIDC provider is checked again");
                }
            }
            ProviderAnswer::NotMine => {}
        }
    }
}
