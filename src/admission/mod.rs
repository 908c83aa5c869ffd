//! AdmissionReviews: their wire format, the responses for pods and workloads, and what is recorded of each review.

pub(crate) mod judgment;
pub mod pods;
pub mod review;
pub mod review_kind;
pub mod webhook;
pub(crate) mod workloads;
