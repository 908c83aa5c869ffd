//! Notifies that an object might have changed: a watch of a single object, without a list and without a copy of it.
//!
//! The receiver reads the object itself: a read is never older than the notification, but a watch event might be. While the watch is
//! broken, every attempt to open it sends a notification, so that the object is read every few seconds.

use std::fmt::Debug;

use futures::StreamExt as _;
use kube::Resource;
use kube::api::{Api, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::api_error;
use super::list_watch::{STEADY, WatchTiming, watch_seconds};
use crate::support::state_log::StateLog;

/// An object that is watched by its name.
#[derive(Clone, Debug)]
pub(crate) struct Named<K> {
    /// Its resource and namespace.
    pub(crate) api: Api<K>,
    /// Its name.
    pub(crate) name: String,
    /// Its name in log lines: `Secret rolegate-system/rolegate-tls`.
    pub(crate) what: String,
    /// The permissions that are required, for error messages.
    pub(crate) needs: String,
}

/// Notifies whenever the object might have changed, until dropped.
pub(crate) async fn notify_on_change<K>(named: Named<K>, timing: WatchTiming, changed: &Notify)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut backoff = timing.backoff();
    let mut log = StateLog::default();
    loop {
        let opened = Instant::now();
        let ended = watch(&named, timing, changed, &mut log).await;
        let steady = opened.elapsed() >= STEADY;
        if steady {
            backoff.reset();
        }
        if let Err(why) = ended {
            if log.failed() {
                tracing::warn!(
                    "watch of {} is forbidden: {why}; rolegate needs {}; reading it every few seconds instead",
                    named.what,
                    named.needs
                );
            }
        } else if steady {
            continue;
        }
        sleep(backoff.next()).await;
        changed.notify_one();
    }
}

/// One watch. Only a request that the API server rejects is an error; other failures are temporary.
async fn watch<K>(named: &Named<K>, timing: WatchTiming, changed: &Notify, log: &mut StateLog) -> Result<(), String>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let params = WatchParams {
        field_selector: Some(format!("metadata.name={}", named.name)),
        timeout: Some(watch_seconds()),
        ..WatchParams::default()
    };
    // Without a version: the first event is the current object, and no version can be too old.
    let opening = named.api.watch_metadata(&params, "");
    let mut events = match timeout(timing.silence, opening).await {
        Ok(Ok(events)) => events.boxed(),
        Ok(Err(kube::Error::Api(status))) if (400..500).contains(&status.code) && status.code != 429 => {
            return Err(api_error::status_line(&status));
        }
        Ok(Err(error)) => {
            tracing::debug!("watch of {} failed: {}", named.what, api_error::one_line(&error));
            return Ok(());
        }
        Err(_) => return Ok(()),
    };
    if log.recovered().is_some() {
        tracing::info!("watch of {} reconnected", named.what);
    }
    changed.notify_one();
    loop {
        match timeout(timing.silence, events.next()).await {
            Ok(Some(Ok(WatchEvent::Bookmark(_)))) => {}
            Ok(Some(Ok(WatchEvent::Error(_)) | Err(_)) | None) | Err(_) => return Ok(()),
            Ok(Some(Ok(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_)))) => {
                changed.notify_one()
            }
        }
    }
}
