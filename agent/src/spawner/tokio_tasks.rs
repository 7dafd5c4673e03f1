//! `tokio::spawn`: a task a unit on a multi-thread runtime.

use std::time::Instant;

use fleetmark_proto::{report::Failure, unit};
use tokio::{
    runtime::Runtime,
    task::{JoinHandle, JoinSet},
};

use super::{
    Mark, Mode, Sample, limited, lost,
    runtime::{self, Start, Timed},
    ticker::{self, Lateness},
};
use crate::scenario::Scenario;

/// A runtime for tasks.
#[derive(Debug)]
pub(super) struct TokioTasks {
    runtime: Runtime,
    workers: usize,
}

#[derive(Clone, Copy)]
struct Tasks;

impl Start for Tasks {
    fn into_set<S: Scenario>(self, set: &mut JoinSet<u64>, scenario: S, id: u64) {
        set.spawn(scenario.run_async(id));
    }

    fn with_handle<S: Scenario>(self, scenario: S, id: u64) -> JoinHandle<u64> {
        tokio::spawn(scenario.run_async(id))
    }
}

impl TokioTasks {
    pub(super) fn new(workers: usize) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_time()
            .build()
            .map_err(|error| limited(format!("Tokio's runtime cannot be built: {error}")))?;
        Ok(Self { runtime, workers })
    }

    /// Takes one sample, started as the mode says.
    pub(super) fn sample<S: Scenario>(
        &self,
        scenario: S,
        units: u64,
        mode: Mode,
        mark: impl Mark,
    ) -> Result<Sample, Failure> {
        self.told(match mode {
            Mode::FromWorker => runtime::from_worker(&self.runtime, Tasks, scenario, units),
            Mode::Vector => runtime::with_vector(&self.runtime, Tasks, scenario, units),
            _ => runtime::sample(&self.runtime, Tasks, scenario, units, mark),
        })
    }

    /// One unit alone, on the thread that asks.
    pub(super) fn single<S: Scenario>(&self, scenario: S) -> Result<Sample, Failure> {
        let start = Instant::now();
        let value = self.runtime.block_on(scenario.run_async(0));
        self.told((start.elapsed(), Ok(value)))
    }

    /// Does what is given while a task on this runtime ticks.
    pub(super) fn beside_ticker<T>(&self, work: impl FnOnce() -> T) -> (T, Lateness) {
        ticker::beside(&self.runtime, work)
    }

    fn told(&self, (elapsed, outcome): Timed) -> Result<Sample, Failure> {
        let sum = outcome.map_err(lost)?;
        Ok(Sample::new(elapsed, sum, unit::count(self.workers)))
    }
}
