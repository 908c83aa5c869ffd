//! What operators see: logs, metrics, the audit log, Events.

pub mod audit;
pub mod events;
mod histogram;
pub mod log;
pub mod metrics;
