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

/// How the durations of one column are shown: all in one unit and with as many decimals, so that the eye can compare them. Where
/// they lie too far apart for that, each has its own unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Times(Option<Scale>);

/// A unit, and the decimals in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Scale {
    unit: &'static str,
    unit_ns: u64,
    decimals: usize,
}

impl Times {
    /// For these durations: in the unit of the greatest, with decimals for three digits of the least, up to three.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = Nanos>) -> Self {
        let values: Vec<Nanos> = values.into_iter().filter(|value| value.0 > 0).collect();
        let ends = values.iter().min().zip(values.iter().max());
        Self(ends.and_then(|(least, greatest)| {
            let (unit, unit_ns) = match greatest.0 {
                0..1_000 => ("ns", 1),
                1_000..1_000_000 => ("µs", 1_000),
                1_000_000..1_000_000_000 => ("ms", 1_000_000),
                _ => ("s", 1_000_000_000),
            };
            let decimals = match least.to_f64() / approximate(unit_ns) {
                _ if unit_ns == 1 => 0,
                99.95.. => 0,
                9.995.. => 1,
                0.9995.. => 2,
                0.09995.. => 3,
                _ => return None,
            };
            Some(Scale { unit, unit_ns, decimals })
        }))
    }

    /// One of them.
    #[must_use]
    pub fn show(self, value: Nanos) -> String {
        match self.0 {
            Some(Scale { unit, .. }) => format!("{} {unit}", self.number(value)),
            None => value.to_string(),
        }
    }

    /// From one to another.
    #[must_use]
    pub fn range(self, low: Nanos, high: Nanos) -> String {
        match self.0 {
            Some(Scale { unit, .. }) => {
                format!("{}–{} {unit}", self.number(low), self.number(high))
            }
            None => format!("{low}–{high}"),
        }
    }

    fn number(self, value: Nanos) -> String {
        let Some(Scale { unit_ns, decimals, .. }) = self.0 else { return value.to_string() };
        format!("{:.decimals$}", value.to_f64() / approximate(unit_ns))
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
    fn a_column_has_one_unit() {
        let shown = |values: &[u64]| {
            let times = Times::of(values.iter().copied().map(Nanos));
            values.iter().map(|value| times.show(Nanos(*value))).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(shown(&[70_912_345, 580_123, 12_300_000]), "70.912 ms, 0.580 ms, 12.300 ms");
        assert_eq!(shown(&[83_900_000, 12_300_000]), "83.9 ms, 12.3 ms");
        assert_eq!(shown(&[999, 5]), "999 ns, 5 ns");
        assert_eq!(shown(&[1_500_000_000, 700_000_000]), "1.500 s, 0.700 s");
        assert_eq!(shown(&[242, 72_000_000]), "242 ns, 72.0 ms", "too far apart");
        assert_eq!(shown(&[0, 12_000_000]), "0.0 ms, 12.0 ms", "nothing is in any unit");
        assert_eq!(shown(&[]), "");
        let times = Times::of([Nanos(12_300_000), Nanos(83_900_000)]);
        assert_eq!(times.range(Nanos(12_250_000), Nanos(12_340_000)), "12.2–12.3 ms");
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
