//! What stands around the pages of the dashboard, and those pages that no command has.

use fleetmark_proto::{
    plan::{Scenario, Spawner},
    shell::grid::{Align, Grid},
    unit::count,
};
use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};

use super::{
    chart, fleet as medians,
    page::{self, Links, Page, document},
};
use crate::{
    render::table,
    view::{Arrival, Choices, HostRow, View},
};

/// The style of what stands around pages, which files have no use for.
const STYLE: &str = include_str!("dashboard.css");
/// The pages, with their names.
const PAGES: [(&str, &str); 8] = [
    ("/", "fleet"),
    ("/report", "report"),
    ("/compare", "compare"),
    ("/advise", "advise"),
    ("/outliers", "outliers"),
    ("/history", "history"),
    ("/host", "hosts"),
    ("/runs", "runs"),
];

/// What stands around a page.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where it is.
    pub path: &'a str,
    /// The command that says the same.
    pub command: Option<&'a str>,
    /// What can be chosen on it.
    pub choosing: Option<Choosing>,
    /// What was chosen, by the names of flags.
    pub pairs: &'a [(String, String)],
    /// What there is to choose from.
    pub choices: &'a Choices,
    /// Another text for other contents; empty for a page that does not refresh itself.
    pub tag: &'a str,
}

/// What a form lets people choose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Choosing {
    /// Runs.
    Runs,
    /// Runs, and what puts them together.
    Groups,
    /// Sides of a comparison.
    Sides,
    /// A host.
    Host,
    /// Hosts, and what they have in common.
    Kinds,
    /// Runs, and what each line is of.
    Lines,
}

/// A page of the dashboard.
#[must_use]
pub fn framed(page: &Page, frame: &Frame<'_>) -> String {
    let title = match frame.path {
        "/" => "fleetmark".to_owned(),
        _ => page.title.clone(),
    };
    let head = html! {
        style { (PreEscaped(STYLE)) }
        @if !frame.tag.is_empty() { script src="/live.js" defer {} }
    };
    let body = html! {
        (bar(frame))
        @if let Some(choosing) = frame.choosing { (form(frame, choosing)) }
        div #page data-tag=(frame.tag) { (page.body) }
        @if let Some(command) = frame.command {
            footer {
                p { "The same on the command line: " code { (command) } }
                p.muted {
                    "Where the store is on another host, with " code { "--server URL" } ". Times are in UTC."
                }
            }
        }
    };
    document(&title, &head, &body).into_string()
}

fn bar(frame: &Frame<'_>) -> Markup {
    html! {
        nav.bar aria-label="Pages" {
            ul {
                @for (path, name) in PAGES {
                    li { a href=(path) aria-current=[(path == frame.path).then_some("page")] { (name) } }
                }
            }
            @if !frame.tag.is_empty() {
                p #live.muted role="status" { "as of now; reload to see what is new" }
            }
        }
    }
}

/// A form that needs no script: its fields are flags, and those left empty say nothing.
fn form(frame: &Frame<'_>, choosing: Choosing) -> Markup {
    // Who has said nothing yet, or something wrong, will want it.
    let open = frame.tag.is_empty() || (choosing == Choosing::Sides && frame.pairs.is_empty());
    let select = !matches!(choosing, Choosing::Sides | Choosing::Host);
    html! {
        details.choose open[open] {
            summary { "Choose what is shown" }
            form method="get" action=(frame.path) {
                // What has no field here stays as it is.
                @for (key, value) in frame.pairs.iter().filter(|(key, _)| !has_field(choosing, key)) {
                    input type="hidden" name=(key) value=(value);
                }
                @match choosing {
                    Choosing::Sides => { (sides(frame)) }
                    Choosing::Host => { (text(frame, "host", "host", "id or name", None)) }
                    _ => {}
                }
                @if select || choosing == Choosing::Sides {
                    (text(frame, "profile", "profile", "name or id", Some("profiles")))
                    (text(frame, "label", "label", "KEY=VALUE", None))
                }
                @if select {
                    (text(frame, "host", "host", "id or name", None))
                    @if choosing != Choosing::Runs {
                        (text(frame, "by", "put together by", "profile", None))
                    }
                }
                @if choosing != Choosing::Host {
                    (choice(frame, "scenario", &Scenario::ALL.map(Scenario::name)))
                    (choice(frame, "spawner", &Spawner::ALL.map(Spawner::name)))
                }
                (text(frame, "since", "since", "time, or 30d ago", None))
                @if choosing != Choosing::Host {
                    (text(frame, "until", "until", "time, or 7d ago", None))
                }
                @if choosing != Choosing::Host { (suspect(frame)) }
                button type="submit" { "Show" }
            }
            (list("profiles", &frame.choices.profiles))
            (list("sides", &frame.choices.sides))
        }
    }
}

