//! What the host does while a run goes on, and whether the run's numbers can be trusted for it.

mod moment;
mod others;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use fleetmark_proto::{
    profile::Millicpus,
    report::{CANARY_ROUNDS, Evidence, Quality, Throttling},
    unit::{Nanos, approximate},
};

use crate::{measure::Measured, scenario::cpu_bound::kernel};
use moment::Moment;
pub use moment::{Clock, allowed_cpus, recent_pressure};
pub use others::Others;

/// What makes a run suspect, and what is found before one. In one place, each with where it comes from.
pub(crate) mod threshold {
    use std::time::Duration;

    /// Share of CPU time that the hypervisor gave to others. On a quiet host it is 0; from 2% on, the margin within
    /// which two spawners count as equal, it can make a difference of its own.
    pub(crate) const STEAL: f64 = 0.02;
    /// How far apart the canaries before and after may be, as a factor. The same kernel was seen to run 57 ms and then
    /// 36 ms on one virtual machine without any other sign; on quiet hosts it stays within a tenth.
    pub(crate) const CANARY: f64 = 1.25;
    /// CPUs that other programs may use beyond those to spare, as a share of the CPUs that the run may use. Background
    /// services of an idle server take 1 to 3%; a tenth of the CPUs shifts CPU-bound medians by as much.
    pub(crate) const OTHERS: f64 = 0.10;
    /// Over less time than this, ticks of 10 ms do not tell who used a CPU.
    pub(crate) const OTHERS_AT_LEAST: Duration = Duration::from_secs(1);
    /// Share of the last ten seconds in which some thread waited for a CPU, from which on a host is busy. An idle one
    /// shows under 1%; one with as many busy threads as CPUs, some tens.
    pub(crate) const PRESSURE: f64 = 0.10;
    /// The load average a CPU from which on a host is busy that does not show its pressure: half of its CPUs.
    pub(crate) const LOAD: f64 = 0.5;
}

/// Canaries of which the fastest counts: a timer tick or a passing neighbour slows one, a slow host slows all.
const CANARIES: usize = 9;
/// What all of them may take.
const CANARY_BUDGET: Duration = Duration::from_millis(10);

/// What was seen before a run.
#[derive(Debug)]
pub struct Before {
    canary: Option<Nanos>,
    moment: Moment,
    other_run: bool,
}

impl Before {
    /// Looks at the host whose files lie under `root`, right before a run. `other_run` is whether another one goes on.
    #[must_use]
    pub fn look(root: &Path, other_run: bool) -> Self {
        Self { canary: canary(), moment: Moment::look(root), other_run }
    }

    /// Looks again, right after all passes of the run, and tells what was different.
    #[must_use]
    pub fn after(self, root: &Path, measured: &[Measured]) -> Evidence {
        let Self { canary: canary_before_ns, moment: before, other_run } = self;
        let after = Moment::look(root);
        let both = |of: fn(&Moment) -> Option<u64>| of(&before).zip(of(&after));
        let clock = Clock::look(root);
        let usage = measured.iter().filter_map(|pass| pass.usage).reduce(|mut all, pass| {
            all += pass;
            all
        });
        let cells = measured.iter().flat_map(|pass| &pass.cells);
        Evidence {
            canary_before_ns,
            canary_after_ns: canary(),
            steal_fraction: before
                .ticks
                .zip(after.ticks)
                .and_then(|(before, after)| before.stolen(after)),
            throttling: before
                .throttling
                .zip(after.throttling)
                .map(|(before, after)| difference(before, after)),
            blocking_pool_ended: measured.iter().any(|pass| pass.blocking_pool_ended),
            others_cpus: others_cpus(&before, &after),
            procs_running_before: before.procs_running,
            procs_running_after: after.procs_running,
            cpu_pressure_before: before.pressure.map(|pressure| pressure.recent),
            cpu_pressure_during: pressure_during(&before, &after),
            thermal_throttles: both(|moment| moment.thermal_throttles)
                .map(|(before, after)| after.saturating_sub(before)),
            frequency_before_khz: before.frequency_khz,
            frequency_after_khz: after.frequency_khz,
            governor: clock.governor,
            frequency_driver: clock.driver,
            turbo: clock.turbo,
            usage,
            peak_memory_bytes: measured.iter().filter_map(|pass| pass.peak_memory_bytes).max(),
            peak_threads: cells.filter_map(|cell| cell.threads_reached).max(),
            other_run,
        }
    }
}

