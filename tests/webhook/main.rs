//! The real program over TLS, with AdmissionReviews as an API server sends them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests say what they expect by panicking"
)]

mod answers;
mod audit;
mod bad_input;
#[allow(dead_code, reason = "this suite needs a part of it")]
#[path = "../support/fake_api.rs"]
mod fake_api;
#[allow(dead_code, reason = "this suite needs a part of it")]
#[path = "../support/fake_events.rs"]
mod fake_events;
mod injection;
mod live;
mod observing;
mod program;
mod reloading;
mod reviews;
mod serving;
mod workloads;
