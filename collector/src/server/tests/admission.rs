//! Who gets in, and who is told to come again.

use super::{raw::*, *};
use crate::{store::StoreError, testing::ToldStore};

fn one(host: &str) -> Vec<Envelope> {
    vec![envelope(&testing::pair(host, 0.5))]
}

/// A report of over 8 kB.
fn large(host: &str) -> Vec<Envelope> {
    let mut report = testing::pair(host, 0.5);
    for label in 0..30 {
        report.labels.insert(format!("label-{label}"), "x".repeat(250));
    }
    vec![envelope(&report)]
}

async fn start_with(store: ToldStore, bounds: Bounds) -> (Arc<ToldStore>, Running) {
    let store = Arc::new(store);
    let server = start_over(store.clone(), tempfile::tempdir().unwrap(), bounds).await;
    (store, server)
}

/// Waits until the server refuses calls, as it does once it noticed those before.
async fn until_refused(server: &Running, reports: &[Envelope]) -> tonic::Status {
    eventually(async || server.submit(reports.to_vec()).await.err()).await
}

#[tokio::test]
async fn calls_over_the_limit_are_told_when_to_come_again() {
    let drain = Duration::from_millis(100);
    let bounds = Bounds { let_in: 2, drain, arrival_in_a_crowd: PATIENCE, ..Bounds::default() };
    let server = start_within(bounds).await;
    let mut held = Call::begin(&server.channel);
    let _held_too = Call::begin(&connect(server.address).await);
    let refusal = until_refused(&server, &one("a")).await;
    refused::<()>(Err(refusal), Code::Unavailable, "as many calls as it can");
    let other = connect(server.address).await;
    refused(submit(&other, one("b")).await, Code::Unavailable, "as many calls as it can");
    let mut health = HealthClient::new(other);
    let request = HealthCheckRequest { service: INGEST.to_owned() };
    assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "health gets in");

    held.send(framed(one("held")));
    held.end();
    assert!(matches!(held.answer().await.unwrap()[0].outcome, Some(Wire::Stored(_))));
    eventually(async || server.submit(one("c")).await.ok()).await;
    server.stop.send(()).unwrap();
    let served = server.ended.await.unwrap().unwrap();
    assert!(served.tally.calls_refused() >= 2);
}

#[tokio::test]
async fn a_call_is_refused_before_its_request_is_read() {
    let server = start_within(Bounds { calls: 0, ..Bounds::default() }).await;
    let call = Call::begin(&server.channel);
    call.send(vec![0xff; 100]);
    refused(call.answer().await, Code::Unavailable, "as many calls as it can");
}

#[tokio::test]
async fn who_is_slow_keeps_nobody_out() {
    let server = start_within(Bounds { calls: 1, ..Bounds::default() }).await;
    let _arriving: Vec<_> = (0..20).map(|_| Call::begin(&server.channel)).collect();
    for host in ["a", "b"] {
        eventually(async || server.submit(one(host)).await.ok()).await;
    }
}

#[tokio::test]
async fn who_has_many_calls_on_their_way_gives_way_at_once() {
    let server = start_within(Bounds { arrival_in_a_crowd: PATIENCE, ..Bounds::default() }).await;
    let mut modest = Call::begin(&server.channel);
    let mut flood = vec![];
    for _ in 0..=limits::CALLS_LET_IN / 128 {
        let channel = connect(server.address).await;
        flood.extend((0..limits::CONNECTION_CALLS).map(|_| Call::begin(&channel)));
    }
    // It is full when the flood itself is refused.
    eventually(async || flood.iter().any(Call::is_answered).then_some(())).await;
    for host in ["a", "b", "c"] {
        let other = connect(server.address).await;
        assert_eq!(submit(&other, one(host)).await.unwrap().len(), 1);
    }
    modest.send(framed(one("modest")));
    modest.end();
    assert_eq!(modest.answer().await.unwrap().len(), 1, "it had one, and kept its place");
    for call in flood.into_iter().filter(Call::is_answered) {
        let status = call.answer().await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(come_again(&status) >= Duration::from_secs(1));
    }
}

#[tokio::test]
async fn among_equals_the_one_longest_on_its_way_gives_way_in_time() {
    let arrival_in_a_crowd = Duration::from_millis(300);
    let server = start_within(Bounds { let_in: 2, arrival_in_a_crowd, ..Bounds::default() }).await;
    let other = connect(server.address).await;
    let mut calls = [Call::begin(&server.channel), Call::begin(&other)];
    let newcomer = connect(server.address).await;
    eventually(async || submit(&newcomer, one("early")).await.err()).await;
    let begun = Instant::now();
    eventually(async || submit(&newcomer, one("late")).await.ok()).await;
    assert!(begun.elapsed() < limits::ARRIVAL / 2, "it is not waited for those that are too slow");
    eventually(async || calls.iter().any(Call::is_answered).then_some(())).await;
    calls.sort_by_key(|call| !call.is_answered());
    let [gone, mut stays] = calls;
    refused(gone.answer().await, Code::Unavailable, "another call needed its place");
    stays.send(framed(one("stays")));
    stays.end();
    assert_eq!(stays.answer().await.unwrap().len(), 1);
}

