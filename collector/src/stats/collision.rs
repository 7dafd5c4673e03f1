//! Two machines under one id.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    id::{HostId, ReportId},
    report::Report,
};

/// A run as far as it shows which machine it was on, and when; in microseconds since 1970, by the agent's clock.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Stay<B> {
    /// When it began.
    pub started_us: i64,
    /// The run's report.
    pub id: ReportId,
    /// When it ended.
    pub ended_us: i64,
    /// The boot that it was under.
    pub boot: B,
}

/// The hosts of which two machines claim to be one, as [`is_collision`] has it. Runs that do not show their boot say nothing.
#[must_use]
pub fn collided<'a>(reports: impl IntoIterator<Item = &'a Report>) -> BTreeSet<&'a HostId> {
    let mut by_host: BTreeMap<&HostId, Vec<Stay<&str>>> = BTreeMap::new();
    for report in reports {
        if let Some(boot) = &report.host.boot_id_hash {
            by_host.entry(&report.host.id).or_default().push(Stay {
                started_us: report.started_at.as_microsecond(),
                id: report.id,
                ended_us: report.ended_at.as_microsecond(),
                boot,
            });
        }
    }
    by_host.retain(|_, stays| is_collision(stays));
    by_host.into_keys().collect()
}

/// Whether the runs of one id are of two machines: if it is seen under one boot, then under another, and then under the first
/// again, or if its runs under two boots overlap. A host that merely restarted is seen under each boot once.
#[must_use]
pub fn is_collision<B: Copy + Ord>(stays: &mut [Stay<B>]) -> bool {
    stays.sort_unstable();
    let mut seen = BTreeSet::new();
    stays.windows(2).any(|pair| match pair {
        [earlier, later] if earlier.boot != later.boot => {
            seen.insert(earlier.boot);
            seen.contains(&later.boot) || earlier.ended_us > later.started_us
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::testing;

    /// Runs of one host, a minute apart, each under the boot with this name; `length` is how many seconds each takes.
    fn collides(boots: &[&str], length: i64) -> bool {
        let reports: Vec<_> = (0..)
            .zip(boots)
            .map(|(minute, boot): (i64, &&str)| {
                let mut report = testing::report("a", &[1]);
                report.host.boot_id_hash = Some((*boot).to_owned()).filter(|boot| !boot.is_empty());
                report.started_at += minute.minutes();
                report.ended_at = report.started_at + length.seconds();
                report
            })
            .collect();
        !collided(&reports).is_empty()
    }

    #[test]
    fn a_restart_is_no_collision() {
        assert!(!collides(&["x", "x", "y", "y"], 10));
        assert!(!collides(&["", "x", ""], 10), "the unknown says nothing");
    }

    #[test]
    fn a_boot_that_comes_back_is_one() {
        assert!(collides(&["x", "y", "x"], 10));
    }

    #[test]
    fn overlapping_runs_under_two_boots_are_one() {
        assert!(collides(&["x", "y"], 90));
        assert!(!collides(&["x", "x"], 90), "two agents on one host are not");
    }
}
