//! What the integration tests share.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod aws_sdks;
pub mod fake_api;
pub mod fake_events;
pub mod published;
pub mod tools;
