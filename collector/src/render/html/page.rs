//! What stands around the pieces of a page, and what all of them are made of.

use fleetmark_proto::{
    plan::Spawner,
    shell::grid::{Align, Grid},
    unit::{count, grouped},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    render::table,
    view::{Filter, View},
};

/// The style of all pages.
const STYLE: &str = include_str!("page.css");
/// What a browser may load for a page: nothing. The style is in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A whole page.
pub(super) fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
}

/// What the page is of, when it was made, and what was asked for.
pub(super) fn top(title: &str, view: &View) -> Markup {
    let hosts: u64 = view.profiles.iter().map(|profile| profile.hosts).sum();
    let runs: u64 = view.profiles.iter().map(|profile| profile.runs).sum();
    let made = table::time(view.generated_at);
    html! {
        header {
            h1 { (title) }
            p {
                (many(hosts, "host")) ", " (many(runs, "run")) ", "
                (many(count(view.profiles.len()), "group")) ". Made "
                time datetime=(made) { (made) } "."
            }
            (asked(&view.filter))
        }
    }
}

/// What was asked for, as it is typed.
fn asked(filter: &Filter) -> Markup {
    let Filter { profile, host, label, scenario, spawner, build, since, until, include_suspect } =
        filter;
    let labels = label
        .iter()
        .flat_map(|(key, values)| values.iter().map(move |value| format!("{key}={value}")));
    let mut asked: Vec<(&str, String)> = Vec::new();
    asked.extend(profile.iter().map(|it| ("--profile", it.clone())));
    asked.extend(host.iter().map(|it| ("--host", it.clone())));
    asked.extend(labels.map(|it| ("--label", it)));
    asked.extend(scenario.iter().map(|it| ("--scenario", it.to_string())));
    asked.extend(spawner.iter().map(|it| ("--spawner", it.to_string())));
    asked.extend(build.iter().map(|it| ("--build", it.clone())));
    asked.extend(since.iter().map(|it| ("--since", table::time(*it))));
    asked.extend(until.iter().map(|it| ("--until", table::time(*it))));
    asked.extend(include_suspect.then(|| ("--include-suspect", String::new())));
    html! {
        @if !asked.is_empty() {
            p {
                "Asked for:"
                @for (flag, value) in &asked { " " code { (flag) " " (value) } }
            }
        }
    }
}

/// Where to find each group, if there are several.
pub(super) fn contents(view: &View) -> Markup {
    html! {
        @if view.profiles.len() > 1 {
            nav aria-label="Groups" {
                ul {
                    @for (profile, number) in view.profiles.iter().zip(1_u32..) {
                        li {
                            a href=(format!("#p{number}")) { (table::name(profile)) }
                            " " span.muted { (many(profile.hosts, "host")) }
                        }
                    }
                }
            }
        }
    }
}

/// What the words and marks mean.
pub(super) fn how_to_read(against: Spawner) -> Markup {
    html! {
        section aria-labelledby="reading" {
            h2 #reading { "How to read this" }
            p {
                "A host's value is the median of its newest clean run; a group's median is the median of its hosts' values, \
                 and the whisker is its exact 95% interval. Each spawner is compared with " code { (against) } " by ratios \
                 within each host: it is " em { "faster" } " or " em { "slower" } " if the whole interval of the ratio lies more \
                 than 2% off, a " em { "tie" } " if it lies within 5%, and otherwise " em { "unresolved" } ". Suspect and \
                 partial runs enter no median unless it is said."
            }
            p {
                "Among the hosts of a group, a cross with a name marks one that is far slower than the others: of twelve or more, by a \
                 modified z-score over 3.5 and at least 5%."
            }
            p {
                "What was not measured: memory bandwidth, caches, disks and networks."
            }
        }
    }
}

/// A table that scrolls by itself where it is wider than the page. Its first column names the rows.
pub(super) fn table(grid: &Grid) -> Markup {
    let Grid { title, columns, rows } = grid;
    let aligns: Vec<Align> = columns.iter().map(|(_, align)| *align).collect();
    // Numbers need no class, nor do names of rows.
    let word = |column: usize| aligns.get(column).filter(|align| !align.is_right()).map(|_| "l");
    let number = |column: usize| aligns.get(column).filter(|align| align.is_right()).map(|_| "r");
    html! {
        div.scroll tabindex="0" role="region" aria-label=(title) {
            table {
                caption { (title) }
                thead {
                    tr {
                        @for (column, (name, _)) in columns.iter().enumerate() {
                            th class=[word(column)] scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            @for (column, cell) in row.iter().enumerate() {
                                @if column == 0 {
                                    th class=[number(column)] scope="row" { (cell) }
                                } @else {
                                    td class=[word(column)] { (cell) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A table that is there for who opens it, and on paper.
pub(super) fn folded(summary: &str, grid: &Grid) -> Markup {
    html! {
        details {
            summary { (summary) }
            (table(grid))
        }
    }
}

/// Such as `1 host` or `2,000 hosts`.
pub(super) fn many(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}
