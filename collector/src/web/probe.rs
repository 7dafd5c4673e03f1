//! Whether the store can be read.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::store::{Place, Store};

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(1);
/// How long a store may take that can be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads a run now and then. There is one reading at a time, however many ask and however long it takes.
pub(super) struct Probe {
    store: Arc<dyn Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    told: Option<(Instant, bool)>,
    reading: Option<JoinHandle<bool>>,
}

impl Probe {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, state: Mutex::default() }
    }

    /// Whether it can be read, as of at most a second ago.
    pub(super) async fn is_readable(&self) -> bool {
        let mut state = self.state.lock().await;
        if let Some((at, told)) = state.told
            && at.elapsed() < FRESH
        {
            return told;
        }
        let store = Arc::clone(&self.store);
        let mut reading = state.reading.take().unwrap_or_else(|| {
            tokio::spawn(async move { store.page(Place::before(None), 1).await.is_ok() })
        });
        let readable = match timeout(PATIENCE, &mut reading).await {
            Ok(read) => read.unwrap_or(false),
            Err(_) => {
                state.reading = Some(reading);
                false
            }
        };
        state.told = Some((Instant::now(), readable));
        readable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ToldStore;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_cannot_be_read_until_it_does() {
        let store = Arc::new(ToldStore::stalled(|_| None));
        let probe = Probe::new(store.clone());
        assert!(!probe.is_readable().await);
        let asked = Instant::now();
        assert!(!probe.is_readable().await);
        assert_eq!(asked.elapsed(), Duration::ZERO, "others who ask are not kept waiting");
        store.go(1);
        tokio::time::sleep(FRESH).await;
        assert!(probe.is_readable().await, "by the reading that was begun first");
    }
}
