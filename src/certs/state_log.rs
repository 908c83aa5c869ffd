//! Logs failures of the objects and files of certificates: each reason once, until it is resolved.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::configurations::ObjectError;
use crate::support::state_log::StateLog;

/// A state log per object.
#[derive(Debug, Default)]
pub(super) struct ObjectLog {
    /// Requests. They have recovered when all objects can be read and written.
    requests: BTreeMap<String, StateLog>,
    /// Contents. Each has recovered when it is found valid.
    contents: BTreeMap<String, StateLog>,
}

impl ObjectLog {
    /// An object could not be read or written.
    pub(super) fn failed(&mut self, error: &ObjectError) {
        let log = self.requests.entry(error.object().to_owned()).or_default();
        if log.failed_because(&error.to_string()) {
            warn!("{error}");
        }
    }

    /// All objects could be read and written.
    pub(super) fn recovered(&mut self) {
        for object in std::mem::take(&mut self.requests).into_keys() {
            info!("{object} can be read and written again");
        }
    }

    /// The content of an object is not valid.
    pub(super) fn invalid(&mut self, object: &str, why: &str) {
        if self.contents.entry(object.to_owned()).or_default().failed_because(why) {
            warn!("{why}");
        }
    }

    /// The content of an object is valid.
    pub(super) fn valid(&mut self, object: &str) {
        if self.contents.remove(object).is_some() {
            info!("{object} is valid again");
        }
    }
}
