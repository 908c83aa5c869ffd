//! The layer of the review routes that counts what is rejected.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::response::Response;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::rejection::Rejected;
use super::reviewer::Reviewer;
use crate::admission::review_kind::ReviewKind;

/// Reports each [`Rejection`](super::rejection::Rejection) that comes from below to the reviewer, with the time that it took.
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
    /// A response that is reported when it is a rejection.
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
        if let Some(Rejected { overloaded }) = response.extensions().get() {
            let RejectionLayer { reviewer, kind } = counted.layer;
            reviewer.rejected(*kind, response.status(), counted.arrived.elapsed());
            if let Some(reason) = overloaded {
                reviewer.overloaded(*reason);
            }
        }
        Poll::Ready(Ok(response))
    }
}
