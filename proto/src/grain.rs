//! From which length of work on each spawner stops hurting.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    plan::Spawner,
    unit::{Nanos, approximate},
};

/// A spawner whose cost is within this share of the best is as good as the best.
pub const CLOSE: f64 = 0.10;

/// What a unit costs in each spawner, by its length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grain {
    /// By rounds of the kernel in a unit: the median of a sample over its units, in nanoseconds.
    costs: BTreeMap<u64, BTreeMap<Spawner, f64>>,
}

/// From which length on a spawner is as good as the best.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum GoodFrom {
    /// At every length that was measured.
    Always,
    /// From this many rounds of the kernel a unit on.
    Rounds(u64),
    /// At no length, or not at the longest.
    Never,
}

/// How long a unit of so many rounds of the kernel is by itself, where a million of them take this long.
#[must_use]
pub fn length(kernel_rounds: u64, kernel_time: Nanos) -> Nanos {
    let time = u128::from(kernel_time.0) * u128::from(kernel_rounds) / 1_000_000;
    Nanos(u64::try_from(time).unwrap_or(u64::MAX))
}

impl Grain {
    /// Adds what units of this length cost.
    pub fn add(&mut self, kernel_rounds: u64, spawner: Spawner, median: Nanos, units: u64) {
        let cost = median.to_f64() / approximate(units.max(1));
        self.costs.entry(kernel_rounds).or_default().insert(spawner, cost);
    }

    /// The lengths, in rounds of the kernel, shortest first.
    pub fn lengths(&self) -> impl Iterator<Item = u64> {
        self.costs.keys().copied()
    }

    /// The spawners that were measured.
    #[must_use]
    pub fn spawners(&self) -> BTreeSet<Spawner> {
        self.costs.values().flat_map(BTreeMap::keys).copied().collect()
    }

    /// What one unit of this length costs, in nanoseconds.
    #[must_use]
    pub fn cost(&self, kernel_rounds: u64, spawner: Spawner) -> Option<f64> {
        self.costs.get(&kernel_rounds)?.get(&spawner).copied()
    }

    /// The lowest cost at this length.
    #[must_use]
    pub fn best(&self, kernel_rounds: u64) -> Option<f64> {
        self.costs.get(&kernel_rounds)?.values().copied().min_by(f64::total_cmp)
    }

    /// Whether a spawner is as good as the best at this length.
    #[must_use]
    pub fn is_close(&self, kernel_rounds: u64, spawner: Spawner) -> bool {
        let (cost, best) = (self.cost(kernel_rounds, spawner), self.best(kernel_rounds));
        cost.zip(best).is_some_and(|(cost, best)| cost <= best * (1.0 + CLOSE))
    }

    /// From which length on the spawner is as good as the best, at this and every longer one.
    #[must_use]
    pub fn from(&self, spawner: Spawner) -> GoodFrom {
        let close = |rounds: &&u64| self.is_close(**rounds, spawner);
        let lengths: Vec<&u64> = self.costs.keys().rev().collect();
        let tail = lengths.iter().take_while(|rounds| close(rounds)).count();
        match tail.checked_sub(1).and_then(|last| lengths.get(last)) {
            None => GoodFrom::Never,
            Some(_) if tail == lengths.len() => GoodFrom::Always,
            Some(rounds) => GoodFrom::Rounds(**rounds),
        }
    }

    /// How many times the best a spawner costs at its worst length.
    #[must_use]
    pub fn worst_ratio(&self, spawner: Spawner) -> Option<f64> {
        let ratio = |rounds: &u64| Some(self.cost(*rounds, spawner)? / self.best(*rounds)?);
        self.costs.keys().filter_map(ratio).max_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cost a unit of 100 ns, plus what the spawner takes for itself.
    fn grain(overheads: &[(Spawner, u64)]) -> Grain {
        let mut grain = Grain::default();
        for rounds in [0, 100, 1_000, 10_000, 100_000] {
            for (spawner, overhead) in overheads {
                grain.add(rounds, *spawner, Nanos((rounds + 100 + overhead) * 1_000), 1_000);
            }
        }
        grain
    }

    #[test]
    fn the_overhead_fades_with_length() {
        let grain = grain(&[(Spawner::Thread, 5_000), (Spawner::Tokio, 100), (Spawner::Rayon, 0)]);
        assert_eq!(grain.from(Spawner::Rayon), GoodFrom::Always);
        assert_eq!(grain.from(Spawner::Tokio), GoodFrom::Rounds(1_000));
        assert_eq!(grain.from(Spawner::Thread), GoodFrom::Rounds(100_000));
        assert_eq!(grain.from(Spawner::SpawnBlocking), GoodFrom::Never, "it was not measured");
        assert!((grain.worst_ratio(Spawner::Thread).unwrap() - 51.0).abs() < 1e-9);
    }

    #[test]
    fn a_spawner_that_falls_back_at_the_longest_never_stops_hurting() {
        let mut grain = grain(&[(Spawner::Thread, 0), (Spawner::Tokio, 0)]);
        grain.add(100_000, Spawner::Tokio, Nanos(200_000_000), 1_000);
        assert_eq!(grain.from(Spawner::Tokio), GoodFrom::Never);
        assert_eq!(Grain::default().from(Spawner::Tokio), GoodFrom::Never);
    }
}
