//! How comparisons look.

mod csv;

pub(super) use csv::csv;

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    shell::{
        grid::{Align, Grid},
        look::Look,
    },
    unit::{Nanos, Times, grouped, rounded},
    verdict::{Outcome, RatioInterval, factor},
};

use super::table;
use crate::{
    stats::{Measure, SidesBasis, ValueInterval},
    view::{AgainstBase, BuildView, Compared, Comparison, Differs, SideView},
};

/// Columns for the sides, by their letters.
const LETTERS: [&str; 26] = [
    "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P", "Q", "R", "S",
    "T", "U", "V", "W", "X", "Y", "Z",
];
/// Half of a bar, in characters.
const HALF_BAR: usize = 3;
/// The ratio, or one over it, that fills half of a bar.
const FULL_BAR: f64 = 2.0;

/// The table for people.
pub(super) fn table(comparison: &Comparison, look: Look) -> String {
    let sides: Vec<(&str, String)> =
        comparison.sides.iter().map(|side| (letter(side.letter), side_words(side))).collect();
    let mut text = look.facts(&sides);
    for against in &comparison.against_base {
        text.push('\n');
        text.push_str(&one(against, look));
    }
    text.push('\n');
    text.push_str(&look.sentences(&reading(comparison)));
    text
}

/// How the numbers are to be read, in lines.
pub(super) fn reading(comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    let (percent, all) = (comparison.confidence * 100.0, grouped(comparison.comparisons));
    lines.push(format!(
        "Ratios are to A: under 1 is less. Their intervals hold with a confidence of {percent:.1}% each, and so with 95% all \
         {all} together."
    ));
    if comparison.against_base.iter().any(AgainstBase::has_groups) {
        let meaning = "Delta is -1 where every host of a side has less than every host of A, 1 where every one has more \
                       (Cliff's delta).";
        lines.push(meaning.to_owned());
    }
    if !comparison.not_measured.is_empty() {
        lines.push(format!("Not measured: {}.", comparison.not_measured.join(", ")));
    }
    lines
}

fn letter(letter: char) -> &'static str {
    LETTERS.into_iter().find(|it| it.starts_with(letter)).unwrap_or_default()
}

pub(super) fn side_words(side: &SideView) -> String {
    let several = |number: u64, what: &str| {
        let plural = if number == 1 { "" } else { "s" };
        format!("{} {what}{plural}", grouped(number))
    };
    let mut words =
        format!("{}: {}, {}", side.side, several(side.hosts, "host"), several(side.runs, "run"));
    match &side.profiles[..] {
        // It is what was typed.
        [only] if side.side.to_string() == only.name => {}
        [only] => words.push_str(&format!(" of {}", only.name)),
        profiles => words.push_str(&format!(" of {} profiles", profiles.len())),
    }
    let mut left_out = Vec::new();
    if side.suspect_left_out > 0 {
        left_out.push(several(side.suspect_left_out, "suspect run"));
    }
    if side.partial_left_out > 0 {
        left_out.push(several(side.partial_left_out, "partial run"));
    }
    if side.collided_left_out > 0 {
        left_out.push(format!("{} of two machines", several(side.collided_left_out, "host")));
    }
    if !left_out.is_empty() {
        words.push_str(&format!("; left out: {}", left_out.join(", ")));
    }
    words
}

fn one(against: &AgainstBase, look: Look) -> String {
    let heading = format!("{} against A", against.letter);
    let mut text = look.heading(&heading);
    text.push_str(&look.facts(&facts(against)));
    if let Some(hardware) = hardware(against) {
        text.push('\n');
        text.push_str(&look.grid(&hardware));
    }
    for build in &against.builds {
        if against.builds.len() > 1 {
            text.push('\n');
            text.push_str(&look.facts(&[build_fact(build)]));
        }
        for cells in build.cells.chunk_by(same_table) {
            text.push('\n');
            text.push_str(&look.grid(&grid(cells, against.letter)));
            text.push_str(&look.sentences(&unresolved(cells, against.complete)));
        }
        if !build.derived.is_empty() {
            text.push('\n');
            text.push_str(&look.grid(&derived(&build.derived, against.letter)));
        }
        if !build.cells.is_empty() {
            text.push('\n');
            text.push_str(&look.grid(&intervals(&build.cells, against.letter)));
        }
    }
    text
}

/// What parts the hardware, if each side is of one profile and they are not of the same.
pub(super) fn hardware(against: &AgainstBase) -> Option<Grid> {
    let letter = letter(against.letter);
    let columns = vec![("facet", Align::Left), ("A", Align::Left), (letter, Align::Left)];
    Some(Grid { columns, ..table::facets(against.hardware.as_ref()?) })
}

/// Whether two cells stand in one table.
pub(super) fn same_table(one: &Compared, next: &Compared) -> bool {
    (one.scenario, one.workload, one.units) == (next.scenario, next.workload, next.units)
}

