//! Where trust policies come from: sources that read, and the book that keeps what was read.
//!
//! A source never decides; the book never evaluates.

pub mod age;
#[cfg(feature = "aws")]
pub mod aws;
pub mod book;
pub mod files;
mod keeper;
pub mod objects;
pub mod observe;
mod pacer;
mod providers;
mod reads;
mod shelf;
pub mod source;
mod walk;

pub use book::{Book, BookSettings, Entry, Trust};
pub use files::{FileRoles, RoleFilesError, WhenMissing};
pub use objects::RoleObjects;
pub use observe::{ReadObserver, ReadResult, RoleState, RoleSummary};
pub use providers::KnownProvider;
pub use source::{Answer, Listing, ListingFailure, Pace, ProviderAnswer, RoleDocument, RoleSource, SourceHealth};
