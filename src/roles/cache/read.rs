//! Reads single roles into their entries: one read at a time per role, shared by all callers for which it is fresh enough.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::entry::{Answered, CachedRole, RoleTrust};
use super::fetch::{Fetched, Fetcher};
use crate::support::coalesce::{Caller, Coalescer, Outcome, Priority, Reading};
use crate::trust::RoleArn;

/// How a read ended: with the answer, or with one line that says why there is none.
pub(super) type Read = Result<Arc<Answered<RoleTrust>>, Arc<str>>;

/// Why an admission has no answer, in one line.
#[derive(Debug)]
pub(super) enum Unread {
    /// The read failed, or was not answered in time.
    Failed(Arc<str>),
    /// The read did not begin in time: the rate of calls left no turn for it.
    NoTurn(Arc<str>),
}

impl Unread {
    pub(super) fn into_reason(self) -> Arc<str> {
        match self {
            Self::Failed(reason) | Self::NoTurn(reason) => reason,
        }
    }
}

/// Reads roles.
#[derive(Debug)]
pub(super) struct Reader {
    fetcher: Arc<Fetcher>,
    reads: Coalescer<RoleArn, Read>,
    /// Notified when an admission's read has ended.
    ended: Arc<Notify>,
}

impl Reader {
    /// Reads in tasks of `tasks`, until `end`.
    pub(super) fn new(fetcher: Arc<Fetcher>, ended: Arc<Notify>, tasks: TaskTracker, end: CancellationToken) -> Self {
        Self {
            fetcher,
            reads: Coalescer::new(tasks, end),
            ended,
        }
    }

    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Reads a role for an admission, which waits no longer than `limit`.
    pub(super) async fn read(
        &self,
        role: &Arc<CachedRole>,
        caller: Caller,
        limit: Instant,
    ) -> Result<Arc<Answered<RoleTrust>>, Unread> {
        while let Some((until, reason)) = role.trust.pause(Instant::now()) {
            if until >= limit {
                return Err(Unread::Failed(reason));
            }
            sleep_until(until).await;
        }
        let asked = Instant::now();
        match self.ask(role, caller.by(limit)).await {
            Outcome::Done { value, .. } => value.map_err(Unread::Failed),
            Outcome::Busy | Outcome::TimedOut => {
                let (names, waited) = (self.fetcher.names(), limit.saturating_duration_since(asked));
                let millis = waited.as_millis();
                Err(if self.reads.waits_for_turn(&role.arn) {
                    Unread::NoTurn(
                        format!("the rate limit for calls to {names} allowed no read of this role within {millis} ms")
                            .into(),
                    )
                } else if self.is_known_without_a_call(role) {
                    // The disk and memory do not fail like this: other work keeps the processors, which must not prevent a refusal.
                    Unread::NoTurn(format!("{names} was not read within {millis} ms").into())
                } else {
                    Unread::Failed(format!("{names} did not respond within {millis} ms").into())
                })
            }
        }
    }

    /// Whether what is known of a role came from a source that answers without a call over the network.
    fn is_known_without_a_call(&self, role: &CachedRole) -> bool {
        let answer = role.trust.answer();
        answer
            .as_ref()
            .is_some_and(|answer| !self.fetcher.is_remote(answer.value.order))
    }

    /// Reads a role for the cache.
    pub(super) async fn read_in_background(&self, role: &Arc<CachedRole>) {
        // Never as of before what is kept: that would seem to be the newer.
        let caller = role.trust.began().map_or(Caller::any(), Caller::as_of);
        self.ask(role, caller.in_background()).await;
    }

    /// Whether a read of the role is in flight.
    pub(super) fn is_reading(&self, role: &CachedRole) -> bool {
        self.reads.is_reading(&role.arn)
    }

    async fn ask(&self, role: &Arc<CachedRole>, caller: Caller) -> Outcome<Read> {
        let (fetcher, ended, read) = (Arc::clone(&self.fetcher), Arc::clone(&self.ended), Arc::clone(role));
        let read = move |reading: Reading| {
            let (fetcher, ended, role) = (Arc::clone(&fetcher), Arc::clone(&ended), Arc::clone(&read));
            async move {
                let read = read_into(&role, &fetcher, &reading).await;
                if reading.priority().highest() > Priority::Background {
                    ended.notify_one();
                }
                read
            }
        };
        self.reads.ask(role.arn.clone(), caller, read).await
    }
}

async fn read_into(role: &CachedRole, fetcher: &Fetcher, reading: &Reading) -> Read {
    role.begin_read();
    let kept = role.trust.answer().as_ref().map(Arc::clone);
    let kept = kept.as_deref().map(|kept| &kept.value);
    let fetched = tokio::select! {
        biased;
        answer = listed(role, fetcher.listings(), reading) => return Ok(answer),
        fetched = fetcher.fetch(&role.arn, role.trust.tried_at(), kept, reading) => fetched,
    };
    let began = reading.begin(Duration::ZERO);
    match fetched {
        Fetched::Answer(value) => {
            let answer = Arc::new(Answered { value, began });
            fetcher.keep(role, Arc::clone(&answer));
            Ok(answer)
        }
        Fetched::Failed { reason, pause } => {
            role.trust.fail(Arc::clone(&reason), began, pause);
            // The copy may be too old by now.
            fetcher.changes().role(&role.arn);
            Err(reason)
        }
    }
}

/// The answer of a listing that names the role while its read waits for a turn, and that is good for all callers of the read.
async fn listed(role: &CachedRole, mut listings: watch::Receiver<()>, reading: &Reading) -> Arc<Answered<RoleTrust>> {
    let before = role.trust.began();
    while listings.changed().await.is_ok() {
        let answer = role.trust.answer();
        if let Some(answer) = answer.as_ref().filter(|answer| Some(answer.began) > before)
            && reading.is_answered_as_of(answer.began)
        {
            return Arc::clone(answer);
        }
    }
    std::future::pending().await
}
