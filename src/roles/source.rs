//! The question that every source answers: what is the trust policy of this role?

use std::num::NonZeroU32;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::trust::{Issuer, Origin, RoleArn};

/// A role as its source tells it; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleDocument {
    /// The trust policy's text, percent-encoded or plain JSON, byte for byte as it was found.
    pub policy: Arc<str>,
    /// The role's tags, when the source gives them.
    pub tags: Option<Arc<[(String, String)]>>,
    /// Whether IAM has stored the policy.
    pub origin: Origin,
}

/// What a source says of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It exists.
    Role(RoleDocument),
    /// It surely does not exist.
    NoSuchRole {
        /// What may have been meant: one line, e.g. that a role of that name exists under another path.
        hint: Option<Arc<str>>,
    },
    /// Another source may know.
    NotMine,
    /// It is not for this source to read, and asking again would not help before settings change (a role of an account
    /// that there are no credentials for). Another source may know; when none does, this is why: one line.
    CannotRead(Arc<str>),
    /// It could not be read: one line that says why and what to do.
    Failed(Arc<str>),
    /// The source asks to be left alone for a while (IAM's `Throttling`): as [`Answer::Failed`], and every other read of
    /// this source waits too.
    Throttled(Arc<str>),
}

/// What a read costs, and so how the role cache spends reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The source answers from what it holds already or from the disk: reads are neither limited nor backed off.
    Memory,
    /// Each read is a call over the network: at most so many a second, and longer pauses after failures.
    Remote {
        /// Reads a second (IAM: 5, a third of what an account may).
        per_second: NonZeroU32,
    },
}

/// How well a source keeps up with what it watches: for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// How often since the start a change could not be taken over.
    pub reload_failures: u64,
    /// How many files or objects are in a state now that could not be taken over.
    pub broken: usize,
}

/// One pass over all roles of a source, a page at a time (IAM: 1000 roles a call). After an `Err` the next item is the same
/// page, asked for again; the end says that every role was named.
pub type Listing<'a> = BoxStream<'a, Result<Vec<(RoleArn, RoleDocument)>, ListingFailure>>;

/// Why a page of a listing did not come: one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListingFailure {
    /// It could not be read.
    Failed(Arc<str>),
    /// The source asks to be left alone for a while.
    Throttled(Arc<str>),
    /// It may not be read, and asking again would not help before somebody changes what is allowed.
    Denied(Arc<str>),
}

impl ListingFailure {
    /// One line that says why.
    #[must_use]
    pub const fn reason(&self) -> &Arc<str> {
        match self {
            Self::Failed(reason) | Self::Throttled(reason) | Self::Denied(reason) => reason,
        }
    }
}

/// What a source says of the OIDC provider of an issuer in the account of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderAnswer {
    /// It exists, and these are its client IDs: the audiences that it accepts.
    Provider {
        /// As registered, case and all.
        client_ids: Arc<[Box<str>]>,
    },
    /// It surely does not exist.
    NoSuchProvider,
    /// Another source may know.
    NotMine,
    /// It may not be read: one line that says what to allow. Nothing hangs on it, since the check is an extra.
    NotPermitted(Arc<str>),
    /// It could not be read: one line that says why.
    Failed(Arc<str>),
}

/// Somewhere that trust policies come from.
pub trait RoleSource: Send + Sync + std::fmt::Debug + 'static {
    /// The word of `--role-source` and of metrics: `files`, `iam`, `ack`, `crossplane`.
    fn name(&self) -> &'static str;

    /// Reads one role. What a source that reads (files, calls) tells was true at `as_of` or later, so that reads may share what
    /// one of them found; one that watches tells what it was told last. Cancel-safe: may be dropped at any await.
    fn read<'a>(&'a self, role: &'a RoleArn, as_of: Instant) -> BoxFuture<'a, Answer>;

    /// What can be said of a role without asking anybody, at once: [`Answer::NotMine`] and [`Answer::CannotRead`], mostly.
    /// None when it must be read.
    fn knows(&self, role: &RoleArn) -> Option<Answer> {
        let _ = role;
        None
    }

    /// Reads all roles, page by page; none when the source cannot. A role that is missing from it may exist all the same,
    /// unless [`RoleSource::lists_every_role_like`] says otherwise.
    fn list(&self) -> Option<Listing<'_>>;

    /// Whether a listing that came to its end would have named this role if it existed.
    fn lists_every_role_like(&self, role: &RoleArn) -> bool {
        let _ = role;
        false
    }

    /// Whether it reads OIDC providers at all.
    fn reads_providers(&self) -> bool {
        false
    }

    /// Reads the OIDC provider that an issuer has in a role's account. Cancel-safe.
    fn provider<'a>(&'a self, role: &'a RoleArn, issuer: &'a Issuer) -> BoxFuture<'a, ProviderAnswer> {
        let _ = (role, issuer);
        std::future::ready(ProviderAnswer::NotMine).boxed()
    }

    /// Rises whenever what the source holds has changed, for sources that watch or re-read by themselves: what the role cache
    /// kept of it is read again at once.
    fn changes(&self) -> Option<tokio::sync::watch::Receiver<u64>>;

    /// What a read costs. A call over the network at IAM's pace, unless the source says otherwise.
    fn pace(&self) -> Pace {
        Pace::Remote {
            per_second: NonZeroU32::MIN.saturating_add(4),
        }
    }

    /// How well it keeps up with what it watches.
    fn health(&self) -> SourceHealth {
        SourceHealth::default()
    }

    /// What the source does by itself while the program serves (watching, reading files again), until `stop`. The role cache
    /// runs it as part of its own task, so that every task has one owner.
    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, ()> {
        drop(stop);
        std::future::ready(()).boxed()
    }
}

/// What is said of a role that does not exist while another of its name does: IAM knows one role of a name an account.
pub(crate) fn namesake_hint(namesake: &RoleArn) -> Arc<str> {
    format!("a role of that name exists as {namesake}").into()
}
