//! Medians per hardware profile, with what may be said of them.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    id::{HostId, ProfileId},
    plan::{Scenario, Spawner, Workload},
    profile::Facets,
    samples::{self, Interval},
    series::SeriesKey,
    unit::{Nanos, count},
    verdict::{Basis, Verdict},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{Facet, FacetValue, Filter, grouped, partial, suspect};
use crate::{
    stats::{Group, GroupKey, Standing, collided, compare},
    store::StoredRun,
};

/// The name and version of the view's JSON.
const SCHEMA: &str = "fleetmark.view/1";

/// How runs are put together, and what is compared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// What parts runs into groups.
    pub by: Vec<Facet>,
    /// The spawner that the others are compared with.
    pub against: Spawner,
}

impl Default for Question {
    /// Profiles, compared with `thread`.
    fn default() -> Self {
        Self { by: vec![Facet::Profile], against: Spawner::Thread }
    }
}

/// Medians per hardware profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// `fleetmark.view/1`.
    pub schema: &'static str,
    /// When it was made.
    pub generated_at: Timestamp,
    /// What was asked for.
    pub filter: Filter,
    /// What parts the groups.
    pub by: Vec<Facet>,
    /// The spawner that the others are compared with.
    pub against: Spawner,
    /// In the order of their names.
    pub profiles: Vec<ProfileView>,
}

/// What the hosts of one group say: of one profile, unless something else was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProfileView {
    /// Short hash of the profile's key; `null` if the group has several.
    pub id: Option<ProfileId>,
    /// Name of the profile, which is not unique, and of whatever else makes the group.
    pub name: String,
    /// What makes the group.
    pub by: Vec<FacetValue>,
    /// Profiles of the hosts.
    pub profiles: u64,
    /// Hosts with a run in the window.
    pub hosts: u64,
    /// Their runs in the window.
    pub runs: u64,
    /// Those that are suspect.
    pub suspect_runs: u64,
    /// Those that ended before their plan did; they enter no median.
    pub partial_runs: u64,
    /// Hosts of which two machines claim to be one; they enter no median.
    pub collisions: Vec<HostId>,
    /// Whether enough is known of the hardware for verdicts.
    pub complete: bool,
    /// What makes the profile; `null` if the group has several.
    pub facets: Option<Facets>,
    /// One a scenario, spawner, workload and build.
    pub cells: Vec<CellView>,
    /// Each spawner compared with one.
    pub verdicts: Vec<VerdictView>,
    /// What passes beside the cells say: one a pass, variant, metric, scenario, spawner, workload and build.
    pub series: Vec<SeriesView>,
    /// How long a million rounds of the kernel take on one core: the median over the hosts, each by the faster canary of its newest
    /// whole run.
    pub kernel_time_ns: Option<Nanos>,
}

/// One series over the hosts of a profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesView {
    /// Which pass, in which variant, and what was measured.
    #[serde(flatten)]
    pub key: SeriesKey,
    /// The medians and the rest are of values of the metric.
    #[serde(flatten)]
    pub cell: CellView,
    /// The highest value of all hosts' newest runs.
    pub worst_ns: Option<Nanos>,
}

/// One cell over the hosts of a profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellView {
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
    /// The median of the hosts' values; `null` if none counts.
    pub median_ns: Option<Nanos>,
    /// Of that median.
    pub interval: Option<Interval>,
    /// Over what the interval was taken: a profile with one host has only the rounds of its newest run.
    pub interval_basis: Option<Basis>,
    /// Hosts that gave a value.
    pub hosts: u64,
    /// Samples behind these values.
    pub samples: u64,
    /// Runs with this cell that did not count, as they are suspect.
    pub suspect_left_out: u64,
    /// Runs with this cell that did not count, as they are partial, suspect or not.
    pub partial_left_out: u64,
}

/// A verdict with what it is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerdictView {
    /// What can be said.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The workload of both sides.
    pub workload: Workload,
    /// The units of both sides.
    pub units: u64,
    /// The build of both sides.
    pub build: String,
    /// Hosts that have both.
    pub hosts: u64,
    /// Those of them whose own ratio says the same; 0 of what is unresolved.
    pub agree: u64,
}

impl View {
    pub(super) fn of(
        mut profiles: Vec<ProfileView>,
        filter: &Filter,
        question: &Question,
        now: Timestamp,
    ) -> Self {
        let Question { by, against } = question;
        profiles.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Self {
            schema: SCHEMA,
            generated_at: now,
            filter: filter.clone(),
            by: by.clone(),
            against: *against,
            profiles,
        }
    }
}

