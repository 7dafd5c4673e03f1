//! Connections that say nothing, do nothing, or are too many.

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{raw::*, *};

const SOON: Duration = Duration::from_millis(150);

fn one() -> Vec<Envelope> {
    vec![envelope(&testing::pair("a", 0.5))]
}

#[tokio::test]
async fn who_does_not_speak_http2_is_cut_off() {
    let server = start_within(Bounds { preface: SOON, ..Bounds::default() }).await;
    closed(TcpStream::connect(server.address).await.unwrap()).await;
    let mut trickling = TcpStream::connect(server.address).await.unwrap();
    for byte in b"PRI * HTTP/2.0" {
        if trickling.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(SOON / 8).await;
    }
    closed(trickling).await;
    server.submit(one()).await.unwrap();
}

#[tokio::test]
async fn who_has_no_call_is_cut_off() {
    let server = start_within(Bounds { idle: SOON, ..Bounds::default() }).await;
    closed(http2(server.address).await).await;
}

#[tokio::test]
async fn who_has_a_call_is_not() {
    let bounds = Bounds { idle: SOON, preface: SOON, ..Bounds::default() };
    let server = start_within(bounds).await;
    let mut call = Call::begin(&server.channel);
    let bytes = framed(one());
    let (begin, end) = bytes.split_at(10);
    call.send(begin.to_vec());
    tokio::time::sleep(SOON * 4).await;
    assert!(!call.is_answered());
    call.send(end.to_vec());
    call.end();
    assert_eq!(call.answer().await.unwrap().len(), 1);
}

#[tokio::test]
async fn connections_over_the_limit_wait_until_others_end() {
    let server = start_within(Bounds { connections: 2, ..Bounds::default() }).await;
    let second = http2(server.address).await;
    let address = server.address;
    let third = tokio::spawn(async move { submit(&connect(address).await, one()).await });
    tokio::time::sleep(SOON).await;
    assert!(!third.is_finished(), "there is no room for it");
    server.submit(one()).await.unwrap();
    drop(second);
    let answers = tokio::time::timeout(PATIENCE, third).await.unwrap().unwrap();
    assert_eq!(answers.unwrap().len(), 1);
}

#[tokio::test]
async fn the_idle_make_room_in_a_crowd() {
    let bounds = Bounds { connections: 2, idle_in_a_crowd: SOON, ..Bounds::default() };
    let server = start_within(bounds).await;
    let idle = http2(server.address).await;
    let other = tokio::time::timeout(PATIENCE, connect(server.address)).await.unwrap();
    let answers = tokio::time::timeout(PATIENCE, submit(&other, one())).await.unwrap();
    assert_eq!(answers.unwrap().len(), 1);
    closed(idle).await;
}

#[tokio::test]
async fn who_only_watches_makes_room_in_a_crowd_and_may_stay_otherwise() {
    let bounds = Bounds { connections: 3, idle: SOON, idle_in_a_crowd: SOON, ..Bounds::default() };
    let server = start_within(bounds).await;
    let watch = async |channel: Channel| {
        let request = HealthCheckRequest { service: String::new() };
        let mut answers = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().status, 1, "SERVING");
        answers
    };
    let _own = watch(server.channel.clone()).await;
    let mut watching = watch(connect(server.address).await).await;
    tokio::time::sleep(SOON * 4).await;
    let next = tokio::time::timeout(Duration::ZERO, watching.message()).await;
    assert!(next.is_err(), "there is room for it: {next:?}");
    let busy = connect(server.address).await;
    let mut call = Call::begin(&busy);
    call.send(framed(one()));
    // They are as many as there may be now, and a further one waits.
    let other = tokio::time::timeout(PATIENCE, connect(server.address)).await.unwrap();
    let answers = tokio::time::timeout(PATIENCE, submit(&other, one())).await.unwrap();
    assert_eq!(answers.unwrap().len(), 1);
    tokio::time::timeout(PATIENCE, watching.message()).await.unwrap().unwrap_err();
    call.end();
    assert_eq!(call.answer().await.unwrap().len(), 1, "who has a call has not made room");
}

#[tokio::test]
async fn many_connections_are_served() {
    let server = start_within(Bounds { calls: 300, ..Bounds::default() }).await;
    let address = server.address;
    let calls: Vec<_> = (0..300)
        .map(|_| tokio::spawn(async move { submit(&connect(address).await, one()).await }))
        .collect();
    for call in calls {
        let answers = tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
        assert!(matches!(answers[0].outcome, Some(Wire::Stored(_))), "{answers:?}");
    }
    assert_eq!(server.stored().await, 300);
}

#[test]
fn there_are_no_more_connections_than_files() {
    let connections = |files| Bounds::default().with_open_files(files).connections;
    assert_eq!(connections(None), limits::CONNECTIONS);
    assert_eq!(connections(Some(1_000_000)), limits::CONNECTIONS);
    assert_eq!(connections(Some(1_024)), 960);
    assert_eq!(connections(Some(3)), 1);
    let limit = raise_open_files();
    assert_eq!(limit, rustix::process::getrlimit(rustix::process::Resource::Nofile).current);
}
