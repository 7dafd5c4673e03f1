//! The gRPC server. It takes its listener and its shutdown from outside.

mod admission;
mod arrival;
mod carrying;
mod connections;
mod door;
mod guard;
mod leave;
mod listening;
mod rights;
mod standing;
mod tls;
mod trail;
mod visits;

pub use admission::Admitted;
pub(crate) use connections::Peer;
pub use connections::raise_open_files;
pub use guard::Trust;
pub(crate) use leave::Leave;
pub use listening::{Listeners, Socket, bind, bind_http, bind_socket, check_listen};
pub use tls::{Tls, TlsError, TlsFiles};
pub(crate) use trail::Trail;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use fleetmark_agent::clock::Clock;
use fleetmark_proto::{
    limits,
    v1::{
        self, control_server::ControlServer, enrollment_server::EnrollmentServer,
        ingest_server::IngestServer, query_server::QueryServer,
    },
};
use tokio::{sync::oneshot, task::JoinSet, time::timeout};
use tonic::transport::{Server, server::Router};
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::HealthReporter,
};
use tower::layer::util::{Identity, Stack};
use url::Url;

use crate::{
    authority::Authority,
    control::{ControlService, Issuing},
    enrollment::EnrollmentService,
    ingest::{Committer, Grouping, IngestService, Tally},
    query::{QueryService, Reading},
    registry::Registry,
    store::{Store, StoreError},
};
use admission::{Gate, Gated};
use connections::Watch;
use door::{Door, Witness};
use guard::{Guard, Policy};
use standing::Standings;
use tls::Spoken;

/// Nothing shorter is kind to a network; balancers drop what is idle for a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long the other side may take to say that it is still there.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// How long connections get to end when all calls are answered. Watching clients would never end theirs.
const LINGER: Duration = Duration::from_secs(1);
/// Files that the collector opens beside its connections: the store, the log, the listener, the runtime.
const OTHER_FILES: u64 = 64;

