//! The real program over TLS, with AdmissionReviews as an API server sends them.

#![allow(missing_docs, unreachable_pub, reason = "a test program has no public API")]

mod answers;
mod audit;
mod bad_input;
mod client_ca;
mod dashboard;
mod effective;
#[allow(dead_code, reason = "this suite needs a part of it")]
#[path = "../support/fake_api.rs"]
mod fake_api;
#[allow(dead_code, reason = "this suite needs a part of it")]
#[path = "../support/fake_events.rs"]
mod fake_events;
mod helm_test;
mod injection;
mod live;
mod many_files;
mod namespaces;
mod observing;
mod overload;
mod pod_identity;
mod program;
mod reloading;
mod reviews;
mod serving;
#[allow(dead_code, reason = "this suite needs a part of it")]
#[path = "../support/tools.rs"]
mod tools;
mod unread;
mod workloads;
