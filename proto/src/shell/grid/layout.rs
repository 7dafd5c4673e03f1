//! A table on a screen.

use unicode_width::UnicodeWidthStr as _;

use super::{Align, Grid};
use crate::shell::{
    screen::{Screen, Tone},
    wrap,
};

/// Characters between two columns.
const GAP: usize = 2;
/// No column of words is made narrower.
const LEAST: usize = 16;

/// A column that is shown: which, and how wide.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Shown {
    index: usize,
    align: Align,
    width: usize,
}

pub(super) fn text(grid: &Grid, screen: Screen) -> String {
    let columns = fitting(grid, screen.width);
    let mut text = String::new();
    if !grid.title.is_empty() {
        let title = wrap::sentences(&grid.title, screen.width);
        text.extend(title.iter().map(|line| screen.toned(Tone::Title, line) + "\n"));
    }
    let names: Vec<String> = grid.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    text.push_str(&row(&columns, &names, |_, words| screen.toned(Tone::Name, words)));
    for values in &grid.rows {
        let tone = |align, whole: &str| match align {
            Align::Verdict => Tone::of(whole),
            _ => Tone::Plain,
        };
        let toned = |column: Shown, words: &str| {
            let whole = values.get(column.index).map_or("", String::as_str);
            screen.toned(tone(column.align, whole), words)
        };
        text.push_str(&row(&columns, values, toned));
    }
    text
}

/// The columns that fit, or that must be there, with words as narrow as they have to be.
fn fitting(grid: &Grid, width: usize) -> Vec<Shown> {
    let natural = |(index, (name, align)): (usize, &(&str, Align))| {
        let values = grid.rows.iter().filter_map(|row| row.get(index));
        let lines = values.flat_map(|value| value.lines()).chain([*name]);
        Shown { index, align: *align, width: lines.map(str::width).max().unwrap_or(0) }
    };
    let mut columns: Vec<Shown> = grid.columns.iter().enumerate().map(natural).collect();
    let mut left_out = Vec::new();
    while whole(&columns) > width {
        let Some(aside) = columns.iter().position(|column| column.align.is_aside()) else { break };
        left_out.push(columns.remove(aside));
    }
    // A narrow one may fit where a wide one behind it did not.
    for aside in left_out.into_iter().rev() {
        if whole(&columns) + aside.width + GAP <= width {
            let place = columns.partition_point(|column| column.index < aside.index);
            columns.insert(place, aside);
        }
    }
    while whole(&columns) > width {
        let words = columns.iter_mut().filter(|column| !column.align.is_right());
        let Some(widest) = words.max_by_key(|column| column.width) else { break };
        if widest.width <= LEAST {
            break;
        }
        widest.width -= 1;
    }
    columns
}

/// How wide a line is.
fn whole(columns: &[Shown]) -> usize {
    columns.iter().map(|column| column.width + GAP).sum::<usize>().saturating_sub(GAP)
}

/// One row, on as many lines as its longest words take.
fn row(columns: &[Shown], values: &[String], toned: impl Fn(Shown, &str) -> String) -> String {
    let cell = |column: &Shown| {
        let value = values.get(column.index).map_or("", String::as_str);
        value.lines().flat_map(|line| wrap::value(line, column.width)).collect::<Vec<_>>()
    };
    let cells: Vec<Vec<String>> = columns.iter().map(cell).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let line = |number: usize| {
        let mut line = String::new();
        let mut gap = 0;
        for (column, lines) in columns.iter().zip(&cells) {
            let words = lines.get(number).map_or("", String::as_str);
            let rest = column.width.saturating_sub(words.width());
            let (before, behind) = if column.align.is_right() { (rest, 0) } else { (0, rest) };
            // What would only be space at the end of the line is left away.
            if !words.is_empty() {
                line.push_str(&" ".repeat(gap + before));
                line.push_str(&toned(*column, words));
                gap = behind + GAP;
            } else {
                gap += column.width + GAP;
            }
        }
        // Some words bring spaces of their own.
        line.trim_end().to_owned() + "\n"
    };
    (0..height).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let row = |values: [&str; 5]| values.map(str::to_owned).to_vec();
        Grid {
            title: "cells".into(),
            columns: vec![
                ("spawner", Align::Left),
                ("median", Align::Right),
                ("confidence", Align::RightAside),
                ("against thread", Align::Verdict),
                ("time", Align::LeftAside),
            ],
            rows: vec![
                row(["thread", "70.9 ms", "96.5%", "", "████"]),
                row(["tokio", "580 µs", "96.5%", "122× faster, each host by itself", "▏"]),
            ],
        }
    }

    fn at(width: usize) -> String {
        grid().text(Screen { width, color: false })
    }

    #[test]
    fn all_is_there_where_there_is_room() {
        let text = "cells
spawner   median  confidence  against thread                    time
thread   70.9 ms       96.5%                                    ████
tokio     580 µs       96.5%  122× faster, each host by itself  ▏
";
        assert_eq!(at(80), text);
        assert_eq!(at(68), text, "it just fits");
    }

    #[test]
    fn asides_go_first_and_then_words_are_broken() {
        let without_one = "cells
spawner   median  against thread                    time
thread   70.9 ms                                    ████
tokio     580 µs  122× faster, each host by itself  ▏
";
        assert_eq!(at(67), without_one);
        let broken = "cells
spawner   median  against thread
thread   70.9 ms
tokio     580 µs  122× faster, each host
                  by itself
";
        assert_eq!(at(40), broken);
    }

    #[test]
    fn numbers_are_whole_at_any_width() {
        assert!(at(1).contains("70.9 ms"));
        assert!(at(1).contains("thread"));
    }

    #[test]
    fn verdicts_have_the_colour_of_their_words() {
        let text = grid().text(Screen { width: 40, color: true });
        assert!(text.starts_with("\u{1b}[1mcells\u{1b}[0m\n\u{1b}[2mspawner\u{1b}[0m"), "{text:?}");
        // Both lines of the verdict.
        assert_eq!(text.matches("\u{1b}[32m").count(), 2, "{text:?}");
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, at(40), "colours take no room");
    }
}
