//! Cells and series.

use super::super::check::{
    Checked, at_most, duration, in_range, known, optional_duration, optional_in_range, present,
    unspecified, within,
};
use crate::{
    invalid::Invalid,
    limits,
    plan::{Amount, CellKey, Scenario, Spawner, Workload},
    report::{Cell, Failure, FailureKind, Usage},
    series::{Metric, Pass, Series, SeriesKey, Variant},
    unit::Nanos,
    v1,
};

/// Whether a run came to the end of its plan. Cells of a partial one may lack samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Extent {
    Whole,
    Partial,
}

/// One cell of a run with this many rounds.
pub(super) fn cell(wire: v1::Cell, rounds: u32, extent: Extent) -> Checked<Cell> {
    let rounds = usize::try_from(rounds).unwrap_or(usize::MAX);
    let complete = wire.failure.is_none() && extent == Extent::Whole;
    match wire.samples_ns.len() {
        samples if complete && samples != rounds => {
            Err(Invalid::new("samples_ns", "must have one a round"))
        }
        samples if samples > rounds => Err(Invalid::new("samples_ns", "has more than one a round")),
        _ => any_cell(wire, extent),
    }
}

/// One series; a pass has its own number of rounds.
pub(super) fn series(wire: v1::Series, extent: Extent) -> Checked<Series> {
    let v1::Series { pass, variant, metric, cell } = wire;
    let cell = within("cell", present(cell).and_then(|wire| any_cell(wire, extent)))?;
    Ok(Series {
        key: SeriesKey {
            pass: match known("pass", pass)? {
                v1::Pass::Unspecified => return Err(unspecified("pass")),
                v1::Pass::Article => Pass::Article,
                v1::Pass::Grain => Pass::Grain,
                v1::Pass::Neighbours => Pass::Neighbours,
                v1::Pass::Diagnose => Pass::Diagnose,
            },
            variant: match known("variant", variant)? {
                v1::Variant::Unspecified => return Err(unspecified("variant")),
                v1::Variant::Plain => Variant::Plain,
                v1::Variant::FromWorker => Variant::FromWorker,
                v1::Variant::Vector => Variant::Vector,
                v1::Variant::ColdPool => Variant::ColdPool,
                v1::Variant::Single => Variant::Single,
                v1::Variant::Split => Variant::Split,
            },
            metric: match known("metric", metric)? {
                v1::Metric::Unspecified => return Err(unspecified("metric")),
                v1::Metric::Elapsed => Metric::Elapsed,
                v1::Metric::LatenessP99 => Metric::LatenessP99,
                v1::Metric::LatenessWorst => Metric::LatenessWorst,
                v1::Metric::Spawn => Metric::Spawn,
                v1::Metric::Run => Metric::Run,
                v1::Metric::Join => Metric::Join,
                v1::Metric::Overshoot => Metric::Overshoot,
            },
        },
        cell,
    })
}

fn any_cell(wire: v1::Cell, extent: Extent) -> Checked<Cell> {
    let v1::Cell {
        scenario: of,
        spawner: with,
        workload: asked,
        units,
        samples_ns,
        cold_ns,
        median_ns,
        failure: wrong,
        threads_reached,
        usage: used,
    } = wire;
    let key = CellKey {
        scenario: within("scenario", scenario(of))?,
        spawner: within("spawner", spawner(with))?,
    };
    if !key.exists() {
        return Err(Invalid::new("spawner", format!("there is no cell {key}")));
    }
    let failure = wrong.map(|wire| within("failure", failure(wire))).transpose()?;
    if samples_ns.len() > usize::try_from(limits::ROUNDS).unwrap_or(usize::MAX) {
        return Err(Invalid::new("samples_ns", "has more than any run has rounds"));
    }
    let samples_ns = samples_ns
        .into_iter()
        .map(|sample| duration("samples_ns", sample))
        .collect::<Checked<_>>()?;
    let cell = Cell {
        key,
        workload: within("workload", present(asked).and_then(|wire| workload(wire, key.scenario)))?,
        units: in_range("units", units, 1..=limits::UNITS)?,
        samples_ns,
        cold_ns: optional_duration("cold_ns", cold_ns)?,
        failure,
        threads_reached: optional_in_range("threads_reached", threads_reached, 0..=limits::UNITS)?,
        usage: used.map(|wire| within("usage", usage(wire))).transpose()?,
    };
    if extent == Extent::Whole && cell.failure.is_none() && cell.median().is_none() {
        return Err(Invalid::new("samples_ns", "must not be empty"));
    }
    if median_ns.map(Nanos) != cell.median() {
        return Err(Invalid::new("median_ns", "is not the median of samples_ns"));
    }
    Ok(cell)
}

