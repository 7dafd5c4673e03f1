//! The courier against collectors in memory, by a clock that runs only when all wait.

mod codes;
mod identity;
mod joining;
mod random;
mod staying;

use std::time::Duration;

use fleetmark_proto::{
    convert::Outcome,
    id::{Digest, ReportId},
    invalid::Invalid,
    limits,
};
use tokio::{
    sync::Notify,
    time::{self, Instant},
};
use tonic::{Code, Status};
use uuid::{Timestamp, Uuid};

use super::{
    Fate, Flushed,
    testing::{HOLE, Reply, World, url},
};

const MINUTE: Duration = Duration::from_secs(60);
/// What `run` allows.
const SHORT: Duration = limits::DELIVERY;

fn nothing() -> Flushed {
    Flushed {
        first: None,
        stored: 0,
        duplicate: 0,
        quarantined: 0,
        left: Some(0),
        foreign: 0,
        reason: None,
    }
}

/// Compares what counts; errors are compared by what they say.
#[track_caller]
fn assert_came_to(flushed: &Flushed, expected: &Flushed) {
    assert_eq!(format!("{flushed:?}"), format!("{expected:?}"));
}

fn made_days_ago(days: u64) -> ReportId {
    let now = jiff::Timestamp::now().as_second();
    let then = u64::try_from(now).unwrap() - days * 24 * 60 * 60;
    let uuid = Uuid::new_v7(Timestamp::from_unix_time(then, 0, 0, 0));
    ReportId::from_bytes(uuid.as_bytes()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn all_that_waits_is_delivered_and_the_connection_closed() {
    let world = World::new();
    let ids = world.fill::<3>();
    let known = ids[1];
    world.reply([Reply::each(move |id| {
        Some(if id == known { Outcome::Duplicate } else { Outcome::Stored })
    })]);
    let flushed = world.courier(&["a"]).flush(None, SHORT).await;
    assert_came_to(&flushed, &Flushed { stored: 2, duplicate: 1, ..nothing() });
    assert_eq!(world.calls()[0].ids, ids, "oldest first");
    assert_eq!(world.waiting(), []);
    assert_eq!((world.calls().len(), world.open()), (1, 0));
    assert_eq!(world.told(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_spool_needs_no_connection() {
    let world = World::new();
    assert_came_to(&world.courier(&["a"]).flush(None, SHORT).await, &nothing());
    assert_eq!(world.dials(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_report_of_this_run_goes_first() {
    let world = World::new();
    let [.., last] = world.fill::<300>();
    let flushed = world.courier(&["a"]).flush(Some(last), SHORT).await;
    let first = Fate::Answered { url: url("a"), outcome: Outcome::Stored };
    assert_came_to(&flushed, &Flushed { first: Some(first), stored: 300, ..nothing() });
    assert_eq!(world.calls()[0].ids[0], last);
}

#[tokio::test(start_paused = true)]
async fn batches_are_bounded_in_reports_and_bytes() {
    let world = World::new();
    world.fill::<300>();
    let third = limits::REPORT_BYTES / 3;
    for bytes in [third, third, third, limits::REPORT_BYTES, 10] {
        world.put(ReportId::now(), bytes);
    }
    world.courier(&["a"]).flush(None, SHORT).await;
    let sizes: Vec<_> = world.calls().iter().map(|call| call.ids.len()).collect();
    assert_eq!(sizes, [256, 44 + 2, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn refused_reports_go_to_quarantine_after_one_attempt_while_the_others_are_stored() {
    let world = World::new();
    let [one, rejected, two, conflicting] = world.fill::<4>();
    let kept = Digest::of(b"other bytes");
    world.reply([Reply::each(move |id| {
        Some(if id == rejected {
            Outcome::Rejected(Invalid::new("cells[3].median_ns", "is not the median"))
        } else if id == conflicting {
            Outcome::Conflict(kept)
        } else {
            Outcome::Stored
        })
    })]);
    let flushed = world.courier(&["a"]).flush(Some(rejected), SHORT).await;
    let outcome = Outcome::Rejected(Invalid::new("cells[3].median_ns", "is not the median"));
    let first = Some(Fate::Answered { url: url("a"), outcome });
    assert_came_to(&flushed, &Flushed { first, stored: 2, quarantined: 2, ..nothing() });
    let reasons = [
        "the collector at http://a:7600/ rejected the report: cells[3].median_ns is not the median"
            .to_owned(),
        format!(
            "the collector at http://a:7600/ holds another report under this id (SHA-256 {kept}); this one was not stored"
        ),
    ];
    let [first, second] = reasons;
    assert_eq!(world.quarantined(), [(rejected, first), (conflicting, second)]);
    assert_eq!(world.calls().len(), 1);
    assert_eq!(world.calls()[0].ids, [rejected, one, two, conflicting]);
}

#[tokio::test(start_paused = true)]
async fn a_report_without_an_answer_is_sent_again_without_hurry_and_holds_nobody_up() {
    let world = World::new();
    let [odd, ..] = world.fill::<300>();
    let begun = Instant::now();
    let reply = || Reply::each(move |id| (id != odd).then_some(Outcome::Stored));
    world.reply(std::iter::repeat_with(reply).take(60));
    let flushed = world.courier(&["a"]).flush(Some(odd), MINUTE).await;
    assert_eq!((flushed.stored, flushed.left), (299, Some(1)));
    assert_eq!(flushed.first, Some(Fate::Waiting));
    let why =
        "the collector at http://a:7600/ did not answer the report (answers: has none for it)";
    assert_eq!(flushed.why(), why);
    assert_eq!(world.waiting(), [odd]);
    // The others did not wait for it.
    assert_eq!(world.calls()[1].ids.len(), 44);
    assert!(begun.elapsed() <= MINUTE);
    let calls = world.calls().len();
    assert!((4..40).contains(&calls), "{calls} calls in a minute");
    assert_eq!(world.told(), [format!("{why}; it stays in the spool and is sent again")]);
    // An answer at last.
    world.reply([]);
    while !world.waiting().is_empty() {
        world.courier(&["a"]).flush(None, MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_ninety_days_is_set_aside_and_said_so() {
    let world = World::new();
    let [old, older, young] = [91, 200, 89].map(|days| world.put(made_days_ago(days), 10));
    let flushed = world.courier(&["a"]).flush(Some(old), SHORT).await;
    let reason = "by its id it was made more than 90 days ago, and agents send nothing older: \
        it is that old, or the clock was not set when it was measured";
    let first = Some(Fate::SetAside(reason.to_owned()));
    assert_came_to(&flushed, &Flushed { first, stored: 1, quarantined: 2, ..nothing() });
    assert_eq!(world.quarantined(), [older, old].map(|id| (id, reason.to_owned())));
    assert_eq!(world.calls()[0].ids, [young]);
    assert!(world.told()[0].starts_with("report "), "{:?}", world.told());
}

#[tokio::test(start_paused = true)]
async fn damaged_records_go_to_quarantine_and_foreign_ones_stay_and_both_are_told_once() {
    let world = World::new();
    let [damaged, foreign, good] = world.fill::<3>();
    world.scribble(damaged, 72, b"x");
    world.scribble(foreign, 8, &[2_u32.to_le_bytes(), (!2_u32).to_le_bytes()].concat());
    let mut courier = world.courier(&["a"]);
    let flushed = courier.flush(Some(damaged), SHORT).await;
    assert_eq!((flushed.stored, flushed.quarantined, flushed.left), (1, 1, Some(0)));
    assert_eq!(flushed.foreign, 1);
    assert!(matches!(flushed.first, Some(Fate::SetAside(_))), "{flushed:?}");
    courier.stay(&Notify::new(), time::sleep(10 * MINUTE)).await;
    assert_eq!(world.calls()[0].ids, [good]);
    assert_eq!((world.calls().len(), world.waiting()), (1, vec![foreign]));
    let told = world.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("the spool keeps 1 record of another version"), "{told:?}");
    assert!(told[1].starts_with(&format!("report {damaged} is in quarantine: ")), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_collector_leaves_its_turn_to_the_next() {
    let world = World::new();
    world.fill::<3>();
    let flushed = world.courier(&["dead", "gone", "a"]).flush(None, SHORT).await;
    assert_eq!((flushed.stored, flushed.left), (3, Some(0)));
    assert_eq!(world.dials(), ["dead", "gone", "a"]);
    assert_eq!(
        world.told(),
        [
            "cannot deliver: no collector answers at http://dead:7600/; is `fleetmark-collector serve` running there?: \
             transport error: connection refused; the reports stay in the spool, retrying",
            "delivering again, to http://a:7600/"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_dies_between_two_batches_costs_nothing() {
    let world = World::new();
    world.start("b");
    world.fill::<300>();
    let dying = world.clone();
    let last_words = Reply::each(move |_| {
        dying.stop("a");
        Some(Outcome::Stored)
    });
    world.reply([last_words, Reply::Fail(Status::unavailable("stopping"))]);
    let flushed = world.courier(&["a", "b"]).flush(None, SHORT).await;
    assert_eq!((flushed.stored, flushed.left), (300, Some(0)));
    let hosts: Vec<_> = world.calls().into_iter().map(|call| call.host).collect();
    assert_eq!(hosts, ["a", "a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn each_failure_is_followed_by_a_new_connection() {
    let world = World::new();
    world.fill::<1>();
    world.reply([Code::Unavailable, Code::Unknown].map(|code| Reply::Fail(Status::new(code, ""))));
    world.courier(&["a"]).flush(None, SHORT).await;
    assert_eq!(world.dials(), ["a", "a", "a"]);
    assert_eq!(world.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_hangs_is_given_up_at_the_deadline_that_it_was_told() {
    let world = World::new();
    world.start("b");
    world.fill::<1>();
    world.reply([Reply::Hang]);
    let begun = Instant::now();
    let flushed = world.courier(&["a", "b"]).flush(None, 5 * MINUTE).await;
    assert_eq!(flushed.stored, 1);
    assert_eq!(world.calls()[0].timeout.as_deref(), Some("30000000u"));
    assert!(begun.elapsed() >= Duration::from_secs(30));
    assert!(world.told()[0].contains("did not answer within 30 s"), "{:?}", world.told());
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_does_not_let_in_is_given_up_sooner() {
    let world = World::new();
    world.fill::<1>();
    let begun = Instant::now();
    let flushed = world.courier(&[HOLE, "a"]).flush(None, MINUTE).await;
    assert_eq!(flushed.stored, 1);
    assert!(begun.elapsed() >= Duration::from_secs(5));
    assert!(begun.elapsed() <= Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_in_time_and_says_why() {
    let world = World::new();
    let [id] = world.fill::<1>();
    world.reply([Reply::Hang, Reply::Hang]);
    let begun = Instant::now();
    let flushed = world.courier(&["a"]).flush(Some(id), SHORT).await;
    assert!(begun.elapsed() <= SHORT, "{:?}", begun.elapsed());
    assert_eq!((&flushed.first, flushed.left), (&Some(Fate::Waiting), Some(1)));
    assert_eq!(flushed.why(), "the collector at http://a:7600/ did not answer within 10 s");
    // A second collector gets its turn even then.
    world.start("b");
    let flushed = world.courier(&["a", "b"]).flush(Some(id), SHORT).await;
    assert_eq!(flushed.left, Some(0));
    assert_eq!(world.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_collector_reports_stay() {
    let world = World::new();
    let [id] = world.fill::<1>();
    let flushed = world.courier(&[]).flush(Some(id), SHORT).await;
    assert_eq!(flushed.first, Some(Fate::Waiting));
    assert!(flushed.why().starts_with("no collector is named"), "{}", flushed.why());
}

#[tokio::test(start_paused = true)]
async fn a_report_that_another_agent_took_is_not_missed() {
    let world = World::new();
    let [taken, aside, last] = world.fill::<3>();
    world.spool.remove(&[taken]).unwrap();
    world.spool.quarantine(aside, "it was odd").unwrap();
    let mut courier = world.courier(&["a"]);
    assert_eq!(courier.flush(Some(taken), SHORT).await.first, Some(Fate::Elsewhere));
    let fate = courier.flush(Some(aside), SHORT).await.first;
    assert_eq!(fate, Some(Fate::SetAside("it was odd".to_owned())));
    assert_eq!(world.calls()[0].ids, [last]);
}
