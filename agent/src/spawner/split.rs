//! The parts of a sample: spawning, running and joining.
//!
//! Each unit reads the clock when it ends, which costs some tens of nanoseconds a unit: that is why this is a pass of its
//! own.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use fleetmark_proto::unit::Nanos;
use serde::{Deserialize, Serialize};

use super::Mark;
use crate::scenario::Scenario;

/// How long the parts of a sample took; together they are the sample.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Parts {
    /// From the first spawn to the end of the last.
    pub spawn_ns: u64,
    /// From there to the end of the last unit; 0 if it ended before.
    pub run_ns: u64,
    /// From there to the last join.
    pub join_ns: u64,
}

/// Where units leave the times of a sample. Lives as long as the process: units outlive no sample, but a scenario is
/// plain data that threads may hold for ever.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    spawned_ns: AtomicU64,
    ended_ns: AtomicU64,
}

/// A scenario whose units say when they end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamped<S> {
    scenario: S,
    origin: Instant,
    stamps: &'static Stamps,
}

/// Notes when the last unit was spawned.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpawnMark {
    origin: Instant,
    stamps: &'static Stamps,
}

impl Stamps {
    /// Stamps for a whole process.
    pub(super) fn leaked() -> &'static Self {
        Box::leak(Box::default())
    }

    /// Begins a sample of this scenario.
    pub(super) fn begin<S: Scenario>(&'static self, scenario: S) -> (Stamped<S>, SpawnMark) {
        self.spawned_ns.store(0, Ordering::Relaxed);
        self.ended_ns.store(0, Ordering::Relaxed);
        let origin = Instant::now();
        (Stamped { scenario, origin, stamps: self }, SpawnMark { origin, stamps: self })
    }

    /// The parts of the sample that began last and took this long.
    pub(super) fn parts(&self, elapsed: Duration) -> Parts {
        let all = Nanos::from(elapsed).0;
        let spawned = self.spawned_ns.load(Ordering::Relaxed).min(all);
        let ended = self.ended_ns.load(Ordering::Relaxed).clamp(spawned, all);
        Parts { spawn_ns: spawned, run_ns: ended - spawned, join_ns: all - ended }
    }
}

impl<S> Stamped<S> {
    fn stamp(&self) {
        let now = Nanos::from(self.origin.elapsed()).0;
        self.stamps.ended_ns.fetch_max(now, Ordering::Relaxed);
    }
}

impl<S: Scenario> Scenario for Stamped<S> {
    fn run_blocking(self, id: u64) -> u64 {
        let value = self.scenario.run_blocking(id);
        self.stamp();
        value
    }

    async fn run_async(self, id: u64) -> u64 {
        let value = self.scenario.run_async(id).await;
        self.stamp();
        value
    }
}

impl Mark for SpawnMark {
    fn spawned(self) {
        let now = Nanos::from(self.origin.elapsed()).0;
        self.stamps.spawned_ns.store(now, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SpawnOverhead;

    #[test]
    fn parts_add_up_to_the_sample() {
        let stamps = Stamps::leaked();
        let (stamped, mark) = stamps.begin(SpawnOverhead);
        assert_eq!(stamped.run_blocking(7), 7);
        mark.spawned();
        let elapsed = Duration::from_millis(3);
        let Parts { spawn_ns, run_ns, join_ns } = stamps.parts(elapsed);
        assert_eq!(spawn_ns + run_ns + join_ns, 3_000_000);
        assert!(spawn_ns > 0);
        assert_eq!(run_ns, 0, "the last unit ended before the last spawn did");
        let shortest = stamps.parts(Duration::ZERO);
        assert_eq!(shortest, Parts { spawn_ns: 0, run_ns: 0, join_ns: 0 });
    }
}
