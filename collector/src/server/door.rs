//! Who comes in. Each handshake is a task of its own and has its time; what fails is said, seldom, with its reason.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use fleetmark_agent::clock::Clock;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

mod failure;

use failure::Failure;

use super::{
    Bounds,
    arrival::{Arrival, Shown},
    connections::{Connection, Wire},
    listening::Socket,
    tls::{Spoken, Tls},
    trail::Trail,
};
use crate::{
    authority::{self, Authority, AuthorityError},
    identity::Address,
    registry::{AuditEntry, Event},
    seldom::{Seldom, SeldomEach, lately},
};

/// How long nothing is accepted after that failed, as it does while there are no files left to open.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that are ready and that nobody has taken yet.
const READY: usize = 16;
/// What every handshake begins with: a record of that type.
const HANDSHAKE: u8 = 22;
/// How long whoever was refused has to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// How much of what it goes on sending is read meanwhile, in bytes.
const FAREWELL_BYTES: u64 = 64 * 1024;

/// Lets connections in, no more at a time than the bounds say: further ones wait until others end.
pub(super) struct Door {
    bounds: Bounds,
    /// Without, plaintext is spoken.
    tls: Option<Arc<Tls>>,
    spoken: Spoken,
    authority: Option<Arc<Authority>>,
    slots: Arc<Semaphore>,
    witness: Witness,
    said: Said,
}

/// Where it is written down whose certificates are refused, and when.
#[derive(Clone)]
pub(super) struct Witness {
    /// Without, nowhere.
    pub(super) trail: Option<Arc<Trail>>,
    pub(super) clock: Clock,
}

/// What is said of who does not come in.
#[derive(Default)]
struct Said {
    full: Seldom,
    failing: Seldom,
    plaintext: Seldom,
    garbage: Seldom,
    slow: Seldom,
    certificate: SeldomEach,
    distrusted: SeldomEach,
    other: Seldom,
}

type Out = mpsc::Sender<io::Result<Connection>>;

