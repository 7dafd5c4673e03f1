//! Who gets in. Limits on calls and on the bytes of their requests, for all agents together: a call over one of them is
//! refused with a word on when to come again, before its request is read or decoded. Nothing waits here.
//!
//! Calls whose requests are there are what the collector works on, and what it is overloaded by. Those that are still
//! arriving cost next to nothing, and far more of them are let in: agents that are slow or far away must not keep others out.
//! Where even those are as many as there may be, one gives way to the next.

mod arriving;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fleetmark_proto::limits;
use http_body::{Frame, SizeHint};
use tokio::{
    sync::Semaphore,
    time::{Instant, Sleep, sleep_until, timeout_at},
};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use super::{Bounds, connections::Peer};
use crate::{ingest::Tally, status::Refusal};
pub(super) use arriving::OfOne;
use arriving::{Arriving, Place};

/// The most bytes of one call: a message, and what frames it.
const CALL_BYTES: usize = limits::MESSAGE_BYTES + 64 * 1024;

/// Counts calls and bytes in, and out again.
#[derive(Debug)]
pub(super) struct Gate {
    bounds: Bounds,
    let_in: Semaphore,
    arriving: Arriving,
    in_work: AtomicUsize,
    bytes: AtomicUsize,
    draining: AtomicBool,
    tally: Arc<Tally>,
}

impl Gate {
    pub(super) fn new(bounds: Bounds, tally: Arc<Tally>) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            let_in: Semaphore::new(bounds.let_in),
            arriving: Arriving::default(),
            in_work: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            tally,
        })
    }

    /// Lets a call of this connection in, if there is room or can be made.
    fn enter(self: &Arc<Self>, of_one: OfOne) -> Result<Admitted, Refusal> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Refusal::Draining);
        }
        if self.in_work.load(Ordering::Relaxed) >= self.bounds.calls {
            return Err(Refusal::Calls);
        }
        match self.let_in.try_acquire() {
            // It comes back when the call ends.
            Ok(permit) => permit.forget(),
            // The permit of the call that gives way.
            Err(_) if self.arriving.make_room(&of_one, self.bounds.arrival_in_a_crowd) => {}
            Err(_) => return Err(Refusal::Calls),
        }
        Ok(Admitted(Arc::new(Inside {
            gate: Arc::clone(self),
            place: self.arriving.begin(of_one),
            bytes: AtomicUsize::new(0),
            has_arrived: AtomicBool::new(false),
        })))
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Returns when everybody who was let in is out.
    pub(super) async fn emptied(&self) {
        // The semaphore is never closed. Who passed the door while it closed finds no permit.
        if let Ok(all) = self.let_in.acquire_many(count(self.bounds.let_in)).await {
            all.forget();
        }
    }

    /// Calls that are worked on.
    pub(super) fn in_work(&self) -> usize {
        self.in_work.load(Ordering::Relaxed)
    }

    /// Bytes of requests that are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Calls that were let in and are not out.
    pub(super) fn calls(&self) -> usize {
        self.bounds.let_in.saturating_sub(self.let_in.available_permits())
    }
}

fn count(calls: usize) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX)
}

/// A call that was let in. It is out when the last of its clones is gone: those of the call, of its request's body and of its
/// batch, which may wait for its commit when nobody waits for the answer any more.
#[derive(Clone, Debug)]
pub struct Admitted(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    gate: Arc<Gate>,
    place: Place,
    bytes: AtomicUsize,
    has_arrived: AtomicBool,
}

impl Admitted {
    fn gate(&self) -> &Gate {
        &self.0.gate
    }

    fn refused(&self, refusal: Refusal) -> Status {
        self.gate().tally.refused(refusal)
    }

    /// All of the request is there.
    fn arrived(&self) {
        if !self.0.has_arrived.swap(true, Ordering::Relaxed) {
            self.gate().arriving.end(&self.0.place);
            self.gate().in_work.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes room for bytes that have arrived.
    fn take(&self, bytes: usize) -> Result<(), Status> {
        let gate = self.gate();
        let room =
            |held: usize| held.checked_add(bytes).filter(|&held| held <= gate.bounds.bodies_bytes);
        if gate.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return Err(self.refused(Refusal::Bytes));
        }
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > CALL_BYTES {
            return Err(Status::invalid_argument("the call has more than one message"));
        }
        Ok(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.gate.bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
        if *self.has_arrived.get_mut() {
            self.gate.in_work.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.gate.arriving.end(&self.place);
        }
        // Whoever a call gave way to has its permit.
        if !self.place.is_lost() {
            self.gate.let_in.add_permits(1);
        }
    }
}

/// A service behind a gate.
#[derive(Clone, Debug)]
pub(super) struct Gated<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> Gated<S> {
    pub(super) fn new(inner: S, gate: Arc<Gate>) -> Self {
        Self { inner, gate }
    }
}

impl<S: NamedService> NamedService for Gated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Gated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let of_one = request.extensions().get::<Peer>().map(Peer::arriving).unwrap_or_default();
        let admitted = match self.gate.enter(of_one) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let answer = self.gate.tally.refused(refusal).into_http();
                return Box::pin(std::future::ready(Ok(answer)));
            }
        };
        let begin = Instant::now();
        let late = begin + self.gate.bounds.call;
        let mut request = request.map(|body| {
            Body::new(Metered {
                body,
                admitted: admitted.clone(),
                late: begin + self.gate.bounds.arrival,
                timer: None,
            })
        });
        request.extensions_mut().insert(admitted.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            match timeout_at(late, answer).await {
                Ok(answer) => answer,
                Err(_) => Ok(admitted.refused(Refusal::SlowAnswer).into_http()),
            }
        })
    }
}

/// A request's body that takes room as it arrives, and has to arrive in time.
struct Metered {
    body: Body,
    admitted: Admitted,
    late: Instant,
    /// Made when there is something to wait for; most requests come whole.
    timer: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if this.admitted.0.place.poll_lost(cx) => {
                return Poll::Ready(Some(Err(this.admitted.refused(Refusal::GaveWay))));
            }
            Poll::Pending => {
                let late = this.late;
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(late)));
                ready!(timer.as_mut().poll(cx));
                return Poll::Ready(Some(Err(this.admitted.refused(Refusal::SlowRequest))));
            }
        };
        let frame = frame.map(|frame| {
            let frame = frame?;
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            this.admitted.take(bytes).map(|()| frame)
        });
        if frame.is_none() || this.body.is_end_stream() {
            this.admitted.arrived();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
