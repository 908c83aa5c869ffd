//! What the role cache reports: each read when it happens, and its contents on request.

use std::time::Duration;

use serde::Serialize;

/// How a read of one source ended: the label `result` of the metric `role_reads_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadResult {
    /// The role, with its policy.
    Role,
    /// There is no such role.
    NoSuchRole,
    /// The source leaves the role to another.
    NotMine,
    /// It could not be read.
    Failed,
    /// The source throttled.
    Throttled,
    /// The source did not respond in time.
    TimedOut,
}

impl ReadResult {
    /// Every result, for metrics that exist before they count.
    pub const ALL: [Self; 6] = [
        Self::Role,
        Self::NoSuchRole,
        Self::NotMine,
        Self::Failed,
        Self::Throttled,
        Self::TimedOut,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::NoSuchRole => "no-such-role",
            Self::NotMine => "not-mine",
            Self::Failed => "failed",
            Self::Throttled => "throttled",
            Self::TimedOut => "timed-out",
        }
    }
}

/// Observes every read of a source. Called on the path of reads: it must not block.
pub trait ReadObserver: Send + Sync + std::fmt::Debug + 'static {
    /// A read of one role ended.
    fn role_read(&self, source: &'static str, result: ReadResult, took: Duration);
}

/// Observes nothing.
impl ReadObserver for () {
    fn role_read(&self, _source: &'static str, _result: ReadResult, _took: Duration) {}
}

/// What the role cache's copy of a role is worth: the label `state` of the metric `role_cache_roles`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleState {
    /// Serves.
    Fresh,
    /// Serves while it is read again.
    Stale,
    /// Was read, but too long ago to serve.
    TooOld,
    /// Could not be read yet.
    Failed,
}

impl RoleState {
    /// Every state, for metrics that exist before they count.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Stale, Self::TooOld, Self::Failed];

    /// Its name in metrics and in `/roles`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::TooOld => "too-old",
            Self::Failed => "failed",
        }
    }
}

/// One role in the role cache: an element of `/roles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleSummary {
    /// The role's ARN.
    pub arn: String,
    /// What the copy is worth.
    pub state: RoleState,
    /// What was read: `policy`, `no-such-role`, `malformed` or `unknown`; none when nothing was.
    pub holds: Option<&'static str>,
    /// Seconds since it was read; none when it never was.
    pub age_seconds: Option<u64>,
    /// The source that it was read from.
    pub source: Option<&'static str>,
    /// Why the copy is not a policy, or why the last read failed: one line.
    pub reason: Option<String>,
}
