//! All that is known of one host.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    host::HostIdSource,
    id::{HostId, ReportId},
    plan::{CellKey, Scenario, Spawner, Workload},
    profile::Facets,
    report::{Cell, QualityVerdict, System},
    samples::Interval,
    unit::{Nanos, count},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Facet, Filter, History, HostLabel, Looked, NotOneHost, PointState, ProfileLabel, Question,
    SlowHost, Spread, fleet::seconds, history, medians::groups, one_host, outliers, partial,
    spreads, suspect,
};
use crate::{
    stats::{Group, GroupKey, Standing, collided},
    store::{Skew, StoredRun},
};

/// How many of the newest runs are listed.
const LISTED: usize = 10;

/// A host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostView {
    /// `fleetmark.host/1`.
    pub schema: &'static str,
    /// When it was made.
    pub generated_at: Timestamp,
    /// From when on runs of its profile's hosts count.
    pub since: Option<Timestamp>,
    /// Which.
    #[serde(flatten)]
    pub host: HostLabel,
    /// Where the id came from.
    pub id_source: HostIdSource,
    /// What is said of it.
    pub labels: BTreeMap<String, String>,
    /// Its hardware, as its newest run shows it.
    pub profile: ProfileLabel,
    /// Whether enough is known of the hardware for verdicts.
    pub complete: bool,
    /// What makes the profile.
    pub facets: Facets,
    /// What else its newest run shows.
    pub system: System,
    /// What it was measured with, newest first.
    pub builds: Vec<BuildRow>,
    /// Its runs.
    pub runs: u64,
    /// Those that are suspect.
    pub suspect_runs: u64,
    /// Those that ended before their plan did.
    pub partial_runs: u64,
    /// Why runs are suspect or partial, what is most frequent first.
    pub reasons: Vec<Reason>,
    /// When the oldest run ended.
    pub first_seen: Timestamp,
    /// When the newest did.
    pub last_seen: Timestamp,
    /// How far its clock was behind the collector's when its newest run came, negative if ahead, in seconds; `null` where they
    /// were at most five minutes apart, or the agent did not tell.
    #[serde(rename = "clock_behind_s", serialize_with = "seconds")]
    pub clock: Option<Skew>,
    /// Whether two machines claim to be this host.
    pub collision: bool,
    /// What there is to be said if it is slow among hosts of its profile.
    pub slow: Option<SlowHost>,
    /// What was looked at for that; `null` if it has no run in the window.
    pub looked: Option<Looked>,
    /// Its newest value of each cell beside its profile's median.
    pub cells: Vec<CellRow>,
    /// Its newest runs, newest first.
    pub last_runs: Vec<RunRow>,
}

/// What a host was measured with.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct BuildRow {
    /// The build.
    pub build: String,
    /// Runs with it.
    pub runs: u64,
    /// When the newest of them ended.
    pub last_seen: Timestamp,
}

/// Why runs do not count.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reason {
    /// Why.
    pub reason: String,
    /// How many runs say so.
    pub runs: u64,
}

/// A cell of a host beside those of others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellRow {
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
    /// When the run ended.
    pub at: Timestamp,
    /// Whether it counts: where no run of the host does, its newest is shown.
    pub state: PointState,
    /// The host's value.
    pub value_ns: Nanos,
    /// Of that value, over the run's rounds.
    pub interval: Option<Interval>,
    /// The median of its profile's hosts for this workload and build; `null` if none counts.
    pub median_ns: Option<Nanos>,
    /// How many hosts that is of.
    pub hosts: u64,
    /// The value by the median.
    pub ratio: Option<f64>,
}

/// A run of a host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRow {
    /// The report's id.
    pub report_id: ReportId,
    /// When it ended.
    pub at: Timestamp,
    /// Whether it can be trusted.
    pub quality: QualityVerdict,
    /// Why not.
    pub reasons: Vec<String>,
    /// Why it ended before its plan did.
    pub partial: Option<String>,
    /// Cells that failed.
    pub failed_cells: u64,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// What was measured with.
    pub build: String,
}

