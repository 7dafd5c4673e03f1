//! The connections that agents keep open: how many there may be, and when one that does nothing is closed.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt as _, future::Map};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep_until},
};
use tonic::{body::Body, transport::server::Connected};
use tower::{Layer, Service};

use super::{Bounds, admission::OfOne, arrival::Arrival, carrying::Carrying, rights};

/// What every connection over HTTP/2 begins with, in bytes.
const PREFACE_BYTES: usize = 24;

/// Raises how many files this process may have open as far as it may, and tells how many that is; `None` is no limit.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// What bytes come over: TCP, with TLS or without, or a Unix socket.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection that ends itself when it is idle: what it would have read or written fails then.
pub(super) struct Connection {
    wire: Box<dyn Wire>,
    arrival: Arc<Arrival>,
    bounds: Bounds,
    activity: Arc<Activity>,
    came: Instant,
    preface_missing: usize,
    timer: Pin<Box<Sleep>>,
    slots: Arc<Semaphore>,
    _slot: OwnedSemaphorePermit,
}

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    calls: AtomicUsize,
    /// Those that go on for as long as whoever makes them likes, and do nothing meanwhile.
    staying: AtomicUsize,
    arriving: OfOne,
    last: Mutex<Instant>,
    over: AtomicBool,
}

impl Activity {
    /// Since when there is no call; `None` if there is one. In a crowd one that only stays is none: strangers may watch the
    /// server's health, and would keep everybody else out.
    fn idle_since(&self, crowded: bool) -> Option<Instant> {
        let staying = if crowded { 0 } else { self.staying.load(Ordering::Acquire) };
        let idle = self.calls.load(Ordering::Acquire) + staying == 0;
        idle.then(|| *self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Connection {
    /// A connection that came then.
    pub(super) fn new(
        wire: Box<dyn Wire>,
        arrival: Arrival,
        slot: OwnedSemaphorePermit,
        slots: Arc<Semaphore>,
        came: Instant,
        bounds: Bounds,
    ) -> Self {
        let now = Instant::now();
        let first = bounds.preface.min(bounds.idle).min(bounds.idle_in_a_crowd);
        Self {
            wire,
            arrival: Arc::new(arrival),
            bounds,
            activity: Arc::new(Activity {
                calls: AtomicUsize::new(0),
                staying: AtomicUsize::new(0),
                arriving: OfOne::default(),
                last: Mutex::new(now),
                over: AtomicBool::new(false),
            }),
            came,
            preface_missing: PREFACE_BYTES,
            timer: Box::pin(sleep_until(came + first)),
            slots,
            _slot: slot,
        }
    }

    /// Whether there is nothing to wait for any more. If not, the task is woken when it is worth to ask again.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let due = self.due(now);
            if due <= now {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            // A crowd may come while this sleeps, so it looks as often as that would want it to.
            self.timer.as_mut().reset(due.min(now + self.bounds.idle_in_a_crowd));
        }
    }

    /// Until when the other side may go on as it does now.
    fn due(&self, now: Instant) -> Instant {
        if self.preface_missing > 0 {
            return self.came + self.bounds.preface;
        }
        if self.activity.over.load(Ordering::Acquire) {
            return now;
        }
        let crowded = self.slots.available_permits() == 0;
        let idle = if crowded { self.bounds.idle_in_a_crowd } else { self.bounds.idle };
        self.activity.idle_since(crowded).unwrap_or(now) + idle
    }

    /// A result of the socket's, unless it is to wait and there is nothing to wait for.
    fn or_overdue<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => self.poll_overdue(cx).map(Err),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { activity: Arc::clone(&self.activity), arrival: Arc::clone(&self.arrival) }
    }
}

/// Of which connection a call is, among the extensions of its request.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    activity: Arc<Activity>,
    arrival: Arc<Arrival>,
}

impl Peer {
    /// What the connection tells of who calls.
    pub(super) fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    /// How many of its calls are on their way.
    pub(super) fn arriving(&self) -> OfOne {
        Arc::clone(&self.activity.arriving)
    }

    /// Has the connection closed, whatever its calls, within the time for which one may be idle in a crowd.
    pub(crate) fn hang_up(&self) {
        self.activity.over.store(true, Ordering::Release);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.wire).poll_read(cx, buf);
        let read = buf.filled().len().saturating_sub(before);
        self.preface_missing = self.preface_missing.saturating_sub(read);
        self.or_overdue(cx, result)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.wire).poll_write(cx, buf);
        self.or_overdue(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.wire).poll_write_vectored(cx, bufs);
        self.or_overdue(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

/// Tells each connection of its calls, whichever service they are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch;

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Watched<S> {
        Watched(inner)
    }
}

/// A service whose calls their connections know of.
#[derive(Clone, Debug)]
pub(super) struct Watched<S>(S);

/// Gives the answer the call that it ends.
type Attach<E> =
    Box<dyn FnOnce(Result<http::Response<Body>, E>) -> Result<http::Response<Body>, E> + Send>;

impl<S> Service<http::Request<Body>> for Watched<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Map<S::Future, Attach<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let stays = rights::of(request.uri().path()).stays;
        let call = request.extensions().get::<Peer>().map(|peer| Call::begin(peer, stays));
        self.0.call(request).map(Box::new(|answer: Result<http::Response<Body>, S::Error>| {
            let answer = answer?;
            Ok(answer.map(|body| Body::new(Carrying { body, _until_then: call })))
        }))
    }
}

/// A call, for as long as it goes on.
struct Call {
    activity: Arc<Activity>,
    stays: bool,
}

impl Call {
    fn begin(peer: &Peer, stays: bool) -> Self {
        let call = Self { activity: Arc::clone(&peer.activity), stays };
        call.counted().fetch_add(1, Ordering::AcqRel);
        call
    }

    /// Where it is counted.
    fn counted(&self) -> &AtomicUsize {
        if self.stays { &self.activity.staying } else { &self.activity.calls }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        *self.activity.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.counted().fetch_sub(1, Ordering::AcqRel);
    }
}
