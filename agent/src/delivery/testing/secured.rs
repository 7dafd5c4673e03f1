//! A collector in memory that believes certificates, issues them, and tells the time by the paused clock.

use std::{
    collections::{HashSet, VecDeque},
    future, io,
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use fleetmark_proto::{
    convert::{Encoded, Outcome},
    enrollment::{Issued, Join, Renewal},
    host::HostIdSource,
    id::{Digest, HostId},
    role::{Role, Subject},
    v1::{
        self, EnrollRequest, RenewRequest, SubmitRequest, SubmitResponse,
        enrollment_server::{Enrollment, EnrollmentServer},
        ingest_server::{Ingest, IngestServer},
    },
};
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::mpsc,
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Connected},
};

use crate::{
    certificate,
    clock::Clock,
    credentials::{Credentials, Key, Membership},
    delivery::connector::{Reach, Stream},
};

pub(crate) const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The first moment of every test.
pub(crate) fn begin() -> Timestamp {
    "2026-11-27T18:00:00Z".parse().unwrap()
}

/// A clock that goes with the paused one, and is so far ahead of the true time.
pub(crate) fn clock(ahead: SignedDuration) -> Clock {
    let start = Instant::now();
    Clock::new(move || begin() + ahead + start.elapsed())
}

/// What a collector is and did.
#[derive(Default)]
pub(crate) struct State {
    /// Whether nobody can reach it.
    pub(crate) down: bool,
    /// Hosts that it does not let in any more.
    pub(crate) revoked: HashSet<HostId>,
    /// Whether it closes the connections of those whom it does not let in, without a word.
    pub(crate) silent: bool,
    /// What enrolments and renewals are answered instead.
    pub(crate) refusals: VecDeque<Status>,
    /// Hosts that joined, and that renewed.
    pub(crate) joined: Vec<HostId>,
    pub(crate) renewed: Vec<(HostId, Timestamp)>,
    /// Reports that it took, with who brought them.
    pub(crate) taken: Vec<(HostId, Encoded)>,
    /// Connections that were made to it.
    pub(crate) dials: usize,
}

/// The collector, and what its certificates are made with.
#[derive(Clone)]
pub(crate) struct Secured(Arc<Inner>);

struct Inner {
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
    names: Vec<String>,
    clock: Clock,
    state: Mutex<State>,
    door: mpsc::UnboundedSender<DuplexStream>,
}

fn at(time: Timestamp) -> rcgen::CertificateParams {
    let mut parameters = CertificateParams::default();
    let seconds = Duration::from_secs(u64::try_from(time.as_second()).unwrap());
    parameters.not_before = date_time_ymd(1970, 1, 1) + seconds;
    parameters.distinguished_name = DistinguishedName::new();
    parameters
}

fn authority(
    begins_at: Timestamp,
    life: SignedDuration,
) -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = at(begins_at);
    parameters.not_after = parameters.not_before + 10 * life.unsigned_abs();
    parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, "authority");
    let certificate = parameters.self_signed(&key).unwrap().der().clone();
    (certificate, Issuer::new(parameters, key))
}

impl Secured {
    /// One that is known by these names, and has been there for a day.
    pub(crate) fn start(names: &[&str]) -> Self {
        Self::with(names, begin() - DAY, SignedDuration::from_hours(365 * 24))
    }

    /// One whose own certificate begins then and lives so long.
    pub(crate) fn with(names: &[&str], begins_at: Timestamp, life: SignedDuration) -> Self {
        let (authority, issuer) = authority(begins_at, life);
        let shown = authority.clone();
        Self::showing(names, begins_at, life, (authority, issuer), Some(shown))
    }

    /// One by an authority of its own that shows another's in its place.
    pub(crate) fn posing(names: &[&str], another: &Self) -> Self {
        let (begins_at, life) = (begin() - DAY, SignedDuration::from_hours(365 * 24));
        Self::showing(names, begins_at, life, authority(begins_at, life), Some(another.authority()))
    }

    /// One whose certificate nobody signed but itself.
    pub(crate) fn self_signed(names: &[&str]) -> Self {
        let (begins_at, life) = (begin() - DAY, SignedDuration::from_hours(365 * 24));
        Self::showing(names, begins_at, life, authority(begins_at, life), None)
    }

    fn showing(
        names: &[&str],
        begins_at: Timestamp,
        life: SignedDuration,
        (authority, issuer): (CertificateDer<'static>, Issuer<'static, KeyPair>),
        shown: Option<CertificateDer<'static>>,
    ) -> Self {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let server_key = KeyPair::generate().unwrap();
        let mut parameters = at(begins_at);
        parameters.not_after = parameters.not_before + life.unsigned_abs();
        parameters.subject_alt_names =
            names.iter().map(|name| SanType::DnsName(name.as_str().try_into().unwrap())).collect();
        parameters.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        let server = match shown {
            Some(_) => parameters.signed_by(&server_key, &issuer),
            None => parameters.self_signed(&server_key),
        };
        let chain = std::iter::once(server.unwrap().der().clone()).chain(shown).collect();

        let (door, visitors) = mpsc::unbounded_channel();
        let (state, clock) = (Mutex::default(), clock(SignedDuration::ZERO));
        let inner = Inner { issuer, authority, names, clock, state, door };
        let secured = Self(Arc::new(inner));
        let key = PrivatePkcs8KeyDer::from(server_key.serialize_der()).into();
        secured.serve(chain, key, visitors);
        secured
    }

