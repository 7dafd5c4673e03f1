//! One group of hosts compared with another, in one cell or in what follows from it.

use std::collections::BTreeMap;

use fleetmark_proto::{
    id::{HostId, ReportId},
    plan::Spawner,
    samples,
    unit::{Nanos, approximate, count, rounded},
    verdict::{self, ERROR, Judgement, Outcome, RatioInterval},
};
use serde::{Serialize, Serializer};
use serde_json::Number;

use super::{Group, MannWhitney, Measure, fewest, shift};

/// The fewest hosts a side that two groups are compared from.
const FEWEST: usize = 4;

/// Each host's value, from its newest run that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Values<'a> {
    measure: Measure,
    values: BTreeMap<&'a HostId, (ReportId, f64)>,
}

/// The median of a side's hosts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideMedian {
    /// The median of the hosts' values, in the measure's unit.
    #[serde(serialize_with = "serialize_number")]
    pub median: f64,
    /// Its interval; `null` of one host.
    pub interval: Option<ValueInterval>,
    /// Hosts that gave a value.
    pub hosts: u64,
}

/// An interval of a median, in the unit of its measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ValueInterval {
    /// Lower end, one of the values.
    #[serde(serialize_with = "serialize_number")]
    pub low: f64,
    /// Upper end, one of the values.
    #[serde(serialize_with = "serialize_number")]
    pub high: f64,
    /// True confidence.
    pub confidence: f64,
}

/// A value as it is written: whole nanoseconds as whole numbers.
#[must_use]
pub fn number(value: f64) -> Option<Number> {
    /// All whole numbers up to here are floats.
    const EXACT: f64 = 9e15;
    match value.fract() == 0.0 && (0.0..EXACT).contains(&value) {
        true => Some(rounded(value).into()),
        false => Number::from_f64(value),
    }
}

fn serialize_number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    number(*value).serialize(serializer)
}

/// What a comparison of two sides goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SidesBasis {
    /// Hosts that are on both sides, each compared with itself.
    Paired,
    /// Groups that share no host.
    Groups,
}

impl SidesBasis {
    /// The name that is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::Groups => "groups",
        }
    }
}

/// What can be said of one side against the base.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SidesVerdict {
    /// The base's median, of the hosts that were compared.
    pub a: SideMedian,
    /// The other side's.
    pub b: SideMedian,
    /// By what they were.
    pub basis: SidesBasis,
    /// The other side's value ÷ the base's.
    pub ratio: f64,
    /// Its interval at the confidence that this many comparisons need; `null` if hosts are too few.
    pub interval: Option<RatioInterval>,
    /// Cliff's delta: over all pairs, the share in which the other side's value is the greater, less the share in which it is the
    /// smaller; `null` if paired.
    pub cliffs_delta: Option<f64>,
    /// Mann's and Whitney's test; `null` if paired.
    pub mann_whitney: Option<MannWhitney>,
    /// Whether the other side is faster.
    pub verdict: Outcome,
    /// How many hosts, a side if it is by groups, would probably settle it; `null` if settled, or if no number worth having would.
    pub needed: Option<u64>,
}

impl<'a> Values<'a> {
    /// What this measure is on each host of a group.
    #[must_use]
    pub fn of(group: &Group<'a>, spawner: Spawner, measure: Measure) -> Self {
        let values = group.newest.get(&spawner).into_iter().flatten();
        let known = values.filter_map(|(host, value)| {
            let (report, cell) = value.rounds?;
            Some((*host, (value.run, measure.of(report, cell)?)))
        });
        Self { measure, values: known.collect() }
    }

    /// The values of hosts that are on both sides with different runs: those of this side, and of the other, host by host.
    fn paired(&self, other: &Self) -> (Vec<f64>, Vec<f64>) {
        let both =
            self.values.iter().filter_map(|(host, base)| Some((base, other.values.get(host)?)));
        // A run compared with itself says nothing.
        both.filter(|(a, b)| a.0 != b.0).map(|(a, b)| (a.1, b.1)).unzip()
    }

    /// The values of hosts that are not on the other side.
    fn apart(&self, other: &Self) -> Vec<f64> {
        let alone = self.values.iter().filter(|(host, _)| !other.values.contains_key(*host));
        alone.map(|(_, (_, value))| *value).collect()
    }
}