/// The CPUs that neither this process nor its children used, of those that were busy.
fn others_cpus(before: &Moment, after: &Moment) -> Option<f64> {
    let time = after.at.duration_since(before.at);
    let busy = before.ticks.zip(after.ticks).and_then(|(before, after)| before.busy_cpus(after))?;
    let (own, children) = before.own.zip(after.own).map(|(before, after)| {
        let used = |now: Nanos, then: Nanos| now.0.saturating_sub(then.0);
        (
            used(after.0.cpu_time(), before.0.cpu_time()),
            used(after.1.cpu_time(), before.1.cpu_time()),
        )
    })?;
    if time < threshold::OTHERS_AT_LEAST {
        return None;
    }
    let ours = approximate(own.saturating_add(children)) / Nanos::from(time).to_f64();
    Some((busy - ours).max(0.0))
}

fn pressure_during(before: &Moment, after: &Moment) -> Option<f64> {
    let (then, now) = before.pressure.zip(after.pressure)?;
    let waited = Duration::from_micros(now.total_us.saturating_sub(then.total_us));
    let time = after.at.duration_since(before.at);
    (!time.is_zero()).then(|| (waited.as_secs_f64() / time.as_secs_f64()).min(1.0))
}

fn difference(before: Throttling, after: Throttling) -> Throttling {
    Throttling {
        periods: after.periods.saturating_sub(before.periods),
        throttled_periods: after.throttled_periods.saturating_sub(before.throttled_periods),
        throttled_ns: Nanos(after.throttled_ns.0.saturating_sub(before.throttled_ns.0)),
    }
}

