//! What was done with a store, and what was found in it.

use std::fmt::Write as _;

use fleetmark_proto::{
    shell::{
        grid::{Align, Grid},
        look::Look,
        output::Form,
    },
    unit::{count, grouped},
};

use super::{RenderError, listed};
use crate::store::rollup::{Checked, Migrated};

/// What bringing a store up to date came to.
///
/// # Errors
///
/// If the form refuses a value.
pub fn migrated(migrated: &Migrated, form: Form) -> Result<String, RenderError> {
    let Migrated { from, to, rolled_up, damaged } = migrated;
    if matches!(form, Form::People(Look::Text(_))) {
        let schema = match from == to {
            true => format!("the store is of schema {to}, as before"),
            false => format!("the store was of schema {from}, and is of schema {to} now"),
        };
        let rollups = match rolled_up {
            0 => String::new(),
            runs => format!("; rollups were made of {} runs", grouped(*runs)),
        };
        let damaged = match damaged {
            0 => String::new(),
            runs => format!(
                "; {} more could not be read and are in none, as `store check` tells",
                grouped(*runs)
            ),
        };
        return Ok(format!("{schema}{rollups}{damaged}\n"));
    }
    let columns = vec![
        ("from", Align::Right),
        ("to", Align::Right),
        ("rolled_up", Align::Right),
        ("damaged", Align::Right),
    ];
    let row = [i128::from(*from), i128::from(*to), i128::from(*rolled_up), i128::from(*damaged)];
    let row = row.map(|number| number.to_string()).to_vec();
    listed(migrated, &Grid { title: String::new(), columns, rows: vec![row] }, form)
}

/// What a check found: as a table each difference in a line, and what was looked at in the last.
///
/// # Errors
///
/// If the form refuses a value.
pub fn checked(checked: &Checked, form: Form) -> Result<String, RenderError> {
    let Checked { hosts, runs, values, differences } = checked;
    if matches!(form, Form::People(Look::Text(_))) {
        let mut text = String::new();
        for line in differences {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        }
        let (hosts, runs, values) = (grouped(*hosts), grouped(*runs), grouped(*values));
        let result = match differences.len() {
            0 => "rollups say the same as the runs".to_owned(),
            more => format!("{} differences", grouped(count(more))),
        };
        let _ = writeln!(text, "checked {hosts} hosts, {runs} runs, {values} values: {result}");
        return Ok(text);
    }
    let columns = vec![("difference", Align::Left)];
    let rows = differences.iter().map(|line| vec![line.clone()]).collect();
    listed(checked, &Grid { title: String::new(), columns, rows }, form)
}
