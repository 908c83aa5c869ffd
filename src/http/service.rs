//! The HTTPS service: everything about a request that is not the review itself. Routes, limits and the body are settled
//! here; a [`Handler`] gets whole bodies and a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, EXPECT, HeaderValue};
use hyper::{Request, StatusCode};
use tokio::time::Instant;

use super::body::{self, ExpectsContinue, Ledger};
use super::budget::budget;
use super::route::Route;
use super::status::{Reason, Reply, status_response};
use crate::server::accept::Service;
use crate::server::limits::Limits;

/// A review to answer.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it was posted for.
    pub route: Route,
    /// The request's body, at most [`Limits::body_bytes`].
    pub body: Bytes,
    /// When its head was read.
    pub arrived: Instant,
    /// When it must be answered.
    pub deadline: Instant,
}

/// What answers reviews.
pub trait Handler: Send + Sync + 'static {
    /// Answers a review, by its deadline.
    fn answer(&self, call: Call) -> impl Future<Output = Reply> + Send;

    /// Told of each request on a route of ours that was answered without [`Handler::answer`] because of its size, its
    /// slowness, its content type or the load, for the counters.
    fn turned_away(&self, route: Option<Route>, status: StatusCode, elapsed: Duration) {
        let _ = (route, status, elapsed);
    }
}

/// The HTTPS service around a handler.
#[derive(Debug)]
pub struct HttpService<H> {
    handler: H,
    limits: Arc<Limits>,
    ledger: Ledger,
    in_flight: AtomicUsize,
}

impl<H: Handler> HttpService<H> {
    /// A service within these limits.
    #[must_use]
    pub fn new(handler: H, limits: Arc<Limits>) -> Self {
        let ledger = Ledger::new(limits.held_bytes);
        Self {
            handler,
            limits,
            ledger,
            in_flight: AtomicUsize::new(0),
        }
    }

    async fn review(&self, route: Route, arrived: Instant, request: Request<Incoming>) -> Result<Reply, Reply> {
        let expects_continue = expects_continue(&request);
        let deadline = arrived + budget(request.uri().query());
        let mut body = request.into_body();
        let Some(_seat) = Seat::take(&self.in_flight, self.limits.in_flight) else {
            body::drain(&mut body, &self.limits).await;
            return Err(status_response(
                Reason::ServiceUnavailable,
                "too many reviews are under way; try again",
            ));
        };
        let mut holding = self.ledger.open();
        match body::read(body, &mut holding, &self.limits, expects_continue).await {
            Ok(body) => Ok(self
                .handler
                .answer(Call {
                    route,
                    body,
                    arrived,
                    deadline,
                })
                .await),
            Err(error) => {
                let mut reply = error.reply(&self.limits);
                // What is left of the body stands where the next head is expected.
                reply
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
                Err(reply)
            }
        }
    }
}

impl<H: Handler> Service for HttpService<H> {
    async fn answer(&self, _peer: SocketAddr, request: Request<Incoming>) -> Reply {
        let arrived = Instant::now();
        let (head, body) = request.into_parts();
        let route = match Route::of_request(&head) {
            Ok(route) => route,
            Err(reply) => {
                let mut body = body;
                body::drain(&mut body, &self.limits).await;
                self.handler
                    .turned_away(Route::of_path(head.uri.path()), reply.status(), arrived.elapsed());
                return *reply;
            }
        };
        match self.review(route, arrived, Request::from_parts(head, body)).await {
            Ok(reply) => reply,
            Err(reply) => {
                self.handler.turned_away(Some(route), reply.status(), arrived.elapsed());
                reply
            }
        }
    }
}

/// A place among the requests in flight, left when dropped.
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    fn take(taken: &'a AtomicUsize, seats: usize) -> Option<Self> {
        let before = taken.fetch_add(1, Ordering::Relaxed);
        let seat = Self(taken);
        (before < seats).then_some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn expects_continue(request: &Request<Incoming>) -> ExpectsContinue {
    if request.headers().contains_key(EXPECT) {
        ExpectsContinue::Yes
    } else {
        ExpectsContinue::No
    }
}
