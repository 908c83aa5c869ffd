//! The server over real sockets and real TLS: each of its limits, the certificates it serves, and how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests say what they expect by panicking"
)]

mod certificates;
mod ending;
mod limits;
mod requests;
mod rig;