/// Aggregates runs by their hardware profile, or by what else was asked for.
#[must_use]
pub fn medians(runs: &[StoredRun], filter: &Filter, question: &Question, now: Timestamp) -> View {
    // Two machines under one id are two whatever is asked for, so this looks at all of the window.
    let in_window = runs.iter().filter(|run| filter.in_window(run));
    let collided = collided(in_window.map(|run| &run.report));
    let profiles = grouped(&filter.runs(runs), &question.by)
        .into_values()
        .filter_map(|runs| group(&runs, filter, question, &collided))
        .collect();
    View::of(profiles, filter, question, now)
}

/// The view of one group's runs, which come oldest first.
fn group(
    runs: &[&StoredRun],
    filter: &Filter,
    question: &Question,
    collided: &BTreeSet<&HostId>,
) -> Option<ProfileView> {
    let newest = runs.last()?;
    let hosts: BTreeSet<&HostId> = runs.iter().map(|run| &run.report.host.id).collect();
    let profiles: BTreeSet<&ProfileId> = runs.iter().map(|run| &run.report.profile.id).collect();
    let found = Found {
        newest,
        profiles: count(profiles.len()),
        hosts: count(hosts.len()),
        runs: count(runs.len()),
        suspect_runs: suspect(runs),
        partial_runs: partial(runs),
        collisions: hosts.into_iter().filter(|host| collided.contains(host)).cloned().collect(),
        complete: runs.iter().all(|run| run.report.profile.facets.is_complete()),
        groups: groups(runs, filter, collided),
        kernel_time: kernel_time(runs, collided),
    };
    Some(found.view(filter, question))
}

/// What was found of one group, however it was.
pub(super) struct Found<'a> {
    pub(super) newest: &'a StoredRun,
    pub(super) profiles: u64,
    pub(super) hosts: u64,
    pub(super) runs: u64,
    pub(super) suspect_runs: u64,
    pub(super) partial_runs: u64,
    pub(super) collisions: Vec<HostId>,
    pub(super) complete: bool,
    pub(super) groups: Vec<(GroupKey, Group<'a>)>,
    pub(super) kernel_time: Option<Nanos>,
}

impl Found<'_> {
    pub(super) fn view(self, filter: &Filter, question: &Question) -> ProfileView {
        let Self { newest, profiles, groups, .. } = self;
        // The newest run names the profile, if there is but one.
        let profile = Some(&newest.report.profile).filter(|_| profiles == 1);
        let compared = if self.complete { compare(&groups, question.against) } else { Vec::new() };
        let cells = groups.iter().filter(|(key, _)| key.series.is_none());
        let verdicts = compared
            .into_iter()
            .filter(|compared| filter.wants(compared.verdict.scenario, compared.verdict.spawner))
            .map(|compared| VerdictView {
                verdict: compared.verdict,
                workload: compared.group.workload,
                units: compared.group.units,
                build: compared.group.build.clone(),
                hosts: compared.hosts,
                agree: compared.agree,
            });
        ProfileView {
            id: profile.map(|profile| profile.id.clone()),
            name: name(&question.by, newest),
            by: question.by.iter().map(|facet| FacetValue::of(facet, newest)).collect(),
            profiles,
            hosts: self.hosts,
            runs: self.runs,
            suspect_runs: self.suspect_runs,
            partial_runs: self.partial_runs,
            collisions: self.collisions,
            complete: self.complete,
            facets: profile.map(|profile| profile.facets.clone()),
            cells: cells.flat_map(|(key, group)| self::cells(key, group, filter)).collect(),
            series: all_series(&groups, filter),
            // A core's speed is one profile's.
            kernel_time_ns: self.kernel_time.filter(|_| profile.is_some()),
            verdicts: verdicts.collect(),
        }
    }
}

