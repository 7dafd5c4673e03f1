//! How views look: as tables, JSON, CSV, Markdown and pages. No I/O; text comes out.

mod advise;
mod csv;
mod html;
mod known;
mod table;

pub use known::{agents, audit, created, revocation, tokens};

use fleetmark_proto::shell::{grid::Grid, output::Format};
use serde::Serialize;

use crate::view::{Advice, ExportedRun, HostRow, ProfileDiff, ProfileRow, Pruning, Spread, View};

/// A view could not be written in the form that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// JSON refused it.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
    /// The form does not exist for this result.
    #[error("export has the formats json and csv")]
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

/// Every run with its raw samples: JSON with all there is, or CSV with a line a sample.
///
/// # Errors
///
/// If the form is neither, or refuses a value.
pub fn export(runs: &[ExportedRun], format: Format) -> Result<String, RenderError> {
    match format {
        Format::Json => json(runs),
        Format::Csv => Ok(csv::samples(runs)),
        Format::Table | Format::Markdown => Err(RenderError::NoSuchForm),
    }
}

/// What was removed from the store.
///
/// # Errors
///
/// If the form refuses a value.
pub fn pruning(pruning: &Pruning, format: Format) -> Result<String, RenderError> {
    listed(pruning, &table::pruning(pruning), format)
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
