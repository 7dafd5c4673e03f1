//! What the agent does at each code that a collector may answer.

use std::time::Duration;

use fleetmark_proto::convert::Outcome;
use tokio::sync::Notify;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{MINUTE, SHORT};
use crate::delivery::testing::{Call, DETAILS, Reply, World};

const ASKED: Duration = Duration::from_secs(7);

fn fail(code: Code, asked: Option<Duration>) -> Reply {
    let details = ErrorDetails::with_retry_info(asked);
    Reply::Fail(match asked {
        None => Status::new(code, "no"),
        Some(_) => Status::with_error_details(code, "no", details),
    })
}

/// Lets a daemon's courier deliver until the spool is empty.
async fn deliver(world: &World) {
    let mut courier = world.courier(&["a"]);
    courier.stay(&Notify::new(), world.until(|world| world.waiting().is_empty())).await;
}

/// What a courier did between two calls.
#[derive(Debug, PartialEq)]
enum Seen {
    /// Waited for a random time of at most this over that.
    Retried { over: Duration, at_most: Duration },
    /// Sent half at once.
    Halved,
    /// Waited for ten minutes.
    Paused,
}

fn seen(calls: &[Call]) -> Seen {
    let [first, second, ..] = calls else { panic!("{calls:?}") };
    let gap = second.at - first.at;
    let pause = 10 * MINUTE;
    if second.ids.len() < first.ids.len() {
        assert_eq!(second.ids, first.ids[..first.ids.len() / 2]);
        assert_eq!(gap, Duration::ZERO);
        return Seen::Halved;
    }
    assert_eq!(first.ids, second.ids);
    let half = Duration::from_millis(500);
    // The clock of a test ticks in milliseconds.
    let tick = Duration::from_millis(1);
    match gap {
        gap if gap <= half + tick => Seen::Retried { over: Duration::ZERO, at_most: half },
        gap if gap > ASKED && gap <= 2 * ASKED + tick => {
            Seen::Retried { over: ASKED, at_most: ASKED }
        }
        gap if gap > pause && gap <= pause + MINUTE + tick => Seen::Paused,
        gap => panic!("waited for {gap:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_code_has_its_consequence_with_and_without_retry_info() {
    let retried = Seen::Retried { over: Duration::ZERO, at_most: Duration::from_millis(500) };
    let asked = Seen::Retried { over: ASKED, at_most: ASKED };
    for code in (0..17).map(Code::from_i32) {
        let expected = match code {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
            | Code::Unknown
            | Code::ResourceExhausted => [&retried, &asked],
            Code::OutOfRange => [&Seen::Halved, &Seen::Halved],
            _ => [&Seen::Paused, &Seen::Paused],
        };
        for (asked, expected) in [None, Some(ASKED)].into_iter().zip(expected) {
            let world = World::new();
            let ids = world.fill::<2>();
            world.reply([
                fail(code, asked),
                Reply::each({
                    let world = world.clone();
                    move |_| {
                        assert_eq!(world.waiting(), ids, "nothing has left the spool for {code:?}");
                        Some(Outcome::Stored)
                    }
                }),
            ]);
            deliver(&world).await;
            assert_eq!(seen(&world.calls()), *expected, "{code:?} with {asked:?}");
            assert_eq!(world.quarantined(), [], "{code:?}");
            let told = match expected {
                Seen::Halved => vec![],
                Seen::Retried { .. } => vec![
                    "the reports stay in the spool, retrying",
                    "delivering again, to http://a:7600/",
                ],
                Seen::Paused => vec![
                    "the reports stay in the spool, next try in 10m",
                    "delivering again, to http://a:7600/",
                ],
            };
            let heard = world.told();
            assert_eq!(heard.len(), told.len(), "{code:?}: {heard:?}");
            assert!(
                heard.iter().zip(&told).all(|(heard, told)| heard.ends_with(told)),
                "{heard:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_where_only_an_operator_can_help() {
    for code in (0..17).map(Code::from_i32) {
        let world = World::new();
        world.fill::<2>();
        world.reply([fail(code, None)]);
        let flushed = world.courier(&["a"]).flush(None, 60 * MINUTE).await;
        let retried = world.calls().len() > 1;
        assert_eq!(flushed.left, Some(if retried { 0 } else { 2 }), "{code:?}");
        assert_eq!(!retried, flushed.reason.is_some() && flushed.stored == 0, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_third_refusal_in_a_row_halves_the_batch() {
    let world = World::new();
    let ids = world.fill::<8>();
    let refusal = || fail(Code::ResourceExhausted, None);
    world.reply(std::iter::repeat_with(refusal).take(6));
    deliver(&world).await;
    let sizes: Vec<_> = world.calls().iter().map(|call| call.ids.len()).collect();
    assert_eq!(sizes, [8, 8, 8, 4, 4, 4, 2, 2, 2, 2]);
    assert_eq!(world.calls()[6].ids, ids[..2]);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_say_when_to_come_back_halve_nothing() {
    let world = World::new();
    world.fill::<8>();
    let refusal = |asked| fail(Code::ResourceExhausted, asked);
    world.reply([None, None, Some(ASKED), None, None].map(refusal));
    world.reply([fail(Code::Unavailable, None), refusal(None), refusal(None)]);
    deliver(&world).await;
    assert!(world.calls().iter().all(|call| call.ids.len() == 8));
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_too_long_even_alone_stays_and_holds_nobody_up_for_ever() {
    let world = World::new();
    let [long, ..] = world.fill::<8>();
    let too_long = |_| fail(Code::OutOfRange, None);
    world.reply([(); 4].map(too_long));
    world.reply([Reply::each(|_| Some(Outcome::Stored)), too_long(())]);
    let mut courier = world.courier(&["a"]);
    courier.stay(&Notify::new(), world.until(|world| world.waiting() == [long])).await;
    let sizes: Vec<_> = world.calls().iter().map(|call| call.ids.len()).collect();
    assert_eq!(sizes[..5], [8, 4, 2, 1, 7]);
    assert!(world.calls()[4].at - world.calls()[3].at > 10 * MINUTE, "a new attempt");
    assert_eq!(world.quarantined(), []);
    // The collector's owner has raised its limit.
    deliver(&world).await;
}

#[tokio::test(start_paused = true)]
async fn details_that_are_no_details_are_survived() {
    let world = World::new();
    world.fill::<1>();
    let mut garbled = Status::unavailable("no");
    garbled.metadata_mut().insert(DETAILS, "not base64!".parse().unwrap());
    let details = vec![0xff; 9].into();
    let odd = Status::with_details(Code::Aborted, "", details);
    world.reply([garbled, odd].map(Reply::Fail));
    let flushed = world.courier(&["a"]).flush(None, SHORT).await;
    assert_eq!(flushed.stored, 1);
    assert_eq!(world.calls().len(), 3);
}