/// The median of some hosts' values; `None` of none.
fn median(values: &[f64], measure: Measure) -> Option<SideMedian> {
    let interval = samples::interval_of_ratios(values);
    Some(SideMedian {
        median: match measure {
            // The median of whole nanoseconds is one.
            Measure::Elapsed | Measure::WaitOvershoot => {
                let values: Vec<Nanos> = values.iter().map(|it| Nanos(rounded(*it))).collect();
                samples::median(&values)?.to_f64()
            }
            _ => samples::median_ratio(values)?,
        },
        interval: interval.map(|(low, high, confidence)| ValueInterval { low, high, confidence }),
        hosts: count(values.len()),
    })
}

/// The confidence of each of so many comparisons that share the chance of an error.
#[must_use]
pub fn confidence(comparisons: usize) -> f64 {
    1.0 - ERROR / approximate(count(comparisons.max(1)))
}

/// Whether anything can be said of two sides: whether hosts are on both, with different runs, or on each alone.
#[must_use]
pub fn comparable(a: &Values<'_>, b: &Values<'_>) -> bool {
    let groups = || !a.apart(b).is_empty() && !b.apart(a).is_empty();
    !a.paired(b).0.is_empty() || groups()
}

/// Compares `b` with `a`, one of `comparisons` that are made together: hosts that are on both sides with themselves, or, if there
/// are none or too few while the others would do, the hosts that are on one side only. `None` if they are
/// not [`comparable`].
#[must_use]
pub fn sides(a: &Values<'_>, b: &Values<'_>, comparisons: usize) -> Option<SidesVerdict> {
    let measure = a.measure;
    let (paired_a, paired_b) = a.paired(b);
    let (alone_a, alone_b) = (a.apart(b), b.apart(a));
    let pairs = paired_a.len();
    let enough = samples::Ranks::at_least(confidence(comparisons), pairs).is_some();
    let groups = alone_a.len().min(alone_b.len());
    if pairs > 0 && (enough || groups < FEWEST.max(pairs)) {
        by_pairs(&paired_a, &paired_b, measure, comparisons)
    } else {
        by_groups(&alone_a, &alone_b, measure, confidence(comparisons))
    }
}

fn by_pairs(a: &[f64], b: &[f64], measure: Measure, comparisons: usize) -> Option<SidesVerdict> {
    let times: Vec<f64> = a.iter().zip(b).map(|(a, b)| time(b / a, measure)).collect();
    let Judgement { ratio, interval, outcome, needed } = verdict::judge(&times, comparisons)?;
    Some(SidesVerdict {
        a: median(a, measure)?,
        b: median(b, measure)?,
        basis: SidesBasis::Paired,
        ratio: time(ratio, measure),
        interval: interval.map(|found| turned(found, measure)),
        cliffs_delta: None,
        mann_whitney: None,
        verdict: outcome,
        needed,
    })
}

fn by_groups(a: &[f64], b: &[f64], measure: Measure, confidence: f64) -> Option<SidesVerdict> {
    let logarithms = |values: &[f64]| values.iter().map(|it| it.ln()).collect::<Vec<_>>();
    let found = shift(&logarithms(a), &logarithms(b), confidence)?;
    let fewest_hosts = a.len().min(b.len());
    let ratio = found.estimate.exp();
    let interval = found.interval.filter(|_| fewest_hosts >= FEWEST).map(|it| RatioInterval {
        low: it.low.exp(),
        high: it.high.exp(),
        confidence: it.confidence,
    });
    let judged = interval.map(|interval| {
        verdict::settle(time(ratio, measure), turned(interval, measure), fewest_hosts)
    });
    Some(SidesVerdict {
        a: median(a, measure)?,
        b: median(b, measure)?,
        basis: SidesBasis::Groups,
        ratio,
        interval,
        cliffs_delta: Some(found.delta),
        mann_whitney: Some(found.test),
        verdict: judged.map_or(Outcome::Unresolved, |judged| judged.outcome),
        needed: match judged {
            Some(judged) => judged.needed,
            None => Some(count(fewest(confidence, a.len(), b.len()).max(FEWEST))),
        },
    })
}

/// A ratio of a measure as one of times, and back: verdicts are of times.
fn time(ratio: f64, measure: Measure) -> f64 {
    if measure.grows_with_speed() { 1.0 / ratio } else { ratio }
}

