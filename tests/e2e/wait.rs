//! Waiting for what must happen: by looking again, for so long that only what never comes runs into the end.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

const PAUSE: Duration = Duration::from_millis(50);

/// Looks until there is something to see.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    until_ok(what, || look().ok_or("not yet"))
}

/// Tries until it works; what went wrong last is part of the failure.
#[track_caller]
pub(crate) fn until_ok<T, E: Display>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if Instant::now() >= end => panic!("{what} did not happen in {PATIENCE:?}: {error}"),
            Err(_) => sleep(PAUSE),
        }
    }
}
