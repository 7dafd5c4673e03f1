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
    let summary = |key: String| {
        vec![
            ("profile", format!("{} ({})", profile.name, profile.id)),
            ("key", key),
            ("workers", format!("{}: {}", workers.count, workers.reason)),
        ]
    };
    match format {
        Format::Json => {
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
        Format::Csv => Ok(grid(&hardware.facts, explain, Look::Whole).csv()),
        Format::Table => {
            // Under the longest name, so that the names stay alone in their column.
            let key = wrapped(&key, KEY_WIDTH).join("\n         ");
            let grid = grid(&hardware.facts, explain, Look::Narrow);
            let legend = if explain { LEGEND } else { "" };
            Ok(format!("{}\n{}{legend}", facts_text(&summary(key)), grid.text()))
        }
        Format::Markdown => {
            let grid = grid(&hardware.facts, explain, Look::Whole);
            Ok(format!("{}\n{}", facts_markdown(&summary(key)), grid.markdown()))
        }
    }
}

/// How wide the key may be; with the names before it, a line of a hundred characters.
const KEY_WIDTH: usize = 91;
const LEGEND: &str = "\nHosts that differ in a fact that is in the key have different profiles.\n";

/// How values stand in their cells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Look {
    /// As they are.
    Whole,
    /// So that all columns stand within a hundred characters.
    Narrow,
}

impl Look {
    fn cell(self, text: &str, width: usize) -> String {
        /// The list of mitigations alone has a thousand characters; JSON, CSV and Markdown have them all.
        const MOST_LINES: usize = 4;
        if self == Self::Whole {
            return text.to_owned();
        }
        let mut lines = wrapped(text, width);
        if lines.len() > MOST_LINES {
            lines.truncate(MOST_LINES);
            lines.push("…".to_owned());
        }
        lines.join("\n")
    }
}

fn grid(facts: &[Fact], explain: bool, look: Look) -> Grid {
    let shown = facts.iter().filter(|fact| explain || fact.value.is_some());
    let row = |fact: &Fact| {
        let value = look.cell(fact.value.as_deref().unwrap_or("unknown"), 30);
        let source = look.cell(&fact.source, 42);
        let in_key = match (fact.in_key, look) {
            (true, _) => "yes",
            (false, Look::Whole) => "no",
            // In the eye of a reader, a column of two words hides what a column of one shows.
            (false, Look::Narrow) => "",
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

/// Text in lines of at most `width` characters, broken after spaces and slashes, and elsewhere only where it must be.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive([' ', '/']) {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let line_chars = lines.last().map_or(0, |line| line.chars().count());
            // A space at the end of a line takes no room.
            let needed = rest.iter().rposition(|c| *c != ' ').map_or(0, |last| last + 1);
            if line_chars > 0 && line_chars + needed > width {
                lines.push(String::new());
                continue;
            }
            let fits = if needed > width { width } else { rest.len() };
            let tail = rest.split_off(fits);
            if let Some(line) = lines.last_mut() {
                line.extend(rest);
            }
            rest = tail;
        }
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_broken_where_it_may_be() {
        let lines = |text: &str| wrapped(text, 12);
        assert_eq!(lines(""), [""]);
        assert_eq!(lines("short"), ["short"]);
        assert_eq!(lines("twelve chars"), ["twelve chars"]);
        assert_eq!(lines("twelve chars and more"), ["twelve chars", "and more"]);
        assert_eq!(lines("/sys/devices/system/cpu"), ["/sys/", "devices/", "system/cpu"]);
        assert_eq!(lines("a é0123456789abcdef b"), ["a", "é0123456789a", "bcdef b"]);
        assert_eq!(wrapped("ab", 1), ["a", "b"]);
    }

    #[test]
    fn long_lists_end_in_an_ellipsis() {
        assert_eq!(Look::Narrow.cell("a b c d", 1), "a\nb\nc\nd");
        assert_eq!(Look::Narrow.cell("a b c d e", 1), "a\nb\nc\nd\n…");
        assert_eq!(Look::Whole.cell("a b c d e", 1), "a b c d e");
    }
}