    fn serve(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        mut visitors: mpsc::UnboundedReceiver<DuplexStream>,
    ) {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.authority()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .unwrap();
        let mut config =
            ServerConfig::builder_with_details(provider, Arc::new(self.0.clock.clone()))
                .with_protocol_versions(&[&TLS13])
                .unwrap()
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
                .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (inner, mut shaken) = mpsc::unbounded_channel();
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(visitor) = visitors.recv().await {
                let (acceptor, inner, this) = (acceptor.clone(), inner.clone(), this.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(visitor).await else { return };
                    let peer = Peer::of(&stream);
                    let is_out = peer.0.as_ref().is_some_and(|host| this.is_revoked(host));
                    if !(is_out && this.state().silent) {
                        let _ = inner.send(Served { stream, peer });
                    }
                });
            }
        });
        let incoming = stream::poll_fn(move |context| {
            shaken.poll_recv(context).map(|served| served.map(Ok::<_, io::Error>))
        });
        let server = Server::builder()
            .add_service(IngestServer::new(self.clone()))
            .add_service(EnrollmentServer::new(self.clone()))
            .serve_with_incoming(incoming);
        tokio::spawn(server);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn is_revoked(&self, host: &HostId) -> bool {
        self.state().revoked.contains(host)
    }

    /// How it is reached: by its names, and by no other.
    pub(crate) fn reach(&self) -> Reach {
        let this = self.clone();
        Reach::new(move |uri, _| {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let mut state = this.state();
            state.dials += 1;
            let is_there =
                !state.down && this.0.names.iter().any(|name| uri.host() == Some(name.as_str()));
            let ours: Box<dyn Stream> = Box::new(ours);
            Box::pin(future::ready(match is_there && this.0.door.send(theirs).is_ok() {
                true => Ok(ours),
                false => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            }))
        })
    }

    pub(crate) fn authority(&self) -> CertificateDer<'static> {
        self.0.authority.clone()
    }

    pub(crate) fn pin(&self) -> Digest {
        certificate::key_digest(&self.authority()).unwrap()
    }

    /// What a host has that joined now.
    pub(crate) fn credentials(&self, host: &str) -> Credentials {
        let host: HostId = host.parse().unwrap();
        let key = Key::new().unwrap();
        let certificate = self.sign(&key.request().unwrap(), &host).unwrap();
        Credentials {
            membership: Membership {
                host,
                id_source: HostIdSource::Flag,
                labels: Default::default(),
            },
            endpoint: format!("https://{}:7600", self.0.names[0]).parse().unwrap(),
            key,
            certificate: certificate.into(),
            authority: self.authority(),
            believed: vec![self.authority()],
        }
    }

    /// A certificate for this request, of 24 hours.
    fn sign(&self, request: &[u8], host: &HostId) -> Option<Vec<u8>> {
        let mut request = CertificateSigningRequestParams::from_der(&request.into()).ok()?;
        let subject = Subject { role: Role::Agent, name: host.clone() };
        let mut parameters = at(self.0.clock.now());
        parameters.not_after = parameters.not_before + DAY.unsigned_abs();
        parameters.subject_alt_names = vec![SanType::URI(subject.uri().as_str().try_into().ok()?)];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.params = parameters;
        Some(request.signed_by(&self.0.issuer).ok()?.der().to_vec())
    }

    fn issue(&self, request: &[u8], host: &HostId) -> Result<Response<v1::Issued>, Status> {
        let certificate =
            self.sign(request, host).ok_or_else(|| Status::invalid_argument("no request"))?;
        let ends_at = certificate::life(&certificate.as_slice().into()).unwrap().ends_at;
        let now = self.0.clock.now();
        let authority = self.authority().to_vec();
        let labels = [("rack".to_owned(), "7".to_owned())].into();
        let issued = Issued { certificate, authority, ends_at, now, labels };
        Ok(Response::new(issued.into_wire()))
    }
}

#[tonic::async_trait]
impl Enrollment for Secured {
    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<v1::Issued>, Status> {
        if let Some(status) = self.state().refusals.pop_front() {
            return Err(status);
        }
        let join = Join::from_wire(request.into_inner()).unwrap();
        self.state().joined.push(join.host_id.clone());
        self.issue(&join.request, &join.host_id)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<v1::Issued>, Status> {
        if let Some(status) = self.state().refusals.pop_front() {
            return Err(status);
        }
        let Renewal { certificate, request } = Renewal::from_wire(request.into_inner()).unwrap();
        let host = certificate::subject(&certificate.as_slice().into()).unwrap().name;
        if self.is_revoked(&host) {
            return Err(Status::permission_denied("this host was revoked"));
        }
        self.state().renewed.push((host.clone(), self.0.clock.now()));
        self.issue(&request, &host)
    }
}

#[tonic::async_trait]
impl Ingest for Secured {
    async fn submit(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        let Some(Peer(Some(host))) = request.extensions().get::<Peer>().cloned() else {
            return Err(Status::unauthenticated("nobody knows you"));
        };
        if self.is_revoked(&host) {
            return Err(Status::unauthenticated("this host was revoked"));
        }
        let mut answers = Vec::new();
        for envelope in request.into_inner().reports {
            let report = Encoded::from_envelope(envelope).unwrap();
            answers.push(Outcome::Stored.into_answer(report.id.as_bytes().to_vec()));
            self.state().taken.push((host.clone(), report));
        }
        Ok(Response::new(SubmitResponse { answers }))
    }
}

/// Who is at the other end, by its certificate.
#[derive(Clone)]
struct Peer(Option<HostId>);

impl Peer {
    fn of(stream: &TlsStream<DuplexStream>) -> Self {
        let certificates = stream.get_ref().1.peer_certificates();
        let first = certificates.and_then(|certificates| certificates.first());
        Self(first.and_then(|first| Some(certificate::subject(first)?.name)))
    }
}

struct Served {
    stream: TlsStream<DuplexStream>,
    peer: Peer,
}

impl Connected for Served {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Served {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Served {
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
