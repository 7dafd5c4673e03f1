//! Hosts that are slow among others of their kind.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    id::HostId,
    plan::{CellKey, Spawner},
    report::Report,
    samples,
    unit::{Nanos, approximate, count},
};
use jiff::Timestamp;
use serde::Serialize;

use super::GroupKey;

/// Of fewer hosts nobody can tell which one is odd.
pub const HOSTS: usize = 12;
/// A modified z-score over this is an outlier's: Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993).
pub const SCORE: f64 = 3.5;
/// Whatever the score says, a host that is less than this share off the median is as good as others.
pub const OFF: f64 = 0.05;

/// How the hosts' values of one cell lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median of the values.
    pub median: Nanos,
    /// How many they are.
    pub hosts: u64,
    /// What scores are counted in: about a standard deviation, if most of the values are normal.
    unit: f64,
}

/// Where one value lies among others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Deviation {
    /// The value by the median.
    pub ratio: f64,
    /// The modified z-score: 0.6745 of its distance to the median by the median of all distances. `null` if the others' values
    /// are all the same.
    pub score: Option<f64>,
}

impl Spread {
    /// `None` if there are no values.
    ///
    /// Where more than half of the values are the same, the median of their distances is 0 and says nothing; then their mean
    /// takes its place, scaled so that it estimates the same (as the authors of the score have it).
    #[must_use]
    pub fn of(values: &[Nanos]) -> Option<Self> {
        let median = samples::median(values)?;
        let apart: Vec<f64> =
            values.iter().map(|value| approximate(value.0.abs_diff(median.0))).collect();
        let typical = samples::median_ratio(&apart)?;
        let hosts = count(values.len());
        let unit = if typical > 0.0 {
            typical / 0.6745
        } else {
            apart.iter().sum::<f64>() / approximate(hosts) * 1.253_314
        };
        Some(Self { median, hosts, unit })
    }

    /// Where a value lies.
    #[must_use]
    pub fn deviation(&self, value: Nanos) -> Deviation {
        let median = self.median.to_f64();
        let score = (self.unit > 0.0).then(|| (value.to_f64() - median) / self.unit);
        Deviation { ratio: value.to_f64() / median.max(1.0), score }
    }
}

impl Deviation {
    /// Whether it takes so much longer that no chance is behind it.
    #[must_use]
    pub fn is_slow(self) -> bool {
        self.ratio >= 1.0 + OFF && self.score.is_none_or(|score| score > SCORE)
    }
}

/// A run that counts, with when it ended.
#[derive(Clone, Copy, Debug)]
pub struct Timed<'a> {
    /// By the clock that can be trusted.
    pub at: Timestamp,
    /// What it measured.
    pub report: &'a Report,
}

/// What was seen in one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outliers<'a> {
    /// Hosts with a run that counts.
    pub hosts: u64,
    /// Those of which the newest run could be judged, in one cell at least.
    pub judged: u64,
    /// The hosts of the cell that has most of them.
    pub largest: usize,
    /// The slow ones, by their ids.
    pub slow: Vec<Slow<'a>>,
}

/// A host that is slow.
#[derive(Clone, Debug, PartialEq)]
pub struct Slow<'a> {
    /// Which.
    pub host: &'a HostId,
    /// The cells in which its newest run is slow.
    pub cells: Vec<SlowCell>,
    /// When the first run ended from which on all are slow, in one of these cells each.
    pub since: Timestamp,
    /// Whether there is no run before that, so that it may have been slow for longer.
    pub or_before: bool,
    /// How many runs these are.
    pub runs: u64,
}

impl Slow<'_> {
    /// Whether a second run says so, too.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.cells.iter().any(|cell| cell.confirmed)
    }
}

/// A cell in which a host is slow.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowCell {
    /// What was measured.
    pub key: GroupKey,
    /// By which spawner.
    pub spawner: Spawner,
    /// The host's value.
    pub value: Nanos,
    /// The values of the group's hosts.
    pub group: Spread,
    /// Where it lies among them.
    pub deviation: Deviation,
    /// Whether the run before was slow in this cell, too.
    pub confirmed: bool,
}

/// What may be compared.
type Key = (GroupKey, Spawner);

/// Each host's values, oldest first.
type Values<'a> = BTreeMap<Key, BTreeMap<&'a HostId, Vec<(Timestamp, Nanos)>>>;