pub(super) fn facts(against: &AgainstBase) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let all = || against.builds.iter().flat_map(|build| build.cells.iter().chain(&build.derived));
    let mut hosts: Vec<String> = all().map(hosts_words).collect();
    hosts.sort_unstable();
    hosts.dedup();
    facts.push(("hosts", hosts.join("; ")));
    if let [only] = &against.builds[..] {
        facts.push(build_fact(only));
    }
    for Differs { facet, a, b } in &against.differs {
        let said = |values: &BTreeSet<String>| match values.first() {
            Some(only) if values.len() == 1 && only.len() <= 30 => only.clone(),
            Some(_) if values.len() == 1 => "another".to_owned(),
            _ => format!("{} kinds", values.len()),
        };
        facts.push(("differs", format!("{facet}, {} and {}", said(a), said(b))));
    }
    facts.extend(against.notes.iter().map(|note| ("note", note.clone())));
    if !against.complete {
        facts.push(("incomplete", "the CPU's model is unknown of some: no verdicts".to_owned()));
    }
    facts
}

fn hosts_words(compared: &Compared) -> String {
    let verdict = &compared.verdict;
    let (a, b) = (grouped(verdict.a.hosts), grouped(verdict.b.hosts));
    match verdict.basis {
        SidesBasis::Paired => format!("{a} on both sides, each compared with itself"),
        SidesBasis::Groups => format!("{a} and {b}, compared as groups"),
    }
}

pub(super) fn build_fact(build: &BuildView) -> (&'static str, String) {
    ("build", parted(&build.build_a, &build.build_b))
}

/// Two builds in one line: what is the same, and of the rest both.
fn parted(a: &str, b: &str) -> String {
    let parts = a.split(" · ").zip(b.split(" · "));
    let parts = parts.map(|(a, b)| match a == b {
        true => a.to_owned(),
        false => format!("{a} and {b}"),
    });
    parts.collect::<Vec<_>>().join(" · ")
}

pub(super) fn grid(cells: &[Compared], other: char) -> Grid {
    let groups = cells.iter().any(|cell| cell.verdict.basis == SidesBasis::Groups);
    let mut columns = vec![
        ("spawner", Align::Left),
        ("A", Align::Right),
        (letter(other), Align::Right),
        ("ratio", Align::Right),
        ("interval", Align::Right),
    ];
    if groups {
        columns.push(("delta", Align::Right));
    }
    columns.extend([("", Align::LeftAside), ("", Align::Verdict)]);
    let times = times(cells, Measure::Elapsed);
    let row = |cell: &Compared| {
        let mut row = vec![cell.spawner.to_string()];
        row.extend(middle(cell, times));
        if groups {
            let delta = cell.verdict.cliffs_delta;
            row.push(delta.map_or_else(String::new, |delta| format!("{delta:+.2}")));
        }
        row.extend([bar(cell.verdict.ratio), words(cell)]);
        row
    };
    let title = cells.first().map(|cell| match cell.units {
        Some(units) if !cell.workload.to_string().starts_with(&grouped(units)) => {
            format!("{}: {} ({} units)", cell.scenario, cell.workload, grouped(units))
        }
        _ => format!("{}: {}", cell.scenario, cell.workload),
    });
    Grid { title: title.unwrap_or_default(), columns, rows: cells.iter().map(row).collect() }
}

/// Both medians, the ratio and its interval.
fn middle(cell: &Compared, times: Times) -> [String; 4] {
    let interval = cell.verdict.interval;
    [
        value(cell.measure, cell.verdict.a.median, times),
        value(cell.measure, cell.verdict.b.median, times),
        ratio(cell.verdict.ratio),
        interval.map_or_else(
            || "none".to_owned(),
            |RatioInterval { low, high, .. }| format!("{}–{}", ratio(low), ratio(high)),
        ),
    ]
}

/// What follows from the cells.
pub(super) fn derived(rows: &[Compared], other: char) -> Grid {
    Grid {
        title: "what follows, per unit and per core".to_owned(),
        columns: vec![
            ("", Align::Left),
            ("spawner", Align::Left),
            ("A", Align::Right),
            (letter(other), Align::Right),
            ("ratio", Align::Right),
            ("interval", Align::Right),
            ("", Align::Verdict),
        ],
        rows: rows
            .iter()
            .map(|row| {
                let mut cells = vec![measured(row.measure).to_owned(), row.spawner.to_string()];
                cells.extend(middle(row, times(rows, row.measure)));
                cells.push(words(row));
                cells
            })
            .collect(),
    }
}

/// What is compared, where there is little room.
pub(super) fn measured(measure: Measure) -> &'static str {
    match measure {
        Measure::Elapsed => "elapsed",
        Measure::SpawnCost => "time a unit",
        Measure::WaitOvershoot => "overshoot",
        Measure::RoundRate => "round rate",
        Measure::Efficiency => "efficiency",
    }
}

