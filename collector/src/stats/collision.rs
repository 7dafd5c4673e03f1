//! Two machines under one id.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{id::HostId, report::Report};

/// The hosts of which two machines claim to be one: an id that is seen under one boot, then under another, and then
/// under the first again, or whose runs under two boots overlap. A host that merely restarted is seen under each boot
/// once. Runs that do not show their boot say nothing.
#[must_use]
pub fn collided<'a>(reports: impl IntoIterator<Item = &'a Report>) -> BTreeSet<&'a HostId> {
    let mut by_host: BTreeMap<&HostId, Vec<&Report>> = BTreeMap::new();
    for report in reports {
        if report.host.boot_id_hash.is_some() {
            by_host.entry(&report.host.id).or_default().push(report);
        }
    }
    by_host.retain(|_, runs| {
        runs.sort_by_key(|run| (run.started_at, run.id));
        let mut seen = BTreeSet::new();
        runs.windows(2).any(|pair| match pair {
            [earlier, later] if earlier.host.boot_id_hash != later.host.boot_id_hash => {
                seen.insert(&earlier.host.boot_id_hash);
                seen.contains(&later.host.boot_id_hash) || earlier.ended_at > later.started_at
            }
            _ => false,
        })
    });
    by_host.into_keys().collect()
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
