//! What the runs of many hosts say together. The host is the sampling unit: each gives one value a cell, however often
//! it ran. No I/O.

mod collision;
mod compare;
mod derived;
mod outlier;
mod overlap;
mod shift;
mod sides;

pub use collision::{Stay, collided, is_collision};
pub use compare::{Compared, compare, compare_two, lacking};
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
    id::{HostId, ReportId},
    plan::{Scenario, Spawner, Workload},
    report::{Cell, Report},
    samples::{self, Interval},
    series::SeriesKey,
    unit::{Nanos, count},
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
    /// Each host's value from its newest run in which this spawner's cell has a median.
    newest: BTreeMap<Spawner, BTreeMap<&'a HostId, Newest<'a>>>,
    /// Runs with the cell that did not count.
    left_out: BTreeMap<Spawner, LeftOut>,
}

/// What the newest run of a host that counts says of one cell.
#[derive(Clone, Copy, Debug)]
pub struct Newest<'a> {
    /// The run.
    pub run: ReportId,
    /// The median of its samples.
    pub median: Nanos,
    /// How many these are.
    pub samples: u64,
    /// The highest of them.
    pub worst: Nanos,
    /// The run and its cell with all its rounds, where they are at hand: a store keeps the rest beside them.
    pub rounds: Option<(&'a Report, &'a Cell)>,
}

impl<'a> Newest<'a> {
    /// Of this cell of this run; `None` if it failed.
    #[must_use]
    pub fn of(report: &'a Report, cell: &'a Cell) -> Option<Self> {
        Some(Self {
            run: report.id,
            median: cell.median()?,
            samples: count(cell.samples_ns.len()),
            worst: cell.samples_ns.iter().copied().max()?,
            rounds: Some((report, cell)),
        })
    }

    /// The cell with its rounds.
    fn cell(&self) -> Option<&'a Cell> {
        self.rounds.map(|(_, cell)| cell)
    }
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
            Standing::Counts => {
                if let Some(found) = Newest::of(report, cell) {
                    newest.insert(&report.host.id, found);
                }
            }
        }
    }

    /// Adds a spawner with what is known of it already: each host's newest value, and how many runs did not count.
    pub fn add_known(
        &mut self,
        spawner: Spawner,
        newest: impl IntoIterator<Item = (&'a HostId, Newest<'a>)>,
        left_out: LeftOut,
    ) {
        self.newest.insert(spawner, newest.into_iter().collect());
        self.left_out.insert(spawner, left_out);
    }

    /// Gives values their rounds where `find` has them for the spawner and the run.
    pub fn add_rounds(
        &mut self,
        find: impl Fn(Spawner, ReportId) -> Option<(&'a Report, &'a Cell)>,
    ) {
        for (spawner, values) in &mut self.newest {
            for value in values.values_mut().filter(|value| value.rounds.is_none()) {
                value.rounds = find(*spawner, value.run);
            }
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
        let newest = self.newest.get(&spawner)?;
        let values: Vec<Nanos> = newest.values().map(|value| value.median).collect();
        let interval = match self.only(spawner) {
            Some(only) => {
                only.cell().and_then(Cell::interval).map(|interval| (interval, Basis::Rounds))
            }
            None => samples::interval(&values).map(|interval| (interval, Basis::Hosts)),
        };
        Some(ProfileMedian {
            median: samples::median(&values)?,
            interval,
            hosts: count(values.len()),
            samples: newest.values().map(|value| value.samples).sum(),
        })
    }

    /// The only value, if there is but one: its interval is over its rounds.
    fn only(&self, spawner: Spawner) -> Option<&Newest<'a>> {
        let newest = self.newest.get(&spawner)?;
        newest.values().next().filter(|_| newest.len() == 1)
    }

    /// The highest sample of all that are behind the median.
    #[must_use]
    pub fn worst(&self, spawner: Spawner) -> Option<Nanos> {
        self.newest.get(&spawner)?.values().map(|value| value.worst).max()
    }

    /// Each host's value, with the run that it is from, of runs that are at hand.
    pub fn values(&self, spawner: Spawner) -> impl Iterator<Item = (&'a Report, Nanos)> {
        let values = self.newest.get(&spawner).into_iter().flat_map(BTreeMap::values);
        values.filter_map(|value| Some((value.rounds?.0, value.median)))
    }

    /// The hosts of which a run counts, whichever the spawner.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<&'a HostId> {
        self.newest.values().flat_map(BTreeMap::keys).copied().collect()
    }

    /// When the newest run that counts ended, of runs that are at hand.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        let values = self.newest.values().flat_map(BTreeMap::values);
        values.filter_map(|value| Some(value.rounds?.0.ended_at)).max()
    }

    /// What both spawners' cells say on each host, where they are of one run.
    fn pairs(&self, spawner: Spawner, against: Spawner) -> Vec<(&Newest<'a>, &Newest<'a>)> {
        let of = |spawner| self.newest.get(&spawner);
        let (Some(ours), Some(theirs)) = (of(spawner), of(against)) else {
            return Vec::new();
        };
        // Both are in the order of the hosts.
        let mut theirs = theirs.iter().peekable();
        ours.iter()
            .filter_map(|(host, value)| {
                // Nearly always both are of the same run, and so the same id in memory.
                let is_same = |other: &HostId| std::ptr::eq(other, *host) || other == *host;
                while theirs.next_if(|(other, _)| !is_same(other) && *other < host).is_some() {}
                let (_, other) = theirs.next_if(|(other, _)| is_same(other))?;
                // Ratios within rounds mean nothing across runs.
                (value.run == other.run).then_some((value, other))
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
