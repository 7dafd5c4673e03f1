//! Units that mostly wait, as those do that call other services.

use std::time::Duration;

use super::Scenario;

/// A unit that sleeps and returns its id.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// How long it sleeps.
    pub wait: Duration,
}

impl Scenario for Waiting {
    fn run_blocking(self, id: u64) -> u64 {
        std::thread::sleep(self.wait);
        id
    }

    async fn run_async(self, id: u64) -> u64 {
        tokio::time::sleep(self.wait).await;
        id
    }
}
