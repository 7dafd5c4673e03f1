//! What was read of the store, for a moment: pages and metrics that are asked for together are of one reading.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use fleetmark_proto::limits;
use jiff::Timestamp;
use tokio::{sync::Mutex, task::spawn_blocking, time::Instant};

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
    held: Mutex<Option<Held>>,
}

/// What was read last.
struct Held {
    runs: Arc<Vec<StoredRun>>,
    since: Option<Timestamp>,
    read_at: Instant,
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
    pub(super) fn new(store: Arc<dyn Store>, tally: Arc<Tally>) -> Self {
        Self { store, tally, held: Mutex::new(None) }
    }

    /// The runs that ended at `since` or later.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(super) async fn since(&self, since: Option<Timestamp>) -> Result<Window, StoreError> {
        let mut held = self.held.lock().await;
        let stored = self.tally.reports().stored;
        let kept = held.as_ref().filter(|held| held.covers(since) && held.is_fresh(stored));
        let all = match kept {
            Some(held) => Arc::clone(&held.runs),
            None => {
                // What was read before goes first: there is room for one fleet.
                *held = None;
                let read_at = Instant::now();
                let runs = self.store.runs(since).await?;
                let runs = Arc::new(spawn_blocking(|| whole(runs)).await?);
                let took = read_at.elapsed();
                *held = Some(Held { runs: Arc::clone(&runs), since, read_at, took, stored });
                runs
            }
        };
        let from = since.map_or(0, |since| all.partition_point(|run| run.time() < since));
        Ok(Window { all, from })
    }
}
