//! A report as a table, JSON, CSV or Markdown.

use fleetmark_proto::{
    document::ReportDocument,
    plan::Scenario,
    report::{Cell, Evidence, Quality, Report},
    series::{Pass, Series},
    shell::{
        grid::{Align, Grid},
        look::Look,
        output::Form,
        passes::{self, Entry, Section},
    },
    unit::{Times, grouped},
    verdict::Verdict,
};

use super::{caveats::caveats, csv};

/// Renders a report.
///
/// # Errors
///
/// If a value cannot be written in the format, which does not happen to valid reports.
pub fn report(report: &Report, form: Form) -> Result<String, serde_json::Error> {
    match form {
        Form::Json => {
            serde_json::to_string_pretty(&ReportDocument::from(report)).map(|json| json + "\n")
        }
        Form::Csv => Ok(csv::cells(report)),
        Form::People(look) => Ok(people(report, look)),
    }
}

fn people(report: &Report, look: Look) -> String {
    let verdicts = report.verdicts();
    let mut text = look.facts(&facts(report));
    for scenario in Scenario::ALL {
        let cells: Vec<&Cell> =
            report.cells.iter().filter(|cell| cell.key.scenario == scenario).collect();
        if let Some(first) = cells.first() {
            text.push('\n');
            text.push_str(&look.grid(&grid(report, first, &cells, &verdicts)));
        }
    }
    for section in sections(report) {
        text.push('\n');
        text.push_str(&section.shown(look));
    }
    let caveats = caveats(report);
    if !caveats.is_empty() {
        text.push_str("\nCaveats, from what was seen here:\n");
        text.push_str(&look.points(&caveats));
    }
    text
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let host = &report.host;
    vec![
        ("host", format!("{} ({})", host.name, host.id)),
        ("profile", format!("{} ({})", report.profile.name, report.profile.id)),
        ("workers", format!("{}: {}", report.workers.count, report.workers.reason)),
        ("build", report.build.key()),
        (
            "run",
            format!(
                "{} of {} rounds{}, seed {}, at {}",
                report.id,
                grouped(report.rounds.into()),
                if article_only(report) { "" } else { " and a cold one" },
                report.seed,
                report.started_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            ),
        ),
        ("quality", quality(&report.quality)),
        ("evidence", evidence(&report.evidence)),
    ]
}

/// Whether the run was the article's crate alone, which has no cold round.
fn article_only(report: &Report) -> bool {
    report.cells.is_empty() && report.series.iter().all(|series| series.key.pass == Pass::Article)
}

/// Whether a run can be trusted, and why not.
fn quality(quality: &Quality) -> String {
    if quality.is_clean() {
        return "clean".to_owned();
    }
    format!("suspect: {}", quality.reasons.join("; "))
}

/// What was seen meanwhile, on one line, and what this host does not show.
fn evidence(evidence: &Evidence) -> String {
    let Evidence { canary_before_ns, canary_after_ns, steal_fraction, throttling, .. } = evidence;
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let canaries = canary_before_ns.zip(*canary_after_ns);
    let clock = evidence.frequency_before_khz.zip(evidence.frequency_after_khz);
    let found: [(&str, Option<String>); 7] = [
        ("canary", canaries.map(|(before, after)| format!("{before} before, {after} after"))),
        ("steal", steal_fraction.map(percent)),
        ("others", evidence.others_cpus.map(|cpus| format!("{cpus:.2} CPUs"))),
        ("pressure before", evidence.cpu_pressure_before.map(percent)),
        ("throttled", throttling.map(|found| format!("{} times", found.throttled_periods))),
        ("heat", evidence.thermal_throttles.map(|times| format!("{times} times"))),
        (
            "clock",
            clock.map(|(before, after)| format!("{} to {} MHz", before / 1000, after / 1000)),
        ),
    ];
    let known =
        found.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    let unknown: Vec<&str> =
        found.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    let mut parts: Vec<String> = known.collect();
    if !unknown.is_empty() {
        parts.push(format!("unknown here: {}", unknown.join(", ")));
    }
    parts.join("; ")
}

fn grid(report: &Report, first: &Cell, cells: &[&Cell], verdicts: &[Verdict]) -> Grid {
    let intervals = cells.iter().filter_map(|cell| cell.interval());
    let ends = intervals.flat_map(|found| [found.low_ns, found.high_ns]);
    let times = Times::of(cells.iter().filter_map(|cell| cell.median()).chain(ends));
    let cold_times = Times::of(cells.iter().filter_map(|cell| cell.cold_ns));
    let row = |cell: &&Cell| {
        let verdict = verdicts.iter().find(|verdict| {
            verdict.scenario == cell.key.scenario && verdict.spawner == cell.key.spawner
        });
        let median = cell.median().map(|median| times.show(median));
        let outcome = match (&cell.failure, verdict) {
            (Some(failure), _) => format!("failed: {}", failure.message),
            (None, Some(verdict)) => verdict.to_string(),
            (None, None) => String::new(),
        };
        let confidence = cell.interval().map(|found| format!("{:.1}%", found.confidence * 100.0));
        vec![
            cell.key.spawner.to_string(),
            median.unwrap_or_else(|| "none".to_owned()),
            cell.interval()
                .map_or_else(String::new, |found| times.range(found.low_ns, found.high_ns)),
            confidence.unwrap_or_default(),
            cell.cold_ns.map_or_else(String::new, |cold| cold_times.show(cold)),
            outcome,
        ]
    };
    Grid {
        title: format!("{}: {}", first.key.scenario, first.workload),
        columns: vec![
            ("spawner", Align::Left),
            ("median", Align::Right),
            ("interval", Align::Right),
            ("confidence", Align::RightAside),
            ("cold", Align::RightAside),
            (report.against.against(), Align::Verdict),
        ],
        rows: cells.iter().map(row).collect(),
    }
}

/// The passes beside the cells, as both binaries print them.
fn sections(report: &Report) -> Vec<Section> {
    let entry = |series: &Series| Entry {
        key: series.key,
        cell: series.cell.key,
        workload: series.cell.workload,
        units: series.cell.units,
        median: series.cell.median(),
        interval: series.cell.interval(),
        worst: series.cell.samples_ns.iter().max().copied(),
        failure: series.cell.failure.as_ref().map(|failure| failure.message.clone()),
    };
    let entries: Vec<Entry> = report.series.iter().map(entry).collect();
    passes::sections(&entries, report.evidence.kernel_time(1_000_000))
}
