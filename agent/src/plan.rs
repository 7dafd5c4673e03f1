//! What one run is to measure. A plan does no I/O; the same arguments and workers give the same plan.

mod passes;
mod size;

use std::time::Duration;

use clap::ValueEnum;
use fleetmark_proto::{
    limits,
    plan::{Amount, CellKey, Scenario, Spawner, Workload},
    report::CANARY_ROUNDS,
    series::Pass,
    unit::{Nanos, grouped},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    scenario::{cpu_bound, sum_of_ids},
    spawner::{Mode, Task, Work},
};

/// What the owner asked for.
#[derive(Clone, Debug, PartialEq)]
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
    /// How narrow each interval is to become.
    pub precision: Option<Precision>,
    /// What to measure in place of the eleven cells.
    pub preset: Option<Preset>,
    /// Passes beside these.
    pub beside: Vec<Pass>,
}

impl Asked {
    /// The eleven cells of which both the scenario and the spawner are asked for.
    fn cells(&self) -> impl Iterator<Item = CellKey> {
        CellKey::all().filter(|key| {
            (self.scenarios.is_empty() || self.scenarios.contains(&key.scenario))
                && (self.spawners.is_empty() || self.spawners.contains(&key.spawner))
        })
    }
}

/// What is measured in place of the eleven cells.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Preset {
    /// The article's crate, exactly: seven cells, five rounds, fixed order, no cold round
    Article,
    /// From which length of work on does each spawner stop hurting?
    Grain,
}

/// Go on with rounds until the intervals are narrow enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    /// Half the width of an interval as a share of its median.
    pub target: f64,
    /// Begin no more rounds after this long.
    pub max_time: Duration,
}

/// All that one run measures, pass after pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Passes {
    /// The eleven cells, or those chosen of them.
    pub cells: Option<Plan>,
    /// What comes beside them, each by itself.
    pub beside: Vec<(Pass, Plan)>,
}

/// What one pass measures.
#[derive(Clone, Debug, PartialEq)]
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
    /// In which order samples are taken.
    pub order: Order,
    /// Whether to go on after these rounds.
    pub precision: Option<Precision>,
    /// How many rounds there may be then.
    pub most_rounds: u32,
}

/// In which order samples are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Every round runs every cell once, in an order shuffled by the seed. The first round is cold.
    Interleaved,
    /// All rounds of one cell, then all of the next; none is cold.
    CellByCell,
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
    /// The article's crate has a number of rounds of its own.
    #[error("--preset article always runs {0} rounds; leave --rounds out")]
    FixedRounds(u32),
    /// The chosen scenarios and spawners leave nothing to a pass.
    #[error("the pass {0} has no cell of these scenarios and spawners")]
    EmptyPass(Pass),
    /// Units a worker, times workers, are too many.
    #[error("{scenario} would have {} units, more than {}", grouped(*.units), grouped(limits::UNITS))]
    TooManyUnits {
        /// Which scenario.
        scenario: Scenario,
        /// How many units.
        units: u64,
    },
    /// Samples of all passes and rounds are too many for one report.
    #[error(
        "a report of all these samples may have {} bytes, more than the {} that a collector takes: ask for at most {fits} rounds, or for fewer cells and passes",
        grouped(*.bytes), grouped(limits::REPORT_BYTES.try_into().unwrap_or(u64::MAX))
    )]
    TooLong {
        /// How long it may be.
        bytes: u64,
        /// As many rounds as fit.
        fits: u64,
    },
}

impl Plan {
    /// Makes a plan for a host with this many workers, which already honours [`Asked::workers`].
    ///
    /// # Errors
    ///
    /// If nothing would be measured, or too many units would be spawned at once.
    pub fn new(asked: &Asked, workers: u32) -> Result<Self, PlanError> {
        let cells = asked
            .cells()
            .map(|key| PlannedCell::new(key, asked, workers))
            .collect::<Result<Vec<_>, _>>()?;
        if cells.is_empty() {
            return Err(PlanError::NoCell);
        }
        Ok(Self { precision: asked.precision, ..Self::of(cells, asked, workers) })
    }

    /// A plan of these cells, interleaved.
    fn of(cells: Vec<PlannedCell>, asked: &Asked, workers: u32) -> Self {
        Self {
            cells,
            rounds: asked.rounds,
            workers,
            seed: asked.seed,
            deadline: asked.deadline,
            against: asked.against,
            order: Order::Interleaved,
            precision: None,
            most_rounds: limits::ROUNDS,
        }
    }

    /// The rounds of which none counts: 0 or 1.
    #[must_use]
    pub fn cold_rounds(&self) -> u32 {
        match self.order {
            Order::Interleaved => 1,
            Order::CellByCell => 0,
        }
    }

