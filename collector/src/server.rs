//! The gRPC server. It takes its listener and its shutdown from outside.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use fleetmark_proto::{
    limits,
    v1::{self, ingest_server::IngestServer},
};
use jiff::Timestamp;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tonic::transport::Server;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    ingest::{IngestService, Tally},
    store::Store,
};

/// Nothing shorter is kind to a network; balancers drop what is idle for a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The server could not start, or broke.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Plaintext for other hosts needs leave.
    #[error("{0} can be reached from other hosts, and plaintext needs --insecure")]
    NeedsInsecure(SocketAddr),
    /// The address is taken.
    #[error("{0} is in use; stop what listens there, or choose another with --listen")]
    InUse(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
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
    /// The reports that it answered.
    pub tally: Arc<Tally>,
    /// Calls that were cut off, as they did not end in time.
    pub cut_off: usize,
}

/// Whether this address may be listened on.
///
/// # Errors
///
/// If other hosts can reach it and nobody said `--insecure`.
pub fn check_listen(address: SocketAddr, insecure: bool) -> Result<(), ServeError> {
    if insecure || address.ip().is_loopback() {
        return Ok(());
    }
    Err(ServeError::NeedsInsecure(address))
}

/// Listens.
///
/// # Errors
///
/// If the address is taken or cannot be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::InUse(address),
        _ => ServeError::Listen { address, source },
    })
}

/// Serves until `shutdown`, then finishes what was accepted, for at most [`limits::DRAIN`].
///
/// # Errors
///
/// If the server cannot start, or breaks.
pub async fn serve(
    listener: TcpListener,
    store: Arc<dyn Store>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Served, ServeError> {
    let ingest = IngestService::new(store, Timestamp::now);
    let tally = ingest.tally();
    let (health, health_service) = tonic_health::server::health_reporter();
    say(&health, ServingStatus::Serving).await;

    let router = Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(IngestServer::new(ingest).max_decoding_message_size(limits::MESSAGE_BYTES));

    let (drain, mut draining) = watch::channel(false);
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        stream.inspect(|stream| {
            // An agent waits for its answer; batching small packets only delays it.
            let _ = stream.set_nodelay(true);
        })
    });
    let server = router.serve_with_incoming_shutdown(incoming, async move {
        // An error means that the sender is gone, which is as good a reason to stop.
        let _ = draining.wait_for(|draining| *draining).await;
    });
    tokio::pin!(server, shutdown);
    tokio::select! {
        ended = &mut server => {
            ended?;
            return Ok(Served { tally, cut_off: 0 });
        }
        () = &mut shutdown => {}
    }
    say(&health, ServingStatus::NotServing).await;
    // There is a receiver as long as the server is there.
    let _ = drain.send(true);
    match tokio::time::timeout(limits::DRAIN, server).await {
        Ok(ended) => {
            ended?;
            Ok(Served { tally, cut_off: 0 })
        }
        Err(_) => {
            let cut_off = tally.running();
            Ok(Served { tally, cut_off })
        }
    }
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
