//! AdmissionReviews in and out: the review's wire form, how pods and workloads are answered, and what is recorded of each.

pub mod path_mode;
pub mod pods;
pub mod review;
pub mod workloads;
