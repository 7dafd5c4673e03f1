//! The courier of a daemon: it waits, is woken, and is quiet when it is told.

use std::{sync::Arc, time::Duration};

use fleetmark_proto::{convert::Outcome, id::ReportId};
use tokio::{
    sync::{Notify, oneshot},
    time::{self, Instant},
};
use tonic::{Code, Status};

use super::MINUTE;
use crate::delivery::{
    Again, Event,
    testing::{Reply, World},
};

#[tokio::test(start_paused = true)]
async fn what_comes_into_the_spool_is_delivered_when_the_courier_is_woken() {
    let world = World::new();
    let wake = Arc::new(Notify::new());
    let mut courier = world.courier(&["a"]);
    let (quiesce, told) = oneshot::channel::<()>();
    let staying = {
        let wake = Arc::clone(&wake);
        tokio::spawn(async move {
            courier.stay(&wake, async { told.await.unwrap() }).await;
            courier
        })
    };
    time::sleep(5 * MINUTE).await;
    assert_eq!(world.dials(), [""; 0], "nothing to deliver, nothing to connect for");
    for round in 1..=3 {
        world.fill::<2>();
        let put = Instant::now();
        wake.notify_one();
        world.until(|world| world.waiting().is_empty()).await;
        assert!(put.elapsed() < Duration::from_secs(1), "it did not wait for a rescan");
        time::sleep(Duration::from_secs(1)).await;
        assert_eq!((world.calls().len(), world.open()), (round, 0), "and then holds no connection");
    }
    // Another process has put this one there.
    world.fill::<1>();
    let put = Instant::now();
    world.until(|world| world.waiting().is_empty()).await;
    assert!(put.elapsed() <= MINUTE);
    quiesce.send(()).unwrap();
    staying.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn told_to_be_quiet_it_drops_a_call_that_hangs_and_closes_its_connection() {
    let world = World::new();
    let ids = world.fill::<2>();
    world.reply([Reply::Hang]);
    let mut courier = world.courier(&["a"]);
    let wake = Notify::new();
    let calling = world.until(|world| world.calls().len() == 1);
    let begun = Instant::now();
    courier.stay(&wake, calling).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(world.open(), 0);
    assert_eq!(world.waiting(), ids);
    courier.stay(&wake, world.until(|world| world.waiting().is_empty())).await;
}

#[tokio::test(start_paused = true)]
async fn told_to_be_quiet_it_hears_an_answer_that_is_about_to_come() {
    let world = World::new();
    world.fill::<300>();
    let mut courier = world.courier(&["a"]);
    courier.stay(&Notify::new(), std::future::ready(())).await;
    assert_eq!(world.calls().len(), 0, "nothing is begun");
    let quiet = Arc::new(Notify::new());
    let said = Arc::clone(&quiet);
    world.reply([Reply::each(move |_| {
        said.notify_one();
        Some(Outcome::Stored)
    })]);
    courier.stay(&Notify::new(), quiet.notified()).await;
    assert_eq!((world.calls().len(), world.waiting().len()), (1, 44));
}

#[tokio::test(start_paused = true)]
async fn what_it_waits_for_it_still_waits_for_after_it_was_quiet() {
    let world = World::new();
    world.fill::<1>();
    world.reply([Reply::Fail(Status::new(Code::PermissionDenied, "who are you?"))]);
    let mut courier = world.courier(&["a"]);
    let wake = Notify::new();
    for _ in 0..9 {
        wake.notify_one();
        let begun = Instant::now();
        courier.stay(&wake, time::sleep(MINUTE)).await;
        assert_eq!(begun.elapsed(), MINUTE, "it is quiet at once while it waits");
        assert_eq!(world.calls().len(), 1);
    }
    courier.stay(&wake, time::sleep(3 * MINUTE)).await;
    assert_eq!(world.waiting(), []);
    let [first, second] = &world.calls()[..] else { panic!("{:?}", world.calls()) };
    assert!(second.at - first.at > 10 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_is_told_once_and_its_end_once() {
    let world = World::new();
    world.stop("a");
    world.fill::<1>();
    let mut courier = world.courier(&["a"]);
    let wake = Notify::new();
    courier.stay(&wake, time::sleep(60 * MINUTE)).await;
    assert!((60..240).contains(&world.dials().len()), "{}", world.dials().len());
    assert_eq!(world.told().len(), 1, "{:?}", world.told());
    world.start("a");
    courier.stay(&wake, time::sleep(2 * MINUTE)).await;
    world.fill::<1>();
    courier.stay(&wake, time::sleep(2 * MINUTE)).await;
    assert_eq!(world.told().len(), 2, "{:?}", world.told());
    assert_eq!(world.told()[1], "delivering again, to http://a:7600/");
    assert_eq!(world.waiting(), []);
}

#[tokio::test(start_paused = true)]
async fn that_only_an_operator_can_help_is_told_beside_an_outage() {
    let world = World::new();
    world.fill::<1>();
    let fail = |code| Reply::Fail(Status::new(code, format!("no\u{7}\nway: {code:?}")));
    world.reply(
        [Code::Unavailable, Code::Unavailable, Code::Unauthenticated, Code::Unauthenticated]
            .map(fail),
    );
    let mut courier = world.courier(&["a"]);
    courier.stay(&Notify::new(), world.until(|world| world.waiting().is_empty())).await;
    let failures = world.events().into_iter().filter_map(|event| match event {
        Event::Failing { reason, again } => Some((reason, again)),
        _ => None,
    });
    let reason = |code: &str| format!("the collector at http://a:7600/ answers: no way: {code}");
    assert_eq!(
        failures.collect::<Vec<_>>(),
        [
            (reason("Unavailable"), Again::Backoff),
            (reason("Unauthenticated"), Again::Pause(10 * MINUTE))
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn whose_token_counts_no_more_is_turned_away_until_it_is_let_in() {
    let world = World::new();
    world.fill::<1>();
    let unknown = Status::unauthenticated("this bearer token is unknown here, or was revoked");
    world.reply([Reply::Fail(unknown)]);
    let mut courier = world.courier(&["a"]);
    let turned_away = courier.turned_away();
    courier.stay(&Notify::new(), time::sleep(5 * MINUTE)).await;
    assert!(turned_away.is_so());
    courier.stay(&Notify::new(), world.until(|world| world.waiting().is_empty())).await;
    assert!(!turned_away.is_so());
}

#[tokio::test(start_paused = true)]
async fn the_backoff_starts_anew_after_a_success() {
    let world = World::new();
    let mut courier = world.courier(&["a"]);
    let fail = |_| Reply::Fail(Status::unavailable("no"));
    for _ in 0..2 {
        world.put(ReportId::now(), 10);
        world.reply([(); 12].map(fail));
        let before = world.calls().len();
        courier.stay(&Notify::new(), world.until(|world| world.waiting().is_empty())).await;
        let calls = &world.calls()[before..];
        assert_eq!(calls.len(), 13);
        assert!(calls[1].at - calls[0].at <= Duration::from_millis(501));
        assert!(calls[12].at - calls[7].at > Duration::from_secs(10), "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_cannot_be_read_is_told_once_and_tried_again() {
    let world = World::new();
    world.fill::<1>();
    let folder = world.folder.path().join("spool");
    let away = world.folder.path().join("away");
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "a file").unwrap();
    let mut courier = world.courier(&["a"]);
    courier.stay(&Notify::new(), time::sleep(10 * MINUTE)).await;
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("the spool is in trouble: "), "{told:?}");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    courier.stay(&Notify::new(), world.until(|world| world.waiting().is_empty())).await;
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_away_costs_no_look_at_the_spool() {
    let world = World::new();
    world.stop("a");
    let ids = world.fill::<300>();
    let mut courier = world.courier(&["a"]);
    let folder = world.folder.path().join("spool");
    let away = world.folder.path().join("away");
    let outage = async {
        world.until(|world| world.dials().len() == 1).await;
        // Whoever looks now finds no spool, and says so.
        std::fs::rename(&folder, &away).unwrap();
        time::sleep(10 * MINUTE).await;
        std::fs::rename(&away, &folder).unwrap();
        // Some were delivered by another agent meanwhile.
        world.spool.remove(&ids[..100]).unwrap();
        world.start("a");
        world.until(|world| world.waiting().is_empty()).await;
    };
    courier.stay(&Notify::new(), outage).await;
    let [outage, end] = &world.told()[..] else { panic!("{:?}", world.told()) };
    assert!(outage.starts_with("cannot deliver: no collector answers"), "{outage}");
    assert!(end.starts_with("delivering again"), "{end}");
    let sent: Vec<_> = world.calls().into_iter().flat_map(|call| call.ids).collect();
    assert_eq!(sent, ids[100..], "oldest first, each once");
}
