//! Hosts that are slow among others of their kind, and what was looked at for that.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    id::{HostId, ProfileId},
    plan::{CellKey, Scenario, Spawner, Workload},
    unit::{Nanos, count},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Facet, FacetValue, Filter, HostLabel, ProfileLabel,
    fact::{Difference, Usual},
    grouped,
    medians::name,
};
use crate::{
    stats::{self, Deviation, Outliers, Slow, SlowCell, Standing, Timed, collided},
    store::StoredRun,
};

/// Who is slow, and in which groups that was asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutliersView {
    /// `fleetmark.outliers/1`.
    pub schema: &'static str,
    /// When it was made.
    pub generated_at: Timestamp,
    /// What was asked for. Its hosts are those that are told of; they are judged among all others.
    pub filter: Filter,
    /// What parts the groups.
    pub by: Vec<Facet>,
    /// Who is called slow.
    pub rule: Rule,
    /// The slow ones: confirmed ones first, then those that are the most off.
    pub hosts: Vec<SlowHost>,
    /// What was looked at.
    pub groups: Vec<Looked>,
}

/// Who is called slow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// A group has so many hosts at least.
    pub hosts: usize,
    /// The modified z-score is over this.
    pub score: f64,
    /// The value is so much over the median, as a share of it.
    pub off: f64,
}

/// A host that is slow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlowHost {
    /// Which.
    #[serde(flatten)]
    pub host: HostLabel,
    /// Its hardware.
    pub profile: ProfileLabel,
    /// The group that it is slow in.
    pub group: String,
    /// How many kinds of machines are in that group: of more than one, what is slow may be another machine.
    pub group_profiles: u64,
    /// Whether a second run says so.
    pub state: SlowState,
    /// When the first run ended from which on it is slow.
    pub since: Timestamp,
    /// Whether no run of the window is older, so that it may be slow for longer.
    pub or_before: bool,
    /// How many runs in a row are slow.
    pub runs: u64,
    /// When its newest run ended.
    pub newest: Timestamp,
    /// The cells in which it is slow, most first.
    pub cells: Vec<SlowCellView>,
    /// In which recorded facts it differs from its group; none if nothing that is recorded tells why.
    pub differs: Vec<Difference>,
}

/// How sure it is that a host is slow.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlowState {
    /// The run before its newest is slow in one of these cells, too.
    Confirmed,
    /// Its newest run alone is.
    Awaiting,
}

impl SlowState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Awaiting => "awaiting",
        }
    }

    /// The words for it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Awaiting => "awaiting a second run",
        }
    }
}

/// A cell in which a host is slow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlowCellView {
    /// What units do.
    pub scenario: Scenario,
    /// How they are started.
    pub spawner: Spawner,
    /// What was asked.
    pub workload: Workload,
    /// The units that came of it.
    pub units: u64,
    /// What was measured with.
    pub build: String,
    /// The host's value.
    pub value_ns: Nanos,
    /// The median of its group's hosts.
    pub median_ns: Nanos,
    /// How many these are.
    pub hosts: u64,
    /// How far it is off.
    #[serde(flatten)]
    pub deviation: Deviation,
    /// Whether the run before was slow in this cell, too.
    pub confirmed: bool,
}

/// A group that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Looked {
    /// Short hash of the profile's key; `null` if the group has several.
    pub id: Option<ProfileId>,
    /// What the group is called.
    pub name: String,
    /// What makes it.
    pub by: Vec<FacetValue>,
    /// Profiles of its hosts.
    pub profiles: u64,
    /// Hosts with a run in the window.
    pub hosts: u64,
    /// Those of which the newest run was judged, in one cell at least.
    pub judged: u64,
    /// Those that were found to be slow.
    pub slow: u64,
    /// Those with no run that counts.
    pub without_clean_run: u64,
    /// Those that two machines claim to be.
    pub collisions: Vec<HostId>,
    /// Whether the group could be judged.
    pub state: LookedState,
    /// How many more hosts it takes until it can, measured with one build.
    pub missing_hosts: usize,
}

/// Whether a group could be judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookedState {
    /// It was.
    Judged,
    /// It has too few hosts.
    TooFew,
    /// The CPU's model of some of its hosts is unknown, so they may be of several kinds.
    Incomplete,
}

