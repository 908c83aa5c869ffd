//! What operators see: logs, metrics, the audit log, Events of refusals and of changes of trust.

pub(crate) mod audit;
pub mod events;
mod line_writer;
pub(crate) mod log;
pub mod metrics;
