//! Reads a body, with limits on its size, on its time, and on the bytes of all requests together.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::Body as _;
use hyper::header::{CONTENT_TYPE, EXPECT};
use tokio::time::timeout;
use tracing::{info, warn};

use super::arrivals::{Arrivals, NoRoom};
use super::budget::{Budget, Share, Size};
use super::rejection::{Overloaded, Reason, Rejection};
use crate::server::limits::Limits;
use crate::server::overload::Overload;

/// Reads the bodies of all requests.
#[derive(Debug)]
pub(super) struct BodyReader {
    limits: Arc<Limits>,
    arrivals: Arc<Arrivals>,
    /// One per request in flight: from the end of its body to its response.
    in_flight: Arc<Budget>,
    overloads: Overloads,
}

impl BodyReader {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            arrivals: Arrivals::new(Budget::new(limits.held_bytes), limits.bodies),
            in_flight: Budget::new(limits.in_flight),
            limits,
            overloads: Overloads::default(),
        }
    }

    /// Reads the body of one request.
    ///
    /// # Errors
    /// 415 for another content type, 413 for a body that is too large, 408 for one that does not arrive in time, 400 for one whose
    /// framing is wrong, 503 when requests in flight leave no room for it.
    pub(super) async fn read(&self, request: Request) -> Result<ReviewBody, Rejection> {
        let (head, body) = request.into_parts();
        if !is_json(&head.headers) {
            let message = "expected an AdmissionReview with Content-Type: application/json";
            let rejection = Rejection::new(Reason::UnsupportedMediaType, message);
            return Err(self.discard(&head.headers, body).await.of(rejection));
        }
        let (bytes, share) = match self.bytes(body, expects_continue(&head.headers)).await {
            Ok(body) => body,
            Err(error) => {
                if let Some(reason) = error.overloaded() {
                    self.overloads.overloaded(reason);
                }
                // The rest of the body would be read as the next request.
                return Err(error.rejection(&self.limits).closing());
            }
        };
        let Some(in_flight) = Share::of(&self.in_flight, 1, Size::of(bytes.len())) else {
            self.overloads.overloaded(Overloaded::Requests);
            let message = "too many requests are in flight; try again";
            return Err(Rejection::overloaded(Overloaded::Requests, message));
        };
        self.overloads.served();
        Ok(ReviewBody {
            bytes,
            _shares: [share, in_flight],
        })
    }

    /// Reads and discards the body of a request that is rejected whatever its body is.
    pub(super) async fn reject(&self, request: Request, rejection: Rejection) -> Rejection {
        let (head, body) = request.into_parts();
        self.discard(&head.headers, body).await.of(rejection)
    }

    async fn discard(&self, headers: &HeaderMap, body: Body) -> Discarded {
        // A client that asks first has sent nothing yet, and reads the answer instead.
        if expects_continue(headers) == ExpectsContinue::Yes {
            return Discarded::NotAtAll;
        }
        self.rest_of(body).await;
        Discarded::AsFarAsItCame
    }
}

/// Whether the body of a rejected request was read.
enum Discarded {
    AsFarAsItCame,
    NotAtAll,
}

impl Discarded {
    fn of(self, rejection: Rejection) -> Rejection {
        match self {
            Self::AsFarAsItCame => rejection,
            // The client might send its body all the same.
            Self::NotAtAll => rejection.closing(),
        }
    }
}

/// The log lines about requests that are rejected because of the load.
#[derive(Debug, Default)]
struct Overloads {
    bytes: Overload,
    requests: Overload,
    slow_bodies: Overload,
}

impl Overloads {
    fn overloaded(&self, reason: Overloaded) {
        let (overload, message) = match reason {
            Overloaded::Bytes => (
                &self.bytes,
                "requests in flight hold too many bytes: further requests get 503",
            ),
            Overloaded::Requests => (
                &self.requests,
                "too many requests are in flight: further requests get 503",
            ),
            Overloaded::SlowBody => (
                &self.slow_bodies,
                "bodies arrive slowly while others need space: the slowest get 503",
            ),
        };
        if overload.refused() {
            warn!(reason = reason.as_str(), "{message}");
        }
    }

    fn served(&self) {
        for (overload, reason) in [
            (&self.bytes, Overloaded::Bytes),
            (&self.requests, Overloaded::Requests),
            (&self.slow_bodies, Overloaded::SlowBody),
        ] {
            if let Some(count) = overload.served() {
                info!(reason = reason.as_str(), count, "requests are no longer rejected");
            }
        }
    }
}

