//! The HTTP faces: AdmissionReview in and out, the handlers, the server, TLS.

pub mod pods;
pub mod review;
pub mod workloads;
