//! Who may have which page: by certificates and tokens that count, and by those that do not any more.

use fleetmark_proto::role::Role;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{known::*, *};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The status with which a page is answered.
async fn status(mut wire: impl AsyncRead + AsyncWrite + Unpin, path: &str, token: &str) -> String {
    let token =
        if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let asked =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}\r\n");
    wire.write_all(asked.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    wire.read_to_end(&mut said).await.unwrap();
    let said = String::from_utf8(said).unwrap();
    said.split(' ').nth(1).unwrap_or_default().to_owned()
}

impl Known {
    /// The statuses of `/healthz`, `/metrics` and a page for whoever shows this.
    async fn visit(&self, card: Option<&Card>, token: &str) -> [String; 3] {
        let mut config = self.client(card);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let mut found = Vec::new();
        for path in ["/healthz", "/metrics", "/runs"] {
            let stream = TcpStream::connect(self.pages).await.unwrap();
            let name = "localhost".try_into().unwrap();
            let tls = TlsConnector::from(Arc::clone(&config)).connect(name, stream).await.unwrap();
            found.push(status(tls, path, token).await);
        }
        found.try_into().unwrap()
    }
}

#[tokio::test]
async fn pages_are_for_readers_and_operators() {
    let collector = start_known(Asked::default()).await;
    let end = collector.now() + HOUR;
    let other = |uri: &str| collector.others.card(uri, end);
    let (reader, operator) = (other("fleetmark://reader/ann"), other("fleetmark://operator/bob"));
    let token = async |role| collector.bearer(role, HOUR).await.expose().to_string();
    let (by_reader, by_operator) = (token(Role::Reader).await, token(Role::Operator).await);
    for answers in [
        collector.visit(Some(&reader), "").await,
        collector.visit(Some(&operator), "").await,
        collector.visit(None, &by_reader).await,
        collector.visit(None, &by_operator).await,
        collector.visit(Some(&collector.agent("web-1").await), &by_reader).await,
    ] {
        assert_eq!(answers, ["200", "200", "200"]);
    }
    let of_agent = collector.agents_bearer("web-1", HOUR).await.expose().to_string();
    for answers in [
        collector.visit(Some(&collector.agent("web-2").await), "").await,
        collector.visit(None, &of_agent).await,
    ] {
        assert_eq!(answers, ["200", "403", "403"], "agents report, and read nothing");
    }
    for answers in [
        collector.visit(None, "").await,
        collector.visit(None, "fmb1_guessed").await,
        collector.visit(Some(&collector.stranger("nobody")), "").await,
    ] {
        assert_eq!(answers, ["200", "401", "401"]);
    }
}

#[tokio::test]
async fn what_counts_no_more_opens_no_page() {
    let collector = start_known(Asked::default()).await;
    let reader = collector.others.card("fleetmark://reader/ann", collector.now() + HOUR);
    let (revoked, short) = (
        collector.bearer(Role::Reader, HOUR).await,
        collector.bearer(Role::Reader, HOUR / 2).await,
    );
    collector.revoke_bearer(&revoked).await;
    let settled = Instant::now() + Duration::from_secs(30);
    while collector.visit(None, &revoked.expose()).await[1] != "401" {
        assert!(Instant::now() < settled, "a revoked token opens pages");
    }
    assert_eq!(collector.visit(None, &short.expose()).await[1], "200");
    collector.pass(jiff::Span::new().minutes(31));
    assert_eq!(collector.visit(None, &short.expose()).await[1], "401", "it has ended");
    assert_eq!(collector.visit(Some(&reader), "").await[1], "200");
    collector.revoke("fleetmark://reader/ann", false).await;
    while collector.visit(Some(&reader), "").await[1] != "403" {
        assert!(Instant::now() < settled + Duration::from_secs(30), "a revoked reader reads");
    }
}

#[tokio::test]
async fn a_place_that_is_trusted_reads_without_credentials() {
    let trust = Trust { loopback: true, network: false };
    let asked = Asked { trust, is_tls: false, ..Asked::default() };
    let collector = start_known(asked).await;
    let stream = async || TcpStream::connect(collector.pages).await.unwrap();
    assert_eq!(status(stream().await, "/runs", "").await, "200");
    assert_eq!(
        status(stream().await, "/runs", "fmb1_guessed").await,
        "401",
        "and not with wrong ones"
    );
    let pages = collector.pages;
    assert_eq!(collector.stop().await.cut_off, 0);
    assert!(TcpStream::connect(pages).await.is_err(), "it ends with the collector");
}

#[tokio::test]
async fn whoever_asks_hears_that_it_is_about_to_stop() {
    let store = Arc::new(testing::ToldStore::stalled(|_| None));
    let [calls, http] = [(); 2].map(|()| bind("127.0.0.1:0".parse().unwrap()).unwrap());
    let (address, pages) = (calls.local_addr().unwrap(), http.local_addr().unwrap());
    let listeners = Listeners { network: vec![calls], socket: None, http: vec![http] };
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let setup = Setup::local(Bounds::default());
    let ended = tokio::spawn(serve_as(setup, listeners, store.clone(), shutdown));
    let channel = connect(address).await;
    let report = envelope(&testing::pair("a", 0.5));
    let submitted = tokio::spawn(async move { submit(&channel, vec![report]).await });
    store.begun(1).await;
    stop.send(()).unwrap();
    let health = async || {
        let mut wire = TcpStream::connect(pages).await.unwrap();
        let asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        wire.write_all(asked).await.unwrap();
        let mut said = String::new();
        wire.read_to_string(&mut said).await.unwrap();
        said
    };
    // Until it has heard of it, it says that this store does not answer.
    while !health().await.ends_with("not serving: starting, or about to stop\n") {}
    assert!(health().await.starts_with("HTTP/1.1 503 "));
    store.go(2);
    assert_eq!(submitted.await.unwrap().unwrap().len(), 1, "what was accepted is finished");
    assert_eq!(ended.await.unwrap().unwrap().cut_off, 0);
}
