//! Cells over time, with what changed beside them.

use std::collections::BTreeMap;

use fleetmark_proto::{
    shell::grid::{Align, Grid},
    unit::{count, grouped},
};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    chart::{self, Panel, Told, cell_name, courses},
    page::{self, Further, Links, Page},
};
use crate::{
    render::{
        history::{beside, changes, facts, jumps, overview, percent, title, when},
        table,
    },
    view::{BOOT, GroupChange, History, Jump, Line, Point, PointState, Subject},
};

/// Panels on a page: subjects have pictures while their cells fit in, the first in any case.
const PANELS: usize = 660;
/// Points on a page, shared by its lines, and how many a line has at most and at least.
const POINTS: usize = 10_000;
const MOST_POINTS: usize = 200;
const LEAST_POINTS: usize = 12;
/// Rows of a page's tables, shared by its subjects, and how many one has at most and at least.
const ROWS: usize = 400;
const MOST_ROWS: usize = 60;
const LEAST_ROWS: usize = 6;
/// What one mark tells of changed facts, at most.
const FACTS: usize = 5;

/// How much of each subject a page has room for.
#[derive(Clone, Copy)]
pub(super) struct Room {
    points: usize,
    rows: usize,
}

impl Room {
    /// Of a page about these.
    pub(super) fn of(subjects: &[Subject]) -> Self {
        let lines: usize = subjects.iter().map(|subject| subject.lines.len()).sum();
        Self {
            points: (POINTS / lines.max(1)).clamp(LEAST_POINTS, MOST_POINTS),
            rows: (ROWS / subjects.len().max(1)).clamp(LEAST_ROWS, MOST_ROWS),
        }
    }
}

