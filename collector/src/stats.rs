//! What the runs of many hosts say together. The host is the sampling unit: each gives one value a cell, however often
//! it ran. No I/O.

mod collision;
mod compare;
mod derived;
mod outlier;
mod overlap;
mod shift;
mod sides;

pub use collision::collided;
pub use compare::{Compared, compare, compare_two};
pub use derived::Measure;
pub use outlier::{
    Deviation, HOSTS, OFF, Outliers, SCORE, Slow, SlowCell, Spread, Timed, outliers,
};
pub use overlap::mark_overlaps;
pub use shift::{MannWhitney, Shift, ShiftInterval, fewest, shift};
pub use sides::{
    SideMedian, SidesBasis, SidesVerdict, ValueInterval, Values, comparable, confidence, number,
    sides,
};

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    id::HostId,
    plan::{Scenario, Spawner, Workload},
    report::{Cell, Report},
    samples::{self, Interval},
    series::SeriesKey,
    unit::Nanos,
    verdict::Basis,
};
use jiff::Timestamp;

/// What may enter one median: results of different workloads, numbers of units or builds never do.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct GroupKey {
    /// Which pass, variant and metric; `None` for the eleven cells.
    pub series: Option<SeriesKey>,
    /// What units do.
    pub scenario: Scenario,
    /// What was asked.
    pub workload: Workload,
    /// The units that came of it: as many a worker are more on a host with more workers.
    pub units: u64,
    /// What was measured with, as [`fleetmark_proto::report::Build::key`] says it.
    pub build: String,
}

impl GroupKey {
    /// Where this cell of this report belongs; of this pass, if it is of one.
    #[must_use]
    pub fn of(report: &Report, series: Option<SeriesKey>, cell: &Cell) -> Self {
        Self {
            series,
            scenario: cell.key.scenario,
            workload: cell.workload,
            units: cell.units,
            build: report.build.key(),
        }
    }
}

/// The runs of one group that count: each host's newest.
#[derive(Clone, Debug, Default)]
pub struct Group<'a> {
    /// The newest run of each host in which this spawner's cell has a median.
    newest: BTreeMap<Spawner, BTreeMap<&'a HostId, (&'a Report, &'a Cell)>>,
    /// Runs with the cell that did not count.
    left_out: BTreeMap<Spawner, LeftOut>,
}

/// Whether a run counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It does.
    Counts,
    /// It does not, as it is suspect.
    Suspect,
    /// It does not, as it ended before its plan did, suspect or not.
    Partial,
}

impl Standing {
    /// Where this run stands, suspect ones let in or not.
    #[must_use]
    pub fn of(report: &Report, include_suspect: bool) -> Self {
        match report.partial {
            _ if report.counts(include_suspect) => Self::Counts,
            Some(_) => Self::Partial,
            None => Self::Suspect,
        }
    }
}

/// Runs that did not count, by why.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeftOut {
    /// As they are suspect.
    pub suspect: u64,
    /// As they are partial, suspect or not.
    pub partial: u64,
}

/// The median of a profile's hosts for one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileMedian {
    /// The median of the hosts' values.
    pub median: Nanos,
    /// Over the hosts' values, or over the rounds of the only host's run.
    pub interval: Option<(Interval, Basis)>,
    /// Hosts that gave a value.
    pub hosts: u64,
    /// Samples behind these values.
    pub samples: u64,
}

impl<'a> Group<'a> {
    /// Adds a run's cell. Runs must come oldest first: the newest of a host takes the place of those before it.
    pub fn add(&mut self, report: &'a Report, cell: &'a Cell, standing: Standing) {
        let spawner = cell.key.spawner;
        let newest = self.newest.entry(spawner).or_default();
        let left_out = self.left_out.entry(spawner).or_default();
        match standing {
            Standing::Suspect => left_out.suspect += 1,
            Standing::Partial => left_out.partial += 1,
            Standing::Counts if cell.median().is_some() => {
                newest.insert(&report.host.id, (report, cell));
            }
            Standing::Counts => {}
        }
    }

    /// The spawners that any run had, with or without a median.
    pub fn spawners(&self) -> impl Iterator<Item = Spawner> {
        self.newest.keys().copied()
    }

    /// How many runs with this cell were left out.
    #[must_use]
    pub fn left_out(&self, spawner: Spawner) -> LeftOut {
        self.left_out.get(&spawner).copied().unwrap_or_default()
    }

