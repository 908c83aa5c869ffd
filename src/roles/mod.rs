//! Where trust policies come from: sources that read, and the book that keeps what was read.
//!
//! A source never decides; the book never evaluates.

pub mod age;
pub mod book;
pub mod files;
mod keeper;
pub mod observe;
mod pacer;
mod shelf;
pub mod source;

pub use book::{Book, BookSettings, Entry, Trust};
pub use files::{FileRoles, RoleFilesError, WhenMissing};
pub use observe::{ReadObserver, ReadResult, RoleState, RoleSummary};
pub use source::{Answer, Listing, Pace, RoleDocument, RoleSource, SourceHealth};
