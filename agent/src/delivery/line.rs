//! A connection to one collector. Here, and nowhere else, channels are made.

use std::{
    fmt, mem,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use fleetmark_proto::{
    shell::value,
    v1::{SubmitRequest, SubmitResponse, ingest_client::IngestClient},
};
use futures_util::future::poll_fn;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{task::JoinSet, time};
use tonic::{
    Request, Response, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use url::{Host, Position, Url};

use super::{
    access::{Access, Bearer},
    check,
    connector::{Connector, Reach, Seen, Target},
    error::DeliveryError,
    fault::Fault,
    pace::Pace,
};
use crate::clock::Clock;

/// Balancers drop what is silent for a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long a collector may take to answer a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection over which each call carries the bearer token, where there is one.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Dialer(Reach);

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    /// Over the network, with names resolved at each dial.
    pub(super) fn network() -> Self {
        Self::new(Reach::tcp())
    }

    /// By these means.
    pub(super) fn new(reach: Reach) -> Self {
        Self(reach)
    }

    /// Connects to a collector, within this time. By the clock it is judged whether certificates count.
    pub(super) async fn dial(
        &self,
        url: &Url,
        access: &Access,
        clock: &Clock,
        patience: Duration,
    ) -> Result<Line, DeliveryError> {
        let tasks = Tasks::default();
        let (endpoint, connector) = self.way(url, access, clock, patience)?;
        let seen = connector.seen();
        let connecting = endpoint.executor(tasks.clone()).connect_with_connector(connector).await;
        let channel =
            connecting.map_err(|source| DeliveryError::of_dial(url.to_string(), source))?;
        let channel = InterceptedService::new(channel, access.bearer.clone());
        let connection = Connection { url: url.clone(), channel, seen };
        Ok(Line { connection, cut: Cut(tasks) })
    }

    /// Where a URL leads, and how to get there.
    fn way(
        &self,
        url: &Url,
        access: &Access,
        clock: &Clock,
        patience: Duration,
    ) -> Result<(Endpoint, Connector), DeliveryError> {
        let invalid = |source| DeliveryError::of_dial(url.to_string(), source);
        let address = || url[Position::BeforeHost..Position::AfterPort].to_owned();
        let (endpoint, target) = match url.scheme() {
            // Nobody resolves this name.
            "unix" => (
                Endpoint::from_static("http://localhost"),
                Target::Socket(value::socket_path(url).unwrap_or_default()),
            ),
            "https" => {
                let (config, name) = tls(url, access, clock)?;
                // To the transport TLS is the connector's affair; only calls say what they are made with.
                let endpoint =
                    Endpoint::from_shared(format!("http://{}", address())).map_err(invalid)?;
                let origin = Endpoint::from_shared(url.to_string()).map_err(invalid)?;
                (endpoint.origin(origin.uri().clone()), Target::Tls(config, name))
            }
            _ => (Endpoint::from_shared(url.to_string()).map_err(invalid)?, Target::Plaintext),
        };
        let endpoint = endpoint
            // For all that the connector does, from the name's resolution on.
            .connect_timeout(patience)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let connector = Connector::new(self.0.clone(), target, patience, access.shows_named());
        Ok((endpoint, connector))
    }
}

/// Connects to a collector with what this access has to be shown.
///
/// # Errors
///
/// If nobody answers there, what answers cannot be believed, or plaintext would leave this host without leave.
pub async fn connect(url: &Url, access: &Access) -> Result<Connection, DeliveryError> {
    check(url, access)?;
    let clock = Clock::of_host();
    let (endpoint, connector) =
        Dialer::network().way(url, access, &clock, Pace::default().connect)?;
    let seen = connector.seen();
    let connecting = endpoint.connect_with_connector(connector).await;
    let channel = connecting.map_err(|source| DeliveryError::of_dial(url.to_string(), source))?;
    let channel = InterceptedService::new(channel, access.bearer.clone());
    Ok(Connection { url: url.clone(), channel, seen })
}

fn tls(
    url: &Url,
    access: &Access,
    clock: &Clock,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), DeliveryError> {
    let fault = |fault| DeliveryError::Tls { url: url.to_string(), fault };
    let config = access
        .config(clock)
        .map_err(|error| fault(Fault::Other(error.to_string())))?
        .ok_or_else(|| DeliveryError::NobodyBelieved { url: url.to_string() })?;
    let name = match url.host() {
        Some(Host::Ipv4(address)) => ServerName::from(IpAddr::from(address)),
        Some(Host::Ipv6(address)) => ServerName::from(IpAddr::from(address)),
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned())
            .map_err(|error| fault(Fault::Other(error.to_string())))?,
        None => return Err(fault(Fault::Other("its URL names no host".to_owned()))),
    };
    Ok((config, name))
}