/// All that runs say of the one host that is meant by an id or a name. Runs of others count from `since` on.
///
/// # Errors
///
/// If no host is meant, or several are.
pub fn host(
    runs: &[StoredRun],
    wanted: &str,
    since: Option<Timestamp>,
    now: Timestamp,
) -> Result<HostView, NotOneHost> {
    let label = one_host(runs, wanted)?;
    let mut own: Vec<&StoredRun> =
        runs.iter().filter(|run| run.report.host.id == label.id).collect();
    own.sort_by_key(|run| (run.time(), run.report.id));
    let unknown = || NotOneHost::Unknown { wanted: wanted.to_owned(), nearest: vec![] };
    let (oldest, newest) = own.first().zip(own.last()).ok_or_else(unknown)?;
    let report = &newest.report;
    let window =
        Filter { profile: vec![report.profile.id.to_string()], since, ..Filter::default() };
    let this = Filter { host: vec![label.id.to_string()], ..window.clone() };
    let found = outliers(runs, &this, &[Facet::Profile], now);
    let collided = collided(runs.iter().map(|run| &run.report));
    Ok(HostView {
        schema: "fleetmark.host/1",
        generated_at: now,
        since,
        id_source: report.host.id_source,
        labels: report.labels.clone(),
        profile: ProfileLabel::from(&report.profile),
        complete: report.profile.facets.is_complete(),
        facets: report.profile.facets.clone(),
        system: report.system.clone(),
        builds: builds(&own),
        runs: count(own.len()),
        suspect_runs: suspect(&own),
        partial_runs: partial(&own),
        reasons: reasons(&own),
        first_seen: oldest.time(),
        last_seen: newest.time(),
        clock: newest.clock_skew(),
        collision: collided.contains(&label.id),
        slow: found.hosts.into_iter().find(|slow| slow.host.id == label.id),
        looked: found.groups.into_iter().next(),
        cells: cells(&own, runs, &window, &collided),
        last_runs: own.iter().rev().take(LISTED).map(|run| run_row(run)).collect(),
        host: label,
    })
}

/// What stands around a host: where the hosts of its profile stand, and its own history, all of it.
#[must_use]
pub fn around(view: &HostView, runs: &[StoredRun], now: Timestamp) -> (Vec<Spread>, History) {
    let profile = vec![view.profile.id.to_string()];
    let window = Filter { profile, since: view.since, ..Filter::default() };
    let this = Filter { host: vec![view.host.id.to_string()], ..Filter::default() };
    let own: Vec<StoredRun> =
        runs.iter().filter(|run| run.report.host.id == view.host.id).cloned().collect();
    let history = history(&own, &this, &[Facet::Host], None, now);
    (spreads(runs, &window, &Question::default()), history)
}

fn builds(own: &[&StoredRun]) -> Vec<BuildRow> {
    let mut all: BTreeMap<String, BuildRow> = BTreeMap::new();
    for run in own {
        let build = run.report.build.key();
        let row =
            all.entry(build.clone()).or_insert(BuildRow { build, runs: 0, last_seen: run.time() });
        row.runs += 1;
        row.last_seen = row.last_seen.max(run.time());
    }
    let mut rows: Vec<BuildRow> = all.into_values().collect();
    rows.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then_with(|| a.build.cmp(&b.build)));
    rows
}

fn reasons(own: &[&StoredRun]) -> Vec<Reason> {
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for run in own {
        let reasons = run.report.quality.reasons.iter().chain(&run.report.partial);
        for reason in reasons {
            *all.entry(reason).or_default() += 1;
        }
    }
    let mut rows: Vec<Reason> =
        all.into_iter().map(|(reason, runs)| Reason { reason: reason.to_owned(), runs }).collect();
    rows.sort_by(|a, b| b.runs.cmp(&a.runs).then_with(|| a.reason.cmp(&b.reason)));
    rows
}

fn run_row(run: &StoredRun) -> RunRow {
    let report = &run.report;
    let series = report.series.iter().map(|series| &series.cell);
    let failed = report.cells.iter().chain(series).filter(|cell| cell.failure.is_some());
    RunRow {
        report_id: report.id,
        at: run.time(),
        quality: report.quality.verdict,
        reasons: report.quality.reasons.clone(),
        partial: report.partial.clone(),
        failed_cells: count(failed.count()),
        kernel: report.system.kernel.clone(),
        build: report.build.key(),
    }
}

