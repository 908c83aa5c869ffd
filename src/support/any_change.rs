//! One notification for several things that change.

use std::future::pending;

use futures::future::select_all;
use tokio::sync::watch;

/// Notifies when one of several things has changed. With none, it never does.
#[derive(Debug, Default)]
pub(crate) struct AnyChange(Vec<watch::Receiver<u64>>);

impl AnyChange {
    pub(crate) fn of(receivers: impl IntoIterator<Item = watch::Receiver<u64>>) -> Self {
        Self(receivers.into_iter().collect())
    }

    /// Whether something changed since the last call.
    pub(crate) fn take(&mut self) -> bool {
        let mut is_changed = false;
        for receiver in &mut self.0 {
            is_changed |= receiver.has_changed().unwrap_or(false);
            receiver.mark_unchanged();
        }
        is_changed
    }

    /// Waits until [`AnyChange::take`] returns true. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.0.is_empty() {
            return pending().await;
        }
        let changed = self.0.iter_mut().map(|receiver| {
            Box::pin(async move {
                match receiver.changed().await {
                    Ok(()) => receiver.mark_changed(),
                    // It was dropped, and will never change.
                    Err(_) => pending().await,
                }
            })
        });
        select_all(changed).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn is_notified(change: &mut AnyChange) -> bool {
        timeout(Duration::from_secs(1), change.changed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn each_of_them_notifies_until_it_was_taken() {
        let senders = [watch::Sender::new(0), watch::Sender::new(0)];
        let mut change = AnyChange::of(senders.iter().map(watch::Sender::subscribe));
        assert!(!is_notified(&mut change).await && !change.take());
        for sender in &senders {
            sender.send_replace(1);
            assert!(is_notified(&mut change).await && is_notified(&mut change).await);
            assert!(change.take());
            assert!(!is_notified(&mut change).await && !change.take());
        }
        let [first, second] = senders;
        drop(first);
        assert!(!is_notified(&mut change).await && !change.take(), "one that is gone");
        second.send_replace(2);
        assert!(is_notified(&mut change).await && change.take());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_never_changes() {
        let mut change = AnyChange::default();
        assert!(!is_notified(&mut change).await && !change.take());
    }
}
