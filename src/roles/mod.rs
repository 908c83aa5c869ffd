//! Where trust policies come from: sources that read them, and the role cache that keeps them.
//!
//! A source never decides; the role cache never evaluates.

#[cfg(feature = "aws")]
pub mod aws;
mod cache;
pub mod files;
mod objects;
mod observe;
mod source;

pub use cache::RoleCache;
pub use cache::entry::{RoleCacheSettings, RoleEntry, Trust};
pub use cache::providers::KnownProvider;
pub use files::{FileRoles, RoleFilesError, WhenMissing};
pub use objects::RoleObjects;
pub use observe::{ReadObserver, ReadResult, RoleState, RoleSummary};
pub use source::{Answer, Listing, ListingFailure, Pace, ProviderAnswer, RoleDocument, RoleSource, SourceHealth};
