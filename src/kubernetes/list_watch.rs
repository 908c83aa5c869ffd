//! A list that is kept up to date: lists page by page, then watches, until the caller drops it.
//!
//! kube-runtime's `watcher` does almost the same. It is not used because it does not report that a broken watch was opened again while
//! nothing changes in the cluster: [`LiveServiceAccounts::is_current`] and the log line of the recovery depend on that.
//!
//! [`LiveServiceAccounts::is_current`]: crate::kubernetes::service_accounts::live::LiveServiceAccounts::is_current

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::api_error;
use crate::support::backoff::Backoff;
use crate::support::state_log::StateLog;

/// Objects per page, as in client-go: about half a megabyte of JSON, so that the peak of a list is small compared with what is kept of it.
const PAGE: u32 = 500;

/// After at most this many seconds, the API server ends a watch, which is then opened again, possibly on another server.
const WATCH_SECONDS: u32 = 290;

/// A watch that lasted this long was healthy: the next pause is the shortest again.
pub(super) const STEADY: Duration = Duration::from_secs(5);

/// Failed attempts to resume a watch before everything is listed again: the API server may have lost the version that the watch
/// resumes from (a restored etcd) without answering 410.
const RESUME_ATTEMPTS: u32 = 5;

/// Timeouts and pauses of a watch.
#[derive(Clone, Copy, Debug)]
pub struct WatchTiming {
    /// A watch that receives nothing for this long is opened again.
    pub silence: Duration,
    /// The longest pause after a first failure. Pauses double with each further failure, and have jitter.
    pub shortest_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for WatchTiming {
    /// 90 s of silence, because bookmarks are sent every minute; pauses from 0.2 to 10 s.
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(90),
            shortest_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
        }
    }
}

impl WatchTiming {
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.shortest_pause, self.longest_pause)
    }
}

/// Receives what is listed and watched.
pub(crate) trait Observer<K>: Send {
    /// A list begins. Known objects stay valid until [`Observer::init_done`].
    fn init(&mut self);
    /// An object of the list.
    fn init_apply(&mut self, object: K);
    /// The list is complete: known objects that it did not contain are gone.
    fn init_done(&mut self);
    /// An object was created or changed.
    fn apply(&mut self, object: K);
    /// An object was deleted.
    fn delete(&mut self, object: K);
    /// The API server does not serve this resource: its CRD is not installed, or was removed.
    fn not_served(&mut self) {}
    /// A list failed, with the reason in one line.
    fn list_failed(&mut self, _why: &str) {}
    /// A list failed because rolegate lacks the permission. [`Observer::list_failed`] is called as well.
    fn list_forbidden(&mut self) {}
    /// What a broken watch means for callers, for the log line.
    fn while_broken(&self) -> &'static str;
}

/// Keeps an observer up to date until dropped. `what` names the objects in log lines: `ServiceAccounts`. `in_sync` is false until the
/// first watch is open, and whenever the watch is known to be broken or was found silent.
pub(crate) async fn list_and_watch<K>(
    what: &'static str,
    api: Api<K>,
    fields: Option<String>,
    timing: WatchTiming,
    in_sync: Arc<AtomicBool>,
    mut observer: impl Observer<K>,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut watch = Watch {
        api,
        fields,
        timing,
        backoff: timing.backoff(),
        health: Health::new(what, observer.while_broken(), in_sync),
    };
    loop {
        match watch.list(&mut observer).await {
            Ok(version) => watch.follow(version, &mut observer).await,
            Err(NotListed::NotServed) => {
                observer.not_served();
                watch.health.not_served();
                watch.pause().await;
            }
            Err(NotListed::Forbidden(why)) => {
                observer.list_forbidden();
                watch.list_failed(&why, &mut observer).await;
            }
            Err(NotListed::Failed(why)) => watch.list_failed(&why, &mut observer).await,
        }
    }
}

/// The seconds after which the API server ends a watch. Up to a fifth is subtracted at random, so that replicas do not reconnect together.
pub(super) fn watch_seconds() -> u32 {
    WATCH_SECONDS - fastrand::u32(0..WATCH_SECONDS / 5)
}

struct Watch<K> {
    api: Api<K>,
    fields: Option<String>,
    timing: WatchTiming,
    backoff: Backoff,
    health: Health,
}

/// Why there is no list.
enum NotListed {
    NotServed,
    /// rolegate lacks the permission.
    Forbidden(String),
    Failed(String),
}

/// Why a watch ended.
enum Ended {
    /// The server closed it, as it closes every watch after some minutes.
    Closed,
    /// The server no longer has the version; everything must be listed again.
    Gone,
    /// It failed.
    Failed(String),
    /// Nothing was received, not even a bookmark.
    Silent,
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Lists page by page. Returns the resource version to watch from.
    async fn list(&mut self, observer: &mut impl Observer<K>) -> Result<String, NotListed> {
        let mut params = ListParams {
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        observer.init();
        loop {
            let page = match timeout(self.timing.silence, self.api.list(&params)).await {
                Ok(Ok(page)) => page,
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Err(NotListed::NotServed),
                Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                    return Err(NotListed::Forbidden(api_error::status_line(&status)));
                }
                Ok(Err(error)) => return Err(NotListed::Failed(api_error::one_line(&error))),
                Err(_) => {
                    return Err(NotListed::Failed(format!(
                        "no response within {:?}",
                        self.timing.silence
                    )));
                }
            };
            for object in page.items {
                observer.init_apply(object);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => {
                    observer.init_done();
                    return page
                        .metadata
                        .resource_version
                        .ok_or_else(|| NotListed::Failed("it has no resourceVersion".to_owned()));
                }
            }
        }
    }

