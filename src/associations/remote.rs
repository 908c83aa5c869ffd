//! The cache of an association source over the network, and when the source is called.
//!
//! A list contains the ServiceAccounts that have an association, but not the roles, which need a second call for each association. An
//! association that is edited keeps its ID, so no list shows the edit. Therefore:
//!
//! - each namespace of interest is listed every [`RemoteSettings::list_every`], or the cluster as a whole if that takes fewer calls;
//! - an association is described when it is new or asked for, and again after [`RemoteSettings::describe_after`];
//! - before a refusal, both calls are repeated; before an injection, only the list.
//!
//! While the source fails, not every admission calls it: calls back off, and in the meantime the cached associations are used.

mod known;

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use self::known::{Known, ListEffect};
use super::source::{
    AccountName, Asker, Failure, Found, Listed, ReadKind, ReadObserver, ReadResult, RemoteAssociations, Scope,
};
use crate::support::age::{as_good_as_now, pauses};
use crate::support::backoff::Backoff;
use crate::support::coalesce::{Caller, Coalescer, Outcome, Reading};
use crate::support::rate_limit::{Call, RateLimiter};
use crate::support::state_log::StateLog;
use crate::trust::{Association, RoleArn};

/// When a source over the network is asked.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// How long an admission waits for one answer.
    pub read_timeout: Duration,
    /// How often namespaces are listed.
    pub list_every: Duration,
    /// How old the content of an association may be before it is read again.
    pub describe_after: Duration,
    /// The most calls for single associations per second.
    pub describes_per_second: NonZeroU32,
    /// How long what is known serves while the source fails.
    pub max_stale: Duration,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            read_timeout: Duration::from_millis(700),
            list_every: Duration::from_secs(30),
            describe_after: Duration::from_secs(300),
            describes_per_second: DESCRIBES_PER_SECOND,
            max_stale: Duration::from_secs(3600),
        }
    }
}

/// Calls of lists per second: admissions wait for them. AWS publishes no rates for EKS; where it throttles, calls pause.
const LISTS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);

/// Calls for single associations per second, next to admissions.
const DESCRIBES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// A read that takes longer has failed.
const LONGEST_READ: Duration = Duration::from_secs(10);

/// The most pages of a list. A cluster has at most 5,000 associations, of which a page holds 100.
const MOST_PAGES: usize = 100;

/// After so many descriptions that failed one after the other, a command does not wait for more.
const MOST_IN_A_ROW: usize = 5;

/// What a command could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The number of associations.
    pub count: usize,
    /// Why the last one was not read.
    pub reason: Arc<str>,
}

/// The number of associations in a page.
pub(super) const PAGE: usize = 100;

/// How often it is looked what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// With fewer namespaces, each is listed by itself.
const FEW_NAMESPACES: usize = 4;

/// A source over the network, with what is known of it.
#[derive(Debug)]
pub(super) struct Remote {
    source: Arc<dyn RemoteAssociations>,
    settings: RemoteSettings,
    observer: Arc<dyn ReadObserver>,
    known: RwLock<Known>,
    lists: Coalescer<Scope, Result<(), Failure>>,
    describes: Coalescer<Arc<str>, Result<Option<Arc<Association>>, Failure>>,
    list_calls: Calls,
    describe_calls: Calls,
    /// Something is to be described.
    wake: Notify,
    /// Changes with the associations that are known, and with what is in them.
    version: watch::Sender<u64>,
}

/// The pace and the state of one kind of call.
#[derive(Debug)]
struct Calls {
    kind: ReadKind,
    limiter: RateLimiter,
    state: Mutex<CallState>,
}

#[derive(Debug)]
struct CallState {
    /// Since the last call failed: admissions do not call before this, and the reason.
    down: Option<(Instant, Arc<str>)>,
    pauses: Backoff,
    log: StateLog,
}

/// Whether memory will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Cached,
    Fresh,
}

