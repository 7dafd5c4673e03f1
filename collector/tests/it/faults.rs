//! A network that fails in every way it can, between a real courier and a real collector: each report arrives exactly once.

use std::{
    collections::BTreeSet,
    future::pending,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fleetmark_agent::{
    delivery::{Courier, Flushed, Pace},
    spool::{Bounds, Spool},
};
use fleetmark_collector::{
    server,
    store::{self, Mode, Store, StoreUrl},
};
use fleetmark_proto::{
    convert::{self, Encoded},
    id::{Digest, ReportId},
    report::Report,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::JoinHandle,
    time,
};
use url::Url;

/// Long enough for a busy machine to answer, short enough to wait for.
const PACE: Pace = Pace {
    connect: Duration::from_secs(1),
    call: Duration::from_secs(1),
    first_wait: Duration::from_millis(10),
    longest_wait: Duration::from_millis(50),
    pause: Duration::from_millis(50),
    rescan: Duration::from_millis(50),
    finish: Duration::from_millis(200),
};

/// What a network may do to a connection.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// All comes late.
    Delay,
    /// Both ends are reset when this many bytes of the request have passed.
    Reset(usize),
    /// All is swallowed.
    BlackHole,
    /// All passes until the collector answers; then both ends are reset.
    AnswerLost,
}

impl Fault {
    fn random(random: &mut ChaCha8Rng) -> Self {
        match random.random_range(0..8) {
            0..2 => Self::None,
            2 => Self::Delay,
            3..5 => Self::Reset(random.random_range(1..30_000)),
            5 => Self::BlackHole,
            _ => Self::AnswerLost,
        }
    }
}

/// A collector, a spool, and a network between them.
struct World {
    folder: TempDir,
    spool: Spool,
    store: Arc<dyn Store>,
    collector: SocketAddr,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&folder.path().join("spool"), Bounds::default()).unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("store.db"));
        let store = store::open(&url, Mode::Write).await.unwrap();
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let collector = listener.local_addr().unwrap();
        tokio::spawn(server::serve(listener, Arc::clone(&store), pending()));
        Self { folder, spool, store, collector }
    }

    /// Puts reports into the spool.
    fn put(&self, reports: &[Encoded]) {
        for report in reports {
            self.spool.reserve().unwrap().commit(report).unwrap();
        }
    }

    fn courier(&self, urls: Vec<Url>) -> Courier {
        Courier::new(urls, self.spool.clone(), PACE, |_| {})
    }

    fn is_delivered(&self) -> bool {
        self.spool.list().unwrap().is_empty()
    }

    /// That the store holds each of these once with its digest and nothing else, and nothing was set aside.
    async fn assert_exactly_once(&self, reports: &[Encoded]) {
        assert!(self.is_delivered());
        assert_eq!(self.spool.quarantined().unwrap(), []);
        let stored = self.store.runs(None).await.unwrap();
        let stored: Vec<ReportId> = stored.iter().map(|run| run.report.id).collect();
        let ids: BTreeSet<ReportId> = reports.iter().map(|report| report.id).collect();
        assert_eq!(stored.len(), reports.len());
        assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), ids);
        // What came with another digest would be in conflict now.
        self.put(reports);
        let again =
            self.courier(vec![url(self.collector)]).flush(None, Duration::from_secs(60)).await;
        assert_eq!((again.duplicate, again.left), (count(reports), Some(0)), "{again:?}");
    }
}

fn count(reports: &[Encoded]) -> u64 {
    u64::try_from(reports.len()).unwrap()
}

fn url(address: SocketAddr) -> Url {
    format!("http://{address}").parse().unwrap()
}

fn golden() -> Report {
    let golden = include_bytes!("../../../proto/tests/golden/report-v1.bin");
    let now = jiff::Timestamp::now();
    let report = convert::decode(golden).unwrap();
    Report { id: ReportId::now(), started_at: now, ended_at: now, ..report }
}

fn reports(count: usize) -> Vec<Encoded> {
    (0..count).map(|_| Encoded::new(&golden())).collect()
}

