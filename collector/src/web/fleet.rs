//! What was read of the store, for a moment: pages and metrics that are asked for together are of one reading.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Weak},
    time::Duration,
};

use fleetmark_proto::{limits, unit::grouped};
use jiff::Timestamp;
use tokio::{
    sync::Mutex,
    task::{JoinError, spawn_blocking},
    time::{Instant, sleep},
};

use crate::{
    ingest::Tally,
    reading::whole,
    store::{Store, StoreError, StoredRun},
};

/// Of the time, a reading may take at most one part in so many.
const SHARE: u32 = 10;

/// The runs of a store.
pub(super) struct Fleet {
    store: Arc<dyn Store>,
    tally: Arc<Tally>,
    held: Arc<Mutex<Option<Held>>>,
    /// How many are read at most.
    most: u64,
}

/// Why runs were not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// They cannot be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// They are so many, which is more than a page may be made of.
    #[error(
        "there are {} runs in this time, and a page is made of {} at most: choose less with since, or ask on the command line",
        grouped(*.runs), grouped(*.most)
    )]
    TooMany {
        /// In the window.
        runs: u64,
        /// For a page.
        most: u64,
    },
}

impl From<JoinError> for Unread {
    fn from(error: JoinError) -> Self {
        Self::Store(error.into())
    }
}

/// What was read last.
struct Held {
    runs: Arc<Vec<StoredRun>>,
    since: Option<Timestamp>,
    read_at: Instant,
    asked_at: Instant,
    took: Duration,
    /// Reports that had been stored by then.
    stored: u64,
}

impl Held {
    /// Whether all is there that ended at `since` or later.
    fn covers(&self, since: Option<Timestamp>) -> bool {
        match (self.since, since) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(held), Some(wanted)) => held <= wanted,
        }
    }

    /// Whether it may still be shown. A store that takes long to read is read less often.
    fn is_fresh(&self, stored: u64) -> bool {
        let least = limits::PAGE_AGE.max(self.took * SHARE);
        let age = if stored == self.stored { limits::PAGE_AGE_AT_REST.max(least) } else { least };
        self.read_at.elapsed() < age
    }
}

/// The runs of a window, oldest first.
#[derive(Clone)]
pub(super) struct Window {
    all: Arc<Vec<StoredRun>>,
    from: usize,
}

impl Window {
    /// The runs.
    pub(super) fn runs(&self) -> &[StoredRun] {
        self.all.get(self.from..).unwrap_or_default()
    }

    /// Another number for other runs.
    pub(super) fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for run in self.runs() {
            run.report.id.as_bytes().hash(&mut hasher);
            run.report.labels.hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Fleet {
    /// Reads this many runs at most.
    pub(super) fn new(store: Arc<dyn Store>, tally: Arc<Tally>, most: u64) -> Self {
        Self { store, tally, held: Arc::new(Mutex::new(None)), most }
    }

    /// The runs that ended at `since` or later.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or they are too many.
    pub(super) async fn since(&self, since: Option<Timestamp>) -> Result<Window, Unread> {
        let mut held = self.held.lock().await;
        let stored = self.tally.reports().stored;
        let kept = held.as_mut().filter(|held| held.covers(since) && held.is_fresh(stored));
        let all = match kept {
            Some(held) => {
                held.asked_at = Instant::now();
                Arc::clone(&held.runs)
            }
            None => {
                let runs = self.store.count(since).await?;
                if runs > self.most {
                    return Err(Unread::TooMany { runs, most: self.most });
                }
                // What was read before goes first: there is room for one fleet.
                *held = None;
                let read_at = Instant::now();
                let runs = self.store.runs(since).await?;
                let runs = Arc::new(spawn_blocking(|| whole(runs)).await?);
                let took = read_at.elapsed();
                let asked_at = Instant::now();
                let all = Arc::clone(&runs);
                *held = Some(Held { runs: all, since, read_at, asked_at, took, stored });
                tokio::spawn(forget(Arc::downgrade(&self.held), read_at));
                runs
            }
        };
        let from = since.map_or(0, |since| all.partition_point(|run| run.time() < since));
        Ok(Window { all, from })
    }
}

/// Lets go of what was read then, once nobody has asked for it for a while.
async fn forget(held: Weak<Mutex<Option<Held>>>, read_at: Instant) {
    loop {
        sleep(limits::PAGE_IDLE).await;
        let Some(held) = held.upgrade() else { return };
        let mut held = held.lock().await;
        match held.as_ref().filter(|held| held.read_at == read_at) {
            Some(held) if held.asked_at.elapsed() < limits::PAGE_IDLE => {}
            Some(_) => *held = None,
            // What was read later has a keeper of its own.
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{self, Clocks, Mode, NewRun, StoreUrl},
        testing,
    };
    use fleetmark_proto::{convert::Encoded, convert::Outcome};
    use jiff::ToSpan as _;

    #[tokio::test]
    async fn a_crowd_is_of_one_reading_until_something_comes() {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("store.db"));
        let store = store::open(&url, Mode::Write).await.unwrap();
        let put = async |host: &str, hours: i64| {
            let mut report = testing::report(host, &[1, 2, 3]);
            report.ended_at -= hours.hours();
            report.started_at = report.ended_at;
            let clocks = Clocks::new(report.ended_at, None);
            store
                .put(vec![Arc::new(NewRun::new(Encoded::new(&report), &report, clocks))])
                .await
                .unwrap();
        };
        put("old", 48).await;
        put("young", 1).await;
        let tally = Arc::new(Tally::default());
        let fleet = Fleet::new(Arc::clone(&store), Arc::clone(&tally), 3);
        let day = Some(Timestamp::now() - 24.hours());
        let of_day = fleet.since(day).await.unwrap();
        assert_eq!(of_day.runs().len(), 1);
        let all = fleet.since(None).await.unwrap();
        assert_eq!(all.runs().len(), 2, "a longer window is read");
        let again = fleet.since(day).await.unwrap();
        assert!(Arc::ptr_eq(&again.all, &all.all), "a shorter one is a part of what was read");
        assert_eq!((again.runs().len(), again.mark()), (1, of_day.mark()));
        assert_ne!(all.mark(), of_day.mark());

        put("new", 0).await;
        tokio::time::pause();
        tokio::time::advance(limits::PAGE_AGE).await;
        let kept = fleet.since(None).await.unwrap();
        assert!(Arc::ptr_eq(&kept.all, &all.all), "nobody said that something has come");
        tally.count(&Outcome::Stored);
        tokio::time::resume();
        let read = fleet.since(None).await.unwrap();
        assert_eq!(read.runs().len(), 3);
        put("one-more", 0).await;
        tally.count(&Outcome::Stored);
        tokio::time::pause();
        tokio::time::advance(limits::PAGE_AGE_AT_REST).await;
        tokio::time::resume();
        let many = fleet.since(None).await.err().unwrap().to_string();
        assert!(
            many.starts_with("there are 4 runs in this time, and a page is made of 3"),
            "{many}"
        );
        fleet.since(day).await.unwrap();
        let held = fleet.held.lock().await;
        assert!(
            held.as_ref().unwrap().is_fresh(99),
            "what has just been read is, whatever came since"
        );
    }
}
