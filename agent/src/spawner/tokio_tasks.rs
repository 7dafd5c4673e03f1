//! `tokio::spawn`: a task a unit on a multi-thread runtime.

use std::time::Instant;

use fleetmark_proto::{
    report::Failure,
    unit::{self, Nanos},
};
use tokio::{runtime::Runtime, task::JoinSet};

use super::{Sample, limited, lost};
use crate::scenario::Scenario;

/// A runtime for tasks.
#[derive(Debug)]
pub(super) struct TokioTasks {
    runtime: Runtime,
    workers: usize,
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

    /// Spawns from `block_on`, which is not a worker, into a `JoinSet`, and drains it.
    pub(super) fn sample<S: Scenario>(&self, scenario: S, units: u64) -> Result<Sample, Failure> {
        let start = Instant::now();
        let outcome = self.runtime.block_on(async {
            let mut set = JoinSet::new();
            for id in 0..units {
                set.spawn(scenario.run_async(id));
            }
            let mut sum: u64 = 0;
            while let Some(joined) = set.join_next().await {
                sum = sum.wrapping_add(joined?);
            }
            Ok(sum)
        });
        let elapsed = Nanos::from(start.elapsed());
        Ok(Sample {
            elapsed_ns: elapsed.0,
            sum: outcome.map_err(lost)?,
            threads: unit::count(self.workers),
        })
    }
}
