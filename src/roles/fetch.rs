//! Reading one role: through the sources, at their pace, once for all who wait.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::age::backoff;
use super::cache::{Core, Entry, Held, Trust};
use super::limiter::{FAILING, Priority, RateLimiter, Urgency};
use super::observe::ReadResult;
use super::source::{Answer, Pace, RoleDocument, RoleSource};
use super::store::CachedRole;
use crate::trust::{Policy, RoleArn};

/// The longest that one source may take for one role, whoever still waits for it.
pub(super) const LONGEST_READ: Duration = Duration::from_secs(10);

/// Background reads of a source that reads from the disk may share what one of them found this recently: a thousand roles that
/// are read again are not a thousand looks at all files.
const SHARED: Duration = Duration::from_millis(200);

/// How many unfinished reads the refresher takes over at most; more are driven by those who wait for them alone.
pub(super) const ADOPTED_READS: usize = 1024;

/// A source and its pace.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) source: Arc<dyn RoleSource>,
    /// None for a source that answers from memory.
    pub(super) limiter: Option<RateLimiter>,
    /// Failed reads in a row, of whatever roles.
    failures: AtomicU32,
}

/// The read under way for a role, and what failed since the last answer.
#[derive(Debug, Default)]
pub(super) struct RefreshState {
    flight: Option<(WeakShared<BoxFuture<'static, ReadOutcome>>, Urgency)>,
    pub(super) failure: Option<Failure>,
}

/// The last read failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: Arc<str>,
    /// How often in a row.
    streak: u32,
    pub(super) at: Instant,
    /// Nobody reads before this. In the past for sources that answer from memory.
    pub(super) retry_at: Instant,
}

/// One read, shared by all who wait for it.
pub(super) type InFlight = Shared<BoxFuture<'static, ReadOutcome>>;

/// How a read ended.
#[derive(Clone, Debug)]
pub(super) enum ReadOutcome {
    Answer(Arc<Held>),
    Failed { reason: Arc<str>, begun: Instant },
}

impl ReadOutcome {
    pub(super) fn entry(&self) -> Entry {
        match self {
            Self::Answer(held) => held.entry(),
            Self::Failed { reason, .. } => Entry::unknown(Arc::clone(reason)),
        }
    }
}

impl Core {
    /// Reads a role for an admission: joins the read under way or begins one, and waits no longer than `limit`.
    pub(super) async fn read_by(
        self: &Arc<Self>,
        cached: &Arc<CachedRole>,
        limit: Instant,
    ) -> Result<ReadOutcome, Arc<str>> {
        while let Some((retry_at, reason)) = cached.pause(Instant::now()) {
            if retry_at >= limit {
                return Err(reason);
            }
            sleep_until(retry_at).await;
        }
        let asked = Instant::now();
        let flight = self.read(cached, Priority::Admission);
        timeout_at(limit, flight).await.map_err(|_elapsed| {
            let waited = limit.saturating_duration_since(asked);
            let why = format!(
                "{} did not answer within {} ms",
                self.source_names(),
                waited.as_millis()
            );
            Arc::from(why)
        })
    }

