//! The layers of the review routes: a bound on requests in flight, and counting of what is rejected.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::body::Discard;
use super::rejection::{Reason, Rejected, Rejection};
use super::reviewer::Reviewer;
use crate::admission::review_kind::ReviewKind;
use crate::server::limits::Limits;

/// Bounds the requests in flight of all services that share it. A request over the bound is answered with 503, once the rest of its body
/// has been read and discarded.
#[derive(Clone, Debug)]
pub struct LoadLayer {
    permits: Arc<Semaphore>,
    discard: Discard,
}

impl LoadLayer {
    /// At most [`Limits::in_flight`] requests at a time.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits.in_flight)),
            discard: Discard::within(limits),
        }
    }
}

impl<S> Layer<S> for LoadLayer {
    type Service = Load<S>;

    fn layer(&self, inner: S) -> Load<S> {
        Load {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`LoadLayer`].
#[derive(Clone, Debug)]
pub struct Load<S> {
    inner: S,
    layer: LoadLayer,
}

impl<S> Service<Request> for Load<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = LoadFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match Arc::clone(&self.layer.permits).try_acquire_owned() {
            Ok(permit) => LoadFuture {
                response: Either::Left(self.inner.call(request)),
                _permit: Some(permit),
            },
            Err(_) => {
                let discard = self.layer.discard;
                let reject = async move {
                    discard.rest_of(request.into_body()).await;
                    let message = "too many requests are in flight; try again";
                    Ok(Rejection::new(Reason::ServiceUnavailable, message).into_response())
                };
                LoadFuture {
                    response: Either::Right(reject.boxed()),
                    _permit: None,
                }
            }
        }
    }
}

pin_project! {
    /// An answer, with the permit that is returned when it is there.
    pub struct LoadFuture<F> {
        #[pin]
        response: Either<F, BoxFuture<'static, Result<Response, Infallible>>>,
        _permit: Option<OwnedSemaphorePermit>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for LoadFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().response.poll(cx)
    }
}

/// Reports each [`Rejection`] that comes from below to the reviewer, with the time that it took.
#[derive(Debug)]
pub struct RejectionLayer<R> {
    reviewer: Arc<R>,
    kind: Option<ReviewKind>,
}

impl<R> RejectionLayer<R> {
    /// Reports to `reviewer`; `kind` is what the path serves.
    pub const fn new(reviewer: Arc<R>, kind: Option<ReviewKind>) -> Self {
        Self { reviewer, kind }
    }
}

impl<R> Clone for RejectionLayer<R> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.reviewer), self.kind)
    }
}

impl<R, S> Layer<S> for RejectionLayer<R> {
    type Service = CountRejections<R, S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountRejections {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`RejectionLayer`].
#[derive(Debug)]
pub struct CountRejections<R, S> {
    inner: S,
    layer: RejectionLayer<R>,
}

impl<R, S: Clone> Clone for CountRejections<R, S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<R, S> Service<Request> for CountRejections<R, S>
where
    R: Reviewer,
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = CountedFuture<R, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let arrived = Instant::now();
        CountedFuture {
            response: self.inner.call(request),
            layer: self.layer.clone(),
            arrived,
        }
    }
}

pin_project! {
    /// An answer that is reported when it is a rejection.
    pub struct CountedFuture<R, F> {
        #[pin]
        response: F,
        layer: RejectionLayer<R>,
        arrived: Instant,
    }
}

impl<R, F> Future for CountedFuture<R, F>
where
    R: Reviewer,
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let counted = self.project();
        let Ok(response) = ready!(counted.response.poll(cx));
        if response.extensions().get::<Rejected>().is_some() {
            let RejectionLayer { reviewer, kind } = counted.layer;
            reviewer.rejected(*kind, response.status(), counted.arrived.elapsed());
        }
        Poll::Ready(Ok(response))
    }
}
