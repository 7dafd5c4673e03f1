//! What compares hosts of different sizes: what a unit costs, and what each core does.

use fleetmark_proto::{
    plan::Scenario,
    report::{Cell, Report},
    unit::approximate,
};
use serde::Serialize;

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// What was measured, or what follows from it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// How long a cell takes, in nanoseconds.
    Elapsed,
    /// How long starting and ending one unit takes, in nanoseconds.
    SpawnCost,
    /// By how much waiting takes longer than the wait, in nanoseconds.
    WaitOvershoot,
    /// Rounds of the kernel that each core does in a second.
    RoundRate,
    /// One core's time for a core's part of the work, as a share of the time that it takes.
    Efficiency,
}

impl Measure {
    /// What follows from a scenario's cells.
    #[must_use]
    pub fn derived(scenario: Scenario) -> &'static [Self] {
        match scenario {
            Scenario::SpawnOverhead => &[Self::SpawnCost],
            Scenario::Waiting => &[Self::WaitOvershoot],
            Scenario::CpuBound => &[Self::RoundRate, Self::Efficiency],
        }
    }

    /// The name that is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Elapsed => "elapsed",
            Self::SpawnCost => "spawn-cost",
            Self::WaitOvershoot => "wait-overshoot",
            Self::RoundRate => "round-rate",
            Self::Efficiency => "efficiency",
        }
    }

    /// The unit of its values.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Elapsed | Self::SpawnCost | Self::WaitOvershoot => "ns",
            Self::RoundRate => "rounds per second per core",
            Self::Efficiency => "share",
        }
    }

    /// Whether the faster of two has the greater value.
    #[must_use]
    pub fn grows_with_speed(self) -> bool {
        matches!(self, Self::RoundRate | Self::Efficiency)
    }

    /// Its value in this cell of this run, which is over 0; `None` if the cell failed, or the run does not show it.
    #[must_use]
    pub fn of(self, report: &Report, cell: &Cell) -> Option<f64> {
        let median = cell.median()?;
        let elapsed = median.to_f64();
        let workers = f64::from(report.workers.count.max(1));
        let units = approximate(cell.units);
        let value = match self {
            Self::Elapsed => elapsed,
            Self::SpawnCost => elapsed / units,
            Self::WaitOvershoot => approximate(median.0.saturating_sub(cell.workload.wait_ns?.0)),
            Self::RoundRate => {
                units * approximate(cell.workload.kernel_rounds?) / workers / elapsed * SECOND
            }
            Self::Efficiency => {
                let one_core = report.evidence.kernel_time(cell.workload.kernel_rounds?)?;
                one_core.to_f64() * units / workers / elapsed
            }
        };
        Some(value).filter(|value| value.is_finite() && *value > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::{
        plan::{Amount, CellKey, Spawner, Workload},
        report::CANARY_ROUNDS,
        unit::Nanos,
    };

    use super::*;
    use crate::testing;

    #[test]
    fn each_measure_is_what_design_and_arithmetic_say() {
        let mut report = testing::report("a", &[71_000_000; 3]);
        let near = |found: Option<f64>, expected: f64| {
            assert!((found.unwrap() / expected - 1.0).abs() < 1e-9, "{found:?} is not {expected}");
        };
        let spawn = report.cells[0].clone();
        near(Measure::Elapsed.of(&report, &spawn), 71e6);
        near(Measure::SpawnCost.of(&report, &spawn), 71_000.0);
        assert_eq!(Measure::WaitOvershoot.of(&report, &spawn), None, "it does not wait");
        assert_eq!(Measure::RoundRate.of(&report, &spawn), None, "it does not compute");

        let mut waiting = spawn.clone();
        waiting.workload.wait_ns = Some(Nanos(10_000_000));
        near(Measure::WaitOvershoot.of(&report, &waiting), 61e6);

        let workload = Workload {
            amount: Amount::UnitsPerWorker(2),
            wait_ns: None,
            kernel_rounds: Some(20_000_000),
            workers: None,
        };
        let key = CellKey { scenario: Scenario::CpuBound, spawner: Spawner::Tokio };
        let mut cpu = Cell { key, workload, units: 8, ..spawn };
        cpu.samples_ns = vec![Nanos(80_000_000); 3];
        report.workers.count = 4;
        // Two units of 20 million rounds a worker in 80 ms.
        near(Measure::RoundRate.of(&report, &cpu), 500e6);
        assert_eq!(Measure::Efficiency.of(&report, &cpu), None, "without a canary nobody knows");
        // 20 million rounds take 30 ms on one core, 2 units of them 60 ms.
        report.evidence.canary_after_ns = Some(Nanos(30_000_000 * CANARY_ROUNDS / 20_000_000));
        near(Measure::Efficiency.of(&report, &cpu), 0.75);
    }
}
