//! Connects: over TCP, with TLS or without, or to a socket on this host.

use std::{
    error::Error,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};
use tokio_rustls::TlsConnector;
use tonic::codegen::{Service, http::Uri};

use super::fault::{Fault, Spoken};

/// Where a connection leads.
#[derive(Clone)]
pub(super) enum Target {
    /// To the host and port of the endpoint, in plaintext.
    Plaintext,
    /// There, with TLS, to who proves this name.
    Tls(Arc<ClientConfig>, ServerName<'static>),
    /// To the socket at this path.
    Socket(PathBuf),
}

/// Why there is no connection.
pub(super) type Failure = Box<dyn Error + Send + Sync>;
pub(super) type Reaching = Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, Failure>> + Send>>;

/// Reaches a host and port within a time.
#[derive(Clone)]
pub(super) struct Reach(Arc<dyn Fn(Uri, Duration) -> Reaching + Send + Sync>);

impl Reach {
    /// Over TCP, with the name resolved anew each time.
    pub(super) fn tcp() -> Self {
        Self::new(|uri, patience| Box::pin(tcp(uri, patience)))
    }

    /// By other means.
    pub(super) fn new(reach: impl Fn(Uri, Duration) -> Reaching + Send + Sync + 'static) -> Self {
        Self(Arc::new(reach))
    }
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    reach: Reach,
    target: Target,
    /// For one connection, all addresses of its host together.
    patience: Duration,
    seen: Seen,
}

/// What was found wrong with a connection when it was used.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    first: Arc<OnceLock<Fault>>,
    /// Whether a certificate was shown that was named.
    shows_named: bool,
}

impl Seen {
    pub(super) fn fault(&self) -> Option<Fault> {
        self.first.get().cloned()
    }

    fn note(&self, fault: Fault) {
        // The first is the cause of all others.
        let _ = self.first.set(self.of_shown(fault));
    }

    /// A fault, by what was shown.
    fn of_shown(&self, fault: Fault) -> Fault {
        if self.shows_named { fault.of_named() } else { fault }
    }
}

impl Connector {
    /// Connections of a kind, and whether they show a certificate that was named.
    pub(super) fn new(reach: Reach, target: Target, patience: Duration, shows_named: bool) -> Self {
        let seen = Seen { first: Arc::default(), shows_named };
        Self { reach, target, patience, seen }
    }

    /// What will be found wrong with its connections.
    pub(super) fn seen(&self) -> Seen {
        self.seen.clone()
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Wire>, Failure> {
        let Self { reach, target, patience, seen } = self;
        let (stream, spoken): (Box<dyn Stream>, _) = match target {
            Target::Socket(path) => (Box::new(UnixStream::connect(path).await?), Spoken::Plaintext),
            Target::Plaintext => ((reach.0)(uri, patience).await?, Spoken::Plaintext),
            Target::Tls(config, name) => {
                let stream = (reach.0)(uri, patience).await?;
                (Box::new(tls(stream, config, name, &seen).await?), Spoken::Tls)
            }
        };
        Ok(TokioIo::new(Wire { stream, spoken, heard: false, seen }))
    }
}

async fn tcp(uri: Uri, patience: Duration) -> Result<Box<dyn Stream>, Failure> {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(patience));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    Ok(Box::new(tcp.call(uri).await?.into_inner()))
}

async fn tls(
    stream: Box<dyn Stream>,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    seen: &Seen,
) -> Result<impl Stream + use<>, Failure> {
    let stream =
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
            match (Fault::of(&error), error.kind()) {
                (Some(fault), _) => seen.of_shown(fault).into(),
                (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                    Fault::Silent(Spoken::Handshake).into()
                }
                _ => Failure::from(error),
            }
        })?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(Fault::NoHttp2.into());
    }
    Ok(stream)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// One connection, of which it is kept how it broke: what passes HTTP/2 loses the cause.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    spoken: Spoken,
    /// Whether anything came.
    heard: bool,
    seen: Seen,
}

impl Wire {
    /// What the first bytes from the other end tell.
    fn hear(&mut self, bytes: &[u8]) {
        if self.heard {
            return;
        }
        self.heard = !bytes.is_empty();
        match bytes {
            [] => self.seen.note(Fault::Silent(self.spoken)),
            // An alert or a handshake record of any version of TLS; a frame of HTTP/2 cannot begin so.
            [0x15 | 0x16, 0x03, ..] if self.spoken == Spoken::Plaintext => {
                self.seen.note(Fault::Tls);
            }
            _ => {}
        }
    }

    /// Passes on what came of writing; where the other end is gone, that may be heard of here first.
    fn look<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            self.fail(error);
        }
        polled
    }

    fn fail(&mut self, error: &io::Error) {
        if let Some(fault) = Fault::of(error) {
            self.seen.note(fault);
        } else if !self.heard {
            self.seen.note(Fault::Silent(self.spoken));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &polled {
            Poll::Ready(Ok(())) => self.hear(&buffer.filled()[before..]),
            Poll::Ready(Err(error)) => self.fail(error),
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.look(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.look(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.look(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(spoken: Spoken) -> (Wire, Seen) {
        let seen = Seen::default();
        let stream = Box::new(tokio::io::empty());
        (Wire { stream, spoken, heard: false, seen: seen.clone() }, seen)
    }

    #[test]
    fn what_was_heard_first_tells_how_the_other_end_speaks() {
        let heard = |spoken, bytes: &[u8]| {
            let (mut wire, seen) = wire(spoken);
            wire.hear(bytes);
            wire.fail(&io::ErrorKind::BrokenPipe.into());
            seen.fault()
        };
        assert_eq!(heard(Spoken::Plaintext, &[0x15, 0x03, 0x03, 0, 2]), Some(Fault::Tls));
        assert_eq!(heard(Spoken::Plaintext, &[0, 0, 18, 4]), None, "HTTP/2, and then it broke");
        assert_eq!(heard(Spoken::Tls, &[]), Some(Fault::Silent(Spoken::Tls)));
    }

    #[test]
    fn a_connection_on_which_nothing_came_before_it_broke_was_closed_silently() {
        let (mut wire, seen) = wire(Spoken::Plaintext);
        let broken: Poll<io::Result<()>> = Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        assert!(wire.look(broken).is_ready());
        assert_eq!(seen.fault(), Some(Fault::Silent(Spoken::Plaintext)));
    }
}
