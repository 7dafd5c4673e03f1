//! Collectors in memory that answer as a test says, and hear what a courier does. With the clock paused nothing waits.

pub(super) mod secured;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    convert::Infallible,
    env, future, io,
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use fleetmark_proto::{
    convert::{Encoded, Outcome},
    id::{Digest, ReportId},
    v1::{
        SubmitRequest, SubmitResponse,
        ingest_server::{Ingest, IngestServer},
    },
};
use futures_util::stream;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::mpsc,
    time::Instant,
};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{
        Service,
        http::{self, Uri},
    },
    server::NamedService,
    transport::Server,
};
use url::Url;

use super::{
    connector::{Reach, Reaching, Stream},
    courier::Courier,
    event::Event,
    line::Dialer,
    pace::Pace,
};
use crate::spool::{Bounds, Spool};

/// How a collector answers one call.
pub(super) enum Reply {
    /// Each report with what this makes of its id; `None` leaves it out.
    Each(Box<dyn FnMut(ReportId) -> Option<Outcome> + Send>),
    /// All of it with an error.
    Fail(Status),
    /// Not at all.
    Hang,
}

impl Reply {
    pub(super) fn each(answer: impl FnMut(ReportId) -> Option<Outcome> + Send + 'static) -> Self {
        Self::Each(Box::new(answer))
    }
}

/// A call that came to a collector.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) host: String,
    pub(super) at: Instant,
    pub(super) ids: Vec<ReportId>,
    pub(super) timeout: Option<String>,
}

#[derive(Default)]
struct Script {
    /// Hosts that can be reached.
    hosts: HashMap<String, mpsc::UnboundedSender<DuplexStream>>,
    /// What comes next; with nothing left, all is stored.
    replies: VecDeque<Reply>,
    calls: Vec<Call>,
    /// All that was said of each report.
    said: BTreeMap<ReportId, Vec<Outcome>>,
    dials: Vec<String>,
    events: Vec<Event>,
}

/// A spool, some collectors, and what happened.
#[derive(Clone)]
pub(super) struct World {
    pub(super) spool: Spool,
    pub(super) folder: Arc<TempDir>,
    script: Arc<Mutex<Script>>,
    open: Arc<AtomicUsize>,
}

impl World {
    /// An empty spool, and a collector on host `a`.
    pub(super) fn new() -> Self {
        // Nothing here is about what survives; in memory a sync takes no time.
        let memory = Some(Path::new("/dev/shm")).filter(|memory| memory.is_dir());
        let folder = tempfile::tempdir_in(memory.map_or_else(env::temp_dir, Path::to_owned));
        let folder = Arc::new(folder.unwrap());
        let spool = Spool::open(&folder.path().join("spool"), Bounds::default()).unwrap();
        let world = Self { spool, folder, script: Arc::default(), open: Arc::default() };
        world.start("a");
        world
    }

    /// Starts a collector on this host.
    pub(super) fn start(&self, host: &str) {
        let (sender, mut receiver) = mpsc::unbounded_channel::<DuplexStream>();
        self.script().hosts.insert(host.to_owned(), sender);
        let service = IngestServer::new(Serving { host: host.to_owned(), world: self.clone() });
        let incoming = stream::poll_fn(move |context| {
            receiver.poll_recv(context).map(|stream| stream.map(Ok::<_, io::Error>))
        });
        let service = Garbling(service);
        let server = Server::builder().add_service(service).serve_with_incoming(incoming);
        tokio::spawn(server);
    }

    /// Takes a collector off the network; connections that are open stay.
    pub(super) fn stop(&self, host: &str) {
        self.script().hosts.remove(host);
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// A courier to these hosts.
    pub(super) fn courier(&self, hosts: &[&str]) -> Courier {
        let urls = hosts.iter().map(|host| url(host)).collect();
        let heard = Arc::clone(&self.script);
        let outlet = move |event| heard.lock().unwrap().events.push(event);
        let world = self.clone();
        let dialer = Dialer::new(Reach::new(move |uri, _| world.connect(&uri)));
        Courier::new(urls, self.spool.clone(), Pace::default(), outlet).dialing(dialer)
    }

    /// What the next calls are answered.
    pub(super) fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script().replies.extend(replies);
    }

    /// Puts a report of this many bytes into the spool.
    pub(super) fn put(&self, id: ReportId, bytes: usize) -> ReportId {
        let bytes = vec![7; bytes];
        let encoded = Encoded { id, digest: Digest::of(&bytes), bytes };
        self.spool.reserve().unwrap().commit(&encoded).unwrap();
        id
    }

    /// Puts some small reports into the spool.
    pub(super) fn fill<const N: usize>(&self) -> [ReportId; N] {
        std::array::from_fn(|_| self.put(ReportId::now(), 10))
    }

