//! The HTTP endpoints: routes, bodies, deadlines and errors of both listeners.

pub mod admin;
mod body;
pub mod budget;
pub mod handler;
pub mod route;
pub mod service;
pub mod status;
