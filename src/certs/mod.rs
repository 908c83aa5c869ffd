//! Certificates: issuing them, and serving those from files.

pub mod expiry;
pub mod files;
pub mod issue;
pub mod serving;
