//! rolegate: a Kubernetes admission webhook that gives pods their AWS identity and refuses pods whose IAM role does not
//! trust them.
//!
//! The modules are layers, and dependencies only point down; `ARCHITECTURE.md` describes them and lists the invariants. The library exposes
//! what the program, its tests and its benchmarks need. Its API is not stable.

// No panic can be reached from outside. Denied here and not in Cargo.toml, so that test programs can say what they expect by panicking.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable
)]

pub mod admission;
mod args;
pub mod associations;
#[cfg(feature = "aws")]
pub mod aws;
pub mod certs;
pub mod commands;
pub mod decision;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod http;
pub mod kubernetes;
pub mod pod;
pub mod reports;
pub mod roles;
pub mod server;
pub mod support;
pub mod telemetry;
pub mod trust;
pub mod verdicts;
pub mod workloads;