/// Cells over time, subject by subject.
#[must_use]
pub fn history(history: &History, links: Links) -> Page {
    let title = "fleetmark history".to_owned();
    let (shown, left_out) = history.subjects.split_at(fitting(&history.subjects));
    let room = Room::of(shown);
    let runs: u64 = history.subjects.iter().map(|subject| subject.runs).sum();
    let of = match history.subjects.iter().all(|subject| subject.host.is_some()) {
        true => "host",
        false => "group",
    };
    let holds =
        format!("{}, {}", page::many(count(history.subjects.len()), of), page::many(runs, "run"));
    let body = html! {
        (page::top(&title, &holds, history.generated_at, &page::asked(&history.filter)))
        (contents(shown))
        (chart::marks())
        main {
            (key())
            @for (subject, number) in shown.iter().zip(1_u32..) {
                @let id = format!("s{number}");
                section aria-labelledby=(id) {
                    h2 id=(id) { (self::title(subject)) }
                    (elsewhere(subject, links))
                    (page::facts(&facts(subject, history)))
                    (course(subject, history, &id, room))
                }
            }
            @if !left_out.is_empty() {
                section aria-labelledby="more" {
                    h2 #more { "Not on this page" }
                    p { "Ask for these by themselves, with --host or --profile:" }
                    p { (left_out.iter().take(500).map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ")) }
                }
            }
            (how_to_read())
        }
    };
    Page { title, body }
}

/// How many of these have their pictures on one page.
fn fitting(subjects: &[Subject]) -> usize {
    let panels = subjects.iter().scan(0, |panels, subject| {
        *panels += subject.lines.len();
        Some(*panels)
    });
    let fitting = panels.take_while(|panels| *panels <= PANELS).count();
    fitting.max(1).min(subjects.len())
}

fn contents(subjects: &[Subject]) -> Markup {
    html! {
        @if subjects.len() > 1 {
            nav aria-label="Subjects" {
                ul {
                    @for (subject, number) in subjects.iter().zip(1_u32..) {
                        li { a href=(format!("#s{number}")) { (title(subject)) } }
                    }
                }
            }
        }
    }
}

fn elsewhere(subject: &Subject, links: Links) -> Markup {
    match (&subject.host, &subject.profile) {
        (Some(host), _) => links.further(&[Further {
            path: "/host",
            query: &[("host", host.id.as_str())],
            name: "all about this host",
        }]),
        (None, Some(profile)) => {
            let query = &[("profile", profile.id.as_str())][..];
            links.further(&[
                Further { path: "/report", query, name: "its report" },
                Further { path: "/outliers", query, name: "its slow hosts" },
            ])
        }
        (None, None) => html! {},
    }
}

fn how_to_read() -> Markup {
    html! {
        section aria-labelledby="reading" {
            h2 #reading { "How to read this" }
            p {
                "Each cell has a panel of its own, whose axis begins near its least value and spans a tenth of it at least, so that noise \
                 looks flat. Less is better. The whisker is the interval of the median; where it leaves the panel, it goes on. \
                 A dashed line with a number is a time at which a recorded fact changed or a cell jumped; the list below the picture says what."
            }
        }
    }
}

/// One subject's pictures, what their marks stand for, and the numbers.
pub(super) fn course(subject: &Subject, history: &History, id: &str, room: Room) -> Markup {
    let all = marks(subject);
    // Those with a jump come first, then the newest.
    let mut kept: Vec<&Mark<'_>> = all.iter().collect();
    kept.sort_by_key(|mark| (mark.jumps.is_empty(), std::cmp::Reverse(mark.at)));
    kept.truncate(room.rows);
    kept.sort_by_key(|mark| mark.at);
    let times: Vec<Timestamp> = kept.iter().map(|mark| mark.at).collect();
    let named = |grid: Grid, name: &str| Grid { title: name.to_owned(), ..grid };
    html! {
        @for (lines, number) in alike(&subject.lines).iter().zip(1_u32..) {
            (picture(lines, history, (&format!("{id}-{number}"), &title(subject)), (&times, room)))
        }
        @if !kept.is_empty() {
            p { "What the numbers above the picture stand for:" }
            ol.marked { @for mark in &kept { li { (mark.words(history)) } } }
            @if all.len() > kept.len() {
                p { (grouped(count(all.len() - kept.len()))) " older ones without a jump have no number; ask for less --since, or --format json." }
            }
        }
        (page::folded("From the first to the last", &named(overview(subject), "from the first value to the last")))
        @for (grid, summary) in [(changes(subject, history), "What changed"), (jumps(subject, history), "What jumped")] {
            @if !grid.rows.is_empty() { (page::folded(summary, &page::newest(grid, room.rows))) }
        }
    }
}

/// Lines that one picture may have: of each cell one.
fn alike(lines: &[Line]) -> Vec<Vec<&Line>> {
    let mut pictures: Vec<Vec<&Line>> = Vec::new();
    for line in lines {
        let fits = |others: &Vec<&Line>| {
            others.iter().all(|other| {
                let same_work = (other.workload, other.units) == (line.workload, line.units);
                other.scenario != line.scenario || same_work && other.spawner != line.spawner
            })
        };
        match pictures.iter_mut().find(|others| fits(others)) {
            Some(others) => others.push(line),
            None => pictures.push(vec![line]),
        }
    }
    pictures
}

/// The newest points of a line, as many as there is room for.
fn newest(line: &Line, most: usize) -> &[Point] {
    line.points.get(line.points.len().saturating_sub(most)..).unwrap_or_default()
}

fn picture(
    lines: &[&Line],
    history: &History,
    (id, name): (&str, &str),
    (marks, room): (&[Timestamp], Room),
) -> Markup {
    let panels: Vec<Panel<'_>> =
        lines.iter().map(|line| Panel { line, points: newest(line, room.points) }).collect();
    let title = format!("{name}: cells over time");
    let description = "A panel a cell over one axis of time: each point is a median, its whisker the interval, a triangle a jump, a ring what \
                       does not count. Dashed lines have numbers; the list below says what changed there. The table below has the numbers.";
    let most = lines.iter().map(|line| line.points.len()).max().unwrap_or(0);
    let mut workloads: Vec<String> =
        lines.iter().map(|line| format!("{}: {}", line.scenario, line.workload)).collect();
    workloads.dedup();
    html! {
        @if let Some(picture) = courses(&panels, marks, &Told { id, title: &title, description }) {
            figure {
                (picture)
                figcaption {
                    (workloads.join("; ")) ". The newest value that counts stands at the right."
                    @if most > room.points {
                        " Of " (grouped(count(most))) " points a line the newest " (grouped(count(room.points)))
                        " are drawn; ask for fewer cells or hosts to see more."
                    }
                }
            }
            (page::folded("Numbers of the picture", &numbers(lines, history, room)))
        }
    }
}

/// What the marks mean; a page has it once.
pub(super) fn key() -> Markup {
    let marks = [
        ("slower", chart::up(7.0, 7.0), "jumped up, slower"),
        ("faster", chart::down(7.0, 7.0), "jumped down, faster"),
        ("left-out", chart::ring(7.0, 7.0, 4), "suspect or partial, does not count"),
        ("nothing", chart::cross(7.0, 7.0), "no value"),
    ];
    chart::key(marks.into_iter())
}

/// A row a time, a column a cell.
fn numbers(lines: &[&Line], history: &History, room: Room) -> Grid {
    let mut rows: BTreeMap<(Timestamp, &str), BTreeMap<usize, &Point>> = BTreeMap::new();
    for (column, line) in lines.iter().enumerate() {
        for point in newest(line, room.points) {
            rows.entry((point.at, point.build.as_str())).or_default().insert(column, point);
        }
    }
    let builds: Vec<&str> = rows.keys().map(|(_, build)| *build).collect();
    let several = builds.iter().any(|build| builds.first() != Some(build));
    let row = |((at, build), points): (&(Timestamp, &str), &BTreeMap<usize, &Point>)| {
        let value = |column: usize| points.get(&column).map_or_else(String::new, |it| number(it));
        let mut row = vec![when(*at, history.bucket)];
        row.extend((0..lines.len()).map(value));
        row.extend(several.then(|| (*build).to_owned()));
        row
    };
    let mut columns = vec![("from", Align::Left)];
    columns.extend(lines.iter().map(|it| (cell_name(it.scenario, it.spawner), Align::Right)));
    columns.extend(several.then_some(("build", Align::Left)));
    let grid = Grid {
        title: "medians over time".to_owned(),
        columns,
        rows: rows.iter().map(row).collect(),
    };
    page::newest(grid, room.rows)
}

fn number(point: &Point) -> String {
    let Some(median) = point.median_ns else { return point.state.as_str().to_owned() };
    let mut text = median.to_string();
    if let Some(interval) = point.interval {
        text.push_str(&format!(" ({})", table::range(interval.low_ns, interval.high_ns)));
    }
    if point.state != PointState::Counts {
        text.push_str(&format!(", {}", point.state.as_str()));
    }
    if let Some(jump) = &point.jump {
        text.push_str(&format!(", {}", percent(jump.ratio)));
    }
    text
}

/// A time at which something happened.
struct Mark<'a> {
    at: Timestamp,
    /// Recorded facts that changed, but for restarts.
    changes: Vec<&'a GroupChange>,
    jumps: Vec<(&'a Line, &'a Jump)>,
}

/// What happened, oldest first. Hosts restart all the time, so that alone is no mark.
fn marks(subject: &Subject) -> Vec<Mark<'_>> {
    let mut all: BTreeMap<Timestamp, Mark<'_>> = BTreeMap::new();
    let empty = |at| Mark { at, changes: vec![], jumps: vec![] };
    for change in subject.changes.iter().filter(|it| it.change.fact != BOOT) {
        all.entry(change.at).or_insert_with(|| empty(change.at)).changes.push(change);
    }
    for line in &subject.lines {
        for point in &line.points {
            if let Some(jump) = &point.jump {
                let mark = all.entry(point.at).or_insert_with(|| empty(point.at));
                mark.jumps.push((line, jump));
            }
        }
    }
    all.into_values().collect()
}

impl Mark<'_> {
    fn words(&self, history: &History) -> String {
        let Self { at, changes, jumps } = self;
        let change = |it: &&GroupChange| {
            let GroupChange { change, hosts, .. } = it;
            let on = page::many(*hosts, "host");
            format!("{} from {} to {} on {on}", change.fact, change.from, change.to)
        };
        let mut parts: Vec<String> = changes.iter().take(FACTS).map(change).collect();
        if changes.len() > FACTS {
            let more = count(changes.len() - FACTS);
            parts.push(page::many(more, "more fact"));
        }
        if parts.is_empty() {
            let facts: Vec<GroupChange> =
                jumps.iter().flat_map(|(_, jump)| jump.beside.iter().cloned()).collect();
            parts.push(match beside(&facts) {
                facts if facts.is_empty() => "nothing that is recorded changed".to_owned(),
                facts => format!("beside {facts}"),
            });
        }
        parts.extend(jumps.iter().map(|(line, jump)| {
            format!("{} {}", cell_name(line.scenario, line.spawner), percent(jump.ratio))
        }));
        format!("{}: {}", when(*at, history.bucket), parts.join("; "))
    }
}
