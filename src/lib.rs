//! rolegate: a Kubernetes admission webhook that gives pods their AWS identity and refuses pods whose IAM role does not
//! trust them.
//!
//! The modules are layers and dependencies point down only; `ARCHITECTURE.md` draws them and lists the invariants.
//! The library exposes what the program, its tests and its benchmarks need, and makes no other promise.

pub mod certs;
pub mod cli;
pub mod cluster;
pub mod decision;
pub mod kubernetes;
pub mod pod;
pub mod roles;
pub mod support;
pub mod telemetry;
pub mod trust;
pub mod webhook;
