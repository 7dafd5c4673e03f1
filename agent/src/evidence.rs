//! What the host does while a run goes on, and whether the run's numbers can be trusted for it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use fleetmark_proto::{
    profile::Millicpus,
    report::{Evidence, Quality, Throttling},
    unit::{Nanos, approximate},
};
use procfs_core::{CpuTime, ExplicitSystemInfo, FromBufReadSI as _, KernelStats};

use crate::{hardware::cgroup, scenario::cpu_bound::kernel};

/// What makes a run suspect. In one place, each with where it comes from.
mod threshold {
    /// Share of CPU time that the hypervisor gave to others. On a quiet host it is 0; from 2% on, the margin within
    /// which two spawners count as equal, it can make a difference of its own.
    pub(super) const STEAL: f64 = 0.02;
    /// How far apart the canaries before and after may be, as a factor. The same kernel was seen to run 57 ms and then
    /// 36 ms on one virtual machine without any other sign; on quiet hosts it stays within a tenth.
    pub(super) const CANARY: f64 = 1.25;
}

/// Rounds of the kernel in one canary: well under a millisecond on any machine of this century.
const CANARY_ROUNDS: u64 = 200_000;
/// Canaries of which the fastest counts: a timer tick or a passing neighbour slows one, a slow host slows all.
const CANARIES: usize = 9;
/// What all of them may take.
const CANARY_BUDGET: Duration = Duration::from_millis(10);

/// What was seen before a run.
#[derive(Debug)]
pub struct Before {
    canary: Option<Nanos>,
    ticks: Option<Ticks>,
    throttling: Option<Throttling>,
}

/// CPU time of all CPUs since the host started, in the kernel's ticks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Ticks {
    all: u64,
    stolen: u64,
}

impl Before {
    /// Looks at the host whose files lie under `root`, right before a run.
    #[must_use]
    pub fn look(root: &Path) -> Self {
        Self { canary: canary(), ticks: ticks(root), throttling: cgroup::throttling(root) }
    }

    /// Looks again, right after the run, and tells what was different.
    #[must_use]
    pub fn after(self, root: &Path, blocking_pool_ended: bool) -> Evidence {
        let stolen = self.ticks.zip(ticks(root)).and_then(|(before, after)| before.stolen(after));
        let throttled = self.throttling.zip(cgroup::throttling(root));
        Evidence {
            canary_before_ns: self.canary,
            canary_after_ns: canary(),
            steal_fraction: stolen,
            throttling: throttled.map(|(before, after)| difference(before, after)),
            blocking_pool_ended,
        }
    }
}

impl Ticks {
    fn of(time: &CpuTime) -> Self {
        let optional = [time.iowait, time.irq, time.softirq, time.steal];
        let known = time.user + time.nice + time.system + time.idle;
        Self {
            all: optional.into_iter().flatten().fold(known, u64::saturating_add),
            stolen: time.steal.unwrap_or(0),
        }
    }

    /// The share of the time until `after` that was stolen; `None` if no time went by.
    fn stolen(self, after: Self) -> Option<f64> {
        let all = after.all.checked_sub(self.all).filter(|&all| all > 0)?;
        let stolen = after.stolen.saturating_sub(self.stolen);
        Some((approximate(stolen) / approximate(all)).min(1.0))
    }
}

/// Reads what `/proc/stat` says of all CPUs together.
fn ticks(root: &Path) -> Option<Ticks> {
    let text = fs::read(root.join("proc/stat")).ok()?;
    // Only the ticks themselves are used, so what a tick is does not matter here.
    let system = ExplicitSystemInfo {
        boot_time_secs: 0,
        ticks_per_second: 100,
        page_size: 4096,
        is_little_endian: true,
    };
    let stats = KernelStats::from_buf_read(text.as_slice(), &system).ok()?;
    Some(Ticks::of(&stats.total))
}

fn difference(before: Throttling, after: Throttling) -> Throttling {
    Throttling {
        periods: after.periods.saturating_sub(before.periods),
        throttled_periods: after.throttled_periods.saturating_sub(before.throttled_periods),
        throttled_ns: Nanos(after.throttled_ns.0.saturating_sub(before.throttled_ns.0)),
    }
}

