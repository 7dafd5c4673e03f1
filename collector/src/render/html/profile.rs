//! One group of a report.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    grain::Grain,
    plan::Amount,
    series::{Metric, Pass, Variant},
    shell::{
        grid::{Align, Grid},
        passes::Section,
    },
    unit::count,
};
use maud::{Markup, html};

use super::{
    chart::{self, Block, Row, Rows, Told, duration, legend},
    page::{self, Further, Links},
};
use crate::{
    render::{advise, table},
    view::{
        Advice, CellSpread, Facet, HostValue, ProfileAdvice, ProfileView, SeriesView, Spread, View,
        WorkAdvice,
    },
};

/// Rows of hosts on a page, shared by its groups; the pictures have all hosts.
const LISTED: usize = 400;
/// Rows that one group has at most, and at least.
const MOST: usize = 40;
const LEAST: usize = 6;

/// All that is said of one group, which has this number on its page.
pub(super) fn section(
    view: &View,
    profile: &ProfileView,
    (spreads, advice, links): (&[Spread], &Advice, Links),
    number: u32,
) -> Markup {
    let id = format!("p{number}");
    let spread = spreads.iter().find(|spread| spread.by == profile.by);
    let passes = table::passes_of(profile);
    let listed = (LISTED / view.profiles.len().max(1)).clamp(LEAST, MOST);
    let of_pass = |pass| passes.iter().filter(move |section| section.pass == pass);
    let is_profile = matches!(view.by[..], [Facet::Profile]);
    let advised =
        advice.profiles.iter().filter(|it| is_profile && Some(&it.id) == profile.id.as_ref());
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (table::name(profile)) }
            (elsewhere(view, profile, links))
            (page::facts(&table::facts(profile)))
            @for it in advised.clone() { (advice_of(it)) }
            @for (grid, settled) in table::cells(profile, view.against.against()) {
                (page::table(&grid))
                @if let Some(settled) = settled { p { (settled.who) "." } }
            }
            @if let Some(spread) = spread {
                @for (cells, number) in alike(spread).iter().zip(1_u32..) {
                    (hosts(cells, profile, &format!("{id}-hosts{number}"), (listed, links)))
                }
            }
            @for pass in [Pass::Grain, Pass::Neighbours, Pass::Article, Pass::Diagnose] {
                @let these: Vec<&Section> = of_pass(Some(pass)).collect();
                @if !these.is_empty() {
                    h3 { (of_what(pass)) }
                    (picture(pass, profile, &id))
                    @for section in these { (numbers_of(section, advised.clone().next().is_some())) }
                }
            }
            @for section in of_pass(None) { (numbers_of(section, false)) }
        }
    }
}

/// Where more of a profile is seen.
fn elsewhere(view: &View, profile: &ProfileView, links: Links) -> Markup {
    let Some(id) = profile.id.as_ref().filter(|_| matches!(view.by[..], [Facet::Profile])) else {
        return html! {};
    };
    let this = [("profile", id.as_str())];
    // What has no median cannot be compared.
    let has_medians =
        |other: &&ProfileView| other.cells.iter().any(|cell| cell.median_ns.is_some());
    let others = view.profiles.iter().filter(has_medians);
    let others = others.filter_map(|other| other.id.as_ref());
    let other = others.into_iter().find(|other| *other != id).filter(|_| has_medians(&profile));
    let sides = other.map(|other| [("side", other.as_str()), ("side", id.as_str())]);
    let mut pages = vec![
        Further { path: "/report", query: &this, name: "this alone" },
        Further { path: "/history", query: &this, name: "its history" },
        Further { path: "/outliers", query: &this, name: "its slow hosts" },
        Further { path: "/advise", query: &this, name: "advice" },
    ];
    if let Some(sides) = &sides {
        pages.push(Further { path: "/compare", query: sides, name: "compared with another" });
    }
    links.further(&pages)
}

/// Which spawner for which work.
fn advice_of(advice: &ProfileAdvice) -> Markup {
    html! {
        @if !advice.works.is_empty() {
            h3 { "Which spawner for which work" }
            dl.words {
                @for work in &advice.works {
                    dt { (advise::heading(work)) }
                    dd { (in_words(work)) }
                }
            }
        }
    }
}

