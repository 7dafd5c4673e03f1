//! How views look: as tables, JSON, CSV, Markdown and pages. No I/O; text comes out.

mod advise;
mod compare;
mod csv;
mod export;
mod history;
mod host;
mod known;
mod outliers;
mod table;
mod upkeep;

pub mod html;

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
        look::Look,
        output::Form,
    },
    unit::grouped,
};
use serde::Serialize;

use crate::view::{Advice, Comparison, HostRow, ProfileDiff, ProfileRow, Pruning, View};

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
pub fn medians(view: &View, form: Form) -> Result<String, RenderError> {
    match form {
        Form::Json => json(view),
        Form::Csv => Ok(csv::medians(view)),
        Form::People(look) => Ok(table::medians(view, look)),
    }
}

/// Sides compared with the first.
///
/// # Errors
///
/// If the form refuses a value.
pub fn comparison(comparison: &Comparison, form: Form) -> Result<String, RenderError> {
    match form {
        Form::Json => json(comparison),
        Form::Csv => Ok(compare::csv(comparison)),
        Form::People(look) => Ok(compare::table(comparison, look)),
    }
}

/// Which spawner for which kind of work.
///
/// # Errors
///
/// If the form refuses a value.
pub fn advice(advice: &Advice, form: Form) -> Result<String, RenderError> {
    match form {
        Form::Json => json(advice),
        Form::Csv => Ok(advise::lines(advice)),
        Form::People(look) => Ok(advise::people(advice, look)),
    }
}

/// The profiles that are known.
///
/// # Errors
///
/// If the form refuses a value.
pub fn profiles(rows: &[ProfileRow], form: Form) -> Result<String, RenderError> {
    listed(rows, &table::profiles(rows), form)
}

/// What parts two profiles.
///
/// # Errors
///
/// If the form refuses a value.
pub fn profile_diff(diff: &ProfileDiff, form: Form) -> Result<String, RenderError> {
    match form {
        Form::Json => json(diff),
        Form::Csv => Ok(table::facets(diff).csv()),
        Form::People(look) => Ok(table::profile_diff(diff, look)),
    }
}

/// The hosts that are known.
///
/// # Errors
///
/// If the form refuses a value.
pub fn hosts(rows: &[HostRow], form: Form) -> Result<String, RenderError> {
    listed(rows, &table::hosts(rows), form)
}

/// What was removed from the store.
///
/// # Errors
///
/// If the form refuses a value.
pub fn pruning(pruning: &Pruning, form: Form) -> Result<String, RenderError> {
    listed(pruning, &table::pruning(pruning), form)
}

/// What was removed of a host.
///
/// # Errors
///
/// If the form refuses a value.
pub fn forgotten(forgotten: &Forgotten, form: Form) -> Result<String, RenderError> {
    let Forgotten { id, runs } = forgotten;
    let row = vec![id.to_string(), runs.to_string()];
    let columns = vec![("id", Align::Left), ("runs", Align::Right)];
    match form {
        Form::People(Look::Text(_)) => {
            Ok(format!("host {id} is forgotten: {} runs were removed\n", grouped(*runs)))
        }
        _ => listed(forgotten, &Grid { title: String::new(), columns, rows: vec![row] }, form),
    }
}

/// A list that has one look: its grid's columns are the CSV's too.
fn listed<T: Serialize + ?Sized>(rows: &T, grid: &Grid, form: Form) -> Result<String, RenderError> {
    match form {
        Form::Json => json(rows),
        Form::Csv => Ok(grid.csv()),
        Form::People(look) => Ok(look.grid(grid)),
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, RenderError> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
