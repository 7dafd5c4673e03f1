//! How far one group of hosts lies from another that shares no host with it.
//!
//! The estimate is Hodges's and Lehmann's: the median of the differences between each value of one group and each of the
//! other. Its interval is between two of these differences, by the ranks that the Mann–Whitney statistic gives; it is
//! exact for values that a continuous distribution gives, and covers no less where some are the same, as its ends belong to it.

mod mann_whitney;
mod normal;
mod select;

use fleetmark_proto::{
    samples::sorted_ratios,
    unit::{approximate, count},
};
use serde::Serialize;

use mann_whitney::{Null, orders, two_sided};
use select::difference;

/// How one group lies to another, from which its differences are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The median of all differences.
    pub estimate: f64,
    /// Its interval, if there are values enough for the confidence.
    pub interval: Option<ShiftInterval>,
    /// Cliff's delta: the share of pairs in which this group's value is the greater, less the share in which it is the smaller.
    pub delta: f64,
    /// What Mann's and Whitney's test says.
    pub test: MannWhitney,
}

/// An interval of a shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShiftInterval {
    /// Lower end, one of the differences.
    pub low: f64,
    /// Upper end, one of the differences.
    pub high: f64,
    /// True confidence; approximate where groups are so large that their orders cannot be counted.
    pub confidence: f64,
}

/// Mann's and Whitney's test. It says whether there is a difference and not how large, so that no verdict comes from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MannWhitney {
    /// The pairs in which this group's value is the greater, and half of those in which both are the same.
    pub u: f64,
    /// The two-sided probability of a U as far from its mean, if nothing parts the groups; of this test alone.
    pub p: f64,
}

/// How `b` lies to `a`, with an interval of at least this confidence. `None` if either is empty. All values are finite.
#[must_use]
pub fn shift(a: &[f64], b: &[f64], confidence: f64) -> Option<Shift> {
    let pairs = count(a.len()).checked_mul(count(b.len())).filter(|pairs| *pairs > 0)?;
    let (a, b) = (sorted_ratios(a), sorted_ratios(b));
    let null = Null::of(a.len(), b.len());
    let upper = difference(&a, &b, pairs / 2);
    let estimate = match pairs % 2 {
        1 => upper,
        _ => difference(&a, &b, pairs / 2 - 1).midpoint(upper),
    };
    let outside = null.highest_within((1.0 - confidence) / 2.0, pairs);
    let interval = outside.map(|outside| ShiftInterval {
        low: difference(&a, &b, outside),
        high: difference(&a, &b, pairs - 1 - outside),
        confidence: 1.0 - 2.0 * null.at_most(outside),
    });
    let u = greater(&a, &b);
    Some(Shift {
        estimate,
        interval,
        delta: 2.0 * u / approximate(pairs) - 1.0,
        test: MannWhitney { u, p: two_sided(&null, u, a.len(), b.len(), &ties(&a, &b)) },
    })
}

/// The fewest values that each of two groups of these sizes must have for an interval of this confidence, which is below 1.
#[must_use]
pub fn fewest(confidence: f64, a: usize, b: usize) -> usize {
    let enough = |n: &usize| match orders(a.max(*n), b.max(*n)) {
        // Two of all orders put one group wholly before the other.
        Some(orders) => {
            approximate(u64::try_from(orders).unwrap_or(u64::MAX)) * (1.0 - confidence) >= 2.0
        }
        None => true,
    };
    (1..).find(enough).unwrap_or(usize::MAX)
}

/// The pairs in which `b` is the greater, and half of those in which both are the same.
fn greater(a: &[f64], b: &[f64]) -> f64 {
    let below = |value: &f64| {
        let (smaller, at_most) =
            (a.partition_point(|it| it < value), a.partition_point(|it| it <= value));
        approximate(count(smaller)).midpoint(approximate(count(at_most)))
    };
    b.iter().map(below).sum()
}

/// How many values of both groups together are the same, for each that is there more than once.
fn ties(a: &[f64], b: &[f64]) -> Vec<u64> {
    let both = sorted_ratios(&[a, b].concat());
    let runs = both.chunk_by(|one, next| one == next).map(|run| count(run.len()));
    runs.filter(|run| *run > 1).collect()
}

#[cfg(test)]
mod tests;