/// The medians' own intervals and hosts.
pub(super) fn intervals(cells: &[Compared], other: char) -> Grid {
    let shown = |interval: Option<ValueInterval>| {
        interval.map_or_else(
            || "none".to_owned(),
            |ValueInterval { low, high, .. }| {
                table::range(Nanos(rounded(low)), Nanos(rounded(high)))
            },
        )
    };
    Grid {
        title: "intervals of the medians, at 95% from six hosts on".to_owned(),
        columns: vec![
            ("scenario", Align::Left),
            ("spawner", Align::Left),
            ("A", Align::Right),
            ("hosts", Align::Right),
            (letter(other), Align::Right),
            ("hosts", Align::Right),
        ],
        rows: cells
            .iter()
            .map(|cell| {
                vec![
                    cell.scenario.to_string(),
                    cell.spawner.to_string(),
                    shown(cell.verdict.a.interval),
                    grouped(cell.verdict.a.hosts),
                    shown(cell.verdict.b.interval),
                    grouped(cell.verdict.b.hosts),
                ]
            })
            .collect(),
    }
}

/// What it would take to settle what is not.
pub(super) fn unresolved(cells: &[Compared], complete: bool) -> Vec<String> {
    let open = cells.iter().filter(|cell| complete && cell.verdict.verdict == Outcome::Unresolved);
    let mut takes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for cell in open {
        let side = match cell.verdict.basis {
            SidesBasis::Paired => "on both sides",
            SidesBasis::Groups => "a side",
        };
        let hosts = match cell.verdict.needed {
            Some(needed) => format!("would take about {} hosts {side}", grouped(needed)),
            None => "will not be settled by more hosts".to_owned(),
        };
        takes.entry(hosts).or_default().push(cell.spawner.name());
    }
    takes.into_iter().map(|(hosts, spawners)| format!("{}: {hosts}", spawners.join(", "))).collect()
}

pub(super) fn words(cell: &Compared) -> String {
    let ratio = cell.verdict.ratio;
    let time = if cell.measure.grows_with_speed() { 1.0 / ratio } else { ratio };
    match cell.verdict.verdict {
        Outcome::Faster => format!("{} faster", factor(1.0 / time)),
        Outcome::Slower => format!("{} slower", factor(time)),
        other => other.name().to_owned(),
    }
}

/// How durations of this measure are shown.
fn times(cells: &[Compared], measure: Measure) -> Times {
    let these = cells.iter().filter(|cell| cell.measure == measure);
    let medians = these.flat_map(|cell| [cell.verdict.a.median, cell.verdict.b.median]);
    Times::of(medians.map(|median| Nanos(rounded(median))))
}

fn value(measure: Measure, value: f64, times: Times) -> String {
    match measure {
        Measure::Elapsed | Measure::SpawnCost | Measure::WaitOvershoot => {
            times.show(Nanos(rounded(value)))
        }
        Measure::RoundRate => format!("{} M/s", significant(value / 1e6)),
        Measure::Efficiency => format!("{:.1}%", value * 100.0),
    }
}

/// With two decimals about 1, and as many as three digits need elsewhere.
fn ratio(ratio: f64) -> String {
    match ratio {
        ..0.1 => format!("{ratio:.3}"),
        ..9.995 => format!("{ratio:.2}"),
        _ => significant(ratio),
    }
}

fn significant(value: f64) -> String {
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// To the left what took less than the base, to the right what took more, on a logarithmic scale. It says no more than the ratio.
fn bar(ratio: f64) -> String {
    let full = f64::from(u32::try_from(2 * HALF_BAR).unwrap_or_default());
    let length = (ratio.ln().abs() / FULL_BAR.ln()).min(1.0) * full;
    let halves = usize::try_from(rounded(length)).unwrap_or_default();
    let (whole, half) = ("█".repeat(halves / 2), halves % 2 == 1);
    let (left, right) = match ratio < 1.0 {
        true => (format!("{}{whole}", if half { "▐" } else { "" }), String::new()),
        false => (String::new(), format!("{whole}{}", if half { "▌" } else { "" })),
    };
    format!("{left:>HALF_BAR$}│{right:<HALF_BAR$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_lie_to_the_side_of_what_took_less() {
        assert_eq!(bar(1.0), "   │   ");
        assert_eq!(bar(1.12), "   │▌  ");
        assert_eq!(bar(0.5), "███│   ");
        assert_eq!(bar(1.0 / 34.0), "███│   ");
        assert_eq!(bar(0.7), " ▐█│   ");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0123, 0.98, 1.0, 1.126, 9.999, 34.21, 277.0].map(ratio);
        assert_eq!(shown, ["0.012", "0.98", "1.00", "1.13", "10.0", "34.2", "277"]);
        assert_eq!(value(Measure::RoundRate, 552e6, Times::of([])), "552 M/s");
        assert_eq!(value(Measure::Efficiency, 0.981, Times::of([])), "98.1%");
    }
}
