//! Readers: what they get, how many there may be, and that the slow ones are cut off.

use fleetmark_agent::delivery::Bearer;
use fleetmark_proto::{
    control::NewToken,
    role::Role,
    v1::{KeptRun, RunsRequest, query_client::QueryClient},
};
use tokio_stream::StreamExt as _;
use tonic::{Status, Streaming, service::interceptor::InterceptedService, transport::Endpoint};
use tonic_types::StatusExt as _;

use super::{raw::PATIENCE, *};
use crate::{
    control::{By, Desk, Issuing},
    identity::Address,
    query::Reading,
    testing::ToldStore,
};

const SOON: Duration = Duration::from_millis(150);

/// Asks for runs.
async fn ask(channel: &Channel, since: Option<Timestamp>) -> Result<Streaming<KeptRun>, Status> {
    let request = convert::runs_request(since);
    Ok(QueryClient::new(channel.clone()).runs(request).await?.into_inner())
}

/// Reads to the end.
async fn rest(mut answer: Streaming<KeptRun>) -> Result<Vec<KeptRun>, Status> {
    let mut runs = Vec::new();
    while let Some(run) = answer.next().await {
        runs.push(run?);
    }
    Ok(runs)
}

/// A connection on which next to nothing may be on its way unread.
pub(super) async fn narrow(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.initial_stream_window_size(65_535);
    endpoint.initial_connection_window_size(65_535).connect().await.unwrap()
}

/// Far more bytes than are ever on their way.
async fn fill(server: &Running) -> usize {
    let report = |_| envelope(&testing::report("a", &[3_000_000; 9_999]));
    let batch: Vec<_> = (0..64).map(report).collect();
    let reports = batch.len();
    for few in batch.chunks(32) {
        server.submit(few.to_vec()).await.unwrap();
    }
    reports
}

async fn start_with(reading: Reading) -> Running {
    start_within(Bounds { reading, idle_in_a_crowd: SOON, ..Bounds::default() }).await
}

