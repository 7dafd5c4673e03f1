//! Pages and metrics, over HTTP/1.1 or HTTP/2: through a door of their own, so that browsers take no place of an agent's, and
//! past the same guard.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fleetmark_proto::limits;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{ALLOW, AUTHORIZATION, HOST, RETRY_AFTER, WWW_AUTHENTICATE},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet, time::timeout};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{body::Body, transport::server::Connected as _};
use tower::{Layer as _, Service};
use zeroize::Zeroizing;

use super::{
    Bounds, KEEPALIVE, KEEPALIVE_ANSWER, LINGER, Setup,
    admission::Gate,
    carrying::Carrying,
    connections::{Connection, Peer, Watch},
    door::{Door, Witness},
    guard::Policy,
    rights::{self, Right},
    tls::Spoken,
};
use crate::{
    identity::{Denied, Who},
    ingest::{Committer, Tally},
    registry::Refused,
    store::Store,
    web::{self, Load, Names, Web},
};

/// How a browser is told to ask for a token.
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"fleetmark\", charset=\"UTF-8\"");
/// What all others may send.
const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"fleetmark\"");
/// When to come again, in seconds, where a moment may cure what is wrong.
const SOON: HeaderValue = HeaderValue::from_static("10");

/// What there is over HTTP.
pub(super) fn web(
    setup: &Setup,
    store: Arc<dyn Store>,
    tally: &Arc<Tally>,
    gate: &Arc<Gate>,
    committer: &Committer,
) -> Arc<Web> {
    let gate = Arc::clone(gate);
    let load =
        move || Load { let_in: gate.calls(), in_work: gate.in_work(), request_bytes: gate.bytes() };
    let store = setup.readable.clone().unwrap_or(store);
    let clock = setup.clock.clone();
    let (committer, most) = (committer.clone(), setup.bounds.page_runs);
    Arc::new(Web::new(clock, store, Arc::clone(tally), committer, Box::new(load), most))
}

/// Has pages served on these listeners by a task, until that is ended.
pub(super) fn begin(
    setup: &Setup,
    listeners: Vec<TcpListener>,
    policy: Arc<Policy>,
    web: &Arc<Web>,
    witness: Witness,
    tasks: &mut JoinSet<()>,
) -> Visiting {
    let connections = setup.bounds.connections.min(limits::HTTP_CONNECTIONS);
    let bounds = Bounds { connections, ..setup.bounds };
    let endpoint = setup.endpoint.as_ref().and_then(|url| url.host_str().map(str::to_owned));
    let names = Names::new(endpoint.into_iter().chain(setup.name.clone()));
    let (end, ended) = oneshot::channel();
    let (done, over) = oneshot::channel::<()>();
    if !listeners.is_empty() {
        let (tls, authority) = (setup.tls.clone(), setup.authority.clone());
        let door = Door::new(bounds, tls, Spoken::Pages, authority, witness);
        let connections = door.open(listeners, None);
        let visits = Visits { policy, web: Arc::clone(web), names: Arc::new(names), bounds };
        tasks.spawn(async move {
            visits.serve(connections, ended).await;
            drop(done);
        });
    }
    Visiting { end, over }
}

/// The task that serves pages.
pub(super) struct Visiting {
    end: oneshot::Sender<()>,
    over: oneshot::Receiver<()>,
}

impl Visiting {
    /// Has it end, and returns when it has.
    pub(super) async fn end(self) {
        // Where there is none, there is nothing to wait for either.
        let _ = self.end.send(());
        let _ = self.over.await;
    }
}

/// Where browsers and scrapers come to.
#[derive(Clone)]
struct Visits {
    policy: Arc<Policy>,
    web: Arc<Web>,
    names: Arc<Names>,
    bounds: Bounds,
}

