//! Sides of a fleet compared with the first of them.

use fleetmark_proto::{
    shell::grid::{Align, Grid},
    unit::count,
};
use maud::{Markup, html};

use super::{
    chart::{self, Ratio, Told},
    page::{self, Links, Page},
};
use crate::{
    render::compare::{
        build_fact, derived, facts, grid, hardware, intervals, measured, reading, same_table,
        side_words, unresolved, words,
    },
    view::{AgainstBase, BuildView, Compared, Comparison, SideView},
};

/// Sides compared with the first.
#[must_use]
pub fn compare(comparison: &Comparison, links: Links) -> Page {
    let title = "fleetmark comparison".to_owned();
    let holds = format!(
        "{}, {}",
        page::many(count(comparison.sides.len()), "side"),
        page::many(comparison.comparisons, "comparison")
    );
    let body = html! {
        (page::top(&title, &holds, comparison.generated_at, &page::asked(&comparison.filter)))
        main {
            dl { @for side in &comparison.sides { (one_side(side, links)) } }
            @for against in &comparison.against_base { (section(against)) }
            section aria-labelledby="reading" {
                h2 #reading { "How to read this" }
                p { (reading(comparison).join(" ")) }
                p {
                    "A side is " em { "faster" } " or " em { "slower" } " than A if the whole interval of the ratio lies more than \
                     2% off, a " em { "tie" } " if it lies within 5%, and otherwise " em { "unresolved" } ". Of rates and of \
                     efficiency more is better, of all else less."
                }
            }
        }
    };
    Page { title, body }
}

fn one_side(side: &SideView, links: Links) -> Markup {
    html! {
        dt { (side.letter) }
        dd {
            (side_words(side))
            // Not every side can be asked of a report.
            @if let (Some(query), Links::Dashboard(_)) = (side.side.query(), links) {
                @let query: Vec<(&str, &str)> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
                " " (links.to("/report", &query, "report"))
            }
        }
    }
}

fn section(against: &AgainstBase) -> Markup {
    let letter = against.letter;
    let id = format!("against-{letter}");
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (letter) " against A" }
            (page::facts(&facts(against)))
            @if let Some(hardware) = hardware(against) {
                (page::folded("What parts the hardware", &Grid { title: "what parts the hardware".to_owned(), ..hardware }))
            }
            @for (build, number) in against.builds.iter().zip(1_u32..) {
                @if against.builds.len() > 1 {
                    p { strong { "Build " (number) } }
                    (page::facts(&[build_fact(build)]))
                }
                (of_build(build, against, &format!("{id}-{number}")))
            }
        }
    }
}

fn of_build(build: &BuildView, against: &AgainstBase, id: &str) -> Markup {
    let letter = against.letter;
    html! {
        (chart::verdict_key())
        @for (cells, number) in build.cells.chunk_by(same_table).zip(1_u32..) {
            @let grid = told(grid(cells, letter), cells);
            h3 { (grid.title) }
            (picture(cells, &grid.title, &format!("{id}-{number}"), |cell| cell.spawner.to_string()))
            (page::folded(&format!("Numbers of {}", grid.title), &grid))
            @let open = unresolved(cells, against.complete);
            @if !open.is_empty() {
                p { "To settle what is unresolved:" }
                ul { @for line in &open { li { (line.trim()) } } }
            }
        }
        @if !build.derived.is_empty() {
            @let grid = told(derived(&build.derived, letter), &build.derived);
            @let name = |row: &Compared| format!("{}, {}", measured(row.measure), row.spawner);
            h3 { (grid.title) }
            (picture(&build.derived, &grid.title, &format!("{id}-derived"), name))
            (page::folded("Numbers of what follows", &grid))
        }
        @if !build.cells.is_empty() {
            (page::folded("Intervals of the medians", &intervals(&build.cells, letter)))
        }
    }
}

/// The ratios of some cells, or of what follows from them.
fn picture(rows: &[Compared], title: &str, id: &str, name: impl Fn(&Compared) -> String) -> Markup {
    let ratio = |row: &Compared| Ratio {
        name: name(row),
        ratio: row.verdict.ratio,
        interval: row.verdict.interval.map(|it| (it.low, it.high)),
        outcome: row.verdict.verdict,
        words: words(row),
    };
    let ratios: Vec<Ratio> = rows.iter().map(ratio).collect();
    let description = "A row a spawner, on one logarithmic axis of ratios with 1 in its middle: the mark is the ratio, its form the \
                       verdict, the whisker the ratio's interval. The table below has the numbers.";
    let told = Told { id, title, description };
    html! {
        @if let Some(picture) = chart::ratios(&ratios, &told) {
            figure {
                (picture)
                figcaption { "Ratio to A with its interval, where hosts are enough for one, on a logarithmic axis." }
            }
        }
    }
}

/// The table without its bars, which the picture shows, and with what the verdict goes by.
fn told(grid: Grid, rows: &[Compared]) -> Grid {
    let Grid { title, columns, rows: cells } = grid;
    let is_bar: Vec<bool> = columns
        .iter()
        .enumerate()
        .map(|(place, (name, _))| name.is_empty() && place > 0 && place + 1 < columns.len())
        .collect();
    let last = columns.len().saturating_sub(1);
    let names = columns.iter().enumerate().map(|(place, (name, align))| match place {
        0 if name.is_empty() => ("measure", *align),
        place if place == last => ("verdict", *align),
        _ => (*name, *align),
    });
    let mut columns: Vec<(&'static str, Align)> =
        names.zip(&is_bar).filter(|(_, is_bar)| !**is_bar).map(|(column, _)| column).collect();
    columns.push(("basis", Align::Left));
    let row = |(values, compared): (Vec<String>, &Compared)| {
        let kept = values.into_iter().zip(&is_bar).filter(|(_, is_bar)| !**is_bar);
        let basis = compared.verdict.basis.name().to_owned();
        kept.map(|(value, _)| value).chain(std::iter::once(basis)).collect()
    };
    Grid { title, columns, rows: cells.into_iter().zip(rows).map(row).collect() }
}
