//! What operators see: logs, metrics, the audit log, Events of refusals.

pub mod audit;
pub mod events;
pub mod log;
pub mod metrics;
