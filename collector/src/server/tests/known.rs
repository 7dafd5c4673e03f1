//! A collector that asks who calls, and everybody who may have reason to.

use std::sync::Mutex;

use fleetmark_proto::{
    control::{NewToken, Revoking},
    role::{Role, Subject},
    token::{BearerToken, JoinToken, TokenId},
};
use hyper_util::rt::TokioIo;
use jiff::Span;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tower::service_fn;

use super::*;
use crate::{
    authority,
    control::{By, Desk, Issuing},
    identity::Address,
    registry::Joining,
};

/// How often the collector looks whether something has changed.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// The collector.
pub(super) struct Known {
    pub(super) folder: TempDir,
    pub(super) address: SocketAddr,
    /// Where it serves pages.
    pub(super) pages: SocketAddr,
    pub(super) authority: Arc<Authority>,
    pub(super) registry: Arc<dyn Registry>,
    pub(super) store: Arc<dyn Store>,
    pub(super) others: Other,
    time: Arc<Mutex<Timestamp>>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<Served, ServeError>>,
}

/// What is asked of a collector when it starts.
pub(super) struct Asked {
    pub(super) trust: Trust,
    pub(super) is_tls: bool,
    pub(super) bounds: Bounds,
}

impl Default for Asked {
    fn default() -> Self {
        let bounds = Bounds { refresh: LOOK, refresh_for_strangers: LOOK, ..Bounds::default() };
        Self { trust: Trust::default(), is_tls: true, bounds }
    }
}

/// A certificate with its key, as a client shows them.
pub(super) struct Card {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: KeyPair,
}

impl Card {
    pub(super) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// An authority that is not the collector's own.
pub(super) struct Other {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Other {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = Digest::of(key.public_key_raw()).to_string();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for whoever this URI names, until then.
    pub(super) fn card(&self, uri: &str, ends_at: Timestamp) -> Card {
        let (certificate, key) = self.certificate(uri, ends_at);
        Card { certificate: certificate.into(), key }
    }

    /// The same, with its key.
    pub(super) fn certificate(&self, uri: &str, ends_at: Timestamp) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let seconds = u64::try_from(ends_at.as_second()).unwrap();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

pub(super) async fn start_known(asked: Asked) -> Known {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let time = Arc::new(Mutex::new(now));
    let shown = Arc::clone(&time);
    let clock = Clock::new(move || *shown.lock().unwrap());
    let own = folder.path().join("authority");
    Authority::make(&[], now).unwrap().save(&own).unwrap();
    let authority = Arc::new(Authority::load(&own).unwrap());
    let others = Other::new();
    let path = folder.path().join("others.pem");
    std::fs::write(&path, &others.pem).unwrap();
    let files = TlsFiles { authority: Some(own), server: None, others: Some(path) };
    let tls = asked.is_tls.then(|| Arc::new(Tls::open(files, clock.clone()).unwrap()));
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    let (store, registry) = store::open_both(&url, Mode::Write).await.unwrap();
    let setup = Setup {
        bounds: asked.bounds,
        clock,
        trust: asked.trust,
        tls,
        authority: Some(Arc::clone(&authority)),
        registry: Some(Arc::clone(&registry)),
        endpoint: Some("https://localhost:7600".parse().unwrap()),
        name: None,
        readable: None,
    };
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let socket = bind_socket(&folder.path().join("own.sock")).unwrap();
    let http = bind_http("127.0.0.1:0".parse().unwrap()).unwrap();
    let pages = http.local_addr().unwrap();
    let listeners = Listeners { network: vec![listener], socket: Some(socket), http: vec![http] };
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let ended = tokio::spawn(serve_as(setup, listeners, Arc::clone(&store), shutdown));
    Known { folder, address, pages, authority, registry, store, others, time, stop, ended }
}

impl Known {
    pub(super) fn now(&self) -> Timestamp {
        *self.time.lock().unwrap()
    }

    /// What the collector's clock shows, for an agent with the same.
    pub(super) fn clock(&self) -> impl Fn() -> Timestamp + Send + Sync + 'static {
        let shown = Arc::clone(&self.time);
        move || *shown.lock().unwrap()
    }

    /// Lets time pass, by the collector's clock.
    pub(super) fn pass(&self, span: Span) {
        let mut time = self.time.lock().unwrap();
        *time += span;
    }

    pub(super) fn by(&self) -> By {
        By { who: String::new(), address: Address::Here, at: self.now() }
    }