/// What is advised for one kind of work, what is not known, and what to keep in mind.
pub(super) fn in_words(work: &WorkAdvice) -> Markup {
    html! {
        (work.advice)
        @for missing in &work.missing {
            " Not known: " (missing.what)
            @if let Some(command) = &missing.command { "; measure it with " code { (command) } }
            "."
        }
        @for caveat in &work.caveats { " Note: " (caveat) "." }
    }
}

/// A table of a pass, with what follows from it where no advice says it already.
fn numbers_of(section: &Section, advised: bool) -> Markup {
    let is_advised = matches!(section.pass, Some(Pass::Grain | Pass::Neighbours));
    let said = advised && is_advised;
    let summary = match section.pass {
        // Their pictures say what they are of.
        Some(pass) if is_advised => format!("Numbers of {pass}"),
        _ => section.grid.title.clone(),
    };
    html! {
        (page::folded(&summary, &section.grid))
        @if !said && !section.lines.is_empty() {
            ul { @for line in &section.lines { li { (line) } } }
        }
    }
}

fn of_what(pass: Pass) -> &'static str {
    match pass {
        Pass::Grain => "Cost of a unit, by its length",
        Pass::Neighbours => "Beside tasks that must answer in time",
        Pass::Article => "The article's crate",
        Pass::Diagnose => "Ways of spawning",
    }
}

fn picture(pass: Pass, profile: &ProfileView, section: &str) -> Markup {
    match pass {
        Pass::Grain => grains(profile, section),
        Pass::Neighbours => neighbours(profile, section),
        Pass::Article | Pass::Diagnose => html! {},
    }
}

/// Cells that one picture may have: of one build, and of each scenario one workload.
pub(super) fn alike(spread: &Spread) -> Vec<Vec<&CellSpread>> {
    let mut pictures: Vec<Vec<&CellSpread>> = Vec::new();
    for cell in &spread.cells {
        let fits = |others: &Vec<&CellSpread>| {
            others.iter().all(|other| {
                let same_work = (other.workload, other.units) == (cell.workload, cell.units);
                other.build == cell.build && (same_work || other.scenario != cell.scenario)
            })
        };
        match pictures.iter_mut().find(|others| fits(others)) {
            Some(others) => others.push(cell),
            None => pictures.push(vec![cell]),
        }
    }
    pictures
}

/// Where each host stands.
fn hosts(
    cells: &[&CellSpread],
    profile: &ProfileView,
    id: &str,
    (listed, links): (usize, Links),
) -> Markup {
    let build = cells.first().map_or_else(String::new, |it| table::build_here(&it.build, profile));
    let far: BTreeSet<&str> = cells
        .iter()
        .flat_map(|cell| &cell.hosts)
        .filter(|host| host.stands_out)
        .map(|host| host.id.as_str())
        .collect();
    let most = cells.iter().map(|cell| cell.hosts.len()).max().unwrap_or(0);
    let said = match (far.is_empty(), most) {
        (false, _) => {
            let named: Vec<&str> = far.iter().copied().take(10).collect();
            let more = far.len() - named.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!(
                "Far slower than the others in at least one cell: {}{more}. Whether that lasts takes a second run to tell.",
                named.join(", ")
            )
        }
        (true, ..12) => "Twelve hosts or more would tell whether one of them is slow.".to_owned(),
        (true, _) => "No host stands out.".to_owned(),
    };
    let description = "Each dot is a host; a cross with a name is far slower than the others. The table below has the numbers.";
    let told = Told { id, title: "Hosts, cell by cell", description };
    html! {
        @if let Some(picture) = chart::strips(&chart::of_hosts(cells), links, &told) {
            h3 { "Hosts" (build) }
            p { (said) }
            figure {
                (picture)
                figcaption {
                    "Each host's time to the median of all, which stands at the right."
                }
            }
            (page::fold("Numbers of the hosts", &page::linked(&numbers(cells, listed), &|id| links.host(id, id))))
        }
    }
}