/// [`CANARY_ROUNDS`] of the kernel, timed on their own: the fastest of a few, within 10 ms in all.
#[must_use]
pub fn canary() -> Option<Nanos> {
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

/// Of what a run had to do with, what judging it needs beside the evidence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// The quota that throttles, and the cgroup that sets it.
    pub quota: Option<(Millicpus, &'a str)>,
    /// How many CPUs the run could use at once.
    pub usable_cpus: u32,
    /// How many CPUs it was allowed to choose them from; `None` where the host does not say.
    pub allowed_cpus: Option<u32>,
}

/// What the evidence says of the run.
#[must_use]
pub fn quality(evidence: &Evidence, place: &Place<'_>) -> Quality {
    let reasons = [
        throttled(evidence, place),
        stolen(evidence),
        canaries_apart(evidence),
        shared(evidence, place),
        heated(evidence),
        evidence.other_run.then(|| {
            "another fleetmark run went on when this one began: measure again when it is done"
                .to_owned()
        }),
    ];
    Quality::from_reasons(reasons.into_iter().flatten().collect())
}

fn throttled(evidence: &Evidence, place: &Place<'_>) -> Option<String> {
    let Throttling { periods, throttled_periods, .. } = evidence.throttling?;
    let of = place.quota.map_or_else(
        || "a quota".to_owned(),
        |(cpus, level)| format!("the quota of {cpus} CPUs that cgroup {level} sets"),
    );
    (throttled_periods > 0).then(|| format!(
        "throttled {throttled_periods} of {periods} periods by {of}: give it whole CPUs by affinity instead, or raise it"
    ))
}

fn stolen(evidence: &Evidence) -> Option<String> {
    let steal = evidence.steal_fraction.filter(|&steal| steal > threshold::STEAL)?;
    Some(format!(
        "the hypervisor gave {:.1}% of the CPU time to others: measure again when the neighbours are quiet",
        steal * 100.0
    ))
}

fn canaries_apart(evidence: &Evidence) -> Option<String> {
    let (before, after) = evidence.canary_before_ns.zip(evidence.canary_after_ns)?;
    let apart = before.max(after).to_f64() / before.min(after).to_f64().max(1.0);
    (apart > threshold::CANARY).then(|| format!(
        "the canary took {before} before the run and {after} after it: clock speed or neighbours changed, so measure again"
    ))
}

/// Other programs on the run's CPUs. Under a quota the run uses some CPUs of many, and those that it leaves are to spare.
fn shared(evidence: &Evidence, place: &Place<'_>) -> Option<String> {
    let others = evidence.others_cpus?;
    let usable = f64::from(place.usable_cpus.max(1));
    let spare = place.allowed_cpus.map_or(0.0, |allowed| (f64::from(allowed) - usable).max(0.0));
    (others > spare + usable * threshold::OTHERS).then(|| format!(
        "other programs used {others:.1} CPUs meanwhile, with {} to share: stop them, or measure when they are quiet",
        place.allowed_cpus.unwrap_or(place.usable_cpus)
    ))
}

fn heated(evidence: &Evidence) -> Option<String> {
    let times = evidence.thermal_throttles.filter(|&times| times > 0)?;
    Some(format!(
        "cores were slowed for heat {times} times: see to the cooling, then measure again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quiet host with two CPUs, as one was captured.
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
            others_cpus: Some(0.05),
            thermal_throttles: Some(0),
            ..Evidence::default()
        }
    }

    const PLACE: Place<'_> = Place { quota: None, usable_cpus: 2, allowed_cpus: Some(2) };

    fn only_reason(evidence: &Evidence, place: &Place<'_>) -> String {
        let quality = quality(evidence, place);
        let [reason] = &quality.reasons[..] else { panic!("{quality:?}") };
        reason.clone()
    }

    #[test]
    fn a_quiet_host_is_clean_and_the_unknown_is_no_reason() {
        assert!(quality(&clean(), &PLACE).is_clean());
        assert!(quality(&Evidence::default(), &Place::default()).is_clean());
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
        let place = Place { quota: Some((Millicpus(1500), "/batch")), ..PLACE };
        let quality = quality(&suspect, &place);
        assert!(!quality.is_clean());
        let [throttling, steal, canary] = &quality.reasons[..] else { panic!("{quality:?}") };
        assert!(throttling.starts_with("throttled 14 of 60 periods by the quota of 1.5 CPUs"));
        assert!(throttling.contains("/batch"));
        assert!(steal.contains("5.0%"));
        assert!(canary.contains("400 µs") && canary.contains("300 µs"));
    }

    #[test]
    fn heat_and_other_runs_are_reasons() {
        let hot = Evidence { thermal_throttles: Some(3), ..clean() };
        assert!(only_reason(&hot, &PLACE).contains("3 times"));
        let other = Evidence { other_run: true, ..clean() };
        assert!(only_reason(&other, &PLACE).contains("another fleetmark run"));
    }

    #[test]
    fn others_count_where_they_take_what_the_run_could_use() {
        let busy = Evidence { others_cpus: Some(1.0), ..clean() };
        assert!(only_reason(&busy, &PLACE).starts_with("other programs used 1.0 CPUs"));
        let with_room = Place { allowed_cpus: Some(8), ..PLACE };
        assert!(quality(&busy, &with_room).is_clean(), "a quota of 2 on 8 CPUs");
        let full = Evidence { others_cpus: Some(6.5), ..clean() };
        assert!(!quality(&full, &with_room).is_clean());
    }

    #[test]
    fn the_canary_sings_within_its_budget() {
        assert!(canary().is_some_and(|canary| canary > Nanos(0)));
    }
}