/// A connection for whoever makes calls of its own.
#[derive(Debug)]
pub struct Connection {
    url: Url,
    channel: Authorized,
    seen: Seen,
}

impl Connection {
    /// Where it leads.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What clients make their calls over.
    #[must_use]
    pub fn channel(&self) -> Authorized {
        self.channel.clone()
    }

    /// Waits this long for an answer, or for the next part of one. For what the collector refuses, `refused` may have an error
    /// of its own.
    ///
    /// # Errors
    ///
    /// If nothing comes in time, the connection breaks, or the collector refuses.
    pub async fn wait<T, E: From<DeliveryError>>(
        &self,
        patience: Duration,
        part: impl Future<Output = Result<T, Status>>,
        refused: impl FnOnce(&Status) -> Option<E>,
    ) -> Result<T, E> {
        let url = || self.url.to_string();
        Err(match time::timeout(patience, unpanicked(part)).await {
            Ok(Some(Ok(part))) => return Ok(part),
            Ok(Some(Err(status))) => match refused(&status) {
                Some(refused) => return Err(refused),
                None => self.explain(DeliveryError::of_call(url(), &status, patience)),
            },
            Ok(None) => {
                let cause = "the answer cannot be read".to_owned();
                DeliveryError::Broken { url: url(), cause }
            }
            Err(_) => DeliveryError::TooSlow { url: url(), patience },
        }
        .into())
    }

    /// What was seen on a connection that broke says more than that it did.
    fn explain(&self, error: DeliveryError) -> DeliveryError {
        match (error, self.seen.fault()) {
            (DeliveryError::Broken { url, .. }, Some(fault)) => DeliveryError::Tls { url, fault },
            (error, _) => error,
        }
    }
}

/// A connection of which all ends with it. Dropping it cuts it; [`Line::hang_up`] closes it in good order.
#[derive(Debug)]
pub(super) struct Line {
    connection: Connection,
    cut: Cut,
}

impl Line {
    /// Submits a batch and waits for the answer for this long, of which the collector is told.
    pub(super) async fn submit(
        &self,
        batch: SubmitRequest,
        patience: Duration,
    ) -> Result<SubmitResponse, DeliveryError> {
        let mut client = IngestClient::new(self.channel());
        self.call(batch, patience, |request| async move { client.submit(request).await }).await
    }

    /// Where it leads.
    pub(super) fn url(&self) -> &Url {
        &self.connection.url
    }

    /// What clients make their calls over.
    pub(super) fn channel(&self) -> Authorized {
        self.connection.channel()
    }

    /// Makes a call and waits for the answer for this long, of which the collector is told.
    pub(super) async fn call<M, R, F>(
        &self,
        message: M,
        patience: Duration,
        send: impl FnOnce(Request<M>) -> F,
    ) -> Result<R, DeliveryError>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(patience);
        // The client's own timeout ends with the headers of an answer.
        let answer = self.connection.wait(patience, send(request), |_| None::<DeliveryError>);
        Ok(answer.await?.into_inner())
    }

    /// Closes the connection; when this returns, it is closed.
    pub(super) async fn hang_up(self) {
        let Self { connection, cut } = self;
        drop(connection);
        let mut running = cut.0.take();
        let _ =
            time::timeout(FAREWELL, async { while running.join_next().await.is_some() {} }).await;
        running.shutdown().await;
    }
}

/// Passes a future on, or `None` if it panicked: tonic panics at a status whose details are not base64.
async fn unpanicked<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}

/// What runs behind a channel. Held, so that a connection can be seen to its end.
#[derive(Clone, Debug, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn take(&self) -> JoinSet<()> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl hyper::rt::Executor<Task> for Tasks {
    fn execute(&self, task: Task) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Each call leaves an ended task or two.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// Tasks hold the executor, which holds them: without this they would end only when their connection does.
#[derive(Debug)]
struct Cut(Tasks);

impl Drop for Cut {
    fn drop(&mut self) {
        // A set that is dropped aborts its tasks.
        drop(self.0.take());
    }
}