    /// Joins the read under way, or begins one.
    pub(super) fn read(self: &Arc<Self>, cached: &Arc<CachedRole>, priority: Priority) -> InFlight {
        let mut refresh_state = cached.refresh_state();
        if let Some((flight, urgency)) = &refresh_state.flight
            && let Some(flight) = flight.upgrade()
        {
            urgency.raise_to(priority);
            return flight;
        }
        let core = Arc::clone(self);
        let read = Arc::clone(cached);
        let urgency = Urgency::of(priority);
        let flight = {
            let urgency = urgency.clone();
            async move { core.ask_and_keep(&read, &urgency).await }.boxed().shared()
        };
        refresh_state.flight = flight.downgrade().map(|flight| (flight, urgency));
        drop(refresh_state);
        if let Some(adopter) = self.adopter.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // When the refresher has its hands full, those who wait drive the read by themselves.
            let _full = adopter.try_send(flight.clone());
        }
        flight
    }

    async fn ask_and_keep(&self, cached: &CachedRole, urgency: &Urgency) -> ReadOutcome {
        let mut begun = None;
        let asked = self.ask(cached, urgency, &mut begun).await;
        let begun = begun.unwrap_or_else(Instant::now);
        match asked {
            Asked::Answered { trust, order } => {
                let source = self.sources.get(order).map(|reader| reader.source.name());
                let held = Arc::new(Held {
                    trust,
                    source,
                    order,
                    begun,
                });
                cached.keep(Arc::clone(&held));
                cached.refresh_state().flight = None;
                ReadOutcome::Answer(held)
            }
            Asked::Failed { reason, pause } => {
                cached.fail(Arc::clone(&reason), pause);
                ReadOutcome::Failed { reason, begun }
            }
        }
    }

    /// Asks the sources in their order, until one neither leaves the role to the next nor stays silent.
    async fn ask(&self, cached: &CachedRole, urgency: &Urgency, begun: &mut Option<Instant>) -> Asked {
        let mut cannot = None;
        for (order, reader) in self.sources.iter().enumerate() {
            match reader.source.knows(&cached.role) {
                Some(Answer::NotMine) => continue,
                Some(Answer::CannotRead(reason)) => {
                    cannot = Some(reason);
                    continue;
                }
                _ => {}
            }
            if let Some(limiter) = &reader.limiter {
                limiter.turn(urgency).await;
            }
            let asked = Instant::now();
            let as_of = match (urgency.priority(), &reader.limiter) {
                // Never before what is kept: that would seem to be the newer.
                (Priority::Background, None) => {
                    let kept = cached.held.load().as_deref().map(|held| held.begun);
                    asked.checked_sub(SHARED).max(*begun).max(kept).unwrap_or(asked)
                }
                _ => asked,
            };
            if begun.is_none() {
                *begun = Some(as_of);
                cached.changed.store(false, Ordering::Release);
                cached.nudged.store(false, Ordering::Relaxed);
            }
            let name = reader.source.name();
            let answer = timeout(LONGEST_READ, reader.source.read(&cached.role, as_of)).await;
            let result = match &answer {
                Ok(Answer::Role(_)) => ReadResult::Role,
                Ok(Answer::NoSuchRole { .. }) => ReadResult::NoSuchRole,
                Ok(Answer::NotMine | Answer::CannotRead(_)) => ReadResult::NotMine,
                Ok(Answer::Failed(_)) => ReadResult::Failed,
                Ok(Answer::Throttled(_)) => ReadResult::Throttled,
                Err(_) => ReadResult::TimedOut,
            };
            self.observer.role_read(name, result, asked.elapsed());
            reader.mind(result);
            reader.log(&cached.role, &answer);
            let reason: Arc<str> = match answer {
                Ok(Answer::NotMine) => continue,
                Ok(Answer::CannotRead(reason)) => {
                    cannot = Some(reason);
                    continue;
                }
                Ok(Answer::Role(document)) => {
                    return Asked::Answered {
                        trust: trust_of(&document),
                        order,
                    };
                }
                Ok(Answer::NoSuchRole { hint }) => {
                    return Asked::Answered {
                        trust: Trust::NoSuchRole { hint },
                        order,
                    };
                }
                Ok(Answer::Failed(reason) | Answer::Throttled(reason)) => reason,
                Err(_) => format!("{name} did not answer within {} s", LONGEST_READ.as_secs()).into(),
            };
            let pause = if reader.limiter.is_some() {
                Pause::BackOff
            } else {
                Pause::None
            };
            return Asked::Failed { reason, pause };
        }
        if begun.is_none() {
            cached.changed.store(false, Ordering::Release);
            cached.nudged.store(false, Ordering::Relaxed);
        }
        let why = cannot.unwrap_or_else(|| match self.sources.len() {
            0 => "there is no role source".into(),
            _ => format!("no role source knows this role (asked: {})", self.source_names()).into(),
        });
        Asked::Answered {
            trust: Trust::Unknown(why),
            order: self.sources.len(),
        }
    }

    fn source_names(&self) -> String {
        let mut names: Vec<_> = self.sources.iter().map(|reader| reader.source.name()).collect();
        // The accounts of IAM are sources of one name.
        names.dedup();
        if names.is_empty() {
            "no role source".to_owned()
        } else {
            names.join(", ")
        }
    }
}

