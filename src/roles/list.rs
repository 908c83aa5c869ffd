//! One pass over all roles of a source, page by page, at the source's pace; and when the next one is worth its calls.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::age::backoff;
use super::fetch::Fetcher;
use super::limiter::{Priority, Urgency};
use super::source::{Listing, ListingFailure, RoleDocument};
use crate::trust::RoleArn;

/// While nothing is known of what a listing costs, this many due roles are worth one (IAM lists 1000 roles a call).
const UNKNOWN_COST: usize = 20;

/// After this many failures in a row of one page the pass is given up.
const PATIENCE: u32 = 4;

/// The longest pause after listings that are not allowed.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// A pass that takes longer than this says how far it is.
const QUIET: Duration = Duration::from_secs(1);

/// How often it says so from then on.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// A source that can list, and how its listings went.
#[derive(Debug)]
pub(super) struct ListSchedule {
    /// Its place among the sources.
    pub(super) order: usize,
    /// How many calls the last whole listing took.
    pages: Option<usize>,
    /// Nobody lists before this.
    not_before: Option<Instant>,
    /// Listings in a row that were given up.
    failures: u32,
}

impl ListSchedule {
    pub(super) fn new(order: usize) -> Self {
        Self {
            order,
            pages: None,
            not_before: None,
            failures: 0,
        }
    }

    /// Whether a listing costs less than reading so many roles one by one.
    pub(super) fn is_worth(&self, due: usize, now: Instant) -> bool {
        let rests = self.not_before.is_some_and(|not_before| not_before > now);
        due > self.pages.unwrap_or(UNKNOWN_COST) && !rests
    }

    /// A pass came to its end.
    pub(super) fn ended(&mut self, pass: &ListPass<'_>, ttl: Duration) {
        let took = pass.begun.elapsed();
        let (source, roles, calls) = (pass.source, pass.roles, pass.pages);
        if self.failures > 0 {
            info!(source, roles, "the roles can be listed again");
        } else if self.pages.is_none() || took > QUIET {
            info!(source, roles, calls, ?took, "the roles are listed");
        }
        self.failures = 0;
        self.pages = Some(calls.max(1));
        self.not_before = pass.begun.checked_add(ttl / 2);
    }

    /// A pass was given up.
    pub(super) fn failed(&mut self, pass: &ListPass<'_>, failure: &ListingFailure, ttl: Duration) {
        let (source, reason) = (pass.source, failure.reason());
        if self.failures == 0 {
            warn!(
                source,
                %reason, "the roles could not be listed; until they can, they are read one by one"
            );
        }
        let pause = (ttl / 2).saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        // What is not allowed stays so until somebody allows it; what fails is over some time.
        let longest = match failure {
            ListingFailure::Denied(_) => LONGEST_PAUSE,
            ListingFailure::Failed(_) | ListingFailure::Throttled(_) => ttl.min(LONGEST_PAUSE),
        };
        self.not_before = Instant::now().checked_add(pause.min(longest));
    }
}

/// A pass under way.
pub(super) struct ListPass<'a> {
    pub(super) order: usize,
    pub(super) source: &'static str,
    steps: BoxStream<'a, ListStep>,
    pub(super) begun: Instant,
    pages: usize,
    pub(super) roles: usize,
    /// Roles that were listed without what their policies hang on.
    pub(super) left_out: HashSet<RoleArn>,
    pub(super) next_progress: Instant,
    stumbles: bool,
}

/// What a pass says next.
pub(super) enum ListStep {
    /// A page, and when its call began.
    Page {
        roles: Vec<(RoleArn, RoleDocument)>,
        begun: Instant,
    },
    /// A page did not come; it is asked for again.
    Stumble,
    /// Every role was named.
    End,
    /// It was given up: why.
    Abandoned(ListingFailure),
}

impl<'a> ListPass<'a> {
    /// None when the source cannot list.
    pub(super) fn begin(order: usize, reader: &'a Fetcher) -> Option<Self> {
        let listing = reader.source.list()?;
        let begun = Instant::now();
        Some(Self {
            order,
            source: reader.source.name(),
            steps: steps(reader, listing).boxed(),
            begun,
            pages: 0,
            roles: 0,
            left_out: HashSet::new(),
            next_progress: begun + QUIET,
            stumbles: false,
        })
    }

    /// Cancel-safe.
    pub(super) async fn step(&mut self) -> ListStep {
        let step = self.steps.next().await.unwrap_or(ListStep::End);
        self.stumbles = matches!(step, ListStep::Stumble);
        if let ListStep::Page { roles, .. } = &step {
            self.pages += 1;
            self.roles += roles.len();
        }
        step
    }

    /// Whether reading roles one by one should not wait for it.
    pub(super) fn stumbles(&self) -> bool {
        self.stumbles
    }

    /// When to say how far it is.
    pub(super) fn next_progress(&self) -> Instant {
        self.next_progress
    }

    pub(super) fn tell_progress(&mut self) {
        let (source, roles, calls) = (self.source, self.roles, self.pages);
        info!(
            source,
            roles,
            calls,
            seconds = self.begun.elapsed().as_secs(),
            "listing roles …"
        );
        self.next_progress = Instant::now() + PROGRESS_EVERY;
    }
}

fn steps<'a>(reader: &'a Fetcher, listing: Listing<'a>) -> impl futures::Stream<Item = ListStep> + Send + 'a {
    struct State<'a> {
        listing: Listing<'a>,
        failures: u32,
        pause: Option<Duration>,
    }
    let state = State {
        listing,
        failures: 0,
        pause: None,
    };
    unfold(Some(state), move |state| async move {
        let mut state = state?;
        if let Some(pause) = state.pause.take() {
            sleep(pause).await;
        }
        if let Some(limiter) = &reader.limiter {
            limiter.turn(&Urgency::of(Priority::Background)).await;
        }
        let begun = Instant::now();
        let failure = match state.listing.next().await {
            None => return Some((ListStep::End, None)),
            Some(Ok(roles)) => {
                if let Some(limiter) = &reader.limiter {
                    limiter.answered();
                }
                state.failures = 0;
                return Some((ListStep::Page { roles, begun }, Some(state)));
            }
            Some(Err(failure)) => failure,
        };
        state.failures = state.failures.saturating_add(1);
        match (&failure, &reader.limiter) {
            (ListingFailure::Denied(_), _) => return Some((ListStep::Abandoned(failure), None)),
            (ListingFailure::Throttled(_), Some(limiter)) => limiter.throttled(Instant::now()),
            _ => state.pause = Some(backoff(state.failures, fastrand::f64())),
        }
        if state.failures > PATIENCE {
            return Some((ListStep::Abandoned(failure), None));
        }
        Some((ListStep::Stumble, Some(state)))
    })
}
