//! The HTTP servers: AdmissionReview in and out, the handlers, the server, TLS.

pub mod admin;
mod body;
pub mod budget;
mod connection;
pub mod handler;
pub mod http_service;
pub mod lifecycle;
pub mod limits;
pub mod pods;
pub mod review;
pub mod route;
pub mod server;
pub mod status;
pub mod threads;
pub mod tls;
pub mod workloads;
