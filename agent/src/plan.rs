//! What one run is to measure. A plan does no I/O; the same arguments and workers give the same plan.

use std::time::Duration;

use fleetmark_proto::{
    limits,
    plan::{Amount, CellKey, Scenario, Spawner, Workload},
    unit::{Nanos, grouped},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    scenario::{cpu_bound, sum_of_ids},
    spawner::{Task, Work},
};

/// What the owner asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Measured rounds, the cold one not counted.
    pub rounds: u32,
    /// Scenarios to measure; empty is all.
    pub scenarios: Vec<Scenario>,
    /// Spawners to measure; empty is all.
    pub spawners: Vec<Spawner>,
    /// Units that return at once.
    pub spawn_amount: Amount,
    /// Units that wait.
    pub wait_amount: Amount,
    /// How long each of these waits.
    pub wait: Duration,
    /// Units that burn CPU.
    pub cpu_amount: Amount,
    /// How many rounds of the kernel each of these runs.
    pub cpu_rounds: u64,
    /// The number of workers, where it is overridden.
    pub workers: Option<u32>,
    /// Seed of the order of cells within rounds.
    pub seed: u64,
    /// How long one sample may take.
    pub deadline: Duration,
    /// The spawner that the others are compared with.
    pub against: Spawner,
}

/// What one run measures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// In the order of every table.
    pub cells: Vec<PlannedCell>,
    /// Measured rounds, the cold one not counted; at least 1.
    pub rounds: u32,
    /// Worker threads of Tokio and of rayon; at least 1.
    pub workers: u32,
    /// Seed of the order of cells within rounds.
    pub seed: u64,
    /// How long one sample may take.
    pub deadline: Duration,
    /// The spawner that the others are compared with.
    pub against: Spawner,
}

/// One cell of a plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PlannedCell {
    /// Which.
    pub key: CellKey,
    /// What was asked of it.
    pub workload: Workload,
    /// The units that come of it.
    pub units: u64,
    /// What is done once a round.
    pub work: Work,
}

/// A plan that cannot be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// The chosen scenarios and spawners have no cell in common.
    #[error("there is no cell to measure: waiting does not run in rayon")]
    NoCell,
    /// Units a worker, times workers, are too many.
    #[error("{scenario} would have {} units, more than {}", grouped(*.units), grouped(limits::UNITS))]
    TooManyUnits {
        /// Which scenario.
        scenario: Scenario,
        /// How many units.
        units: u64,
    },
}

impl Plan {
    /// Makes a plan for a host with this many workers, which already honours [`Asked::workers`].
    ///
    /// # Errors
    ///
    /// If nothing would be measured, or too many units would be spawned at once.
    pub fn new(asked: &Asked, workers: u32) -> Result<Self, PlanError> {
        let wanted = |key: &CellKey| {
            (asked.scenarios.is_empty() || asked.scenarios.contains(&key.scenario))
                && (asked.spawners.is_empty() || asked.spawners.contains(&key.spawner))
        };
        let cells = CellKey::all()
            .filter(wanted)
            .map(|key| PlannedCell::new(key, asked, workers))
            .collect::<Result<Vec<_>, _>>()?;
        if cells.is_empty() {
            return Err(PlanError::NoCell);
        }
        Ok(Self {
            cells,
            rounds: asked.rounds,
            workers,
            seed: asked.seed,
            deadline: asked.deadline,
            against: asked.against,
        })
    }

    /// The order of the cells, as indices, in one round; round 0 is the cold one.
    #[must_use]
    pub fn order(&self, round: u32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.cells.len()).collect();
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(u64::from(round));
        order.shuffle(&mut random);
        order
    }
}

impl PlannedCell {
    fn new(key: CellKey, asked: &Asked, workers: u32) -> Result<Self, PlanError> {
        let (amount, task) = match key.scenario {
            Scenario::SpawnOverhead => (asked.spawn_amount, Task::SpawnOverhead),
            Scenario::Waiting => (asked.wait_amount, Task::Waiting(asked.wait)),
            Scenario::CpuBound => (asked.cpu_amount, Task::CpuBound(asked.cpu_rounds)),
        };
        let units = amount.units(workers);
        if units > limits::UNITS {
            return Err(PlanError::TooManyUnits { scenario: key.scenario, units });
        }
        let workload = Workload {
            amount,
            wait_ns: match task {
                Task::Waiting(wait) => Some(Nanos::from(wait)),
                _ => None,
            },
            kernel_rounds: match task {
                Task::CpuBound(rounds) => Some(rounds),
                _ => None,
            },
            workers: asked.workers,
        };
        let work = Work { task, spawner: key.spawner, units };
        Ok(Self { key, workload, units, work })
    }

    /// The checksum that every sample of the cell must have. Takes as long as the cell's own work on all cores.
    #[must_use]
    pub fn expected_sum(&self) -> u64 {
        match self.work.task {
            Task::SpawnOverhead | Task::Waiting(_) => sum_of_ids(self.units),
            Task::CpuBound(rounds) => cpu_bound::expected_sum(self.units, rounds),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn asked() -> Asked {
        Asked {
            rounds: 11,
            scenarios: vec![],
            spawners: vec![],
            spawn_amount: Amount::Units(1_000),
            wait_amount: Amount::Units(1_000),
            wait: Duration::from_millis(10),
            cpu_amount: Amount::UnitsPerWorker(2),
            cpu_rounds: 20_000_000,
            workers: None,
            seed: 7,
            deadline: Duration::from_secs(30),
            against: Spawner::Thread,
        }
    }

    #[test]
    fn the_default_plan_has_the_articles_workloads() {
        let plan = Plan::new(&asked(), 12).unwrap();
        assert_eq!(plan.cells.len(), 11);
        let units: BTreeSet<_> =
            plan.cells.iter().map(|cell| (cell.key.scenario.name(), cell.units)).collect();
        assert_eq!(
            units,
            BTreeSet::from([("spawn-overhead", 1_000), ("waiting", 1_000), ("cpu-bound", 24)])
        );
    }

    #[test]
    fn rounds_differ_and_seeds_repeat() {
        let plan = Plan::new(&asked(), 2).unwrap();
        let orders: Vec<_> = (0..12).map(|round| plan.order(round)).collect();
        for order in &orders {
            let cells: BTreeSet<_> = order.iter().copied().collect();
            assert_eq!(cells, (0..11).collect(), "each cell once a round");
        }
        assert!(orders.iter().collect::<BTreeSet<_>>().len() > 10, "{orders:?}");
        assert_eq!(orders, (0..12).map(|round| plan.order(round)).collect::<Vec<_>>());
        let other = Plan::new(&Asked { seed: 8, ..asked() }, 2).unwrap();
        assert_ne!(orders[1], other.order(1));
    }

    #[test]
    fn choices_are_honoured_and_checked() {
        let chosen = Asked {
            scenarios: vec![Scenario::CpuBound, Scenario::Waiting],
            spawners: vec![Spawner::Rayon],
            ..asked()
        };
        let plan = Plan::new(&chosen, 2).unwrap();
        assert_eq!(plan.cells.len(), 1);
        let none = Asked { scenarios: vec![Scenario::Waiting], ..chosen };
        assert_eq!(Plan::new(&none, 2), Err(PlanError::NoCell));
        let many = Asked { cpu_amount: Amount::UnitsPerWorker(1_000_000), ..asked() };
        assert!(matches!(Plan::new(&many, 2), Err(PlanError::TooManyUnits { .. })));
    }
}