/// Looks for hosts that are slow among others.
#[must_use]
pub fn outliers(runs: &[StoredRun], filter: &Filter, by: &[Facet], now: Timestamp) -> OutliersView {
    let in_window = runs.iter().filter(|run| filter.in_window(run));
    let collided = collided(in_window.map(|run| &run.report));
    // A host is judged among others, whoever is asked for.
    let all = Filter { host: vec![], ..filter.clone() };
    let mut hosts = Vec::new();
    let mut groups = Vec::new();
    for runs in grouped(&all.runs(runs), by).into_values() {
        if runs.iter().any(|run| filter.wants_host(&run.report))
            && let Some((looked, slow)) = group(&runs, filter, by, &collided)
        {
            groups.push(looked);
            hosts.extend(slow);
        }
    }
    hosts.sort_by(|a, b| {
        let most = |host: &SlowHost| host.cells.first().map_or(1.0, |cell| cell.deviation.ratio);
        a.state
            .cmp(&b.state)
            .then_with(|| most(b).total_cmp(&most(a)))
            .then_with(|| a.host.cmp(&b.host))
    });
    groups.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    OutliersView {
        schema: "fleetmark.outliers/1",
        generated_at: now,
        filter: filter.clone(),
        by: by.to_vec(),
        rule: Rule { hosts: stats::HOSTS, score: stats::SCORE, off: stats::OFF },
        hosts,
        groups,
    }
}

/// What is seen in one group's runs, which come oldest first.
fn group(
    runs: &[&StoredRun],
    filter: &Filter,
    by: &[Facet],
    collided: &BTreeSet<&HostId>,
) -> Option<(Looked, Vec<SlowHost>)> {
    let newest = runs.last()?;
    let name = name(by, newest);
    let ids: BTreeSet<&HostId> = runs.iter().map(|run| &run.report.host.id).collect();
    let profiles: BTreeSet<&ProfileId> = runs.iter().map(|run| &run.report.profile.id).collect();
    let sound: Vec<&StoredRun> =
        runs.iter().copied().filter(|run| !collided.contains(&run.report.host.id)).collect();
    let counting: Vec<&StoredRun> = sound
        .iter()
        .copied()
        .filter(|run| Standing::of(&run.report, filter.include_suspect) == Standing::Counts)
        .collect();
    let timed: Vec<Timed<'_>> =
        counting.iter().map(|run| Timed { at: run.time(), report: &run.report }).collect();
    let wants = |key: CellKey| filter.wants(key.scenario, key.spawner);
    let found = stats::outliers(&timed, wants);
    let complete = runs.iter().all(|run| run.report.profile.facets.is_complete());
    let state = match complete {
        false => LookedState::Incomplete,
        true if found.judged == 0 => LookedState::TooFew,
        true => LookedState::Judged,
    };
    let Outliers { hosts, judged, largest, slow } = match state {
        LookedState::Incomplete => Outliers { judged: 0, slow: vec![], ..found },
        _ => found,
    };
    let id = newest.report.profile.id.clone();
    let looked = Looked {
        id: Some(id).filter(|_| profiles.len() == 1),
        name: name.clone(),
        by: by.iter().map(|facet| FacetValue::of(facet, newest)).collect(),
        profiles: count(profiles.len()),
        hosts: count(ids.len()),
        judged,
        slow: count(slow.len()),
        without_clean_run: count(ids.difference(collided).count()).saturating_sub(hosts),
        collisions: ids.into_iter().filter(|host| collided.contains(host)).cloned().collect(),
        state,
        missing_hosts: match state {
            LookedState::TooFew => stats::HOSTS.saturating_sub(largest),
            _ => 0,
        },
    };
    let newest = newest_of_each(&counting);
    let told = slow.into_iter().filter_map(|slow| Some((*newest.get(slow.host)?, slow)));
    let told: Vec<_> = told.filter(|(run, _)| filter.wants_host(&run.report)).collect();
    if told.is_empty() {
        return Some((looked, vec![]));
    }
    let usual = Usual::of(&newest.values().copied().collect::<Vec<_>>());
    let told = told.into_iter().map(|(run, slow)| slow_host(run, slow, &looked, &usual));
    let told = told.collect();
    Some((looked, told))
}

/// The newest run of each host, of runs that come oldest first.
fn newest_of_each<'a>(runs: &[&'a StoredRun]) -> BTreeMap<&'a HostId, &'a StoredRun> {
    runs.iter().map(|run| (&run.report.host.id, *run)).collect()
}

