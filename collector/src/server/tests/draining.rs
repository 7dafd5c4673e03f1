//! How a server stops.

use tonic_health::pb::health_check_response::ServingStatus as Said;

use super::{raw::*, *};

fn one(host: &str) -> Vec<Envelope> {
    vec![envelope(&testing::pair(host, 0.5))]
}

#[tokio::test]
async fn accepted_work_is_finished_and_others_hear_that_it_is_over() {
    let server = start_within(Bounds { drain: PATIENCE, ..Bounds::default() }).await;
    let mut health = HealthClient::new(server.channel.clone());
    let request = HealthCheckRequest { service: INGEST.to_owned() };
    let mut watch = health.watch(request.clone()).await.unwrap().into_inner();
    let said = watch.message().await.unwrap().unwrap();
    assert_eq!(said.status(), Said::Serving);

    let mut accepted = Call::begin(&server.channel);
    let bytes = framed(one("accepted"));
    let (begin, end) = bytes.split_at(10);
    accepted.send(begin.to_vec());
    // The call is in once its connection has carried another one after it.
    server.submit(one("before")).await.unwrap();

    server.stop.send(()).unwrap();
    let said = watch.message().await.unwrap().unwrap();
    assert_eq!(said.status(), Said::NotServing);
    let new = connect(server.address).await;
    for channel in [server.channel.clone(), new] {
        let mut health = HealthClient::new(channel.clone());
        let said = health.check(request.clone()).await.unwrap().into_inner();
        assert_eq!(said.status(), Said::NotServing);
        refused(submit(&channel, one("late")).await, Code::Unavailable, "shutting down");
    }
    assert!(!server.ended.is_finished());

    accepted.send(end.to_vec());
    accepted.end();
    let answers = accepted.answer().await.unwrap();
    assert!(matches!(answers[0].outcome, Some(Wire::Stored(_))), "{answers:?}");
    // Whoever watches holds nobody up.
    let served = tokio::time::timeout(PATIENCE, server.ended).await.unwrap().unwrap().unwrap();
    assert_eq!((served.cut_off, served.tally.calls_refused()), (0, 2));
    assert_eq!(server.store.runs(None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_does_not_end_is_cut_off() {
    let server = start_within(Bounds { drain: SHORT, ..Bounds::default() }).await;
    let _held = Call::begin(&server.channel);
    server.submit(one("before")).await.unwrap();
    server.stop.send(()).unwrap();
    let served = tokio::time::timeout(PATIENCE, server.ended).await.unwrap().unwrap().unwrap();
    assert_eq!(served.cut_off, 1);
}

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn batches_in_the_queue_are_committed_first() {
    let store = Arc::new(testing::ToldStore::stalled(|_| None));
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds { drain: PATIENCE, ..Bounds::default() };
    let server = start_over(store.clone(), folder, bounds).await;
    let call = |host: &'static str| {
        let channel = server.channel.clone();
        tokio::spawn(async move { submit(&channel, one(host)).await })
    };
    let first = call("first");
    store.begun(1).await;
    let second = call("second");
    let gone = call("gone");
    tokio::time::sleep(SHORT).await;
    gone.abort();
    server.stop.send(()).unwrap();
    tokio::time::sleep(SHORT).await;
    assert!(!server.ended.is_finished());
    store.go(9);
    for call in [first, second] {
        let answers = call.await.unwrap().unwrap();
        assert!(matches!(answers[0].outcome, Some(Wire::Stored(_))), "{answers:?}");
    }
    let served = server.ended.await.unwrap().unwrap();
    assert_eq!(served.cut_off, 0);
    assert_eq!(store.commits().concat().len(), 3);
}
