//! How views look: as tables, JSON, CSV, Markdown and pages. No I/O; text comes out.

mod advise;
mod compare;
mod csv;
mod export;
mod history;
mod host;
mod html;
mod known;
mod outliers;
mod table;
mod upkeep;

pub use export::{reports, samples};
pub use history::history;
pub use host::host;
pub use known::{agents, audit, created, revocation, tokens};
pub use outliers::outliers;
pub use upkeep::{checked, migrated};

use fleetmark_proto::{
    control::Forgotten,
    shell::{
        grid::{Align, Grid},
        output::Format,
    },
    unit::grouped,
};
use serde::Serialize;

use crate::view::{Advice, Comparison, HostRow, ProfileDiff, ProfileRow, Pruning, Spread, View};

/// A view could not be written in the form that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// JSON refused it.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
    /// The form does not exist for this result.
    #[error("export has the formats json and csv; whole reports have json alone")]
    NoSuchForm,
}

/// Medians per profile.
///
/// # Errors
///
/// If the form refuses a value.
pub fn medians(view: &View, format: Format) -> Result<String, RenderError> {
    match format {
        Format::Json => json(view),
        Format::Csv => Ok(csv::medians(view)),
        Format::Table => Ok(table::medians(view, table::Look::Text)),
        Format::Markdown => Ok(table::medians(view, table::Look::Markdown)),
    }
}

/// Medians per profile as one page for a browser, with where each host stands and what is advised.
#[must_use]
pub fn report(view: &View, spreads: &[Spread], advice: &Advice) -> String {
    html::report(view, spreads, advice)
}

/// Sides compared with the first.
///
/// # Errors
///
/// If the form refuses a value.
pub fn comparison(comparison: &Comparison, format: Format) -> Result<String, RenderError> {
    match format {
        Format::Json => json(comparison),
        Format::Csv => Ok(compare::csv(comparison)),
        Format::Table => Ok(compare::table(comparison, table::Look::Text)),
        Format::Markdown => Ok(compare::table(comparison, table::Look::Markdown)),
    }
}

/// Which spawner for which kind of work.
///
/// # Errors
///
/// If the form refuses a value.
pub fn advice(advice: &Advice, format: Format) -> Result<String, RenderError> {
    match format {
        Format::Json => json(advice),
        Format::Csv => Ok(advise::lines(advice)),
        Format::Table => Ok(advise::people(advice, table::Look::Text)),
        Format::Markdown => Ok(advise::people(advice, table::Look::Markdown)),
    }
}

/// The profiles that are known.
///
/// # Errors
///
/// If the form refuses a value.
pub fn profiles(rows: &[ProfileRow], format: Format) -> Result<String, RenderError> {
    listed(rows, &table::profiles(rows), format)
}

/// What parts two profiles.
///
/// # Errors
///
/// If the form refuses a value.
pub fn profile_diff(diff: &ProfileDiff, format: Format) -> Result<String, RenderError> {
    match format {
        Format::Json => json(diff),
        Format::Csv => Ok(table::facets(diff).csv()),
        Format::Table => Ok(table::profile_diff(diff, table::Look::Text)),
        Format::Markdown => Ok(table::profile_diff(diff, table::Look::Markdown)),
    }
}

/// The hosts that are known.
///
/// # Errors
///
/// If the form refuses a value.
pub fn hosts(rows: &[HostRow], format: Format) -> Result<String, RenderError> {
    listed(rows, &table::hosts(rows), format)
}

/// What was removed from the store.
///
/// # Errors
///
/// If the form refuses a value.
pub fn pruning(pruning: &Pruning, format: Format) -> Result<String, RenderError> {
    listed(pruning, &table::pruning(pruning), format)
}

/// What was removed of a host.
///
/// # Errors
///
/// If the form refuses a value.
pub fn forgotten(forgotten: &Forgotten, format: Format) -> Result<String, RenderError> {
    let Forgotten { id, runs } = forgotten;
    let row = vec![id.to_string(), runs.to_string()];
    let columns = vec![("id", Align::Left), ("runs", Align::Right)];
    match format {
        Format::Table => {
            Ok(format!("host {id} is forgotten: {} runs were removed\n", grouped(*runs)))
        }
        _ => listed(forgotten, &Grid { title: String::new(), columns, rows: vec![row] }, format),
    }
}

/// A list that has one look: its grid's columns are the CSV's too.
fn listed<T: Serialize + ?Sized>(
    rows: &T,
    grid: &Grid,
    format: Format,
) -> Result<String, RenderError> {
    match format {
        Format::Json => json(rows),
        Format::Csv => Ok(grid.csv()),
        Format::Table => Ok(grid.text()),
        Format::Markdown => Ok(grid.markdown()),
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, RenderError> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
