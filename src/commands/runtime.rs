//! The runtime of commands that wait for a cluster or AWS.

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Runtime};

/// A runtime on this thread.
pub(super) fn on_this_thread() -> Result<Runtime> {
    started(Builder::new_current_thread())
}

/// A runtime with this many threads of its own.
pub(super) fn with_threads(threads: usize) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads);
    started(builder)
}

/// A runtime with a thread per core.
pub(super) fn with_thread_per_core() -> Result<Runtime> {
    started(Builder::new_multi_thread())
}

fn started(mut builder: Builder) -> Result<Runtime> {
    builder.enable_all().build().context("cannot start the async runtime")
}
