//! One connection: its requests in turn, how long each part may take, and when it ends.
//!
//! A connection has one timer, which is set to the next deadline. A request that arrives completely and is handled at once never changes
//! it.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tower::{BoxError, Service, ServiceExt as _};

use super::connections::Activity;
use super::limits::Limits;
use super::shutdown::Lifecycle;

/// The longest head of a request, in bytes. The API server's is under 1 KB.
const HEAD_BYTES: usize = 32 * 1024;

/// How long, and for how many bytes, a closed connection is still read, so that the last response is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 1024 * 1024;

/// The handler of the requests of a connection: a service that never fails, such as an [`axum::Router`].
pub trait HttpService<B>:
    Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S, B> HttpService<B> for S where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves a connection to its end.
///
/// # Errors
/// Why it ended early: broken, malformed, or too slow.
pub(super) async fn drive<IO, S, B>(
    io: IO,
    service: S,
    activity: &Arc<Activity>,
    limits: &Limits,
    life: &Lifecycle,
) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<B>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let shared = Arc::new(Shared {
        service,
        life: life.clone(),
        progress: Progress::new(Arc::clone(activity)),
    });
    let io = Watched {
        io: TokioIo::new(io),
        shared: shared.clone(),
    };
    let answers = {
        let shared = shared.clone();
        // This `Arc` belongs to one connection, so that cores do not contend for its count.
        service_fn(move |request| answer(shared.clone(), request))
    };
    let mut connection = http1::Builder::new()
        // Our own starts with the first byte of a head and ignores idle connections.
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES)
        .serve_connection(io, answers);

    let mut schedule = Schedule::new(limits);
    let mut timer = pin!(sleep_until(schedule.next()));
    let mut stopped = pin!(life.stopped());
    let mut chosen = pin!(activity.chosen());
    // Polled once, so that the end of the drain, or a new connection that needs the place of this one, wakes this task; the states
    // themselves are read without a lock.
    let mut is_woken = false;
    std::future::poll_fn(|cx| {
        if !is_woken {
            is_woken = true;
            let _ = stopped.as_mut().poll(cx);
            let _ = chosen.as_mut().poll(cx);
        }
        loop {
            if life.is_stopping() && schedule.begin_close(limits.stop) {
                Pin::new(&mut connection).graceful_shutdown();
                timer.as_mut().reset(schedule.next());
            }
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(ended.map_err(io::Error::other));
            }
            if activity.gives_way() {
                if !activity.has_request_in_flight() {
                    return Poll::Ready(Err(io::Error::other("closed to make room for a new connection")));
                }
                shared.progress.retired.store(true, Ordering::Relaxed);
            }
            if schedule.observe(&shared.progress) && schedule.next() < timer.deadline() {
                timer.as_mut().reset(schedule.next());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match schedule.due(Instant::now()) {
                Due::Nothing => {}
                Due::Retire => shared.progress.retired.store(true, Ordering::Relaxed),
                Due::Close => Pin::new(&mut connection).graceful_shutdown(),
                Due::Abort(why) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why))),
            }
            timer.as_mut().reset(schedule.next());
        }
    })
    .await?;
    linger(connection.into_parts().io.io.into_inner()).await;
    Ok(())
}

