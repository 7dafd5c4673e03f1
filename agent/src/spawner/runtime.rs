//! What tasks and blocking closures have in common: both are handed to a Tokio runtime and awaited there.

use std::time::{Duration, Instant};

use tokio::{
    runtime::Runtime,
    task::{JoinError, JoinHandle, JoinSet},
};

use super::Mark;
use crate::scenario::Scenario;

/// What a cell's units gave, and how long they took from the first spawn to the last join.
pub(super) type Timed = (Duration, Result<u64, JoinError>);

/// How a unit is handed to the runtime.
pub(super) trait Start: Copy + Send + Sync + 'static {
    /// Starts a unit into a set.
    fn into_set<S: Scenario>(self, set: &mut JoinSet<u64>, scenario: S, id: u64);

    /// Starts a unit with a handle of its own.
    fn with_handle<S: Scenario>(self, scenario: S, id: u64) -> JoinHandle<u64>;
}

/// Spawns from `block_on`, which is not a worker, into a `JoinSet`, and drains it.
pub(super) fn sample<S: Scenario>(
    runtime: &Runtime,
    start_unit: impl Start,
    scenario: S,
    units: u64,
    mark: impl Mark,
) -> Timed {
    let start = Instant::now();
    let outcome = runtime.block_on(drain(start_unit, scenario, units, mark));
    (start.elapsed(), outcome)
}

/// The same from inside a worker. The clock starts there too: how the work got to the worker is not asked.
pub(super) fn from_worker<S: Scenario>(
    runtime: &Runtime,
    start_unit: impl Start,
    scenario: S,
    units: u64,
) -> Timed {
    let inside = runtime.spawn(async move {
        let start = Instant::now();
        let outcome = drain(start_unit, scenario, units, ()).await;
        (start.elapsed(), outcome)
    });
    runtime.block_on(inside).unwrap_or_else(|error| (Duration::ZERO, Err(error)))
}

/// Spawns from `block_on` into a vector, and awaits the handles in the order of spawning.
pub(super) fn with_vector<S: Scenario>(
    runtime: &Runtime,
    start_unit: impl Start,
    scenario: S,
    units: u64,
) -> Timed {
    let mut handles = Vec::with_capacity(usize::try_from(units).unwrap_or_default());
    let start = Instant::now();
    let outcome = runtime.block_on(async {
        for id in 0..units {
            handles.push(start_unit.with_handle(scenario, id));
        }
        let mut sum: u64 = 0;
        for handle in &mut handles {
            sum = sum.wrapping_add(handle.await?);
        }
        Ok(sum)
    });
    (start.elapsed(), outcome)
}

async fn drain<S: Scenario>(
    start_unit: impl Start,
    scenario: S,
    units: u64,
    mark: impl Mark,
) -> Result<u64, JoinError> {
    let mut set = JoinSet::new();
    for id in 0..units {
        start_unit.into_set(&mut set, scenario, id);
    }
    mark.spawned();
    let mut sum: u64 = 0;
    while let Some(joined) = set.join_next().await {
        sum = sum.wrapping_add(joined?);
    }
    Ok(sum)
}
