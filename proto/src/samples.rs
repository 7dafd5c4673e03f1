//! The one definition of a median and of its interval. Every number a person reads comes from here.

use schemars::JsonSchema;
use serde::Serialize;

use crate::unit::{Nanos, approximate};

/// The confidence that an interval of a median is meant to have.
pub const CONFIDENCE: f64 = 0.95;

/// An exact order-statistic interval of a median.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end, one of the samples.
    pub low_ns: Nanos,
    /// Upper end, one of the samples.
    pub high_ns: Nanos,
    /// The true confidence of the interval, whatever was aimed at.
    pub confidence: f64,
}

// Equality is of finite floats: a confidence is never NaN.
impl Eq for Interval {}

/// The median: the middle value, or the floor of the mean of the two middle ones. `None` of nothing.
#[must_use]
pub fn median(samples: &[Nanos]) -> Option<Nanos> {
    let sorted = sorted(samples);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(Nanos(lower.0.midpoint(upper.0)))
}

/// The median of ratios, by the same rule without the floor. `None` of nothing.
#[must_use]
pub fn median_ratio(ratios: &[f64]) -> Option<f64> {
    let sorted = sorted_ratios(ratios);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(lower.midpoint(upper))
}

/// The exact interval of the median at 95%, or the range with its true confidence where there are too few samples for
/// that. `None` below two samples.
#[must_use]
pub fn interval(samples: &[Nanos]) -> Option<Interval> {
    let sorted = sorted(samples);
    let ranks = Ranks::at_least(CONFIDENCE, sorted.len()).or_else(|| Ranks::range(sorted.len()))?;
    Some(Interval {
        low_ns: *sorted.get(ranks.low)?,
        high_ns: *sorted.get(ranks.high)?,
        confidence: ranks.confidence,
    })
}

/// The same of values that are no durations: lower end, upper end and true confidence.
#[must_use]
pub fn interval_of_ratios(ratios: &[f64]) -> Option<(f64, f64, f64)> {
    let sorted = sorted_ratios(ratios);
    let ranks = Ranks::at_least(CONFIDENCE, sorted.len()).or_else(|| Ranks::range(sorted.len()))?;
    Some((*sorted.get(ranks.low)?, *sorted.get(ranks.high)?, ranks.confidence))
}

/// How many more samples an interval at 95% needs; 0 from six on.
#[must_use]
pub fn missing(samples: usize) -> usize {
    Ranks::fewest(CONFIDENCE).saturating_sub(samples)
}

/// Which two of `n` sorted values enclose the median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranks {
    /// Index of the lower end, from 0.
    pub low: usize,
    /// Index of the upper end, as far from the end as the lower is from the start.
    pub high: usize,
    /// Probability that the two enclose the median of what was sampled.
    pub confidence: f64,
}

impl Ranks {
    /// The narrowest symmetric pair with at least this confidence; `None` if even the range has less.
    #[must_use]
    pub fn at_least(confidence: f64, n: usize) -> Option<Self> {
        let mut best = Self::range(n).filter(|range| range.confidence >= confidence)?;
        let half = n / 2;
        let mut heads = Heads::none_of(n);
        for low in 1..half {
            // Each step inwards loses the probability that exactly `low` values lie below the median, on both sides.
            heads.one_more();
            let narrower = best.confidence - 2.0 * heads.probability();
            if narrower < confidence {
                break;
            }
            best = Self { low, high: n - 1 - low, confidence: narrower };
        }
        Some(best)
    }

    /// Lowest and highest value; `None` below two.
    #[must_use]
    pub fn range(n: usize) -> Option<Self> {
        (n >= 2).then(|| Self {
            low: 0,
            high: n - 1,
            confidence: 1.0 - 2.0 * Heads::none_of(n).probability(),
        })
    }

    /// The fewest values whose range has at least this confidence, which is below 1.
    #[must_use]
    pub fn fewest(confidence: f64) -> usize {
        (2..)
            .find(|&n| Self::range(n).is_some_and(|range| range.confidence >= confidence))
            .unwrap_or(usize::MAX)
    }
}

/// So many heads in so many throws of a fair coin. In logarithms, since 2^-throws alone underflows.
struct Heads {
    throws: usize,
    heads: usize,
    /// The logarithm of the number of ways in which there can be as many.
    ways: f64,
}

impl Heads {
    fn none_of(throws: usize) -> Self {
        Self { throws, heads: 0, ways: 0.0 }
    }

    fn one_more(&mut self) {
        let as_float = |count: usize| approximate(crate::unit::count(count));
        self.ways += as_float(self.throws - self.heads).ln() - as_float(self.heads + 1).ln();
        self.heads += 1;
    }

    fn probability(&self) -> f64 {
        let throws = approximate(crate::unit::count(self.throws));
        (self.ways - throws * std::f64::consts::LN_2).exp()
    }
}

