//! The runs that came last.

use fleetmark_proto::{report::QualityVerdict, unit::count};
use jiff::Timestamp;

use super::{HostLabel, ProfileLabel};
use crate::store::StoredRun;

/// A run, and when it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// When the collector took it.
    pub received_at: Timestamp,
    /// Whose it is.
    pub host: HostLabel,
    /// What that is.
    pub profile: ProfileLabel,
    /// Whether it can be trusted.
    pub quality: QualityVerdict,
    /// Why not.
    pub reasons: Vec<String>,
    /// Why it ended before its plan did.
    pub partial: Option<String>,
    /// Cells that failed.
    pub failed_cells: u64,
}

impl From<&StoredRun> for Arrival {
    fn from(run: &StoredRun) -> Self {
        let report = &run.report;
        Self {
            received_at: run.received_at,
            host: HostLabel::from(report),
            profile: ProfileLabel::from(&report.profile),
            quality: report.quality.verdict,
            reasons: report.quality.reasons.clone(),
            partial: report.partial.clone(),
            failed_cells: count(report.cells.iter().filter(|it| it.failure.is_some()).count()),
        }
    }
}

/// As many of these runs as came last, the newest first.
#[must_use]
pub fn arrivals<'a>(runs: impl IntoIterator<Item = &'a StoredRun>, most: usize) -> Vec<Arrival> {
    let mut all: Vec<&StoredRun> = runs.into_iter().collect();
    all.sort_by_key(|run| std::cmp::Reverse((run.received_at, run.report.id)));
    all.into_iter().take(most).map(Arrival::from).collect()
}

/// What there is to choose from in a form: the first of each, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Choices {
    /// Names of profiles.
    pub profiles: Vec<String>,
    /// What a side of a comparison may be.
    pub sides: Vec<String>,
}

impl Choices {
    /// Of these runs.
    #[must_use]
    pub fn of(runs: &[StoredRun]) -> Self {
        /// Longer lists help nobody.
        const MOST: usize = 100;
        let mut profiles = std::collections::BTreeSet::new();
        let mut others = std::collections::BTreeSet::new();
        for run in runs {
            let report = &run.report;
            profiles.insert(report.profile.name.clone());
            others.extend(report.system.kernel.iter().map(|kernel| format!("kernel={kernel}")));
            others.insert(format!("tokio={}", report.build.tokio));
            let labels = report.labels.iter().take(8);
            others.extend(labels.map(|(key, value)| format!("label.{key}={value}")));
        }
        let profiles: Vec<String> = profiles.into_iter().take(MOST).collect();
        let sides = profiles.iter().cloned().chain(others).take(2 * MOST).collect();
        Self { profiles, sides }
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::testing;

    #[test]
    fn what_came_last_comes_first_whenever_it_was_measured() {
        let run = |host: &str, came: i64| {
            let report = testing::report(host, &[1, 2, 3]);
            let received_at = report.ended_at + came.minutes();
            StoredRun { report, received_at, sent_at: None }
        };
        let runs = [run("late", 9), run("early", 1), run("middle", 5)];
        let hosts: Vec<String> =
            arrivals(&runs, 2).iter().map(|it| it.host.id.to_string()).collect();
        assert_eq!(hosts, ["late", "middle"]);
        let choices = Choices::of(&runs);
        assert_eq!(choices.profiles.len(), 1);
        assert_eq!(choices.sides[1..], ["label.rack=7", "tokio=1.54.1"]);
    }
}