    /// The cells to sample, as indices, one stretch after the other: the rounds of an interleaved plan, the first of them
    /// cold, or the cells of one that goes cell by cell.
    #[must_use]
    pub fn stretches(&self) -> Vec<Vec<usize>> {
        match self.order {
            Order::Interleaved => (0..=self.rounds).map(|round| self.round(round)).collect(),
            Order::CellByCell => {
                let rounds = usize::try_from(self.rounds).unwrap_or_default();
                (0..self.cells.len()).map(|cell| vec![cell; rounds]).collect()
            }
        }
    }

    /// The CPU time that all samples and their check will take, told before any is taken; errs on the side of too much.
    /// `canary` is how long [`CANARY_ROUNDS`] of the kernel take on one core. Rounds that a precision may add are left out.
    #[must_use]
    pub fn cpu_time(&self, canary: Nanos) -> Nanos {
        let rounds = u64::from(self.cold_rounds() + self.rounds);
        let samples = self.cells.iter().map(|cell| cell.cpu_time(canary).0.saturating_mul(rounds));
        // Sums are computed once for all spawners of a scenario.
        let sums = self.cells.iter().map(|cell| cell.kernel_time(canary).0).max().unwrap_or(0);
        Nanos(samples.fold(sums, u64::saturating_add))
    }

    /// The order of the cells, as indices, in one interleaved round; round 0 is the cold one.
    #[must_use]
    pub fn round(&self, round: u32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.cells.len()).collect();
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(u64::from(round));
        order.shuffle(&mut random);
        order
    }
}

impl PlannedCell {
    /// A cell as in the eleven, with what was asked for.
    fn new(key: CellKey, asked: &Asked, workers: u32) -> Result<Self, PlanError> {
        let (amount, task) = match key.scenario {
            Scenario::SpawnOverhead => (asked.spawn_amount, Task::SpawnOverhead),
            Scenario::Waiting => (asked.wait_amount, Task::Waiting(asked.wait)),
            Scenario::CpuBound => (asked.cpu_amount, Task::CpuBound(asked.cpu_rounds)),
        };
        Self::with(key, amount, task, asked, workers)
    }

    fn with(
        key: CellKey,
        amount: Amount,
        task: Task,
        asked: &Asked,
        workers: u32,
    ) -> Result<Self, PlanError> {
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
        let work = Work { task, spawner: key.spawner, units, mode: Mode::Plain };
        Ok(Self { key, workload, units, work })
    }

    /// The same cell, started otherwise.
    fn started(self, mode: Mode) -> Self {
        Self { work: Work { mode, ..self.work }, ..self }
    }

    fn cpu_time(&self, canary: Nanos) -> Nanos {
        /// Seen on virtual machines: 60 µs to make, run and join a thread, and a tenth of that elsewhere.
        const THREAD_NS: u64 = 80_000;
        const TASK_NS: u64 = 10_000;
        let each = match self.work.spawner {
            Spawner::Thread => THREAD_NS,
            Spawner::SpawnBlocking | Spawner::Tokio | Spawner::Rayon => TASK_NS,
        };
        let spawning = self.units.saturating_mul(each);
        Nanos(self.kernel_time(canary).0.saturating_add(spawning))
    }

    /// What the kernel takes in one sample, on all cores together.
    fn kernel_time(&self, canary: Nanos) -> Nanos {
        let Task::CpuBound(rounds) = self.work.task else { return Nanos(0) };
        let all = u128::from(canary.0) * u128::from(rounds) * u128::from(self.units);
        Nanos(u64::try_from(all / u128::from(CANARY_ROUNDS)).unwrap_or(u64::MAX))
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

    pub(super) fn asked() -> Asked {
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
            precision: None,
            preset: None,
            beside: vec![],
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
    fn what_a_run_costs_is_told_before_it() {
        // 36 ms of the kernel a unit, as on the machine of the article's second table.
        let canary = Nanos(360_000);
        let seconds = |workers| {
            let plan = Plan::new(&asked(), workers).unwrap();
            plan.cpu_time(canary).0 / 1_000_000_000
        };
        assert_eq!((seconds(2), seconds(64)), (9, 228));
        let tiny = Asked { rounds: 1, cpu_rounds: 1, spawn_amount: Amount::Units(1), ..asked() };
        let waiting = Asked { scenarios: vec![Scenario::Waiting], ..tiny };
        assert_eq!(Plan::new(&waiting, 2).unwrap().cpu_time(canary), Nanos(200_000_000));
    }

    #[test]
    fn rounds_differ_and_seeds_repeat() {
        let plan = Plan::new(&asked(), 2).unwrap();
        let orders: Vec<_> = (0..12).map(|round| plan.round(round)).collect();
        for order in &orders {
            let cells: BTreeSet<_> = order.iter().copied().collect();
            assert_eq!(cells, (0..11).collect(), "each cell once a round");
        }
        assert!(orders.iter().collect::<BTreeSet<_>>().len() > 10, "{orders:?}");
        assert_eq!(orders, (0..12).map(|round| plan.round(round)).collect::<Vec<_>>());
        let other = Plan::new(&Asked { seed: 8, ..asked() }, 2).unwrap();
        assert_ne!(orders[1], other.round(1));
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
