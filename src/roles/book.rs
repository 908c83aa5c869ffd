//! The role book: what was read of each role, how old it is, and when it is read again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::source::RoleSource;
use crate::iam::{Policy, RoleArn};

/// How the book ages.
#[derive(Clone, Debug)]
pub struct BookSettings {
    /// `--trust-ttl`: how long a copy is fresh (60 s).
    pub ttl: Duration,
    /// `--trust-max-stale`: how old a copy may serve (1 h).
    pub max_stale: Duration,
    /// `--trust-read-timeout`: the longest wait of an admission (700 ms).
    pub read_timeout: Duration,
    /// How many roles are kept (bounded).
    pub capacity: usize,
}

/// What is known of a role's trust.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Its policy.
    Policy {
        /// Parsed.
        policy: Arc<Policy>,
        /// The role's tags, when given.
        tags: Option<Arc<[(String, String)]>>,
    },
    /// It does not exist.
    NoSuchRole {
        /// What may have been meant: one line, e.g. that a role of that name exists under another path.
        hint: Option<Arc<str>>,
    },
    /// It was read, and its document breaks IAM's grammar: one line that says how. At admission as good as unknown.
    Malformed(Arc<str>),
    /// It could not be read, or is too old: one line that says why.
    Unknown(Arc<str>),
}

/// An answer of the book.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is known.
    pub trust: Trust,
    /// When it was read; none when it never was.
    pub read_at: Option<Instant>,
    /// The source that told it.
    pub source: Option<&'static str>,
}

/// The role book.
#[derive(Debug)]
pub struct Book {}

impl Book {
    /// An empty book over sources, asked in this order.
    #[must_use]
    pub fn new(_sources: Vec<Arc<dyn RoleSource>>, _settings: BookSettings) -> Arc<Self> {
        todo!()
    }
    /// From memory when it may still serve (fresh or stale); never waits. None: unseen or too old.
    #[must_use]
    pub fn stored(&self, _role: &RoleArn) -> Option<Entry> {
        todo!()
    }
    /// From memory, else read once, coalesced, by `deadline` (and the read timeout).
    pub async fn entry(&self, _role: &RoleArn, _deadline: Instant) -> Entry {
        todo!()
    }
    /// Read afresh before a refusal, unless the copy is under 5 s old. A read that fails is `Unknown`.
    pub async fn fresh(&self, _role: &RoleArn, _deadline: Instant) -> Entry {
        todo!()
    }
}
