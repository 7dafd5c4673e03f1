//! A report as a table, JSON, CSV or Markdown.

use fleetmark_proto::{
    document::ReportDocument,
    plan::Scenario,
    report::{Cell, Quality, Report},
    samples,
    shell::{
        grid::{Align, Grid, facts_markdown, facts_text},
        output::Format,
    },
    unit::grouped,
    verdict::Verdict,
};

use super::csv;

/// Renders a report.
///
/// # Errors
///
/// If a value cannot be written in the format, which does not happen to valid reports.
pub fn report(report: &Report, format: Format) -> Result<String, serde_json::Error> {
    match format {
        Format::Json => {
            serde_json::to_string_pretty(&ReportDocument::from(report)).map(|json| json + "\n")
        }
        Format::Csv => Ok(csv::cells(report)),
        Format::Table => Ok(people(report, facts_text, Grid::text)),
        Format::Markdown => Ok(people(report, facts_markdown, Grid::markdown)),
    }
}

fn people(
    report: &Report,
    facts_form: fn(&[(&str, String)]) -> String,
    grid_form: fn(&Grid) -> String,
) -> String {
    let verdicts = report.verdicts();
    let mut text = facts_form(&facts(report));
    for scenario in Scenario::ALL {
        let cells: Vec<&Cell> =
            report.cells.iter().filter(|cell| cell.key.scenario == scenario).collect();
        if let Some(first) = cells.first() {
            text.push('\n');
            text.push_str(&grid_form(&grid(report, first, &cells, &verdicts)));
        }
    }
    let notes = notes(report);
    if !notes.is_empty() {
        text.push('\n');
        for note in notes {
            text.push_str(&note);
            text.push('\n');
        }
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
                "{} of {} rounds and a cold one, seed {}, at {}",
                report.id,
                grouped(report.rounds.into()),
                report.seed,
                report.started_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            ),
        ),
        ("quality", quality(&report.quality)),
    ]
}

/// Whether a run can be trusted, and why not.
fn quality(quality: &Quality) -> String {
    if quality.is_clean() {
        return "clean".to_owned();
    }
    format!("suspect: {}", quality.reasons.join("; "))
}

fn grid(report: &Report, first: &Cell, cells: &[&Cell], verdicts: &[Verdict]) -> Grid {
    let row = |cell: &&Cell| {
        let verdict = verdicts.iter().find(|verdict| {
            verdict.scenario == cell.key.scenario && verdict.spawner == cell.key.spawner
        });
        let median = cell.median().map(|median| median.to_string());
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
                .map_or_else(String::new, |found| format!("{} to {}", found.low_ns, found.high_ns)),
            confidence.unwrap_or_default(),
            cell.cold_ns.map_or_else(String::new, |cold| cold.to_string()),
            outcome,
        ]
    };
    Grid {
        title: format!("{}: {}", first.key.scenario, first.workload),
        columns: vec![
            ("spawner", Align::Left),
            ("median", Align::Right),
            ("interval", Align::Right),
            ("confidence", Align::Right),
            ("cold", Align::Right),
            (report.against.against(), Align::Left),
        ],
        rows: cells.iter().map(row).collect(),
    }
}

/// What a reader of the tables must know beside them.
fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let rounds = usize::try_from(report.rounds).unwrap_or(usize::MAX);
    let missing = samples::missing(rounds);
    if missing > 0 {
        notes.push(format!(
            "An interval at 95% needs {missing} more rounds than these {rounds}; what is shown is the range, and how sure it is."
        ));
    }
    if !report.profile.facets.is_complete() {
        notes.push("This host does not show its CPU's model: the profile is incomplete and gets no verdicts.".to_owned());
    }
    if report.evidence.blocking_pool_ended {
        notes.push("The host's thread limit does not hold the blocking pool beside the threads of thread cells: the pool was ended before each of these, and spawn-blocking started its threads anew.".to_owned());
    }
    notes
}
