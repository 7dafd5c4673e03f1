//! What one side holds: its runs that count, by build and by load.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    id::HostId,
    plan::{Scenario, Workload},
    report::Build,
    unit::{count, grouped},
};

use super::{Differs, SideView};
use crate::{
    stats::{Group, Standing},
    store::StoredRun,
    view::{Facet, Filter, ProfileLabel, Side, partial},
};

/// What is recorded beside the hardware and may have made the difference.
const RECORDED: [Facet; 6] = [
    Facet::Kernel,
    Facet::Os,
    Facet::Libc,
    Facet::Microcode,
    Facet::Mitigations,
    Facet::InstanceType,
];

/// The runs of one side.
pub(super) struct Holding<'a> {
    pub(super) view: SideView,
    /// The newest run of each host that counts.
    newest: BTreeMap<&'a HostId, &'a StoredRun>,
    /// By the build's key.
    pub(super) builds: BTreeMap<String, BuildLoads<'a>>,
}

/// What was measured with one build.
pub(super) struct BuildLoads<'a> {
    pub(super) build: &'a Build,
    pub(super) loads: BTreeMap<Load, Group<'a>>,
}

/// What hosts did, as far as their values can be put together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Load {
    pub(super) scenario: Scenario,
    pub(super) workload: Workload,
    /// What came of it; `None` for what follows from cells, which compares whatever came of them.
    pub(super) came: Option<Came>,
}

/// What came of a workload on a host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Came {
    pub(super) units: u64,
    /// Of CPU-bound work, which as many workers do as there are.
    pub(super) workers: Option<u32>,
}

impl<'a> Holding<'a> {
    pub(super) fn new(
        letter: char,
        side: &Side,
        window: &Filter,
        runs: &[&'a StoredRun],
        collided: &BTreeSet<&HostId>,
    ) -> Self {
        let mut runs = runs.to_vec();
        runs.sort_by_key(|run| (run.time(), run.report.id));
        let collided_here: BTreeSet<&HostId> =
            runs.iter().map(|run| &run.report.host.id).filter(|id| collided.contains(id)).collect();
        let counted = |run: &&&StoredRun| {
            Standing::of(&run.report, window.include_suspect) == Standing::Counts
                && !collided.contains(&run.report.host.id)
        };
        let counted: Vec<&StoredRun> = runs.iter().filter(counted).copied().collect();
        // Oldest first: the newest takes the place of those before it.
        let newest: BTreeMap<&HostId, &StoredRun> =
            counted.iter().map(|run| (&run.report.host.id, *run)).collect();
        let mut profiles: BTreeMap<_, ProfileLabel> = BTreeMap::new();
        for run in newest.values() {
            profiles.insert(&run.report.profile.id, (&run.report.profile).into());
        }
        let partial = partial(&runs);
        let in_full = runs.iter().filter(|run| run.report.partial.is_none());
        let suspect = in_full.filter(|run| !run.report.counts(window.include_suspect)).count();
        let incomplete =
            newest.values().filter(|run| !run.report.profile.facets.is_complete()).count();
        let view = SideView {
            letter,
            side: side.clone(),
            since: window.since,
            until: window.until,
            hosts: count(newest.len()),
            runs: count(counted.len()),
            suspect_left_out: count(suspect),
            partial_left_out: partial,
            collided_left_out: count(collided_here.len()),
            incomplete: count(incomplete),
            profiles: profiles.into_values().collect(),
            workers: newest.values().map(|run| run.report.workers.count).collect(),
        };
        Self { view, newest, builds: builds(&counted) }
    }

    /// The profiles of its hosts.
    pub(super) fn profiles(&self) -> BTreeSet<&str> {
        self.view.profiles.iter().map(|profile| profile.id.as_str()).collect()
    }

    /// What is recorded of the hosts and is not the same on the other side, but for what the sides are chosen by.
    pub(super) fn differs(&self, other: &Self) -> Vec<Differs> {
        let named = |facet: &Facet| self.view.side.names(facet) || other.view.side.names(facet);
        let recorded = RECORDED.into_iter().filter(|facet| !named(facet));
        let both = recorded.map(|facet| {
            let of = |holding: &Self| holding.newest.values().map(|run| facet.of(run)).collect();
            let (a, b) = (of(self), of(other));
            Differs { facet, a, b }
        });
        both.filter(|differs| differs.a != differs.b).collect()
    }

    /// The hosts of which both sides have the same run.
    pub(super) fn same_runs(&self, other: &Self) -> usize {
        let same = |(host, run): &(&&HostId, &&StoredRun)| {
            other.newest.get(*host).is_some_and(|theirs| theirs.report.id == run.report.id)
        };
        self.newest.iter().filter(same).count()
    }

    /// Why none of its runs counts, which is so.
    pub(super) fn why_nothing_counts(&self) -> String {
        let SideView { side, suspect_left_out, partial_left_out, collided_left_out, .. } =
            &self.view;
        let mut why = Vec::new();
        let mut say = |number: &u64, what: &str| {
            if *number > 0 {
                why.push(format!("{} {what}", grouped(*number)));
            }
        };
        say(suspect_left_out, "of its runs are suspect, which --include-suspect lets in");
        say(partial_left_out, "of its runs ended before their plan did");
        say(collided_left_out, "of its hosts are two machines under one id");
        format!("no run of {side} counts: {}", why.join(", "))
    }
}

/// These runs, which come oldest first, by build and load.
fn builds<'a>(runs: &[&'a StoredRun]) -> BTreeMap<String, BuildLoads<'a>> {
    let mut builds: BTreeMap<String, BuildLoads<'_>> = BTreeMap::new();
    for run in runs {
        let report = &run.report;
        let of_build = builds
            .entry(report.build.key())
            .or_insert_with(|| BuildLoads { build: &report.build, loads: BTreeMap::new() });
        for cell in &report.cells {
            let scenario = cell.key.scenario;
            let workers = (scenario == Scenario::CpuBound).then_some(report.workers.count);
            for came in [None, Some(Came { units: cell.units, workers })] {
                let load = Load { scenario, workload: cell.workload, came };
                let group = of_build.loads.entry(load).or_default();
                group.add(report, cell, Standing::Counts);
            }
        }
    }
    builds
}
