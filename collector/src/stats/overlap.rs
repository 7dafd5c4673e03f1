//! Runs that went on at the same time on one machine.

use std::collections::BTreeMap;

use fleetmark_proto::report::{Quality, Report};

/// What is said of such a run.
const REASON: &str = "another run went on at the same time on the same machine, perhaps in another container: measure one after the other";

/// Marks runs suspect that shared their machine: those of one boot whose times overlap, whichever hosts they are of.
/// Agents in two containers cannot see each other; a collector that has both their reports can.
pub fn mark_overlaps<'a>(reports: impl IntoIterator<Item = &'a mut Report>) {
    let mut by_boot: BTreeMap<String, Vec<&mut Report>> = BTreeMap::new();
    for report in reports {
        if let Some(boot) = &report.host.boot_id_hash {
            by_boot.entry(boot.clone()).or_default().push(report);
        }
    }
    for mut runs in by_boot.into_values() {
        // Those that took no time come first among runs that began at once: nothing went on meanwhile.
        runs.sort_by_key(|run| (began(run), ended(run), run.id));
        let mut latest: Option<&mut Report> = None;
        for run in runs {
            latest = Some(match latest.take() {
                Some(before) if began(run) < ended(before) => {
                    mark(before);
                    mark(run);
                    if ended(run) > ended(before) { run } else { before }
                }
                _ => run,
            });
        }
    }
}

/// In microseconds, as a store keeps times.
fn began(report: &Report) -> i64 {
    report.started_at.as_microsecond()
}

fn ended(report: &Report) -> i64 {
    report.ended_at.as_microsecond()
}

fn mark(report: &mut Report) {
    let reasons = &mut report.quality.reasons;
    if !reasons.iter().any(|reason| reason == REASON) {
        reasons.push(REASON.to_owned());
        report.quality = Quality::from_reasons(std::mem::take(reasons));
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::testing;

    /// Which of these runs are marked: each under a boot, from one second to another.
    fn marked(runs: &[(&str, i64, i64)]) -> Vec<bool> {
        let begin = jiff::Timestamp::now();
        let mut reports: Vec<Report> = runs
            .iter()
            .enumerate()
            .map(|(host, (boot, from, to))| {
                let mut report = testing::report(&format!("h{host}"), &[1]);
                report.host.boot_id_hash = Some((*boot).to_owned()).filter(|boot| !boot.is_empty());
                report.started_at = begin + from.seconds();
                report.ended_at = begin + to.seconds();
                report
            })
            .collect();
        mark_overlaps(&mut reports);
        reports.iter().map(|report| !report.quality.is_clean()).collect()
    }

    #[test]
    fn runs_one_after_the_other_are_clean() {
        assert_eq!(marked(&[("x", 0, 5), ("x", 5, 9)]), [false, false]);
        assert_eq!(marked(&[("x", 0, 5), ("y", 1, 4)]), [false, false], "two machines");
        assert_eq!(marked(&[("", 0, 5), ("", 1, 4)]), [false, false], "the unknown says nothing");
    }

    #[test]
    fn all_that_overlap_are_suspect() {
        assert_eq!(marked(&[("x", 0, 5), ("x", 4, 9), ("x", 9, 12)]), [true, true, false]);
        let long = marked(&[("x", 0, 20), ("x", 1, 2), ("x", 3, 4), ("x", 19, 30), ("x", 30, 31)]);
        assert_eq!(long, [true, true, true, true, false]);
    }

    #[test]
    fn a_reason_is_given_once() {
        let mut reports = vec![testing::report("a", &[1]), testing::report("b", &[1])];
        for report in &mut reports {
            report.ended_at = report.started_at + 9.seconds();
        }
        mark_overlaps(&mut reports);
        mark_overlaps(&mut reports);
        assert_eq!(reports[0].quality.reasons, [REASON]);
    }
}
