//! `std::thread::spawn`: an operating system thread a unit.

use std::{thread, time::Instant};

use fleetmark_proto::report::Failure;

use super::{Mark, Sample, limited, panicked};
use crate::scenario::Scenario;

/// Starts a thread a unit into a vector and joins them in the order of spawning.
pub(super) fn sample<S: Scenario>(
    scenario: S,
    units: u64,
    mark: impl Mark,
) -> Result<Sample, Failure> {
    let mut handles = Vec::with_capacity(usize::try_from(units).unwrap_or_default());
    let mut refusal = None;
    let mut panic = None;
    let mut sum: u64 = 0;

    let start = Instant::now();
    for id in 0..units {
        // What `std::thread::spawn` does, but for its panic where the host refuses.
        match thread::Builder::new().spawn(move || scenario.run_blocking(id)) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                refusal = Some((id, error));
                break;
            }
        }
    }
    mark.spawned();
    for handle in handles {
        match handle.join() {
            Ok(value) => sum = sum.wrapping_add(value),
            Err(payload) => panic = Some(payload),
        }
    }
    let elapsed = start.elapsed();

    if let Some((started, error)) = refusal {
        return Err(limited(format!(
            "the host refused thread {} of {units}: {error}",
            started + 1
        )));
    }
    match panic {
        Some(payload) => Err(panicked(payload.as_ref())),
        None => Ok(Sample::new(elapsed, sum, units)),
    }
}

/// One unit alone, on the thread that asks.
pub(super) fn single<S: Scenario>(scenario: S) -> Sample {
    let start = Instant::now();
    let value = scenario.run_blocking(0);
    Sample::new(start.elapsed(), value, 1)
}
