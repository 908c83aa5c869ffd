//! Reads one role, or the OIDC provider of its account, from the sources, within their rate limits. Does not keep anything.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::changes::Changes;
use super::entry::{Answered, CachedRole, Pause, RoleTrust, Trust};
use super::fingerprint::Fingerprint;
use crate::roles::observe::{ReadObserver, ReadResult};
use crate::roles::source::{Answer, Pace, ProviderAnswer, RoleDocument, RoleSource};
use crate::support::coalesce::{Priority, Reading, SharedPriority};
use crate::support::rate_limit::{Call, FAILING, RateLimiter};
use crate::support::state_log::StateLog;
use crate::trust::{Issuer, Policy, RoleArn};

/// The longest that one source may take for one answer, however long callers would wait.
const LONGEST_READ: Duration = Duration::from_secs(10);

/// Background reads of a source that reads from the disk may share what one of them found this recently: reading a thousand roles
/// again does not read all files a thousand times.
const SHARED: Duration = Duration::from_millis(200);

/// The sources, asked in this order.
#[derive(Debug)]
pub(super) struct Fetcher {
    sources: Vec<PacedSource>,
    observer: Arc<dyn ReadObserver>,
    /// Changes when roles of a listing were kept.
    listed: watch::Sender<()>,
    changes: Arc<Changes>,
}

/// How the sources answered for a role.
pub(super) enum Fetched {
    Answer(RoleTrust),
    Failed { reason: Arc<str>, pause: Pause },
}

impl Fetcher {
    /// `refusal_waits` is notified when a refusal has to wait for a call.
    pub(super) fn new(
        sources: Vec<Arc<dyn RoleSource>>,
        observer: Arc<dyn ReadObserver>,
        refusal_waits: &Arc<Notify>,
        changes: Arc<Changes>,
    ) -> Self {
        let paced = |source| PacedSource::new(source, refusal_waits);
        Self {
            sources: sources.into_iter().map(paced).collect(),
            observer,
            listed: watch::Sender::new(()),
            changes,
        }
    }

    /// Keeps an answer for a role.
    pub(super) fn keep(&self, role: &CachedRole, answer: Arc<Answered<RoleTrust>>) {
        if role.trust.keep(answer, |before, now| now.differs_from(before)) {
            self.changes.role(&role.arn);
        }
    }

    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    pub(super) fn sources(&self) -> &[PacedSource] {
        &self.sources
    }

    /// Roles of a listing were kept.
    pub(super) fn roles_listed(&self) {
        self.listed.send_replace(());
    }

    /// Reports each time that roles of a listing were kept.
    pub(super) fn listings(&self) -> watch::Receiver<()> {
        self.listed.subscribe()
    }

    /// Asks the sources for a role in order, until one of them has an answer. `last` is when it was read last, and `kept` is its last
    /// answer.
    pub(super) async fn fetch(
        &self,
        role: &RoleArn,
        last: Option<Instant>,
        kept: Option<&RoleTrust>,
        reading: &Reading,
    ) -> Fetched {
        let mut cannot = None;
        for (order, paced) in self.sources.iter().enumerate() {
            let answer = match paced.source.knows(role) {
                Some(answer @ (Answer::NotMine | Answer::CannotRead(_))) => Ok(answer),
                _ => self.read(paced, role, last, reading).await,
            };
            let (trust, fingerprint) = match answer {
                Ok(Answer::NotMine) => continue,
                Ok(Answer::CannotRead(reason)) => {
                    cannot = Some(reason);
                    continue;
                }
                Ok(Answer::Role(document)) => trust_of(&document, kept),
                Ok(Answer::NoSuchRole { hint }) => (Trust::NoSuchRole { hint }, None),
                Ok(Answer::Failed(reason) | Answer::Throttled(reason)) => return paced.failed(reason),
                Err(_) => {
                    let (name, seconds) = (paced.name(), LONGEST_READ.as_secs());
                    return paced.failed(format!("{name} did not respond within {seconds} s").into());
                }
            };
            return Fetched::Answer(RoleTrust {
                trust,
                fingerprint,
                source: Some(paced.name()),
                order,
            });
        }
        let why = cannot.unwrap_or_else(|| match self.sources.len() {
            0 => "no role source is set".into(),
            _ => format!("no role source knows this role (asked: {})", self.names()).into(),
        });
        Fetched::Answer(RoleTrust {
            trust: Trust::Unknown(why),
            fingerprint: None,
            source: None,
            order: self.sources.len(),
        })
    }

    async fn read(
        &self,
        paced: &PacedSource,
        role: &RoleArn,
        last: Option<Instant>,
        reading: &Reading,
    ) -> Result<Answer, Elapsed> {
        paced.acquire_read(last, reading).await;
        let window = match (reading.priority().highest(), &paced.limiter) {
            (Priority::Background, None) => SHARED,
            _ => Duration::ZERO,
        };
        let as_of = reading.begin(window);
        let asked = Instant::now();
        let answer = timeout(LONGEST_READ, paced.source.read(role, as_of)).await;
        let result = match &answer {
            Ok(Answer::Role(_)) => ReadResult::Role,
            Ok(Answer::NoSuchRole { .. }) => ReadResult::NoSuchRole,
            Ok(Answer::NotMine | Answer::CannotRead(_)) => ReadResult::NotMine,
            Ok(Answer::Failed(_)) => ReadResult::Failed,
            Ok(Answer::Throttled(_)) => ReadResult::Throttled,
            Err(_) => ReadResult::TimedOut,
        };
        self.observer.role_read(paced.name(), result, asked.elapsed());
        paced.adjust(result);
        paced.log(role, &answer);
        answer
    }

