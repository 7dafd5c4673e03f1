//! What advice rests on: of each kind of evidence, the build and workload that most hosts have, the newest of several.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    grain::{self, GoodFrom, Grain},
    id::HostId,
    neighbours::bearable,
    plan::{Amount, Scenario, Spawner},
    series::{Metric, Pass, Variant},
    unit::{Nanos, count},
    verdict::{Outcome, Verdict},
};

use super::{GoodFromView, Workload};
use crate::{
    stats::{Group, GroupKey, ProfileMedian, compare_two},
    view::Filter,
};

/// Cells or series that may enter one median, with what they have in common.
pub(super) type Entry<'a> = (GroupKey, Group<'a>);

/// What there is of a profile.
#[derive(Default)]
pub(super) struct Evidence<'a> {
    /// Wall time of each scenario.
    pub(super) wall: BTreeMap<Scenario, Ranking<'a>>,
    /// From which length of work on each spawner is as good as the best.
    pub(super) lengths: Option<Lengths<'a>>,
    /// How late a task becomes beside CPU-bound work.
    pub(super) late: Option<Ranking<'a>>,
    /// How long that CPU-bound work takes then.
    pub(super) beside: Option<Ranking<'a>>,
}

/// The spawners of one group, compared with the best of them.
pub(super) struct Ranking<'a> {
    pub(super) key: &'a GroupKey,
    /// Lowest median, unless another is `faster` than that.
    pub(super) leader: Spawner,
    pub(super) medians: BTreeMap<Spawner, ProfileMedian>,
    /// The others against the leader.
    pub(super) verdicts: BTreeMap<Spawner, Verdict>,
}

/// What units cost by their length.
pub(super) struct Lengths<'a> {
    pub(super) key: &'a GroupKey,
    /// Of the medians of all hosts.
    pub(super) grain: Grain,
    /// Of each host by itself.
    own: BTreeMap<&'a HostId, Grain>,
}

impl<'a> Evidence<'a> {
    /// All pairs of spawners count as comparisons, as the best is chosen after they were seen.
    pub(super) fn of(groups: &'a [Entry<'a>], filter: &Filter) -> Self {
        let wanted =
            |scenario| move |spawner: Spawner| (filter.wants(scenario, spawner)).then_some(spawner);
        let spawners = |(key, group): &Entry<'_>| -> Vec<Spawner> {
            let measured = group.spawners().filter(|spawner| group.median(*spawner).is_some());
            measured.filter_map(wanted(key.scenario)).collect()
        };
        let cells = |scenario| {
            groups.iter().filter(move |(key, _)| key.series.is_none() && key.scenario == scenario)
        };
        let series = |pass, metric| {
            groups.iter().filter(move |(key, _)| {
                key.series.is_some_and(|of| {
                    (of.pass, of.variant, of.metric) == (pass, Variant::Plain, metric)
                })
            })
        };
        let wall: Vec<&Entry<'_>> =
            Scenario::ALL.into_iter().filter_map(|scenario| most_hosts(cells(scenario))).collect();
        let late = most_hosts(series(Pass::Neighbours, Metric::LatenessP99));
        let beside = late.and_then(|(late, _)| {
            series(Pass::Neighbours, Metric::Elapsed).find(|(key, _)| same_work(key, late))
        });
        let ranked: Vec<&Entry<'_>> = wall.iter().copied().chain(late).chain(beside).collect();
        let pairs = |spawners: usize| spawners * spawners.saturating_sub(1) / 2;
        let comparisons = ranked.iter().map(|entry| pairs(spawners(entry).len())).sum();
        let rank = |entry: &'a Entry<'a>| Ranking::of(entry, &spawners(entry), comparisons);
        Self {
            wall: wall
                .into_iter()
                .filter_map(|entry| Some((entry.0.scenario, rank(entry)?)))
                .collect(),
            lengths: Lengths::of(series(Pass::Grain, Metric::Elapsed), &spawners),
            late: late.and_then(rank),
            beside: beside.and_then(rank),
        }
    }

    /// Whether work in this spawner holds up what shares its runtime: by how late that is, and by an interval that says the same
    /// where there is one. `None` if that was not measured.
    pub(super) fn holds_up(&self, spawner: Spawner) -> Option<bool> {
        let late = self.late.as_ref()?;
        let least = late.medians.get(&late.leader)?.median;
        let median = late.medians.get(&spawner)?.median;
        let twice = bearable(least).to_f64() / least.to_f64();
        let surely = match late.verdicts.get(&spawner).and_then(|verdict| verdict.interval) {
            Some(interval) => interval.low > twice,
            None => true,
        };
        Some(median > bearable(least) && surely)
    }
}

