//! What operators see: logs, metrics, the audit log.

pub mod audit;
mod histogram;
pub mod log;
pub mod metrics;
