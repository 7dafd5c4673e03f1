//! How long to wait before the next try: full jitter under a ceiling that doubles, and never less than the server asked for.
//!
//! It knows no clock and does not sleep, so that a simulation of ten thousand agents can run it.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

/// The ceiling of the first wait.
pub const FIRST: Duration = Duration::from_millis(500);
/// The highest ceiling.
pub const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait that a server may ask for; more is taken as this much.
pub const LONGEST_ASKED: Duration = Duration::from_secs(10 * 60);

/// The waits of one client since its last success.
///
/// The wait after failure number n, counted from 0, is uniform between 0 and the smaller of [`LONGEST`] and [`FIRST`] × 2^n.
/// A server that asks for a wait gets at least that, and the random part comes on top; it is then drawn from a range at
/// least as wide as what was asked for, as many clients may have been asked for the same at the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    random: ChaCha8Rng,
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits drawn from this seed. Clients with different seeds come at different times.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            first: FIRST,
            longest: LONGEST,
            failures: 0,
        }
    }

    /// Waits that no other client has.
    #[must_use]
    pub fn unique() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Self::new(high ^ low)
    }

    /// The same with other ceilings, of the first wait and of the longest.
    #[must_use]
    pub fn within(self, first: Duration, longest: Duration) -> Self {
        Self { first, longest, ..self }
    }

    /// How long to wait after one more failure; `asked` is what the server asked for, if it did. Never zero.
    pub fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        let floor = asked.unwrap_or_default().min(LONGEST_ASKED);
        let ceiling = doubled.max(floor).min(self.longest);
        floor + self.jitter(ceiling)
    }

    /// After a success the next failure counts as the first.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn jitter(&mut self, ceiling: Duration) -> Duration {
        let ceiling_ns = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.random.random_range(1..=ceiling_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: std::ops::Range<u64> = 0..200;

    fn waits(seed: u64, failures: usize) -> Vec<Duration> {
        let mut backoff = Backoff::new(seed);
        (0..failures).map(|_| backoff.wait(None)).collect()
    }

    #[test]
    fn the_ceiling_doubles_from_half_a_second_to_a_minute() {
        let ceilings = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0];
        let all: Vec<_> = SEEDS.map(|seed| waits(seed, ceilings.len())).collect();
        for (n, ceiling) in ceilings.into_iter().enumerate() {
            let drawn: Vec<f64> = all.iter().map(|waits| waits[n].as_secs_f64()).collect();
            assert!(drawn.iter().all(|wait| *wait > 0.0 && *wait <= ceiling), "{n}: {drawn:?}");
            // Uniform from nothing to the ceiling: some in each quarter.
            for quarter in 0..4_u32 {
                let range =
                    f64::from(quarter) / 4.0 * ceiling..f64::from(quarter + 1) / 4.0 * ceiling;
                assert!(drawn.iter().any(|wait| range.contains(wait)), "{n}: none in {range:?}");
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_waits_and_another_gives_others() {
        assert_eq!(waits(7, 12), waits(7, 12));
        assert_ne!(waits(7, 12), waits(8, 12));
        let [mut a, mut b] = [Backoff::unique(), Backoff::unique()];
        assert_ne!(a.wait(None), b.wait(None));
    }

    #[test]
    fn what_the_server_asks_for_is_a_floor() {
        let asked = Duration::from_secs(5);
        for seed in SEEDS {
            let wait = Backoff::new(seed).wait(Some(asked));
            assert!(wait > asked && wait <= 2 * asked, "{wait:?}");
        }
    }

    #[test]
    fn many_clients_that_were_asked_for_the_same_wait_do_not_come_back_together() {
        let asked = Duration::from_secs(5);
        let late = SEEDS.filter(|seed| {
            Backoff::new(*seed).wait(Some(asked)) > asked + Duration::from_millis(2_500)
        });
        assert!((60..140).contains(&late.count()));
    }

    #[test]
    fn no_server_makes_a_client_wait_for_ever() {
        for asked in [LONGEST_ASKED, Duration::from_secs(1 << 40), Duration::MAX] {
            let wait = Backoff::new(1).wait(Some(asked));
            assert!(wait > LONGEST_ASKED && wait <= LONGEST_ASKED + LONGEST, "{wait:?}");
        }
    }

    #[test]
    fn a_success_starts_anew() {
        let mut backoff = Backoff::new(3);
        for _ in 0..50 {
            backoff.wait(None);
        }
        backoff.reset();
        assert!(backoff.wait(None) <= FIRST);
    }

    #[test]
    fn failures_without_end_do_not_overflow() {
        let mut backoff = Backoff::new(3);
        backoff.failures = u32::MAX;
        assert!(backoff.wait(None) <= LONGEST);
    }
}
