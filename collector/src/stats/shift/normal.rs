//! The normal distribution, for samples too many to count their orders.

use std::f64::consts::{PI, SQRT_2};

/// From here on the continued fraction is the better of the two ways.
const FAR: f64 = 3.0;
/// More terms than either needs on its side of [`FAR`].
const TERMS: u32 = 120;

/// The probability of more than `z` standard deviations over the mean.
#[must_use]
pub(super) fn above(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - above(-z);
    }
    let density = (-z * z / 2.0).exp() / (SQRT_2 * PI.sqrt());
    if z < FAR {
        // z + z³/3 + z⁵/(3·5) + …
        let mut term = z;
        let mut sum = z;
        for step in 1..TERMS {
            term *= z * z / f64::from(2 * step + 1);
            sum += term;
        }
        return 0.5 - density * sum;
    }
    // z + 1/(z + 2/(z + 3/(z + …)))
    let fraction = (1..=TERMS).rev().fold(z, |rest, step| z + f64::from(step) / rest);
    density / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_normal_distribution() {
        for (z, expected) in [
            (0.0, 0.5),
            (1.0, 0.158_655_253_931_457_05),
            (1.959_963_984_540_054, 0.025),
            (2.999_999, 0.001_349_902_463_417_528_5),
            (3.0, 0.001_349_898_031_630_094_6),
            (6.0, 9.865_876_450_376_98e-10),
            (-2.0, 0.977_249_868_051_820_8),
        ] {
            let relative = (above(z) - expected).abs() / expected;
            assert!(relative < 1e-10, "{z}: {} is not {expected}", above(z));
        }
    }
}
