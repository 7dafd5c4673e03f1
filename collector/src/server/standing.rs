//! Who may do what, as it was read from the store last. It is read again and again, as others change it too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use fleetmark_proto::limits;
use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    registry::{Registry, Standing},
    seldom::{Seldom, lately},
    store::StoreError,
};

/// Holds what was read.
pub(super) struct Standings {
    registry: Arc<dyn Registry>,
    for_strangers: Duration,
    held: ArcSwap<Held>,
    reading: Mutex<()>,
    begun: AtomicU64,
    failing: Seldom,
}

/// What was read, and when.
struct Held {
    standing: Standing,
    read_at: Instant,
}

impl Standings {
    /// Reads it for the first time.
    pub(super) async fn read(
        registry: Arc<dyn Registry>,
        for_strangers: Duration,
    ) -> Result<Arc<Self>, StoreError> {
        let read_at = Instant::now();
        let standing = registry.standing().await?;
        Ok(Arc::new(Self {
            registry,
            for_strangers,
            held: ArcSwap::from_pointee(Held { standing, read_at }),
            reading: Mutex::new(()),
            begun: AtomicU64::new(0),
            failing: Seldom::default(),
        }))
    }

    /// Looks up what was read last; `None` if that is so old that it may be wrong.
    pub(super) fn look<T>(&self, up: impl FnOnce(&Standing) -> T) -> Option<T> {
        let held = self.held.load();
        (held.read_at.elapsed() < limits::STANDING_AGE).then(|| up(&held.standing))
    }

    /// Reads it again, for as long as it is let.
    pub(super) async fn keep(self: Arc<Self>, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.refresh().await;
        }
    }

    /// Returns when it was read later than now. Many who want that at once share a reading.
    pub(super) async fn refresh(&self) {
        self.refresh_since(self.begun.load(Ordering::Acquire)).await;
    }

    /// The same for somebody who is not known. Strangers have it read only this long after the last time.
    pub(super) async fn refresh_for_stranger(&self) {
        let begun_before = self.begun.load(Ordering::Acquire);
        sleep_until(self.held.load().read_at + self.for_strangers).await;
        self.refresh_since(begun_before).await;
    }

    async fn refresh_since(&self, begun_before: u64) {
        let _reading = self.reading.lock().await;
        if self.begun.load(Ordering::Acquire) > begun_before {
            return;
        }
        self.begun.fetch_add(1, Ordering::AcqRel);
        let read_at = Instant::now();
        match self.registry.standing().await {
            Ok(standing) => self.held.store(Arc::new(Held { standing, read_at })),
            Err(error) => self.failing.happened(|times| {
                let error = fleetmark_proto::shell::one_line(&error);
                tracing::error!("cannot read who may do what: {error}{}", lately(times));
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{self, Mode, StoreUrl};

    #[tokio::test]
    async fn what_was_read_long_ago_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("store.db"));
        let (_, registry) = store::open_both(&url, Mode::Write).await.unwrap();
        let standings = Standings::read(registry, Duration::from_millis(20)).await.unwrap();
        assert_eq!(standings.look(|standing| standing.agents.len()), Some(0));
        tokio::time::pause();
        tokio::time::advance(limits::STANDING_AGE).await;
        assert_eq!(standings.look(|standing| standing.agents.len()), None);
        tokio::time::resume();
        standings.refresh().await;
        assert_eq!(standings.look(|standing| standing.agents.len()), Some(0));
    }
}
