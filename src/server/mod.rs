//! The server below HTTP: accepts and drives connections, and shuts down gracefully.

pub mod accept;
mod connection;
pub mod connections;
pub mod descriptors;
pub mod limits;
pub(crate) mod overload;
pub mod shutdown;
pub(crate) mod threads;
pub mod tls;
