//! The command `serve`: what is listened on, over which certificates, and who is trusted.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fleetmark_agent::{args::GlobalArgs, clock::Clock, command::Stopped, memory, private};
use fleetmark_proto::shell::{Exit, one_line, output::Masked, value};
use rustix::system::uname;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use crate::{
    args::ServeArgs,
    authority::Authority,
    seldom::{Seldom, lately},
    server::{
        self, Bounds, Listeners, ServeError, Served, Setup, Socket, Tls, TlsError, TlsFiles, Trust,
    },
    setup,
    store::{self, Mode, Opened, Store, StoreUrl},
};

/// How long a store that cannot be opened for now is left alone.
const AGAIN: Duration = Duration::from_secs(5);

/// The authority is gone that this collector was set up with.
#[derive(Debug, thiserror::Error)]
#[error(
    "agents are to reach this collector at {endpoint}, and its authority is not in {}; put that folder back, or make a new one \
     with `fleetmark-collector init`, at which hosts have to join anew",
    .folder.display()
)]
struct Lost {
    endpoint: String,
    folder: PathBuf,
}

/// On which terms callers are let in, as they follow from what was typed and from what `init` made.
struct Terms {
    clock: Clock,
    tls: Option<Arc<Tls>>,
    authority: Option<Arc<Authority>>,
    trust: Trust,
}

pub(crate) async fn serve(arguments: ServeArgs, global: &GlobalArgs) -> Result<Exit, Stopped> {
    // Before there is a key in it; and tokens come with calls in any case.
    memory::keep_private();
    // Where that is not to be had, whoever needs the folder says why.
    let _ = private::tighten(&setup::collector_folder(&global.state_dir));
    let terms = Terms::new(&arguments, &global.state_dir)?;
    if terms.tls.is_none() {
        for address in arguments.listen.iter().chain(&arguments.http) {
            server::check_listen(*address, arguments.insecure)
                .map_err(|error| Stopped::usage(&error))?;
        }
    }
    // Who reads the log, or the disk that it is on, may be slow; agents do not wait for that.
    let (log, _written_to_the_end) = tracing_appender::non_blocking(io::stderr());
    let log = move || Masked(log.clone());
    tracing_subscriber::fmt().with_writer(log).with_ansi(false).with_target(false).init();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let begun = tokio::select! {
        begun = begin(&arguments) => Some(begun?),
        which = told_to_stop(&mut terminated, &mut interrupted) => {
            tracing::info!("{which}: stopped before anything was served");
            None
        }
    };
    let Some((mut listeners, (opened, registry))) = begun else { return Ok(Exit::Success) };
    let mut place = place(&listeners, terms.tls.is_some())?;
    let mut no_socket = None;
    match socket(&arguments, terms.authority.is_some(), &global.state_dir) {
        Ok(None) => {}
        Ok(Some(socket)) => {
            place = format!("{place}, and on {}", socket.path().display());
            listeners.socket = Some(socket);
        }
        // Nobody asked for it, so it may be missing.
        Err(error) if arguments.socket.is_none() => no_socket = Some(error),
        Err(error) => return Err(error.into()),
    }
    tracing::info!("listening on {place}, storing in {}", arguments.store.store);
    for address in addresses(&listeners.http)? {
        let scheme = if terms.tls.is_some() { "https" } else { "http" };
        tracing::info!(
            "pages are at {scheme}://{address}/, with /metrics and /healthz beside them"
        );
    }
    if let Some(error) = no_socket {
        tracing::warn!("no Unix socket: {}", one_line(&error));
    }
    terms.warn(&arguments);
    let shutdown = async {
        let which = told_to_stop(&mut terminated, &mut interrupted).await;
        tracing::info!("{which}: finishing what was accepted");
    };
    let Terms { clock, tls, authority, trust } = terms;
    let bounds = Bounds::default().with_open_files(server::raise_open_files());
    let registry = Some(registry);
    let endpoint = arguments.endpoint;
    let name = uname().nodename().to_str().ok().map(str::to_owned);
    let readable = readable(&arguments.store.store, &listeners).await;
    let setup = Setup { bounds, clock, trust, tls, authority, registry, endpoint, name, readable };
    let served = server::serve_as(setup, listeners, opened, shutdown).await?;
    conclude(&served);
    Ok(Exit::Success)
}

