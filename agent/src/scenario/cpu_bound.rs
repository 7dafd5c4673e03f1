//! Units that burn CPU without ever yielding.

use std::{hint::black_box, num::NonZero, thread};

use super::Scenario;

/// A unit that runs the kernel.
#[derive(Clone, Copy, Debug)]
pub struct CpuBound {
    /// Rounds of the kernel.
    pub rounds: u64,
}

impl Scenario for CpuBound {
    fn run_blocking(self, id: u64) -> u64 {
        kernel(id, self.rounds)
    }

    async fn run_async(self, id: u64) -> u64 {
        kernel(id, self.rounds)
    }
}

/// The article's kernel: a serial chain over one number, so that no core can do it faster than one round after the
/// other.
#[must_use]
pub fn kernel(id: u64, rounds: u64) -> u64 {
    let mut value = id.wrapping_add(0x9E37_79B9_7F4A_7C15);
    for round in 0..black_box(rounds) {
        value ^= round.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = value.rotate_left(13);
        value = value.wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^= value >> 17;
    }
    value
}

/// What a cell's units must sum up to, computed on all cores.
#[must_use]
pub fn expected_sum(units: u64, rounds: u64) -> u64 {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let of_one = |first: usize| {
        let ids = (0..units).skip(first).step_by(threads);
        ids.fold(0, |sum: u64, id| sum.wrapping_add(kernel(id, rounds)))
    };
    thread::scope(|scope| {
        let of_one = &of_one;
        let others: Vec<_> = (1..threads)
            .map(|first| (first, thread::Builder::new().spawn_scoped(scope, move || of_one(first))))
            .collect();
        // A share whose thread the host refused, or that died, is computed here.
        others.into_iter().fold(of_one(0), |sum, (first, other)| {
            let share = other.ok().and_then(|other| other.join().ok());
            sum.wrapping_add(share.unwrap_or_else(|| of_one(first)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_articles() {
        assert_eq!(expected_sum(1, 0), 0x9e37_79b9_7f4a_7c15);
        assert_eq!(expected_sum(1, 1), 0xa103_7cf0_53e9_ce2a);
        assert_eq!(expected_sum(2, 1_000), 0x9e1e_dfa3_15f3_29a7);
        assert_eq!(expected_sum(24, 50_000), 0x8e7b_11f6_4e57_16ef);
        assert_eq!(expected_sum(4, 20_000_000), 0x439d_e5da_ce50_23c1);
        assert_eq!(expected_sum(24, 20_000_000), 0x8376_df7b_0f1f_acee);
    }
}