/// A row a host, those first that are farthest from the median in any cell.
pub(super) fn numbers(cells: &[&CellSpread], listed: usize) -> Grid {
    let mut by_host: BTreeMap<&str, (f64, BTreeMap<usize, &HostValue>)> = BTreeMap::new();
    for (column, cell) in cells.iter().enumerate() {
        for host in &cell.hosts {
            let (farthest, values) = by_host.entry(host.id.as_str()).or_default();
            *farthest = farthest.max(host.ratio.ln().abs());
            values.insert(column, host);
        }
    }
    let mut hosts: Vec<_> = by_host.into_iter().collect();
    hosts.sort_by(|a, b| b.1.0.total_cmp(&a.1.0).then_with(|| a.0.cmp(b.0)));
    let all = hosts.len();
    let row = |(id, (_, values)): &(&str, (f64, BTreeMap<usize, &HostValue>))| {
        let ratio = |column: usize| {
            values.get(&column).map_or_else(String::new, |host| match host.stands_out {
                true => format!("{:.2} ✕", host.ratio),
                false => format!("{:.2}", host.ratio),
            })
        };
        std::iter::once((*id).to_owned()).chain((0..cells.len()).map(ratio)).collect()
    };
    let rows: Vec<Vec<String>> = hosts.iter().take(listed).map(row).collect();
    let title = match all > listed {
        true => format!(
            "Time to the median: the {listed} hosts of {} that are farthest from it in any cell",
            fleetmark_proto::unit::grouped(count(all))
        ),
        false => "Time to the median, the farthest hosts first".to_owned(),
    };
    let names =
        cells.iter().map(|cell| (chart::cell_name(cell.scenario, cell.spawner), Align::Right));
    let columns = std::iter::once(("host", Align::Left)).chain(names).collect();
    Grid { title, columns, rows }
}

/// A series of a pass that was measured as the cells are.
fn plain(series: &SeriesView, pass: Pass, metric: Metric) -> bool {
    (series.key.pass, series.key.variant, series.key.metric) == (pass, Variant::Plain, metric)
}

/// What a unit costs by its length: a picture for each build and workload, but for its length.
fn grains(profile: &ProfileView, section: &str) -> Markup {
    let mut grains: BTreeMap<(&str, Amount, Option<u32>), Grain> = BTreeMap::new();
    for SeriesView { cell, .. } in
        profile.series.iter().filter(|series| plain(series, Pass::Grain, Metric::Elapsed))
    {
        if let (Some(rounds), Some(median)) = (cell.workload.kernel_rounds, cell.median_ns) {
            let of = (cell.build.as_str(), cell.workload.amount, cell.workload.workers);
            grains.entry(of).or_default().add(rounds, cell.spawner, median, cell.units);
        }
    }
    let description = "A line a spawner. Where lines meet, the spawner no longer matters. The table below has the numbers.";
    html! {
        @for (grain, number) in grains.values().zip(1_u32..) {
            @let id = format!("{section}-grain{number}");
            @let told = Told { id: &id, title: "What a unit costs, by its length", description };
            @if let Some(picture) = chart::lines(grain, profile.kernel_time_ns, &told) {
                figure {
                    (legend(&grain.spawners().into_iter().collect::<Vec<_>>()))
                    (picture)
                    figcaption { "Both axes are logarithmic. Less is better." }
                }
            }
        }
    }
}

/// How late a task becomes beside CPU-bound work.
fn neighbours(profile: &ProfileView, section: &str) -> Markup {
    let late = profile.series.iter().filter(|it| plain(it, Pass::Neighbours, Metric::LatenessP99));
    let late: Vec<&SeriesView> = late.collect();
    let row = |series: &&SeriesView| {
        let median = series.cell.median_ns?;
        Some(Row {
            spawner: series.cell.spawner,
            value: median.to_f64(),
            interval: series.cell.interval.map(|it| (it.low_ns.to_f64(), it.high_ns.to_f64())),
            text: median.to_string(),
        })
    };
    let blocks: Vec<Block> = late
        .chunk_by(|a, b| table::same_group(&a.cell, &b.cell))
        .filter_map(|these| {
            let cell = &these.first()?.cell;
            let heading = format!("{}{}", cell.workload, table::build_here(&cell.build, profile));
            Some(Block { heading, rows: these.iter().filter_map(row).collect() })
        })
        .collect();
    let id = format!("{section}-neighbours");
    let told = Told {
        id: &id,
        title: "How late a tick beside CPU-bound work is",
        description: "A row a spawner: the 99th percentile. The table below has the numbers.",
    };
    html! {
        @if let Some(scale) = Rows::log(&blocks) {
            figure {
                (Rows { scale, name: duration, blocks }.draw(&told))
                figcaption {
                    "How late a task was that ticks every millisecond: the 99th percentile, on a logarithmic axis. Less is better."
                }
            }
        }
    }
}
