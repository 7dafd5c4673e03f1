//! The hardware as a table, JSON, CSV or Markdown.

use fleetmark_proto::{
    document::ProfileDocument,
    profile::Profile,
    report::{System, Workers},
    shell::{
        grid::{Align, Grid, facts_markdown, facts_text},
        output::Format,
    },
};
use serde::Serialize;

use crate::hardware::{Fact, Hardware};

/// What was detected, and the profile that it gives.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    profile: ProfileDocument,
    key: String,
    complete: bool,
    workers: Workers,
    system: &'a System,
    facts: &'a [Fact],
}

/// Renders the hardware. With `explain`, facts that are unknown are shown too.
///
/// # Errors
///
/// If JSON refuses a value, which does not happen to detected hardware.
pub fn hardware(
    hardware: &Hardware,
    explain: bool,
    format: Format,
) -> Result<String, serde_json::Error> {
    let instance_type = hardware.system.instance_type.as_deref();
    let profile = Profile::new(hardware.facets.clone(), instance_type);
    let key = hardware.facets.key();
    let workers = hardware.workers(None);
    let summary = vec![
        ("profile", format!("{} ({})", profile.name, profile.id)),
        ("key", key.clone()),
        ("workers", format!("{}: {}", workers.count, workers.reason)),
    ];
    match format {
        Format::Json => {
            let document = Document {
                schema: "fleetmark.hardware/1",
                profile: ProfileDocument::from(&profile),
                key,
                complete: profile.facets.is_complete(),
                workers,
                system: &hardware.system,
                facts: &hardware.facts,
            };
            serde_json::to_string_pretty(&document).map(|json| json + "\n")
        }
        Format::Csv => Ok(grid(&hardware.facts, explain, whole).csv()),
        Format::Table => {
            let grid = grid(&hardware.facts, explain, shortened);
            Ok(format!("{}\n{}", facts_text(&summary), grid.text()))
        }
        Format::Markdown => {
            let grid = grid(&hardware.facts, explain, whole);
            Ok(format!("{}\n{}", facts_markdown(&summary), grid.markdown()))
        }
    }
}

fn grid(facts: &[Fact], explain: bool, form: fn(&str) -> String) -> Grid {
    let shown = facts.iter().filter(|fact| explain || fact.value.is_some());
    let row = |fact: &Fact| {
        let value = fact.value.as_deref().unwrap_or("unknown");
        vec![fact.name.to_owned(), form(value), fact.source.clone()]
    };
    Grid {
        title: String::new(),
        columns: vec![("fact", Align::Left), ("value", Align::Left), ("read from", Align::Left)],
        rows: shown.map(row).collect(),
    }
}

/// A value as it is.
fn whole(value: &str) -> String {
    value.to_owned()
}

/// A value that leaves room for the column after it: the list of mitigations alone has a thousand characters.
fn shortened(value: &str) -> String {
    const WIDEST: usize = 48;
    if value.chars().count() <= WIDEST {
        return value.to_owned();
    }
    value.chars().take(WIDEST - 1).chain(['…']).collect()
}
