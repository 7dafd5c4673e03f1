//! The hardware as a table, JSON, CSV or Markdown.

use fleetmark_proto::{
    document::ProfileDocument,
    profile::Profile,
    report::{System, Workers},
    shell::{
        grid::{Align, Grid},
        look::Look,
        output::Form,
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
    form: Form,
) -> Result<String, serde_json::Error> {
    let instance_type = hardware.system.instance_type.as_deref();
    let profile = Profile::new(hardware.facets.clone(), instance_type);
    let key = hardware.facets.key();
    let workers = hardware.workers(None);
    let summary = |key: String| {
        vec![
            ("profile", format!("{} ({})", profile.name, profile.id)),
            ("key", key),
            ("workers", format!("{}: {}", workers.count, workers.reason)),
        ]
    };
    match form {
        Form::Json => {
            let document = Document {
                schema: "fleetmark.hardware/1",
                profile: ProfileDocument::from(&profile),
                key,
                complete: profile.facets.is_complete(),
                workers: workers.clone(),
                system: &hardware.system,
                facts: &hardware.facts,
            };
            serde_json::to_string_pretty(&document).map(|json| json + "\n")
        }
        Form::Csv => Ok(grid(&hardware.facts, explain, Cells::Whole).csv()),
        Form::People(look) => {
            let cells = match look {
                Look::Text(_) => Cells::Short,
                Look::Markdown => Cells::Whole,
            };
            let grid = look.grid(&grid(&hardware.facts, explain, cells));
            let legend = match explain && cells == Cells::Short {
                true => look.sentences(&[LEGEND.to_owned()]),
                false => String::new(),
            };
            let apart = if legend.is_empty() { "" } else { "\n" };
            Ok(format!("{}\n{grid}{apart}{legend}", look.facts(&summary(key))))
        }
    }
}

const LEGEND: &str = "Hosts that differ in a fact that is in the key have different profiles.";

/// How values stand in their cells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cells {
    /// As they are.
    Whole,
    /// Cut, where they would take more than a few lines.
    Short,
}

impl Cells {
    fn cell(self, text: &str) -> String {
        /// The list of mitigations alone has a thousand characters; JSON, CSV and Markdown have them all.
        const MOST: usize = 120;
        match text.char_indices().nth(MOST) {
            Some((end, _)) if self == Self::Short => {
                let shown = text.get(..end).unwrap_or_default();
                // Not in the middle of a word.
                format!("{} …", shown.rsplit_once(' ').map_or(shown, |(words, _)| words))
            }
            _ => text.to_owned(),
        }
    }
}

fn grid(facts: &[Fact], explain: bool, cells: Cells) -> Grid {
    let shown = facts.iter().filter(|fact| explain || fact.value.is_some());
    let row = |fact: &Fact| {
        let value = cells.cell(fact.value.as_deref().unwrap_or("unknown"));
        let source = cells.cell(&fact.source);
        let in_key = match (fact.in_key, cells) {
            (true, _) => "yes",
            (false, Cells::Whole) => "no",
            // In the eye of a reader, a column of two words hides what a column of one shows.
            (false, Cells::Short) => "",
        };
        let mut row = vec![fact.name.to_owned(), value, source];
        if explain {
            row.insert(2, in_key.to_owned());
        }
        row
    };
    let mut columns =
        vec![("fact", Align::Left), ("value", Align::Left), ("read from", Align::Left)];
    if explain {
        columns.insert(2, ("in key", Align::Left));
    }
    Grid { title: String::new(), columns, rows: shown.map(row).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_end_in_an_ellipsis() {
        let long = "word ".repeat(30);
        assert_eq!(Cells::Short.cell(&long), format!("{}…", "word ".repeat(24)));
        assert_eq!(Cells::Whole.cell(&long), long);
        assert_eq!(Cells::Short.cell("a b c d e"), "a b c d e");
    }
}
