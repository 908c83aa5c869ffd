//! The question that every source answers: what is the trust policy of this role?

use std::num::NonZeroU32;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::iam::RoleArn;

/// A role as its source tells it; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleDocument {
    /// The trust policy's text, percent-encoded or plain JSON, byte for byte as it was found.
    pub policy: Arc<str>,
    /// The role's tags, when the source gives them.
    pub tags: Option<Arc<[(String, String)]>>,
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
    /// It could not be read: one line that says why and what to do.
    Failed(Arc<str>),
    /// The source asks to be left alone for a while (IAM's `Throttling`): as [`Answer::Failed`], and every other read of
    /// this source waits too.
    Throttled(Arc<str>),
}

/// What a read costs, and so how the book spends reads.
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

/// What [`RoleSource::list`] gives: nothing for a source that cannot list, else its roles or why it failed.
pub type Listing = Option<Result<Vec<(RoleArn, RoleDocument)>, String>>;

/// Somewhere that trust policies come from.
pub trait RoleSource: Send + Sync + std::fmt::Debug + 'static {
    /// The word of `--role-source` and of metrics: `files`, `iam`, `ack`, `crossplane`.
    fn name(&self) -> &'static str;

    /// Reads one role. Cancel-safe: may be dropped at any await.
    fn read<'a>(&'a self, role: &'a RoleArn) -> BoxFuture<'a, Answer>;

    /// Reads every role at once; none when the source cannot. A role that is missing from it may exist all the same.
    fn list(&self) -> BoxFuture<'_, Listing>;

    /// Rises whenever what the source holds has changed, for sources that watch or re-read by themselves: what the book
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

    /// What the source does by itself while the program serves (watching, reading files again), until `stop`. The book
    /// runs it as part of its own task, so that every task has one owner.
    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, ()> {
        drop(stop);
        std::future::ready(()).boxed()
    }
}