/// How the sources answered.
enum Asked {
    Answered { trust: Trust, order: usize },
    Failed { reason: Arc<str>, pause: Pause },
}

/// Whether a failure is followed by a pause.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pause {
    BackOff,
    None,
}

impl Fetcher {
    pub(super) fn new(source: Arc<dyn RoleSource>) -> Self {
        let limiter = match source.pace() {
            Pace::Memory => None,
            Pace::Remote { per_second } => Some(RateLimiter::new(per_second)),
        };
        Self {
            source,
            limiter,
            failures: AtomicU32::new(0),
        }
    }

    /// Lets the pace follow how a read ended.
    fn mind(&self, result: ReadResult) {
        match (&self.limiter, result) {
            (Some(limiter), ReadResult::Throttled) => limiter.throttled(Instant::now()),
            (Some(limiter), ReadResult::Role | ReadResult::NoSuchRole | ReadResult::NotMine) => limiter.answered(),
            (Some(limiter), ReadResult::Failed | ReadResult::TimedOut) => limiter.failed(Instant::now()),
            (None, _) => {}
        }
    }

    /// Logs when the source as a whole begins to fail and when it is over, not each read: one role that cannot be read is
    /// told where it is judged.
    fn log(&self, role: &RoleArn, answer: &Result<Answer, Elapsed>) {
        let source = self.source.name();
        let reason = match answer {
            Ok(Answer::Failed(reason) | Answer::Throttled(reason)) => reason,
            Err(_) => "no answer",
            Ok(_) => {
                if self.failures.swap(0, Ordering::Relaxed) >= FAILING {
                    info!(source, "the role source answers again");
                }
                return;
            }
        };
        debug!(source, %role, reason, "a role could not be read");
        if self.limiter.is_some() && self.failures.fetch_add(1, Ordering::Relaxed) + 1 == FAILING {
            warn!(source, %role, reason, "the role source fails; what was read before serves until it is too old");
        }
    }
}

impl CachedRole {
    pub(super) fn refresh_state(&self) -> std::sync::MutexGuard<'_, RefreshState> {
        self.refresh_state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer came. One that began earlier than what is kept changes nothing: a listing and a read may overtake each other.
    pub(super) fn keep(&self, held: Arc<Held>) {
        let mut refresh_state = self.refresh_state();
        if self.held.load().as_deref().is_some_and(|kept| kept.begun > held.begun) {
            return;
        }
        self.held.store(Some(held));
        refresh_state.failure = None;
    }

    /// Whether a read is under way.
    pub(super) fn is_being_read(&self) -> bool {
        self.refresh_state()
            .flight
            .as_ref()
            .is_some_and(|(flight, _)| flight.upgrade().is_some())
    }

    fn fail(&self, reason: Arc<str>, pause: Pause) {
        let mut refresh_state = self.refresh_state();
        let at = Instant::now();
        let streak = refresh_state
            .failure
            .as_ref()
            .map_or(0, |failure| failure.streak)
            .saturating_add(1);
        let retry_at = match pause {
            Pause::BackOff => at + backoff(streak, fastrand::f64()),
            Pause::None => at,
        };
        *refresh_state = RefreshState {
            flight: None,
            failure: Some(Failure {
                reason,
                streak,
                at,
                retry_at,
            }),
        };
    }

    /// Until when nobody reads after a failure, and why it failed.
    fn pause(&self, now: Instant) -> Option<(Instant, Arc<str>)> {
        let refresh_state = self.refresh_state();
        let failure = refresh_state
            .failure
            .as_ref()
            .filter(|failure| failure.retry_at > now)?;
        Some((failure.retry_at, Arc::clone(&failure.reason)))
    }
}

/// Parses a role's document.
pub(super) fn trust_of(document: &RoleDocument) -> Trust {
    match Policy::parse_encoded(&document.policy) {
        Ok(policy) => Trust::Policy {
            policy: Arc::new(policy.of_origin(document.origin)),
            tags: document.tags.clone(),
        },
        Err(error) => Trust::Malformed(error.to_string().into()),
    }
}
