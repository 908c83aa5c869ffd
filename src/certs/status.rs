//! The state of the CA, for the rest of the process: readiness and metrics.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::SystemTime;

use jiff::Timestamp;
use tracing::info;

/// The CA in the webhook configurations.
#[derive(Debug)]
pub struct Status {
    trusted: AtomicBool,
    /// Unix time in seconds; out of range while it is not known.
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
    /// Whether the CA of the certificate in service has been found in every entry of the existing webhook configurations. Never false
    /// again after it was true.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    /// When the current CA expires.
    #[must_use]
    pub fn ca_not_after(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.ca_not_after.load(Ordering::Relaxed)).ok()
    }

    pub(super) fn record_trusted(&self) {
        if !self.trusted.swap(true, Ordering::Relaxed) {
            info!("the webhook configurations trust the certificate in service");
        }
    }

    pub(super) fn record_expiry(&self, at: SystemTime) {
        if let Ok(at) = Timestamp::try_from(at) {
            self.ca_not_after.store(at.as_second(), Ordering::Relaxed);
        }
    }
}