/// All that is to be said of a slow host, of which this is the newest run.
fn slow_host(newest: &StoredRun, slow: Slow<'_>, group: &Looked, usual: &Usual) -> SlowHost {
    let state = if slow.is_confirmed() { SlowState::Confirmed } else { SlowState::Awaiting };
    let Slow { host: _, cells, since, or_before, runs } = slow;
    let mut cells: Vec<SlowCellView> = cells.into_iter().map(SlowCellView::from).collect();
    cells.sort_by(|a, b| b.deviation.ratio.total_cmp(&a.deviation.ratio));
    SlowHost {
        host: HostLabel::from(&newest.report),
        profile: ProfileLabel::from(&newest.report.profile),
        group: group.name.clone(),
        group_profiles: group.profiles,
        state,
        since,
        or_before,
        runs,
        newest: newest.time(),
        cells,
        differs: usual.differences(newest),
    }
}

impl From<SlowCell> for SlowCellView {
    fn from(cell: SlowCell) -> Self {
        let SlowCell { key, spawner, value, group, deviation, confirmed } = cell;
        Self {
            scenario: key.scenario,
            spawner,
            workload: key.workload,
            units: key.units,
            build: key.build,
            value_ns: value,
            median_ns: group.median,
            hosts: group.hosts,
            deviation,
            confirmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::{profile::Profile, report::Report};

    use super::*;
    use crate::testing;

    fn fleet(hosts: usize, change: impl Fn(usize, &mut Report)) -> Vec<StoredRun> {
        let one = |number: usize| {
            let takes = if number == 3 { 1_300_000 } else { 1_000_000 + 500 * count(number) };
            let mut report = testing::report(&format!("host-{number:02}"), &[takes; 3]);
            change(number, &mut report);
            StoredRun { received_at: report.ended_at, sent_at: None, report }
        };
        (0..hosts).map(one).collect()
    }

    fn asked(runs: &[StoredRun], filter: &Filter) -> OutliersView {
        outliers(runs, filter, &[Facet::Profile], Timestamp::now())
    }

    #[test]
    fn a_host_is_judged_among_others_whoever_is_asked_for() {
        let runs = fleet(12, |number, report| {
            report.system.kernel = Some(if number == 3 { "6.1" } else { "6.12" }.to_owned());
        });
        let of =
            |host: &str| asked(&runs, &Filter { host: vec![host.to_owned()], ..Filter::default() });
        let view = of("host-03.example");
        assert_eq!(view.hosts.len(), 1);
        let slow = &view.hosts[0];
        assert_eq!((slow.state, slow.runs, slow.or_before), (SlowState::Awaiting, 1, true));
        assert_eq!(slow.differs.len(), 1);
        assert_eq!(slow.differs[0].group, "6.12");
        let view = of("host-04");
        assert_eq!((view.hosts.len(), view.groups[0].judged, view.groups[0].slow), (0, 12, 1));
        assert_eq!(of("nobody").groups, []);
    }

    #[test]
    fn what_cannot_be_judged_is_told() {
        let few = asked(&fleet(11, |_, _| {}), &Filter::default());
        let looked = &few.groups[0];
        assert_eq!((looked.state, looked.missing_hosts), (LookedState::TooFew, 1));
        assert_eq!((looked.hosts, looked.judged), (11, 0));

        let unknown = fleet(12, |_, report| {
            report.profile.facets.cpu_model = None;
            report.profile = Profile::new(report.profile.facets.clone(), None);
        });
        let looked = &asked(&unknown, &Filter::default()).groups[0];
        assert_eq!((looked.state, looked.judged, looked.slow), (LookedState::Incomplete, 0, 0));

        let suspect = fleet(12, |number, report| {
            if number == 3 {
                let reasons = vec!["throttled".to_owned()];
                report.quality = fleetmark_proto::report::Quality::from_reasons(reasons);
            }
        });
        let view = asked(&suspect, &Filter::default());
        assert_eq!(view.hosts, [], "a suspect run does not count");
        let looked = &view.groups[0];
        assert_eq!((looked.without_clean_run, looked.missing_hosts), (1, 1));
        let all = Filter { include_suspect: true, ..Filter::default() };
        assert_eq!(asked(&suspect, &all).hosts.len(), 1);
    }
}
