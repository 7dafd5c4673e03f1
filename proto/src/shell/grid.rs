//! Tables, as both binaries print them.

mod layout;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::screen::Screen;

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

/// How the values of a column stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
    /// Words that judge: on a screen their colour says so, too.
    Verdict,
    /// Words that are left out on a screen that is too narrow for all.
    LeftAside,
    /// Numbers that are left out on a screen that is too narrow for all.
    RightAside,
}

impl Align {
    /// Whether values share their right side.
    #[must_use]
    pub fn is_right(self) -> bool {
        matches!(self, Self::Right | Self::RightAside)
    }

    fn is_aside(self) -> bool {
        matches!(self, Self::LeftAside | Self::RightAside)
    }
}

impl Grid {
    /// For a screen: asides are left out from the left on until the rest fits, and words are broken where that does not suffice.
    #[must_use]
    pub fn text(&self, screen: Screen) -> String {
        layout::text(self, screen)
    }

    /// For a document.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut table = self.table();
        table.load_style(presets::ASCII_MARKDOWN);
        match self.title.as_str() {
            "" => format!("{table}\n"),
            title => format!("### {title}\n\n{table}\n"),
        }
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
            column.set_cell_alignment(match align.is_right() {
                false => CellAlignment::Left,
                true => CellAlignment::Right,
            });
        }
        table
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
        let text = "waiting\nspawner   median\nthread      9 ms\ntokio    10.1 ms\n";
        assert_eq!(grid.text(Screen::default()), text);
        assert_eq!(
            grid.markdown(),
            "### waiting\n\n| spawner |  median |\n|---------|---------|\n| thread  |    9 ms |\n| tokio   | 10.1 ms |\n"
        );
    }
}