impl Door {
    pub(super) fn new(
        bounds: Bounds,
        tls: Option<Arc<Tls>>,
        spoken: Spoken,
        authority: Option<Arc<Authority>>,
        witness: Witness,
    ) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(bounds.connections));
        Arc::new(Self { bounds, tls, spoken, authority, slots, witness, said: Said::default() })
    }

    /// The connections of all listeners, which are closed when nobody takes these any more.
    pub(super) fn open(
        self: Arc<Self>,
        network: Vec<TcpListener>,
        socket: Option<Socket>,
    ) -> ReceiverStream<io::Result<Connection>> {
        let (out, connections) = mpsc::channel(READY);
        for listener in network {
            tokio::spawn(Arc::clone(&self).network(listener, out.clone()));
        }
        if let Some(socket) = socket {
            tokio::spawn(Arc::clone(&self).socket(socket, out));
        }
        ReceiverStream::new(connections)
    }

    async fn network(self: Arc<Self>, listener: TcpListener, out: Out) {
        loop {
            let accepted = |cx: &mut Context<'_>| listener.poll_accept(cx);
            let Some(((stream, from), slot)) = self.next(accepted, &out).await else { return };
            // An agent waits for its answer; batching small packets only delays it.
            let _ = stream.set_nodelay(true);
            match &self.tls {
                None => {
                    let address = Address::Ip(from.ip().to_canonical());
                    let arrival = Arrival { address, shown: Shown::Nothing };
                    self.let_in(Box::new(stream), arrival, slot, Instant::now(), &out).await;
                }
                Some(tls) => {
                    let (door, tls, out) = (Arc::clone(&self), Arc::clone(tls), out.clone());
                    tokio::spawn(async move { door.greet(&tls, stream, from, slot, &out).await });
                }
            }
        }
    }

    async fn socket(self: Arc<Self>, socket: Socket, out: Out) {
        loop {
            let accepted = |cx: &mut Context<'_>| socket.listener.poll_accept(cx);
            let Some(((stream, _), slot)) = self.next(accepted, &out).await else { return };
            let arrival = Arrival { address: Address::Unix, shown: Shown::Nothing };
            self.let_in(Box::new(stream), arrival, slot, Instant::now(), &out).await;
        }
    }

    /// The next connection, with its slot; `None` when nobody waits for it any more.
    async fn next<T>(
        &self,
        accepted: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
        out: &Out,
    ) -> Option<(T, OwnedSemaphorePermit)> {
        tokio::select! {
            () = out.closed() => None,
            next = async {
                let connection = self.accept(accepted).await;
                if self.slots.available_permits() == 0 {
                    self.said.full.happened(|_| {
                        let most = self.bounds.connections;
                        tracing::warn!("{most} connections are open; further ones wait until others end");
                    });
                }
                // The semaphore is never closed.
                let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
                Some((connection, slot))
            } => next,
        }
    }

    async fn accept<T>(
        &self,
        mut accepted: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> T {
        loop {
            match poll_fn(&mut accepted).await {
                Ok(connection) => return connection,
                Err(error) => {
                    self.said.failing.happened(|times| {
                        tracing::warn!("cannot accept a connection, {times} times: {error}");
                    });
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn let_in(
        &self,
        wire: Box<dyn Wire>,
        arrival: Arrival,
        slot: OwnedSemaphorePermit,
        came: Instant,
        out: &Out,
    ) {
        let slots = Arc::clone(&self.slots);
        let connection = Connection::new(wire, arrival, slot, slots, came, self.bounds);
        // If nobody takes it, it ends here.
        let _ = out.send(Ok(connection)).await;
    }

    /// Has a connection shake hands, and lets it in.
    async fn greet(
        &self,
        tls: &Tls,
        stream: TcpStream,
        from: SocketAddr,
        slot: OwnedSemaphorePermit,
        out: &Out,
    ) {
        let came = Instant::now();
        let shaking = shake(tls.config(self.spoken), stream);
        let handshake = timeout_at(came + self.bounds.preface, shaking);
        match handshake.await.unwrap_or(Err(Failure::TooSlow)) {
            Ok(stream) => {
                let address = Address::Ip(from.ip().to_canonical());
                let arrival = Arrival { address, shown: self.shown(&stream) };
                self.let_in(Box::new(stream), arrival, slot, came, out).await;
            }
            Err(failure) => self.say(from, &failure),
        }
    }

    /// What was shown in a handshake, which has checked who signed it.
    fn shown(&self, stream: &TlsStream<TcpStream>) -> Shown {
        let (_, session) = stream.get_ref();
        let Some(certificate) = session.peer_certificates().and_then(<[_]>::first) else {
            return Shown::Nothing;
        };
        let read = match self.authority.as_ref().map(|own| own.read_own(certificate)) {
            None | Some(Err(AuthorityError::Foreign)) => authority::read(certificate),
            Some(read) => read,
        };
        match read {
            Ok((subject, certificate)) => Shown::Certificate(subject, certificate),
            Err(error) => Shown::Nobody(error.to_string()),
        }
    }

    fn say(&self, from: SocketAddr, failure: &Failure) {
        let line = |times| tracing::warn!("no TLS with {from}: {failure}{}", lately(times));
        match failure {
            // Whoever only looks whether somebody listens does so.
            Failure::Gone => {}
            Failure::Plaintext => self.said.plaintext.happened(line),
            Failure::Garbage => self.said.garbage.happened(line),
            Failure::TooSlow => self.said.slow.happened(line),
            Failure::Certificate(reason) => {
                self.said.certificate.of(reason.kind).happened(line);
                self.write_down(from, failure);
            }
            Failure::Distrusted(reason) => self.said.distrusted.of(reason.kind).happened(line),
            Failure::Other(_) => self.said.other.happened(line),
        }
    }

    /// Has the audit trail say whose certificate was refused. Who that is stands in it, but nothing proves it.
    fn write_down(&self, from: SocketAddr, failure: &Failure) {
        let Witness { trail: Some(trail), clock } = &self.witness else { return };
        let address = Address::Ip(from.ip().to_canonical());
        trail.write(address, || AuditEntry {
            at: clock.now(),
            event: Event::Refused,
            who: String::new(),
            address: address.to_string(),
            detail: format!("TLS handshake: {failure}"),
        });
    }
}

/// A handshake. Nobody who speaks something else gets a byte.
async fn shake(
    config: Arc<ServerConfig>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Failure> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first == [HANDSHAKE] => {}
        Ok(1) => {
            see_off(stream).await;
            // A protocol that people know begins with a word.
            let [first] = first;
            let is_word = first.is_ascii_alphabetic();
            return Err(if is_word { Failure::Plaintext } else { Failure::Garbage });
        }
        _ => return Err(Failure::Gone),
    }
    let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
    match accepting.await {
        Ok(stream) => Ok(stream),
        Err((error, stream)) => {
            see_off(stream).await;
            Err(Failure::from(error))
        }
    }
}

/// Says that there will be no more, and reads on for a moment. If there were bytes left that nobody read, the connection would be
/// reset, and the alert that says what is wrong be lost on its way.
async fn see_off(mut stream: TcpStream) {
    // All of it is for the other side only.
    let _ = timeout(FAREWELL, async {
        stream.shutdown().await?;
        let mut rest = (&mut stream).take(FAREWELL_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    })
    .await;
}
