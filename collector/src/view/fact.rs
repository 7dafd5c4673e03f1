//! What is recorded of a host beside what it measured: what of it changed between two runs, and what parts a host from others.

use std::collections::BTreeMap;

use fleetmark_proto::{
    report::{Build, Evidence},
    samples,
    unit::{Nanos, rounded},
};
use serde::Serialize;

use super::{Facet, ProfileLabel};
use crate::store::StoredRun;

/// Those that a run can be grouped by.
const FACETS: [Facet; 8] = [
    Facet::Kernel,
    Facet::Microcode,
    Facet::Tokio,
    Facet::Rustc,
    Facet::AgentVersion,
    Facet::Os,
    Facet::Libc,
    Facet::InstanceType,
];

/// The fact that differs whenever a host has restarted.
pub const BOOT: &str = "boot";

/// A recorded fact that changed between two runs of a host.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Change {
    /// Which.
    pub fact: String,
    /// What it was.
    pub from: String,
    /// What it became.
    pub to: String,
}

/// A recorded fact of a host that is another than most hosts of its group have.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// Which.
    pub fact: String,
    /// What it is on the host.
    pub host: String,
    /// What it is on most others, or the median of theirs.
    pub group: String,
}

/// A fact with what it is.
type Fact = (String, String);

/// What is known; a fact that a host does not show is not there.
fn facts(run: &StoredRun) -> Vec<Fact> {
    let report = &run.report;
    let Build { meter, tokio: _, rustc: _, target, optimisation, allocator, agent_version: _ } =
        &report.build;
    let Evidence { governor, frequency_driver, turbo, .. } = &report.evidence;
    let named = |name: &str, value: Option<String>| Some((name.to_owned(), value?));
    let of_facets = FACETS.iter().map(|facet| (facet.to_string(), facet.of(run)));
    let others = [
        named("meter", Some(meter.to_string())),
        named("target", Some(target.clone())),
        named("optimisation", Some(optimisation.clone())),
        named("allocator", Some(allocator.clone())),
        named("governor", governor.clone()),
        named("frequency driver", frequency_driver.clone()),
        named("turbo", turbo.map(|turbo| if turbo { "on" } else { "off" }.to_owned())),
        named("workers", Some(report.workers.count.to_string())),
        named("profile", Some(ProfileLabel::from(&report.profile).to_string())),
        named(BOOT, report.host.boot_id_hash.clone()),
    ];
    let mitigations = report.system.mitigations.as_deref().unwrap_or_default().lines();
    let mitigations = mitigations.filter_map(|line| line.split_once(": "));
    of_facets
        .filter(|(_, value)| value != super::facet::UNKNOWN)
        .chain(mitigations.map(|(name, value)| (format!("mitigation of {name}"), value.to_owned())))
        .chain(others.into_iter().flatten())
        .collect()
}

/// What changed from one run of a host to a later one. What only one of them shows may have been so before.
pub(super) fn changes(earlier: &StoredRun, later: &StoredRun) -> Vec<Change> {
    let before: BTreeMap<String, String> = facts(earlier).into_iter().collect();
    facts(later)
        .into_iter()
        .filter_map(|(fact, to)| {
            let from = before.get(&fact)?.clone();
            (from != to).then_some(Change { fact, from, to })
        })
        .collect()
}

/// A number of the evidence that may tell why a host is slow.
struct Measure {
    fact: &'static str,
    of: fn(&Evidence) -> Option<f64>,
    /// Whether a host's value is so much worse than the median of the others' that it needs saying.
    is_worse: fn(f64, f64) -> bool,
    shown: fn(f64) -> String,
}

const MEASURES: [Measure; 6] = [
    Measure {
        fact: "frequency",
        of: |evidence| {
            let khz = evidence.frequency_after_khz.or(evidence.frequency_before_khz)?;
            Some(Nanos(khz).to_f64())
        },
        is_worse: |host, group| host < 0.95 * group,
        shown: |khz| format!("{:.2} GHz", khz / 1e6),
    },
    Measure {
        fact: "a million rounds of the kernel on one core",
        of: |evidence| evidence.kernel_time(1_000_000).map(Nanos::to_f64),
        is_worse: |host, group| host > 1.05 * group,
        shown: |nanos| Nanos(rounded(nanos)).to_string(),
    },
    Measure {
        fact: "steal",
        of: |evidence| evidence.steal_fraction,
        is_worse: |host, group| host > group + 0.01,
        shown: |share| format!("{:.1}%", 100.0 * share),
    },
    Measure {
        fact: "CPUs that others used",
        of: |evidence| evidence.others_cpus,
        is_worse: |host, group| host > group + 0.1,
        shown: |cpus| format!("{cpus:.2}"),
    },
    Measure {
        fact: "pressure before",
        of: |evidence| evidence.cpu_pressure_before,
        is_worse: |host, group| host > group + 0.05,
        shown: |share| format!("{:.1}%", 100.0 * share),
    },
    Measure {
        fact: "thermal throttles",
        of: |evidence| evidence.thermal_throttles.map(|times| Nanos(times).to_f64()),
        is_worse: |host, group| host > group,
        shown: |times| format!("{times:.0}"),
    },
];

