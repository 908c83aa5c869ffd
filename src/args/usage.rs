//! Errors about flags that cannot be used together.

use clap::error::ErrorKind;

/// Flags that contradict each other, or a flag that requires another.
#[derive(Debug)]
pub(super) struct UsageError {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
}

impl UsageError {
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ArgumentConflict, message)
    }

    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::MissingRequiredArgument, message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ValueValidation, message)
    }

    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}