/// Listens where it was told to, and opens the store. While the disk is full, or somebody has the store for itself, nobody
/// is kept waiting: it does not listen, and tries again.
async fn begin(arguments: &ServeArgs) -> Result<(Listeners, Opened), Stopped> {
    let waiting = Seldom::default();
    loop {
        let mut listeners = Listeners::default();
        for address in &arguments.listen {
            listeners.network.push(server::bind(*address)?);
        }
        for address in &arguments.http {
            listeners.http.push(server::bind_http(*address)?);
        }
        match store::open_both(&arguments.store.store, Mode::Write).await {
            Ok(opened) => return Ok((listeners, opened)),
            Err(error) if error.is_full() || error.is_busy() => waiting.happened(|times| {
                let error = one_line(&error);
                tracing::error!("nothing is served yet: {error}; trying again{}", lately(times));
            }),
            Err(error) => return Err(error.into()),
        }
        drop(listeners);
        sleep(AGAIN).await;
    }
}

/// The store once more, for pages: whoever reads there keeps no agent waiting. Where nobody else may open it, pages share it with
/// the agents.
async fn readable(url: &StoreUrl, listeners: &Listeners) -> Option<Arc<dyn Store>> {
    if listeners.http.is_empty() {
        return None;
    }
    store::open(url, Mode::Read).await.ok()
}

/// Returns when the process is told to stop, and by what.
async fn told_to_stop(terminated: &mut Signal, interrupted: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminated.recv() => "SIGTERM",
        _ = interrupted.recv() => "SIGINT",
    }
}

impl Terms {
    fn new(arguments: &ServeArgs, state_dir: &Path) -> Result<Self, Stopped> {
        let clock = Clock::of_host();
        let folder = Some(setup::authority_folder(state_dir)).filter(|it| Authority::is_in(it));
        let server = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
        let others = arguments.tls_ca.clone();
        let asks_who = folder.is_some() || server.is_some();
        // Whoever was asked who they are must not be trusted because a folder is gone.
        if let Some(endpoint) = arguments.endpoint.as_ref().filter(|url| url.scheme() == "https")
            && !asks_who
        {
            let lost = Lost {
                endpoint: value::collector_text(endpoint),
                folder: setup::authority_folder(state_dir),
            };
            return Err(lost.into());
        }
        if others.is_some() && !asks_who {
            return Err(Stopped::usage(&TlsError::None));
        }
        let trust = Trust {
            loopback: !asks_who || arguments.trust_loopback,
            network: !asks_who && arguments.insecure,
        };
        let authority = folder.as_deref().map(Authority::load).transpose()?.map(Arc::new);
        let files = TlsFiles { authority: folder, server, others };
        let tls = match asks_who && !arguments.insecure {
            true => Some(Arc::new(Tls::open(files, clock.clone())?)),
            false => None,
        };
        Ok(Self { clock, tls, authority, trust })
    }

    /// Says what may be a surprise.
    fn warn(&self, arguments: &ServeArgs) {
        if let Some(key) = arguments.tls_key.as_ref().filter(|path| private::is_open_to_all(path)) {
            tracing::warn!(
                "everybody on this host can read or change {path}; `chmod 600 {path}` ends that",
                path = key.display()
            );
        }
        if self.tls.is_none() && arguments.insecure {
            tracing::warn!("this is plaintext: reports and tokens can be read on their way");
        }
        if self.authority.is_some() && arguments.tls_cert.is_some() {
            tracing::warn!(
                "hosts that join with a token expect the certificate of this collector's own authority, \
                 which --tls-cert replaces"
            );
        }
        if let Some(authority) = &self.authority {
            tracing::info!("callers need credentials; the authority's pin is {}", authority.pin());
        }
    }
}

/// Where the server listens, for its log.
fn place(listeners: &Listeners, over_tls: bool) -> Result<String, io::Error> {
    let addresses = addresses(&listeners.network)?;
    let addresses = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    Ok(addresses + if over_tls { ", over TLS" } else { "" })
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, io::Error> {
    listeners.iter().map(TcpListener::local_addr).collect()
}

/// The Unix socket, if there is to be one.
fn socket(
    arguments: &ServeArgs,
    is_set_up: bool,
    state_dir: &Path,
) -> Result<Option<Socket>, ServeError> {
    let own = || is_set_up.then(|| setup::socket_path(state_dir));
    arguments.socket.clone().or_else(own).map(|path| server::bind_socket(&path)).transpose()
}

fn conclude(served: &Served) {
    let reports = served.tally.words();
    let mut calls = format!("calls refused: {}", served.tally.calls_refused());
    if served.tally.calls_denied() > 0 {
        calls = format!("{calls}; calls without leave: {}", served.tally.calls_denied());
    }
    match served.cut_off {
        0 => tracing::info!("stopped; reports: {reports}; {calls}"),
        cut_off => {
            tracing::warn!("stopped, and cut off {cut_off} calls; reports: {reports}; {calls}");
        }
    }
}
