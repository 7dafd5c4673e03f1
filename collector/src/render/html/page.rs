//! What stands around the pieces of a page, and what all of them are made of.

use fleetmark_proto::{
    plan::Spawner,
    shell::grid::{Align, Grid},
    unit::{count, grouped},
};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use url::form_urlencoded::Serializer;

use crate::{
    render::table,
    view::{Filter, View},
};

/// The style of all pages.
const STYLE: &str = include_str!("page.css");
/// What a browser may load for a page: nothing. The style is in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A page, but for what stands around all of them.
pub struct Page {
    /// What it is called.
    pub title: String,
    /// Its heading, its contents and its main part.
    pub body: Markup,
}

impl Page {
    /// The page as a file by itself, which may load nothing.
    #[must_use]
    pub fn file(&self) -> String {
        let policy = html! { meta http-equiv="Content-Security-Policy" content=(POLICY); };
        document(&self.title, &policy, &self.body).into_string()
    }
}

/// A whole document: `head` comes before the title and the style of all pages, `body` is all that is seen.
#[must_use]
pub fn document(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                (head)
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
}

/// Where the names of hosts and profiles lead. The keys of a query are the names of the flags.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Links<'a> {
    /// Nowhere: a page that is a file stands by itself.
    None,
    /// To the other pages of the dashboard, which are about the same runs: with these pairs of the page's own query.
    Dashboard(&'a [(String, String)]),
}

impl Links<'_> {
    /// A host's name, which leads to all about it.
    pub(super) fn host(self, id: &str, name: &str) -> Markup {
        self.to("/host", &[("host", id)], name)
    }

    /// A host's name in a picture. Who goes by the keyboard finds the same in the table behind it.
    pub(super) fn host_in_picture(self, id: &str) -> Markup {
        match self {
            Self::None => html! { (id) },
            Self::Dashboard(carried) => {
                let address = address("/host", &[("host", id)], carried);
                html! { a tabindex="-1" href=(address) { (id) } }
            }
        }
    }

    /// A profile's name, which leads to its report.
    pub(super) fn profile(self, id: &str, name: &str) -> Markup {
        self.to("/report", &[("profile", id)], name)
    }

    /// What else there is to see; nothing in a file.
    pub(super) fn further(self, pages: &[Further<'_>]) -> Markup {
        html! {
            @if matches!(self, Self::Dashboard(_)) && !pages.is_empty() {
                p.further {
                    @for Further { path, query, name } in pages { (self.to(path, query, name)) " " }
                }
            }
        }
    }

    /// A page with this query.
    pub(super) fn to(self, path: &str, query: &[(&str, &str)], name: &str) -> Markup {
        match self {
            Self::None => html! { (name) },
            Self::Dashboard(carried) => {
                html! { a href=(address(path, query, carried)) { (name) } }
            }
        }
    }
}

/// A host is one whatever its labels are, and its page has its whole history.
fn address(path: &str, query: &[(&str, &str)], carried: &[(String, String)]) -> String {
    let takes = |key: &str| path != "/host" || key == "since";
    let carried = carried.iter().filter(|(key, _)| takes(key));
    let query = Serializer::new(String::new()).extend_pairs(query).extend_pairs(carried).finish();
    format!("{path}?{query}")
}

/// A further page.
pub(super) struct Further<'a> {
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    /// What the link says.
    pub(super) name: &'a str,
}

/// What the page is of, how much that is, when it was made, and what was asked for.
pub(super) fn top(title: &str, holds: &str, made: Timestamp, asked: &Markup) -> Markup {
    let made = table::time(made);
    html! {
        header {
            h1 { (title) }
            p { (holds) ". Made " time datetime=(made) { (made) } "." }
            (asked)
        }
    }
}

/// Facts under each other.
pub(super) fn facts(facts: &[(&str, String)]) -> Markup {
    html! {
        dl {
            @for (name, value) in facts {
                dt { (name) }
                dd { (value) }
            }
        }
    }
}

/// What was asked for, as it is typed.
pub(super) fn asked(filter: &Filter) -> Markup {
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
    linked(grid, &|name| html! { (name) })
}

/// A table with the names of its rows as `name` makes them.
pub(super) fn linked(grid: &Grid, name_of: &dyn Fn(&str) -> Markup) -> Markup {
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
                                    th class=[number(column)] scope="row" { (name_of(cell)) }
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
    fold(summary, &table(grid))
}

/// What is there for who opens it, and on paper.
pub(super) fn fold(summary: &str, what: &Markup) -> Markup {
    html! {
        details {
            summary { (summary) }
            (what)
        }
    }
}

/// A table of its last rows alone, which are the newest, if it has more than `most`.
pub(super) fn newest(mut grid: Grid, most: usize) -> Grid {
    let all = grid.rows.len();
    if all > most {
        grid.rows.drain(..all - most);
        grid.title.push_str(&format!(", the newest {most} of {}", grouped(count(all))));
    }
    grid
}

/// Such as `1 host` or `2,000 hosts`.
pub(super) fn many(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}
