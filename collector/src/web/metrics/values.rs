//! What metrics say of the fleet: the medians of what each profile was measured with last, and how many runs there are.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fleetmark_proto::{
    id::HostId,
    limits,
    plan::{CellKey, Workload},
    unit::count,
};
use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::{Registry, Unit},
};

use crate::{
    store::{
        StoredRun,
        rollup::{Rollup, RunAt},
    },
    view::{ProfileView, View},
};

/// Since when runs count: as in a report.
pub(in crate::web) fn since(now: Timestamp) -> Timestamp {
    const WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN)
}

/// What is said.
#[derive(Debug)]
pub(in crate::web) struct Values {
    read_at: Timestamp,
    hosts: u64,
    profiles: Vec<Profile>,
    profiles_left_out: u64,
    runs: u64,
    suspect_runs: u64,
    /// When the newest run ended.
    newest_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Profile {
    labels: ProfileLabels,
    hosts: u64,
    runs: u64,
    suspect_runs: u64,
    /// In seconds.
    medians: Vec<(CellLabels, f64)>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ProfileLabels {
    profile: String,
    profile_id: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CellLabels {
    profile: String,
    profile_id: String,
    scenario: &'static str,
    spawner: &'static str,
    workload: String,
    build: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct QualityLabel {
    quality: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ProfileQuality {
    profile: String,
    profile_id: String,
    quality: &'static str,
}

/// What of a cell parts its medians.
type Measured = (Workload, u64, String);

/// What of runs a view does not say.
#[derive(Debug, Default, Eq, PartialEq)]
pub(in crate::web) struct Newest {
    hosts: u64,
    /// When the newest run ended, in microseconds since 1970.
    at_us: Option<i64>,
    /// With what each cell of each profile was measured by the newest run that counts.
    measured: BTreeMap<(String, CellKey), Measured>,
}

impl Newest {
    /// Of these runs, oldest first.
    pub(in crate::web) fn of_runs(runs: &[StoredRun]) -> Self {
        let hosts: BTreeSet<&HostId> = runs.iter().map(|run| &run.report.host.id).collect();
        let mut measured = BTreeMap::new();
        for run in runs.iter().filter(|run| run.report.counts(false)) {
            let report = &run.report;
            for cell in report.cells.iter().filter(|cell| cell.median().is_some()) {
                let profile = report.profile.id.as_str().to_owned();
                let measure = (cell.workload, cell.units, report.build.key());
                measured.insert((profile, cell.key), measure);
            }
        }
        let at_us = runs.iter().map(|run| run.time().as_microsecond()).max();
        Self { hosts: count(hosts.len()), at_us, measured }
    }

    /// Of what is kept of runs.
    pub(in crate::web) fn of_rollup(rollup: &Rollup) -> Self {
        let within = |run: &RunAt| run.time_us >= rollup.since_us;
        let mut hosts = BTreeSet::new();
        let mut at_us = None;
        let mut newest: BTreeMap<(String, CellKey), (RunAt, Measured)> = BTreeMap::new();
        for host in rollup.hosts.iter().filter(|host| within(&host.last())) {
            hosts.insert(&host.host);
            at_us = at_us.max(Some(host.last().time_us));
            let Some((form, _)) = rollup.forms.get(&host.form) else { continue };
            let kept = host.kept();
            let cells = form.cells.iter().zip(kept.values);
            for (cell, value) in cells.filter(|(cell, _)| cell.series.is_none()) {
                let Some((at, _)) = value.filter(|(at, _)| within(at)) else { continue };
                let key = CellKey { scenario: cell.scenario, spawner: cell.spawner };
                let key = (form.profile.clone(), key);
                if newest.get(&key).is_none_or(|(before, _)| *before < at) {
                    let measured = (cell.workload, cell.units, form.build.clone());
                    newest.insert(key, (at, measured));
                }
            }
        }
        let measured = newest.into_iter().map(|(key, (_, measured))| (key, measured)).collect();
        Self { hosts: count(hosts.len()), at_us, measured }
    }
}

impl Values {
    /// What a view says, and what it does not.
    pub(in crate::web) fn of(view: &View, newest: &Newest, now: Timestamp) -> Self {
        let mut known: Vec<&ProfileView> = view.profiles.iter().collect();
        known.sort_by_key(|profile| Reverse(profile.hosts));
        let shown = known.len().min(limits::METRICS_PROFILES);
        Self {
            read_at: now,
            hosts: newest.hosts,
            profiles: known.iter().take(shown).filter_map(|it| Profile::of(it, newest)).collect(),
            profiles_left_out: count(known.len().saturating_sub(shown)),
            runs: view.profiles.iter().map(|profile| profile.runs).sum(),
            suspect_runs: view.profiles.iter().map(|profile| profile.suspect_runs).sum(),
            newest_at: newest.at_us.and_then(|us| Timestamp::from_microsecond(us).ok()),
        }
    }

    /// When it was worked out.
    pub(in crate::web) fn read_at(&self) -> Timestamp {
        self.read_at
    }

    pub(super) fn register(&self, all: &mut Registry) {
        let number = |number: u64| ConstGauge::new(number);
        let read = number_of_seconds(self.read_at);
        let help = "When what is said of the fleet was read";
        all.register_with_unit("fleet_read_timestamp", help, Unit::Seconds, read);
        if let Some(newest) = self.newest_at {
            let help = "When the newest run of the last 30 days ended";
            let newest = number_of_seconds(newest);
            all.register_with_unit("newest_run_timestamp", help, Unit::Seconds, newest);
        }
        all.register("hosts", "Hosts with a run in the last 30 days", number(self.hosts));
        let profiles = count(self.profiles.len()) + self.profiles_left_out;
        all.register("profiles", "Hardware profiles of these hosts", number(profiles));
        let help = "Those of them that have no metrics of their own, as there are too many";
        all.register("profiles_left_out", help, number(self.profiles_left_out));
        let runs = Family::<QualityLabel, Gauge>::default();
        for (quality, number) in by_quality(self.runs, self.suspect_runs) {
            runs.get_or_create(&QualityLabel { quality }).set(wide(number));
        }
        all.register("runs", "Runs of the last 30 days", runs);
        self.register_profiles(all);
    }

    fn register_profiles(&self, all: &mut Registry) {
        let hosts = Family::<ProfileLabels, Gauge>::default();
        let runs = Family::<ProfileQuality, Gauge>::default();
        let medians = Family::<CellLabels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        for profile in &self.profiles {
            hosts.get_or_create(&profile.labels).set(wide(profile.hosts));
            let ProfileLabels { profile: name, profile_id } = &profile.labels;
            for (quality, number) in by_quality(profile.runs, profile.suspect_runs) {
                let labels = ProfileQuality {
                    profile: name.clone(),
                    profile_id: profile_id.clone(),
                    quality,
                };
                runs.get_or_create(&labels).set(wide(number));
            }
            for (labels, seconds) in &profile.medians {
                medians.get_or_create(labels).set(*seconds);
            }
        }
        all.register("profile_hosts", "Hosts of a profile with a run in the last 30 days", hosts);
        all.register("profile_runs", "Runs of a profile in the last 30 days", runs);
        let help = "Median over the hosts of a profile, of what its newest clean run measured";
        all.register_with_unit("median", help, Unit::Seconds, medians);
    }
}

impl Profile {
    fn of(profile: &ProfileView, newest: &Newest) -> Option<Self> {
        // Every group is a profile, as nothing else was asked for.
        let id = profile.id.as_ref()?;
        let labels = ProfileLabels { profile: profile.name.clone(), profile_id: id.to_string() };
        let median = |cell: &crate::view::CellView| {
            let key = CellKey { scenario: cell.scenario, spawner: cell.spawner };
            let measured = (cell.workload, cell.units, cell.build.clone());
            let seconds = cell.median_ns?.to_f64() / 1e9;
            let labels = CellLabels {
                profile: labels.profile.clone(),
                profile_id: labels.profile_id.clone(),
                scenario: cell.scenario.name(),
                spawner: cell.spawner.name(),
                workload: cell.workload.to_string(),
                build: cell.build.clone(),
            };
            let newest = newest.measured.get(&(labels.profile_id.clone(), key));
            (newest == Some(&measured)).then_some((labels, seconds))
        };
        let medians = profile.cells.iter().filter_map(median).collect();
        let ProfileView { hosts, runs, suspect_runs, .. } = *profile;
        Some(Self { labels, hosts, runs, suspect_runs, medians })
    }
}

fn by_quality(runs: u64, suspect: u64) -> [(&'static str, u64); 2] {
    [("clean", runs.saturating_sub(suspect)), ("suspect", suspect)]
}

fn number_of_seconds(time: Timestamp) -> ConstGauge<f64> {
    ConstGauge::new(time.as_duration().as_secs_f64())
}

fn wide(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fleetmark_proto::convert::Encoded;

    use super::*;
    use crate::{
        simulate::Scene,
        store::{self, Clocks, Mode, NewRun, StoreUrl},
    };

    #[tokio::test]
    async fn what_is_kept_says_what_runs_say() {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("store.db"));
        let store = store::open(&url, Mode::Write).await.unwrap();
        let now = Timestamp::now();
        let run = |report: fleetmark_proto::report::Report| {
            let clocks = Clocks::new(report.ended_at, Some(report.ended_at));
            Arc::new(NewRun::new(Encoded::new(&report), &report, clocks))
        };
        let reports = Scene { hosts: 3, weeks: 6, seed: 1 }.reports(now);
        store.put(reports.map(|report| run(report.unwrap())).collect()).await.unwrap();
        for since in [Some(since(now)), Some(now - Duration::from_secs(8 * 86_400)), None] {
            let runs = crate::reading::whole(store.runs(since).await.unwrap());
            let of_runs = Newest::of_runs(&runs);
            let rollup = store.rollup(since).await.unwrap().unwrap();
            assert_eq!(Newest::of_rollup(&rollup), of_runs, "{since:?}");
            assert_eq!(of_runs.measured.len(), 3 * 11, "the container has suspect runs alone");
        }
    }
}
