//! What is in the spool, as a table, JSON, CSV or Markdown.

use fleetmark_proto::{
    id::ReportId,
    shell::{
        grid::{Align, Grid},
        output::Form,
    },
};
use jiff::Timestamp;
use serde::Serialize;

use crate::spool::{Entry, Quarantined};

#[derive(Serialize)]
struct WaitingRow {
    report_id: ReportId,
    made_at: Timestamp,
    bytes: u64,
    state: &'static str,
}

#[derive(Serialize)]
struct QuarantinedRow<'a> {
    name: &'a str,
    report_id: Option<ReportId>,
    bytes: u64,
    reason: &'a str,
}

/// Renders the reports that wait.
///
/// # Errors
///
/// If JSON refuses a value, which does not happen.
pub fn waiting(entries: &[Entry], form: Form) -> Result<String, serde_json::Error> {
    let rows: Vec<WaitingRow> = entries
        .iter()
        .map(|Entry { id, bytes, foreign }| WaitingRow {
            report_id: *id,
            made_at: id.made_at(),
            bytes: *bytes,
            state: if *foreign { "of another version" } else { "waiting" },
        })
        .collect();
    let cells = |row: &WaitingRow| {
        let WaitingRow { report_id, made_at, bytes, state } = row;
        vec![report_id.to_string(), made_at.to_string(), bytes.to_string(), (*state).to_owned()]
    };
    let columns = vec![
        ("report_id", Align::Left),
        ("made_at", Align::LeftAside),
        ("bytes", Align::Right),
        ("state", Align::Left),
    ];
    formed(&rows, columns, cells, form)
}

/// Renders the reports that no collector takes.
///
/// # Errors
///
/// If JSON refuses a value, which does not happen.
pub fn quarantined(records: &[Quarantined], form: Form) -> Result<String, serde_json::Error> {
    let rows: Vec<QuarantinedRow<'_>> = records
        .iter()
        .map(|Quarantined { name, id, bytes, reason }| QuarantinedRow {
            name,
            report_id: *id,
            bytes: *bytes,
            reason,
        })
        .collect();
    let cells = |row: &QuarantinedRow<'_>| {
        vec![row.name.to_owned(), row.bytes.to_string(), row.reason.to_owned()]
    };
    let columns = vec![("name", Align::Left), ("bytes", Align::Right), ("reason", Align::Left)];
    formed(&rows, columns, cells, form)
}

fn formed<T: Serialize>(
    rows: &[T],
    columns: Vec<(&'static str, Align)>,
    cells: impl Fn(&T) -> Vec<String>,
    form: Form,
) -> Result<String, serde_json::Error> {
    let grid = || Grid {
        title: String::new(),
        columns: columns.clone(),
        rows: rows.iter().map(&cells).collect(),
    };
    match form {
        Form::Json => serde_json::to_string_pretty(rows).map(|json| json + "\n"),
        Form::Csv => Ok(grid().csv()),
        Form::People(look) => Ok(look.grid(&grid())),
    }
}