fn workload(wire: v1::Workload, scenario: Scenario) -> Checked<Workload> {
    use v1::workload::Amount as Wire;
    let v1::Workload { amount, wait_ns, kernel_rounds, workers } = wire;
    let units = |units| in_range("units", units, 1..=limits::UNITS);
    if wait_ns.is_some() != (scenario == Scenario::Waiting) {
        return Err(Invalid::new("wait_ns", "must be set exactly for waiting cells"));
    }
    if kernel_rounds.is_some() != (scenario == Scenario::CpuBound) {
        return Err(Invalid::new("kernel_rounds", "must be set exactly for cpu-bound cells"));
    }
    Ok(Workload {
        amount: match amount {
            None => return Err(Invalid::new("units", "must be set, or units_per_worker")),
            Some(Wire::Units(amount)) => Amount::Units(units(amount)?),
            Some(Wire::UnitsPerWorker(amount)) => Amount::UnitsPerWorker(units(amount)?),
        },
        wait_ns: optional_duration("wait_ns", wait_ns)?,
        kernel_rounds: optional_in_range(
            "kernel_rounds",
            kernel_rounds,
            0..=limits::KERNEL_ROUNDS,
        )?,
        workers: optional_in_range("workers", workers, 1..=limits::CPUS)?,
    })
}

pub(super) fn usage(wire: v1::Usage) -> Checked<Usage> {
    let v1::Usage { user_ns, system_ns, voluntary_switches, involuntary_switches } = wire;
    // All CPUs together use more than one clock shows.
    let most = Nanos::from(limits::DURATION).0.saturating_mul(limits::CPUS.into());
    Ok(Usage {
        user_ns: Nanos(in_range("user_ns", user_ns, 0..=most)?),
        system_ns: Nanos(in_range("system_ns", system_ns, 0..=most)?),
        voluntary_switches,
        involuntary_switches,
    })
}

fn failure(wire: v1::Failure) -> Checked<Failure> {
    let v1::Failure { kind, message } = wire;
    let kind = match known("kind", kind)? {
        v1::FailureKind::Unspecified => return Err(unspecified("kind")),
        v1::FailureKind::Deadline => FailureKind::Deadline,
        v1::FailureKind::LimitedThreads => FailureKind::LimitedThreads,
        v1::FailureKind::WrongChecksum => FailureKind::WrongChecksum,
        v1::FailureKind::Panic => FailureKind::Panic,
        v1::FailureKind::ChildDied => FailureKind::ChildDied,
    };
    Ok(Failure { kind, message: at_most("message", message, limits::LONG_TEXT_BYTES)? })
}

fn scenario(wire: i32) -> Checked<Scenario> {
    match known("", wire)? {
        v1::Scenario::Unspecified => Err(unspecified("")),
        v1::Scenario::SpawnOverhead => Ok(Scenario::SpawnOverhead),
        v1::Scenario::Waiting => Ok(Scenario::Waiting),
        v1::Scenario::CpuBound => Ok(Scenario::CpuBound),
    }
}

pub(super) fn spawner(wire: i32) -> Checked<Spawner> {
    match known("", wire)? {
        v1::Spawner::Unspecified => Err(unspecified("")),
        v1::Spawner::Thread => Ok(Spawner::Thread),
        v1::Spawner::Tokio => Ok(Spawner::Tokio),
        v1::Spawner::SpawnBlocking => Ok(Spawner::SpawnBlocking),
        v1::Spawner::Rayon => Ok(Spawner::Rayon),
    }
}
