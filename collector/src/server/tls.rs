//! Which certificates the server shows, and whose it takes. All are read from files, and read again when these change.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use fleetmark_agent::clock::Clock;
use fleetmark_proto::{id::Digest, shell::one_line};
use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use tokio::time::{MissedTickBehavior, interval};

use crate::authority::{self, Authority, AuthorityError};

/// What both sides may speak after the handshake.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What is spoken behind a door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spoken {
    /// gRPC, which needs HTTP/2.
    Calls,
    /// Pages, which browsers and scrapers fetch over either.
    Pages,
}

/// What the handshakes of each door go by. They differ in what is spoken afterwards alone.
#[derive(Debug)]
struct Configs {
    calls: Arc<ServerConfig>,
    pages: Arc<ServerConfig>,
}

/// When a certificate for the server is tried to make again.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// Certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The collector's own authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file holds no certificate.
    #[error("{} holds no certificate in PEM that can be read", .0.display())]
    Certificate(PathBuf, #[source] pem::Error),
    /// A file holds no key.
    #[error("{} holds no key in PEM that can be read", .0.display())]
    Key(PathBuf, #[source] pem::Error),
    /// A file holds an authority that cannot be one.
    #[error("{} holds a certificate that cannot be an authority's", .0.display())]
    NoAuthority(PathBuf, #[source] rustls::Error),
    /// Certificate and key do not go together, or cannot be used.
    #[error("the server's certificate cannot be used")]
    Unusable(#[from] rustls::Error),
    /// Nobody's certificates could be checked.
    #[error("the certificates of agents could not be checked")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The authority has become another one.
    #[error(
        "the authority in {} is another than the one that this collector began with; restart it to go by that one",
        .0.display()
    )]
    Another(PathBuf),
    /// There is no certificate to show.
    #[error(
        "there is no certificate to show; run `fleetmark-collector init`, or give --tls-cert and --tls-key"
    )]
    None,
}

/// Where the certificates are.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The folder of the collector's own authority. Certificates that it signed are taken, and its server's is shown unless
    /// there is another one.
    pub authority: Option<PathBuf>,
    /// The certificate that is shown, with those that lead to its authority, and its key: PEM.
    pub server: Option<(PathBuf, PathBuf)>,
    /// Authorities of others, whose certificates are taken too: PEM.
    pub others: Option<PathBuf>,
}

/// How a file was last seen: when it was changed, in seconds and nanoseconds, which it is, and how long.
type Seen = Option<(i64, i64, u64, u64)>;

/// What handshakes go by.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    clock: Clock,
    configs: ArcSwap<Configs>,
    state: Mutex<State>,
}

/// What is known of the files.
#[derive(Debug)]
struct State {
    seen: Vec<Seen>,
    /// Whom the hosts know; it is the same for as long as the collector serves, as it also signs and is in tokens.
    pin: Option<Digest>,
    /// When the own server needs another certificate.
    due_at: Timestamp,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// If one of them cannot be used.
    pub fn open(files: TlsFiles, clock: Clock) -> Result<Self, TlsError> {
        let (mut due_at, mut pin) = (Timestamp::MAX, None);
        if let Some(folder) = &files.authority {
            // Where that fails, what is there may count for months yet, and whoever keeps it tries again and says why.
            let _ = Authority::renew_server(folder, clock.now());
            let own = Authority::load(folder)?;
            (due_at, pin) = (own.server().due_at(), Some(own.pin()));
        }
        let seen = files.seen();
        let configs = ArcSwap::from_pointee(files.configs(pin, &clock)?);
        Ok(Self { files, clock, configs, state: Mutex::new(State { seen, pin, due_at }) })
    }

    /// What the next handshake goes by.
    pub(super) fn config(&self, spoken: Spoken) -> Arc<ServerConfig> {
        let configs = self.configs.load();
        Arc::clone(match spoken {
            Spoken::Calls => &configs.calls,
            Spoken::Pages => &configs.pages,
        })
    }

