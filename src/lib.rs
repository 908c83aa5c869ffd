//! rolegate: a Kubernetes admission webhook that gives pods their AWS identity and refuses pods whose IAM role does not
//! trust them.
//!
//! The folders are floors and an arrow may only point down; `ARCHITECTURE.md` draws the house and lists the invariants.
//! The library exposes what the program, its tests and its benchmarks need, and makes no other promise.

pub mod certs;
pub mod cli;
pub mod cluster;
pub mod gate;
pub mod iam;
pub mod kubernetes;
pub mod pod;
pub mod roles;
pub mod support;
pub mod telemetry;
pub mod webhook;
