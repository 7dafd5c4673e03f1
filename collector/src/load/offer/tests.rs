//! The load against a real server.

use jiff::Timestamp;
use url::Url;

use super::*;
use crate::{
    server::{self, Bounds},
    store::{self, Mode, Store, StoreUrl},
};

struct Server {
    _folder: tempfile::TempDir,
    store: Arc<dyn Store>,
    url: Url,
}

async fn start(bounds: Bounds) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    let store = store::open(&url, Mode::Write).await.unwrap();
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let serving = Arc::clone(&store);
    tokio::spawn(server::serve_within(bounds, listener, serving, std::future::pending()));
    Server { _folder: folder, store, url }
}

async fn load(server: &Server, batches: usize, reports: usize, lasting: Duration) -> Load {
    let mut fleet = Fleet::new("sim", 10, 7).unwrap();
    Load {
        links: Link::open_many(&server.url, 3).await.unwrap(),
        supply: Supply::of(&mut fleet, batches, reports),
        lasting,
    }
}

#[tokio::test]
async fn a_closed_load_delivers_everything_once() {
    let server = start(Bounds::default()).await;
    let load = load(&server, 12, 3, Duration::from_secs(600)).await;
    let seen = closed(&load, 4).await;
    assert_eq!((seen.calls, seen.stored, seen.refused), (12, 36, 0), "{seen:?}");
    assert!(seen.ran_dry && seen.failed.is_empty() && seen.answering.len() == 12, "{seen:?}");
    assert_eq!(server.store.runs(None).await.unwrap().len(), 36);
}

#[tokio::test]
async fn an_open_load_counts_refusals_and_offers_again() {
    let server = start(Bounds { calls: 0, ..Bounds::default() }).await;
    let load = load(&server, 1, 1, Duration::from_millis(300)).await;
    let seen = open(&load, 100.0, 1_000).await;
    assert!(seen.refused > 0, "{seen:?}");
    assert_eq!((seen.stored, seen.refused_untold, seen.failures()), (0, 0, 0), "{seen:?}");
    assert_eq!(seen.refusing.len(), usize::try_from(seen.refused).unwrap());
    assert!(load.supply.take().is_some(), "it came back");
}

#[tokio::test]
async fn an_open_load_does_not_wait_for_answers() {
    let server = start(Bounds::default()).await;
    let load = load(&server, 50, 1, Duration::from_millis(500)).await;
    let seen = open(&load, 80.0, 1).await;
    assert_eq!(seen.calls + seen.held_back, 40, "{seen:?}");
    assert_eq!(seen.stored + seen.stored_late, seen.calls, "{seen:?}");
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_a_failure() {
    let server = start(Bounds::default()).await;
    let batch = Batch::of(&mut Fleet::new("sim", 1, 7).unwrap(), 2);
    let link = Link::open(&server.url).await.unwrap();
    let expected = Answer::Answered { stored: 2, duplicate: 0, other: 0 };
    assert_eq!(link.submit(&batch).await, expected);
    let expected = Answer::Answered { stored: 0, duplicate: 2, other: 0 };
    assert_eq!(link.submit(&batch).await, expected);
    let clock = server.store.runs(Some(Timestamp::now() - Duration::from_secs(60))).await.unwrap();
    assert!(clock.iter().all(|run| run.sent_at.is_some() && run.clock_skew().is_none()));

    let nobody: Url = "http://127.0.0.1:1".parse().unwrap();
    let error = Link::open(&nobody).await.unwrap_err();
    assert_eq!(error.to_string(), "no collector answers at http://127.0.0.1:1/");
}
