//! The differences between each value of one group and each of another, by rank, without holding them all: of 5,000
//! hosts a side there are 25 million.

use fleetmark_proto::unit::count;

/// The difference `b − a` of this rank, from 0, over all pairs. Both groups are sorted, finite and not empty.
///
/// It is found by halving the range of numbers that it can be, which are at most 2^64, and counting pairs for each half.
#[must_use]
pub(super) fn difference(a: &[f64], b: &[f64], rank: u64) -> f64 {
    let (Some(a_first), Some(a_last)) = (a.first(), a.last()) else { return f64::NAN };
    let (Some(b_first), Some(b_last)) = (b.first(), b.last()) else { return f64::NAN };
    let (mut low, mut high) = (place(b_first - a_last), place(b_last - a_first));
    while low < high {
        let middle = low + (high - low) / 2;
        if at_most(a, b, number(middle)) > rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    number(low)
}

/// How many of the differences are at most `bound`. As `a` grows, what it takes of `b` only grows.
fn at_most(a: &[f64], b: &[f64], bound: f64) -> u64 {
    let mut taken = 0;
    let mut pairs = 0;
    for value in a {
        while b.get(taken).is_some_and(|other| other - value <= bound) {
            taken += 1;
        }
        pairs += count(taken);
    }
    pairs
}

const SIGN: u64 = 1 << 63;

/// The place of a number among all numbers, in their order.
fn place(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The number at a place.
fn number(place: u64) -> f64 {
    f64::from_bits(if place & SIGN == 0 { !place } else { place & !SIGN })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_rank_is_what_sorting_gives(
            mut a in prop::collection::vec(-1e3..1e3, 1..12),
            mut b in prop::collection::vec(prop_oneof![-1e3..1e3, Just(0.0), Just(-0.5)], 1..12),
        ) {
            // Some differences are the same.
            a.push(b[0]);
            a.sort_by(f64::total_cmp);
            b.sort_by(f64::total_cmp);
            let mut all: Vec<f64> = a.iter().flat_map(|a| b.iter().map(move |b| b - a)).collect();
            all.sort_by(f64::total_cmp);
            for (rank, expected) in (0..).zip(&all) {
                prop_assert!((difference(&a, &b, rank) - expected).abs() == 0.0);
            }
        }
    }

    #[test]
    fn places_are_in_order() {
        let numbers = [-1e300, -1.0, -1e-300, 0.0, 1e-300, 1.0, 1e300];
        assert!(numbers.is_sorted_by_key(|it| place(*it)));
        assert!(numbers.iter().all(|it| number(place(*it)).total_cmp(it).is_eq()));
    }
}
