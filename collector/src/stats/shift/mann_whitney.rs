//! How the Mann–Whitney statistic falls where two groups do not differ.

use fleetmark_proto::unit::{approximate, count};

use super::normal;

/// The most pairs whose orders are counted: of 4 hosts and 250,000.
const MOST_PAIRS: u64 = 1_000_000;

/// The distribution of U, the number of pairs in which the second group's value is the greater, if nothing parts the groups.
#[derive(Clone, Debug)]
pub(super) enum Null {
    /// Counted.
    Exact {
        /// In how many orders of the values U is at most its index, up to half of all pairs.
        orders_up_to: Vec<u128>,
        /// All orders.
        orders: u128,
    },
    /// Where there are more orders than 128 bits count: normal, with this mean and deviation.
    Normal {
        /// Half the pairs.
        mean: f64,
        /// Of values without ties, which is more than that of values with some.
        deviation: f64,
    },
}

impl Null {
    /// For groups of these sizes.
    #[must_use]
    pub(super) fn of(a: usize, b: usize) -> Self {
        match orders(a, b) {
            Some(orders) if count(a).saturating_mul(count(b)) <= MOST_PAIRS => {
                Self::Exact { orders_up_to: cumulated(a.min(b), a.max(b)), orders }
            }
            _ => {
                let (a, b) = (approximate(count(a)), approximate(count(b)));
                Self::Normal { mean: a * b / 2.0, deviation: (a * b * (a + b + 1.0) / 12.0).sqrt() }
            }
        }
    }

    /// The probability that U is at most this, which is at most half of all pairs.
    #[must_use]
    pub(super) fn at_most(&self, u: u64) -> f64 {
        match self {
            Self::Exact { orders_up_to, orders } => {
                let up_to = usize::try_from(u).ok().and_then(|u| orders_up_to.get(u));
                up_to.map_or(1.0, |up_to| float(*up_to) / float(*orders))
            }
            Self::Normal { mean, deviation } => {
                // U is whole: what is at most u lies below u + ½.
                normal::above((mean - approximate(u) - 0.5) / deviation)
            }
        }
    }

    /// The highest U whose lower tail has at most this probability, of these many pairs; `None` if not even 0 has.
    #[must_use]
    pub(super) fn highest_within(&self, probability: f64, pairs: u64) -> Option<u64> {
        let (mut within, mut beyond) = (0, pairs / 2);
        if self.at_most(within) > probability {
            return None;
        }
        while within + 1 < beyond {
            let middle = u64::midpoint(within, beyond);
            if self.at_most(middle) <= probability {
                within = middle;
            } else {
                beyond = middle;
            }
        }
        Some(within)
    }
}

/// The two-sided probability of a U at least as far from its mean, for values that are shared by these numbers of others:
/// counted where no two values are the same and `null` is, else normal with corrections for ties and for U's being whole.
#[must_use]
pub(super) fn two_sided(null: &Null, u: f64, a: usize, b: usize, ties: &[u64]) -> f64 {
    let (a, b) = (approximate(count(a)), approximate(count(b)));
    let (mean, all) = (a * b / 2.0, a + b);
    let tail = match null {
        Null::Exact { .. } if ties.is_empty() => {
            null.at_most(fleetmark_proto::unit::rounded(u.min(a * b - u)))
        }
        _ => {
            let tied: f64 = ties.iter().map(|tie| approximate(tie * tie * tie - tie)).sum();
            let variance = a * b / 12.0 * (all + 1.0 - tied / (all * (all - 1.0)));
            if variance <= 0.0 {
                return 1.0;
            }
            normal::above(((u - mean).abs() - 0.5) / variance.sqrt())
        }
    };
    (2.0 * tail).min(1.0)
}

/// The orders in which so many values of two groups can come; `None` if 128 bits do not count them.
#[must_use]
pub(super) fn orders(a: usize, b: usize) -> Option<u128> {
    let (few, many) = (u128::from(count(a.min(b))), u128::from(count(a.max(b))));
    (1..=few).try_fold(1_u128, |ways, step| Some(ways.checked_mul(many + step)? / step))
}

/// In how many orders U is at most each number up to half of all pairs.
///
/// They are the coefficients of the Gaussian binomial, a product of (1 − q^(many + i)) ÷ (1 − q^i). Factors are taken modulo
/// 2^128, which changes nothing, as every coefficient of the whole product is less.
fn cumulated(few: usize, many: usize) -> Vec<u128> {
    let half = few * many / 2;
    let mut ways = vec![0_u128; half + 1];
    if let Some(first) = ways.first_mut() {
        *first = 1;
    }
    for step in 1..=few {
        for at in (many + step..=half).rev() {
            ways[at] = ways[at].wrapping_sub(ways[at - many - step]);
        }
        for at in step..=half {
            ways[at] = ways[at].wrapping_add(ways[at - step]);
        }
    }
    let mut sum = 0_u128;
    for way in &mut ways {
        sum += *way;
        *way = sum;
    }
    ways
}

/// The nearest float, or its neighbour.
fn float(number: u128) -> f64 {
    const WORD: u128 = 1 << 64;
    let word = |part: u128| approximate(u64::try_from(part).unwrap_or(u64::MAX));
    word(number / WORD) * approximate(1 << 32) * approximate(1 << 32) + word(number % WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By looking at every order.
    fn looked_at(a: usize, b: usize) -> Vec<u128> {
        let pairs = a * b;
        let mut counts = vec![0_u128; pairs + 1];
        for order in 0_u32..1 << (a + b) {
            if order.count_ones() != u32::try_from(b).unwrap() {
                continue;
            }
            let mut smaller = 0;
            let mut u = 0;
            for place in 0..a + b {
                if order >> place & 1 == 1 { u += smaller } else { smaller += 1 }
            }
            counts[u] += 1;
        }
        counts
            .iter()
            .scan(0, |sum, ways| {
                *sum += ways;
                Some(*sum)
            })
            .take(pairs / 2 + 1)
            .collect()
    }

    #[test]
    fn orders_are_counted() {
        for (a, b) in [(1, 1), (1, 5), (3, 4), (5, 5), (7, 4), (6, 7)] {
            let Null::Exact { orders_up_to, orders } = Null::of(a, b) else { panic!("few") };
            assert_eq!(orders_up_to, looked_at(a, b), "{a} and {b}");
            assert_eq!(orders, u128::from(orders_of(a, b)));
        }
    }

    fn orders_of(a: usize, b: usize) -> u64 {
        (1..=count(b)).fold(1, |ways, step| ways * (count(a) + step) / step)
    }

    #[test]
    fn as_many_as_128_bits_hold_are_counted_and_more_approximated() {
        assert!(matches!(Null::of(62, 62), Null::Exact { .. }));
        assert!(matches!(Null::of(12, 5_000), Null::Exact { .. }));
        assert!(matches!(Null::of(5_000, 5_000), Null::Normal { .. }));
        let exact = Null::of(60, 60);
        // Half of the orders lie on either side of the middle.
        assert!((exact.at_most(1_799) - 0.5).abs() < 0.01, "{}", exact.at_most(1_799));
        // Counted in Python's whole numbers, by the same recurrence.
        assert!((exact.at_most(1_100) / 9.843_097_263_501_657e-5 - 1.0).abs() < 1e-12);
        let mean = 1_800.0;
        let normal = Null::Normal { mean, deviation: (3_600.0 * 121.0 / 12.0_f64).sqrt() };
        for u in [1_100, 1_400, 1_700] {
            assert!((exact.at_most(u) - normal.at_most(u)).abs() < 1e-3, "{u}");
        }
    }
}