fn sorted(samples: &[Nanos]) -> Vec<Nanos> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Ratios in ascending order.
#[must_use]
pub fn sorted_ratios(ratios: &[f64]) -> Vec<f64> {
    let mut sorted = ratios.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos(values: &[u64]) -> Vec<Nanos> {
        values.iter().copied().map(Nanos).collect()
    }

    #[test]
    fn published_confidences() {
        let confidence = |n| Ranks::range(n).unwrap().confidence;
        assert!((confidence(5) - 0.9375).abs() < 1e-12);
        assert!((confidence(6) - 0.96875).abs() < 1e-12);
        assert_eq!(Ranks::fewest(0.99), 8);
        // The 3rd and the 10th of 12 are the 95% interval.
        let twelve = Ranks::at_least(CONFIDENCE, 12).unwrap();
        assert_eq!((twelve.low, twelve.high), (2, 9));
        // The 2nd and the 10th of 11.
        let eleven = Ranks::at_least(CONFIDENCE, 11).unwrap();
        assert_eq!((eleven.low, eleven.high), (1, 9));
        assert!((eleven.confidence - (1.0 - 24.0 / 2048.0)).abs() < 1e-12);
    }

    #[test]
    fn few_samples_have_their_range() {
        assert_eq!(median(&[]), None);
        assert_eq!(interval(&nanos(&[7])), None);
        let pair = interval(&nanos(&[9, 3])).unwrap();
        assert_eq!((pair.low_ns, pair.high_ns), (Nanos(3), Nanos(9)));
        assert!((pair.confidence - 0.5).abs() < 1e-12);
        assert_eq!((missing(5), missing(6), missing(11)), (1, 0, 0));
    }

    #[test]
    fn many_samples_do_not_underflow() {
        let ranks = Ranks::at_least(CONFIDENCE, 10_000).unwrap();
        assert!((0.95..0.953).contains(&ranks.confidence), "{ranks:?}");
        // The normal approximation: 5,000 ± 1.96 × 50.
        assert!((4898..=4903).contains(&ranks.low), "{ranks:?}");
    }

    #[test]
    fn huge_values_do_not_overflow() {
        assert_eq!(median(&nanos(&[u64::MAX, u64::MAX - 1])), Some(Nanos(u64::MAX - 1)));
    }

    /// Pascal's triangle in whole numbers.
    fn oracle_ranks(n: usize) -> Option<(usize, f64)> {
        let mut row: Vec<u128> = vec![1];
        for _ in 0..n {
            let mut next = vec![1];
            next.extend(row.windows(2).map(|pair| pair[0] + pair[1]));
            next.push(1);
            row = next;
        }
        let total = 2f64.powi(i32::try_from(n).unwrap());
        (0..n / 2).rev().find_map(|low| {
            let outside: u128 = row[..=low].iter().sum();
            let confidence = 1.0 - 2.0 * approximate(u64::try_from(outside).unwrap()) / total;
            (confidence >= CONFIDENCE).then_some((low, confidence))
        })
    }

    proptest! {
        #[test]
        fn median_is_what_a_naive_one_is(values in prop::collection::vec(0..u64::MAX, 1..80)) {
            let below = |m: u64| values.iter().filter(|&&v| v < m).count();
            let above = |m: u64| values.iter().filter(|&&v| v > m).count();
            let Nanos(m) = median(&nanos(&values)).unwrap();
            prop_assert!(below(m) * 2 <= values.len());
            prop_assert!(above(m) * 2 <= values.len());
            if values.len() % 2 == 1 {
                prop_assert!(values.contains(&m));
            } else {
                // The floor of the mean of two values, computed in wider integers.
                let low = values.iter().filter(|&&v| below(v) < values.len() / 2).max().unwrap();
                let high = values.iter().filter(|&&v| above(v) < values.len() / 2).min().unwrap();
                prop_assert_eq!(u128::from(m), u128::midpoint(u128::from(*low), u128::from(*high)));
            }
        }

        #[test]
        fn order_does_not_matter(mut values in prop::collection::vec(0..1_000u64, 1..30)) {
            let before = (median(&nanos(&values)), interval(&nanos(&values)));
            values.reverse();
            prop_assert_eq!(before, (median(&nanos(&values)), interval(&nanos(&values))));
        }

        #[test]
        fn interval_is_the_oracles(values in prop::collection::vec(0..1_000_000u64, 2..60)) {
            let got = interval(&nanos(&values)).unwrap();
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let n = sorted.len();
            let (low, confidence) =
                oracle_ranks(n).unwrap_or((0, 1.0 - 2f64.powi(1 - i32::try_from(n).unwrap())));
            prop_assert_eq!(got.low_ns, Nanos(sorted[low]));
            prop_assert_eq!(got.high_ns, Nanos(sorted[n - 1 - low]));
            prop_assert!((got.confidence - confidence).abs() < 1e-9);
        }
    }
}
