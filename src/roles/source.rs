//! The question that every source answers: what is the trust policy of this role?

use futures::future::BoxFuture;

use crate::iam::RoleArn;

/// A role as its source tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleDocument {
    /// The trust policy's text, percent-encoded or plain JSON.
    pub policy: String,
    /// The role's tags, when the source gives them.
    pub tags: Option<Vec<(String, String)>>,
}

/// What a source says of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It exists.
    Role(RoleDocument),
    /// It surely does not exist.
    NoSuchRole,
    /// Another source may know.
    NotMine,
    /// It could not be read: one line that says why and what to do.
    Failed(String),
}

/// Somewhere that trust policies come from.
pub trait RoleSource: Send + Sync + std::fmt::Debug + 'static {
    /// The word of `--role-source` and of metrics: `files`, `iam`, `ack`, `crossplane`.
    fn name(&self) -> &'static str;

    /// Reads one role. Cancel-safe: dropped at a deadline.
    fn read<'a>(&'a self, role: &'a RoleArn) -> BoxFuture<'a, Answer>;

    /// Reads every role at once; none when the source cannot.
    fn list(&self) -> BoxFuture<'_, Option<Result<Vec<(RoleArn, RoleDocument)>, String>>>;

    /// Rises whenever what the source holds has changed, for sources that watch or re-read by themselves: what the book
    /// kept of it is read again at once.
    fn changes(&self) -> Option<tokio::sync::watch::Receiver<u64>>;
}
