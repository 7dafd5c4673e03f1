//! The suite that every store passes. A backend adds itself to [`stores`].

mod rollups;

use fleetmark_proto::{convert, id::ReportId};
use jiff::ToSpan as _;
use tempfile::TempDir;

use super::*;
use crate::{
    registry::{AuditEntry, Event},
    testing,
};

/// An empty store of every backend, with what keeps it there and how it is opened again.
async fn stores() -> Vec<(TempDir, StoreUrl, Arc<dyn Store>)> {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    let store = open(&url, Mode::Write).await.unwrap();
    vec![(folder, url, store)]
}

/// A run that a collector took at this time.
fn taken(report: &Report, received_at: Timestamp, sent_at: Option<Timestamp>) -> NewRun {
    NewRun::new(Encoded::new(report), report, Clocks::new(received_at, sent_at))
}

/// A run that was taken as soon as it ended.
fn fresh(report: &Report) -> NewRun {
    taken(report, report.ended_at, None)
}

/// A report of a run that took no time and ended then.
fn ended(host: &str, at: Timestamp) -> Report {
    let id = ReportId::at(at);
    Report { id, started_at: at, ended_at: at, ..testing::report(host, &[1, 2, 3]) }
}

async fn put(store: &dyn Store, runs: impl IntoIterator<Item = NewRun>) -> Vec<Outcome> {
    store.put(runs.into_iter().map(Arc::new).collect()).await.unwrap()
}

async fn hosts(store: &dyn Store, since: Option<Timestamp>) -> Vec<String> {
    let runs = store.runs(since).await.unwrap();
    runs.iter().map(|run| run.report.host.id.to_string()).collect()
}

#[tokio::test]
async fn what_is_stored_comes_back_byte_for_byte() {
    for (_folder, url, store) in stores().await {
        let report = testing::report("a", &[1, 2, 3]);
        let now = report.ended_at;
        let sent_at = now - 7.minutes();
        assert_eq!(put(&*store, [taken(&report, now, Some(sent_at))]).await, [Outcome::Stored]);
        for store in [store, open(&url, Mode::Read).await.unwrap()] {
            let [back] = &store.runs(None).await.unwrap()[..] else { panic!("one run") };
            assert_eq!(Encoded::new(&back.report), Encoded::new(&report));
            assert_eq!(back.report, report);
            assert_eq!(back.received_at.as_microsecond(), now.as_microsecond());
            assert_eq!(back.sent_at.unwrap().as_microsecond(), sent_at.as_microsecond());
            assert_eq!(back.clock_skew().unwrap().to_string(), "7m behind");
        }
    }
}

#[tokio::test]
async fn a_report_is_stored_once() {
    for (_folder, url, store) in stores().await {
        let report = testing::report("a", &[1, 2, 3]);
        let other = Report { seed: 43, ..report.clone() };
        let conflict = Outcome::Conflict(Encoded::new(&report).digest);
        let batch = [&report, &report, &other].map(fresh);
        let expected = [Outcome::Stored, Outcome::Duplicate, conflict.clone()];
        assert_eq!(put(&*store, batch).await, expected, "within one commit");
        drop(store);
        let store = open(&url, Mode::Write).await.unwrap();
        let again = put(&*store, [&other, &report].map(fresh)).await;
        assert_eq!(again, [conflict, Outcome::Duplicate], "and after a restart");
        let kept = store.runs(None).await.unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].report, report);
    }
}

#[tokio::test]
async fn a_store_grows_with_what_it_holds() {
    for (_folder, _, store) in stores().await {
        let before = store.size_bytes().await.unwrap();
        let runs = (0..100).map(|_| fresh(&testing::report("a", &[1, 2, 3])));
        put(&*store, runs).await;
        let after = store.size_bytes().await.unwrap();
        assert!(before > 0 && after > before + 10_000, "{before} to {after}");
    }
}

