//! A list that is kept up to date: list by pages, then watch, for as long as the owner wants.
//!
//! kube-runtime has a `watcher`, and this is not it, for three reasons: it hides bookmarks, so a watch that went silent
//! looks like a cluster in which nothing happens; it cannot tell when a broken watch works again, which is one of the two
//! lines an operator wants to see; and its patience with silence is the watch's whole length, 295 seconds.

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

/// Objects a page. As client-go: some half a megabyte of JSON, so the list's peak is small beside what is kept of it.
const PAGE: u32 = 500;

/// Seconds after which the API server ends a watch, for it to be opened anew, maybe on another server; up to a fifth less,
/// so that replicas do not do it together.
pub(super) const WATCH_SECONDS: u32 = 290;

/// A watch that lived this long was a good one: what comes after it starts at the shortest pause again.
pub(super) const STEADY: Duration = Duration::from_secs(5);

/// Failed attempts to resume a watch before everything is listed anew: the API server may have lost the version it is
/// asked to resume from (a restored etcd) without saying so by 410.
const RESUME_ATTEMPTS: u32 = 5;

/// How patient a watch is.
#[derive(Clone, Copy, Debug)]
pub struct WatchTiming {
    /// Without a word for so long, the watch is opened anew.
    pub silence: Duration,
    /// The pause after a first failure; doubled with each that follows, and jittered.
    pub shortest_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for WatchTiming {
    /// Silent for 90 s, because bookmarks come each minute; pauses from 0.2 to 10 s.
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(90),
            shortest_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
        }
    }
}

/// Who keeps what a watch tells.
pub(crate) trait Observer<K>: Send {
    /// A list begins. What was known before stays true until [`Observer::list_ended`].
    fn list_began(&mut self);
    /// The list holds this.
    fn listed(&mut self, object: K);
    /// The list is complete: what it did not hold is gone.
    fn list_ended(&mut self);
    /// Created or changed.
    fn changed(&mut self, object: K);
    /// Deleted.
    fn deleted(&mut self, object: K);
    /// The API server does not serve such objects: their CRD is not installed, or was removed.
    fn not_served(&mut self) {}
    /// A list failed; why, in one line.
    fn list_failed(&mut self, _why: &str) {}
    /// What becomes of those who ask while the watch is broken, for its log line.
    fn meanwhile(&self) -> &'static str;
}

/// Keeps an observer up to date until it is dropped. `what` is named in log lines: `ServiceAccounts`. `in_sync` is false
/// while the watch is known to be broken or was found silent.
pub(crate) async fn keep<K>(
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
        pauses: Pauses::new(timing),
        health: Health::new(what, observer.meanwhile(), in_sync),
    };
    loop {
        match watch.list(&mut observer).await {
            Ok(version) => watch.follow(version, &mut observer).await,
            Err(NotListed::NotServed) => {
                observer.not_served();
                watch.health.not_served();
                watch.pauses.pause().await;
            }
            Err(NotListed::Failed(why)) => {
                observer.list_failed(&why);
                watch.health.broke(&format!("the list failed: {why}"));
                watch.pauses.pause().await;
            }
        }
    }
}

struct Watch<K> {
    api: Api<K>,
    fields: Option<String>,
    timing: WatchTiming,
    pauses: Pauses,
    health: Health,
}

/// Why there is no list.
enum NotListed {
    NotServed,
    Failed(String),
}

