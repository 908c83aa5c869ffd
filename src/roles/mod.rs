//! Where trust policies come from: sources that read, and the role cache that keeps what was read.
//!
//! A source never decides; the role cache never evaluates.

pub mod age;
#[cfg(feature = "aws")]
pub mod aws;
pub mod cache;
mod fetch;
pub mod files;
mod limiter;
mod list;
pub mod objects;
pub mod observe;
mod providers;
mod refresh;
pub mod source;
mod store;

pub use cache::{Entry, RoleCache, RoleCacheSettings, Trust};
pub use files::{FileRoles, RoleFilesError, WhenMissing};
pub use objects::RoleObjects;
pub use observe::{ReadObserver, ReadResult, RoleState, RoleSummary};
pub use providers::KnownProvider;
pub use source::{Answer, Listing, ListingFailure, Pace, ProviderAnswer, RoleDocument, RoleSource, SourceHealth};
