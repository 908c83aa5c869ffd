//! The interface between the HTTP endpoint and the code that handles reviews.

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;

use super::deadline::Deadline;
use super::rejection::Overloaded;
use crate::admission::review_kind::ReviewKind;

/// A review to handle.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it was posted for.
    pub kind: ReviewKind,
    /// The request's body, at most [`Limits::body_bytes`](crate::server::limits::Limits::body_bytes).
    pub body: Bytes,
    /// When its head was read, and when it must be answered.
    pub deadline: Deadline,
}

/// Handles reviews.
pub trait Reviewer: Send + Sync + 'static {
    /// Handles a review by its deadline.
    fn review(&self, call: Call) -> impl Future<Output = Response> + Send;

    /// Called for each request that was answered with a [`Rejection`](super::rejection::Rejection), because of its path, method,
    /// size, slowness or content type, or because of the load. `kind` is `None` for a path that serves no reviews.
    fn rejected(&self, kind: Option<ReviewKind>, status: StatusCode, elapsed: Duration) {
        let _ = (kind, status, elapsed);
    }

    /// Called, after [`Self::rejected`], for each request that was rejected because of the load.
    fn overloaded(&self, reason: Overloaded) {
        let _ = reason;
    }
}