#[tokio::test]
async fn runs_are_counted_from_a_time_on() {
    for (_folder, _, store) in stores().await {
        assert_eq!(store.count(None).await.unwrap(), 0);
        let now = Timestamp::now();
        put(&*store, [fresh(&ended("old", now - 2.hours())), fresh(&ended("young", now))]).await;
        assert_eq!(store.count(None).await.unwrap(), 2);
        assert_eq!(store.count(Some(now - 1.hour())).await.unwrap(), 1);
        assert_eq!(store.count(Some(now + 1.hour())).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn nothing_is_a_commit_too() {
    for (_folder, _, store) in stores().await {
        assert_eq!(put(&*store, []).await, []);
    }
}

#[tokio::test]
async fn runs_come_oldest_first_and_not_before_since() {
    for (_folder, _, store) in stores().await {
        let now = Timestamp::now();
        for (host, age) in [("young", 1), ("old", 3), ("middle", 2)] {
            put(&*store, [fresh(&ended(host, now - age.hours()))]).await;
        }
        assert_eq!(hosts(&*store, None).await, ["old", "middle", "young"]);
        let since = Some(now - 2.hours() - 30.minutes());
        assert_eq!(hosts(&*store, since).await, ["middle", "young"]);
    }
}

#[tokio::test]
async fn runs_are_selected_by_the_clock_that_can_be_trusted() {
    for (_folder, _, store) in stores().await {
        let now = Timestamp::now();
        let old = now - 48.hours();
        let runs = [
            taken(&ended("does-not-tell", old), now, None),
            taken(&ended("lay-in-a-spool", old), now, Some(now)),
            taken(&ended("two-days-behind", old), now, Some(old)),
        ];
        put(&*store, runs).await;
        for run in store.runs(None).await.unwrap() {
            let expected = match run.report.host.id.as_str() {
                "lay-in-a-spool" => old,
                _ => now,
            };
            assert_eq!(run.time().as_microsecond(), expected.as_microsecond(), "{run:?}");
        }
        let newer = hosts(&*store, Some(now - 1.hour())).await;
        assert_eq!(newer.len(), 2);
        assert!(!newer.contains(&"lay-in-a-spool".to_owned()));
    }
}

/// The hosts of the runs behind a place, page by page.
async fn pages(store: &dyn Store, mut place: Place, bytes: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let page = store.page(place, bytes).await.unwrap();
        let Some(last) = page.last() else { return pages };
        place = last.place.clone();
        let host = |run: &KeptRun| convert::decode(&run.report).unwrap().host.id.to_string();
        pages.push(page.iter().map(host).collect());
    }
}

#[tokio::test]
async fn pages_make_up_what_is_stored_in_the_same_order() {
    for (_folder, _, store) in stores().await {
        let now = Timestamp::now();
        let mut at_once = ["c", "a", "b"].map(|host| ended(host, now));
        at_once.sort_by_key(|report| report.id);
        let by_id = at_once.each_ref().map(|report| report.host.id.to_string());
        put(&*store, at_once.iter().map(fresh)).await;
        put(&*store, [fresh(&ended("old", now - 2.hours()))]).await;
        let all = hosts(&*store, None).await;
        assert_eq!(all[0], "old");
        assert_eq!(all[1..], by_id, "those of one time by their ids");
        let size = Encoded::new(&at_once[0]).bytes.len();
        for (bytes, lengths) in [(0, [1; 4].as_slice()), (size + 100, &[2, 2]), (1 << 20, &[4])] {
            let pages = pages(&*store, Place::before(None), bytes).await;
            assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
            assert_eq!(pages.concat(), all);
        }
        let newer = pages(&*store, Place::before(Some(now)), 0).await;
        assert_eq!(newer.concat(), by_id);
    }
}

#[tokio::test]
async fn a_page_has_the_bytes_and_clocks_of_each_run() {
    for (_folder, _, store) in stores().await {
        let report = testing::report("a", &[1, 2, 3]);
        let clocks = Clocks::new(report.ended_at, Some(report.ended_at - 7.minutes()));
        put(&*store, [NewRun::new(Encoded::new(&report), &report, clocks)]).await;
        let [kept] = &store.page(Place::before(None), 0).await.unwrap()[..] else { panic!("one") };
        assert_eq!(kept.report, Encoded::new(&report).bytes);
        assert_eq!((kept.received_at, kept.sent_at), (clocks.received_at(), clocks.sent_at()));
    }
}

/// What goes if runs are kept for this many days, and it is now `now`.
fn keeping(days: u64, now: Timestamp) -> Retention {
    Retention::of(Duration::from_secs(days * 86_400), now)
}

#[tokio::test]
async fn old_runs_go_and_their_keys_stay() {
    for (_folder, url, store) in stores().await {
        let now = Timestamp::now();
        let days = |days: i64| now - (24 * days).hours();
        let old: Vec<Report> = (0..250).map(|_| ended("old", days(91))).collect();
        put(&*store, old.iter().map(fresh)).await;
        put(&*store, [fresh(&ended("young", days(89)))]).await;
        let expected = Pruned { runs: 250, ..Pruned::default() };
        let retention = keeping(90, now);
        assert_eq!(store.expired(retention).await.unwrap(), expected);
        assert_eq!(hosts(&*store, None).await.len(), 251, "asking removes nothing");

        let pruner = open(&url, Mode::Change).await.unwrap();
        assert_eq!(pruner.prune(retention).await.unwrap(), expected);
        assert_eq!(hosts(&*store, None).await, ["young"]);
        assert_eq!(store.expired(retention).await.unwrap(), Pruned::default());
        assert_eq!(pruner.prune(retention).await.unwrap(), Pruned::default());

        assert_eq!(put(&*store, [fresh(&old[7])]).await, [Outcome::Duplicate]);
        let conflicting = Report { seed: 43, ..old[7].clone() };
        let conflict = Outcome::Conflict(Encoded::new(&old[7]).digest);
        assert_eq!(put(&*store, [fresh(&conflicting)]).await, [conflict]);
        assert_eq!(hosts(&*store, None).await, ["young"], "it does not come back");
    }
}

#[tokio::test]
async fn keys_go_when_their_reports_cannot_come_again_and_never_before_their_runs() {
    for (_folder, _, store) in stores().await {
        let now = Timestamp::now();
        let days = |days: i64| now - (24 * days).hours();
        for age in [180, 182, 300] {
            let runs = (0..101).map(|_| fresh(&ended(&format!("d{age}"), days(age))));
            put(&*store, runs).await;
        }
        let expected = Pruned { runs: 101, keys: 101, audit: 0 };
        let retention = keeping(200, now);
        assert_eq!(store.expired(retention).await.unwrap(), expected);
        assert_eq!(store.prune(retention).await.unwrap(), expected, "a run protects its key");
        let expected = Pruned { runs: 202, keys: 101, audit: 0 };
        let retention = keeping(1, now);
        assert_eq!(store.expired(retention).await.unwrap(), expected);
        assert_eq!(store.prune(retention).await.unwrap(), expected, "and so do 181 days");
        let later = keeping(1, now + (24 * 2).hours());
        assert_eq!(store.prune(later).await.unwrap(), Pruned { runs: 0, keys: 101, audit: 0 });
    }
}

#[tokio::test]
async fn the_key_of_a_report_of_a_clock_that_was_ahead_is_kept_by_its_id() {
    for (_folder, _, store) in stores().await {
        let now = Timestamp::now();
        let days = |days: i64| now - (24 * days).hours();
        let mut reports = Vec::new();
        for made in [days(182), days(180)] {
            // Both came 190 days ago, from clocks that were 8 and 10 days ahead.
            let report = ended("ahead", made);
            let outcome = put(&*store, [taken(&report, days(190), Some(made))]).await;
            assert_eq!(outcome, [Outcome::Stored]);
            reports.push(report);
        }
        let expected = Pruned { runs: 2, keys: 1, audit: 0 };
        assert_eq!(store.expired(keeping(90, now)).await.unwrap(), expected);
        assert_eq!(store.prune(keeping(90, now)).await.unwrap(), expected);
        let again = put(&*store, [taken(&reports[1], now, Some(now))]).await;
        assert_eq!(again, [Outcome::Duplicate], "its clock was set right, and it may come again");
    }
}

#[tokio::test]
async fn old_lines_of_the_audit_trail_go_with_old_runs() {
    for (_folder, url, store) in stores().await {
        let (_, registry) = open_both(&url, Mode::Write).await.unwrap();
        let now = Timestamp::now();
        let line = |days: i64| AuditEntry {
            at: Timestamp::from_microsecond((now - (24 * days).hours()).as_microsecond()).unwrap(),
            event: Event::Enrolled,
            who: String::new(),
            address: "here".into(),
            detail: days.to_string(),
        };
        for days in (0..101).map(|_| 91).chain([89]) {
            registry.record(line(days)).await.unwrap();
        }
        let expected = Pruned { audit: 101, ..Pruned::default() };
        let retention = keeping(90, now);
        assert_eq!(store.expired(retention).await.unwrap(), expected);
        assert_eq!(store.prune(retention).await.unwrap(), expected);
        assert_eq!(registry.audit(None).await.unwrap(), [line(89)]);
    }
}

#[tokio::test]
async fn a_host_that_was_forgotten_does_not_come_back_by_an_old_report() {
    for (_folder, url, store) in stores().await {
        let now = Timestamp::now();
        let of = |host: &str, age: i64| ended(host, now - age.hours());
        let old: Vec<Report> = (0..250).map(|age| of("lost", age)).collect();
        put(&*store, old.iter().map(fresh)).await;
        put(&*store, (0..3).map(|age| fresh(&of("kept", age)))).await;
        let (changed, registry) = open_both(&url, Mode::Change).await.unwrap();
        let by = |detail: &str| AuditEntry {
            at: Timestamp::from_microsecond(now.as_microsecond()).unwrap(),
            event: Event::HostForgotten,
            who: "operator ann".into(),
            address: "here".into(),
            detail: detail.into(),
        };
        let forget = |host: &str| registry.forget(host.parse().unwrap(), by("host lost"));
        assert_eq!(forget("lost").await.unwrap(), 250);
        assert_eq!(hosts(&*changed, None).await, ["kept"; 3]);
        assert_eq!(forget("lost").await.unwrap(), 0);
        assert_eq!(forget("los").await.unwrap(), 0, "nobody who is called like it");
        assert_eq!(registry.audit(None).await.unwrap(), [by("host lost: 250 runs")]);

        let again = put(&*store, old.iter().map(fresh)).await;
        assert_eq!(again, vec![Outcome::Duplicate; 250]);
        assert_eq!(put(&*store, [fresh(&of("lost", 0))]).await, [Outcome::Stored], "a new one");
        assert_eq!(hosts(&*store, None).await.len(), 4);
    }
}

#[tokio::test]
async fn reports_are_stored_while_old_ones_are_pruned() {
    for (_folder, url, store) in stores().await {
        let now = Timestamp::now();
        let old = now - (24 * 91).hours();
        put(&*store, (0..1_000).map(|_| fresh(&ended("old", old)))).await;
        let pruner = open(&url, Mode::Change).await.unwrap();
        let pruning = tokio::spawn(async move { pruner.prune(keeping(90, now)).await });
        let mut stored = 0;
        while !pruning.is_finished() {
            let outcome = put(&*store, [fresh(&ended("new", now))]).await;
            assert_eq!(outcome, [Outcome::Stored]);
            stored += 1;
        }
        assert_eq!(pruning.await.unwrap().unwrap().runs, 1_000);
        assert_eq!(hosts(&*store, None).await.len(), stored);
    }
}

#[tokio::test]
async fn only_writing_makes_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    for mode in [Mode::Read, Mode::Change] {
        assert!(matches!(open(&url, mode).await, Err(StoreError::Missing(_))));
    }
    assert!(folder.path().read_dir().unwrap().next().is_none());
}

#[test]
fn urls() {
    let url: StoreUrl = "sqlite:/x/y.db".parse().unwrap();
    assert_eq!(url, StoreUrl::Sqlite("/x/y.db".into()));
    assert_eq!(url.to_string(), "sqlite:/x/y.db");
    for (wrong, says) in [
        ("", "must be sqlite:FILE"),
        ("sqlite:", "must be sqlite:FILE"),
        ("fleetmark.db", "must be sqlite:FILE"),
        ("postgres://x", "not supported by this version"),
    ] {
        assert!(wrong.parse::<StoreUrl>().unwrap_err().contains(says), "{wrong}");
    }
}
