//! Reading a body: within its size, within its time, and within what all requests together may hold.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

use super::status::{Reason, Reply, status_response};
use crate::server::limits::Limits;

/// The bytes of bodies that are held by all requests together.
#[derive(Debug)]
pub(crate) struct Ledger {
    held: AtomicUsize,
    limit: usize,
}

impl Ledger {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            limit,
        }
    }

    /// An entry that holds nothing yet.
    pub(crate) const fn open(&self) -> Holding<'_> {
        Holding { ledger: self, bytes: 0 }
    }
}

/// One request's entry in the ledger; what it holds is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Holding<'a> {
    ledger: &'a Ledger,
    bytes: usize,
}

impl Holding<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let before = self.ledger.held.fetch_add(bytes, Ordering::Relaxed);
        // Booked first and given back on drop, refused or not: no loop is needed to stay exact.
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.ledger.limit {
            return Err(BodyError::TooMuchHeld);
        }
        Ok(())
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.ledger.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Larger than a body may be.
    TooLarge,
    /// All requests together hold too much.
    TooMuchHeld,
    /// It did not come in time.
    TimedOut,
    /// The connection broke, or the body's framing is wrong.
    Broken,
}

impl BodyError {
    /// The answer.
    pub(crate) fn reply(self, limits: &Limits) -> Reply {
        match self {
            Self::TooLarge => {
                let message = format!(
                    "the request body is larger than the {} bytes that rolegate reads; make the object smaller",
                    limits.body_bytes
                );
                status_response(Reason::RequestEntityTooLarge, &message)
            }
            Self::TooMuchHeld => {
                let message = format!(
                    "the reviews under way hold more than {} bytes together; try again in a moment",
                    limits.held_bytes
                );
                status_response(Reason::RequestEntityTooLarge, &message)
            }
            Self::TimedOut => {
                let message = format!("the request body did not arrive within {} ms", limits.body.as_millis());
                status_response(Reason::Timeout, &message)
            }
            Self::Broken => status_response(Reason::BadRequest, "the request body is cut short or wrongly framed"),
        }
    }
}

/// Reads a body to its end. The usual review came in the same packets as its head: it is taken as it lies in the
/// connection's buffer, without a copy, a timer or a wait.
///
/// # Errors
/// See [`BodyError`]. After one that concerns size, what the client still sends was read and thrown away, up to a limit.
pub(crate) async fn read(
    mut body: Incoming,
    holding: &mut Holding<'_>,
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
        match first_frame(&mut body, holding, limits).now_or_never() {
            Some(Ok(First::Whole(bytes))) => return Ok(bytes),
            Some(Ok(First::Part(bytes))) => rest(&mut body, Some(bytes), holding, limits).await,
            Some(Err(error)) => Err(error),
            None => rest(&mut body, None, holding, limits).await,
        }
    };
    if matches!(result, Err(BodyError::TooLarge | BodyError::TooMuchHeld)) {
        drain(&mut body, limits).await;
    }
    result
}

/// Whether the request carries `Expect: 100-continue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpectsContinue {
    Yes,
    No,
}

enum First {
    Whole(Bytes),
    Part(Bytes),
}

async fn first_frame(body: &mut Incoming, holding: &mut Holding<'_>, limits: &Limits) -> Result<First, BodyError> {
    let Some(bytes) = next(body).await? else {
        return Ok(First::Whole(Bytes::new()));
    };
    take(&bytes, 0, holding, limits)?;
    Ok(if body.is_end_stream() {
        First::Whole(bytes)
    } else {
        First::Part(bytes)
    })
}

async fn rest(
    body: &mut Incoming,
    first: Option<Bytes>,
    holding: &mut Holding<'_>,
    limits: &Limits,
) -> Result<Bytes, BodyError> {
    let read = async {
        let mut first = first;
        if first.is_none() {
            let Some(bytes) = next(body).await? else {
                return Ok(Bytes::new());
            };
            take(&bytes, 0, holding, limits)?;
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
            take(&bytes, whole.len(), holding, limits)?;
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

/// The next bytes; none at the end. Trailers are passed over.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn take(bytes: &Bytes, before: usize, holding: &mut Holding<'_>, limits: &Limits) -> Result<(), BodyError> {
    if before + bytes.len() > limits.body_bytes {
        return Err(BodyError::TooLarge);
    }
    holding.grow(bytes.len())
}

/// Reads on and throws away, so that a client that writes all before it reads finds the answer and not a reset.
pub(crate) async fn drain(body: &mut Incoming, limits: &Limits) {
    let mut left = limits.body_bytes.saturating_add(limits.drained_bytes);
    let read = std::future::poll_fn(|cx| {
        loop {
            match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return Poll::Ready(()),
                },
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    });
    // Out of time or not, the answer goes out next.
    let _ = timeout_at(Instant::now() + limits.body, read).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let ledger = Ledger::new(10);
        let mut one = ledger.open();
        assert_eq!(one.grow(6), Ok(()));
        let mut two = ledger.open();
        assert_eq!(two.grow(5), Err(BodyError::TooMuchHeld));
        drop(two);
        assert_eq!(one.grow(4), Ok(()));
        drop(one);
        assert_eq!(ledger.held.load(Ordering::Relaxed), 0);
    }
}
