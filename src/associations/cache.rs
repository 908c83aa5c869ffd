//! The associations of all sources, which are read in their order.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::remote::{Freshness, Remote, RemoteSettings, Unread};
use super::source::{AccountName, Asker, ClusterId, Found, HeldAssociations, ReadObserver, Source};
use crate::trust::{Association, RoleArn};

/// What is known of the cluster's associations.
#[derive(Debug)]
pub struct Associations {
    cluster: ClusterId,
    sources: Vec<Opened>,
    tasks: TaskTracker,
    end: CancellationToken,
}

#[derive(Debug)]
enum Opened {
    Held(Arc<dyn HeldAssociations>),
    Remote(Arc<Remote>),
}

/// Whether a ServiceAccount has an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has.
    Present,
    /// It has none, or no source lists one.
    Absent,
    /// It could not be read: why, on one line.
    Unknown(Arc<str>),
}

/// The association of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This one.
    Association(Arc<Association>),
    /// There is one; what is in it could not be read: why, on one line.
    Undescribed(Arc<str>),
    /// It has none, for certain.
    Absent,
    /// It is not known: why, on one line.
    Unknown(Arc<str>),
}

impl Associations {
    /// Over sources, asked in this order. Nothing is read yet.
    #[must_use]
    pub fn new(cluster: ClusterId, sources: Vec<Source>, settings: &RemoteSettings) -> Arc<Self> {
        Self::with_observer(cluster, sources, settings, Arc::new(()))
    }

    /// The same; calls over the network are observed.
    #[must_use]
    pub fn with_observer(
        cluster: ClusterId,
        sources: Vec<Source>,
        settings: &RemoteSettings,
        observer: Arc<dyn ReadObserver>,
    ) -> Arc<Self> {
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let open = |source| match source {
            Source::Held(source) => Opened::Held(source),
            Source::Remote(source) => Opened::Remote(Remote::new(
                source,
                settings.clone(),
                Arc::clone(&observer),
                &tasks,
                &end,
            )),
        };
        Arc::new(Self {
            cluster,
            sources: sources.into_iter().map(open).collect(),
            tasks,
            end,
        })
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// From memory; never waits. None: it is not known.
    #[must_use]
    pub fn cached(&self, namespace: &str, service_account: &str) -> Option<Lookup> {
        match self.remembered(namespace, service_account) {
            Ok(lookup) => Some(lookup),
            Err(combined) => match combined.lookup() {
                Lookup::Unknown(_) => None,
                lookup => Some(lookup),
            },
        }
    }

    /// From memory, for an evaluation that no pod waits for. One that no source lists is absent, as for [`Associations::presence`].
    pub(crate) fn in_memory(&self, namespace: &str, service_account: &str) -> Lookup {
        match self.remembered(namespace, service_account) {
            Ok(lookup) => lookup,
            Err(Combined {
                undescribed: None,
                unknown: None,
            }) => Lookup::Absent,
            Err(combined) => combined.lookup(),
        }
    }

    /// What is in memory of each ServiceAccount of which a source knows something.
    pub(crate) fn all_in_memory(&self) -> HashMap<AccountName, Lookup> {
        let accounts = self.sources.iter().flat_map(|source| match source {
            Opened::Held(source) => source.accounts(),
            Opened::Remote(remote) => remote.accounts(),
        });
        accounts
            .map(|account| {
                let lookup = self.in_memory(&account.0, &account.1);
                (account, lookup)
            })
            .collect()
    }

    /// Each of them changes when something else than before is in memory, and when it is known for the first time which ServiceAccounts
    /// have none. That something is too old is not reported.
    pub(crate) fn changes(&self) -> Vec<watch::Receiver<u64>> {
        let changes = self.sources.iter().flat_map(|source| match source {
            Opened::Held(source) => source.changes(),
            Opened::Remote(remote) => vec![remote.changes()],
        });
        changes.collect()
    }

    /// What the sources say together, if they settle it.
    fn remembered(&self, namespace: &str, service_account: &str) -> Result<Lookup, Combined> {
        let mut combined = Combined::default();
        for source in &self.sources {
            let found = match source {
                Opened::Held(source) => source.find(namespace, service_account),
                Opened::Remote(remote) => remote.cached(namespace, service_account),
            };
            if let Some(lookup) = combined.take(found) {
                return Ok(lookup);
            }
        }
        Err(combined)
    }

    /// Whether a ServiceAccount has an association at this moment: for a pod that would be injected. An answer of less than a second ago
    /// for the same ServiceAccount will do.
    pub async fn presence(&self, namespace: &str, service_account: &str, asker: Asker, deadline: Instant) -> Presence {
        let mut combined = Combined::default();
        for source in &self.sources {
            let found = match source {
                Opened::Held(source) => {
                    source.refresh().await;
                    source.find(namespace, service_account)
                }
                Opened::Remote(remote) => remote.presence(namespace, service_account, asker, deadline).await,
            };
            match found {
                Found::Association(_) | Found::Undescribed(_) => return Presence::Present,
                Found::Absent => return Presence::Absent,
                found @ (Found::Unlisted | Found::Unknown(_)) => {
                    combined.take(found);
                }
            }
        }
        combined.unknown.map_or(Presence::Absent, Presence::Unknown)
    }

    /// The association: from memory, else read once by `deadline`.
    pub async fn association(&self, namespace: &str, service_account: &str, deadline: Instant) -> Lookup {
        self.find(namespace, service_account, Freshness::Cached, deadline).await
    }

    /// The association, read again before a refusal unless that was done less than a second ago.
    pub async fn fresh(&self, namespace: &str, service_account: &str, deadline: Instant) -> Lookup {
        self.find(namespace, service_account, Freshness::Fresh, deadline).await
    }

    async fn find(&self, namespace: &str, service_account: &str, freshness: Freshness, deadline: Instant) -> Lookup {
        let mut combined = Combined::default();
        for source in &self.sources {
            let found = match source {
                Opened::Held(source) => {
                    if freshness == Freshness::Fresh {
                        source.refresh().await;
                    }
                    source.find(namespace, service_account)
                }
                Opened::Remote(remote) => remote.find(namespace, service_account, freshness, deadline).await,
            };
            if let Some(lookup) = combined.take(found) {
                return lookup;
            }
        }
        combined.lookup()
    }

    /// The roles that associations name, for the role cache to read ahead.
    #[must_use]
    pub fn roles(&self) -> Vec<RoleArn> {
        let held = |source: &Arc<dyn HeldAssociations>| {
            let all = source.all();
            let roles = all.iter().flat_map(|association| association.hops());
            roles.map(|(_, role)| role.clone()).collect::<Vec<_>>()
        };
        let roles = self.sources.iter().flat_map(|source| match source {
            Opened::Held(source) => held(source),
            Opened::Remote(remote) => remote.roles(),
        });
        roles.collect()
    }

    /// Every association whose content is known, each ServiceAccount once, by the first source that has it.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Association>> {
        let mut seen = std::collections::HashSet::new();
        let all = self.sources.iter().flat_map(|source| match source {
            Opened::Held(source) => source.all(),
            Opened::Remote(remote) => remote.all(),
        });
        let mut all: Vec<_> = all
            .filter(|one| seen.insert((Arc::clone(&one.namespace), Arc::clone(&one.service_account))))
            .collect();
        all.sort_by(|left, right| {
            (&left.namespace, &left.service_account).cmp(&(&right.namespace, &right.service_account))
        });
        all
    }

