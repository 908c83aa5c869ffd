//! The interface of every source: which ServiceAccounts have an association, and what is in it?

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::trust::{Association, ClusterArn};

/// The cluster whose associations are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterId {
    /// Its name.
    pub name: Arc<str>,
    /// Its ARN, where a flag gives it. Otherwise, each association's own ARN has the same parts.
    pub arn: Option<ClusterArn>,
}

/// A place that associations come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// What it knows is in memory, or on the disk: asking it costs nothing.
    Held(Arc<dyn HeldAssociations>),
    /// Each question is a call over the network.
    Remote(Arc<dyn RemoteAssociations>),
}

impl Source {
    /// Its name in `--association-source` and in metrics: `eks`, `ack`, `crossplane`, `files`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Held(source) => source.name(),
            Self::Remote(source) => source.name(),
        }
    }
}

/// The purpose of a lookup of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The review of a pod: a result for a pod of the same ServiceAccount that is less than a second old can be reused.
    Pod,
    /// Warnings about a ServiceAccount or a workload that is being applied. Its association and then its pod can be created immediately
    /// afterwards, so the result is not reused for the pod.
    Advice,
}

/// What a source knows about a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It has this association.
    Association(Arc<Association>),
    /// It has an association whose content is not known: why, on one line.
    Undescribed(Arc<str>),
    /// It has none, for certain.
    Absent,
    /// The source lists none, but does not know every association of the cluster.
    Unlisted,
    /// It is not known: why, on one line.
    Unknown(Arc<str>),
}

/// Namespace and name of a ServiceAccount.
pub type AccountName = (Arc<str>, Arc<str>);

/// A source that answers at once.
pub trait HeldAssociations: Send + Sync + std::fmt::Debug + 'static {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The association of a ServiceAccount.
    fn find(&self, namespace: &str, service_account: &str) -> Found;

    /// Every association that is known, in any order.
    fn all(&self) -> Vec<Arc<Association>>;

    /// The ServiceAccounts of which the source knows something, in any order: also those whose association is not described.
    fn accounts(&self) -> Vec<AccountName> {
        let names = |one: Arc<Association>| (Arc::clone(&one.namespace), Arc::clone(&one.service_account));
        self.all().into_iter().map(names).collect()
    }

    /// Each of them changes when the source knows something else than before.
    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        Vec::new()
    }

    /// Takes over what has changed until now. Cancel-safe.
    fn refresh(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    /// Reads everything once, for commands. Cancel-safe.
    fn read_once(&self) -> BoxFuture<'_, Result<(), Arc<str>>> {
        self.refresh().map(Ok).boxed()
    }

    /// What the source does by itself while the program serves, until `stop`.
    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, ()> {
        drop(stop);
        std::future::ready(()).boxed()
    }

    /// How many changes could not be taken over since the start.
    fn reload_failures(&self) -> u64 {
        0
    }
}

/// Which associations are listed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those of a namespace.
    Namespace(Arc<str>),
    /// That of a ServiceAccount.
    ServiceAccount {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        service_account: Arc<str>,
    },
    /// Those of the cluster.
    Cluster,
}

/// An association in a list, which does not contain its roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The ServiceAccount.
    pub service_account: Arc<str>,
    /// `a-…`.
    pub id: Arc<str>,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The associations in it.
    pub listed: Vec<Listed>,
    /// The token of the next page; none for the last page.
    pub next: Option<String>,
}

/// Why a call has no result: one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The source throttles.
    Throttled(Arc<str>),
    /// Anything else.
    Failed(Arc<str>),
}

impl Failure {
    /// One line that says why.
    #[must_use]
    pub const fn reason(&self) -> &Arc<str> {
        match self {
            Self::Throttled(reason) | Self::Failed(reason) => reason,
        }
    }
}

/// A source over the network. Cancel-safe.
pub trait RemoteAssociations: Send + Sync + std::fmt::Debug + 'static {
    /// Its name.
    fn name(&self) -> &'static str;

    /// A page of the associations of a scope, the first one without a token.
    fn page<'a>(&'a self, scope: &'a Scope, token: Option<&'a str>) -> BoxFuture<'a, Result<Page, Failure>>;

    /// An association; none if there is none of this ID.
    fn describe<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Association>, Failure>>;
}

/// What a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadKind {
    /// A list, all of its pages.
    List,
    /// The content of one association.
    Describe,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadResult {
    /// With an answer.
    Answered,
    /// The source throttled.
    Throttled,
    /// It failed.
    Failed,
    /// No answer in time.
    TimedOut,
}

/// Counts calls.
pub trait ReadObserver: Send + Sync + std::fmt::Debug + 'static {
    /// A call has ended.
    fn read(&self, source: &'static str, kind: ReadKind, result: ReadResult);
}

impl ReadObserver for () {
    fn read(&self, _source: &'static str, _kind: ReadKind, _result: ReadResult) {}
}

impl ReadKind {
    /// The word of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Describe => "describe",
        }
    }
}

impl ReadResult {
    /// The word of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
        }
    }
}