#[tokio::test]
async fn who_comes_while_there_is_enough_work_is_told_when_to_come_again() {
    let bounds = Bounds { calls: 1, ..Bounds::default() };
    let (store, server) = start_with(ToldStore::stalled(|_| None), bounds).await;
    let mut arriving = Call::begin(&server.channel);
    arriving.send(framed(one("arriving")));
    let channel = server.channel.clone();
    let working = tokio::spawn(async move { submit(&channel, one("working")).await });
    store.begun(1).await;
    refused(server.submit(one("late")).await, Code::Unavailable, "as many calls as it can");
    arriving.end();
    store.go(usize::MAX >> 4);
    assert_eq!(arriving.answer().await.unwrap().len(), 1, "it was let in before");
    assert_eq!(working.await.unwrap().unwrap().len(), 1);
}

#[tokio::test]
async fn bytes_over_the_limit_are_told_when_to_come_again_and_given_back() {
    let server = start_within(Bounds { bodies_bytes: 9_000, ..Bounds::default() }).await;
    let mut both = large("a");
    both.extend(large("b"));
    for _ in 0..3 {
        let too_much = server.submit(both.clone()).await;
        refused(too_much, Code::Unavailable, "as many bytes of requests as it can");
        eventually(async || server.submit(large("a")).await.ok()).await;
    }
    let bytes = framed(large("held"));
    let (begin, end) = bytes.split_at(5_000);
    // The bytes of a call are given back a moment after its answer.
    let mut held = eventually(async || {
        let held = Call::begin(&server.channel);
        held.send(begin.to_vec());
        tokio::time::sleep(Duration::from_millis(50)).await;
        (!held.is_answered()).then_some(held)
    })
    .await;
    let refusal = until_refused(&server, &large("c")).await;
    refused::<()>(Err(refusal), Code::Unavailable, "as many bytes of requests as it can");
    held.send(end.to_vec());
    held.end();
    assert_eq!(held.answer().await.unwrap().len(), 1);
    eventually(async || server.submit(large("c")).await.ok()).await;
}

#[tokio::test]
async fn a_call_has_one_message() {
    let server = start().await;
    let call = Call::begin(&server.channel);
    let message =
        framed(vec![Envelope { report: vec![0; 3_000_000].into(), ..Envelope::default() }]);
    for _ in 0..2 {
        call.send(message.clone());
    }
    let status = call.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}

#[tokio::test]
async fn a_trickling_request_is_cut_off_and_its_place_is_free() {
    let arrival = Duration::from_millis(200);
    let server = start_within(Bounds { let_in: 1, arrival, ..Bounds::default() }).await;
    let silent = Call::begin(&server.channel);
    refused(silent.answer().await, Code::DeadlineExceeded, "did not arrive in time");
    let trickling = Call::begin(&server.channel);
    for byte in framed(one("a")) {
        if trickling.is_answered() {
            break;
        }
        trickling.send(vec![byte]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refused(trickling.answer().await, Code::DeadlineExceeded, "did not arrive in time");
    eventually(async || server.submit(one("b")).await.ok()).await;
    assert_eq!(server.stored().await, 1);
}

#[tokio::test]
async fn a_slow_store_is_not_waited_for_without_end() {
    let bounds = Bounds { call: Duration::from_millis(200), ..Bounds::default() };
    let (store, server) = start_with(ToldStore::stalled(|_| None), bounds).await;
    let late = server.submit(one("a")).await;
    refused(late, Code::DeadlineExceeded, "did not answer in time");
    store.go(1);
}

#[tokio::test]
async fn a_full_queue_is_told_when_to_come_again() {
    let grouping = Grouping { queue: 1, ..Grouping::default() };
    let bounds = Bounds { grouping, ..Bounds::default() };
    let (store, server) = start_with(ToldStore::stalled(|_| None), bounds).await;
    let mut accepted = vec![];
    let refusal = loop {
        let channel = server.channel.clone();
        let mut call = tokio::spawn(async move { submit(&channel, one("a")).await });
        match tokio::time::timeout(Duration::from_millis(300), &mut call).await {
            Ok(answer) => break answer.unwrap(),
            Err(_) => accepted.push(call),
        }
        assert!(accepted.len() <= 2, "one in the commit, one in the queue");
    };
    refused(refusal, Code::Unavailable, "as many batches to store");
    store.go(accepted.len());
    for call in accepted {
        assert_eq!(call.await.unwrap().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_store_that_fails_is_told_as_such_and_names_no_files() {
    let fails = |host: &str| (host == "bad").then(|| StoreError::Missing("/secret".into()));
    let (_store, server) = start_with(ToldStore::new(fails), Bounds::default()).await;
    let status = server.submit(one("bad")).await.unwrap_err();
    assert!(come_again(&status) >= Duration::from_secs(10), "longer than for a busy moment");
    assert!(!status.message().contains("secret"));
    refused::<()>(Err(status), Code::Unavailable, "send it again");
    assert_eq!(server.submit(one("good")).await.unwrap().len(), 1);
    server.stop.send(()).unwrap();
    assert_eq!(server.ended.await.unwrap().unwrap().tally.calls_refused(), 1);
}