fn turned(interval: RatioInterval, measure: Measure) -> RatioInterval {
    if !measure.grows_with_speed() {
        return interval;
    }
    RatioInterval { low: 1.0 / interval.high, high: 1.0 / interval.low, ..interval }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<'a>(hosts: &'a [HostId], value: impl Fn(f64) -> f64) -> Values<'a> {
        let each = hosts.iter().zip(0_u32..);
        let values = each.map(|(host, at)| (host, (ReportId::now(), value(f64::from(at)))));
        Values { measure: Measure::Elapsed, values: values.collect() }
    }

    /// Compares the same values as ones of another measure.
    fn as_of(measure: Measure, a: &Values<'_>, b: &Values<'_>) -> SidesVerdict {
        let [a, b] = [a, b].map(|it| Values { measure, values: it.values.clone() });
        sides(&a, &b, 11).unwrap()
    }

    fn hosts(numbers: std::ops::Range<u32>) -> Vec<HostId> {
        numbers.map(|number| format!("host-{number:02}").parse().unwrap()).collect()
    }

    #[test]
    fn medians_of_nanoseconds_are_whole() {
        let values = [101.0, 104.0, 102.0, 100.0];
        let written = |measure| number(median(&values, measure).unwrap().median);
        assert_eq!(written(Measure::Elapsed), Some(101.into()), "of 101 and 102");
        assert_eq!(written(Measure::SpawnCost), Number::from_f64(101.5));
    }

    #[test]
    fn hosts_on_both_sides_are_compared_with_themselves() {
        let hosts = hosts(0..12);
        // Hosts differ by far more than the sides do.
        let (a, b) =
            (values(&hosts, |at| 100.0 + 50.0 * at), values(&hosts, |at| 110.0 + 55.0 * at));
        let found = sides(&a, &b, 11).unwrap();
        assert_eq!((found.basis, found.verdict), (SidesBasis::Paired, Outcome::Slower));
        assert!((found.ratio - 1.1).abs() < 1e-9 && found.cliffs_delta.is_none(), "{found:?}");
        let rate = as_of(Measure::RoundRate, &a, &b);
        assert_eq!(rate.verdict, Outcome::Faster, "more rounds a second are faster");
        assert!((rate.ratio - 1.1).abs() < 1e-9 && rate.interval.unwrap().low > 1.09, "{rate:?}");
        assert_eq!(sides(&a, &a, 11), None, "a run says nothing of itself");
        assert!(comparable(&a, &b) && !comparable(&a, &a));
    }

    #[test]
    fn other_hosts_are_compared_as_groups_from_four_a_side() {
        let (left, right) = (hosts(0..8), hosts(8..16));
        let (a, b) = (values(&left, |at| 100.0 + at), values(&right, |at| 130.0 + at));
        let found = sides(&a, &b, 11).unwrap();
        assert_eq!((found.basis, found.verdict), (SidesBasis::Groups, Outcome::Slower));
        assert_eq!((found.a.hosts, found.b.hosts), (8, 8));
        assert!((found.cliffs_delta.unwrap() - 1.0).abs() < 1e-12, "{found:?}");
        assert!(found.interval.unwrap().confidence >= confidence(11));
        let rate = as_of(Measure::Efficiency, &a, &b);
        assert_eq!(rate.verdict, Outcome::Faster);
        assert!(rate.interval.unwrap().low > 1.2, "{rate:?}");

        let few = values(&right[..3], |at| 130.0 + at);
        let found = sides(&a, &few, 1).unwrap();
        assert_eq!((found.verdict, found.needed), (Outcome::Unresolved, Some(4)));
        assert_eq!(found.interval, None, "eight and three would have one");
        let four = values(&right[..4], |at| 130.0 + at);
        assert_eq!(sides(&a, &four, 1).unwrap().verdict, Outcome::Slower);
        let found = sides(&a, &four, 1_000).unwrap();
        assert_eq!(found.verdict, Outcome::Unresolved, "one of a thousand is not as sure");
        assert!(found.needed > Some(4), "{found:?}");
    }

    #[test]
    fn a_few_hosts_on_both_sides_do_not_speak_for_the_others() {
        let (left, right) = (hosts(0..10), hosts(8..20));
        let (a, b) = (values(&left, |at| 100.0 + at), values(&right, |at| 130.0 + at));
        let found = sides(&a, &b, 11).unwrap();
        assert_eq!((found.basis, found.a.hosts, found.b.hosts), (SidesBasis::Groups, 8, 10));
        // Where most are on both, more of them are what it takes.
        let right = hosts(1..10);
        let found = sides(&a, &values(&right, |at| 131.0 + at), 100).unwrap();
        assert_eq!((found.basis, found.a.hosts), (SidesBasis::Paired, 9));
        assert_eq!((found.verdict, found.needed), (Outcome::Unresolved, Some(12)));
    }
}
