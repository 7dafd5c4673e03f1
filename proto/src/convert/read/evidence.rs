//! What the host did meanwhile.

use super::{
    super::check::{
        Checked, optional_duration, optional_in_range, optional_number, optional_text, within,
    },
    cell::usage,
};
use crate::{
    invalid::Invalid,
    limits,
    report::{Evidence, Throttling},
    unit::Nanos,
    v1,
};

pub(super) fn evidence(wire: v1::Evidence) -> Checked<Evidence> {
    let v1::Evidence {
        canary_before_ns,
        canary_after_ns,
        steal_fraction,
        throttling,
        blocking_pool_ended,
        others_cpus,
        procs_running_before,
        procs_running_after,
        cpu_pressure_before,
        cpu_pressure_during,
        thermal_throttles,
        frequency_before_khz,
        frequency_after_khz,
        governor,
        frequency_driver,
        turbo,
        usage: used,
        peak_memory_bytes,
        peak_threads,
        other_run,
    } = wire;
    let share = |field: &str, share| optional_number(field, share, 1.0);
    let throttled = |wire: v1::Throttling| {
        let v1::Throttling { periods, throttled_periods, throttled_ns } = wire;
        if throttled_periods > periods {
            return Err(Invalid::new("throttling.throttled_periods", "is over throttling.periods"));
        }
        Ok(Throttling { periods, throttled_periods, throttled_ns: Nanos(throttled_ns) })
    };
    Ok(Evidence {
        canary_before_ns: optional_duration("canary_before_ns", canary_before_ns)?,
        canary_after_ns: optional_duration("canary_after_ns", canary_after_ns)?,
        steal_fraction: share("steal_fraction", steal_fraction)?,
        throttling: throttling.map(throttled).transpose()?,
        blocking_pool_ended,
        others_cpus: optional_number("others_cpus", others_cpus, f64::from(limits::CPUS))?,
        procs_running_before,
        procs_running_after,
        cpu_pressure_before: share("cpu_pressure_before", cpu_pressure_before)?,
        cpu_pressure_during: share("cpu_pressure_during", cpu_pressure_during)?,
        thermal_throttles,
        frequency_before_khz,
        frequency_after_khz,
        governor: optional_text("governor", governor)?,
        frequency_driver: optional_text("frequency_driver", frequency_driver)?,
        turbo,
        usage: used.map(|wire| within("usage", usage(wire))).transpose()?,
        peak_memory_bytes: optional_in_range(
            "peak_memory_bytes",
            peak_memory_bytes,
            0..=limits::MEMORY_BYTES,
        )?,
        peak_threads: optional_in_range("peak_threads", peak_threads, 0..=limits::UNITS)?,
        other_run,
    })
}