/// The hosts of one group that are slow in cells that are wanted. Runs come oldest first, and all of them count.
///
/// The newest run of each host is judged by the newest of all; an older one by those of the others that are nearest to it in time, so
/// that what changed for all of them meanwhile makes none of them slow.
#[must_use]
pub fn outliers<'a>(runs: &[Timed<'a>], wants: impl Fn(CellKey) -> bool) -> Outliers<'a> {
    let mut values: Values<'a> = BTreeMap::new();
    let mut by_host: BTreeMap<&HostId, Vec<Timed<'a>>> = BTreeMap::new();
    for run in runs {
        let host = &run.report.host.id;
        by_host.entry(host).or_default().push(*run);
        for (key, value) in values_of(run.report, &wants) {
            values.entry(key).or_default().entry(host).or_default().push((run.at, value));
        }
    }
    let newest: BTreeMap<&Key, Spread> = values
        .iter()
        .filter(|(_, hosts)| hosts.len() >= HOSTS)
        .filter_map(|(key, hosts)| {
            let newest: Vec<Nanos> =
                hosts.values().filter_map(|values| values.last()).map(|value| value.1).collect();
            Some((key, Spread::of(&newest)?))
        })
        .collect();
    let mut judged = BTreeSet::new();
    let mut slow = Vec::new();
    for (host, runs) in &by_host {
        let Some((last, earlier)) = runs.split_last() else { continue };
        let mut found = Vec::new();
        for (key, value) in values_of(last.report, &wants) {
            let Some(group) = newest.get(&key) else { continue };
            judged.insert(*host);
            let deviation = group.deviation(value);
            if deviation.is_slow() {
                let (key, spawner) = key;
                let group = *group;
                found.push(SlowCell { key, spawner, value, group, deviation, confirmed: false });
            }
        }
        if !found.is_empty() {
            slow.push(looked_back(host, found, last.at, earlier, &values));
        }
    }
    Outliers {
        hosts: count(by_host.len()),
        judged: count(judged.len()),
        largest: values.values().map(BTreeMap::len).max().unwrap_or(0),
        slow,
    }
}

/// The cells of a run that have a value.
fn values_of(report: &Report, wants: impl Fn(CellKey) -> bool) -> Vec<(Key, Nanos)> {
    let wanted = report.cells.iter().filter(|cell| wants(cell.key));
    wanted
        .filter_map(|cell| {
            Some(((GroupKey::of(report, None, cell), cell.key.spawner), cell.median()?))
        })
        .collect()
}

/// Goes back through the earlier runs of a slow host for as long as they are slow in these cells.
fn looked_back<'a>(
    host: &'a HostId,
    mut cells: Vec<SlowCell>,
    newest: Timestamp,
    earlier: &[Timed<'a>],
    values: &Values<'a>,
) -> Slow<'a> {
    let (mut since, mut runs, mut or_before) = (newest, 1, true);
    for run in earlier.iter().rev() {
        let was: Vec<Option<bool>> =
            cells.iter().map(|cell| was_slow(host, run, cell, values)).collect();
        if was.iter().all(Option::is_none) {
            // It says nothing of these cells.
            continue;
        }
        if !was.contains(&Some(true)) {
            or_before = false;
            break;
        }
        if runs == 1 {
            for (cell, was) in cells.iter_mut().zip(was) {
                cell.confirmed = was == Some(true);
            }
        }
        since = run.at;
        runs += 1;
    }
    Slow { host, cells, since, or_before, runs }
}

/// Whether an earlier run was slow in this cell, among runs of its own build; `None` if nobody can tell.
fn was_slow(host: &HostId, run: &Timed<'_>, cell: &SlowCell, values: &Values<'_>) -> Option<bool> {
    let key = CellKey { scenario: cell.key.scenario, spawner: cell.spawner };
    let (key, value) = values_of(run.report, |found| found == key).pop()?;
    let hosts = values.get(&key).filter(|hosts| hosts.len() >= HOSTS)?;
    let mut then: Vec<Nanos> = hosts
        .iter()
        .filter(|(other, _)| **other != host)
        .filter_map(|(_, values)| nearest(values, run.at))
        .collect();
    then.push(value);
    Some(Spread::of(&then)?.deviation(value).is_slow())
}

