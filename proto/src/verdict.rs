//! Which spawner is faster, and whether that can be said at all.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    plan::{Scenario, Spawner},
    report::Cell,
    samples::{Ranks, median_ratio, sorted_ratios},
    unit::{approximate, count, rounded},
};

/// A ratio within this factor of 1 is no difference that anybody should act on.
pub const MARGIN: f64 = 1.02;
/// A ratio whose interval lies within this far of 1 is a tie.
pub const TIE: f64 = 0.05;
/// The chance of any wrong verdict among all that a report makes.
pub const ERROR: f64 = 0.05;
/// More rounds or hosts than this are not worth waiting for.
const WORTH_WAITING: u64 = 10_000;
/// The default number of rounds, which `--precision` doubles: what `unresolved` asks for is one of 11, 22, 44, …
pub const ROUNDS: u32 = 11;

/// One spawner compared with another in one scenario.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Verdict {
    /// In what kind of work.
    pub scenario: Scenario,
    /// Which spawner.
    pub spawner: Spawner,
    /// Compared with which.
    pub against: Spawner,
    /// The median of the ratios: the spawner's time ÷ the other's.
    pub ratio: f64,
    /// The interval of that ratio at the confidence that this many comparisons need; `null` if there are too few.
    pub interval: Option<RatioInterval>,
    /// What the ratios were taken over.
    pub basis: Basis,
    /// What can be said.
    pub verdict: Outcome,
    /// How many rounds or hosts in all would probably settle it; `null` if settled, or if no number worth waiting for would.
    pub needed: Option<u64>,
}

/// An exact order-statistic interval of a ratio.
#[derive(Clone, Copy, Debug, JsonSchema, PartialEq, Serialize)]
pub struct RatioInterval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// True confidence.
    pub confidence: f64,
}

/// What ratios were taken over.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Samples of the same round, within one run.
    Rounds,
    /// Values of the same host.
    Hosts,
}

/// What can be said of a comparison.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The interval lies wholly under 1/1.02.
    Faster,
    /// The interval lies wholly over 1.02.
    Slower,
    /// Neither, and the interval lies wholly within ±5%.
    Tie,
    /// The evidence does not suffice.
    Unresolved,
}

impl Outcome {
    /// The name that is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Tie => "tie",
            Self::Unresolved => "unresolved",
        }
    }

    /// Whether one ratio says the same by itself.
    #[must_use]
    pub fn is_said_by(self, ratio: f64) -> bool {
        match self {
            Self::Faster => ratio < 1.0 / MARGIN,
            Self::Slower => ratio > MARGIN,
            Self::Tie => (1.0 - TIE..=1.0 + TIE).contains(&ratio),
            Self::Unresolved => false,
        }
    }
}

/// What a set of ratios says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The median ratio.
    pub ratio: f64,
    /// Its interval, if there are enough ratios for the confidence.
    pub interval: Option<RatioInterval>,
    /// What can be said.
    pub outcome: Outcome,
    /// How many ratios would probably settle it.
    pub needed: Option<u64>,
}

/// Judges ratios, one of `comparisons` that are made together. `None` of no ratios.
#[must_use]
pub fn judge(ratios: &[f64], comparisons: usize) -> Option<Judgement> {
    let ratio = median_ratio(ratios)?;
    let confidence = 1.0 - ERROR / approximate(count(comparisons.max(1)));
    let sorted = sorted_ratios(ratios);
    let interval = Ranks::at_least(confidence, sorted.len()).and_then(|ranks| {
        Some(RatioInterval {
            low: *sorted.get(ranks.low)?,
            high: *sorted.get(ranks.high)?,
            confidence: ranks.confidence,
        })
    });
    let Some(found) = interval else {
        return Some(Judgement {
            ratio,
            interval,
            outcome: Outcome::Unresolved,
            needed: Some(count(Ranks::fewest(confidence))),
        });
    };
    Some(settle(ratio, found, sorted.len()))
}

/// What can be said of a ratio with this interval, which is over `n` rounds or hosts.
#[must_use]
pub fn settle(ratio: f64, interval: RatioInterval, n: usize) -> Judgement {
    let RatioInterval { low, high, confidence: _ } = interval;
    let outcome = if high < 1.0 / MARGIN {
        Outcome::Faster
    } else if low > MARGIN {
        Outcome::Slower
    } else if low >= 1.0 - TIE && high <= 1.0 + TIE {
        Outcome::Tie
    } else {
        Outcome::Unresolved
    };
    let needed = (outcome == Outcome::Unresolved).then(|| needed(ratio, interval, n)).flatten();
    Judgement { ratio, interval: Some(interval), outcome, needed }
}

/// How many ratios would settle what these do not, if the interval shrinks with the square root of their number.
fn needed(ratio: f64, interval: RatioInterval, n: usize) -> Option<u64> {
    let off = ratio.ln().abs();
    let room_for_difference = off - MARGIN.ln();
    let room_for_tie = (1.0 + TIE).ln() - off;
    let room = room_for_difference.max(room_for_tie);
    let half_width = (interval.high / interval.low).ln() / 2.0;
    let times = (half_width / room).powi(2).max(1.0);
    let needed = rounded((approximate(count(n)) * times).ceil()).max(count(n) + 1);
    (needed <= WORTH_WAITING).then_some(needed)
}

/// The next of 11, 22, 44, … that is at least this many.
fn next_step(needed: u64) -> u64 {
    let mut step = u64::from(ROUNDS);
    while step < needed {
        step *= 2;
    }
    step
}

