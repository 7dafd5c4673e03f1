//! What a collector serves over HTTP: health, metrics and pages; to whom, and how it refuses others.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use fleetmark_collector::authority::provider;
use rustix::process::Signal;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;

use crate::{
    simulated::Simulated,
    support::{Serving, collector, command, run},
};

/// What came back.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Fetched {
    /// A header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Fetches something, as a browser on this host does.
pub(crate) fn fetch(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Fetched {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    exchange(stream, "GET", &address.to_string(), path, headers)
}

fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Fetched {
    let host = headers.iter().find(|(name, _)| *name == "Host").map_or(host, |(_, value)| value);
    let mut asked = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| *name != "Host") {
        asked.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{asked}\r\n").as_bytes()).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    let said = String::from_utf8(said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {said}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Fetched { status, headers: head.to_owned(), body: body.to_owned() }
}

/// A collector that serves pages too, on a free port.
pub(crate) struct Served {
    pub(crate) serving: Serving,
    pub(crate) address: SocketAddr,
}

impl Served {
    /// Over this store.
    pub(crate) fn start(store: &str) -> Self {
        let folder = Path::new(store.strip_prefix("sqlite:").unwrap()).parent().unwrap();
        Self::start_in(folder, &["--store", store])
    }

    /// With this state folder, and flags.
    pub(crate) fn start_in(state: &Path, flags: &[&str]) -> Self {
        let mut program = command(&collector());
        program.env("FLEETMARK_COLLECTOR_STATE_DIR", state).args(["serve", "--http"]);
        program.args(["127.0.0.1:0", "--listen", "127.0.0.1:0"]).args(flags);
        let serving = Serving::spawn(&mut program).listening();
        loop {
            if let Some((_, place)) = serving.says().split_once("pages are at ") {
                let address = place.split('/').nth(2).unwrap().parse().unwrap();
                return Self { serving, address };
            }
        }
    }

    pub(crate) fn fetch(&self, path: &str) -> Fetched {
        fetch(self.address, path, &[])
    }
}

#[test]
fn health_is_for_everybody_and_strangers_names_are_for_nobody() {
    let simulated = Simulated::new();
    let served = Served::start(&simulated.store);
    let health = served.fetch("/healthz");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"), "{health:?}");
    for (name, value) in [
        ("content-security-policy", "default-src 'none';"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert!(health.header(name).unwrap().starts_with(value), "{health:?}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example:7601"] {
        let refused = fetch(served.address, "/metrics", &[("Host", host)]);
        assert_eq!(refused.status, 421, "{refused:?}");
        assert_eq!(fetch(served.address, "/healthz", &[("Host", host)]).status, 200);
    }
    assert_eq!(fetch(served.address, "/metrics", &[("Host", "localhost:7601")]).status, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let stream = TcpStream::connect(served.address).unwrap();
        let refused = exchange(stream, method, "localhost", "/metrics", &[]);
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
    }
    let stream = TcpStream::connect(served.address).unwrap();
    let head = exchange(stream, "HEAD", "localhost", "/healthz", &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let long = format!("/metrics?{}", "x".repeat(100_000));
    let refused = served.fetch(&long);
    assert!([414, 431].contains(&refused.status), "{}", refused.status);
    let (status, log) = served.serving.stop(Signal::TERM);
    assert!(status.success(), "{log:?}");
}

#[test]
fn a_port_that_is_taken_or_for_others_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    let serve = |http: &str| {
        let mut program = command(&collector());
        let words = ["serve", "--listen", "127.0.0.1:0", "--store", &store, "--http", http];
        run(program.args(words).arg("--state-dir").arg(folder.path()))
    };
    let open = serve("0.0.0.0:0");
    assert_eq!(open.code, 2, "{open:?}");
    assert!(open.stderr.contains("needs --insecure"), "{open:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = serve(&taken.local_addr().unwrap().to_string());
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("choose another with --http"), "{refused:?}");
}

/// A collector that was set up, with tokens for this role.
struct SetUp {
    folder: TempDir,
}

impl SetUp {
    fn new() -> Self {
        let set_up = Self { folder: tempfile::tempdir().unwrap() };
        set_up.does(&["init", "--name", "localhost"]);
        set_up
    }

    fn does(&self, words: &[&str]) -> String {
        let mut program = command(&collector());
        let done = run(program.args(words).arg("--state-dir").arg(self.folder.path()));
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout
    }

    fn token(&self, flags: &[&str]) -> String {
        self.does(&[&["token", "create"], flags].concat()).trim().to_owned()
    }
}

#[test]
fn who_reads_shows_a_token_in_one_way_or_another() {
    let set_up = SetUp::new();
    let reader = set_up.token(&["--role", "reader"]);
    let operator = set_up.token(&["--role", "operator"]);
    let agent = set_up.token(&["--role", "agent", "--host", "web-1"]);
    // As behind a proxy that ends TLS; whoever comes over loopback is a stranger since `init`.
    let served = Served::start_in(set_up.folder.path(), &["--insecure"]);
    let with = |header: &str| fetch(served.address, "/metrics", &[("Authorization", header)]);
    let bearer = |token: &str| with(&format!("Bearer {token}"));
    let basic = |token: &str| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        with(&format!("Basic {}", STANDARD.encode(format!("anybody:{token}"))))
    };
    let nobody = served.fetch("/metrics");
    assert_eq!(nobody.status, 401, "{nobody:?}");
    let asked = nobody.header("www-authenticate").unwrap();
    assert!(asked.starts_with("Basic realm=\"fleetmark\""), "{asked}");
    assert!(nobody.body.contains("token create --role reader"), "{nobody:?}");
    assert_eq!(served.fetch("/no/such/page").status, 401, "strangers hear of nothing");
    assert_eq!(served.fetch("/healthz").body, "ok\n");
    for token in [&reader, &operator] {
        for answer in [bearer(token), basic(token)] {
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.body.contains("fleetmark_store_readable 1\n"), "{answer:?}");
        }
    }
    for answer in [bearer(&agent), basic(&agent)] {
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.body.contains("reader or operator"), "{answer:?}");
    }
    for answer in [bearer("fmb1_wrong"), basic("guessed"), with("Digest x")] {
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    let counted = bearer(&reader).body;
    assert!(counted.contains("fleetmark_calls_denied_total 5\n"), "{counted}");
    let audit = set_up.does(&["audit", "-f", "json"]);
    assert!(audit.contains("/metrics is for the role reader or operator"), "{audit}");
    assert!(!audit.contains(&reader) && !audit.contains("guessed"), "{audit}");
    let named = fetch(
        served.address,
        "/metrics",
        &[("Host", "fleet.example"), ("Authorization", &format!("Bearer {reader}"))],
    );
    assert_eq!(named.status, 200, "who shows who it is may call it as it likes");
}

#[test]
fn pages_come_over_the_collectors_own_certificate() {
    let set_up = SetUp::new();
    let reader = set_up.token(&["--role", "reader"]);
    let served = Served::start_in(set_up.folder.path(), &[]);
    let ca = set_up.folder.path().join("collector/authority/ca.pem");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let fetch = |protocol: &[u8], headers: &[(&str, &str)]| {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(served.address).unwrap();
        let mut tls = StreamOwned::new(connection, stream);
        tls.conn.complete_io(&mut tls.sock).unwrap();
        assert_eq!(tls.conn.alpn_protocol(), Some(protocol));
        (protocol == b"http/1.1").then(|| exchange(tls, "GET", "localhost", "/metrics", headers))
    };
    assert_eq!(fetch(b"http/1.1", &[]).unwrap().status, 401);
    let bearer = format!("Bearer {reader}");
    let read = fetch(b"http/1.1", &[("Authorization", &bearer)]).unwrap();
    assert_eq!(read.status, 200, "{read:?}");
    assert!(fetch(b"h2", &[]).is_none(), "HTTP/2 is agreed on, too");
    // Plaintext gets no byte.
    let mut plain = TcpStream::connect(served.address).unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert_eq!(said, b"");
}

#[test]
fn an_address_is_a_command_and_is_answered_as_that_would_be() {
    let simulated = Simulated::new();
    let served = Served::start(&simulated.store);
    for (path, words) in [
        ("/report?profile=epyc", &["report", "--profile", "epyc"][..]),
        ("/report?label=rack%3D9", &["report", "--label", "rack=9"]),
        ("/report?since=yesterday", &["report", "--since", "yesterday"]),
        ("/advise?host=nobody", &["advise", "--host", "nobody"]),
        ("/outliers?label=rack%3D9", &["outliers", "--label", "rack=9"]),
        ("/history?scenario=sleeping", &["history", "--scenario", "sleeping"]),
        ("/host?host=web-99", &["host", "web-99"]),
        ("/compare?side=web&side=db", &["compare", "web", "db"]),
        ("/compare?side=kernel%3D6.1&side=kernel%3D6.1", &["compare", "kernel=6.1", "kernel=6.1"]),
        ("/compare?side=kernel%3D9&side=kernel%3D8", &["compare", "kernel=9", "kernel=8"]),
        (
            "/compare?side=label.role%3Dweb&side=label.role%3Ddb&since=1m",
            &["compare", "label.role=web", "label.role=db", "--since", "1m"],
        ),
        (
            "/compare?side=time%3D90d..80d&side=time%3D7d..",
            &["compare", "time=90d..80d", "time=7d.."],
        ),
        ("/compare?side=web&side=db&profile=x", &["compare", "web", "db", "--profile", "x"]),
    ] {
        let page = served.fetch(path);
        let done = simulated.asks(words);
        let expected = if done.code == 2 { 400 } else { 404 };
        assert_eq!(page.status, expected, "{path}: {page:?}: {done:?}");
        let line = done.stderr.trim().trim_start_matches("error: ");
        let (_, main) = page.body.split_once("<main><p>").unwrap();
        let told = main.split_once("</p>").unwrap().0.replace("&quot;", "\"");
        let told = told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        assert_eq!(told, line, "{path}");
    }
    for path in ["/report?colour=red", "/report?store=sqlite:x", "/host?output=x"] {
        assert_eq!(served.fetch(path).status, 400, "{path}");
    }
    assert_eq!(served.fetch("/no/such/page").status, 404);
    let script = served.fetch("/live.js");
    assert!(script.header("content-type").unwrap().starts_with("text/javascript"));

    let page = served.fetch("/report?label=role%3Dweb");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{page:?}");
    let tag = page.header("etag").unwrap();
    let again = fetch(served.address, "/report?label=role%3Dweb", &[("If-None-Match", tag)]);
    assert_eq!((again.status, again.body.as_str()), (304, ""), "what is the same costs nothing");
    let other = fetch(served.address, "/report?label=role%3Ddb", &[("If-None-Match", tag)]);
    assert_eq!(other.status, 200);
}

#[test]
fn a_store_that_cannot_be_read_is_told_of() {
    let simulated = Simulated::new();
    let file = simulated.store.strip_prefix("sqlite:").unwrap();
    let served = Served::start(&simulated.store);
    assert_eq!(served.fetch("/healthz").status, 200);
    let store = rusqlite::Connection::open(file).unwrap();
    store.execute_batch("ALTER TABLE run RENAME TO ruined").unwrap();
    // What was found before is believed for a second.
    std::thread::sleep(Duration::from_millis(1_100));
    let health = served.fetch("/healthz");
    assert_eq!((health.status, health.body.as_str()), (503, "the store cannot be read\n"));
    let metrics = served.fetch("/metrics");
    assert_eq!(metrics.status, 200, "{metrics:?}");
    assert!(metrics.body.contains("fleetmark_store_readable 0\n"), "{metrics:?}");
    assert!(!metrics.body.contains("fleetmark_hosts"), "{metrics:?}");
}
