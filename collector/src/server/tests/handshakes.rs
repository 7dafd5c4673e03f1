//! Handshakes: who gets through, who does not and what is said of it, and certificates that change while the server runs.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    sync::{Mutex, PoisonError},
};

use fleetmark_agent::args::AccessArgs;
use rustls::{client::ResolvesClientCert, pki_types::CertificateDer, sign::CertifiedKey};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tracing::subscriber::DefaultGuard;

use super::{
    known::*,
    raw::{PATIENCE, eventually},
    *,
};
use crate::{
    registry::{AuditEntry, Event},
    remote::Remote,
};

/// What the log says while this is there, in this thread.
pub(super) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Log {
    pub(super) fn begin() -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Writer(Arc::clone(&writer)))
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(text.clone()).unwrap()
    }

    /// Waits until it says so.
    pub(super) async fn says(&self, words: &str) -> String {
        let line = || self.text().lines().find(|line| line.contains(words)).map(str::to_owned);
        let said = tokio::time::timeout(PATIENCE / 2, eventually(async || line()));
        said.await.unwrap_or_else(|_| panic!("nobody says {words:?}:\n{}", self.text()))
    }
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const URI: &str = "fleetmark://agent/a";

/// Whether somebody is answered at all.
async fn health(channel: Channel) -> Result<(), tonic::Status> {
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel).check(request).await.map(|_| ())
}

#[tokio::test]
async fn who_speaks_plaintext_gets_no_byte() {
    let log = Log::begin();
    let collector = start_known(Asked::default()).await;
    for words in
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut socket = TcpStream::connect(collector.address).await.unwrap();
        socket.write_all(words).await.unwrap();
        let mut said = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said)).await.unwrap();
        assert_eq!(said, b"");
    }
    let line = log.says("it speaks plaintext").await;
    assert!(line.contains("WARN") && line.contains("no TLS with 127.0.0.1:"), "{line}");
    let plain = Channel::from_shared(format!("http://{}", collector.address)).unwrap();
    let refused = match plain.connect().await {
        Ok(channel) => health(channel).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    health(collector.dial(None).await).await.unwrap();
}

#[tokio::test]
async fn what_is_no_tls_is_told_in_one_line_however_often_it_comes() {
    let log = Log::begin();
    let collector = start_known(Asked::default()).await;
    // What begins with 22 looks like a handshake at first.
    for bytes in [
        &[0; 64][..],
        &[0xff; 64],
        &[22, 3, 1, 0, 4, 0xff, 0, 0, 0],
        &[22, 3, 1, 0xff, 0xff, 1],
        &[22, 0xff, 0xff, 0, 4, 1, 0, 0, 0],
    ] {
        let mut socket = TcpStream::connect(collector.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said)).await.unwrap();
        assert!(said.len() < 16, "at most an alert: {said:?}");
    }
    log.says("what it sends is no TLS").await;
    let text = log.text();
    assert_eq!(text.lines().filter(|line| line.contains("no TLS with")).count(), 1, "{text}");
    health(collector.dial(None).await).await.unwrap();
}

