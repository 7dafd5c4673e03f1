//! `tokio::task::spawn_blocking`: a closure a unit on Tokio's blocking pool.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use fleetmark_proto::{report::Failure, unit};
use tokio::{
    runtime::Runtime,
    task::{JoinHandle, JoinSet},
};

use super::{
    Mark, Mode, Sample, limited, lost,
    runtime::{self, Start},
    ticker::{self, Lateness},
};
use crate::scenario::Scenario;

/// Tokio's own default, which is what everybody runs with.
const MAX_THREADS: u64 = 512;
/// Longer than any run, so that the pool stays warm through it.
const KEEP_ALIVE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A runtime whose blocking pool is kept warm. Dropping it ends the pool and waits for its threads.
#[derive(Debug)]
pub(super) struct BlockingPool {
    runtime: Runtime,
    workers: u64,
    /// Threads of the runtime, workers and pool, that are alive.
    alive: Arc<AtomicU64>,
}

#[derive(Clone, Copy)]
struct Closures;

impl Start for Closures {
    fn into_set<S: Scenario>(self, set: &mut JoinSet<u64>, scenario: S, id: u64) {
        set.spawn_blocking(move || scenario.run_blocking(id));
    }

    fn with_handle<S: Scenario>(self, scenario: S, id: u64) -> JoinHandle<u64> {
        tokio::task::spawn_blocking(move || scenario.run_blocking(id))
    }
}

impl BlockingPool {
    pub(super) fn new(workers: usize) -> Result<Self, Failure> {
        let alive = Arc::new(AtomicU64::new(0));
        let (born, died) = (Arc::clone(&alive), Arc::clone(&alive));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_keep_alive(KEEP_ALIVE)
            // A thread starts in the cold round, hardly ever later; one addition a start is all that it costs.
            .on_thread_start(move || {
                born.fetch_add(1, Ordering::Relaxed);
            })
            .on_thread_stop(move || {
                died.fetch_sub(1, Ordering::Relaxed);
            })
            .enable_time()
            .build()
            .map_err(|error| limited(format!("Tokio's runtime cannot be built: {error}")))?;
        Ok(Self { runtime, workers: unit::count(workers), alive })
    }

    /// Takes one sample, started as the mode says.
    pub(super) fn sample<S: Scenario>(
        &self,
        scenario: S,
        units: u64,
        mode: Mode,
        mark: impl Mark,
    ) -> Result<Sample, Failure> {
        let (elapsed, outcome) = match mode {
            Mode::FromWorker => runtime::from_worker(&self.runtime, Closures, scenario, units),
            Mode::Vector => runtime::with_vector(&self.runtime, Closures, scenario, units),
            _ => runtime::sample(&self.runtime, Closures, scenario, units, mark),
        };
        let sum = outcome.map_err(lost)?;
        let threads = self.alive.load(Ordering::Relaxed).saturating_sub(self.workers);
        self.check_limit(threads, units)?;
        Ok(Sample::new(elapsed, sum, threads))
    }

    /// Does what is given while a task on this runtime ticks.
    pub(super) fn beside_ticker<T>(&self, work: impl FnOnce() -> T) -> (T, Lateness) {
        ticker::beside(&self.runtime, work)
    }

    /// Tokio says nothing when the host refuses a thread to a pool that has some: the units wait their turn. A pool that
    /// stayed small of its own accord, as units came back in time, is no failure; one more thread tells which it was.
    fn check_limit(&self, threads: u64, units: u64) -> Result<(), Failure> {
        let wanted = units.min(MAX_THREADS);
        if threads >= wanted {
            return Ok(());
        }
        match thread::Builder::new().spawn(|| ()) {
            Ok(probe) => {
                // The probe returns at once and cannot panic.
                let _ = probe.join();
                Ok(())
            }
            Err(error) => Err(limited(format!(
                "the host kept the blocking pool at {threads} of {wanted} threads: {error}"
            ))),
        }
    }
}