impl Remote {
    pub(super) fn new(
        source: Arc<dyn RemoteAssociations>,
        settings: RemoteSettings,
        observer: Arc<dyn ReadObserver>,
        tasks: &TaskTracker,
        end: &CancellationToken,
    ) -> Arc<Self> {
        let describe_calls = Calls::new(ReadKind::Describe, settings.describes_per_second);
        Arc::new(Self {
            source,
            settings,
            observer,
            known: RwLock::default(),
            lists: Coalescer::new(tasks.clone(), end.clone()),
            describes: Coalescer::new(tasks.clone(), end.clone()),
            list_calls: Calls::new(ReadKind::List, LISTS_PER_SECOND),
            describe_calls,
            wake: Notify::new(),
            version: watch::Sender::new(0),
        })
    }

    pub(super) fn name(&self) -> &'static str {
        self.source.name()
    }

    /// What is known without a call.
    pub(super) fn cached(&self, namespace: &str, service_account: &str) -> Found {
        let now = Instant::now();
        let known = self.known.read();
        match known.id_of(namespace, service_account) {
            Some((id, as_of)) if self.serves(as_of, now) => match known.content_of(&id) {
                Some((content, read_at)) if self.serves(read_at, now) => Found::Association(content),
                _ => Found::Undescribed(NOT_READ.into()),
            },
            Some(_) => Found::Unknown(NOT_READ.into()),
            None => match known.absent_since(namespace, service_account) {
                Some(as_of) if self.serves(as_of, now) => Found::Absent,
                _ => Found::Unknown(NOT_READ.into()),
            },
        }
    }

    fn serves(&self, as_of: Instant, now: Instant) -> bool {
        now.saturating_duration_since(as_of) <= self.settings.max_stale
    }

    /// Whether there is an association: a list that began less than a second ago for this ServiceAccount, or begins now. Where that
    /// fails, an association that is known counts, and everything else is unknown.
    pub(super) async fn presence(
        self: &Arc<Self>,
        namespace: &str,
        service_account: &str,
        asker: Asker,
        deadline: Instant,
    ) -> Found {
        let arrived = Instant::now();
        let listed = self
            .list_for(namespace, service_account, asker, Caller::as_of(arrived), deadline)
            .await;
        match (listed, self.cached(namespace, service_account)) {
            // What is known, though it was not read now.
            (_, found @ (Found::Association(_) | Found::Undescribed(_))) => found,
            (Ok(()), found) => found,
            (Err(reason), _) => Found::Unknown(reason),
        }
    }

    /// The association: what is in memory, or what is read by `deadline`.
    pub(super) async fn find(
        self: &Arc<Self>,
        namespace: &str,
        service_account: &str,
        freshness: Freshness,
        deadline: Instant,
    ) -> Found {
        let arrived = Instant::now();
        let recently = as_good_as_now(arrived);
        let caller = match freshness {
            Freshness::Cached => {
                match self.cached(namespace, service_account) {
                    found @ Found::Association(_) => return found,
                    Found::Undescribed(_) => {}
                    Found::Absent | Found::Unlisted | Found::Unknown(_) => {
                        let caller = Caller::as_of(arrived);
                        if let Err(reason) = self
                            .list_for(namespace, service_account, Asker::Pod, caller, deadline)
                            .await
                        {
                            return Found::Unknown(reason);
                        }
                    }
                }
                Caller::as_of(recently)
            }
            Freshness::Fresh => {
                let caller = Caller::as_of(arrived).urgent();
                if let Err(reason) = self
                    .list_for(namespace, service_account, Asker::Pod, caller, deadline)
                    .await
                {
                    return Found::Unknown(reason);
                }
                Caller::as_of(recently).urgent()
            }
        };
        let known = self.known.read().id_of(namespace, service_account);
        let Some((id, _)) = known else { return Found::Absent };
        self.content(id, caller, recently, deadline).await
    }

    /// The content of an association as of `recently` or later.
    async fn content(self: &Arc<Self>, id: Arc<str>, caller: Caller, recently: Instant, deadline: Instant) -> Found {
        if let Some((content, read_at)) = self.known.read().content_of(&id)
            && read_at >= recently
        {
            return Found::Association(content);
        }
        if let Some(reason) = self.describe_calls.is_down() {
            return Found::Undescribed(reason);
        }
        let limit = self.limit(deadline);
        match self.describe(Arc::clone(&id), caller.by(limit)).await {
            Outcome::Done {
                value: Ok(Some(content)),
                ..
            } => Found::Association(content),
            Outcome::Done { value: Ok(None), .. } => Found::Absent,
            Outcome::Done {
                value: Err(failure), ..
            } => Found::Undescribed(Arc::clone(failure.reason())),
            Outcome::Busy | Outcome::TimedOut => {
                let reason = self.no_answer(&self.describe_calls, &self.describes, &id);
                Found::Undescribed(reason)
            }
        }
    }

    fn limit(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.settings.read_timeout)
    }

    /// Admissions after a call without a response do not wait as long. A call that the rate limit did not allow proves nothing about the
    /// source.
    fn no_answer<K, V>(&self, calls: &Calls, reads: &Coalescer<K, V>, key: &K) -> Arc<str>
    where
        K: Clone + Eq + Hash + Send + 'static,
        V: Clone + Send + Sync + 'static,
    {
        if reads.waits_for_turn(key) {
            return format!("{}: the rate limit allowed no call in time", self.name()).into();
        }
        let reason: Arc<str> = format!("{}: no response in time", self.name()).into();
        calls.pause(Arc::clone(&reason));
        reason
    }

    /// Lists what answers for a ServiceAccount, unless it was asked for less than a second ago.
    async fn list_for(
        self: &Arc<Self>,
        namespace: &str,
        service_account: &str,
        asker: Asker,
        caller: Caller,
        deadline: Instant,
    ) -> Result<(), Arc<str>> {
        let scope = {
            let known = self.known.read();
            if known.was_asked_for(namespace, service_account, as_good_as_now(Instant::now())) {
                return Ok(());
            }
            known.scope_for(namespace, service_account)
        };
        if let Some(reason) = self.list_calls.is_down() {
            return Err(reason);
        }
        let outcome = self.list(scope.clone(), caller.by(self.limit(deadline))).await;
        match outcome {
            Outcome::Done { value: Ok(()), began } => {
                if asker == Asker::Pod {
                    self.known.write().asked_for(namespace, service_account, began);
                }
                Ok(())
            }
            Outcome::Done {
                value: Err(failure), ..
            } => Err(Arc::clone(failure.reason())),
            Outcome::Busy | Outcome::TimedOut => Err(self.no_answer(&self.list_calls, &self.lists, &scope)),
        }
    }

    async fn list(self: &Arc<Self>, scope: Scope, caller: Caller) -> Outcome<Result<(), Failure>> {
        let (this, key) = (Arc::clone(self), scope.clone());
        let read = move |reading: Reading| Arc::clone(&this).read_list(scope.clone(), reading);
        self.lists.ask(key, caller, read).await
    }

    async fn read_list(self: Arc<Self>, scope: Scope, reading: Reading) -> Result<(), Failure> {
        let calls = &self.list_calls;
        calls.turn(&reading).await;
        let began = reading.begin(Duration::ZERO);
        let pages = async {
            let mut listed: Vec<Listed> = Vec::new();
            let mut token: Option<String> = None;
            for count in 1..=MOST_PAGES {
                if count > 1 {
                    calls.limiter.acquire(Call::List, reading.priority()).await;
                }
                let page = self.source.page(&scope, token.as_deref()).await?;
                listed.extend(page.listed);
                match page.next {
                    None => return Ok((listed, count)),
                    Some(next) if token.as_ref() == Some(&next) => break,
                    Some(next) => token = Some(next),
                }
            }
            Err(Failure::Failed(
                format!("{}: the list does not end", self.name()).into(),
            ))
        };
        let result = timeout(LONGEST_READ, pages).await;
        let listed = self.ended(calls, result);
        let (listed, pages) = listed?;
        let ListEffect { is_changed, is_new } = self.known.write().store(&scope, &listed, pages, began);
        if is_new {
            self.wake.notify_one();
        }
        if is_changed {
            self.notify_changed();
        }
        Ok(())
    }

    async fn describe(
        self: &Arc<Self>,
        id: Arc<str>,
        caller: Caller,
    ) -> Outcome<Result<Option<Arc<Association>>, Failure>> {
        let (this, key) = (Arc::clone(self), Arc::clone(&id));
        let read = move |reading: Reading| Arc::clone(&this).read_content(Arc::clone(&id), reading);
        self.describes.ask(key, caller, read).await
    }

    async fn read_content(
        self: Arc<Self>,
        id: Arc<str>,
        reading: Reading,
    ) -> Result<Option<Arc<Association>>, Failure> {
        let calls = &self.describe_calls;
        calls.turn(&reading).await;
        let began = reading.begin(Duration::ZERO);
        let result = timeout(LONGEST_READ, self.source.describe(&id)).await;
        let content = self.ended(calls, result)?.map(Arc::new);
        if self.known.write().store_content(&id, content.clone(), began) {
            self.notify_changed();
        }
        Ok(content)
    }

    /// Records how a call ended.
    fn ended<T>(
        &self,
        calls: &Calls,
        result: Result<Result<T, Failure>, tokio::time::error::Elapsed>,
    ) -> Result<T, Failure> {
        let (ended, answer) = match result {
            Ok(Ok(answer)) => (ReadResult::Answered, Ok(answer)),
            Ok(Err(failure @ Failure::Throttled(_))) => (ReadResult::Throttled, Err(failure)),
            Ok(Err(failure @ Failure::Failed(_))) => (ReadResult::Failed, Err(failure)),
            Err(_) => {
                let reason = format!("{}: no response within {} s", self.name(), LONGEST_READ.as_secs());
                (ReadResult::TimedOut, Err(Failure::Failed(reason.into())))
            }
        };
        self.observer.read(self.name(), calls.kind, ended);
        match &answer {
            Ok(_) => calls.answered(self.name()),
            Err(failure) => calls.failed(self.name(), ended, failure.reason()),
        }
        answer
    }

    /// Every association whose content is known.
    pub(super) fn all(&self) -> Vec<Arc<Association>> {
        self.known.read().contents()
    }

    /// The ServiceAccounts that are known to have an association.
    pub(super) fn accounts(&self) -> Vec<AccountName> {
        self.known.read().accounts()
    }

    /// Changes with them, and with what is known of their associations.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn notify_changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// The roles of the associations that are known.
    pub(super) fn roles(&self) -> Vec<RoleArn> {
        let contents = self.all();
        let roles = contents.iter().flat_map(|association| association.hops());
        roles.map(|(_, role)| role.clone()).collect()
    }

    /// How many associations are known, and how many of them are described.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.known.read().counts()
    }

    /// Lists the whole cluster once, and describes all of it: for commands. What cannot be described does not hide the rest.
    pub(super) async fn read_all(self: &Arc<Self>, deadline: Instant) -> Result<Unread, Arc<str>> {
        match self.list(Scope::Cluster, Caller::any().by(deadline)).await {
            Outcome::Done { value: Ok(()), .. } => {}
            Outcome::Done {
                value: Err(failure), ..
            } => return Err(Arc::clone(failure.reason())),
            Outcome::Busy | Outcome::TimedOut => {
                return Err(self.no_answer(&self.list_calls, &self.lists, &Scope::Cluster));
            }
        }
        let mut pending = self.known.read().due(None);
        let mut reason = None;
        // What was throttled or not answered has a second turn.
        for _ in 0..2 {
            let mut failed = Vec::new();
            let mut in_a_row: usize = 0;
            for id in pending {
                if in_a_row >= MOST_IN_A_ROW || Instant::now() >= deadline {
                    failed.push(id);
                    continue;
                }
                let why = match self.describe(Arc::clone(&id), Caller::any().by(deadline)).await {
                    Outcome::Done { value: Ok(_), .. } => {
                        in_a_row = 0;
                        continue;
                    }
                    Outcome::Done {
                        value: Err(failure), ..
                    } => Arc::clone(failure.reason()),
                    Outcome::Busy | Outcome::TimedOut => self.no_answer(&self.describe_calls, &self.describes, &id),
                };
                in_a_row = in_a_row.saturating_add(1);
                reason = Some(why);
                failed.push(id);
            }
            pending = failed;
        }
        let (_, described) = self.counts();
        match reason {
            Some(reason) if described == 0 && !pending.is_empty() => Err(reason),
            reason => Ok(Unread {
                count: pending.len(),
                reason: reason.unwrap_or_else(|| "it took too long".into()),
            }),
        }
    }

    /// Lists and describes in the background until dropped.
    pub(super) async fn run(self: Arc<Self>, namespaces: &(dyn Fn() -> Vec<Arc<str>> + Send + Sync)) {
        let lists = async {
            loop {
                for scope in self.due_lists(namespaces()) {
                    self.list(scope, Caller::any().in_background()).await;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let describes = async {
            loop {
                let before = Instant::now().checked_sub(self.settings.describe_after);
                let due = self.known.read().due(before);
                for id in due {
                    self.describe(id, Caller::any().in_background()).await;
                }
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        };
        tokio::join!(lists, describes);
    }

    /// What must be listed now: each namespace, or the whole cluster if that does not take more calls.
    fn due_lists(&self, namespaces: Vec<Arc<str>>) -> Vec<Scope> {
        let now = Instant::now();
        let Some(before) = now.checked_sub(self.settings.list_every) else {
            return Vec::new();
        };
        let mut known = self.known.write();
        if known.forget(now.checked_sub(self.settings.max_stale)) {
            self.notify_changed();
        }
        let is_due = |as_of: Option<Instant>| as_of.is_none_or(|as_of| as_of <= before);
        let calls = known.cluster_pages();
        if namespaces.len() >= FEW_NAMESPACES && calls.is_none_or(|calls| calls <= namespaces.len()) {
            return if is_due(known.cluster_listed_at()) {
                vec![Scope::Cluster]
            } else {
                Vec::new()
            };
        }
        let due = namespaces
            .into_iter()
            .filter(|namespace| is_due(known.listed_at(namespace)));
        due.map(Scope::Namespace).collect()
    }
}

const NOT_READ: &str = "it was not read yet";

impl Calls {
    fn new(kind: ReadKind, per_second: std::num::NonZeroU32) -> Self {
        Self {
            kind,
            limiter: RateLimiter::new(per_second, Arc::default()),
            state: Mutex::new(CallState {
                down: None,
                pauses: pauses(),
                log: StateLog::default(),
            }),
        }
    }

    /// Waits until a call may be made.
    async fn turn(&self, reading: &Reading) {
        let turn = self.limiter.acquire(Call::Read { last: None }, reading.priority());
        reading.wait_for_turn(turn).await;
    }

    /// Why admissions are not to call now.
    fn is_down(&self) -> Option<Arc<str>> {
        let state = self.state.lock();
        let (until, reason) = state.down.as_ref()?;
        (*until > Instant::now()).then(|| Arc::clone(reason))
    }

    fn pause(&self, reason: Arc<str>) {
        let mut state = self.state.lock();
        let until = Instant::now() + state.pauses.next();
        state.down = Some((until, reason));
    }

    fn answered(&self, source: &'static str) {
        self.limiter.answered();
        let mut state = self.state.lock();
        state.down = None;
        state.pauses.reset();
        if state.log.recovered().is_some() {
            info!(source, call = self.kind.as_str(), "association source recovered");
        }
    }

    fn failed(&self, source: &'static str, ended: ReadResult, reason: &Arc<str>) {
        let now = Instant::now();
        match ended {
            ReadResult::Throttled => self.limiter.throttled(now),
            ReadResult::Failed | ReadResult::TimedOut | ReadResult::Answered => self.limiter.failed(now),
        }
        self.pause(Arc::clone(reason));
        if self.state.lock().log.failed_because(reason) {
            warn!(
                source,
                call = self.kind.as_str(),
                reason = &**reason,
                "association source is failing; what is known stays in use until it is too old"
            );
        }
    }
}