/// Compares the cells of one run with its cells of `against`, round by round.
#[must_use]
pub fn within_rounds(cells: &[Cell], against: Spawner) -> Vec<Verdict> {
    let pairs: Vec<(&Cell, &Cell)> = cells
        .iter()
        .filter(|cell| cell.key.spawner != against && cell.failure.is_none())
        .filter_map(|cell| {
            let other = cells.iter().find(|other| {
                other.key.spawner == against
                    && other.key.scenario == cell.key.scenario
                    && other.workload == cell.workload
                    && other.failure.is_none()
            })?;
            Some((cell, other))
        })
        .collect();
    pairs
        .iter()
        .filter_map(|(cell, other)| {
            let judged = judge_rounds(cell, other, pairs.len())?;
            Some(Verdict {
                scenario: cell.key.scenario,
                spawner: cell.key.spawner,
                against,
                ratio: judged.ratio,
                interval: judged.interval,
                basis: Basis::Rounds,
                verdict: judged.outcome,
                needed: judged.needed,
            })
        })
        .collect()
}

/// Judges the ratios of two cells' samples within each round of their run. Rounds too short for the clock do not count.
/// What is needed is one of 11, 22, 44, … rounds.
#[must_use]
pub fn judge_rounds(cell: &Cell, other: &Cell, comparisons: usize) -> Option<Judgement> {
    let ratios: Vec<f64> = cell
        .samples_ns
        .iter()
        .zip(&other.samples_ns)
        .filter(|(sample, other)| sample.0 > 0 && other.0 > 0)
        .map(|(sample, other)| sample.to_f64() / other.to_f64())
        .collect();
    let judged = judge(&ratios, comparisons)?;
    Some(Judgement { needed: judged.needed.map(next_step), ..judged })
}

impl fmt::Display for Verdict {
    /// In words: `34× faster`, `8% slower`, `tie`, `unresolved, needs 22 rounds`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.verdict {
            Outcome::Faster => format!("{} faster", factor(1.0 / self.ratio)),
            Outcome::Slower => format!("{} slower", factor(self.ratio)),
            Outcome::Tie => "tie".to_owned(),
            Outcome::Unresolved => {
                let basis = match self.basis {
                    Basis::Rounds => "rounds",
                    Basis::Hosts => "hosts",
                };
                match self.needed {
                    Some(needed) => format!("unresolved, needs {needed} {basis}"),
                    None => format!("unresolved, and more {basis} will not settle it"),
                }
            }
        };
        f.pad(&words)
    }
}

/// A factor over 1 as people say it: `34×`, `2.3×`, and `8%` below one and a half.
#[must_use]
pub fn factor(factor: f64) -> String {
    match factor {
        ..1.5 => format!("{:.0}%", (factor - 1.0) * 100.0),
        1.5..9.95 => format!("{factor:.1}×"),
        _ => format!("{factor:.0}×"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(around: f64, half_width: f64, n: u32) -> Vec<f64> {
        (0..n)
            .map(|i| around + half_width * (2.0 * f64::from(i) / f64::from(n - 1) - 1.0))
            .collect()
    }

    fn outcome(ratios: &[f64]) -> Outcome {
        judge(ratios, 8).unwrap().outcome
    }

    #[test]
    fn clear_cases_are_told() {
        assert_eq!(outcome(&spread(0.03, 0.01, 11)), Outcome::Faster);
        assert_eq!(outcome(&spread(1.30, 0.10, 11)), Outcome::Slower);
        assert_eq!(outcome(&spread(1.00, 0.03, 11)), Outcome::Tie);
        assert_eq!(outcome(&spread(1.04, 0.005, 11)), Outcome::Slower, "before it is a tie");
        assert_eq!(outcome(&spread(1.00, 0.20, 11)), Outcome::Unresolved);
        assert_eq!(judge(&[], 8), None);
    }

    #[test]
    fn too_few_ratios_resolve_nothing() {
        let judged = judge(&spread(0.03, 0.001, 5), 8).unwrap();
        assert_eq!(judged.outcome, Outcome::Unresolved);
        assert_eq!(judged.interval, None);
        // 1 − 0.05 ÷ 8 = 99.375%; the range of nine values has 99.6%.
        assert_eq!(judged.needed, Some(9));
        assert_eq!(judge(&spread(0.03, 0.001, 6), 1).unwrap().outcome, Outcome::Faster);
    }

    #[test]
    fn unresolved_says_what_it_would_take() {
        let wide = judge(&spread(1.0, 0.07, 11), 8).unwrap();
        assert!((12..44).contains(&wide.needed.unwrap()), "{wide:?}");
        // Between the margin and a tie there is hardly room for an interval.
        let hopeless = judge(&spread(1.035, 0.9, 11), 8).unwrap();
        assert_eq!((hopeless.outcome, hopeless.needed), (Outcome::Unresolved, None));
    }

    #[test]
    fn words() {
        let verdict = |ratio, verdict, needed| {
            Verdict {
                scenario: Scenario::CpuBound,
                spawner: Spawner::Tokio,
                against: Spawner::Thread,
                ratio,
                interval: None,
                basis: Basis::Rounds,
                verdict,
                needed,
            }
            .to_string()
        };
        assert_eq!(verdict(1.0 / 34.2, Outcome::Faster, None), "34× faster");
        assert_eq!(verdict(1.0 / 2.31, Outcome::Faster, None), "2.3× faster");
        assert_eq!(verdict(1.08, Outcome::Slower, None), "8% slower");
        assert_eq!(verdict(1.0, Outcome::Tie, None), "tie");
        assert_eq!(verdict(1.1, Outcome::Unresolved, Some(22)), "unresolved, needs 22 rounds");
    }

    #[test]
    fn rounds_come_in_steps() {
        assert_eq!([9, 11, 12, 45].map(next_step), [11, 11, 22, 88]);
    }
}
