//! Access to AWS with the official SDK: configuration and credentials, the clients of its services, and error messages that state the next
//! step.
//!
//! Only this module and those built on it (`roles::aws`, `associations::eks`) use the SDK.

mod error_text;
mod fault;
mod origin;
pub(crate) mod region;
mod reject_truncated;
mod session;
mod settings;

pub(crate) use self::error_text::shortened;
pub(crate) use self::fault::{Call, Fault, is_worth_another_try, of};
pub use self::session::Caller;
pub(crate) use self::session::Session;
pub use self::settings::{AwsSettings, AwsUser};
