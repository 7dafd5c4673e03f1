//! A connection to one collector. Here, and nowhere else, channels are made.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use fleetmark_proto::v1::{SubmitRequest, SubmitResponse, ingest_client::IngestClient};
use futures_util::future::poll_fn;
use tokio::{task::JoinSet, time};
use tonic::{
    Request,
    transport::{self, Channel, Endpoint},
};
use url::Url;

use super::error::DeliveryError;

/// Balancers drop what is silent for a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long a collector may take to answer a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Connecting = Pin<Box<dyn Future<Output = Result<Channel, transport::Error>> + Send>>;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Dialer(Arc<dyn Fn(Endpoint) -> Connecting + Send + Sync>);

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    /// Over TCP, with names resolved at each dial.
    pub(super) fn network() -> Self {
        Self::new(|endpoint| Box::pin(async move { endpoint.connect().await }))
    }

    /// By other means.
    pub(super) fn new(connect: impl Fn(Endpoint) -> Connecting + Send + Sync + 'static) -> Self {
        Self(Arc::new(connect))
    }

    /// Connects to a collector, within this time.
    pub(super) async fn dial(&self, url: &Url, patience: Duration) -> Result<Line, DeliveryError> {
        let unreachable = |source| DeliveryError::Unreachable { url: url.to_string(), source };
        let tasks = Tasks::default();
        let endpoint = Endpoint::from_shared(url.to_string())
            .map_err(unreachable)?
            .connect_timeout(patience)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .executor(tasks.clone());
        let channel = (self.0)(endpoint).await.map_err(unreachable)?;
        Ok(Line { url: url.clone(), client: IngestClient::new(channel), cut: Cut(tasks) })
    }
}

/// A connection. Dropping it cuts it; [`Line::hang_up`] closes it in good order.
#[derive(Debug)]
pub(super) struct Line {
    url: Url,
    client: IngestClient<Channel>,
    cut: Cut,
}

impl Line {
    /// Submits a batch and waits for the answer for this long, of which the collector is told.
    pub(super) async fn submit(
        &self,
        batch: SubmitRequest,
        patience: Duration,
    ) -> Result<SubmitResponse, DeliveryError> {
        let mut request = Request::new(batch);
        request.set_timeout(patience);
        let mut client = self.client.clone();
        let call = unpanicked(async move { client.submit(request).await });
        // The client's own timeout ends with the headers of an answer.
        let answered = time::timeout(patience, call).await;
        let url = || self.url.to_string();
        match answered {
            Ok(Some(Ok(response))) => Ok(response.into_inner()),
            Ok(Some(Err(status))) => Err(DeliveryError::of_call(url(), &status, patience)),
            Ok(None) => {
                let cause = "the answer cannot be read".to_owned();
                Err(DeliveryError::Broken { url: url(), cause })
            }
            Err(_) => Err(DeliveryError::TooSlow { url: url(), patience }),
        }
    }

    /// Closes the connection; when this returns, it is closed.
    pub(super) async fn hang_up(self) {
        let Self { url: _, client, cut } = self;
        drop(client);
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
