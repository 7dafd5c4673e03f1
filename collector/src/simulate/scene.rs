//! A small fleet in which something was planted for each question that people have. Reading commands must find each of these,
//! and nothing else.
//!
//! Three kinds of machines have as many hosts each: `web-N`, virtual machines of 2 CPUs; `db-N`, bare metal of 32; and `api-N`,
//! ARM of 4 CPUs. Each host is measured once a week. Beside them:
//!
//! - `web-07` is a quarter slower in everything since ten days ago: two of its runs show it;
//! - `web-03` is two machines: its runs come from two boots in turn;
//! - all `db-N` have had another kernel for twelve days, under which threads take an eighth longer to wait in;
//! - all `api-N` have been measured with another Tokio for five days, whose tasks take a tenth less to spawn;
//! - `ci-00` is a container with a quota, throttled in each of its runs: all of them are suspect.

use std::time::Duration;

use fleetmark_proto::{
    host::{Host, HostIdSource},
    id::HostId,
    invalid::Invalid,
    plan::{CellKey, Scenario, Spawner},
    profile::{Facets, Limit, Profile},
    report::{Quality, Report, Throttling},
    unit::Nanos,
};
use jiff::Timestamp;

use super::{
    machine::{KINDS, Kind, Measured},
    random::Random,
};

/// Between two runs of a host.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Between the runs of two hosts.
const STAGGER: Duration = Duration::from_secs(60);
/// For how long `web-07` has been slow.
const SLOW: Duration = Duration::from_secs(10 * 24 * 60 * 60);
/// For how long `db-N` have had their kernel.
const KERNEL: Duration = Duration::from_secs(12 * 24 * 60 * 60);
/// For how long `api-N` have been measured with their Tokio.
const TOKIO: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// The fleet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scene {
    /// Hosts of each kind.
    pub hosts: u32,
    /// Weeks for which each host was measured before its newest run.
    pub weeks: u32,
    /// Of the noise. The same seed gives the same samples.
    pub seed: u64,
}

/// One run of one host.
struct Turn {
    name: String,
    group: Group,
    /// How long before now it ended.
    ago: Duration,
    /// Its place in the host's runs, the newest first.
    week: u32,
    /// How much longer everything takes on this host than on others: no two machines are the same.
    own_pace: f64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Group {
    Web,
    Db,
    Api,
    Ci,
}

impl Group {
    fn kind(self) -> &'static Kind {
        match self {
            Self::Web | Self::Ci => &KINDS[0],
            Self::Db => &KINDS[1],
            Self::Api => &KINDS[2],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Db => "db",
            Self::Api => "api",
            Self::Ci => "ci",
        }
    }
}

impl Scene {
    /// Its reports, host by host, if it is now `now`.
    ///
    /// # Errors
    ///
    /// If `now` is so long ago or so far ahead that no report could be of then.
    pub fn reports(self, now: Timestamp) -> impl Iterator<Item = Result<Report, Invalid>> {
        let Self { hosts, weeks, seed } = self;
        let each = move |group| (0..hosts).map(move |number| (group, number));
        let all = [Group::Web, Group::Db, Group::Api].into_iter().flat_map(each);
        let mut random = Random::new(seed);
        all.chain([(Group::Ci, 0)]).zip(0..).flat_map(move |((group, number), place): (_, u32)| {
            let own_pace = random.about_one(0.01);
            let reports: Vec<Result<Report, Invalid>> = (0..=weeks)
                .map(|week| {
                    let ago = STAGGER * (place + 1) + WEEK * week;
                    let name = format!("{}-{number:02}", group.name());
                    Turn { name, group, ago, week, own_pace }.report(now, &mut random)
                })
                .collect();
            reports
        })
    }
}