/// What most hosts of a group have.
pub(super) struct Usual {
    /// Facts that are the same on more than half of them.
    facts: BTreeMap<String, String>,
    /// The median of each measure.
    medians: [Option<f64>; MEASURES.len()],
}

impl Usual {
    /// Of the newest run of each host.
    pub(super) fn of(runs: &[&StoredRun]) -> Self {
        let mut counts: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for (fact, value) in runs.iter().flat_map(|run| facts(run)) {
            *counts.entry(fact).or_default().entry(value).or_default() += 1;
        }
        let most = |values: BTreeMap<String, usize>| {
            values.into_iter().find(|(_, hosts)| 2 * hosts > runs.len()).map(|(value, _)| value)
        };
        let facts =
            counts.into_iter().filter_map(|(fact, values)| Some((fact, most(values)?))).collect();
        let medians = MEASURES.map(|Measure { of, .. }| {
            let values: Vec<f64> = runs.iter().filter_map(|run| of(&run.report.evidence)).collect();
            samples::median_ratio(&values)
        });
        Self { facts, medians }
    }

    /// In what a host's run is not as most, and in which numbers it is worse than the median.
    pub(super) fn differences(&self, run: &StoredRun) -> Vec<Difference> {
        let facts = facts(run).into_iter().filter(|(fact, _)| fact != BOOT);
        let facts = facts.filter_map(|(fact, host)| {
            let group = self.facts.get(&fact)?.clone();
            (group != host).then_some(Difference { fact, host, group })
        });
        let measures = MEASURES.iter().zip(self.medians).filter_map(|(measure, group)| {
            let Measure { fact, of, is_worse, shown } = measure;
            let (host, group) = (of(&run.report.evidence)?, group?);
            let difference =
                || Difference { fact: (*fact).to_owned(), host: shown(host), group: shown(group) };
            is_worse(host, group).then(difference)
        });
        facts.chain(measures).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn run(change: impl FnOnce(&mut fleetmark_proto::report::Report)) -> StoredRun {
        let mut report = testing::report("a", &[1]);
        report.system.kernel = Some("6.12".into());
        report.system.mitigations = Some("l1tf: Not affected\nretbleed: Vulnerable".into());
        report.evidence.steal_fraction = Some(0.0);
        report.evidence.frequency_after_khz = Some(3_000_000);
        change(&mut report);
        StoredRun { received_at: report.ended_at, sent_at: None, report }
    }

    fn words(changes: &[Change]) -> Vec<String> {
        changes.iter().map(|it| format!("{}: {} → {}", it.fact, it.from, it.to)).collect()
    }

    #[test]
    fn what_changed_is_told_and_what_was_not_known_is_not() {
        let earlier = run(|_| {});
        assert_eq!(changes(&earlier, &earlier), []);
        let later = run(|report| {
            report.system.kernel = Some("6.13".into());
            report.system.microcode = Some("0x1".into());
            report.system.mitigations = Some("l1tf: Not affected\nretbleed: Mitigated".into());
            report.build.tokio = "1.55.0".into();
        });
        let expected = [
            "kernel: 6.12 → 6.13",
            "tokio: 1.54.1 → 1.55.0",
            "mitigation of retbleed: Vulnerable → Mitigated",
        ];
        assert_eq!(words(&changes(&earlier, &later)), expected);
    }

    #[test]
    fn a_host_differs_from_most_and_is_worse_than_the_median() {
        let usual = run(|_| {});
        let newer = run(|report| report.system.kernel = Some("6.13".into()));
        let odd = run(|report| {
            report.system.kernel = Some("6.1".into());
            report.host.boot_id_hash = Some("other".into());
            report.evidence.steal_fraction = Some(0.02);
            report.evidence.frequency_after_khz = Some(2_000_000);
        });
        let told: Vec<String> = Usual::of(&[&usual, &usual, &newer])
            .differences(&odd)
            .iter()
            .map(|it| format!("{}: {}, not {}", it.fact, it.host, it.group))
            .collect();
        let expected =
            ["kernel: 6.1, not 6.12", "frequency: 2.00 GHz, not 3.00 GHz", "steal: 2.0%, not 0.0%"];
        assert_eq!(told, expected);
        assert_eq!(
            Usual::of(&[&usual, &newer]).differences(&odd).len(),
            2,
            "no kernel is most hosts'"
        );
        assert_eq!(
            Usual::of(&[&usual, &odd, &usual]).differences(&usual),
            [],
            "better is no reason"
        );
    }
}