/// Whether the form has a field for this flag.
fn has_field(choosing: Choosing, key: &str) -> bool {
    match (choosing, key) {
        (_, "since") | (Choosing::Sides, "side") => true,
        (Choosing::Host, key) => key == "host",
        (Choosing::Sides, "host" | "by") | (Choosing::Runs, "by") => false,
        (_, key) => {
            ["profile", "label", "host", "by", "scenario", "spawner", "until", "include-suspect"]
                .contains(&key)
        }
    }
}

fn sides(frame: &Frame<'_>) -> Markup {
    let given: Vec<&str> = values(frame, "side").collect();
    let fields = (given.len() + 1).clamp(3, 26);
    html! {
        @for (number, letter) in ('A'..='Z').take(fields).enumerate() {
            label {
                "side " (letter) " "
                input name="side" list="sides" value=(given.get(number).unwrap_or(&""))
                    placeholder=(if number < 2 { "profile or FACET=VALUE" } else { "none" }) required[number < 2];
            }
        }
    }
}

fn values<'a>(frame: &Frame<'a>, key: &'a str) -> impl Iterator<Item = &'a str> {
    let of_key = move |(name, value): &'a (String, String)| (name == key).then_some(value.as_str());
    frame.pairs.iter().filter_map(of_key)
}

/// A field for each value that was given, and one where none was.
fn text(frame: &Frame<'_>, key: &str, name: &str, placeholder: &str, list: Option<&str>) -> Markup {
    let given: Vec<&str> = values(frame, key).collect();
    html! {
        @for value in if given.is_empty() { &[""][..] } else { &given } {
            label {
                (name) " "
                input name=(key) value=(value) placeholder=(placeholder) list=[list];
            }
        }
    }
}

fn choice(frame: &Frame<'_>, key: &str, names: &[&str]) -> Markup {
    let given: Vec<&str> = values(frame, key).collect();
    html! {
        label {
            (key) " "
            select name=(key) multiple[given.len() > 1] {
                option value="" { "all" }
                @for name in names { option value=(name) selected[given.contains(name)] { (name) } }
                // Several, which one field cannot show.
                @for value in given.iter().filter(|value| !names.contains(value)) {
                    option value=(value) selected { (value) }
                }
            }
        }
    }
}

fn suspect(frame: &Frame<'_>) -> Markup {
    let given = values(frame, "include-suspect").next().is_some_and(|it| it != "false");
    html! {
        label.check {
            input type="checkbox" name="include-suspect" value="true" checked[given];
            " with suspect runs"
        }
    }
}

fn list(id: &str, values: &[String]) -> Markup {
    html! { datalist id=(id) { @for value in values { option value=(value) {} } } }
}

/// A page that says one thing.
#[must_use]
pub fn message(title: &str, line: &str) -> Page {
    let body = html! {
        header { h1 { (title) } }
        main { p { (line) } }
    };
    Page { title: format!("fleetmark: {title}"), body }
}

/// The first page: what came last, and the medians of all.
#[must_use]
pub fn fleet(view: &View, arrivals: &[Arrival], links: Links) -> Page {
    let title = "fleetmark fleet".to_owned();
    let hosts: u64 = view.profiles.iter().map(|profile| profile.hosts).sum();
    let runs: u64 = view.profiles.iter().map(|profile| profile.runs).sum();
    let groups = page::many(count(view.profiles.len()), "group");
    let holds = format!("{}, {}, {groups}", page::many(hosts, "host"), page::many(runs, "run"));
    let body = html! {
        (page::top(&title, &holds, view.generated_at, &page::asked(&view.filter)))
        (chart::marks())
        main {
            @if view.profiles.is_empty() {
                p { "No run matches yet. An agent reports with " code { "fleetmark-agent run --collector URL" } "." }
            }
            section aria-labelledby="arriving" {
                h2 #arriving { "Runs arriving" }
                (runs_table(arrivals, "newest runs", links))
                p { a href="/runs" { "more runs" } }
            }
            section aria-labelledby="groups" {
                h2 #groups { "Groups" }
                (groups_table(view, links))
            }
            (medians::medians(view))
            (page::how_to_read(view.against))
        }
    };
    Page { title, body }
}

