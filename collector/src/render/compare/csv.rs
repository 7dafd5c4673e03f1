//! Comparisons for spreadsheets and programs.

use fleetmark_proto::shell::grid;
use serde::Serialize;
use serde_json::Number;

use crate::{
    stats::number,
    view::{BuildView, Compared, Comparison, SideView},
};

/// A line a comparison, in the units that it names.
pub(in crate::render) fn csv(comparison: &Comparison) -> String {
    let base = comparison.sides.first();
    let sides = comparison.sides.iter().skip(1).zip(&comparison.against_base);
    grid::csv(sides.flat_map(|(side, against)| {
        against.builds.iter().flat_map(move |build| {
            let rows = build.cells.iter().chain(&build.derived);
            rows.map(move |row| line(base, side, build, row))
        })
    }))
}

#[derive(Serialize)]
struct Line<'a> {
    a: String,
    b: String,
    build_a: &'a str,
    build_b: &'a str,
    measure: &'a str,
    unit: &'a str,
    scenario: &'a str,
    spawner: &'a str,
    workload: String,
    units: Option<u64>,
    a_median: Option<Number>,
    a_low: Option<Number>,
    a_high: Option<Number>,
    a_confidence: Option<f64>,
    a_hosts: u64,
    b_median: Option<Number>,
    b_low: Option<Number>,
    b_high: Option<Number>,
    b_confidence: Option<f64>,
    b_hosts: u64,
    basis: &'a str,
    ratio: f64,
    low: Option<f64>,
    high: Option<f64>,
    confidence: Option<f64>,
    cliffs_delta: Option<f64>,
    mann_whitney_u: Option<f64>,
    mann_whitney_p: Option<f64>,
    verdict: &'a str,
    needed: Option<u64>,
}

fn line<'a>(
    base: Option<&SideView>,
    side: &SideView,
    build: &'a BuildView,
    row: &'a Compared,
) -> Line<'a> {
    let (verdict, test) = (&row.verdict, row.verdict.mann_whitney);
    Line {
        a: base.map(|base| base.side.to_string()).unwrap_or_default(),
        b: side.side.to_string(),
        build_a: &build.build_a,
        build_b: &build.build_b,
        measure: row.measure.name(),
        unit: row.unit,
        scenario: row.scenario.name(),
        spawner: row.spawner.name(),
        workload: row.workload.to_string(),
        units: row.units,
        a_median: number(verdict.a.median),
        a_low: verdict.a.interval.and_then(|found| number(found.low)),
        a_high: verdict.a.interval.and_then(|found| number(found.high)),
        a_confidence: verdict.a.interval.map(|found| found.confidence),
        a_hosts: verdict.a.hosts,
        b_median: number(verdict.b.median),
        b_low: verdict.b.interval.and_then(|found| number(found.low)),
        b_high: verdict.b.interval.and_then(|found| number(found.high)),
        b_confidence: verdict.b.interval.map(|found| found.confidence),
        b_hosts: verdict.b.hosts,
        basis: verdict.basis.name(),
        ratio: verdict.ratio,
        low: verdict.interval.map(|found| found.low),
        high: verdict.interval.map(|found| found.high),
        confidence: verdict.interval.map(|found| found.confidence),
        cliffs_delta: verdict.cliffs_delta,
        mann_whitney_u: test.map(|test| test.u),
        mann_whitney_p: test.map(|test| test.p),
        verdict: verdict.verdict.name(),
        needed: verdict.needed,
    }
}
