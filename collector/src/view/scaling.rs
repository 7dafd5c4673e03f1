//! What of a machine's cores CPU-bound work gets.

use fleetmark_proto::{
    plan::{Amount, Scenario, Spawner},
    unit::{Nanos, approximate},
};

use super::{CellView, ProfileView};

/// How well the cores of one profile are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// In which spawner.
    pub spawner: Spawner,
    /// Worker threads, one a core.
    pub workers: u64,
    /// What one core would take, shared by all, to what was taken: 1 is all of every core.
    pub efficiency: f64,
    /// Rounds of the kernel that each core did in a second.
    pub rounds_per_second: f64,
}

impl Scaling {
    /// Of a cell that was measured with as many units a worker on each host.
    #[must_use]
    pub fn of(profile: &ProfileView, cell: &CellView) -> Option<Self> {
        let (Scenario::CpuBound, Amount::UnitsPerWorker(each)) =
            (cell.scenario, cell.workload.amount)
        else {
            return None;
        };
        let workers = cell.units.checked_div(each).filter(|workers| *workers > 0)?;
        let Nanos(million) = profile.kernel_time_ns?;
        let taken = cell.median_ns.filter(|median| median.0 > 0)?.to_f64();
        let rounds = approximate(cell.workload.kernel_rounds?) * approximate(each);
        Some(Self {
            spawner: cell.spawner,
            workers,
            efficiency: approximate(million) * rounds / 1e6 / taken,
            rounds_per_second: rounds / taken * 1e9,
        })
    }
}
