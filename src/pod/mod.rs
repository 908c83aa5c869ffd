//! The pod: a view of the fields that are needed, the identity that it requests, and the patch that injects this identity.
//!
//! Everything here is a total function over plain values: no I/O, no async, no clock, no environment.

pub mod compute;
pub mod concerns;
pub mod effective;
mod environment;
pub mod identity;
pub mod inject;
pub(crate) mod json;
pub(crate) mod misplaced;
mod paths;
mod selection;
pub mod settings;
mod variables;
pub mod view;
mod volumes;
mod warning;

pub use self::warning::Warning;