/// A network before a collector.
struct Proxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// What befalls each connection is asked when it comes.
    async fn start(to: SocketAddr, mut next: impl FnMut() -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(pass(client, to, next()));
            }
        });
        Self { address, connections, accepting }
    }

    fn url(&self) -> Url {
        url(self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn pass(mut client: TcpStream, to: SocketAddr, fault: Fault) -> io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    match fault {
        Fault::None => {
            copy_bidirectional(&mut client, &mut server).await?;
        }
        Fault::Delay => {
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::try_join!(late(from_client, to_server), late(from_server, to_client))?;
        }
        Fault::Reset(after) => {
            let after = u64::try_from(after).unwrap_or(u64::MAX);
            let (from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            tokio::select! {
                _ = async {
                    copy(&mut from_client.take(after), &mut to_server).await
                } => {}
                _ = copy(&mut from_server, &mut to_client) => {}
            }
            reset(&client, &server)?;
        }
        Fault::BlackHole => {
            copy(&mut client, &mut tokio::io::sink()).await?;
        }
        Fault::AnswerLost => {
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            tokio::select! {
                _ = copy(&mut from_client, &mut to_server) => {}
                _ = async {
                    while let Some(frame) = frame(&mut from_server).await? {
                        to_client.write_all(&frame).await?;
                    }
                    io::Result::Ok(())
                } => {}
            }
            reset(&client, &server)?;
        }
    }
    Ok(())
}

/// Passes bytes on, each some time after it came.
async fn late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut buffer = vec![0; 4_096];
    loop {
        let bytes = from.read(&mut buffer).await?;
        if bytes == 0 {
            return to.shutdown().await;
        }
        time::sleep(Duration::from_millis(10)).await;
        to.write_all(&buffer[..bytes]).await?;
    }
}

/// The next frame of HTTP/2, or `None` where an answer begins: at the first frame of headers.
async fn frame(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    const HEADERS: u8 = 1;
    let mut frame = vec![0; 9];
    from.read_exact(&mut frame).await?;
    if frame[3] == HEADERS {
        return Ok(None);
    }
    let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
    let mut payload = from.take(length.into());
    payload.read_to_end(&mut frame).await?;
    Ok(Some(frame))
}

/// Closes both without a farewell.
fn reset(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    client.set_zero_linger()?;
    server.set_zero_linger()
}

/// Delivers through a network that treats three connections like this and the next ones well.
async fn delivers_through(fault: Fault) -> (World, Vec<Encoded>, Proxy, Flushed) {
    let world = World::new().await;
    let reports = reports(20);
    world.put(&reports);
    let mut left = 3;
    let proxy = Proxy::start(world.collector, move || {
        left -= 1;
        if left >= 0 { fault } else { Fault::None }
    })
    .await;
    let flushed = world.courier(vec![proxy.url()]).flush(None, Duration::from_secs(60)).await;
    (world, reports, proxy, flushed)
}

#[tokio::test]
async fn a_good_network_delivers_each_report_once() {
    let (world, reports, proxy, flushed) = delivers_through(Fault::None).await;
    assert_eq!((flushed.stored, flushed.duplicate), (20, 0));
    assert_eq!(proxy.connections(), 1);
    world.assert_exactly_once(&reports).await;
}

#[tokio::test]
async fn a_slow_network_delivers_each_report_once() {
    let (world, reports, ..) = delivers_through(Fault::Delay).await;
    world.assert_exactly_once(&reports).await;
}

#[tokio::test]
async fn connections_that_are_reset_in_the_middle_of_a_message_cost_nothing() {
    // In the preface, in the headers, and in the reports.
    for after in [1, 100, 3_000, 15_000] {
        let (world, reports, proxy, flushed) = delivers_through(Fault::Reset(after)).await;
        assert_eq!((flushed.stored, flushed.duplicate), (20, 0));
        assert_eq!(proxy.connections(), 4);
        world.assert_exactly_once(&reports).await;
    }
}

#[tokio::test]
async fn a_black_hole_costs_nothing_but_time() {
    let (world, reports, proxy, _) = delivers_through(Fault::BlackHole).await;
    assert_eq!(proxy.connections(), 4);
    world.assert_exactly_once(&reports).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_commit_makes_no_second_report() {
    let (world, reports, proxy, flushed) = delivers_through(Fault::AnswerLost).await;
    assert_eq!((flushed.stored, flushed.duplicate), (0, 20), "all were stored at the first call");
    assert_eq!(proxy.connections(), 4);
    world.assert_exactly_once(&reports).await;
}

#[tokio::test]
async fn faults_at_random_lose_nothing_and_double_nothing() {
    for seed in 0..2 {
        let world = World::new().await;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let calm = Arc::new(Mutex::new(false));
        let (is_calm, mut faults) = (Arc::clone(&calm), ChaCha8Rng::from_rng(&mut random));
        let proxy = Proxy::start(world.collector, move || {
            let fault = Fault::random(&mut faults);
            if *is_calm.lock().unwrap() { Fault::None } else { fault }
        })
        .await;
        let wake = Arc::new(Notify::new());
        let mut courier = world.courier(vec![proxy.url()]);
        let mut put = Vec::new();
        for _ in 0..12 {
            let some = reports(random.random_range(0..6));
            world.put(&some);
            put.extend(some);
            wake.notify_one();
            let quiesce = time::sleep(Duration::from_millis(random.random_range(0..300)));
            if random.random_range(0..4) == 0 {
                // Cut off in the middle of whatever it does.
                tokio::select! {
                    () = courier.stay(&wake, pending()) => {}
                    () = quiesce => {}
                }
            } else {
                courier.stay(&wake, quiesce).await;
            }
        }
        *calm.lock().unwrap() = true;
        let delivered = async {
            while !world.is_delivered() {
                time::sleep(Duration::from_millis(10)).await;
            }
        };
        courier.stay(&wake, delivered).await;
        world.assert_exactly_once(&put).await;
    }
}

#[tokio::test]
async fn refused_reports_are_set_aside_after_one_attempt_and_the_others_stored() {
    let world = World::new().await;
    let good = reports(3);
    let report = golden();
    let known = Encoded::new(&report);
    world.put(std::slice::from_ref(&known));
    let mut courier = world.courier(vec![url(world.collector)]);
    courier.flush(None, Duration::from_secs(60)).await;

    let conflicting = Encoded::new(&Report { seed: report.seed ^ 1, ..report });
    let bytes = b"no report".to_vec();
    let garbage = Encoded { id: ReportId::now(), digest: Digest::of(&bytes), bytes };
    let proxy = Proxy::start(world.collector, || Fault::None).await;
    world.put(&good);
    world.put(&[conflicting.clone(), garbage.clone()]);
    let mut courier = world.courier(vec![proxy.url()]);
    let flushed = courier.flush(None, Duration::from_secs(60)).await;
    assert_eq!((flushed.stored, flushed.quarantined, flushed.left), (3, 2, Some(0)));
    let aside = world.spool.quarantined().unwrap();
    let reason = |id| &aside.iter().find(|record| record.id == Some(id)).unwrap().reason;
    assert!(reason(conflicting.id).contains(&known.digest.to_string()), "{aside:?}");
    assert!(reason(garbage.id).contains("rejected the report: report "), "{aside:?}");
    assert_eq!(courier.flush(None, Duration::from_secs(60)).await.quarantined, 0);
    assert_eq!(proxy.connections(), 1, "nothing is sent twice");
    assert_eq!(world.store.runs(None).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_dead_collector_and_one_that_dies_leave_their_turn_to_the_next() {
    let world = World::new().await;
    let reports = reports(20);
    world.put(&reports);
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dying = Proxy::start(world.collector, || Fault::Reset(5_000)).await;
    let urls = vec![url(dead), dying.url(), url(world.collector)];
    let flushed = world.courier(urls).flush(None, Duration::from_secs(60)).await;
    assert_eq!((flushed.stored, flushed.left), (20, Some(0)));
    assert_eq!(dying.connections(), 1);
    dying.accepting.abort();
    world.assert_exactly_once(&reports).await;
    drop(world.folder);
}