/// A JSON body, whole: an extractor where the state has a [`BodyReader`].
#[derive(Debug)]
pub(super) struct ReviewBody {
    pub(super) bytes: Bytes,
    /// Its shares of the bytes and of the requests in flight, given back when this is dropped.
    pub(super) _shares: [Share; 2],
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

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyError {
    /// Larger than a body may be.
    TooLarge,
    /// All requests together hold too much.
    BudgetExhausted,
    /// It arrived too slowly while others needed room.
    GaveWay,
    /// It did not arrive in time.
    TimedOut,
    /// The connection broke, or the body's framing is wrong.
    Broken,
}

impl From<NoRoom> for BodyError {
    fn from(no_room: NoRoom) -> Self {
        match no_room {
            NoRoom::BudgetExhausted => Self::BudgetExhausted,
            NoRoom::GaveWay => Self::GaveWay,
        }
    }
}

impl BodyError {
    const fn overloaded(self) -> Option<Overloaded> {
        match self {
            Self::BudgetExhausted => Some(Overloaded::Bytes),
            Self::GaveWay => Some(Overloaded::SlowBody),
            Self::TooLarge | Self::TimedOut | Self::Broken => None,
        }
    }

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
                Rejection::overloaded(Overloaded::Bytes, message)
            }
            Self::GaveWay => {
                let message =
                    "the request body arrived too slowly while other requests needed its share of the bytes; try again";
                Rejection::overloaded(Overloaded::SlowBody, message)
            }
            Self::TimedOut => {
                let message = format!("the request body did not arrive within {} ms", limits.body.as_millis());
                Rejection::new(Reason::Timeout, message)
            }
            Self::Broken => Rejection::new(
                Reason::BadRequest,
                "the request body is truncated or its framing is invalid",
            ),
        }
    }
}

/// Whether the client waits for `100 Continue` before it sends its body.
fn expects_continue(headers: &HeaderMap) -> ExpectsContinue {
    if headers.contains_key(EXPECT) {
        ExpectsContinue::Yes
    } else {
        ExpectsContinue::No
    }
}

/// Whether the request has the header `Expect: 100-continue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpectsContinue {
    Yes,
    No,
}

impl BodyReader {
    /// Reads a body to its end. The usual review came in the same packets as its head: it is taken as it is in the connection's
    /// buffer, without a copy, a timer or a wait.
    ///
    /// # Errors
    /// See [`BodyError`]. After one that concerns size, what the client still sends was read and discarded, up to a limit.
    async fn bytes(&self, mut body: Body, expects_continue: ExpectsContinue) -> Result<(Bytes, Share), BodyError> {
        let too_large = announced(&body) > self.limits.body_bytes;
        // A client that asks first is refused before it sends anything.
        if too_large && expects_continue == ExpectsContinue::Yes {
            return Err(BodyError::TooLarge);
        }
        let result = if too_large {
            Err(BodyError::TooLarge)
        } else {
            match self.first_frame(&mut body).now_or_never() {
                Some(Ok(First::Whole(bytes, share))) => return Ok((bytes, share)),
                Some(Ok(First::Part(bytes, share))) => self.rest(&mut body, bytes, Some(share)).await,
                Some(Err(error)) => Err(error),
                None => self.rest(&mut body, Bytes::new(), None).await,
            }
        };
        if matches!(result, Err(BodyError::TooLarge | BodyError::BudgetExhausted)) {
            self.rest_of(body).await;
        }
        result
    }

    async fn first_frame(&self, body: &mut Body) -> Result<First, BodyError> {
        let announced = announced(body);
        let frame = next(body).await?;
        let is_whole = frame.is_none() || body.is_end_stream();
        let bytes = frame.unwrap_or_default();
        if bytes.len() > self.limits.body_bytes {
            return Err(BodyError::TooLarge);
        }
        let size = Size::of(announced.max(bytes.len()));
        let share = self
            .arrivals
            .share(bytes.len(), size)
            .ok_or(BodyError::BudgetExhausted)?;
        Ok(if is_whole {
            First::Whole(bytes, share)
        } else {
            First::Part(bytes, share)
        })
    }

    /// Reads what did not come with the head, after the bytes that did.
    async fn rest(&self, body: &mut Body, first: Bytes, share: Option<Share>) -> Result<(Bytes, Share), BodyError> {
        let arriving = self.arrivals.begin(share);
        let read = async {
            // Room for what was announced, but no more than a client must send to get it.
            let mut whole = BytesMut::with_capacity(first.len() + announced(body).min(first.len() + FIRST_ROOM));
            whole.extend_from_slice(&first);
            drop(first);
            while let Some(bytes) = next(body).await? {
                let arrived = whole.len() + bytes.len();
                if arrived > self.limits.body_bytes {
                    return Err(BodyError::TooLarge);
                }
                arriving.grow(bytes.len(), Size::of(arrived + announced(body)))?;
                whole.extend_from_slice(&bytes);
            }
            Ok(whole.freeze())
        };
        let bytes = tokio::select! {
            bytes = timeout(self.limits.body, read) => bytes.unwrap_or(Err(BodyError::TimedOut))?,
            () = arriving.gave_way() => return Err(BodyError::GaveWay),
        };
        Ok((bytes, arriving.finish()?))
    }

    /// Reads the rest of a body and discards it, within bounds of size and time, so that a client that writes everything before it reads
    /// finds the answer and not a reset.
    async fn rest_of(&self, mut body: Body) {
        if body.is_end_stream() {
            return;
        }
        let mut left = self.limits.body_bytes.saturating_add(self.limits.drained_bytes);
        let mut read = std::future::poll_fn(|cx| {
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
        if (&mut read).now_or_never().is_some() {
            return;
        }
        // It takes a place among the bodies that are being read.
        let arriving = self.arrivals.begin(None);
        // Out of time or not, the response goes out next.
        tokio::select! {
            _ = timeout(self.limits.body, read) => {}
            () = arriving.gave_way() => {}
        }
    }
}

enum First {
    Whole(Bytes, Share),
    Part(Bytes, Share),
}

/// How many bytes are still to come, as far as the client says.
fn announced(body: &Body) -> usize {
    usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX)
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