#[tokio::test]
async fn certificates_that_do_not_count_are_told_by_their_kind() {
    type Make = fn(&Known) -> Card;
    let wrong: [(Make, &str); 5] = [
        (
            |known| Other::new().card(URI, known.now() + 1.hours()),
            "was signed by an authority that is not trusted here",
        ),
        (|known| known.others.card(URI, known.now() - 1.hours()), "has ended"),
        (|_| self_signed(rcgen::IsCa::NoCa), "was signed by an authority that is not trusted here"),
        (
            |_| self_signed(rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            "is an authority's, not a client's",
        ),
        (
            |known| Card { certificate: vec![1, 2, 3].into(), ..known.stranger("a") },
            "cannot be read",
        ),
    ];
    // Of each kind a line is said at once, whatever was said of others just before.
    let log = Log::begin();
    let collector = start_known(Asked::default()).await;
    let mut audit = Vec::new();
    for (make, says) in wrong {
        let card = make(&collector);
        let mut config = collector.client(None);
        config.client_auth_cert_resolver = Arc::new(Shows::new(&card));
        let channel = dial(collector.address, config).await.unwrap();
        health(channel).await.unwrap_err();
        let line = log.says(says).await;
        assert!(line.contains("no TLS with 127.0.0.1:"), "{line}");
        assert!(line.contains("its certificate"), "{line}");
        health(collector.dial(None).await).await.unwrap();
        audit.push(format!("TLS handshake: its certificate {says}"));
    }
    let entries = eventually(async || {
        let entries = collector.registry.audit(None).await.unwrap();
        (entries.len() >= audit.len()).then_some(entries)
    });
    let entries = entries.await;
    let details: Vec<_> = entries.iter().map(|entry| entry.detail.clone()).collect();
    assert_eq!(details, audit);
    for AuditEntry { event, who, address, .. } in entries {
        assert_eq!((event, who.as_str(), address.as_str()), (Event::Refused, "", "127.0.0.1"));
    }
}

#[tokio::test]
async fn what_is_no_certificate_leaves_no_line_in_the_audit_trail() {
    let log = Log::begin();
    let collector = start_known(Asked::default()).await;
    let mut socket = TcpStream::connect(collector.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    log.says("it speaks plaintext").await;
    drop(TcpStream::connect(collector.address).await.unwrap());
    let card = self_signed(rcgen::IsCa::NoCa);
    let mut config = collector.client(None);
    config.client_auth_cert_resolver = Arc::new(Shows::new(&card));
    health(dial(collector.address, config).await.unwrap()).await.unwrap_err();
    let entries = eventually(async || {
        let entries = collector.registry.audit(None).await.unwrap();
        (!entries.is_empty()).then_some(entries)
    });
    let details: Vec<_> = entries.await.into_iter().map(|entry| entry.detail).collect();
    let says = "TLS handshake: its certificate was signed by an authority that is not trusted here";
    assert_eq!(details, [says], "what came before would stand before it");
}

fn self_signed(is_ca: rcgen::IsCa) -> Card {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = is_ca;
    params.subject_alt_names = vec![rcgen::SanType::URI(URI.try_into().unwrap())];
    Card { certificate: params.self_signed(&key).unwrap().into(), key }
}

/// Shows a certificate, whatever it is.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl Shows {
    fn new(card: &Card) -> Self {
        let key = crate::authority::provider().key_provider.load_private_key(card.key_der());
        let chain: Vec<CertificateDer<'static>> = vec![card.certificate.clone()];
        Self(Arc::new(CertifiedKey::new(chain, key.unwrap())))
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn who_shows_anothers_certificate_hears_who_can_help() {
    let collector = start_known(Asked::default()).await;
    let soon = collector.now() + 1.hours();
    let file = |name: &str, text: &str| {
        let path = collector.folder.path().join(name);
        fs::write(&path, text).unwrap();
        Some(path)
    };
    let url = format!("https://localhost:{}", collector.address.port()).parse().unwrap();
    for ((certificate, key), says) in [
        (
            collector.others.certificate("fleetmark://reader/x", collector.now() - 1.hours()),
            "if it has ended, the authority that issued it must issue another",
        ),
        (Other::new().certificate("fleetmark://reader/x", soon), "of --tls-cert (UnknownCA)"),
    ] {
        let named = AccessArgs {
            tls_ca: Some(collector.folder.path().join("authority").join("ca.pem")),
            tls_cert: file("cert.pem", &certificate.pem()),
            tls_key: file("key.pem", &key.serialize_pem()),
            ..AccessArgs::default()
        };
        let error = match Remote::connect(&url, &named).await {
            Ok(remote) => remote.agents().await.unwrap_err(),
            Err(error) => error,
        };
        let line = fleetmark_proto::shell::one_line(&error);
        assert!(line.contains(says) && !line.contains("enroll"), "{line}");
    }
}

#[tokio::test]
async fn a_client_that_believes_somebody_else_is_told_of() {
    let log = Log::begin();
    let collector = start_known(Asked::default()).await;
    let mut roots = rustls::RootCertStore::empty();
    let other = Authority::make(&[], Timestamp::now()).unwrap();
    roots.add(other.certificate_der().to_vec().into()).unwrap();
    assert!(dial(collector.address, client(roots, None)).await.is_err());
    let line = log.says("it does not trust this collector's certificate").await;
    assert!(line.contains("no TLS with 127.0.0.1:"), "{line}");
    // A client that wants another name is told of as well, though the line before is new.
    let tcp = TcpStream::connect(collector.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(collector.client(None)));
    let name = rustls::pki_types::ServerName::try_from("elsewhere").unwrap();
    connector.connect(name, tcp).await.unwrap_err();
    log.says("it is not the one that host expects: it has another name").await;
}

#[tokio::test]
async fn refused_calls_are_told_with_address_and_reason() {
    let log = Log::begin();
    let collector = start_known(Asked::default()).await;
    submit(&collector.dial(None).await, vec![]).await.unwrap_err();
    log.says("refused somebody at 127.0.0.1: Ingest/Submit: this call needs a certificate").await;
    submit(&collector.dial(Some(&collector.stranger("b"))).await, vec![]).await.unwrap_err();
    log.says("refused agent b at 127.0.0.1: Ingest/Submit: host b is not enrolled here").await;
}

#[tokio::test]
async fn handshakes_have_their_time_and_hold_nobody_up() {
    let log = Log::begin();
    let soon = Duration::from_millis(200);
    let bounds = Bounds { preface: soon, ..Bounds::default() };
    let collector = start_known(Asked { bounds, ..Asked::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(collector.address).await.unwrap());
    }
    health(collector.dial(None).await).await.unwrap();
    for socket in silent {
        super::raw::closed(socket).await;
    }
    log.says("it took too long").await;
}

#[tokio::test]
async fn idle_connections_are_closed_over_tls_and_unix_sockets_too() {
    let soon = Duration::from_millis(200);
    let bounds = Bounds { idle: soon, ..Bounds::default() };
    let collector = start_known(Asked { bounds, ..Asked::default() }).await;
    let path = collector.folder.path().join("own.sock");
    let mut near = tokio::net::UnixStream::connect(path).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    near.write_all(preface).await.unwrap();
    let tcp = TcpStream::connect(collector.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(collector.client(None)));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut far = connector.connect(name, tcp).await.unwrap();
    far.write_all(preface).await.unwrap();
    far.flush().await.unwrap();
    let mut said = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, far.read_to_end(&mut said)).await.unwrap();
    let _ = tokio::time::timeout(PATIENCE, near.read_to_end(&mut said)).await.unwrap();
    assert!(!said.is_empty(), "both spoke HTTP/2 before");
}

#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let log = Log::begin();
    let collector = start_known(Asked::default()).await;
    let own = collector.folder.path().join("authority");
    let before = shown(&collector).await;
    assert_eq!(before, collector.authority.server_chain());

    fs::write(own.join("server.pem"), "nonsense").unwrap();
    let line = log.says("those before stay in use").await;
    assert!(line.contains("server.pem holds no certificate"), "{line}");
    assert_eq!(shown(&collector).await, before);

    // A year later, which is not to be waited for: what was broken is made anew from the authority's key.
    let other = Authority::make(&[], Timestamp::now()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other");
    other.save(&path).unwrap();
    for file in ["server.key", "server.pem"] {
        fs::copy(path.join(file), own.join(file)).unwrap();
    }
    log.says("the certificates have changed, and were read again").await;
    let after = shown(&collector).await;
    assert_eq!(after[0], other.server_chain()[0]);

    // Another authority altogether is for a restart: hosts would know nothing of it.
    for file in ["ca.key", "ca.pem", "server.key", "server.pem"] {
        fs::remove_file(own.join(file)).unwrap();
        fs::copy(path.join(file), own.join(file)).unwrap();
    }
    log.says("restart it to go by that one").await;
    assert_eq!(shown(&collector).await, after);
}

/// The certificates that a collector shows.
async fn shown(collector: &Known) -> Vec<CertificateDer<'static>> {
    let connector = tokio_rustls::TlsConnector::from(Arc::new({
        let mut config = collector.client(None);
        config.dangerous().set_certificate_verifier(Arc::new(Believes));
        config
    }));
    let tcp = TcpStream::connect(collector.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, tcp).await.unwrap();
    let certificates = stream.get_ref().1.peer_certificates().unwrap();
    certificates.iter().map(|certificate| certificate.clone().into_owned()).collect()
}

/// Believes everybody.
#[derive(Debug)]
struct Believes;

impl rustls::client::danger::ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _end: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &rustls::pki_types::ServerName<'_>,
        _ocsp: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        crate::authority::provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn the_server_gets_another_certificate_in_time() {
    let collector = start_known(Asked::default()).await;
    let before = shown(&collector).await;
    collector.pass((244 * 24).hours());
    let after = eventually(async || {
        let after = shown(&collector).await;
        (after[0] != before[0]).then_some(after)
    })
    .await;
    assert_eq!(after[1], before[1], "of the same authority");
}

#[tokio::test]
async fn a_socket_is_for_its_owner_and_goes_with_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("own.sock");
    let socket = bind_socket(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let taken = bind_socket(&path).unwrap_err();
    assert!(taken.to_string().contains("is in use"), "{taken}");
    drop(socket);
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind by somebody who was killed");
    drop(bind_socket(&path).unwrap());
    fs::write(&path, "a file").unwrap();
    bind_socket(&path).unwrap_err();
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
}