impl Visits {
    /// Answers on these connections until the end, and then for a moment what was asked before.
    async fn serve(
        self,
        mut connections: ReceiverStream<io::Result<Connection>>,
        mut end: oneshot::Receiver<()>,
    ) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.bounds.idle_in_a_crowd)
            .max_headers(limits::HTTP_HEADERS)
            .max_buf_size(bytes(limits::HEADERS_BYTES));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(limits::HEADERS_BYTES)
            .max_concurrent_streams(limits::CONNECTION_CALLS)
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_ANSWER);
        let graceful = GracefulShutdown::new();
        let mut visits = JoinSet::new();
        loop {
            let connection = tokio::select! {
                _ = &mut end => break,
                Some(_) = visits.join_next() => continue,
                connection = connections.next() => connection,
            };
            let Some(connection) = connection else { break };
            // The door hands on what it let in, never an error.
            let Ok(connection) = connection else { continue };
            let peer = connection.connect_info();
            let visit = Watch.layer(Visit { visits: self.clone(), peer: peer.clone() });
            let service = service_fn(move |request: Request<Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(peer.clone());
                visit.clone().call(request)
            });
            let served = builder.serve_connection(TokioIo::new(connection), service).into_owned();
            let served = graceful.watch(served);
            visits.spawn(async move {
                // Whoever goes away in the middle knows that.
                let _ = served.await;
            });
        }
        let _ = timeout(LINGER, graceful.shutdown()).await;
    }
}

fn bytes(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Who came over one connection.
#[derive(Clone)]
struct Visit {
    visits: Visits,
    peer: Peer,
}

impl Service<Request<Body>> for Visit {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let visit = self.clone();
        Box::pin(async move {
            let (parts, _) = request.into_parts();
            let answer = web::guarded(visit.answer(parts).await);
            let (taken, in_time) = oneshot::channel::<()>();
            tokio::spawn(async move {
                // It is dropped when the answer is on its way, or nobody wants it any more.
                if timeout(limits::PAGE_TAKEN, in_time).await.is_err() {
                    visit.peer.hang_up();
                }
            });
            Ok(answer.map(|body| Body::new(Carrying { body, _until_then: taken })))
        })
    }
}

