//! What operators see: logs, metrics, the audit log, and Events for refusals and changes of trust.

pub(crate) mod audit;
pub mod events;
mod line_writer;
pub(crate) mod log;
pub mod metrics;
