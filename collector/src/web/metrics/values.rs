//! What metrics say of the fleet: the medians of what each profile was measured with last, and how many runs there are.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fleetmark_proto::{
    id::{HostId, ProfileId},
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
    store::StoredRun,
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
    /// When the newest run was taken.
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

/// With what each cell of each profile was measured by the newest run that counts.
fn newest(runs: &[StoredRun]) -> BTreeMap<(&ProfileId, CellKey), Measured> {
    let mut newest = BTreeMap::new();
    // The oldest come first, so the newest stay.
    for run in runs.iter().filter(|run| run.report.counts(false)) {
        let report = &run.report;
        for cell in report.cells.iter().filter(|cell| cell.median().is_some()) {
            let measured = (cell.workload, cell.units, report.build.key());
            newest.insert((&report.profile.id, cell.key), measured);
        }
    }
    newest
}

impl Values {
    /// Of these runs, oldest first, which the view is of.
    pub(in crate::web) fn of(view: &View, runs: &[StoredRun], now: Timestamp) -> Self {
        let newest = newest(runs);
        let mut known: Vec<&ProfileView> = view.profiles.iter().collect();
        known.sort_by_key(|profile| Reverse(profile.hosts));
        let shown = known.len().min(limits::METRICS_PROFILES);
        let hosts: BTreeSet<&HostId> = runs.iter().map(|run| &run.report.host.id).collect();
        let suspect = runs.iter().filter(|run| !run.report.quality.is_clean());
        Self {
            read_at: now,
            hosts: count(hosts.len()),
            profiles: known.iter().take(shown).filter_map(|it| Profile::of(it, &newest)).collect(),
            profiles_left_out: count(known.len().saturating_sub(shown)),
            runs: count(runs.len()),
            suspect_runs: count(suspect.count()),
            newest_at: runs.iter().map(|run| run.received_at).max(),
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
            let help = "When the newest run of the last 30 days was taken";
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
    fn of(
        profile: &ProfileView,
        newest: &BTreeMap<(&ProfileId, CellKey), Measured>,
    ) -> Option<Self> {
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
            (newest.get(&(id, key)) == Some(&measured)).then_some((labels, seconds))
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
