//! Which roles have changed, for evaluations that no pod waits for.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::trust::RoleArn;

/// What changed since it was taken last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Roles whose trust policy, tags or existence changed, or whose read failed.
    pub(crate) roles: HashSet<RoleArn>,
    /// Everything may have: an OIDC provider, or more roles than the cache holds.
    pub(crate) all: bool,
}

/// Collects changes for one follower.
#[derive(Debug)]
pub(super) struct Changes {
    /// None while there is no follower.
    changed: Mutex<Option<Changed>>,
    notify: Notify,
    most: usize,
}

impl Changes {
    /// Keeps at most so many roles.
    pub(super) fn new(most: usize) -> Self {
        Self {
            changed: Mutex::new(None),
            notify: Notify::new(),
            most,
        }
    }

    /// Collects from now on.
    pub(super) fn follow(&self) {
        self.changed.lock().get_or_insert_default();
    }

    pub(super) fn role(&self, role: &RoleArn) {
        let mut changed = self.changed.lock();
        let Some(changed) = changed.as_mut() else { return };
        if changed.roles.len() < self.most {
            changed.roles.insert(role.clone());
        } else {
            changed.all = true;
        }
        self.notify.notify_one();
    }

    pub(super) fn provider(&self) {
        let mut changed = self.changed.lock();
        let Some(changed) = changed.as_mut() else { return };
        changed.all = true;
        self.notify.notify_one();
    }

    pub(super) fn take(&self) -> Changed {
        self.changed.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Waits until something changed.
    pub(super) async fn changed(&self) {
        self.notify.notified().await;
    }
}
