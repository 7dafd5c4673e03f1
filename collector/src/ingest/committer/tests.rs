//! What goes into one commit, and what becomes of whom when it fails.

use fleetmark_proto::convert::Encoded;
use tokio::task::JoinSet;

use super::*;
use crate::{
    store::{self, Clocks, Mode, StoreError, StoreUrl},
    testing::{self, ToldStore},
};

/// Longer than any test lasts.
const FOREVER: Duration = Duration::from_secs(3_600);

fn run(host: &str) -> NewRun {
    let report = testing::report(host, &[1]);
    NewRun::new(Encoded::new(&report), &report, Clocks::new(report.ended_at, None))
}

/// Has these hosts' runs committed, a batch each; the answers come in the same order.
async fn commit_all(committer: &Committer, hosts: &[&str]) -> Vec<Answer> {
    let mut answers = JoinSet::new();
    for (place, host) in hosts.iter().enumerate() {
        let (committer, runs) = (committer.clone(), vec![run(host)]);
        answers.spawn(async move { (place, committer.commit(runs, ()).await) });
    }
    let mut answers = answers.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn is_stored(answer: &Answer) -> bool {
    matches!(answer.as_deref(), Ok([Outcome::Stored]))
}

fn unwilling(host: &str) -> Option<StoreError> {
    (host == "bad").then_some(StoreError::Sqlite(rusqlite::Error::QueryReturnedNoRows))
}

fn never(_host: &str) -> Option<StoreError> {
    None
}

#[tokio::test]
async fn enough_reports_are_committed_at_once() {
    let store = Arc::new(ToldStore::new(never));
    let grouping = Grouping { reports: 3, wait: FOREVER, queue: 9 };
    let committer = Committer::start(store.clone(), grouping);
    let answers = commit_all(&committer, &["a", "b", "c"]).await;
    assert!(answers.iter().all(is_stored), "{answers:?}");
    assert_eq!(store.commits().len(), 1);
    let answer = committer.commit((0..5).map(|_| run("d")).collect(), ()).await;
    assert_eq!(answer.unwrap().len(), 5, "a batch goes in whole");
}

#[tokio::test]
async fn a_lone_report_waits_a_moment_and_no_longer() {
    let store = Arc::new(ToldStore::new(never));
    let committer = Committer::start(store.clone(), Grouping::default());
    assert!(is_stored(&committer.commit(vec![run("a")], ()).await));
}

#[tokio::test]
async fn what_comes_during_a_commit_is_one_commit() {
    let store = Arc::new(ToldStore::stalled(never));
    let committer = Committer::start(store.clone(), Grouping::default());
    let first = tokio::spawn({
        let committer = committer.clone();
        async move { committer.commit(vec![run("first")], ()).await }
    });
    store.begun(1).await;
    let hosts = ["a", "b", "c", "d", "e"];
    let rest = async {
        let rest = commit_all(&committer, &hosts);
        tokio::pin!(rest);
        // All of them are in the queue before the first commit may end.
        while committer.queue.capacity() + hosts.len() > committer.queue.max_capacity() {
            tokio::select! {
                _ = &mut rest => panic!("nothing was committed yet"),
                () = tokio::task::yield_now() => {}
            }
        }
        store.go(2);
        rest.await
    };
    assert!(rest.await.iter().all(is_stored));
    assert!(is_stored(&first.await.unwrap()));
    let sizes: Vec<usize> = store.commits().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 5]);
}

#[tokio::test]
async fn a_bad_batch_fails_alone() {
    let store = Arc::new(ToldStore::new(unwilling));
    let grouping = Grouping { reports: 3, wait: FOREVER, queue: 9 };
    let committer = Committer::start(store.clone(), grouping);
    let answers = commit_all(&committer, &["a", "bad", "c"]).await;
    assert!(is_stored(&answers[0]) && is_stored(&answers[2]), "{answers:?}");
    assert!(matches!(answers[1], Err(SubmitError::Store(_))), "{answers:?}");
    assert_eq!(store.commits().len(), 4, "all together, then each by itself");
}

#[tokio::test]
async fn a_busy_store_is_asked_once() {
    let busy = |_: &str| {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        Some(StoreError::Sqlite(rusqlite::Error::SqliteFailure(busy, None)))
    };
    let store = Arc::new(ToldStore::new(busy));
    let grouping = Grouping { reports: 3, wait: FOREVER, queue: 9 };
    let committer = Committer::start(store.clone(), grouping);
    let answers = commit_all(&committer, &["a", "b", "c"]).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(SubmitError::Store(_)))));
    assert_eq!(store.commits().len(), 1, "each would wait for as long again");
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let store = Arc::new(ToldStore::stalled(never));
    let grouping = Grouping { queue: 1, ..Grouping::default() };
    let committer = Committer::start(store.clone(), grouping);
    let commit = |host: &'static str| {
        let committer = committer.clone();
        tokio::spawn(async move { committer.commit(vec![run(host)], ()).await })
    };
    let first = commit("first");
    store.begun(1).await;
    let second = commit("second");
    while committer.queue.capacity() > 0 {
        tokio::task::yield_now().await;
    }
    let third = commit("third").await.unwrap();
    assert!(matches!(third, Err(SubmitError::Refused(Refusal::Queue))), "{third:?}");
    store.go(2);
    assert!(is_stored(&first.await.unwrap()));
    assert!(is_stored(&second.await.unwrap()));
}

#[tokio::test]
async fn who_does_not_wait_is_stored_all_the_same_and_holds_until_then() {
    let store = Arc::new(ToldStore::stalled(never));
    let committer = Committer::start(store.clone(), Grouping::default());
    let held = Arc::new(());
    let call = tokio::spawn({
        let (committer, held) = (committer.clone(), Arc::clone(&held));
        async move { committer.commit(vec![run("gone")], held).await }
    });
    store.begun(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&held), 2, "the batch is still there");
    store.go(1);
    committer.flush().await;
    assert_eq!(store.commits(), [["gone"]]);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test]
async fn flushing_does_not_wait_for_more() {
    let store = Arc::new(ToldStore::new(never));
    let grouping = Grouping { wait: FOREVER, ..Grouping::default() };
    let committer = Committer::start(store, grouping);
    let answer = tokio::spawn({
        let committer = committer.clone();
        async move { committer.commit(vec![run("a")], ()).await }
    });
    while !answer.is_finished() {
        committer.flush().await;
        tokio::task::yield_now().await;
    }
    assert!(is_stored(&answer.await.unwrap()));
}

#[tokio::test]
async fn a_report_in_two_batches_of_one_commit_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    let store = store::open(&url, Mode::Write).await.unwrap();
    let grouping = Grouping { reports: 3, wait: FOREVER, queue: 9 };
    let committer = Committer::start(Arc::clone(&store), grouping);
    let twice = run("a");
    let (first, second, other) = tokio::join!(
        committer.commit(vec![twice.clone()], ()),
        committer.commit(vec![twice], ()),
        committer.commit(vec![run("b")], ()),
    );
    assert_eq!(first.unwrap(), [Outcome::Stored]);
    assert_eq!(second.unwrap(), [Outcome::Duplicate]);
    assert_eq!(other.unwrap(), [Outcome::Stored]);
    assert_eq!(store.runs(None).await.unwrap().len(), 2);
}