/// The newest value of each cell: of a run that counts, or of any if none does.
fn cells(
    own: &[&StoredRun],
    runs: &[StoredRun],
    window: &Filter,
    collided: &BTreeSet<&HostId>,
) -> Vec<CellRow> {
    let mut in_window = window.runs(runs);
    in_window.sort_by_key(|run| (run.time(), run.report.id));
    let groups: BTreeMap<GroupKey, Group<'_>> =
        groups(&in_window, window, collided).into_iter().collect();
    let mut newest: BTreeMap<CellKey, (bool, &StoredRun, &Cell)> = BTreeMap::new();
    for run in own {
        let counts = run.report.counts(false);
        for cell in run.report.cells.iter().filter(|cell| cell.median().is_some()) {
            let found = newest.entry(cell.key).or_insert((counts, run, cell));
            if counts || !found.0 {
                *found = (counts, run, cell);
            }
        }
    }
    let row = |(key, (_, run, cell)): (CellKey, (bool, &StoredRun, &Cell))| {
        let group_key = GroupKey::of(&run.report, None, cell);
        let median = groups.get(&group_key).and_then(|group| group.median(key.spawner));
        let value_ns = cell.median()?;
        let median_ns = median.as_ref().map(|found| found.median);
        Some(CellRow {
            scenario: key.scenario,
            spawner: key.spawner,
            workload: cell.workload,
            units: cell.units,
            build: group_key.build,
            at: run.time(),
            state: match Standing::of(&run.report, false) {
                Standing::Counts => PointState::Counts,
                Standing::Suspect => PointState::Suspect,
                Standing::Partial => PointState::Partial,
            },
            value_ns,
            interval: cell.interval(),
            median_ns,
            hosts: median.map_or(0, |found| found.hosts),
            ratio: median_ns
                .filter(|median| median.0 > 0)
                .map(|median| value_ns.to_f64() / median.to_f64()),
        })
    };
    newest.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::report::{Quality, Report};
    use jiff::ToSpan as _;

    use super::*;
    use crate::testing;

    fn run(host: &str, hour: i64, ratio: f64, change: impl FnOnce(&mut Report)) -> StoredRun {
        let mut report = testing::pair(host, ratio);
        report.ended_at += hour.hours();
        change(&mut report);
        StoredRun { received_at: report.ended_at, sent_at: None, report }
    }

    fn suspect(report: &mut Report) {
        report.quality = Quality::from_reasons(vec!["throttled".into()]);
    }

    fn asked(runs: &[StoredRun], wanted: &str) -> HostView {
        host(runs, wanted, None, Timestamp::now()).unwrap()
    }

    #[test]
    fn values_stand_beside_medians_of_the_profile() {
        let runs = [
            run("a", 0, 0.5, |_| {}),
            run("a", 1, 1.0, |report| report.system.kernel = Some("6.12".into())),
            run("a", 2, 9.0, suspect),
            run("b", 0, 2.0, |_| {}),
            run("c", 0, 4.0, |_| {}),
        ];
        let view = asked(&runs, "a.example");
        assert_eq!((view.runs, view.suspect_runs, view.partial_runs), (3, 1, 0));
        assert_eq!(view.reasons, [Reason { reason: "throttled".into(), runs: 1 }]);
        let tokio = view.cells.iter().find(|cell| cell.spawner == Spawner::Tokio).unwrap();
        assert_eq!((tokio.state, tokio.hosts), (PointState::Counts, 3));
        assert!((tokio.ratio.unwrap() - 0.5).abs() < 1e-3, "1 of the median 2: {tokio:?}");
        assert_eq!(view.last_runs.len(), 3);
        assert_eq!(view.last_runs[0].reasons, ["throttled"]);
        assert_eq!(view.last_runs[1].kernel.as_deref(), Some("6.12"));
        assert_eq!(view.looked.unwrap().missing_hosts, 9);
        assert!(view.slow.is_none() && !view.collision);
        assert!(host(&runs, "d", None, Timestamp::now()).is_err());
    }

    #[test]
    fn a_host_whose_runs_never_count_is_shown_without_a_part_in_medians() {
        let runs = [run("a", 0, 0.5, suspect), run("b", 0, 2.0, |_| {})];
        let view = asked(&runs, "a");
        let tokio = view.cells.iter().find(|cell| cell.spawner == Spawner::Tokio).unwrap();
        assert_eq!((tokio.state, tokio.hosts), (PointState::Suspect, 1));
        assert!((tokio.ratio.unwrap() - 0.25).abs() < 1e-3);
        assert_eq!(view.looked.unwrap().without_clean_run, 1);
    }
}
