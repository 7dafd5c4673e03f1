//! A report's cells as CSV: a line a cell, plain numbers in nanoseconds.

use fleetmark_proto::{
    report::{Cell, Report},
    series::SeriesKey,
    shell::grid::csv,
    unit::Nanos,
    verdict::Verdict,
};
use serde::Serialize;

#[derive(Serialize)]
struct Line<'a> {
    report_id: String,
    host_id: &'a str,
    profile_id: &'a str,
    quality: &'a str,
    pass: &'a str,
    variant: &'a str,
    metric: &'a str,
    scenario: &'a str,
    spawner: &'a str,
    workload: String,
    units: u64,
    samples: usize,
    median_ns: Option<u64>,
    low_ns: Option<u64>,
    high_ns: Option<u64>,
    confidence: Option<f64>,
    cold_ns: Option<u64>,
    against: Option<&'a str>,
    ratio: Option<f64>,
    verdict: Option<&'a str>,
    failure: Option<String>,
}

/// The cells of a report and those of its passes, with what they belong to. The cells themselves are of no pass.
pub(super) fn cells(report: &Report) -> String {
    let verdicts = report.verdicts();
    let cells = report.cells.iter().map(|cell| {
        let verdict = verdicts.iter().find(|verdict| {
            (verdict.scenario, verdict.spawner) == (cell.key.scenario, cell.key.spawner)
        });
        line(report, cell, None, verdict)
    });
    let series =
        report.series.iter().map(|series| line(report, &series.cell, Some(series.key), None));
    csv(cells.chain(series))
}

fn line<'a>(
    report: &'a Report,
    cell: &'a Cell,
    key: Option<SeriesKey>,
    verdict: Option<&'a Verdict>,
) -> Line<'a> {
    let interval = cell.interval();
    Line {
        report_id: report.id.to_string(),
        host_id: report.host.id.as_str(),
        profile_id: report.profile.id.as_str(),
        quality: report.quality.verdict.name(),
        pass: key.map_or("", |key| key.pass.name()),
        variant: key.map_or("", |key| key.variant.name()),
        metric: key.map_or("elapsed", |key| key.metric.name()),
        scenario: cell.key.scenario.name(),
        spawner: cell.key.spawner.name(),
        workload: cell.workload.to_string(),
        units: cell.units,
        samples: cell.samples_ns.len(),
        median_ns: cell.median().map(|Nanos(nanos)| nanos),
        low_ns: interval.map(|found| found.low_ns.0),
        high_ns: interval.map(|found| found.high_ns.0),
        confidence: interval.map(|found| found.confidence),
        cold_ns: cell.cold_ns.map(|Nanos(nanos)| nanos),
        against: verdict.map(|verdict| verdict.against.name()),
        ratio: verdict.map(|verdict| verdict.ratio),
        verdict: verdict.map(|verdict| verdict.verdict.name()),
        failure: cell.failure.as_ref().map(|failure| failure.kind.to_string()),
    }
}