    async fn list_failed(&mut self, why: &str, observer: &mut impl Observer<K>) {
        observer.list_failed(why);
        self.health.failed(&format!("the list failed: {why}"));
        self.pause().await;
    }

    async fn pause(&mut self) {
        sleep(self.backoff.next()).await;
    }

    /// Watches until everything must be listed again.
    async fn follow(&mut self, mut version: String, observer: &mut impl Observer<K>) {
        let mut failures = 0;
        while failures < RESUME_ATTEMPTS {
            let opened = Instant::now();
            let ended = self.watch(&mut version, observer).await;
            let steady = opened.elapsed() >= STEADY;
            if steady {
                self.backoff.reset();
                failures = 0;
            }
            match ended {
                Ended::Closed if steady => continue,
                Ended::Closed => {}
                Ended::Gone => {
                    self.pause().await;
                    return;
                }
                Ended::Failed(why) => {
                    self.health.failed(&why);
                    failures += 1;
                }
                Ended::Silent => {
                    self.health.silent(self.timing.silence);
                    continue;
                }
            }
            self.pause().await;
        }
    }

    /// One watch, from `version`, which is advanced by each event.
    async fn watch(&mut self, version: &mut String, observer: &mut impl Observer<K>) -> Ended {
        let params = WatchParams {
            field_selector: self.fields.clone(),
            timeout: Some(watch_seconds()),
            ..WatchParams::default()
        };
        let mut events = match timeout(self.timing.silence, self.api.watch(&params, version)).await {
            Ok(Ok(events)) => events.boxed(),
            Ok(Err(kube::Error::Api(status))) if status.code == 410 => return Ended::Gone,
            Ok(Err(error)) => return Ended::Failed(api_error::one_line(&error)),
            Err(_) => return Ended::Silent,
        };
        self.health.opened();
        loop {
            let event = match timeout(self.timing.silence, events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return Ended::Failed(api_error::one_line(&error)),
                Ok(None) => return Ended::Closed,
                Err(_) => return Ended::Silent,
            };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    advance(version, object.resource_version());
                    observer.apply(object);
                }
                WatchEvent::Deleted(object) => {
                    advance(version, object.resource_version());
                    observer.delete(object);
                }
                WatchEvent::Bookmark(bookmark) => advance(version, Some(bookmark.metadata.resource_version)),
                WatchEvent::Error(status) if status.code == 410 => return Ended::Gone,
                WatchEvent::Error(status) => return Ended::Failed(api_error::status_line(&status)),
            }
            self.health.received();
        }
    }
}

fn advance(version: &mut String, to: Option<String>) {
    if let Some(to) = to.filter(|to| !to.is_empty()) {
        *version = to;
    }
}

/// Keeps `in_sync`, and logs when the watch fails and when it works again.
struct Health {
    what: &'static str,
    while_broken: &'static str,
    in_sync: Arc<AtomicBool>,
    log: StateLog,
    recovers_by: Recovery,
}

/// What shows that a watch works again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// Opening it.
    Opening,
    /// Receiving something: a silent watch can be opened, too.
    Receiving,
}

impl Health {
    fn new(what: &'static str, while_broken: &'static str, in_sync: Arc<AtomicBool>) -> Self {
        Self {
            what,
            while_broken,
            in_sync,
            log: StateLog::default(),
            recovers_by: Recovery::Opening,
        }
    }

    fn failed(&mut self, why: &str) {
        if self.log.failed() {
            tracing::warn!("watch of {} failed: {why}; {}", self.what, self.while_broken);
        }
        self.broken(Recovery::Opening);
    }

    fn silent(&mut self, silence: Duration) {
        if self.log.failed() {
            tracing::warn!(
                "watch of {} received nothing for {silence:?}, not even a bookmark; reconnecting; {}",
                self.what,
                self.while_broken
            );
        }
        self.broken(Recovery::Receiving);
    }

    fn not_served(&mut self) {
        if self.log.failed_because("not served") {
            tracing::warn!("the API server does not serve {}; retrying until it does", self.what);
        }
        self.broken(Recovery::Opening);
    }

    fn broken(&mut self, recovers_by: Recovery) {
        self.recovers_by = recovers_by;
        self.in_sync.store(false, Ordering::Relaxed);
    }

    fn opened(&mut self) {
        if self.recovers_by == Recovery::Opening {
            self.works();
        }
    }

    fn received(&mut self) {
        self.works();
    }

    fn works(&mut self) {
        self.recovers_by = Recovery::Opening;
        if self.log.recovered().is_some() {
            tracing::info!("watch of {} reconnected", self.what);
        }
        self.in_sync.store(true, Ordering::Relaxed);
    }
}