/// The server could not start, or broke.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Plaintext for other hosts needs leave.
    #[error(
        "{0} can be reached from other hosts, and plaintext needs --insecure; \
         `fleetmark-collector init` sets up TLS"
    )]
    NeedsInsecure(SocketAddr),
    /// The address is taken.
    #[error("{0} is in use; stop what listens there, or choose another with --listen")]
    InUse(SocketAddr),
    /// The same, of an address for browsers.
    #[error("{0} is in use; stop what listens there, or choose another with --http")]
    HttpInUse(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Somebody listens on the socket.
    #[error("{} is in use; stop what listens there, or choose another with --socket", .0.display())]
    SocketInUse(PathBuf),
    /// The socket cannot be had.
    #[error("cannot listen on {}", .path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Who may do what cannot be read.
    #[error("cannot read who may do what")]
    Registry(#[from] StoreError),
    /// Reflection does not understand the contract.
    #[error("cannot serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport broke.
    #[error("the server broke")]
    Transport(#[from] tonic::transport::Error),
}

/// What a server did until it was told to stop.
#[derive(Debug)]
pub struct Served {
    /// The reports that it answered, and the calls that it refused.
    pub tally: Arc<Tally>,
    /// Calls that were cut off, as they did not end in time.
    pub cut_off: usize,
}

/// How much a server takes on at a time, and how long it waits for whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Calls whose requests are there, at which nobody is let in any more.
    pub calls: usize,
    /// Calls that are let in at a time, those too whose requests are still arriving.
    pub let_in: usize,
    /// Bytes of their requests.
    pub bodies_bytes: usize,
    /// Connections.
    pub connections: usize,
    /// How long a connection may take to say that it speaks HTTP/2.
    pub preface: Duration,
    /// How long a connection may stay without a call.
    pub idle: Duration,
    /// How long it may do so while there are as many connections as there may be.
    pub idle_in_a_crowd: Duration,
    /// How long the request of a call may take to arrive.
    pub arrival: Duration,
    /// For how long it keeps its place while there are as many calls as there may be, if others have as few on their way.
    pub arrival_in_a_crowd: Duration,
    /// How long a call may take in all.
    pub call: Duration,
    /// How long what was accepted may take when the server is to stop.
    pub drain: Duration,
    /// How often it is looked whether who may do what, or a certificate, has changed.
    pub refresh: Duration,
    /// How long after the last time that is looked again for somebody who is not known.
    pub refresh_for_strangers: Duration,
    /// Runs that a page is made of at most.
    pub page_runs: u64,
    /// How batches are committed.
    pub grouping: Grouping,
    /// How much is read, and how long is waited for readers.
    pub reading: Reading,
}

impl Default for Bounds {
    /// What [`limits`] says.
    fn default() -> Self {
        Self {
            calls: limits::CALLS,
            let_in: limits::CALLS_LET_IN,
            bodies_bytes: limits::BODIES_BYTES,
            connections: limits::CONNECTIONS,
            preface: limits::PREFACE,
            idle: limits::IDLE,
            idle_in_a_crowd: limits::IDLE_IN_A_CROWD,
            arrival: limits::ARRIVAL,
            arrival_in_a_crowd: limits::ARRIVAL_IN_A_CROWD,
            call: limits::CALL,
            drain: limits::DRAIN,
            refresh: limits::REFRESH,
            refresh_for_strangers: limits::REFRESH_FOR_STRANGERS,
            page_runs: limits::PAGE_RUNS,
            grouping: Grouping::default(),
            reading: Reading::default(),
        }
    }
}

impl Bounds {
    /// No more connections than this process may have files open; `None` is no limit.
    #[must_use]
    pub fn with_open_files(self, most: Option<u64>) -> Self {
        let most = most.and_then(|most| usize::try_from(most.saturating_sub(OTHER_FILES)).ok());
        let connections = self.connections.min(most.unwrap_or(usize::MAX)).max(1);
        Self { connections, ..self }
    }
}

/// What a server goes by, beside its store.
#[derive(Clone)]
pub struct Setup {
    /// How much it takes on.
    pub bounds: Bounds,
    /// What time it is.
    pub clock: Clock,
    /// Who needs no credentials.
    pub trust: Trust,
    /// The certificates of handshakes. Without, plaintext is spoken.
    pub tls: Option<Arc<Tls>>,
    /// Who signs for this collector. Without, no host can join.
    pub authority: Option<Arc<Authority>>,
    /// Who may do what. Without, nobody has credentials.
    pub registry: Option<Arc<dyn Registry>>,
    /// Where hosts reach it, as tokens say that it makes.
    pub endpoint: Option<Url>,
    /// What browsers may call it beside its address, `localhost` and the endpoint's host.
    pub name: Option<String>,
    /// Where pages are read from, if not from what agents write to: whoever reads at length keeps nobody there waiting.
    pub readable: Option<Arc<dyn Store>>,
}

impl Setup {
    /// A server in plaintext for this host alone, which trusts it.
    #[must_use]
    pub fn local(bounds: Bounds) -> Self {
        Self {
            bounds,
            clock: Clock::of_host(),
            trust: Trust { loopback: true, network: false },
            tls: None,
            authority: None,
            registry: None,
            endpoint: None,
            name: None,
            readable: None,
        }
    }
}

/// Serves this host until `shutdown`, then finishes what was accepted, for at most [`limits::DRAIN`].
///
/// # Errors
///
/// If the server cannot start, or breaks.
pub async fn serve(
    listeners: impl Into<Listeners>,
    store: Arc<dyn Store>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Served, ServeError> {
    serve_within(Bounds::default(), listeners, store, shutdown).await
}

/// Serves this host within these bounds until `shutdown`.
///
/// # Errors
///
/// If the server cannot start, or breaks.
pub async fn serve_within(
    bounds: Bounds,
    listeners: impl Into<Listeners>,
    store: Arc<dyn Store>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Served, ServeError> {
    serve_as(Setup::local(bounds), listeners.into(), store, shutdown).await
}

/// Serves until `shutdown`. Then nobody is let in any more, and who asks is told so; who was let in before gets an answer,
/// within the time that there is for it.
///
/// # Errors
///
/// If the server cannot start, or breaks.
pub async fn serve_as(
    setup: Setup,
    listeners: Listeners,
    store: Arc<dyn Store>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Served, ServeError> {
    let bounds = setup.bounds;
    let tally = Arc::new(Tally::default());
    let gate = Gate::new(bounds, Arc::clone(&tally));
    let query = QueryService::new(Arc::clone(&store), Arc::clone(&tally), bounds.reading);
    let committer = Committer::start(Arc::clone(&store), bounds.grouping);
    let web = visits::web(&setup, store, &tally, &gate, &committer);
    let trail = setup.registry.clone().map(|registry| Arc::new(Trail::begin(registry)));
    let (clock, count) = (setup.clock.clone(), Arc::clone(&tally));
    let ingest = IngestService::new(committer.clone(), clock, count, trail.clone());
    let ingest = IngestServer::new(ingest).max_decoding_message_size(limits::MESSAGE_BYTES);
    let (health, health_service) = tonic_health::server::health_reporter();
    say(&health, ServingStatus::NotServing).await;
    let (policy, mut tasks) = policy(&setup, &tally, trail.clone()).await?;
    let gated = || Arc::clone(&gate);
    let router = router(Arc::clone(&policy), health_service)?
        .add_service(Gated::new(ingest, gated()))
        .add_service(Gated::new(QueryServer::new(query), gated()))
        .add_optional_service(
            enrollment(&setup, trail.clone()).map(|service| Gated::new(service, gated())),
        )
        .add_optional_service(control(&setup).map(|service| Gated::new(service, gated())));

    let (end, ended) = oneshot::channel::<()>();
    let witness = Witness { trail, clock: setup.clock.clone() };
    let Listeners { network, socket, http } = listeners;
    let (tls, authority) = (setup.tls.clone(), setup.authority.clone());
    let door = Door::new(bounds, tls, Spoken::Calls, authority, witness.clone());
    let server = router.serve_with_incoming_shutdown(door.open(network, socket), async {
        // A sender that is gone is as good a reason to stop.
        let _ = ended.await;
    });
    tokio::pin!(server, shutdown);
    say(&health, ServingStatus::Serving).await;
    web.set_serving(true);
    let visits = visits::begin(&setup, http, policy, &web, witness, &mut tasks);
    tokio::select! {
        broken = &mut server => {
            broken?;
            return Ok(Served { tally, cut_off: 0 });
        }
        () = &mut shutdown => {}
    }
    say(&health, ServingStatus::NotServing).await;
    web.set_serving(false);
    gate.close();
    // Connections stay open and are accepted meanwhile, so that everybody hears that the collector is about to stop.
    let finished = tokio::select! {
        broken = &mut server => {
            broken?;
            true
        }
        finished = drained(&gate, &committer, bounds.drain) => finished,
    };
    if !finished {
        return Ok(Served { tally, cut_off: gate.calls() });
    }
    // There is a receiver as long as the server is there.
    let _ = end.send(());
    let (ended, ()) = tokio::join!(timeout(LINGER, server), visits.end());
    if let Ok(ended) = ended {
        ended?;
    }
    Ok(Served { tally, cut_off: 0 })
}

/// Waits until all who were let in have their answers. Whether that was so in time.
async fn drained(gate: &Gate, committer: &Committer, within: Duration) -> bool {
    let finished = async {
        gate.emptied().await;
        committer.flush().await;
    };
    timeout(within, finished).await.is_ok()
}

/// What decides of each call, and the tasks that keep it up to date until they are dropped.
async fn policy(
    setup: &Setup,
    tally: &Arc<Tally>,
    trail: Option<Arc<Trail>>,
) -> Result<(Arc<Policy>, JoinSet<()>), ServeError> {
    let mut keepers = JoinSet::new();
    let standings = match &setup.registry {
        None => None,
        Some(registry) => {
            Some(Standings::read(Arc::clone(registry), setup.bounds.refresh_for_strangers).await?)
        }
    };
    if let Some(standings) = &standings {
        keepers.spawn(Arc::clone(standings).keep(setup.bounds.refresh));
    }
    if let Some(tls) = &setup.tls {
        keepers.spawn(Arc::clone(tls).keep(setup.bounds.refresh));
    }
    let policy = Policy {
        trust: setup.trust,
        clock: setup.clock.clone(),
        standings,
        trail,
        tally: Arc::clone(tally),
        said: guard::Said::default(),
    };
    Ok((Arc::new(policy), keepers))
}

/// What hosts join by, where somebody signs.
fn enrollment(
    setup: &Setup,
    trail: Option<Arc<Trail>>,
) -> Option<EnrollmentServer<EnrollmentService>> {
    let (authority, registry) = setup.authority.clone().zip(setup.registry.clone())?;
    let clock = setup.clock.clone();
    Some(EnrollmentService::new(authority, registry, clock, trail?).into_server())
}

/// What operators use, where it is kept who may do what.
fn control(setup: &Setup) -> Option<ControlServer<ControlService>> {
    let pin = setup.authority.as_ref().map(|authority| authority.pin());
    let issuing = Issuing { endpoint: setup.endpoint.clone(), pin };
    let registry = setup.registry.clone()?;
    Some(ControlServer::new(ControlService::new(registry, issuing, setup.clock.clone())))
}

/// What every call passes first.
type Layers = Stack<Guard, Stack<Watch, Identity>>;

/// Every server's first layers and services.
fn router(
    policy: Arc<Policy>,
    health: HealthServer<impl Health>,
) -> Result<Router<Layers>, ServeError> {
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .http2_max_header_list_size(limits::HEADERS_BYTES)
        .max_concurrent_streams(limits::CONNECTION_CALLS)
        .initial_stream_window_size(limits::CALL_WINDOW_BYTES)
        .initial_connection_window_size(limits::WINDOW_BYTES)
        .layer(Watch)
        .layer(Guard(policy))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(router)
}

/// Says the same of the server as a whole and of the service that agents use.
async fn say(health: &HealthReporter, status: ServingStatus) {
    health.set_service_status("", status).await;
    health.set_service_status(INGEST, status).await;
}

/// The name of the service that agents use.
const INGEST: &str = v1::ingest_server::SERVICE_NAME;

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

#[cfg(test)]
mod tests;