impl<'a> Ranking<'a> {
    fn of(
        entry @ (key, group): &'a Entry<'a>,
        spawners: &[Spawner],
        comparisons: usize,
    ) -> Option<Self> {
        let of = |&spawner: &Spawner| Some((spawner, group.median(spawner)?));
        let medians: BTreeMap<Spawner, ProfileMedian> = spawners.iter().filter_map(of).collect();
        let lowest = medians.iter().min_by_key(|(_, found)| found.median).map(|it| *it.0)?;
        let against = |leader: Spawner| -> BTreeMap<Spawner, Verdict> {
            let others = medians.keys().copied().filter(|spawner| *spawner != leader);
            others
                .filter_map(|other| Some((other, compare_two(entry, other, leader, comparisons)?)))
                .collect()
        };
        let mut found = against(lowest);
        let mut leader = lowest;
        // A host's own ratio counts for more than whose median lies lower.
        let faster = found.iter().filter(|(_, verdict)| verdict.verdict == Outcome::Faster);
        if let Some((better, _)) = faster.min_by(|a, b| a.1.ratio.total_cmp(&b.1.ratio)) {
            leader = *better;
            found = against(leader);
        }
        Some(Self { key, leader, medians, verdicts: found })
    }

    /// What is said of a spawner against the leader.
    pub(super) fn outcome(&self, spawner: Spawner) -> Option<Outcome> {
        self.verdicts.get(&spawner).map(|verdict| verdict.verdict)
    }
}

impl<'a> Lengths<'a> {
    fn of(
        entries: impl Iterator<Item = &'a Entry<'a>>,
        spawners: &impl Fn(&Entry<'_>) -> Vec<Spawner>,
    ) -> Option<Self> {
        let mut alike: BTreeMap<(&str, Amount, Option<u32>), Vec<&'a Entry<'a>>> = BTreeMap::new();
        for entry @ (key, _) in entries {
            let Workload { amount, workers, .. } = key.workload;
            alike.entry((&key.build, amount, workers)).or_default().push(entry);
        }
        let lengths = alike.into_values().max_by_key(|entries| {
            let hosts: BTreeSet<&HostId> =
                entries.iter().flat_map(|(_, group)| group.hosts()).collect();
            (hosts.len(), entries.iter().filter_map(|(_, group)| group.newest()).max())
        })?;
        let (key, _) = lengths.first()?;
        let (mut all, mut own) = (Grain::default(), BTreeMap::<&HostId, Grain>::new());
        for entry @ (key, group) in lengths {
            let Some(rounds) = key.workload.kernel_rounds else { continue };
            for spawner in spawners(entry) {
                if let Some(found) = group.median(spawner) {
                    all.add(rounds, spawner, found.median, key.units);
                }
                for (report, value) in group.values(spawner) {
                    let own = own.entry(&report.host.id).or_default();
                    own.add(rounds, spawner, value, key.units);
                }
            }
        }
        (!own.is_empty()).then_some(Self { key, grain: all, own })
    }

    /// From which length on a spawner is as good as the best, and how many hosts say so by themselves; `None` if it was not measured.
    pub(super) fn from(
        &self,
        spawner: Spawner,
        kernel_time: Option<Nanos>,
    ) -> Option<GoodFromView> {
        if !self.grain.spawners().contains(&spawner) {
            return None;
        }
        let from = self.grain.from(spawner);
        let own = self.own.values().filter(|own| own.spawners().contains(&spawner));
        let (agree, others): (Vec<GoodFrom>, Vec<GoodFrom>) =
            own.map(|own| own.from(spawner)).partition(|own| match from {
                GoodFrom::Never => *own == from,
                GoodFrom::Always | GoodFrom::Rounds(_) => *own <= from,
            });
        let rounds = match from {
            GoodFrom::Always => Some(0),
            GoodFrom::Rounds(rounds) => Some(rounds),
            GoodFrom::Never => None,
        };
        Some(GoodFromView {
            rounds,
            about_ns: rounds.zip(kernel_time).map(|(rounds, time)| grain::length(rounds, time)),
            hosts: count(agree.len() + others.len()),
            hosts_agree: count(agree.len()),
        })
    }
}

/// Of groups that cannot enter one median, the one of most hosts; of several, the one that was measured last.
fn most_hosts<'a>(entries: impl Iterator<Item = &'a Entry<'a>>) -> Option<&'a Entry<'a>> {
    let measured = entries.filter(|(_, group)| !group.hosts().is_empty());
    measured.max_by_key(|(_, group)| (group.hosts().len(), group.newest()))
}

fn same_work(a: &GroupKey, b: &GroupKey) -> bool {
    (a.scenario, a.workload, a.units, &a.build) == (b.scenario, b.workload, b.units, &b.build)
}