impl Visit {
    async fn answer(&self, mut asked: http::request::Parts) -> web::Answer {
        let Visits { policy, web, names, .. } = &self.visits;
        if asked.method != Method::GET && asked.method != Method::HEAD {
            let mut answer =
                web::line(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        as_bearer(&mut asked.headers);
        let call = rights::of_page(asked.uri.path());
        let caller = match policy.let_in(call, self.peer.arrival(), &asked.headers).await {
            Ok(caller) => caller,
            Err(denied) => return refusal(&denied),
        };
        // Who is trusted for its place may be a browser that a stranger's page leads here, by a name of the stranger's.
        let for_all = call.right == Right::Everybody;
        if caller.who == Who::Near && !for_all && !names.are_ours(host(&asked)) {
            let line = "this collector is not called that; use its address, localhost, or the host of its --endpoint";
            return web::line(StatusCode::MISDIRECTED_REQUEST, line);
        }
        asked.headers.remove(AUTHORIZATION);
        Arc::clone(web).answer(asked).await
    }
}

/// By which name the collector was asked.
fn host(asked: &http::request::Parts) -> Option<&str> {
    match asked.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => asked.headers.get(HOST).and_then(|host| host.to_str().ok()),
    }
}

/// A browser asks for a name and a password; the password is the token.
fn as_bearer(headers: &mut HeaderMap) {
    let Some(token) = headers.get(AUTHORIZATION).and_then(|header| password(header.as_bytes()))
    else {
        return;
    };
    let bearer = Zeroizing::new(format!("Bearer {}", token.trim()));
    // What is no header is no token either, and is refused as what it is.
    if let Ok(mut bearer) = HeaderValue::from_str(&bearer) {
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
}

/// The password of a header, if it has one.
fn password(header: &[u8]) -> Option<Zeroizing<String>> {
    let (scheme, both) = str::from_utf8(header).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let both = Zeroizing::new(STANDARD.decode(both.trim()).ok()?);
    let (_, password) = str::from_utf8(&both).ok()?.split_once(':')?;
    Some(Zeroizing::new(password.to_owned()))
}

/// What somebody is told who may not have this.
fn refusal(denied: &Denied) -> web::Answer {
    let status = match denied {
        Denied::Role { .. } | Denied::Revoked(_) | Denied::Host(Refused::RevokedHost(_)) => {
            StatusCode::FORBIDDEN
        }
        Denied::CannotTell => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNAUTHORIZED,
    };
    let line = match denied {
        Denied::NoCredentials => {
            "this needs a token of `fleetmark-collector token create --role reader`: as the password, with any name, or as a bearer \
             token"
                .to_owned()
        }
        denied => denied.to_string(),
    };
    let mut answer = web::line(status, &line);
    match status {
        StatusCode::UNAUTHORIZED => {
            answer.headers_mut().append(WWW_AUTHENTICATE, BASIC);
            answer.headers_mut().append(WWW_AUTHENTICATE, BEARER);
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            answer.headers_mut().insert(RETRY_AFTER, SOON);
        }
        _ => {}
    }
    answer
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::Semaphore,
        time::Instant,
    };

    use super::{
        super::{
            arrival::{Arrival, Shown},
            guard::Said,
        },
        *,
    };
    use crate::{identity::Address, testing::ToldStore};

    fn read(header: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
        as_bearer(&mut headers);
        headers.get(AUTHORIZATION).map(|header| header.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_password_that_a_browser_asks_for_is_the_token() {
        let basic = |both: &str| format!("Basic {}", STANDARD.encode(both));
        assert_eq!(read(&basic("me:fmb1_token")).unwrap(), "Bearer fmb1_token");
        assert_eq!(read(&basic(":fmb1_a:b ")).unwrap(), "Bearer fmb1_a:b");
        for other in ["Bearer fmb1_token", "Basic ???", "Basic", "Digest x"] {
            assert_eq!(read(other).unwrap(), other, "what is something else stays what it is");
        }
        let broken = basic("me:two\nlines");
        assert_eq!(read(&broken).unwrap(), broken);
    }

    #[test]
    fn who_may_not_is_told_what_may_help() {
        let unknown = refusal(&Denied::UnknownToken);
        assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(unknown.headers().get_all(WWW_AUTHENTICATE).iter().count(), 2);
        let revoked = refusal(&Denied::Host(Refused::RevokedHost("a".parse().unwrap())));
        assert_eq!(revoked.status(), StatusCode::FORBIDDEN);
        assert!(
            revoked.headers().get(WWW_AUTHENTICATE).is_none(),
            "another password will not help"
        );
        let later = refusal(&Denied::CannotTell);
        assert_eq!(later.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(later.headers()[RETRY_AFTER], "10");
    }

    /// What is served over this connection, of a store that holds nothing.
    fn serve(wire: tokio::io::DuplexStream) -> oneshot::Sender<()> {
        let bounds = Bounds::default();
        let setup = Setup::local(bounds);
        let store: Arc<dyn Store> = Arc::new(ToldStore::new(|_| None));
        let tally = Arc::new(Tally::default());
        let gate = Gate::new(bounds, Arc::clone(&tally));
        let committer = Committer::start(Arc::clone(&store), bounds.grouping);
        let web = super::web(&setup, store, &tally, &gate, &committer);
        let policy = Policy {
            trust: setup.trust,
            clock: setup.clock.clone(),
            standings: None,
            trail: None,
            tally,
            said: Said::default(),
        };
        let (policy, names) = (Arc::new(policy), Arc::new(Names::default()));
        let visits = Visits { policy, web, names, bounds };
        let slots = Arc::new(Semaphore::new(1));
        let slot = Arc::clone(&slots).try_acquire_owned().unwrap();
        let address = Address::Ip("127.0.0.1".parse().unwrap());
        let arrival = Arrival { address, shown: Shown::Nothing };
        let wire = Box::new(wire);
        let connection = Connection::new(wire, arrival, slot, slots, Instant::now(), bounds);
        let (door, connections) = tokio::sync::mpsc::channel(1);
        door.try_send(Ok(connection)).unwrap();
        let (end, ended) = oneshot::channel();
        tokio::spawn(async move {
            visits.serve(ReceiverStream::new(connections), ended).await;
            drop(door);
        });
        end
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_a_page_is_cut_off() {
        let (mut here, there) = tokio::io::duplex(256);
        let _end = serve(there);
        here.write_all(b"GET /live.js HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        tokio::time::sleep(limits::PAGE_TAKEN + bounds_of_a_crowd() * 2).await;
        let mut said = Vec::new();
        let _ = here.read_to_end(&mut said).await;
        assert!(said.starts_with(b"HTTP/1.1 200 OK") && said.len() < 1_024, "{}", said.len());

        let (mut here, there) = tokio::io::duplex(256);
        let _end = serve(there);
        here.write_all(b"GET /live.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut said = Vec::new();
        here.read_to_end(&mut said).await.unwrap();
        assert!(said.len() > 2_000, "who takes it gets all of it");
    }

    fn bounds_of_a_crowd() -> std::time::Duration {
        Bounds::default().idle_in_a_crowd
    }
}