async fn answer<S, B>(shared: Arc<Shared<S>>, request: Request<Incoming>) -> Result<Response<B>, Infallible>
where
    S: HttpService<B>,
{
    shared.progress.request_began();
    let mut response = shared.service.clone().oneshot(request).await?;
    if shared.life.is_draining() || shared.progress.retired.load(Ordering::Relaxed) {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    shared.progress.request_ended();
    Ok(response)
}

/// Reads what a client sends after its last response. Closing a socket that has unread bytes resets it, and a reset may overtake the
/// answer.
async fn linger<IO: AsyncRead + Unpin>(io: IO) {
    let mut rest = io.take(LINGER_BYTES);
    let mut scratch = [0_u8; 4096];
    let read = async { while matches!(rest.read(&mut scratch).await, Ok(read) if read > 0) {} };
    let _ = timeout(LINGER, read).await;
}

/// What the parts of a connection share.
struct Shared<S> {
    service: S,
    life: Lifecycle,
    progress: Progress,
}

/// The state of a connection. Except for `activity`, it is written and read by the connection's own task only: the atomics satisfy
/// `Sync`, nothing else, and relaxed order is enough.
#[derive(Debug)]
struct Progress {
    /// What the accept loop sees of it.
    activity: Arc<Activity>,
    /// Bytes arrived since the last response.
    head_began: AtomicBool,
    /// How many requests had their head read.
    requests: AtomicU32,
    /// The connection is old enough: the next response closes it.
    retired: AtomicBool,
}

impl Progress {
    fn new(activity: Arc<Activity>) -> Self {
        Self {
            activity,
            head_began: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            retired: AtomicBool::new(false),
        }
    }

    fn request_began(&self) {
        self.activity.request_began();
        self.requests
            .store(self.requests.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn request_ended(&self) {
        self.head_began.store(false, Ordering::Relaxed);
        self.activity.request_ended();
    }

    fn bytes_arrived(&self) {
        self.head_began.store(true, Ordering::Relaxed);
    }

    /// The number of the request whose head has begun and is not complete.
    fn awaited_head(&self) -> Option<u32> {
        let awaited = self.head_began.load(Ordering::Relaxed) && !self.activity.is_busy();
        awaited.then(|| self.requests.load(Ordering::Relaxed))
    }
}

/// What is due, and when.
#[derive(Debug)]
struct Schedule {
    stage: Stage,
    /// When the stage ends.
    stage_ends: Instant,
    /// The head that is awaited, and until when.
    head: Option<(u32, Instant)>,
    header: Duration,
    close_grace: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Young enough.
    Open,
    /// Its next response closes it.
    Retired,
    /// It closes as soon as no request is in flight.
    Closing,
}

#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Retire,
    Close,
    Abort(&'static str),
}

impl Schedule {
    fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        let jitter = limits.age_jitter.min(limits.age);
        let age = limits.age.saturating_sub(jitter) + jitter.mul_f64(2.0 * fastrand::f64());
        Self {
            stage: Stage::Open,
            stage_ends: now + age,
            // A client that connects is about to ask.
            head: Some((0, now + limits.header)),
            header: limits.header,
            close_grace: limits.close_grace,
        }
    }

    /// The nearest moment at which something may be due.
    fn next(&self) -> Instant {
        self.head
            .map_or(self.stage_ends, |(_, until)| until.min(self.stage_ends))
    }

    /// Observes a head that has begun or is complete. True when something new is awaited.
    fn observe(&mut self, progress: &Progress) -> bool {
        match (progress.awaited_head(), self.head) {
            (None, _) => {
                // The first request counts as begun with the connection.
                if progress.requests.load(Ordering::Relaxed) > 0 {
                    self.head = None;
                }
                false
            }
            (Some(awaited), Some((known, _))) if awaited == known => false,
            (Some(awaited), _) => {
                self.head = Some((awaited, Instant::now() + self.header));
                true
            }
        }
    }

    fn due(&mut self, now: Instant) -> Due {
        if self.head.is_some_and(|(_, until)| until <= now) {
            return Due::Abort("the request headers did not arrive in time");
        }
        if now < self.stage_ends {
            return Due::Nothing;
        }
        self.stage_ends = now + self.close_grace;
        match self.stage {
            Stage::Open => {
                self.stage = Stage::Retired;
                Due::Retire
            }
            Stage::Retired => {
                self.stage = Stage::Closing;
                Due::Close
            }
            Stage::Closing => Due::Abort("the connection did not close in time"),
        }
    }

    /// Goes to the last stage now, to end within `grace`. False when it is there already.
    fn begin_close(&mut self, grace: Duration) -> bool {
        if self.stage == Stage::Closing {
            return false;
        }
        self.stage = Stage::Closing;
        self.stage_ends = Instant::now() + grace;
        true
    }
}

/// The connection's stream, which notes that bytes arrived, and whether the client reads.
struct Watched<IO, S> {
    io: TokioIo<IO>,
    shared: Arc<Shared<S>>,
}

impl<IO, S> Watched<IO, S> {
    /// A write that waits for the client; what was written without waiting counts as read once it is flushed.
    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if written.is_pending() {
            self.shared.progress.activity.written(true);
        }
    }
}

impl<IO: AsyncRead + Unpin, S> Read for Watched<IO, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.shared.progress.bytes_arrived();
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin, S> Write for Watched<IO, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buffer);
        self.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.shared.progress.activity.written(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        self.wrote(&written);
        written
    }
}
