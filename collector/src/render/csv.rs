//! CSV for spreadsheets and programs: one line of column names, then plain numbers in nanoseconds.

use fleetmark_proto::{id::ProfileId, series::SeriesKey, shell::grid::csv, unit::Nanos};
use serde::Serialize;

use crate::view::{CellView, ProfileView, VerdictView, View};

/// A line a cell with its verdict, then a line a series. The cells themselves are of no pass.
pub(super) fn medians(view: &View) -> String {
    csv(view.profiles.iter().flat_map(|profile| {
        let cells = profile.cells.iter().map(|cell| {
            let of_cell = |found: &&VerdictView| {
                (found.verdict.scenario, found.verdict.spawner) == (cell.scenario, cell.spawner)
                    && (found.workload, found.units) == (cell.workload, cell.units)
                    && found.build == cell.build
            };
            let verdict = profile.verdicts.iter().find(of_cell);
            line(profile, cell, None, verdict)
        });
        let series =
            profile.series.iter().map(|series| line(profile, &series.cell, Some(series.key), None));
        cells.chain(series).collect::<Vec<_>>()
    }))
}

#[derive(Serialize)]
struct Line<'a> {
    profile_id: Option<&'a str>,
    profile_name: &'a str,
    pass: &'a str,
    variant: &'a str,
    metric: &'a str,
    scenario: &'a str,
    spawner: &'a str,
    workload: String,
    units: u64,
    build: &'a str,
    median_ns: Option<u64>,
    low_ns: Option<u64>,
    high_ns: Option<u64>,
    confidence: Option<f64>,
    hosts: u64,
    samples: u64,
    suspect_left_out: u64,
    partial_left_out: u64,
    against: Option<&'a str>,
    ratio: Option<f64>,
    verdict: Option<&'a str>,
    verdict_hosts: Option<u64>,
    verdict_agree: Option<u64>,
}

fn line<'a>(
    profile: &'a ProfileView,
    cell: &'a CellView,
    key: Option<SeriesKey>,
    found: Option<&'a VerdictView>,
) -> Line<'a> {
    let verdict = found.map(|found| &found.verdict);
    Line {
        profile_id: profile.id.as_ref().map(ProfileId::as_str),
        profile_name: &profile.name,
        pass: key.map_or("", |key| key.pass.name()),
        variant: key.map_or("", |key| key.variant.name()),
        metric: key.map_or("elapsed", |key| key.metric.name()),
        scenario: cell.scenario.name(),
        spawner: cell.spawner.name(),
        workload: cell.workload.to_string(),
        units: cell.units,
        build: &cell.build,
        median_ns: cell.median_ns.map(|Nanos(nanos)| nanos),
        low_ns: cell.interval.map(|found| found.low_ns.0),
        high_ns: cell.interval.map(|found| found.high_ns.0),
        confidence: cell.interval.map(|found| found.confidence),
        hosts: cell.hosts,
        samples: cell.samples,
        suspect_left_out: cell.suspect_left_out,
        partial_left_out: cell.partial_left_out,
        against: verdict.map(|verdict| verdict.against.name()),
        ratio: verdict.map(|verdict| verdict.ratio),
        verdict: verdict.map(|verdict| verdict.verdict.name()),
        verdict_hosts: found.map(|found| found.hosts),
        verdict_agree: found.map(|found| found.agree),
    }
}
