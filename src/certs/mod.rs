//! Certificates: issuing them, serving those from files, and managing them automatically in a cluster.

pub mod bundle_file;
pub mod clock;
mod configurations;
pub mod files;
pub mod issue;
mod keyring;
mod rotation;
pub mod self_managed;
pub mod serving;
mod state_log;
pub mod status;
pub mod x509;
