//! Where EKS Pod Identity associations come from: sources that read them, and a cache of what they return.
//!
//! A source never decides. An association counts as absent only if a source that knows every association of the cluster has listed all of
//! them; a source that failed proves nothing.

mod cache;
#[cfg(feature = "aws")]
pub mod eks;
pub mod files;
pub mod objects;
mod remote;
mod source;

pub use self::cache::{Associations, Lookup, Presence};
pub use self::remote::{RemoteSettings, Unread};
pub use self::source::{
    AccountName, Asker, ClusterId, Failure, Found, HeldAssociations, Listed, Page, ReadKind, ReadObserver, ReadResult,
    RemoteAssociations, Scope, Source,
};
