//! The pod: a slim view of it, what identity is asked for on its behalf, and the patch that gives it.
//!
//! Everything here is a total function over plain values: no I/O, no async, no clock, no environment.

pub mod identity;
pub mod inject;
pub(crate) mod json;
pub mod view;
mod warning;

pub use self::warning::Warning;
