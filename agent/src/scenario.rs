//! What a unit of work does: nothing, wait, or burn CPU.

pub mod cpu_bound;
pub mod spawn_overhead;
pub mod waiting;

pub use cpu_bound::CpuBound;
pub use spawn_overhead::SpawnOverhead;
pub use waiting::Waiting;

/// The work of one unit, in the form that each way of spawning wants.
///
/// A unit gets its id and returns a value; a cell's checksum is the wrapping sum of these values over the units
/// 0, 1, 2, …, so that no unit can be lost and no compiler can leave the work out.
pub trait Scenario: Copy + Send + Sync + 'static {
    /// The unit as plain code, for threads and thread pools.
    fn run_blocking(self, id: u64) -> u64;

    /// The unit as a task.
    fn run_async(self, id: u64) -> impl Future<Output = u64> + Send + 'static;
}

/// The sum of the ids 0, 1, 2, …, wrapping: the checksum of units that return their id.
#[must_use]
pub fn sum_of_ids(units: u64) -> u64 {
    let pairs = u128::from(units) * u128::from(units.saturating_sub(1)) / 2;
    u64::try_from(pairs & u128::from(u64::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sum_up() {
        assert_eq!(sum_of_ids(0), 0);
        assert_eq!(sum_of_ids(1), 0);
        assert_eq!(sum_of_ids(1_000), 499_500);
        let naive = (0..1_234u64).fold(0, u64::wrapping_add);
        assert_eq!(sum_of_ids(1_234), naive);
    }
}
