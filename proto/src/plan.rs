//! What is measured: scenarios, spawners, cells and workloads.

use std::fmt;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::unit::{Nanos, grouped};

/// The kind of work that units do.
#[derive(
    Clone,
    Copy,
    Debug,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
    ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Units that return at once.
    SpawnOverhead,
    /// Units that sleep.
    Waiting,
    /// Units that burn CPU without yielding.
    CpuBound,
}

impl Scenario {
    /// All of them, in the order of every table.
    pub const ALL: [Self; 3] = [Self::SpawnOverhead, Self::Waiting, Self::CpuBound];

    /// The name that is typed and printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SpawnOverhead => "spawn-overhead",
            Self::Waiting => "waiting",
            Self::CpuBound => "cpu-bound",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A way of starting units.
#[derive(
    Clone,
    Copy,
    Debug,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
    ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Spawner {
    /// `std::thread::spawn`: an operating system thread a unit.
    Thread,
    /// `tokio::spawn`: a task a unit.
    Tokio,
    /// `tokio::task::spawn_blocking`: a closure a unit on Tokio's blocking pool.
    SpawnBlocking,
    /// rayon's `Scope::spawn`: a job a unit on a pool of its own.
    Rayon,
}

impl Spawner {
    /// All of them, in the order of every table.
    pub const ALL: [Self; 4] = [Self::Thread, Self::Tokio, Self::SpawnBlocking, Self::Rayon];

    /// The name that is typed and printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Tokio => "tokio",
            Self::SpawnBlocking => "spawn-blocking",
            Self::Rayon => "rayon",
        }
    }

    /// The heading over comparisons with it.
    #[must_use]
    pub fn against(self) -> &'static str {
        match self {
            Self::Thread => "against thread",
            Self::Tokio => "against tokio",
            Self::SpawnBlocking => "against spawn-blocking",
            Self::Rayon => "against rayon",
        }
    }
}

impl fmt::Display for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A scenario with a spawner.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CellKey {
    /// What units do.
    pub scenario: Scenario,
    /// How they are started.
    pub spawner: Spawner,
}

impl CellKey {
    /// The eleven cells that exist: all but waiting in rayon, whose workers would only sleep.
    pub fn all() -> impl Iterator<Item = Self> {
        Scenario::ALL
            .into_iter()
            .flat_map(|scenario| Spawner::ALL.map(|spawner| Self { scenario, spawner }))
            .filter(|cell| cell.exists())
    }

    /// Whether this is one of the eleven.
    #[must_use]
    pub fn exists(self) -> bool {
        (self.scenario, self.spawner) != (Scenario::Waiting, Spawner::Rayon)
    }
}

impl fmt::Display for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.scenario, self.spawner)
    }
}

/// How many units were asked for.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// This many.
    Units(u64),
    /// This many for each worker, so that every host is equally busy.
    UnitsPerWorker(u64),
}

impl Amount {
    /// The units that come of it on a host with `workers`.
    #[must_use]
    pub fn units(self, workers: u32) -> u64 {
        match self {
            Self::Units(units) => units,
            Self::UnitsPerWorker(units) => units.saturating_mul(u64::from(workers)),
        }
    }
}

/// A scenario with what was asked of it. Results of different workloads never enter one median.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Workload {
    /// `units` or `units_per_worker`.
    #[serde(flatten)]
    pub amount: Amount,
    /// How long each unit sleeps; set for [`Scenario::Waiting`] only.
    pub wait_ns: Option<Nanos>,
    /// Rounds of the kernel that each unit runs; set for [`Scenario::CpuBound`] only.
    pub kernel_rounds: Option<u64>,
    /// The number of workers, where the owner overrode it.
    pub workers: Option<u32>,
}

impl fmt::Display for Workload {
    /// Such as `1,000 units × 10.0 ms` or `2 units per worker × 20,000,000 kernel rounds`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.amount {
            Amount::Units(units) => write!(f, "{} units", grouped(units))?,
            Amount::UnitsPerWorker(units) => write!(f, "{} units per worker", grouped(units))?,
        }
        if let Some(wait) = self.wait_ns {
            write!(f, " × {wait} of sleep")?;
        }
        if let Some(rounds) = self.kernel_rounds {
            write!(f, " × {} kernel rounds", grouped(rounds))?;
        }
        if let Some(workers) = self.workers {
            write!(f, ", workers set to {workers}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eleven_cells_exist() {
        assert_eq!(CellKey::all().count(), 11);
    }

    #[test]
    fn workloads_say_what_was_asked() {
        let workload = Workload {
            amount: Amount::UnitsPerWorker(2),
            wait_ns: None,
            kernel_rounds: Some(20_000_000),
            workers: Some(3),
        };
        assert_eq!(
            workload.to_string(),
            "2 units per worker × 20,000,000 kernel rounds, workers set to 3"
        );
        assert_eq!(workload.amount.units(3), 6);
    }
}
