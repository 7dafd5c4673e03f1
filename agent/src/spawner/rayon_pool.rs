//! rayon: a job a unit on a pool of its own.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use fleetmark_proto::{report::Failure, unit};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Mark, Sample, limited};
use crate::scenario::Scenario;

/// A pool that no one else uses.
#[derive(Debug)]
pub(super) struct RayonPool {
    pool: ThreadPool,
}

impl RayonPool {
    pub(super) fn new(workers: usize) -> Result<Self, Failure> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(workers)
            .build()
            .map_err(|error| limited(format!("rayon's pool cannot be built: {error}")))?;
        Ok(Self { pool })
    }

    /// Spawns into a scope from outside of the pool, as the other spawners do, and waits for its end.
    pub(super) fn sample<S: Scenario>(&self, scenario: S, units: u64, mark: impl Mark) -> Sample {
        let sum = AtomicU64::new(0);
        let start = Instant::now();
        self.pool.in_place_scope(|scope| {
            for id in 0..units {
                let sum = &sum;
                scope.spawn(move |_| {
                    sum.fetch_add(scenario.run_blocking(id), Ordering::Relaxed);
                });
            }
            mark.spawned();
        });
        self.told(start.elapsed(), sum)
    }

    /// The same from inside a worker. The clock starts there too.
    pub(super) fn sample_from_worker<S: Scenario>(&self, scenario: S, units: u64) -> Sample {
        let sum = AtomicU64::new(0);
        let elapsed = self.pool.install(|| {
            let start = Instant::now();
            rayon::scope(|scope| {
                for id in 0..units {
                    let sum = &sum;
                    scope.spawn(move |_| {
                        sum.fetch_add(scenario.run_blocking(id), Ordering::Relaxed);
                    });
                }
            });
            start.elapsed()
        });
        self.told(elapsed, sum)
    }

    fn told(&self, elapsed: Duration, sum: AtomicU64) -> Sample {
        let threads = unit::count(self.pool.current_num_threads());
        Sample::new(elapsed, sum.into_inner(), threads)
    }
}
