//! What the rest of the process asks about the CA.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::SystemTime;

use jiff::Timestamp;
use tracing::info;

/// What is known of the CA in the webhook configurations.
#[derive(Debug)]
pub struct Status {
    trusted: AtomicBool,
    /// Unix time in seconds; what is no time is none.
    ca_not_after: AtomicI64,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            trusted: AtomicBool::new(false),
            ca_not_after: AtomicI64::new(i64::MIN),
        }
    }
}

impl Status {
    /// Whether the CA of what is served was ever found in every entry of the webhook configurations that exist. Never false
    /// again after it was true.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    /// When the CA ends that signs now.
    #[must_use]
    pub fn ca_not_after(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.ca_not_after.load(Ordering::Relaxed)).ok()
    }

    pub(super) fn say_trusted(&self) {
        if !self.trusted.swap(true, Ordering::Relaxed) {
            info!("the webhook configurations trust what is served");
        }
    }

    pub(super) fn say_ca_ends(&self, at: SystemTime) {
        if let Ok(at) = Timestamp::try_from(at) {
            self.ca_not_after.store(at.as_second(), Ordering::Relaxed);
        }
    }
}