/// What a group is called: its profile by name, all else by what it is.
pub(super) fn name(by: &[Facet], newest: &StoredRun) -> String {
    let words = by.iter().map(|facet| match facet {
        Facet::Profile => newest.report.profile.name.clone(),
        facet => FacetValue::of(facet, newest).to_string(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// How long a million rounds of the kernel take on one core: the median over the hosts, each by its newest whole run that shows it. The
/// runs come oldest first.
pub(super) fn kernel_time(runs: &[&StoredRun], collided: &BTreeSet<&HostId>) -> Option<Nanos> {
    let whole = runs.iter().map(|run| &run.report).filter(|report| report.partial.is_none());
    let newest: BTreeMap<&HostId, Nanos> = whole
        .filter_map(|report| Some((&report.host.id, report.evidence.kernel_time(1_000_000)?)))
        .filter(|(host, _)| !collided.contains(host))
        .collect();
    samples::median(&newest.into_values().collect::<Vec<_>>())
}

/// The cells and series of these runs, which come oldest first, each with what may enter one median with it.
pub(super) fn groups<'a>(
    runs: &[&'a StoredRun],
    filter: &Filter,
    collided: &BTreeSet<&HostId>,
) -> Vec<(GroupKey, Group<'a>)> {
    let mut groups: BTreeMap<GroupKey, Group<'_>> = BTreeMap::new();
    for run in runs.iter().filter(|run| !collided.contains(&run.report.host.id)) {
        let report = &run.report;
        let standing = Standing::of(report, filter.include_suspect);
        for (series, cell) in report.measured() {
            if filter.wants_scenario(cell.key.scenario) {
                let key = GroupKey::of(report, series, cell);
                groups.entry(key).or_default().add(report, cell, standing);
            }
        }
    }
    groups.into_iter().collect()
}

fn cells(key: &GroupKey, group: &Group<'_>, filter: &Filter) -> Vec<CellView> {
    group
        .spawners()
        .filter(|spawner| filter.wants(key.scenario, *spawner))
        .map(|spawner| {
            let found = group.median(spawner);
            let interval = found.as_ref().and_then(|found| found.interval);
            let left_out = group.left_out(spawner);
            CellView {
                scenario: key.scenario,
                spawner,
                workload: key.workload,
                units: key.units,
                build: key.build.clone(),
                median_ns: found.as_ref().map(|found| found.median),
                interval: interval.map(|(interval, _)| interval),
                interval_basis: interval.map(|(_, basis)| basis),
                hosts: found.as_ref().map_or(0, |found| found.hosts),
                samples: found.as_ref().map_or(0, |found| found.samples),
                suspect_left_out: left_out.suspect,
                partial_left_out: left_out.partial,
            }
        })
        .collect()
}

/// The series of each build, one build after the other.
fn all_series(groups: &[(GroupKey, Group<'_>)], filter: &Filter) -> Vec<SeriesView> {
    let mut all: Vec<SeriesView> =
        groups.iter().flat_map(|(key, group)| series(key, group, filter)).collect();
    all.sort_by(|a, b| a.cell.build.cmp(&b.cell.build));
    all
}

fn series(key: &GroupKey, group: &Group<'_>, filter: &Filter) -> Vec<SeriesView> {
    let Some(of) = key.series else { return Vec::new() };
    let view = |cell: CellView| {
        let worst_ns = group.worst(cell.spawner);
        SeriesView { key: of, cell, worst_ns }
    };
    cells(key, group, filter).into_iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::{report::Quality, verdict::Outcome};
    use jiff::ToSpan as _;

    use super::*;
    use crate::testing;

    fn run(report: fleetmark_proto::report::Report) -> StoredRun {
        StoredRun { received_at: report.ended_at, sent_at: None, report }
    }

    fn asked(runs: &[StoredRun], filter: &Filter) -> View {
        medians(runs, filter, &Question::default(), Timestamp::now())
    }

    #[test]
    fn one_workload_and_one_build_per_median() {
        let mut other_build = testing::report("b", &[300; 3]);
        other_build.build.tokio = "1.55.0".into();
        let mut other_version = testing::report("c", &[500; 3]);
        other_version.build.agent_version = "9.9.9".into();
        let mut other_workload = testing::report("d", &[700; 3]);
        other_workload.cells[0].workload.workers = Some(2);
        let runs =
            [testing::report("a", &[100; 3]), other_build, other_version, other_workload].map(run);
        let view = asked(&runs, &Filter::default());
        let [profile] = &view.profiles[..] else { panic!("one profile: {view:?}") };
        assert_eq!((profile.hosts, profile.runs, profile.suspect_runs), (4, 4, 0));
        let medians: Vec<_> =
            profile.cells.iter().map(|cell| (cell.median_ns.unwrap().0, cell.hosts)).collect();
        assert_eq!(medians, [(300, 2), (300, 1), (700, 1)], "the agent's version keys nothing");
    }

    #[test]
    fn a_profile_with_suspect_runs_only_is_listed_without_a_median() {
        let mut suspect = testing::pair("a", 0.5);
        suspect.quality = Quality::from_reasons(vec!["throttled".into()]);
        let runs = [run(suspect)];
        let view = asked(&runs, &Filter::default());
        let profile = &view.profiles[0];
        assert_eq!((profile.runs, profile.suspect_runs), (1, 1));
        assert_eq!(profile.cells.len(), 2);
        assert!(
            profile.cells.iter().all(|cell| cell.median_ns.is_none() && cell.suspect_left_out == 1)
        );
        assert!(profile.verdicts.is_empty());
        let all = asked(&runs, &Filter { include_suspect: true, ..Filter::default() });
        assert_eq!(all.profiles[0].verdicts[0].verdict.verdict, Outcome::Faster);
    }

    #[test]
    fn a_partial_run_is_counted_and_enters_no_median() {
        let mut partial = testing::pair("a", 0.5);
        partial.partial = Some("the agent was stopped".into());
        partial.evidence.canary_before_ns = Some(Nanos(900_000));
        let mut suspect_too = testing::pair("b", 0.5);
        suspect_too.partial.clone_from(&partial.partial);
        suspect_too.quality = Quality::from_reasons(vec!["throttled".into()]);
        let mut whole = testing::pair("c", 2.0);
        whole.evidence.canary_before_ns = Some(Nanos(100_000));
        let expected = whole.evidence.kernel_time(1_000_000);
        let runs = [partial, suspect_too, whole].map(run);
        for include_suspect in [false, true] {
            let filter = Filter { include_suspect, ..Filter::default() };
            let view = asked(&runs, &filter);
            let profile = &view.profiles[0];
            assert_eq!((profile.runs, profile.suspect_runs, profile.partial_runs), (3, 1, 2));
            for cell in &profile.cells {
                assert_eq!((cell.hosts, cell.suspect_left_out, cell.partial_left_out), (1, 0, 2));
            }
            assert_eq!(profile.verdicts[0].verdict.verdict, Outcome::Slower, "that of host c");
            assert_eq!(profile.kernel_time_ns, expected, "nor does its canary");

            let none = &asked(&runs[..2], &filter).profiles[0];
            assert_eq!(none.cells.len(), 2, "listed");
            assert!(none.cells.iter().all(|cell| cell.median_ns.is_none()));
            assert!(none.verdicts.is_empty());
        }
    }

    #[test]
    fn filters_choose() {
        let runs = [run(testing::pair("a", 0.5))];
        let shown = |filter: Filter| asked(&runs, &filter).profiles.len();
        let id = runs[0].report.profile.id.as_str().to_owned();
        assert_eq!(shown(Filter { profile: vec![id[..4].to_owned()], ..Filter::default() }), 1);
        assert_eq!(
            shown(Filter {
                profile: vec![runs[0].report.profile.name.clone()],
                ..Filter::default()
            }),
            1
        );
        assert_eq!(shown(Filter { profile: vec!["nothing".into()], ..Filter::default() }), 0);
        assert_eq!(shown(Filter { scenario: vec![Scenario::Waiting], ..Filter::default() }), 0);
        assert_eq!(
            shown(Filter { since: Some(Timestamp::now() + 1.hour()), ..Filter::default() }),
            0
        );
        let tokio = Filter { spawner: vec![Spawner::Tokio], ..Filter::default() };
        let view = asked(&runs, &tokio);
        assert_eq!(view.profiles[0].cells.len(), 1);
        assert_eq!(view.profiles[0].verdicts.len(), 1, "compared with thread all the same");
    }

    #[test]
    fn incomplete_profiles_and_collisions_are_held_back() {
        let mut unknown = testing::pair("a", 0.5);
        let facets = Facets { cpu_model: None, ..unknown.profile.facets.clone() };
        unknown.profile = fleetmark_proto::profile::Profile::new(facets, None);
        let view = asked(&[run(unknown)], &Filter::default());
        assert!(!view.profiles[0].complete && view.profiles[0].verdicts.is_empty());

        let boots = ["x", "y", "x"];
        let clones = boots.map(|boot| {
            let mut report = testing::pair("a", 0.5);
            report.host.boot_id_hash = Some(boot.into());
            run(report)
        });
        let view = asked(&clones, &Filter::default());
        assert_eq!(view.profiles[0].collisions.len(), 1);
        assert!(view.profiles[0].cells.is_empty());
    }
}
