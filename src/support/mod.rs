//! Mechanisms that several parts of the program share, one module for each. Nothing here knows what the program is about.

pub mod text;