    /// Asks the sources that read OIDC providers for the one that an issuer has in the account of a role.
    pub(super) async fn fetch_provider(
        &self,
        role: &RoleArn,
        issuer: &Issuer,
        last: Option<Instant>,
        reading: &Reading,
    ) -> ProviderAnswer {
        let ask = async {
            for paced in self.sources.iter().filter(|paced| paced.source.reads_providers()) {
                if paced.source.knows(role).is_some() {
                    continue;
                }
                paced.acquire_read(last, reading).await;
                reading.begin(Duration::ZERO);
                match paced.source.provider(role, issuer).await {
                    ProviderAnswer::NotMine => {}
                    answer => return answer,
                }
            }
            ProviderAnswer::NotMine
        };
        let answer = timeout(LONGEST_READ, ask).await;
        answer.unwrap_or_else(|_| ProviderAnswer::Failed("AWS did not respond in time".into()))
    }

    pub(super) fn reads_providers(&self) -> bool {
        self.sources.iter().any(|paced| paced.source.reads_providers())
    }

    /// Whether an answer of the source at this position takes a call over the network.
    pub(super) fn is_remote(&self, order: usize) -> bool {
        let mut asked = self.sources.iter().take(order.saturating_add(1));
        asked.any(|paced| paced.limiter.is_some())
    }

    /// The names of all sources, for messages.
    pub(super) fn names(&self) -> String {
        let mut names: Vec<_> = self.sources.iter().map(PacedSource::name).collect();
        // Each account that is read from IAM is a source of the same name.
        names.dedup();
        if names.is_empty() {
            "no role source".to_owned()
        } else {
            names.join(", ")
        }
    }
}

/// A source and its pace.
#[derive(Debug)]
pub(super) struct PacedSource {
    pub(super) source: Arc<dyn RoleSource>,
    /// None for a source that answers from memory.
    limiter: Option<RateLimiter>,
    log: Mutex<StateLog>,
}

impl PacedSource {
    fn new(source: Arc<dyn RoleSource>, refusal_waits: &Arc<Notify>) -> Self {
        let limiter = match source.pace() {
            Pace::Memory => None,
            Pace::Remote { per_second } => Some(RateLimiter::new(per_second, Arc::clone(refusal_waits))),
        };
        Self {
            source,
            limiter,
            log: Mutex::new(StateLog::after(FAILING)),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.source.name()
    }

    pub(super) const fn is_remote(&self) -> bool {
        self.limiter.is_some()
    }

    /// Waits until the source may be called for a page of a listing.
    pub(super) async fn acquire_page(&self, priority: &SharedPriority) {
        if let Some(limiter) = &self.limiter {
            limiter.acquire(Call::List, priority).await;
        }
    }

    /// Waits until the source may be called for what was read last at this moment.
    async fn acquire_read(&self, last: Option<Instant>, reading: &Reading) {
        if let Some(limiter) = &self.limiter {
            let turn = limiter.acquire(Call::Read { last }, reading.priority());
            reading.wait_for_turn(turn).await;
        }
    }

    /// The pace of a source over the network.
    pub(super) const fn limiter(&self) -> Option<&RateLimiter> {
        self.limiter.as_ref()
    }

    /// Adjusts the pace to how a call ended.
    pub(super) fn adjust(&self, result: ReadResult) {
        let Some(limiter) = &self.limiter else { return };
        match result {
            ReadResult::Throttled => limiter.throttled(Instant::now()),
            ReadResult::Role | ReadResult::NoSuchRole | ReadResult::NotMine => limiter.answered(),
            ReadResult::Failed | ReadResult::TimedOut => limiter.failed(Instant::now()),
        }
    }

    fn failed(&self, reason: Arc<str>) -> Fetched {
        let pause = if self.is_remote() { Pause::BackOff } else { Pause::None };
        Fetched::Failed { reason, pause }
    }

    /// Logs when the source as a whole begins to fail and when it has recovered, not each read: a single role that cannot be read
    /// is reported where it is evaluated.
    fn log(&self, role: &RoleArn, answer: &Result<Answer, Elapsed>) {
        let source = self.name();
        let mut log = self.log.lock();
        let reason = match answer {
            Ok(Answer::Failed(reason) | Answer::Throttled(reason)) => reason,
            Err(_) => "no answer",
            Ok(_) => {
                if log.recovered().is_some() {
                    info!(source, "role source recovered");
                }
                return;
            }
        };
        debug!(source, %role, reason, "failed to read a role");
        if self.is_remote() && log.failed() {
            warn!(source, %role, reason, "role source is failing; cached roles stay in use until they are too old");
        }
    }
}

/// Parses a role's document, unless its text is that of the last answer: most reads find what is known.
pub(super) fn trust_of(document: &RoleDocument, kept: Option<&RoleTrust>) -> (Trust, Option<Fingerprint>) {
    let fingerprint = Some(Fingerprint::of(document));
    let kept = kept.filter(|kept| kept.fingerprint == fingerprint);
    let trust = match kept.map(|kept| &kept.trust) {
        Some(Trust::Policy { policy, .. }) => Trust::Policy {
            policy: Arc::clone(policy),
            tags: document.tags.clone(),
        },
        Some(Trust::Malformed(reason)) => Trust::Malformed(Arc::clone(reason)),
        Some(Trust::NoSuchRole { .. } | Trust::Unknown(_)) | None => parse(document),
    };
    (trust, fingerprint)
}

fn parse(document: &RoleDocument) -> Trust {
    match Policy::parse_encoded(&document.policy) {
        Ok(policy) => Trust::Policy {
            policy: Arc::new(policy.of_origin(document.origin)),
            tags: document.tags.clone(),
        },
        Err(error) => Trust::Malformed(error.to_string().into()),
    }
}
