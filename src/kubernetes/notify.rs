//! Tells that an object may have changed: a watch of one object by its name, which needs no list and keeps nothing.
//!
//! Who listens reads the object itself. A read is never older than what was said, while a watch may be; and where the watch
//! is broken, each attempt to open it counts as a word, so that the object is read every few seconds.

use std::fmt::Debug;

use futures::StreamExt as _;
use kube::Resource;
use kube::api::{Api, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::api_error;
use super::list_watch::{Pauses, STEADY, WATCH_SECONDS, WatchTiming};

/// One object, to be watched.
#[derive(Clone, Debug)]
pub(crate) struct Named<K> {
    /// Where it is.
    pub(crate) api: Api<K>,
    /// Its name.
    pub(crate) name: String,
    /// What log lines call it: `Secret rolegate-system/rolegate-tls`.
    pub(crate) what: String,
    /// The right that watching needs, for who lacks it.
    pub(crate) needs: String,
}

/// Notifies whenever the object may have changed, until dropped.
pub(crate) async fn notify_on_change<K>(named: Named<K>, timing: WatchTiming, changed: &Notify)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut pauses = Pauses::new(timing);
    let mut refused = false;
    loop {
        let opened = Instant::now();
        let ended = watch(&named, timing, changed, &mut refused).await;
        let steady = opened.elapsed() >= STEADY;
        if steady {
            pauses.reset();
        }
        if let Err(why) = ended {
            if !std::mem::replace(&mut refused, true) {
                tracing::warn!(
                    "the watch of {} is refused: {why}; rolegate needs {}; it is read every few seconds meanwhile",
                    named.what,
                    named.needs
                );
            }
        } else if steady {
            continue;
        }
        pauses.pause().await;
        changed.notify_one();
    }
}

/// One watch. An error is the API server's refusal; everything else passes.
async fn watch<K>(named: &Named<K>, timing: WatchTiming, changed: &Notify, refused: &mut bool) -> Result<(), String>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let params = WatchParams {
        field_selector: Some(format!("metadata.name={}", named.name)),
        timeout: Some(WATCH_SECONDS - fastrand::u32(0..WATCH_SECONDS / 5)),
        ..WatchParams::default()
    };
    // Without a version: what is there now is told first, and a version that is too old cannot be.
    let opening = named.api.watch_metadata(&params, "");
    let mut events = match timeout(timing.silence, opening).await {
        Ok(Ok(events)) => events.boxed(),
        Ok(Err(kube::Error::Api(status))) if (400..500).contains(&status.code) && status.code != 429 => {
            return Err(api_error::status_line(&status));
        }
        Ok(Err(error)) => {
            tracing::debug!("the watch of {} broke: {}", named.what, api_error::one_line(&error));
            return Ok(());
        }
        Err(_) => return Ok(()),
    };
    if std::mem::take(refused) {
        tracing::info!("the watch of {} works again", named.what);
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
