//! The suite that every store passes. A backend adds itself to [`stores`].

use jiff::ToSpan as _;
use tempfile::TempDir;

use super::*;
use crate::testing;

/// An empty store of every backend, with what keeps it there and how it is opened again.
async fn stores() -> Vec<(TempDir, StoreUrl, Arc<dyn Store>)> {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    let store = open(&url, Mode::Write).await.unwrap();
    vec![(folder, url, store)]
}

fn new_run(host: &str) -> NewRun {
    let report = testing::report(host, &[1, 2, 3]);
    NewRun { encoded: Encoded::new(&report), report }
}

#[tokio::test]
async fn what_is_stored_comes_back_byte_for_byte() {
    for (_folder, url, store) in stores().await {
        let run = new_run("a");
        let now = run.report.ended_at;
        assert_eq!(store.put(vec![run.clone()], now).await.unwrap(), [Outcome::Stored]);
        for store in [store, open(&url, Mode::Read).await.unwrap()] {
            let [back] = &store.runs(None).await.unwrap()[..] else { panic!("one run") };
            assert_eq!(Encoded::new(&back.report), run.encoded);
            assert_eq!(back.report, run.report);
            assert_eq!(back.received_at.as_microsecond(), now.as_microsecond());
        }
    }
}

#[tokio::test]
async fn a_report_is_stored_once() {
    for (_folder, url, store) in stores().await {
        let run = new_run("a");
        let mut other = run.clone();
        other.report.seed = 43;
        other.encoded = Encoded::new(&other.report);
        let conflict = Outcome::Conflict(run.encoded.digest);
        let batch = vec![run.clone(), run.clone(), other.clone()];
        let now = Timestamp::now();
        let expected = [Outcome::Stored, Outcome::Duplicate, conflict.clone()];
        assert_eq!(store.put(batch, now).await.unwrap(), expected, "within one batch");
        drop(store);
        let store = open(&url, Mode::Write).await.unwrap();
        let again = store.put(vec![other, run.clone()], now).await.unwrap();
        assert_eq!(again, [conflict, Outcome::Duplicate], "and after a restart");
        let kept = store.runs(None).await.unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].report, run.report);
    }
}

#[tokio::test]
async fn runs_come_oldest_first_and_not_before_since() {
    for (_folder, _, store) in stores().await {
        let now = Timestamp::now();
        for (host, age) in [("young", 1), ("old", 3), ("middle", 2)] {
            let mut run = new_run(host);
            run.report.started_at = now - age.hours();
            run.report.ended_at = now - age.hours();
            run.encoded = Encoded::new(&run.report);
            store.put(vec![run.clone()], run.report.ended_at).await.unwrap();
        }
        let hosts = |runs: Vec<StoredRun>| -> Vec<String> {
            runs.iter().map(|run| run.report.host.id.to_string()).collect()
        };
        assert_eq!(hosts(store.runs(None).await.unwrap()), ["old", "middle", "young"]);
        let since = Some(now - 2.hours() - 30.minutes());
        assert_eq!(hosts(store.runs(since).await.unwrap()), ["middle", "young"]);
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_not_believed() {
    let mut run = StoredRun { report: new_run("a").report, received_at: Timestamp::now() };
    run.report.ended_at = run.received_at - 4.minutes();
    assert_eq!(run.time(), run.report.ended_at);
    run.report.ended_at = run.received_at - 6.minutes();
    assert_eq!(run.time(), run.received_at);
    run.report.ended_at = run.received_at + 6.minutes();
    assert_eq!(run.time(), run.received_at);
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
