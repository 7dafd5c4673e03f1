//! All groups of a report beside each other.

use fleetmark_proto::{
    plan::{Scenario, Spawner},
    shell::grid::{Align, Grid},
    unit::{grouped, rounded},
};
use maud::{Markup, html};

use super::{
    chart::{Block, Row, Rows, Told, duration, legend},
    page,
};
use crate::{
    render::table,
    view::{CellView, ProfileView, Scaling, View},
};

/// The medians of each scenario, with their intervals, group by group.
pub(super) fn medians(view: &View) -> Markup {
    html! {
        @for scenario in Scenario::ALL { (of_scenario(view, scenario)) }
    }
}

fn of_scenario(view: &View, scenario: Scenario) -> Markup {
    let blocks: Vec<Block> = view
        .profiles
        .iter()
        .flat_map(|profile| {
            let groups = profile.cells.chunk_by(table::same_group);
            let these = groups
                .filter(move |cells| cells.first().is_some_and(|cell| cell.scenario == scenario));
            these.map(move |cells| block(profile, cells))
        })
        .filter(|block| !block.rows.is_empty())
        .collect();
    let Some(scale) = Rows::log(&blocks) else { return html! {} };
    let spawners = spawners(&blocks);
    let id = format!("medians-{scenario}");
    let description = "A row a spawner in each group, on one logarithmic axis of time: the mark is the median of the hosts, \
                       the whisker its interval. The tables of the groups have the numbers.";
    let title = format!("{scenario}: medians");
    let told = Told { id: &id, title: &title, description };
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (title) }
            p { (what(scenario)) " Less is better." }
            figure {
                (legend(&spawners))
                (Rows { scale, name: duration, blocks }.draw(&told))
                figcaption {
                    "Median and 95% interval. The axis is logarithmic. Groups that were asked for different work, or measured with \
                     different builds, stand apart; the tables below have the numbers."
                }
            }
        }
    }
}

fn what(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::SpawnOverhead => "Many units that return at once: what it costs to start them.",
        Scenario::Waiting => {
            "Many units that sleep, as those do that wait for a network or a disk."
        }
        Scenario::CpuBound => {
            "As many units a worker on each host that burn CPU. By this alone no spawner should be chosen: it does not show \
             what such work does to others."
        }
    }
}

fn block(profile: &ProfileView, cells: &[CellView]) -> Block {
    let heading = cells.first().map_or_else(String::new, |first| {
        let CellView { workload, .. } = first;
        format!("{}: {workload}{}", profile.name, table::build_here(&first.build, profile))
    });
    let row = |cell: &CellView| {
        let median = cell.median_ns?;
        Some(Row {
            spawner: cell.spawner,
            value: median.to_f64(),
            interval: cell.interval.map(|it| (it.low_ns.to_f64(), it.high_ns.to_f64())),
            text: median.to_string(),
        })
    };
    Block { heading, rows: cells.iter().filter_map(row).collect() }
}

/// The spawners of these rows, each once, in the order of every table.
fn spawners(blocks: &[Block]) -> Vec<Spawner> {
    let has = |spawner: &Spawner| {
        blocks.iter().flat_map(|block| &block.rows).any(|row| row.spawner == *spawner)
    };
    Spawner::ALL.into_iter().filter(has).collect()
}

/// A cell with what it gets of the cores.
type Found<'a> = (&'a ProfileView, &'a CellView, Scaling);

/// What CPU-bound work gets of the cores, from few cores to many.
pub(super) fn scaling(view: &View) -> Markup {
    let mut found: Vec<Found<'_>> = view
        .profiles
        .iter()
        .flat_map(|profile| {
            profile
                .cells
                .iter()
                .filter_map(move |cell| Some((profile, cell, Scaling::of(profile, cell)?)))
        })
        .collect();
    found.sort_by_key(|(_, _, scaling)| scaling.workers);
    let alike =
        |a: &Found<'_>, b: &Found<'_>| std::ptr::eq(a.0, b.0) && table::same_group(a.1, b.1);
    let groups: Vec<&[Found<'_>]> = found.chunk_by(alike).collect();
    let blocks: Vec<Block> = groups.iter().map(|these| core_block(these)).collect();
    if blocks.is_empty() {
        return html! {};
    }
    let spawners = spawners(&blocks);
    let told = Told {
        id: "scaling",
        title: "Scaling across core counts",
        description: "A row a spawner in each group, from few cores to many: which share of all cores the CPU-bound work got. \
                      The table below has the numbers.",
    };
    let scale = Rows::linear(&blocks);
    html! {
        section aria-labelledby="scaling" {
            h2 #scaling { (told.title) }
            p {
                "Parallel efficiency of CPU-bound work: what one core takes for its share, by a kernel that is timed alone, to \
                 what all cores together took. 100% is all of every core; a little more is noise of that timing."
            }
            figure {
                (legend(&spawners))
                (Rows { scale, name: percent, blocks }.draw(&told))
                figcaption { "From few cores to many." }
            }
            (page::folded("Numbers of scaling", &numbers(&groups)))
        }
    }
}

fn core_block(these: &[Found<'_>]) -> Block {
    let heading = these.first().map_or_else(String::new, |(profile, cell, scaling)| {
        let workers = page::many(scaling.workers, "worker");
        format!("{workers}: {}{}", profile.name, table::build_here(&cell.build, profile))
    });
    let row = |(_, _, scaling): &Found<'_>| Row {
        spawner: scaling.spawner,
        value: scaling.efficiency,
        interval: None,
        text: percent(scaling.efficiency),
    };
    Block { heading, rows: these.iter().map(row).collect() }
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// A row a group, a column a spawner.
fn numbers(groups: &[&[Found<'_>]]) -> Grid {
    let of = |these: &[Found<'_>], spawner: Spawner| {
        let found = these.iter().find(|(.., scaling)| scaling.spawner == spawner);
        found.map_or_else(String::new, |(.., scaling)| percent(scaling.efficiency))
    };
    let row = |these: &&[Found<'_>]| {
        let (profile, cell, scaling) = these.first()?;
        let fastest = these.iter().map(|(.., scaling)| scaling.rounds_per_second);
        let mut row = vec![
            format!("{}{}", table::name(profile), table::build_here(&cell.build, profile)),
            grouped(scaling.workers),
        ];
        row.extend(Spawner::ALL.map(|spawner| of(these, spawner)));
        row.push(grouped(rounded(fastest.fold(0.0, f64::max) / 1e6)));
        Some(row)
    };
    let mut columns = vec![("group", Align::Left), ("workers", Align::Right)];
    columns.extend(Spawner::ALL.map(|spawner| (spawner.name(), Align::Right)));
    columns.push(("million rounds/s a core, at best", Align::Right));
    Grid {
        title: "Parallel efficiency by number of workers".to_owned(),
        columns,
        rows: groups.iter().filter_map(row).collect(),
    }
}