    pub(super) fn waiting(&self) -> Vec<ReportId> {
        self.spool.list().unwrap().into_iter().map(|entry| entry.id).collect()
    }

    /// Changes bytes of a record on the disk, from this one on.
    pub(super) fn scribble(&self, id: ReportId, at: usize, bytes: &[u8]) {
        let path = self.spool.folder().join(format!("{id}.report"));
        let mut record = std::fs::read(&path).unwrap();
        record[at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(&path, record).unwrap();
    }

    /// The reports in quarantine with their reasons.
    pub(super) fn quarantined(&self) -> Vec<(ReportId, String)> {
        let records = self.spool.quarantined().unwrap();
        let mut records: Vec<_> =
            records.into_iter().map(|record| (record.id.unwrap(), record.reason)).collect();
        records.sort();
        records
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.script().calls.clone()
    }

    /// What collectors have said of this report, in order.
    pub(super) fn said(&self, id: ReportId) -> Vec<Outcome> {
        self.script().said.get(&id).cloned().unwrap_or_default()
    }

    /// The hosts that were dialled.
    pub(super) fn dials(&self) -> Vec<String> {
        self.script().dials.clone()
    }

    /// What the operator heard of other things than single reports.
    pub(super) fn told(&self) -> Vec<String> {
        let script = self.script();
        let told = script.events.iter().filter(|event| !matches!(event, Event::Answered { .. }));
        told.map(Event::to_string).collect()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.script().events.clone()
    }

    /// Connections that are open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Lets virtual time pass until this is so.
    pub(super) async fn until(&self, mut is_so: impl FnMut(&Self) -> bool) {
        for look in 0..4_000 {
            if is_so(self) {
                return;
            }
            // What comes soon is seen soon.
            let pause = if look < 200 { 5 } else { 1_000 };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        panic!("waited for an hour: {:?}, {:?}", self.calls(), self.told());
    }
}

pub(super) fn url(host: &str) -> Url {
    format!("http://{host}:7600").parse().unwrap()
}

struct Serving {
    host: String,
    world: World,
}

#[tonic::async_trait]
impl Ingest for Serving {
    async fn submit(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        let timeout = request.metadata().get("grpc-timeout");
        let timeout = timeout.map(|timeout| timeout.to_str().unwrap().to_owned());
        let envelopes = request.into_inner().reports;
        let encoded =
            envelopes.into_iter().map(|envelope| Encoded::from_envelope(envelope).unwrap());
        let ids: Vec<_> = encoded.map(|encoded| encoded.id).collect();
        let call = Call { host: self.host.clone(), at: Instant::now(), ids: ids.clone(), timeout };
        let reply = {
            let mut script = self.world.script();
            script.calls.push(call);
            script.replies.pop_front()
        };
        let mut answer: Box<dyn FnMut(ReportId) -> Option<Outcome> + Send> = match reply {
            None => Box::new(|_| Some(Outcome::Stored)),
            Some(Reply::Each(answer)) => answer,
            Some(Reply::Fail(status)) => return Err(status),
            Some(Reply::Hang) => future::pending().await,
        };
        let mut answers = Vec::new();
        for id in ids {
            if let Some(outcome) = answer(id) {
                self.world.script().said.entry(id).or_default().push(outcome.clone());
                answers.push(outcome.into_answer(id.as_bytes().to_vec()));
            }
        }
        Ok(Response::new(SubmitResponse { answers }))
    }
}

/// Passes answers on with whatever was said in this header as the encoded details of their status.
pub(super) const DETAILS: &str = "x-details";

#[derive(Clone)]
struct Garbling(IngestServer<Serving>);

impl NamedService for Garbling {
    const NAME: &'static str = <IngestServer<Serving> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Garbling {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            let headers = answer.headers_mut();
            if let Some(details) = headers.remove(DETAILS) {
                headers.insert("grpc-status-details-bin", details);
            }
            Ok(answer)
        })
    }
}

/// A host that swallows all connections.
pub(super) const HOLE: &str = "hole";

impl World {
    /// Connects to a collector of the world by its host.
    fn connect(&self, uri: &Uri) -> Reaching {
        let host = uri.host().unwrap().to_owned();
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let mut script = self.script();
        script.dials.push(host.clone());
        if host == HOLE {
            return Box::pin(future::pending());
        }
        let is_there = script.hosts.get(&host).is_some_and(|host| host.send(theirs).is_ok());
        Box::pin(future::ready(if is_there {
            self.open.fetch_add(1, Ordering::Relaxed);
            let wire: Box<dyn Stream> =
                Box::new(Wire { stream: ours, open: Arc::clone(&self.open) });
            Ok(wire)
        } else {
            Err(io::Error::from(io::ErrorKind::ConnectionRefused).into())
        }))
    }
}

/// The client's end of a connection, counted as long as it is there.
struct Wire {
    stream: DuplexStream,
    open: Arc<AtomicUsize>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
