//! What is stored, for those who read it over the wire: a page at a time, as fast as the reader takes it.

use std::{sync::Arc, time::Duration};

use fleetmark_proto::{
    convert, limits, shell,
    v1::{KeptRun, RunsRequest, query_server::Query},
};
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout, timeout_at},
};
use tonic::{Request, Response, Status};

use crate::{
    identity::Denied,
    ingest::Tally,
    server::{Admitted, Leave, Peer},
    status::{QueryError, Refusal},
    store::{Place, Store, StoreError},
};

/// How much is read at a time, and how long is waited for whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reading {
    /// Calls.
    pub calls: usize,
    /// Bytes that each of them holds; the run that reaches them goes in whole.
    pub page_bytes: usize,
    /// How long a call may take in all.
    pub whole: Duration,
    /// How long its reader may take nothing.
    pub pause: Duration,
}

impl Default for Reading {
    /// What [`limits`] says.
    fn default() -> Self {
        Self {
            calls: limits::READERS,
            page_bytes: limits::PAGE_BYTES,
            whole: limits::READ,
            pause: limits::READ_PAUSE,
        }
    }
}

/// The service that readers talk to.
pub struct QueryService {
    store: Arc<dyn Store>,
    tally: Arc<Tally>,
    bounds: Reading,
    seats: Arc<Semaphore>,
}

impl QueryService {
    /// A service that reads there within these bounds, and counts here whom it refuses.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, tally: Arc<Tally>, bounds: Reading) -> Self {
        Self { store, tally, bounds, seats: Arc::new(Semaphore::new(bounds.calls)) }
    }
}

#[tonic::async_trait]
impl Query for QueryService {
    type RunsStream = BoxStream<'static, Result<KeptRun, Status>>;

    async fn runs(
        &self,
        request: Request<RunsRequest>,
    ) -> Result<Response<Self::RunsStream>, Status> {
        let (_, extensions, request) = request.into_parts();
        let since = convert::runs_since(request).map_err(QueryError::from)?;
        let seat = Arc::clone(&self.seats).try_acquire_owned();
        let seat = seat.map_err(|_| self.tally.refused(Refusal::Readers))?;
        let (out, answer) = mpsc::channel(1);
        let call = Call {
            store: Arc::clone(&self.store),
            tally: Arc::clone(&self.tally),
            bounds: self.bounds,
            out,
            peer: extensions.get().cloned(),
            leave: extensions.get().cloned(),
            _seat: seat,
            _held: extensions.get().cloned(),
        };
        tokio::spawn(call.answer(since));
        Ok(Response::new(stream::unfold(Some(answer), next).boxed()))
    }
}

/// What is sent next. An answer that ends without the word for it was cut off, and must not pass for a whole one.
async fn next(
    answer: Option<mpsc::Receiver<Part>>,
) -> Option<(Result<KeptRun, Status>, Option<mpsc::Receiver<Part>>)> {
    let mut answer = answer?;
    match answer.recv().await {
        Some(Part::Run(run)) => Some((Ok(run), Some(answer))),
        Some(Part::Failed(status)) => Some((Err(status), None)),
        Some(Part::End) => None,
        None => Some((Err(Refusal::SlowReader.into()), None)),
    }
}

/// A part of an answer.
enum Part {
    /// A run.
    Run(KeptRun),
    /// Nothing more, for this reason.
    Failed(Status),
    /// That was all.
    End,
}

/// A call that is being answered. It has a task of its own, as nobody asks for the rest of an answer that is not taken.
struct Call {
    store: Arc<dyn Store>,
    tally: Arc<Tally>,
    bounds: Reading,
    out: mpsc::Sender<Part>,
    peer: Option<Peer>,
    leave: Option<Leave>,
    _seat: OwnedSemaphorePermit,
    _held: Option<Admitted>,
}

/// Why a call ends before everything is said.
enum End {
    /// Nobody listens any more.
    Gone,
    /// Nothing was taken for too long.
    Stalled,
    /// It is not for the caller any more.
    Denied(Denied),
    /// The store cannot be read.
    Store(StoreError),
}

impl From<Denied> for End {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Call {
    async fn answer(self, since: Option<Timestamp>) {
        let late = Instant::now() + self.bounds.whole;
        let status = match timeout_at(late, self.send_all(since)).await {
            Ok(Ok(()) | Err(End::Gone)) => return,
            Ok(Err(End::Stalled)) => {
                let _ = self.tally.refused(Refusal::SlowReader);
                return self.hang_up();
            }
            Ok(Err(End::Denied(denied))) => Status::from(&denied),
            Ok(Err(End::Store(error))) => {
                let error = shell::one_line(&error);
                tracing::error!("cannot read what a reader asked for: {error}");
                QueryError::Store.into()
            }
            Err(_) => self.tally.refused(Refusal::SlowReader),
        };
        if timeout(self.bounds.pause, self.out.send(Part::Failed(status))).await.is_err() {
            self.hang_up();
        }
    }

    async fn send_all(&self, since: Option<Timestamp>) -> Result<(), End> {
        let mut place = Place::before(since);
        loop {
            let page = self.store.page(place, self.bounds.page_bytes).await?;
            let Some(last) = page.last() else { return self.send(Part::End).await };
            place = last.place.clone();
            for run in page {
                // It goes on for minutes, and who is revoked meanwhile gets no more.
                self.leave.as_ref().map_or(Ok(()), Leave::check)?;
                let run = convert::kept_run(run.report, run.received_at, run.sent_at, run.labels);
                self.send(Part::Run(run)).await?;
            }
        }
    }

    async fn send(&self, part: Part) -> Result<(), End> {
        let sent = timeout(self.bounds.pause, self.out.send(part)).await;
        sent.map_err(|_| End::Stalled)?.map_err(|_| End::Gone)
    }

    /// An answer that is not taken can only be ended with its connection.
    fn hang_up(&self) {
        if let Some(peer) = &self.peer {
            peer.hang_up();
        }
    }
}