/// Why a watch ended.
enum Ended {
    /// The server closed it, as it does with each after some minutes.
    Closed,
    /// The server no longer knows the version; only a list helps.
    Gone,
    /// It broke.
    Broke(String),
    /// Nothing came, not even a bookmark.
    Silent,
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Lists page by page; the resource version to watch from.
    async fn list(&mut self, observer: &mut impl Observer<K>) -> Result<String, NotListed> {
        let mut params = ListParams {
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        observer.list_began();
        loop {
            let page = match timeout(self.timing.silence, self.api.list(&params)).await {
                Ok(Ok(page)) => page,
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Err(NotListed::NotServed),
                Ok(Err(error)) => return Err(NotListed::Failed(api_error::one_line(&error))),
                Err(_) => return Err(NotListed::Failed(format!("no answer within {:?}", self.timing.silence))),
            };
            for object in page.items {
                observer.listed(object);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => {
                    observer.list_ended();
                    return page
                        .metadata
                        .resource_version
                        .ok_or_else(|| NotListed::Failed("it has no resourceVersion".to_owned()));
                }
            }
        }
    }

    /// Watches until only a new list helps.
    async fn follow(&mut self, mut version: String, observer: &mut impl Observer<K>) {
        let mut failures = 0;
        while failures < RESUME_ATTEMPTS {
            let opened = Instant::now();
            let ended = self.watch(&mut version, observer).await;
            let steady = opened.elapsed() >= STEADY;
            if steady {
                self.pauses.reset();
                failures = 0;
            }
            match ended {
                Ended::Closed if steady => continue,
                Ended::Closed => {}
                Ended::Gone => {
                    self.pauses.pause().await;
                    return;
                }
                Ended::Broke(why) => {
                    self.health.broke(&why);
                    failures += 1;
                }
                Ended::Silent => {
                    self.health.silent(self.timing.silence);
                    continue;
                }
            }
            self.pauses.pause().await;
        }
    }

    /// One watch, from `version`, which moves on with what is heard.
    async fn watch(&mut self, version: &mut String, observer: &mut impl Observer<K>) -> Ended {
        let params = WatchParams {
            field_selector: self.fields.clone(),
            timeout: Some(WATCH_SECONDS - fastrand::u32(0..WATCH_SECONDS / 5)),
            ..WatchParams::default()
        };
        let mut events = match timeout(self.timing.silence, self.api.watch(&params, version)).await {
            Ok(Ok(events)) => events.boxed(),
            Ok(Err(kube::Error::Api(status))) if status.code == 410 => return Ended::Gone,
            Ok(Err(error)) => return Ended::Broke(api_error::one_line(&error)),
            Err(_) => return Ended::Silent,
        };
        self.health.opened();
        loop {
            let event = match timeout(self.timing.silence, events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return Ended::Broke(api_error::one_line(&error)),
                Ok(None) => return Ended::Closed,
                Err(_) => return Ended::Silent,
            };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    move_on(version, object.resource_version());
                    observer.changed(object);
                }
                WatchEvent::Deleted(object) => {
                    move_on(version, object.resource_version());
                    observer.deleted(object);
                }
                WatchEvent::Bookmark(bookmark) => move_on(version, Some(bookmark.metadata.resource_version)),
                WatchEvent::Error(status) if status.code == 410 => return Ended::Gone,
                WatchEvent::Error(status) => return Ended::Broke(api_error::status_line(&status)),
            }
            self.health.heard();
        }
    }
}

fn move_on(version: &mut String, to: Option<String>) {
    if let Some(to) = to.filter(|to| !to.is_empty()) {
        *version = to;
    }
}

/// The pauses between attempts: doubled from the shortest to the longest, each shortened by up to a half at random, so
/// that the replicas of a cluster do not come back at once.
pub(crate) struct Pauses {
    timing: WatchTiming,
    next: Duration,
}

impl Pauses {
    pub(crate) fn new(timing: WatchTiming) -> Self {
        Self {
            timing,
            next: timing.shortest_pause,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.timing.shortest_pause;
    }

    pub(crate) async fn pause(&mut self) {
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next = self.next.saturating_mul(2).min(self.timing.longest_pause);
        sleep(pause).await;
    }
}

/// Says a change of state once, however often it is confirmed.
struct Health {
    what: &'static str,
    meanwhile: &'static str,
    state: State,
    in_sync: Arc<AtomicBool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    InSync,
    Broken,
    /// There is nothing to watch yet.
    NotServed,
    /// Unlike after an error, that it could be opened proves nothing: only a word heard does.
    Silent,
}

impl Health {
    fn new(what: &'static str, meanwhile: &'static str, in_sync: Arc<AtomicBool>) -> Self {
        Self {
            what,
            meanwhile,
            state: State::InSync,
            in_sync,
        }
    }

    fn broke(&mut self, why: &str) {
        if self.state == State::InSync {
            tracing::warn!("the watch of {} broke: {why}; {}", self.what, self.meanwhile);
        }
        self.turn(State::Broken);
    }

    fn not_served(&mut self) {
        if self.state != State::NotServed {
            tracing::warn!(
                "the API server does not serve {}; it is asked again until it does",
                self.what
            );
        }
        self.turn(State::NotServed);
    }

    fn silent(&mut self, silence: Duration) {
        if self.state == State::InSync {
            tracing::warn!(
                "the watch of {} was silent for {silence:?}, not even a bookmark came: opened anew",
                self.what
            );
        }
        self.turn(State::Silent);
    }

    fn opened(&mut self) {
        if matches!(self.state, State::Broken | State::NotServed) {
            self.works();
        } else if self.state == State::InSync {
            self.in_sync.store(true, Ordering::Relaxed);
        }
    }

    fn heard(&mut self) {
        if self.state != State::InSync {
            self.works();
        }
    }

    fn works(&mut self) {
        tracing::info!("the watch of {} works again", self.what);
        self.turn(State::InSync);
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.in_sync.store(state == State::InSync, Ordering::Relaxed);
    }
}
