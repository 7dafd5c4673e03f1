//! What a unit costs by its length, as a table, a chart and a sentence a spawner.

use std::fmt::Write as _;

use super::{Entry, Section, shown};
use crate::{
    grain::{self, GoodFrom, Grain},
    plan::Spawner,
    series::Pass,
    shell::grid::{Align, Grid},
    unit::{Nanos, Times, grouped, rounded},
};

/// A table for each workload but for its length: one, unless hosts were asked for different numbers of units or workers.
pub(super) fn sections(entries: &[&Entry], kernel_time: Option<Nanos>) -> Vec<Section> {
    let mut rest: Vec<&Entry> = entries.to_vec();
    let mut sections = Vec::new();
    let like = |a: &Entry, b: &Entry| {
        (a.workload.amount, a.workload.workers) == (b.workload.amount, b.workload.workers)
    };
    while let Some(first) = rest.first().copied() {
        let (these, others) = rest.into_iter().partition(|entry| like(entry, first));
        rest = others;
        sections.push(section(&these, kernel_time));
    }
    sections
}

fn section(entries: &[&Entry], kernel_time: Option<Nanos>) -> Section {
    let mut grain = Grain::default();
    for entry in entries {
        if let (Some(rounds), Some(median)) = (entry.workload.kernel_rounds, entry.median) {
            grain.add(rounds, entry.cell.spawner, median, entry.units);
        }
    }
    let spawners = grain.spawners();
    let mut columns = vec![("rounds", Align::Right), ("about", Align::Right)];
    columns.extend(spawners.iter().map(|spawner| (spawner.name(), Align::Right)));
    let cost = |rounds, spawner| grain.cost(rounds, spawner).map(|cost| Nanos(rounded(cost)));
    let times = |spawner| Times::of(grain.lengths().filter_map(|rounds| cost(rounds, spawner)));
    let times: Vec<Times> = spawners.iter().map(|&spawner| times(spawner)).collect();
    let row = |rounds: u64| {
        let costs = spawners.iter().zip(&times).map(|(&spawner, times)| {
            let mark = if grain.is_close(rounds, spawner) { "=" } else { " " };
            format!("{} {mark}", shown(cost(rounds, spawner), *times))
        });
        [grouped(rounds), length(rounds, kernel_time)].into_iter().chain(costs).collect()
    };
    let rows = grain.lengths().map(row).collect();
    let units = entries.first().map_or(0, |entry| entry.units);
    let lines = spawners.iter().map(|&spawner| from(&grain, spawner, kernel_time)).collect();
    Section {
        pass: Some(Pass::Grain),
        grid: Grid {
            title: format!(
                "grain: what one of {} units costs, by its kernel rounds (= is within 10% of the best)",
                grouped(units)
            ),
            columns,
            rows,
        },
        chart: chart(&grain),
        lines,
    }
}

/// How long a unit of so many rounds is by itself.
fn length(rounds: u64, kernel_time: Option<Nanos>) -> String {
    kernel_time.map_or_else(String::new, |time| grain::length(rounds, time).to_string())
}

fn from(grain: &Grain, spawner: Spawner, kernel_time: Option<Nanos>) -> String {
    let worst = grain.worst_ratio(spawner).unwrap_or(1.0);
    let short = || {
        let shortest = grain.lengths().next().unwrap_or(0);
        match (grain.cost(shortest, spawner), grain.best(shortest)) {
            (Some(cost), Some(best)) if cost > best * 1.5 => {
                format!(", and costs {:.0}× the best where a unit does nothing", cost / best)
            }
            _ => format!(", and at most {worst:.1}× the best before"),
        }
    };
    match grain.from(spawner) {
        GoodFrom::Always => format!("{spawner}: within 10% of the best at every length."),
        GoodFrom::Rounds(rounds) => {
            let about = length(rounds, kernel_time);
            let about = if about.is_empty() { about } else { format!(", about {about}") };
            format!(
                "{spawner}: within 10% of the best from {} kernel rounds a unit on{about}{}.",
                grouped(rounds),
                short()
            )
        }
        GoodFrom::Never => {
            format!("{spawner}: not within 10% of the best at the longest units{}.", short())
        }
    }
}

/// A line a spawner: the height of each step is the logarithm of what a unit of that length costs.
fn chart(grain: &Grain) -> Vec<String> {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let lengths: Vec<u64> = grain.lengths().collect();
    let spawners = grain.spawners();
    let costs = lengths.iter().flat_map(|&rounds| {
        spawners.iter().filter_map(move |&spawner| grain.cost(rounds, spawner))
    });
    let costs: Vec<f64> = costs.filter(|cost| *cost > 0.0).collect();
    let lowest = costs.iter().copied().min_by(f64::total_cmp);
    let highest = costs.iter().copied().max_by(f64::total_cmp);
    let Some((low, high)) = lowest.zip(highest).filter(|(low, high)| low < high) else {
        return Vec::new();
    };
    let step = |cost: f64| {
        let height = (cost / low).ln() / (high / low).ln() * 7.0;
        usize::try_from(rounded(height)).ok().and_then(|height| STEPS.get(height)).copied()
    };
    let mut lines: Vec<String> = spawners
        .iter()
        .map(|&spawner| {
            let mut line = format!("{spawner:15}");
            for &rounds in &lengths {
                let bar = grain.cost(rounds, spawner).and_then(step).unwrap_or(' ');
                // Writing to a string cannot fail.
                let _ = write!(line, "{bar}{bar} ");
            }
            line.trim_end().to_owned()
        })
        .collect();
    lines.push(format!(
        "{:15}short to long units; log of the cost, {} to {}",
        "",
        Nanos(rounded(low)),
        Nanos(rounded(high))
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::{sections, tests::entry};
    use super::*;
    use crate::series::{Metric, Variant};

    #[test]
    fn a_grain_says_from_where_on_a_spawner_is_as_good_as_the_best() {
        let elapsed = (Pass::Grain, Variant::Plain, Metric::Elapsed);
        let entries = [
            entry(elapsed, Spawner::Thread, 0, 40_000_000),
            entry(elapsed, Spawner::Tokio, 0, 1_000_000),
            entry(elapsed, Spawner::Thread, 100_000, 105_000_000),
            entry(elapsed, Spawner::Tokio, 100_000, 100_000_000),
        ];
        let sections = sections(&entries, Some(Nanos(1_500_000)));
        let [Section { grid, chart, lines, .. }] = &sections[..] else { panic!("{sections:?}") };
        assert_eq!(grid.rows[0], ["0", "0 ns", "40.0 µs  ", "1.00 µs ="]);
        assert_eq!(grid.rows[1], ["100,000", "150 µs", "105.0 µs =", "100.00 µs ="]);
        let said = lines.join("\n");
        assert!(said.contains("thread: within 10% of the best from 100,000 kernel rounds a unit on, about 150 µs, and costs 40× the best where a unit does nothing."), "{said}");
        assert!(said.contains("tokio: within 10% of the best at every length."), "{said}");
        assert!(["thread         ▇▇ ██", "thread         ▆▆ ██"].contains(&chart[0].as_str()));
    }
}