fn nearest(values: &[(Timestamp, Nanos)], at: Timestamp) -> Option<Nanos> {
    let apart = |(time, _): &&(Timestamp, Nanos)| time.duration_since(at).unsigned_abs();
    values.iter().min_by_key(apart).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::testing;

    fn nanos(values: &[u64]) -> Vec<Nanos> {
        values.iter().copied().map(Nanos).collect()
    }

    #[test]
    fn scores_are_those_of_the_definition() {
        // Of 1 to 11 the median is 6 and the median distance 3.
        let spread = Spread::of(&nanos(&[11, 1, 10, 2, 9, 3, 8, 4, 7, 5, 6])).unwrap();
        assert_eq!((spread.median, spread.hosts), (Nanos(6), 11));
        let deviation = spread.deviation(Nanos(11));
        assert!((deviation.score.unwrap() - 0.6745 * 5.0 / 3.0).abs() < 1e-12);
        assert!((deviation.ratio - 11.0 / 6.0).abs() < 1e-12);
        assert!(spread.deviation(Nanos(1)).score.unwrap() < 0.0);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn where_most_are_the_same_their_mean_distance_counts() {
        let mut values = nanos(&[100; 11]);
        values.push(Nanos(125));
        let spread = Spread::of(&values).unwrap();
        let score = spread.deviation(Nanos(125)).score.unwrap();
        assert!((score - 12.0 / 1.253_314).abs() < 1e-9, "{score}");
        assert!(spread.deviation(Nanos(125)).is_slow());
        assert!(!spread.deviation(Nanos(100)).is_slow());

        let same = Spread::of(&nanos(&[100; 12])).unwrap();
        let as_others = Deviation { ratio: 1.0, score: None };
        assert_eq!(same.deviation(Nanos(100)), as_others, "and no NaN");
        assert!(!as_others.is_slow());
        assert!(same.deviation(Nanos(106)).is_slow());
        assert!(!same.deviation(Nanos(104)).is_slow(), "less than 5% off");
    }

    /// Runs of hosts in turn: `of(host, turn)` is what each takes.
    fn fleet(hosts: usize, turns: usize, of: impl Fn(usize, usize) -> u64) -> Vec<Report> {
        let now = Timestamp::now();
        let one = |(turn, host): (usize, usize)| {
            let mut report = testing::report(&format!("host-{host:02}"), &[of(host, turn); 3]);
            report.ended_at = now + i64::try_from(turn).unwrap().hours();
            report
        };
        (0..turns).flat_map(|turn| (0..hosts).map(move |host| (turn, host))).map(one).collect()
    }

    fn seen(reports: &[Report]) -> Outliers<'_> {
        let runs: Vec<Timed<'_>> =
            reports.iter().map(|report| Timed { at: report.ended_at, report }).collect();
        outliers(&runs, |_| true)
    }

    /// What a sound host takes: each its own, a little apart.
    fn sound(host: usize) -> u64 {
        1_000_000 + 1_000 * count(host)
    }

    #[test]
    fn a_slow_host_is_confirmed_by_a_second_run() {
        let slow_from = |from: usize| {
            fleet(12, 4, move |host, turn| match (host, turn >= from) {
                (7, true) => 1_250_000,
                _ => sound(host),
            })
        };
        let reports = slow_from(2);
        let found = seen(&reports);
        assert_eq!((found.hosts, found.judged, found.largest), (12, 12, 12));
        let [slow] = &found.slow[..] else { panic!("one: {found:?}") };
        assert_eq!(slow.host.as_str(), "host-07");
        assert!(slow.is_confirmed() && !slow.or_before);
        assert_eq!((slow.since, slow.runs), (reports[2 * 12].ended_at, 2));
        assert!((slow.cells[0].deviation.ratio - 1.25).abs() < 0.01);

        let awaiting = slow_from(3);
        let found = seen(&awaiting);
        assert_eq!(found.slow.len(), 1);
        assert!(!found.slow[0].is_confirmed());
        assert_eq!(found.slow[0].runs, 1);

        let always = slow_from(0);
        let slow = &seen(&always).slow[0];
        assert!(slow.is_confirmed() && slow.or_before);
        assert_eq!(slow.runs, 4);
        assert_eq!(seen(&slow_from(4)).slow, [], "nobody is");
    }

    #[test]
    fn a_host_that_is_well_again_is_not_slow() {
        let reports = fleet(12, 3, |host, turn| match (host, turn) {
            (7, 0 | 1) => 1_250_000,
            _ => sound(host),
        });
        assert_eq!(seen(&reports).slow, []);
    }

    #[test]
    fn what_changed_for_all_confirms_nobody() {
        // Everybody was half slower before; host 7 is slow for the first time.
        let reports = fleet(12, 2, |host, turn| match (host, turn) {
            (_, 0) => sound(host) * 3 / 2,
            (7, _) => 1_250_000,
            _ => sound(host),
        });
        let found = seen(&reports);
        assert_eq!(found.slow.len(), 1);
        assert!(!found.slow[0].is_confirmed(), "{found:?}");
        assert!(!found.slow[0].or_before);
    }

    #[test]
    fn few_hosts_are_not_judged_and_builds_not_mixed() {
        let slow = |host: usize, _| if host == 7 { 1_250_000 } else { sound(host) };
        let reports = fleet(11, 1, slow);
        let found = seen(&reports);
        assert_eq!((found.hosts, found.judged, found.largest), (11, 0, 11));
        assert_eq!(found.slow, []);

        let mut reports = fleet(16, 1, slow);
        for report in &mut reports[8..] {
            report.build.tokio = "1.55.0".into();
        }
        let found = seen(&reports);
        assert_eq!((found.hosts, found.judged, found.largest), (16, 0, 8));
    }

    #[test]
    fn a_score_alone_is_not_enough() {
        // All within a thousandth but one that is 2% off.
        let reports = fleet(12, 2, |host, _| match host {
            7 => 1_020_000,
            _ => 1_000_000 + 10 * count(host),
        });
        assert_eq!(seen(&reports).slow, []);
    }
}
