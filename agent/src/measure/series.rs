//! From what a pass measured to its series.

use fleetmark_proto::{
    report::Cell,
    series::{Metric, Pass, Series, SeriesKey, Variant},
    unit::Nanos,
};

use super::Measured;
use crate::{
    plan::{Plan, PlannedCell},
    spawner::{Beside, Lateness, Mode, Parts, Task},
};

/// The series of a pass: one for each metric of each of its cells.
#[must_use]
pub fn series(pass: Pass, plan: &Plan, measured: &Measured) -> Vec<Series> {
    let cells = measured.cells.iter().zip(&measured.beside);
    plan.cells
        .iter()
        .zip(cells)
        .flat_map(|(planned, (cell, beside))| of_cell(pass, planned, cell, beside))
        .collect()
}

fn of_cell(pass: Pass, planned: &PlannedCell, cell: &Cell, beside: &[Beside]) -> Vec<Series> {
    let told = |metric, samples_ns: Vec<Nanos>| Series {
        key: SeriesKey { pass, variant: variant(planned.work.mode), metric },
        cell: Cell { samples_ns, cold_ns: None, ..cell.clone() },
    };
    let elapsed = Series {
        key: SeriesKey { pass, variant: variant(planned.work.mode), metric: Metric::Elapsed },
        cell: cell.clone(),
    };
    match (planned.work.mode, planned.work.task) {
        (Mode::Split, _) => {
            let part = |of: fn(&Parts) -> u64| {
                let parts = beside.iter().filter_map(|beside| match beside {
                    Beside::Parts(parts) => Some(Nanos(of(parts))),
                    Beside::Nothing | Beside::Lateness(_) => None,
                });
                parts.collect()
            };
            vec![
                told(Metric::Spawn, part(|parts| parts.spawn_ns)),
                told(Metric::Run, part(|parts| parts.run_ns)),
                told(Metric::Join, part(|parts| parts.join_ns)),
            ]
        }
        (Mode::BesideTicker, _) => {
            let late = |of: fn(&Lateness) -> u64| {
                let lateness = beside.iter().filter_map(|beside| match beside {
                    Beside::Lateness(lateness) => Some(Nanos(of(lateness))),
                    Beside::Nothing | Beside::Parts(_) => None,
                });
                lateness.collect()
            };
            vec![
                elapsed,
                told(Metric::LatenessP99, late(|late| late.p99_ns)),
                told(Metric::LatenessWorst, late(|late| late.worst_ns)),
            ]
        }
        (Mode::Single, Task::Waiting(wait)) => {
            let wait = Nanos::from(wait).0;
            let over = cell.samples_ns.iter().map(|sample| Nanos(sample.0.saturating_sub(wait)));
            vec![told(Metric::Overshoot, over.collect())]
        }
        _ => vec![elapsed],
    }
}

fn variant(mode: Mode) -> Variant {
    match mode {
        Mode::Plain | Mode::BesideTicker => Variant::Plain,
        Mode::FromWorker => Variant::FromWorker,
        Mode::Vector => Variant::Vector,
        Mode::ColdPool => Variant::ColdPool,
        Mode::Single => Variant::Single,
        Mode::Split => Variant::Split,
    }
}
