//! Certificates: issuing them, and serving those from files.

pub mod issue;
