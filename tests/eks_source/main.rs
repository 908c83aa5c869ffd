//! The association source `eks`: the real program and the real SDK against the two calls of the EKS API, with and without injected
//! faults. Nothing here ever calls AWS: the endpoint is on loopback, and the instance metadata is turned off.

// Without the feature there is no such source.
#![cfg(feature = "aws")]

#[path = "../iam_source/moto.rs"]
#[allow(dead_code, unreachable_pub, reason = "only its Python environment is used")]
mod moto;
#[path = "../webhook/program.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
mod program;
mod serve;
#[allow(unreachable_pub, reason = "one test binary")]
mod stand_in;
mod validate;
