//! Mechanisms that several parts of the program share, one module for each. Nothing here is specific to rolegate.

pub(crate) mod age;
pub(crate) mod any_change;
pub(crate) mod backoff;
pub(crate) mod coalesce;
pub(crate) mod dns;
pub(crate) mod files;
pub(crate) mod pace;
pub(crate) mod platform;
pub(crate) mod rate_limit;
pub(crate) mod reload;
pub(crate) mod shares;
pub(crate) mod sliding_window;
pub(crate) mod state_log;
pub(crate) mod tasks;
pub mod text;
pub(crate) mod tree;
