//! Units that return at once: what is left is the cost of spawning.

use super::Scenario;

/// A unit that returns its id.
#[derive(Clone, Copy, Debug)]
pub struct SpawnOverhead;

impl Scenario for SpawnOverhead {
    fn run_blocking(self, id: u64) -> u64 {
        id
    }

    async fn run_async(self, id: u64) -> u64 {
        id
    }
}