    /// How many associations are known, and how many of them with their roles.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let counts = self.sources.iter().map(|source| match source {
            Opened::Held(source) => {
                let all = source.all().len();
                (all, all)
            }
            Opened::Remote(remote) => remote.counts(),
        });
        counts.fold((0, 0), |(all, described), (more, more_described)| {
            (all + more, described + more_described)
        })
    }

    /// How many changes of files or objects could not be taken over since the start.
    #[must_use]
    pub fn reload_failures(&self) -> u64 {
        let failures = self.sources.iter().map(|source| match source {
            Opened::Held(source) => source.reload_failures(),
            Opened::Remote(_) => 0,
        });
        failures.sum()
    }

    /// Reads everything once, for commands. None if nothing is missing.
    ///
    /// # Errors
    /// Why a source could not be read at all, on one line.
    pub async fn read_all(&self, deadline: Instant) -> Result<Option<Unread>, Arc<str>> {
        let mut missing: Option<Unread> = None;
        for source in &self.sources {
            match source {
                Opened::Held(source) => {
                    let read = timeout_at(deadline, source.read_once()).await;
                    read.unwrap_or_else(|_| Err(format!("{}: no response in time", source.name()).into()))?;
                }
                Opened::Remote(remote) => {
                    let Unread { count, reason } = remote.read_all(deadline).await?;
                    if count > 0 {
                        let before = missing.map_or(0, |missing| missing.count);
                        missing = Some(Unread {
                            count: count.saturating_add(before),
                            reason,
                        });
                    }
                }
            }
        }
        Ok(missing)
    }

    /// Keeps what is known of these namespaces up to date until `stop`, and awaits every task at its end.
    pub async fn run(&self, namespaces: impl Fn() -> Vec<Arc<str>> + Send + Sync, stop: CancellationToken) {
        let running = self.sources.iter().map(|source| {
            let (stop, namespaces) = (stop.clone(), &namespaces);
            async move {
                match source {
                    Opened::Held(source) => source.run(stop).await,
                    Opened::Remote(remote) => {
                        stop.run_until_cancelled(Arc::clone(remote).run(namespaces)).await;
                    }
                }
            }
        });
        join_all(running).await;
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The answers of the sources so far.
#[derive(Debug, Default)]
struct Combined {
    undescribed: Option<Arc<str>>,
    unknown: Option<Arc<str>>,
}

impl Combined {
    /// The answer, if this source settles it.
    fn take(&mut self, found: Found) -> Option<Lookup> {
        match found {
            Found::Association(association) => return Some(Lookup::Association(association)),
            // One that lists it has the last word on its presence, another may know its roles.
            Found::Absent if self.undescribed.is_none() && self.unknown.is_none() => return Some(Lookup::Absent),
            Found::Absent | Found::Unlisted => {}
            Found::Undescribed(why) => {
                self.undescribed.get_or_insert(why);
            }
            Found::Unknown(why) => {
                self.unknown.get_or_insert(why);
            }
        }
        None
    }

    fn lookup(self) -> Lookup {
        match (self.undescribed, self.unknown) {
            (Some(why), _) => Lookup::Undescribed(why),
            (None, Some(why)) => Lookup::Unknown(why),
            (None, None) => Lookup::Unknown(
                "no association source lists it, and none of them knows every association of the cluster".into(),
            ),
        }
    }
}