    pub(super) fn desk(&self) -> Desk {
        let endpoint = Some("https://localhost:7600".parse().unwrap());
        let pin = Some(self.authority.pin());
        Desk::new(Arc::clone(&self.registry), Issuing { endpoint, pin })
    }

    /// A certificate of this collector's for a host, which the registry knows nothing of.
    pub(super) fn stranger(&self, host: &str) -> Card {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let subject = Subject { role: Role::Agent, name: host.parse().unwrap() };
        let signed = self.authority.sign(request.der(), &subject, self.now()).unwrap();
        Card { certificate: signed.certificate.into(), key }
    }

    /// A host that has joined, again if need be.
    pub(super) async fn agent(&self, host: &str) -> Card {
        let asked = NewToken {
            uses: 1,
            replace_host: Some(host.parse().unwrap()),
            ..token(Role::Agent, Duration::from_secs(600))
        };
        self.agent_with(host, asked).await
    }

    /// A host that has joined with such a token.
    pub(super) async fn agent_with(&self, host: &str, asked: NewToken) -> Card {
        let card = self.stranger(host);
        let created = self.desk().create_token(asked, &self.by()).await.unwrap();
        let (_, certificate) = self.authority.read_own(&card.certificate).unwrap();
        let joining = Joining {
            token: created.token.parse::<JoinToken>().unwrap().secret.digest(),
            host_id: host.parse().unwrap(),
            host_name: host.to_owned(),
            key: certificate.key,
            address: Address::Here,
            now: self.now(),
            ends_at: certificate.ends_at,
        };
        self.registry.join(joining).await.unwrap().unwrap();
        card
    }

    pub(super) async fn revoke_agent(&self, host: &str) {
        self.revoke(&format!("fleetmark://agent/{host}"), false).await;
    }

    /// Revokes whoever this URI names, or takes that back.
    pub(super) async fn revoke(&self, uri: &str, undo: bool) {
        let revoking = Revoking { subject: uri.parse().unwrap(), undo };
        self.desk().revoke(revoking, &self.by()).await.unwrap();
    }

    /// A bearer token for this role that lives for so long.
    pub(super) async fn bearer(&self, role: Role, ttl: Duration) -> BearerToken {
        self.bearer_as(token(role, ttl)).await
    }

    /// A bearer token with which this host's agent speaks for it.
    pub(super) async fn agents_bearer(&self, host: &str, ttl: Duration) -> BearerToken {
        let host = Some(host.parse().unwrap());
        self.bearer_as(NewToken { host, ..token(Role::Agent, ttl) }).await
    }

    async fn bearer_as(&self, asked: NewToken) -> BearerToken {
        let created = self.desk().create_token(asked, &self.by()).await.unwrap();
        created.token.parse().unwrap()
    }

    pub(super) async fn revoke_bearer(&self, token: &BearerToken) {
        let id = TokenId::of(&token.secret);
        self.desk().revoke_token(id, &self.by()).await.unwrap();
    }

    /// What a client goes by that believes this collector and shows this.
    pub(super) fn client(&self, card: Option<&Card>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate_der().to_vec().into()).unwrap();
        client(roots, card)
    }

    /// A connection with TLS.
    pub(super) async fn dial(&self, card: Option<&Card>) -> Channel {
        dial(self.address, self.client(card)).await.unwrap()
    }

    /// A connection over the Unix socket.
    pub(super) async fn near(&self) -> Channel {
        let path = self.folder.path().join("own.sock");
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://near").connect_with_connector(connector).await.unwrap()
    }

    pub(super) async fn stop(self) -> Served {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap()
    }
}

/// A token of this role.
pub(super) fn token(role: Role, ttl: Duration) -> NewToken {
    NewToken {
        role,
        host: None,
        uses: 0,
        ttl,
        labels: std::collections::BTreeMap::new(),
        replace_host: None,
        network: None,
        note: String::new(),
    }
}

pub(super) fn client(roots: RootCertStore, card: Option<&Card>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(authority::provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match card {
        None => builder.with_no_client_auth(),
        Some(card) => {
            builder.with_client_auth_cert(vec![card.certificate.clone()], card.key_der()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A connection with TLS. Whether the other side accepts what it shows, its first call tells.
pub(super) async fn dial(
    address: SocketAddr,
    config: ClientConfig,
) -> Result<Channel, tonic::transport::Error> {
    let config = Arc::new(config);
    let connector = service_fn(move |_| {
        let connector = TlsConnector::from(Arc::clone(&config));
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}