impl Turn {
    fn report(&self, now: Timestamp, random: &mut Random) -> Result<Report, Invalid> {
        let outside = || Invalid::new("now", "is outside of the times that reports may have");
        let ended_at = now.checked_sub(self.ago).map_err(|_| outside())?;
        let id = random.report_id(ended_at).ok_or_else(outside)?;
        let host: HostId = self.name.parse()?;
        let host = Host {
            name: format!("{host}.example"),
            id: host,
            id_source: HostIdSource::Cloud,
            boot_id_hash: Some(self.boot()),
        };
        let pace = |key| self.pace(key);
        let measured = Measured { kind: self.group.kind(), pace: &pace };
        let mut report = measured.report(id, host, ended_at, random);
        if self.week == 0 {
            report.series = measured.passes(random);
        }
        report.labels = [("env", "simulated"), ("role", self.group.name())]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        match self.group {
            Group::Db if self.ago > KERNEL => {
                report.system.kernel = Some("6.1.0-40-amd64".to_owned());
            }
            Group::Api if self.ago <= TOKIO => report.build.tokio = "1.55.0".to_owned(),
            Group::Ci => throttle(&mut report),
            _ => {}
        }
        Ok(report)
    }

    /// How much longer a cell takes than on others of its kind.
    fn pace(&self, key: CellKey) -> f64 {
        let planted = match (self.group, key.scenario, key.spawner) {
            (Group::Web, ..) if self.name == "web-07" && self.ago <= SLOW => 1.25,
            (Group::Db, Scenario::Waiting, Spawner::Thread) if self.ago <= KERNEL => 1.125,
            (Group::Api, Scenario::SpawnOverhead, Spawner::Tokio) if self.ago <= TOKIO => 0.9,
            (Group::Ci, ..) => 1.6,
            _ => 1.0,
        };
        self.own_pace * planted
    }

    /// Which boot the host shows.
    fn boot(&self) -> String {
        let boot = match self.group {
            Group::Web if self.name == "web-03" => self.week % 2,
            Group::Db => u32::from(self.ago > KERNEL),
            _ => 0,
        };
        format!("{}-{boot}", self.name)
    }
}

/// Makes it the report of a container that its quota stopped again and again.
fn throttle(report: &mut Report) {
    let facets = Facets {
        usable_cpus: 1,
        limit: Limit::Quota,
        quota_millicpus: Some(1_500),
        container: Some("docker".to_owned()),
        ..report.profile.facets.clone()
    };
    report.profile = Profile::new(facets, None);
    report.workers.count = 1;
    report.workers.reason = "cgroup / sets a quota of 1.5 CPUs".to_owned();
    for cell in &mut report.cells {
        cell.units = cell.workload.amount.units(1);
    }
    report.series.clear();
    report.evidence.throttling =
        Some(Throttling { periods: 60, throttled_periods: 14, throttled_ns: Nanos(900_000_000) });
    let reason = "throttled 14 of 60 periods by the quota of 1.5 CPUs that cgroup / sets";
    report.quality = Quality::from_reasons(vec![reason.to_owned()]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fleetmark_proto::convert::{self, Encoded};

    use super::*;
    use crate::stats::collided;

    #[test]
    fn reports_are_valid_and_hold_what_was_planted() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let scene = Scene { hosts: 12, weeks: 4, seed: 1 };
        let reports: Vec<Report> = scene.reports(now).map(Result::unwrap).collect();
        assert_eq!(reports.len(), (3 * 12 + 1) * 5);
        for report in &reports {
            let encoded = Encoded::new(report);
            assert_eq!(&convert::decode(&encoded.bytes).unwrap(), report);
        }
        let ids: BTreeSet<_> = reports.iter().map(|report| report.id).collect();
        assert_eq!(ids.len(), reports.len());
        let profiles: BTreeSet<_> = reports.iter().map(|report| &report.profile.id).collect();
        assert_eq!(profiles.len(), 4);
        let suspect: BTreeSet<&str> = reports
            .iter()
            .filter(|report| !report.quality.is_clean())
            .map(|report| report.host.id.as_str())
            .collect();
        assert_eq!(suspect, BTreeSet::from(["ci-00"]));
        let collided: Vec<&str> = collided(&reports).into_iter().map(HostId::as_str).collect();
        assert_eq!(collided, ["web-03"]);
        let again: Vec<Report> = scene.reports(now).map(Result::unwrap).collect();
        assert_eq!(again, reports, "by the same seed");
    }
}
