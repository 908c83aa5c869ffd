//! Reading a body: within its size, within its time, and within what all requests together may hold.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::Body as _;
use hyper::header::{CONTENT_TYPE, EXPECT};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::rejection::{Reason, Rejection};
use crate::server::limits::Limits;

/// Reads the bodies of all requests.
#[derive(Debug)]
pub(super) struct BodyReader {
    limits: Arc<Limits>,
    /// One permit per byte that requests hold together.
    budget: Arc<Semaphore>,
}

impl BodyReader {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        let budget = Arc::new(Semaphore::new(limits.held_bytes.min(Semaphore::MAX_PERMITS)));
        Self { limits, budget }
    }

    /// Reads the body of one request.
    ///
    /// # Errors
    /// 415 for another content type, 413 for a body that is too large or for which the byte budget has no room, 408 for one that does
    /// not arrive in time, 400 for one whose framing is wrong.
    pub(super) async fn read(&self, request: Request) -> Result<ReviewBody, Rejection> {
        let (head, body) = request.into_parts();
        if !is_json(&head.headers) {
            Discard::within(&self.limits).rest_of(body).await;
            let message = "expected an AdmissionReview with Content-Type: application/json";
            return Err(Rejection::new(Reason::UnsupportedMediaType, message));
        }
        let expects_continue = if head.headers.contains_key(EXPECT) {
            ExpectsContinue::Yes
        } else {
            ExpectsContinue::No
        };
        let mut share = Share::none(&self.budget);
        match read(body, &mut share, &self.limits, expects_continue).await {
            Ok(bytes) => Ok(ReviewBody { bytes, _share: share }),
            // What is left of the body would be read as the next head.
            Err(error) => Err(error.rejection(&self.limits).closing()),
        }
    }
}

/// A JSON body, whole: an extractor where the state has a [`BodyReader`].
#[derive(Debug)]
pub(super) struct ReviewBody {
    pub(super) bytes: Bytes,
    /// Its share of the byte budget, returned when this is dropped.
    pub(super) _share: Share,
}

impl<S> FromRequest<S> for ReviewBody
where
    S: AsRef<BodyReader> + Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Rejection> {
        state.as_ref().read(request).await
    }
}

/// Whether the body is declared as JSON: `application/json` in any case, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// One request's share of the byte budget.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Share {
    fn none(budget: &Arc<Semaphore>) -> Self {
        Self {
            budget: Arc::clone(budget),
            permit: None,
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let permits = u32::try_from(bytes).map_err(|_| BodyError::BudgetExhausted)?;
        let more = Arc::clone(&self.budget)
            .try_acquire_many_owned(permits)
            .map_err(|_| BodyError::BudgetExhausted)?;
        match &mut self.permit {
            None => self.permit = Some(more),
            Some(permit) => permit.merge(more),
        }
        Ok(())
    }
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyError {
    /// Larger than a body may be.
    TooLarge,
    /// All requests together hold too much.
    BudgetExhausted,
    /// It did not arrive in time.
    TimedOut,
    /// The connection broke, or the body's framing is wrong.
    Broken,
}

impl BodyError {
    fn rejection(self, limits: &Limits) -> Rejection {
        match self {
            Self::TooLarge => {
                let message = format!(
                    "the request body is larger than the {} bytes that rolegate reads; make the object smaller",
                    limits.body_bytes
                );
                Rejection::new(Reason::RequestEntityTooLarge, message)
            }
            Self::BudgetExhausted => {
                let message = format!(
                    "too many bytes in flight: concurrent requests hold more than {} bytes; retry shortly",
                    limits.held_bytes
                );
                Rejection::new(Reason::RequestEntityTooLarge, message)
            }
            Self::TimedOut => {
                let message = format!("the request body did not arrive within {} ms", limits.body.as_millis());
                Rejection::new(Reason::Timeout, message)
            }
            Self::Broken => Rejection::new(Reason::BadRequest, "the request body is truncated or wrongly framed"),
        }
    }
}

/// Whether the request carries `Expect: 100-continue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpectsContinue {
    Yes,
    No,
}