/// A fixed piece of CPU work, timed on its own.
fn canary() -> Option<Nanos> {
    let begin = Instant::now();
    let mut fastest: Option<Nanos> = None;
    for id in 0..CANARIES {
        if begin.elapsed() > CANARY_BUDGET {
            break;
        }
        let start = Instant::now();
        std::hint::black_box(kernel(fleetmark_proto::unit::count(id), CANARY_ROUNDS));
        let took = Nanos::from(start.elapsed());
        fastest = Some(fastest.map_or(took, |fastest| fastest.min(took)));
    }
    fastest
}

/// What the evidence says of the run. `quota` is the one that throttles, and the cgroup that sets it, where there is one.
#[must_use]
pub fn quality(evidence: &Evidence, quota: Option<(Millicpus, &str)>) -> Quality {
    let mut reasons = Vec::new();
    if let Some(Throttling { periods, throttled_periods, .. }) = evidence.throttling
        && throttled_periods > 0
    {
        let of = quota.map_or_else(
            || "a quota".to_owned(),
            |(cpus, level)| format!("the quota of {cpus} CPUs that cgroup {level} sets"),
        );
        reasons.push(format!(
            "throttled {throttled_periods} of {periods} periods by {of}: give it whole CPUs by affinity instead, or raise it"
        ));
    }
    if let Some(steal) = evidence.steal_fraction
        && steal > threshold::STEAL
    {
        reasons.push(format!(
            "the hypervisor gave {:.1}% of the CPU time to others: measure again when the neighbours are quiet",
            steal * 100.0
        ));
    }
    if let Some((before, after)) = evidence.canary_before_ns.zip(evidence.canary_after_ns) {
        let apart = before.max(after).to_f64() / before.min(after).to_f64().max(1.0);
        if apart > threshold::CANARY {
            reasons.push(format!(
                "the canary took {before} before the run and {after} after it: clock speed or neighbours changed, so measure again"
            ));
        }
    }
    Quality::from_reasons(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Evidence {
        Evidence {
            canary_before_ns: Some(Nanos(400_000)),
            canary_after_ns: Some(Nanos(420_000)),
            steal_fraction: Some(0.001),
            throttling: Some(Throttling {
                periods: 60,
                throttled_periods: 0,
                throttled_ns: Nanos(0),
            }),
            blocking_pool_ended: false,
        }
    }

    #[test]
    fn a_quiet_host_is_clean_and_the_unknown_is_no_reason() {
        assert!(quality(&clean(), None).is_clean());
        assert!(quality(&Evidence::default(), None).is_clean());
    }

    #[test]
    fn each_reason_says_what_to_do() {
        let throttled = Throttling { periods: 60, throttled_periods: 14, throttled_ns: Nanos(1) };
        let suspect = Evidence {
            canary_after_ns: Some(Nanos(300_000)),
            steal_fraction: Some(0.05),
            throttling: Some(throttled),
            ..clean()
        };
        let quality = quality(&suspect, Some((Millicpus(1500), "/batch")));
        assert!(!quality.is_clean());
        let [throttling, steal, canary] = &quality.reasons[..] else { panic!("{quality:?}") };
        assert!(throttling.starts_with("throttled 14 of 60 periods by the quota of 1.5 CPUs"));
        assert!(throttling.contains("/batch"));
        assert!(steal.contains("5.0%"));
        assert!(canary.contains("400 µs") && canary.contains("300 µs"));
    }

    #[test]
    fn steal_is_a_share_of_the_time_that_went_by() {
        let before = Ticks { all: 1_000, stolen: 10 };
        assert_eq!(before.stolen(Ticks { all: 1_200, stolen: 20 }), Some(0.05));
        assert_eq!(before.stolen(before), None);
        assert_eq!(before.stolen(Ticks { all: 900, stolen: 0 }), None, "a clock that went back");
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ticks(folder.path()), None);
        fs::create_dir(folder.path().join("proc")).unwrap();
        let stat = "cpu  100 0 50 800 10 0 5 35 0 0\ncpu0 100 0 50 800 10 0 5 35 0 0\nctxt 1\nbtime 2\nprocesses 3\nprocs_running 1\nprocs_blocked 0\n";
        fs::write(folder.path().join("proc/stat"), stat).unwrap();
        assert_eq!(ticks(folder.path()), Some(Ticks { all: 1_000, stolen: 35 }));
        fs::write(folder.path().join("proc/stat"), "cpu nonsense").unwrap();
        assert_eq!(ticks(folder.path()), None);
    }

    #[test]
    fn the_canary_sings_within_its_budget() {
        assert!(canary().is_some_and(|canary| canary > Nanos(0)));
    }
}
