//! Tables, as both binaries print them.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// A table under a title.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grid {
    /// What the table is of; may be empty.
    pub title: String,
    /// Names of the columns, with how they are aligned.
    pub columns: Vec<(&'static str, Align)>,
    /// Values, one a column in each row.
    pub rows: Vec<Vec<String>>,
}

/// Which side the values of a column share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

impl Grid {
    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = self.table();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        let lines = table.to_string();
        let lines: Vec<&str> = lines.lines().map(str::trim_end).collect();
        self.titled("", &lines.join("\n"))
    }

    /// For a document.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut table = self.table();
        table.load_style(presets::ASCII_MARKDOWN);
        self.titled("### ", &format!("\n{table}"))
    }

    /// For programs: the names of the columns, then the values.
    #[must_use]
    pub fn csv(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        csv(std::iter::once(names).chain(self.rows.iter().cloned()))
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.set_header(self.columns.iter().map(|(name, _)| *name));
        table.add_rows(&self.rows);
        for (column, (_, align)) in table.column_iter_mut().zip(&self.columns) {
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        table
    }

    fn titled(&self, mark: &str, body: &str) -> String {
        if self.title.is_empty() {
            return format!("{}\n", body.trim_start_matches('\n'));
        }
        format!("{mark}{}\n{body}\n", self.title)
    }
}

/// Lines of CSV. Anything that serializes to a record will do; structs give a line of their fields' names first.
#[must_use]
pub fn csv<T: Serialize>(lines: impl Iterator<Item = T>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        // Writing into memory does not fail, and all lines have the fields of the first.
        let _ = writer.serialize(line);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Facts under each other, their names aligned, for a terminal.
#[must_use]
pub fn facts_text(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    facts.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// Facts as a list, for a document.
#[must_use]
pub fn facts_markdown(facts: &[(&str, String)]) -> String {
    facts.iter().map(|(name, value)| format!("- **{name}**: {value}\n")).collect()
}

/// Lines below a table, on a terminal.
#[must_use]
pub fn lines_text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The same in a document, where they keep their columns.
#[must_use]
pub fn lines_markdown(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!("\n```text\n{}```\n", lines_text(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_end_in_a_newline() {
        let grid = Grid {
            title: "waiting".into(),
            columns: vec![("spawner", Align::Left), ("median", Align::Right)],
            rows: vec![
                vec!["thread".into(), "9 ms".into()],
                vec!["tokio".into(), "10.1 ms".into()],
            ],
        };
        assert_eq!(
            grid.text(),
            "waiting\n spawner   median\n thread      9 ms\n tokio    10.1 ms\n"
        );
        assert_eq!(
            grid.markdown(),
            "### waiting\n\n| spawner |  median |\n|---------|---------|\n| thread  |    9 ms |\n| tokio   | 10.1 ms |\n"
        );
    }

    #[test]
    fn facts_are_aligned() {
        let facts = [("host", "a".to_owned()), ("profile", "b".to_owned())];
        assert_eq!(facts_text(&facts), "host     a\nprofile  b\n");
        assert_eq!(facts_markdown(&facts), "- **host**: a\n- **profile**: b\n");
    }
}