/// Reads a body to its end. The usual review came in the same packets as its head: it is taken as it is in the connection's
/// buffer, without a copy, a timer or a wait.
///
/// # Errors
/// See [`BodyError`]. After one that concerns size, what the client still sends was read and discarded, up to a limit.
async fn read(
    mut body: Body,
    share: &mut Share,
    limits: &Limits,
    expects_continue: ExpectsContinue,
) -> Result<Bytes, BodyError> {
    let too_large = body.size_hint().lower() > limits.body_bytes as u64;
    // A client that asks first is refused before it sends anything.
    if too_large && expects_continue == ExpectsContinue::Yes {
        return Err(BodyError::TooLarge);
    }
    let result = if too_large {
        Err(BodyError::TooLarge)
    } else {
        match first_frame(&mut body, share, limits).now_or_never() {
            Some(Ok(First::Whole(bytes))) => return Ok(bytes),
            Some(Ok(First::Part(bytes))) => rest(&mut body, Some(bytes), share, limits).await,
            Some(Err(error)) => Err(error),
            None => rest(&mut body, None, share, limits).await,
        }
    };
    if matches!(result, Err(BodyError::TooLarge | BodyError::BudgetExhausted)) {
        Discard::within(limits).rest_of(body).await;
    }
    result
}

enum First {
    Whole(Bytes),
    Part(Bytes),
}

async fn first_frame(body: &mut Body, share: &mut Share, limits: &Limits) -> Result<First, BodyError> {
    let Some(bytes) = next(body).await? else {
        return Ok(First::Whole(Bytes::new()));
    };
    take(&bytes, 0, share, limits)?;
    Ok(if body.is_end_stream() {
        First::Whole(bytes)
    } else {
        First::Part(bytes)
    })
}

async fn rest(body: &mut Body, first: Option<Bytes>, share: &mut Share, limits: &Limits) -> Result<Bytes, BodyError> {
    let read = async {
        let mut first = first;
        if first.is_none() {
            let Some(bytes) = next(body).await? else {
                return Ok(Bytes::new());
            };
            take(&bytes, 0, share, limits)?;
            first = Some(bytes);
        }
        let first = first.unwrap_or_default();
        if body.is_end_stream() {
            return Ok(first);
        }
        // Room for what was announced, but no more than a client must send to get it.
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0);
        let mut whole = BytesMut::with_capacity(first.len() + announced.min(first.len() + FIRST_ROOM));
        whole.extend_from_slice(&first);
        drop(first);
        while let Some(bytes) = next(body).await? {
            take(&bytes, whole.len(), share, limits)?;
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    };
    timeout_at(Instant::now() + limits.body, read)
        .await
        .unwrap_or(Err(BodyError::TimedOut))
}

/// Room taken ahead for a body of many frames.
const FIRST_ROOM: usize = 64 * 1024;

/// The next bytes; none at the end. Trailers are skipped.
async fn next(body: &mut Body) -> Result<Option<Bytes>, BodyError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn take(bytes: &Bytes, before: usize, share: &mut Share, limits: &Limits) -> Result<(), BodyError> {
    if before + bytes.len() > limits.body_bytes {
        return Err(BodyError::TooLarge);
    }
    share.grow(bytes.len())
}

/// Reads the rest of a body and discards it, within bounds of size and time, so that a client that writes everything before it reads
/// finds the answer and not a reset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Discard {
    bytes: usize,
    time: Duration,
}

impl Discard {
    pub(super) fn within(limits: &Limits) -> Self {
        Self {
            bytes: limits.body_bytes.saturating_add(limits.drained_bytes),
            time: limits.body,
        }
    }

    pub(super) async fn rest_of(self, mut body: Body) {
        if body.is_end_stream() {
            return;
        }
        let mut left = self.bytes;
        let read = std::future::poll_fn(|cx| {
            loop {
                match std::task::ready!(Pin::new(&mut body).poll_frame(cx)) {
                    Some(Ok(frame)) => match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                        Some(rest) => left = rest,
                        None => return Poll::Ready(()),
                    },
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
        });
        // Out of time or not, the answer goes out next.
        let _ = timeout_at(Instant::now() + self.time, read).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_budget_are_returned() {
        let budget = Arc::new(Semaphore::new(10));
        let mut one = Share::none(&budget);
        assert_eq!(one.grow(4), Ok(()));
        assert_eq!(one.grow(2), Ok(()));
        let mut two = Share::none(&budget);
        assert_eq!(two.grow(5), Err(BodyError::BudgetExhausted));
        drop(two);
        assert_eq!(one.grow(4), Ok(()));
        drop(one);
        assert_eq!(budget.available_permits(), 10);
    }
}
