//! AdmissionReviews in and out: the review's wire form, how pods and workloads are answered, and what is recorded of each.

pub(crate) mod judgment;
pub mod pods;
pub mod review;
pub mod review_kind;
pub mod webhook;
pub(crate) mod workloads;
