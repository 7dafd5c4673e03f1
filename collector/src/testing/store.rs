//! A store that keeps nothing, and stalls or fails as a test wants it to.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use fleetmark_proto::{convert::Outcome, id::ReportId};
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};

use crate::store::{
    KeptRun, NewRun, Place, Pruned, Retention, Store, StoreError, StoredRun,
    rollup::{Checked, Rollup},
};

/// Why a commit with a run of this host fails.
type Trouble = fn(&str) -> Option<StoreError>;

/// A store that says `stored` to everything.
pub(crate) struct ToldStore {
    commits: Mutex<Vec<Vec<String>>>,
    turns: Semaphore,
    came: AtomicUsize,
    coming: Notify,
    trouble: Trouble,
}

impl ToldStore {
    /// One in which a commit takes no time, and fails where `trouble` says so.
    pub(crate) fn new(trouble: Trouble) -> Self {
        Self { turns: Semaphore::new(Semaphore::MAX_PERMITS), ..Self::stalled(trouble) }
    }

    /// One in which every commit waits for leave.
    pub(crate) fn stalled(trouble: Trouble) -> Self {
        Self {
            commits: Mutex::default(),
            turns: Semaphore::new(0),
            came: AtomicUsize::new(0),
            coming: Notify::new(),
            trouble,
        }
    }

    /// Lets this many commits go on.
    pub(crate) fn go(&self, commits: usize) {
        self.turns.add_permits(commits);
    }

    /// Returns when this many commits were begun, from the first on.
    pub(crate) async fn begun(&self, commits: usize) {
        loop {
            let coming = self.coming.notified();
            if self.came.load(Ordering::SeqCst) >= commits {
                return;
            }
            coming.await;
        }
    }

    /// The hosts of the runs of each commit that was tried.
    pub(crate) fn commits(&self) -> Vec<Vec<String>> {
        self.commits.lock().unwrap().clone()
    }
}

#[async_trait]
impl Store for ToldStore {
    async fn put(&self, runs: Vec<std::sync::Arc<NewRun>>) -> Result<Vec<Outcome>, StoreError> {
        self.came.fetch_add(1, Ordering::SeqCst);
        self.coming.notify_waiters();
        self.turns.acquire().await.unwrap().forget();
        let hosts: Vec<String> = runs.iter().map(|run| run.host().to_string()).collect();
        let trouble = hosts.iter().find_map(|host| (self.trouble)(host));
        self.commits.lock().unwrap().push(hosts);
        match trouble {
            Some(error) => Err(error),
            None => Ok(runs.iter().map(|_| Outcome::Stored).collect()),
        }
    }

    async fn runs(&self, _since: Option<Timestamp>) -> Result<Vec<StoredRun>, StoreError> {
        Ok(Vec::new())
    }

    async fn runs_by_id(&self, _ids: Vec<ReportId>) -> Result<Vec<StoredRun>, StoreError> {
        Ok(Vec::new())
    }

    async fn rollup(&self, _since: Option<Timestamp>) -> Result<Option<Rollup>, StoreError> {
        Ok(None)
    }

    async fn rebuild(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn check(&self) -> Result<Checked, StoreError> {
        Ok(Checked::default())
    }

    async fn page(&self, _behind: Place, _bytes: usize) -> Result<Vec<KeptRun>, StoreError> {
        self.turns.acquire().await.unwrap().forget();
        Ok(Vec::new())
    }

    async fn count(&self, _since: Option<Timestamp>) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn size_bytes(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn expired(&self, _retention: Retention) -> Result<Pruned, StoreError> {
        Ok(Pruned::default())
    }

    async fn prune(&self, _retention: Retention) -> Result<Pruned, StoreError> {
        Ok(Pruned::default())
    }
}
