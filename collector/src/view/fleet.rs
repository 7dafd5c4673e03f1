//! What is known: profiles and hosts.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    host::HostIdSource,
    id::{HostId, ProfileId},
    profile::Facets,
    unit::count,
};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Facet, grouped, partial, suspect};
use crate::{
    stats::collided,
    store::{Skew, StoredRun},
};

/// A profile, in one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProfileRow {
    /// Short hash of the profile's key.
    pub id: ProfileId,
    /// Readable, not unique.
    pub name: String,
    /// Hosts that ever reported it.
    pub hosts: u64,
    /// Their runs.
    pub runs: u64,
    /// Those that are suspect.
    pub suspect_runs: u64,
    /// Those that ended before their plan did; they enter no median.
    pub partial_runs: u64,
    /// When the newest run ended.
    pub last_seen: Timestamp,
    /// Whether enough is known of the hardware for verdicts.
    pub complete: bool,
    /// What makes the profile.
    pub facets: Facets,
}

/// A host, in one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostRow {
    /// What the host is known by.
    pub id: HostId,
    /// Its name, as its newest run says.
    pub name: String,
    /// Where the id came from.
    pub id_source: HostIdSource,
    /// Id of the profile of its newest run.
    pub profile_id: ProfileId,
    /// Name of that profile.
    pub profile_name: String,
    /// Runs that it reported.
    pub runs: u64,
    /// Those that are suspect.
    pub suspect_runs: u64,
    /// Those that ended before their plan did; they enter no median.
    pub partial_runs: u64,
    /// When the newest run ended.
    pub last_seen: Timestamp,
    /// How far the host's clock was behind the collector's when its newest run came, negative if ahead, in seconds; `null`
    /// where they were at most five minutes apart, or the agent did not tell.
    #[serde(rename = "clock_behind_s", serialize_with = "seconds")]
    pub clock: Option<Skew>,
    /// Whether two machines claim to be this host; then it enters no median.
    pub collision: bool,
    /// What the owner calls it.
    pub labels: BTreeMap<String, String>,
}

/// Every profile, in the order of their names.
#[must_use]
pub fn profiles(runs: &[StoredRun]) -> Vec<ProfileRow> {
    let all: Vec<&StoredRun> = runs.iter().collect();
    let mut rows: Vec<ProfileRow> = grouped(&all, &[Facet::Profile])
        .into_values()
        .filter_map(|runs| {
            let newest = runs.last()?;
            let profile = &newest.report.profile;
            let hosts: BTreeSet<&HostId> = runs.iter().map(|run| &run.report.host.id).collect();
            Some(ProfileRow {
                id: profile.id.clone(),
                name: profile.name.clone(),
                hosts: count(hosts.len()),
                runs: count(runs.len()),
                suspect_runs: suspect(&runs),
                partial_runs: partial(&runs),
                last_seen: newest.time(),
                complete: profile.facets.is_complete(),
                facets: profile.facets.clone(),
            })
        })
        .collect();
    rows.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    rows
}

/// Every host, in the order of their ids.
#[must_use]
pub fn hosts(runs: &[StoredRun]) -> Vec<HostRow> {
    let collided = collided(runs.iter().map(|run| &run.report));
    let mut by_host: BTreeMap<&HostId, Vec<&StoredRun>> = BTreeMap::new();
    for run in runs {
        by_host.entry(&run.report.host.id).or_default().push(run);
    }
    by_host
        .into_iter()
        .filter_map(|(id, mut runs)| {
            runs.sort_by_key(|run| (run.time(), run.report.id));
            let newest = runs.last()?;
            let report = &newest.report;
            Some(HostRow {
                id: id.clone(),
                name: report.host.name.clone(),
                id_source: report.host.id_source,
                profile_id: report.profile.id.clone(),
                profile_name: report.profile.name.clone(),
                runs: count(runs.len()),
                suspect_runs: suspect(&runs),
                partial_runs: partial(&runs),
                last_seen: newest.time(),
                clock: newest.clock_skew(),
                collision: collided.contains(id),
                labels: report.labels.clone(),
            })
        })
        .collect()
}

pub(super) fn seconds<S: Serializer>(
    skew: &Option<Skew>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    skew.map(|skew| skew.behind.as_secs()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::testing;

    fn run(report: fleetmark_proto::report::Report) -> StoredRun {
        StoredRun { received_at: report.ended_at, sent_at: Some(report.ended_at), report }
    }

    #[test]
    fn a_clock_is_that_of_the_newest_run() {
        let mut skewed = run(testing::report("a", &[1]));
        skewed.sent_at = Some(skewed.received_at + 2.hours());
        let rows = hosts(&[skewed.clone(), run(testing::report("b", &[1]))]);
        assert_eq!(rows[0].clock.unwrap().to_string(), "2h ahead");
        assert_eq!(rows[1].clock, None);
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!(json[0]["clock_behind_s"], -7_200);
        assert_eq!(json[1]["clock_behind_s"], serde_json::Value::Null);

        let mut set_right = testing::report("a", &[1]);
        set_right.ended_at += 1.minute();
        assert_eq!(hosts(&[skewed, run(set_right)])[0].clock, None);
    }

    #[test]
    fn partial_runs_are_counted_beside_suspect_ones() {
        let mut partial = testing::report("a", &[1]);
        partial.partial = Some("the agent was stopped".into());
        let runs = [partial, testing::report("a", &[1])].map(run);
        let row = &hosts(&runs)[0];
        assert_eq!((row.runs, row.suspect_runs, row.partial_runs), (2, 0, 1));
        let row = &profiles(&runs)[0];
        assert_eq!((row.runs, row.suspect_runs, row.partial_runs), (2, 0, 1));
    }
}