    /// Looks after the files, for as long as it is let.
    pub(super) async fn keep(self: Arc<Self>, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let tls = Arc::clone(&self);
            // It never panics, and it is never cancelled.
            let news = tokio::task::spawn_blocking(move || tls.refresh()).await;
            for news in news.unwrap_or_default() {
                match news {
                    Ok(done) => tracing::info!("{done}"),
                    Err(failed) => tracing::warn!("{failed}"),
                }
            }
        }
    }

    /// Makes another certificate for the server if it is time to, and reads the files if they are not as they were. Tells what
    /// was done and what could not be.
    fn refresh(&self) -> Vec<News> {
        let mut news = Vec::new();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if let Some(folder) = self.files.authority.as_deref()
            && now >= state.due_at
        {
            let renewed = Authority::renew_server(folder, now)
                .and_then(|_| Authority::load(folder))
                .map(|authority| authority.server().due_at());
            state.due_at = *renewed.as_ref().unwrap_or(&(now + AGAIN));
            news.push(match renewed {
                Ok(_) => Ok("made another certificate for this server"),
                Err(error) => {
                    let error = one_line(&error);
                    Err(format!("cannot make another certificate for this server: {error}"))
                }
            });
        }
        let seen = self.files.seen();
        if seen != state.seen {
            state.seen = seen;
            news.push(match self.files.configs(state.pin, &self.clock) {
                Ok(configs) => {
                    self.configs.store(Arc::new(configs));
                    Ok("the certificates have changed, and were read again")
                }
                Err(error) => {
                    let error = one_line(&error);
                    Err(format!("the certificates have changed; those before stay in use: {error}"))
                }
            });
        }
        news
    }
}

/// What was done, or could not be.
type News = Result<&'static str, String>;

impl TlsFiles {
    /// What can be told of the files without reading them.
    fn seen(&self) -> Vec<Seen> {
        let own = self.authority.iter().flat_map(|folder| Authority::server_files(folder));
        let server = self.server.iter().flat_map(|(certificate, key)| [certificate, key]);
        let given = server.chain(&self.others).cloned();
        own.chain(given)
            .map(|path| {
                let data = fs::metadata(path).ok()?;
                Some((data.mtime(), data.mtime_nsec(), data.ino(), data.len()))
            })
            .collect()
    }

    /// Reads them. The authority must be the one with this pin.
    fn configs(&self, pin: Option<Digest>, clock: &Clock) -> Result<Configs, TlsError> {
        let provider = Arc::new(authority::provider());
        let own = self.authority.as_deref().map(Authority::load).transpose()?;
        let mut roots = RootCertStore::empty();
        if let Some((own, folder)) = own.as_ref().zip(self.authority.as_ref()) {
            if Some(own.pin()) != pin {
                return Err(TlsError::Another(folder.clone()));
            }
            roots.add(own.certificate_der().into())?;
        }
        if let Some(path) = &self.others {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| TlsError::NoAuthority(path.clone(), error))?;
            }
        }
        let verifier = if roots.is_empty() {
            WebPkiClientVerifier::no_client_auth()
        } else {
            let provider = Arc::clone(&provider);
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()?
        };
        let (chain, key) = match (&self.server, &own) {
            (Some((certificate, key)), _) => (certificates(certificate)?, private_key(key)?),
            (None, Some(own)) => (own.server_chain(), own.server_key()),
            (None, None) => return Err(TlsError::None),
        };
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(clock.clone()))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        // Whoever comes again is checked again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let speaking = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Configs { calls: speaking(&[HTTP2]), pages: speaking(&[HTTP2, HTTP1]) })
    }
}

/// All certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| TlsError::Certificate(path.to_owned(), error);
    let all: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(failed)?;
    match all.is_empty() {
        true => Err(failed(pem::Error::NoItemsFound)),
        false => Ok(all),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::Key(path.to_owned(), error))
}
