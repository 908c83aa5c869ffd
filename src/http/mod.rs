//! The HTTP endpoints of both listeners, as axum routers: routes, layers, extractors and errors.
//!
//! Nothing here depends on the content of a review: a [`reviewer::Reviewer`] handles it. Connections belong to [`crate::server`].

pub(crate) mod admin;
mod arrivals;
mod body;
mod budget;
pub mod deadline;
pub mod layers;
pub mod rejection;
pub mod reviewer;
pub mod reviews;
