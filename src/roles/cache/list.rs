//! Lists all roles of a source once, page by page, within the source's rate limit, and writes them to the store.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

use super::entry::{Answered, Reference, RoleTrust, Trust};
use super::fetch::{Fetcher, PacedSource, trust_of};
use super::fingerprint::Fingerprint;
use super::store::Store;
use crate::roles::observe::ReadResult;
use crate::roles::source::{Answer, Listing, ListingFailure, RoleDocument, namesake_hint};
use crate::support::age::pauses;
use crate::support::coalesce::SharedPriority;
use crate::trust::RoleArn;

/// The pass is aborted after one page has failed this many times in a row.
const PATIENCE: u32 = 4;

/// A pass that takes longer than this reports its progress.
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// The progress of a pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pass {
    pub(super) calls: usize,
    pub(super) roles: usize,
    /// A page failed and is requested again: reads of single roles should not wait for the pass.
    pub(super) is_stalled: bool,
}

/// How a pass ended.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) began: Instant,
    pub(super) pass: Pass,
    pub(super) result: Result<(), ListingFailure>,
}

/// Lists sources into the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lister<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) store: &'a Store,
}

impl<'a> Lister<'a> {
    /// Begins to list the source at this position with this priority, and reports each step to `progress`; none when it cannot list.
    pub(super) fn list(
        self,
        order: usize,
        priority: SharedPriority,
        progress: watch::Sender<Pass>,
    ) -> Option<BoxFuture<'a, Listed>> {
        let paced = self.fetcher.sources().get(order)?;
        let listing = paced.source.list()?;
        Some(self.take_all(order, paced, listing, priority, progress).boxed())
    }

    async fn take_all(
        self,
        order: usize,
        paced: &PacedSource,
        mut listing: Listing<'_>,
        priority: SharedPriority,
        progress: watch::Sender<Pass>,
    ) -> Listed {
        let began = Instant::now();
        let mut left_out = HashSet::new();
        let (mut failures, mut backoff) = (0, pauses());
        let result = loop {
            paced.acquire_page(&priority).await;
            let page_began = Instant::now();
            let failure = match listing.next().await {
                None => break Ok(()),
                Some(Ok(roles)) => {
                    paced.adjust(ReadResult::Role);
                    failures = 0;
                    backoff.reset();
                    progress.send_modify(|pass| {
                        pass.calls += 1;
                        pass.roles += roles.len();
                        pass.is_stalled = false;
                    });
                    self.take_page(order, page_began, roles, &mut left_out).await;
                    self.fetcher.roles_listed();
                    continue;
                }
                Some(Err(failure)) => failure,
            };
            failures += 1;
            if failures > PATIENCE || !failure.is_transient() {
                break Err(failure);
            }
            progress.send_modify(|pass| pass.is_stalled = true);
            match failure {
                ListingFailure::Throttled(_) if paced.is_remote() => paced.adjust(ReadResult::Throttled),
                _ => sleep(backoff.next()).await,
            }
        };
        if result.is_ok() {
            self.take_absences(order, began, paced, &left_out);
            self.fetcher.roles_listed();
        }
        let pass = *progress.borrow();
        Listed { began, pass, result }
    }

    async fn take_page(
        self,
        order: usize,
        began: Instant,
        roles: Vec<(RoleArn, RoleDocument)>,
        left_out: &mut HashSet<RoleArn>,
    ) {
        for (index, (role, document)) in roles.into_iter().enumerate() {
            if self.take(order, began, &role, &document).await == Taken::NeedsRead {
                left_out.insert(role);
            }
            // A page holds up to a thousand policies: the other tasks of this thread must not wait until all are parsed.
            if index % 64 == 63 {
                yield_now().await;
            }
        }
    }

    /// Takes one role of a listing: a role that is kept already or named by a ServiceAccount, any other while there is room.
    async fn take(self, order: usize, began: Instant, role: &RoleArn, document: &RoleDocument) -> Taken {
        for earlier in self.fetcher.sources().iter().take(order) {
            let is_left = match earlier.source.knows(role) {
                Some(answer) => leaves_to_others(&answer),
                None if earlier.is_remote() => false,
                None => leaves_to_others(&earlier.source.read(role, began).await),
            };
            if !is_left {
                return Taken::Kept;
            }
        }
        let is_known = self.store.peek(role, |_| ()).is_some();
        if !is_known && self.store.len() >= self.store.capacity() {
            return Taken::Kept;
        }
        let cached = self.store.entry(role, Reference::Unreferenced, began);
        if cached.trust.began().is_some_and(|kept| kept > began) {
            return Taken::Kept;
        }
        let kept = cached.trust.answer();
        let (trust, fingerprint) = trust_of(document, kept.as_deref().map(|kept| &kept.value));
        if matches!(&trust, Trust::Policy { policy, tags: None } if policy.mentions_role_tags()) {
            return Taken::NeedsRead;
        }
        self.fetcher
            .keep(&cached, self.answered(order, began, trust, fingerprint));
        Taken::Kept
    }

    /// A role that a complete listing did not name does not exist, where the source lists every role like it.
    fn take_absences(self, order: usize, began: Instant, paced: &PacedSource, left_out: &HashSet<RoleArn>) {
        let mut absent = Vec::new();
        let mut present: HashMap<String, RoleArn> = HashMap::new();
        self.store.for_each(|cached| {
            if !paced.source.lists_every_role_like(&cached.arn) || left_out.contains(&cached.arn) {
                return;
            }
            match cached.trust.answer().as_deref() {
                Some(answer) if answer.began >= began => {
                    if matches!(answer.value.trust, Trust::Policy { .. } | Trust::Malformed(_)) {
                        present.insert(cached.arn.name().to_ascii_lowercase(), cached.arn.clone());
                    }
                }
                // An earlier source may answer for it.
                Some(answer) if answer.value.order < order => {}
                None if order > 0 && !self.is_left_to(order, &cached.arn) => {}
                _ => absent.push(Arc::clone(cached)),
            }
        });
        for cached in absent {
            let namesake = present.get(&cached.arn.name().to_ascii_lowercase());
            let hint = namesake.map(namesake_hint);
            self.fetcher
                .keep(&cached, self.answered(order, began, Trust::NoSuchRole { hint }, None));
        }
    }

    /// Whether all earlier sources are known, without a read, to pass the role on to the next source.
    fn is_left_to(self, order: usize, role: &RoleArn) -> bool {
        let mut earlier = self.fetcher.sources().iter().take(order);
        earlier.all(|paced| paced.source.knows(role).is_some_and(|answer| leaves_to_others(&answer)))
    }

    fn answered(
        self,
        order: usize,
        began: Instant,
        trust: Trust,
        fingerprint: Option<Fingerprint>,
    ) -> Arc<Answered<RoleTrust>> {
        let source = self.fetcher.sources().get(order).map(PacedSource::name);
        let value = RoleTrust {
            trust,
            fingerprint,
            source,
            order,
        };
        Arc::new(Answered { value, began })
    }
}

/// How one role of a listing was handled.
#[derive(PartialEq, Eq)]
enum Taken {
    /// It is kept, or something better is.
    Kept,
    /// Its policy depends on something that listings leave out; the role is read.
    NeedsRead,
}

fn leaves_to_others(answer: &Answer) -> bool {
    matches!(answer, Answer::NotMine | Answer::CannotRead(_))
}

/// Reports how far a pass is: once it takes longer than [`QUIET`], then at this interval.
pub(super) async fn report(progress: watch::Receiver<Pass>, interval: Duration, report: impl Fn(Pass)) -> Infallible {
    let mut next = Instant::now() + QUIET;
    loop {
        sleep_until(next).await;
        report(*progress.borrow());
        next = Instant::now() + interval;
    }
}
