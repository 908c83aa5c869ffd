//! The interface of every source: what is the trust policy of this role?

use std::num::NonZeroU32;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::trust::{Issuer, Origin, RoleArn};

/// A role as its source returns it; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleDocument {
    /// The trust policy's text, percent-encoded or plain JSON, byte for byte as it was found.
    pub policy: Arc<str>,
    /// The role's tags, when the source gives them.
    pub tags: Option<Arc<[(String, String)]>>,
    /// Whether IAM has stored the policy.
    pub origin: Origin,
}

/// How a source answers for a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It exists.
    Role(RoleDocument),
    /// It does not exist, for certain.
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
    /// The source throttles (IAM's `Throttling`): as [`Answer::Failed`], and every other read of this source waits too.
    Throttled(Arc<str>),
}

/// What a read costs, and so how the role cache spends reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The source answers from what it holds already or from the disk: reads are neither limited nor backed off.
    Memory,
    /// Each read is a call over the network: at most so many per second, and longer pauses after failures.
    Remote {
        /// Reads per second (IAM: 5, a third of what an account is allowed).
        per_second: NonZeroU32,
    },
}

/// How well a source keeps up with what it watches: for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// How many changes could not be taken over since the start.
    pub reload_failures: u64,
}

/// One pass over all roles of a source, a page at a time (IAM: 1000 roles per call). After an `Err` the next item is the same
/// page, requested again; the end means that every role was named.
pub type Listing<'a> = BoxStream<'a, Result<Vec<(RoleArn, RoleDocument)>, ListingFailure>>;

/// Why a page of a listing could not be read: one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListingFailure {
    /// It could not be read.
    Failed(Arc<str>),
    /// The source throttles.
    Throttled(Arc<str>),
    /// A permission is missing: asking again does not help before it is granted.
    Denied(Arc<str>),
    /// There are no credentials, or they are not accepted: asking again does not help before they are renewed.
    Credentials(Arc<str>),
}

impl ListingFailure {
    /// One line that says why.
    #[must_use]
    pub const fn reason(&self) -> &Arc<str> {
        match self {
            Self::Failed(reason) | Self::Throttled(reason) | Self::Denied(reason) | Self::Credentials(reason) => reason,
        }
    }

    /// Whether asking again might help at once.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Failed(_) | Self::Throttled(_) => true,
            Self::Denied(_) | Self::Credentials(_) => false,
        }
    }
}

/// How a source answers for the OIDC provider of an issuer in the account of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderAnswer {
    /// It exists, and these are its client IDs: the audiences that it accepts.
    Provider {
        /// As registered, case and all.
        client_ids: Arc<[Box<str>]>,
    },
    /// It does not exist, for certain.
    NoSuchProvider,
    /// Another source may know.
    NotMine,
    /// A permission is missing: one line that says what to allow. Nothing depends on it, since the check is an extra.
    NotPermitted(Arc<str>),
    /// It could not be read: one line that says why.
    Failed(Arc<str>),
}

/// A place that trust policies come from.
pub trait RoleSource: Send + Sync + std::fmt::Debug + 'static {
    /// Its name in `--role-source` and in metrics: `files`, `iam`, `ack`, `crossplane`.
    fn name(&self) -> &'static str;

    /// Reads one role. The answer of a source that reads (files, calls) was true at `as_of` or later, so that reads may share what
    /// one of them found; one that watches answers with what it saw last. Cancel-safe: may be dropped at any await.
    fn read<'a>(&'a self, role: &'a RoleArn, as_of: Instant) -> BoxFuture<'a, Answer>;

    /// What is known of a role without reading, at once: [`Answer::NotMine`] and [`Answer::CannotRead`], mostly.
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

/// The hint for a role that does not exist while another of its name does: names of roles are unique per account.
pub(crate) fn namesake_hint(namesake: &RoleArn) -> Arc<str> {
    format!("a role of that name exists as {namesake}").into()
}
