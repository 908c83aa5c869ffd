//! The server below HTTP: accepts, drives connections, and ends in order.

pub mod accept;
mod connection;
pub mod limits;
pub mod shutdown;
pub(crate) mod threads;
pub mod tls;
