//! Where trust policies come from: sources that read, and the book that keeps what was read.
//!
//! A source never decides; the book never evaluates.

pub mod book;
pub mod files;
pub mod source;

pub use book::{Book, BookSettings, Entry, Trust};
pub use source::{Answer, Listing, Pace, RoleDocument, RoleSource};
