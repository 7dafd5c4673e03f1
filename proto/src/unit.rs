//! Numbers with their units, and the few conversions between numbers.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A duration in whole nanoseconds. Displays itself for people, with three significant digits.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The same duration as a float, for ratios.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        approximate(self.0)
    }
}

impl From<Duration> for Nanos {
    /// Saturates after 584 years.
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Nanos> for Duration {
    fn from(nanos: Nanos) -> Self {
        Self::from_nanos(nanos.0)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_f64();
        let (scaled, unit) = match self.0 {
            0..1_000 => return f.pad(&format!("{} ns", self.0)),
            1_000..1_000_000 => (value / 1e3, "µs"),
            1_000_000..1_000_000_000 => (value / 1e6, "ms"),
            _ => (value / 1e9, "s"),
        };
        let decimals = match scaled {
            ..9.995 => 2,
            ..99.95 => 1,
            _ => 0,
        };
        f.pad(&format!("{scaled:.decimals$} {unit}"))
    }
}

/// A count as a float. Exact up to 2^53, which no count here reaches.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "the one place")]
#[must_use]
pub const fn approximate(count: u64) -> f64 {
    count as f64
}

/// The nearest whole number of a float; 0 for what is negative or no number.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float casts saturate, which is what this promises"
)]
#[must_use]
pub fn rounded(value: f64) -> u64 {
    value.round() as u64
}

/// The size of a collection as it travels.
#[must_use]
pub fn count(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// A number with its thousands apart: `20,000,000`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let shown = |nanos| Nanos(nanos).to_string();
        assert_eq!(shown(0), "0 ns");
        assert_eq!(shown(999), "999 ns");
        assert_eq!(shown(1_234), "1.23 µs");
        assert_eq!(shown(9_996), "10.0 µs");
        assert_eq!(shown(58_321_000), "58.3 ms");
        assert_eq!(shown(123_456_789), "123 ms");
        assert_eq!(shown(30_000_000_000), "30.0 s");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(1), "1");
        assert_eq!(grouped(100), "100");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(20_000_000), "20,000,000");
    }

    #[test]
    fn floats_round_without_surprise() {
        assert_eq!(rounded(2.5), 3);
        assert_eq!(rounded(-1.0), 0);
        assert_eq!(rounded(f64::NAN), 0);
    }
}