/// Medians alone, with why there is no more.
#[must_use]
pub fn summary(view: &View, why: &str, links: Links) -> Page {
    let title = "fleetmark fleet".to_owned();
    let hosts: u64 = view.profiles.iter().map(|profile| profile.hosts).sum();
    let runs: u64 = view.profiles.iter().map(|profile| profile.runs).sum();
    let holds = format!("{}, {}", page::many(hosts, "host"), page::many(runs, "run"));
    let body = html! {
        (page::top(&title, &holds, view.generated_at, &page::asked(&view.filter)))
        (chart::marks())
        main {
            p { "Medians alone: " (why) "." }
            section aria-labelledby="groups" {
                h2 #groups { "Groups" }
                (groups_table(view, links))
            }
            (medians::medians(view))
            (page::how_to_read(view.against))
        }
    };
    Page { title, body }
}

fn groups_table(view: &View, links: Links) -> Markup {
    let columns = vec![
        ("group", Align::Left),
        ("hosts", Align::Right),
        ("runs", Align::Right),
        ("suspect", Align::Right),
        ("partial", Align::Right),
    ];
    let row = |profile: &crate::view::ProfileView| {
        let numbers = [profile.hosts, profile.runs, profile.suspect_runs, profile.partial_runs];
        let numbers = numbers.map(fleetmark_proto::unit::grouped);
        [table::name(profile)].into_iter().chain(numbers).collect()
    };
    let rows = view.profiles.iter().map(row).collect();
    let link = |name: &str| {
        let profile = view.profiles.iter().find(|profile| table::name(profile) == name);
        match profile.and_then(|profile| profile.id.as_ref()) {
            Some(id) => links.profile(id.as_str(), name),
            None => html! { (name) },
        }
    };
    page::linked(&Grid { title: "groups".to_owned(), columns, rows }, &link)
}

/// The runs that came last.
#[must_use]
pub fn arrivals(arrivals: &[Arrival], now: Timestamp, links: Links) -> Page {
    let title = "fleetmark runs".to_owned();
    let holds = format!("the newest {}", page::many(count(arrivals.len()), "run"));
    let body = html! {
        (page::top(&title, &holds, now, &html! {}))
        main { (runs_table(arrivals, "runs, by when they came", links)) }
    };
    Page { title, body }
}

fn runs_table(arrivals: &[Arrival], title: &str, links: Links) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(title) {
            table {
                caption { (title) }
                thead {
                    tr {
                        @for name in ["host", "came", "quality", "profile", "why"] {
                            th.l scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for run in arrivals {
                        tr {
                            th scope="row" { (host(run, links)) }
                            td.l { (table::time(run.received_at)) }
                            td.l { (quality(run)) }
                            td.l { (links.profile(run.profile.id.as_str(), &run.profile.name)) }
                            td.l.wrap { (why(run)) }
                        }
                    }
                }
            }
        }
    }
}

/// The id alone: names are long, and the host's page has it.
fn host(run: &Arrival, links: Links) -> Markup {
    links.host(run.host.id.as_str(), run.host.id.as_str())
}

fn quality(run: &Arrival) -> &'static str {
    if run.partial.is_some() { "partial" } else { run.quality.name() }
}

fn why(run: &Arrival) -> String {
    let mut why = run.reasons.clone();
    why.extend(run.partial.clone());
    if run.failed_cells > 0 {
        why.push(format!("{} cells failed", run.failed_cells));
    }
    why.join("; ")
}

/// All hosts that are known.
#[must_use]
pub fn hosts(rows: &[HostRow], now: Timestamp, links: Links) -> Page {
    let title = "fleetmark hosts".to_owned();
    let grid = Grid { title: "hosts that are known".to_owned(), ..table::hosts(rows) };
    let body = html! {
        (page::top(&title, &page::many(count(rows.len()), "host"), now, &html! {}))
        main { (page::linked(&grid, &|id| links.host(id, id))) }
    };
    Page { title, body }
}