/// Waits until somebody else may read.
async fn read_when_possible(channel: &Channel) -> Vec<KeptRun> {
    let reading = async {
        loop {
            match ask(channel, None).await {
                Ok(answer) => return rest(answer).await.unwrap(),
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

#[tokio::test]
async fn what_is_stored_is_read_as_it_was_sent() {
    let server = start_with(Reading { page_bytes: 1, ..Reading::default() }).await;
    assert!(rest(ask(&server.channel, None).await.unwrap()).await.unwrap().is_empty());
    let ages = [3, 1, 2].map(|age| {
        let at = Timestamp::now() - age.hours();
        fleetmark_proto::report::Report {
            started_at: at,
            ended_at: at,
            ..testing::pair(&format!("h{age}"), 0.5)
        }
    });
    let sent_at = Timestamp::now();
    let request = convert::submit_request(ages.iter().map(Encoded::new), sent_at);
    IngestClient::new(server.channel.clone()).submit(request).await.unwrap();

    let runs = rest(ask(&server.channel, None).await.unwrap()).await.unwrap();
    let bytes: Vec<_> = runs.iter().map(|run| run.report.to_vec()).collect();
    assert_eq!(bytes, [0, 2, 1].map(|index: usize| Encoded::new(&ages[index]).bytes));
    for (run, stored) in runs.into_iter().zip(server.store.runs(None).await.unwrap()) {
        let read = convert::read_run(run).unwrap();
        assert_eq!((read.report, read.received_at), (stored.report, stored.received_at));
        assert_eq!(read.sent_at, stored.sent_at);
        assert_eq!(read.sent_at.unwrap().as_microsecond(), sent_at.as_microsecond());
    }
    let since = Some(ages[2].ended_at);
    assert_eq!(rest(ask(&server.channel, since).await.unwrap()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_time_is_refused() {
    let server = start().await;
    let since = Some(prost_types::Timestamp { seconds: 1, nanos: -1 });
    let mut client = QueryClient::new(server.channel.clone());
    let status = client.runs(RunsRequest { since }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("since"), "{status:?}");
}

#[tokio::test]
async fn readers_over_the_limit_are_told_to_come_again() {
    let server = start_with(Reading { calls: 1, ..Reading::default() }).await;
    let reports = fill(&server).await;
    let first = ask(&narrow(server.address).await, None).await.unwrap();
    let refused = ask(&server.channel, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
    assert_eq!(server.submit(vec![]).await.unwrap_err().code(), Code::InvalidArgument);
    drop(first);
    assert_eq!(read_when_possible(&server.channel).await.len(), reports);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let server = start_with(Reading { calls: 1, pause: SOON, ..Reading::default() }).await;
    let reports = fill(&server).await;
    let stalled = ask(&narrow(server.address).await, None).await.unwrap();
    assert_eq!(read_when_possible(&server.channel).await.len(), reports);
    let cut_off = tokio::time::timeout(PATIENCE, rest(stalled)).await.unwrap();
    assert!(cut_off.is_err(), "a part must not pass for the whole");
}

#[tokio::test]
async fn the_connection_of_a_reader_that_takes_nothing_is_closed() {
    let reading = Reading { pause: SOON, ..Reading::default() };
    let bounds = Bounds { reading, connections: 1, idle_in_a_crowd: SOON, ..Bounds::default() };
    let server = start_within(bounds).await;
    fill(&server).await;
    drop(server.channel);
    let _stalled = ask(&narrow(server.address).await, None).await.unwrap();
    let other = tokio::time::timeout(PATIENCE, connect(server.address)).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, submit(&other, vec![])).await.unwrap();
    assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument, "there is room again");
}

#[tokio::test]
async fn reading_has_an_end() {
    let store = Arc::new(ToldStore::stalled(|_| None));
    let reading = Reading { whole: SOON, ..Reading::default() };
    let bounds = Bounds { reading, ..Bounds::default() };
    let server = start_over(store, tempfile::tempdir().unwrap(), bounds).await;
    let answer = ask(&server.channel, None).await.unwrap();
    let status = tokio::time::timeout(PATIENCE, rest(answer)).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
}

#[tokio::test]
async fn who_is_revoked_while_reading_gets_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    let (store, registry) = store::open_both(&url, Mode::Write).await.unwrap();
    let local = start_over(Arc::clone(&store), folder, Bounds::default()).await;
    let reports = fill(&local).await;
    let by = By { who: "test".into(), address: Address::Here, at: Timestamp::now() };
    let desk = Desk::new(Arc::clone(&registry), Issuing::default());
    let asked = NewToken {
        role: Role::Reader,
        host: None,
        uses: 0,
        ttl: PATIENCE,
        labels: [].into(),
        replace_host: None,
        network: None,
        note: String::new(),
    };
    let created = desk.create_token(asked, &by).await.unwrap();
    let bearer = Bearer::new(&created.token.parse().unwrap());

    // It is one page: what was read before is not sent either.
    let reading = Reading { page_bytes: 1 << 30, ..Reading::default() };
    let bounds = Bounds { refresh: SOON, reading, ..Bounds::default() };
    let trust = Trust { loopback: false, network: false };
    let setup = Setup { trust, registry: Some(registry), ..Setup::local(bounds) };
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_as(setup, listener.into(), store, std::future::pending()));
    let channel = InterceptedService::new(narrow(address).await, bearer);
    let mut client = QueryClient::new(channel);
    let all = client.runs(convert::runs_request(None)).await.unwrap().into_inner();
    assert_eq!(rest(all).await.unwrap().len(), reports);
    let answer = client.runs(convert::runs_request(None)).await.unwrap().into_inner();
    assert!(desk.revoke_token(created.known.id, &by).await.unwrap());
    let refused = async {
        let is_denied = |status: Status| status.code() == Code::Unauthenticated;
        while !client.runs(convert::runs_request(None)).await.is_err_and(is_denied) {
            tokio::time::sleep(SOON / 8).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
    let status = rest(answer).await.map(|runs| runs.len()).unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_not_told_of_in_detail() {
    let server = start().await;
    fill(&server).await;
    let path = server._folder.path().join("store.db");
    rusqlite::Connection::open(path).unwrap().execute_batch("DROP TABLE run").unwrap();
    let status = rest(ask(&server.channel, None).await.unwrap()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the store cannot be read; the collector's log says why");
}

#[tokio::test]
async fn who_reads_when_the_collector_stops_may_read_on() {
    let server = start().await;
    let reports = fill(&server).await;
    let answer = ask(&narrow(server.address).await, None).await.unwrap();
    server.stop.send(()).unwrap();
    assert_eq!(rest(answer).await.unwrap().len(), reports);
    assert_eq!(server.ended.await.unwrap().unwrap().cut_off, 0);
}