    /// The median over the hosts; `None` if no host has a value.
    #[must_use]
    pub fn median(&self, spawner: Spawner) -> Option<ProfileMedian> {
        let cells: Vec<&Cell> =
            self.newest.get(&spawner)?.values().map(|(_, cell)| *cell).collect();
        let values: Vec<Nanos> = cells.iter().filter_map(|cell| cell.median()).collect();
        let interval = match cells[..] {
            [only] => only.interval().map(|interval| (interval, Basis::Rounds)),
            _ => samples::interval(&values).map(|interval| (interval, Basis::Hosts)),
        };
        Some(ProfileMedian {
            median: samples::median(&values)?,
            interval,
            hosts: fleetmark_proto::unit::count(values.len()),
            samples: cells
                .iter()
                .map(|cell| fleetmark_proto::unit::count(cell.samples_ns.len()))
                .sum(),
        })
    }

    /// The highest sample of all that are behind the median.
    #[must_use]
    pub fn worst(&self, spawner: Spawner) -> Option<Nanos> {
        let cells = self.newest.get(&spawner)?.values();
        cells.flat_map(|(_, cell)| &cell.samples_ns).max().copied()
    }

    /// Each host's value, with the run that it is from.
    pub fn values(&self, spawner: Spawner) -> impl Iterator<Item = (&'a Report, Nanos)> {
        let cells = self.newest.get(&spawner).into_iter().flat_map(BTreeMap::values);
        cells.filter_map(|(report, cell)| Some((*report, cell.median()?)))
    }

    /// The hosts of which a run counts, whichever the spawner.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<&'a HostId> {
        self.newest.values().flat_map(BTreeMap::keys).copied().collect()
    }

    /// When the newest run that counts ended.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        let runs = self.newest.values().flat_map(BTreeMap::values);
        runs.map(|(report, _)| report.ended_at).max()
    }

    /// The newest run of each host in which both spawners have a median, with the two cells.
    fn pairs(&self, spawner: Spawner, against: Spawner) -> Vec<(&'a Cell, &'a Cell)> {
        let of = |spawner| self.newest.get(&spawner);
        let (Some(ours), Some(theirs)) = (of(spawner), of(against)) else {
            return Vec::new();
        };
        ours.iter()
            .filter_map(|(host, (report, cell))| {
                let (other_report, other) = theirs.get(host)?;
                // Ratios within rounds mean nothing across runs.
                (report.id == other_report.id).then_some((*cell, *other))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::report::Quality;

    use super::*;
    use crate::testing;

    #[test]
    fn a_host_counts_once_however_often_it_ran() {
        let mut reports = vec![];
        for (host, samples) in [("a", 100), ("a", 300), ("b", 500), ("c", 900)] {
            reports.push(testing::report(host, &[samples; 3]));
        }
        let mut group = Group::default();
        for report in &reports {
            group.add(report, &report.cells[0], Standing::Counts);
        }
        let found = group.median(reports[0].cells[0].key.spawner).unwrap();
        assert_eq!(
            found.median,
            Nanos(500),
            "of 300, 500 and 900: the newest run of host a counts"
        );
        assert_eq!((found.hosts, found.samples), (3, 9));
        let (interval, basis) = found.interval.unwrap();
        assert_eq!(basis, Basis::Hosts);
        assert_eq!((interval.low_ns, interval.high_ns), (Nanos(300), Nanos(900)));
        assert!((interval.confidence - 0.75).abs() < 1e-12);
    }

    #[test]
    fn suspect_and_partial_runs_are_left_out_and_counted() {
        let clean = testing::report("a", &[100; 3]);
        let suspect = testing::report("a", &[900; 3]);
        let partial = testing::report("a", &[500; 3]);
        let mut group = Group::default();
        group.add(&clean, &clean.cells[0], Standing::Counts);
        group.add(&suspect, &suspect.cells[0], Standing::Suspect);
        group.add(&partial, &partial.cells[0], Standing::Partial);
        let spawner = clean.cells[0].key.spawner;
        let found = group.median(spawner).unwrap();
        assert_eq!(found.median, Nanos(100));
        assert_eq!(group.left_out(spawner), LeftOut { suspect: 1, partial: 1 });
        assert_eq!(found.interval.unwrap().1, Basis::Rounds, "one host has its rounds only");
    }

    #[test]
    fn a_partial_run_counts_under_no_circumstances() {
        let mut report = testing::report("a", &[1]);
        assert_eq!(Standing::of(&report, false), Standing::Counts);
        report.quality = Quality::from_reasons(vec!["throttled".into()]);
        assert_eq!(Standing::of(&report, false), Standing::Suspect);
        assert_eq!(Standing::of(&report, true), Standing::Counts);
        report.partial = Some("the agent was stopped".into());
        assert_eq!(Standing::of(&report, false), Standing::Partial);
        assert_eq!(Standing::of(&report, true), Standing::Partial);
    }
}
