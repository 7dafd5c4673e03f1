//! Cells over time, on a terminal, in a document, and for programs.

use fleetmark_proto::{
    shell::{
        grid::{Align, Grid, csv},
        look::Look,
        output::Form,
    },
    unit::{Nanos, Times, approximate, grouped, rounded},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{RenderError, json, table::time};
use crate::view::{BOOT, Bucket, GroupChange, History, Line, Point, PointState, Subject};

/// Cells over time.
///
/// # Errors
///
/// If the form refuses a value.
pub fn history(history: &History, form: Form) -> Result<String, RenderError> {
    match form {
        Form::Json => json(history),
        Form::Csv => Ok(points_csv(history)),
        Form::People(look) => Ok(table(history, look)),
    }
}

fn table(history: &History, look: Look) -> String {
    let subjects: Vec<String> =
        history.subjects.iter().map(|subject| one(subject, history, look)).collect();
    subjects.join("\n")
}

fn one(subject: &Subject, history: &History, look: Look) -> String {
    let mut text = look.heading(&title(subject));
    text.push_str(&look.facts(&facts(subject, history)));
    let mut grids = vec![overview(subject)];
    if let [only] = &subject.lines[..] {
        grids.push(points(only, history));
    }
    grids.extend(Some(changes(subject, history)).filter(|grid| !grid.rows.is_empty()));
    grids.extend(Some(jumps(subject, history)).filter(|grid| !grid.rows.is_empty()));
    for grid in grids {
        text.push('\n');
        text.push_str(&look.grid(&grid));
    }
    text
}

/// What a subject is called, with what it is.
pub(super) fn title(subject: &Subject) -> String {
    match (&subject.host, &subject.profile) {
        (Some(_), _) => format!("host {}", subject.name),
        (None, Some(profile)) if profile.name == subject.name => format!("profile {profile}"),
        _ => subject.name.clone(),
    }
}

pub(super) fn facts(subject: &Subject, history: &History) -> Vec<(&'static str, String)> {
    let mut runs = grouped(subject.runs);
    if subject.suspect_runs > 0 {
        runs.push_str(&format!(", {} of them suspect", grouped(subject.suspect_runs)));
    }
    if subject.partial_runs > 0 {
        runs.push_str(&format!(", {} of them partial", grouped(subject.partial_runs)));
    }
    let mut facts = Vec::new();
    match (&subject.host, &subject.profile) {
        (Some(_), Some(profile)) => facts.push(("profile", profile.to_string())),
        (Some(_), None) => facts.push(("profile", "several; each is its own lines".to_owned())),
        (None, _) => facts.push(("hosts", grouped(subject.hosts))),
    }
    facts.push(("runs", runs));
    facts.push((
        "a point is",
        match history.bucket {
            None => "a run".to_owned(),
            Some(Bucket::Day) => "the median over hosts of a day".to_owned(),
            Some(Bucket::Week) => "the median over hosts of a week, from Monday on".to_owned(),
        },
    ));
    let percent = 100.0 * history.jump_from;
    facts.push(("a jump is", format!("{percent:.0}% or more, with intervals that are apart")));
    if !subject.collisions.is_empty() {
        let hosts: Vec<&str> = subject.collisions.iter().map(|host| host.as_str()).collect();
        let left_out = if subject.host.is_some() { "" } else { ", left out" };
        let hint = format!("{}: two machines claim this id{left_out}", hosts.join(", "));
        facts.push(("collision", hint));
    }
    facts
}

/// A line a cell: from the first to the last, and its course.
pub(super) fn overview(subject: &Subject) -> Grid {
    let row = |line: &Line| {
        let counting = || line.points.iter().filter(|point| point.state == PointState::Counts);
        let first = counting().find_map(|point| point.median_ns);
        let last = counting().rev().find_map(|point| point.median_ns);
        let change = first.zip(last).map(|(first, last)| last.to_f64() / first.to_f64().max(1.0));
        vec![
            line.scenario.to_string(),
            line.spawner.to_string(),
            first.map_or_else(|| "none".to_owned(), |first| first.to_string()),
            last.map_or_else(|| "none".to_owned(), |last| last.to_string()),
            change.map(percent).unwrap_or_default(),
            course(&line.points),
        ]
    };
    Grid {
        title: String::new(),
        columns: vec![
            ("scenario", Align::Left),
            ("spawner", Align::Left),
            ("first", Align::Right),
            ("last", Align::Right),
            ("change", Align::Right),
            ("over time", Align::Left),
        ],
        rows: subject.lines.iter().map(row).collect(),
    }
}

pub(super) fn percent(ratio: f64) -> String {
    // Nothing is added to 0, but to a negative one.
    format!("{:+.1}%", (1_000.0 * (ratio - 1.0)).round() / 10.0 + 0.0)
}

/// The newest points as bars. Their foot is the least value; the scale spans a tenth of it at least, so that noise looks flat.
/// What does not count is a dot.
fn course(points: &[Point]) -> String {
    const MOST: usize = 32;
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = points.get(points.len().saturating_sub(MOST)..).unwrap_or_default();
    let value = |point: &Point| match point.state {
        PointState::Counts => point.median_ns.map(Nanos::to_f64),
        _ => None,
    };
    let values = || shown.iter().filter_map(value);
    let least = values().fold(f64::INFINITY, f64::min);
    let most = values().fold(1.1 * least, f64::max);
    let bar = |point: &Point| {
        let Some(value) = value(point) else { return '·' };
        let steps = approximate(7) * (value - least) / (most - least).max(1.0);
        let step = usize::try_from(rounded(steps)).unwrap_or(0);
        BARS.get(step).copied().unwrap_or('█')
    };
    shown.iter().map(bar).collect()
}

/// Each point of the only cell that was asked for.
fn points(line: &Line, history: &History) -> Grid {
    let ends = |point: &Point| {
        let interval = point.interval.into_iter().flat_map(|found| [found.low_ns, found.high_ns]);
        point.median_ns.into_iter().chain(interval).collect::<Vec<Nanos>>()
    };
    let times = Times::of(line.points.iter().flat_map(ends));
    let row = |point: &Point| {
        let mut notes = Vec::new();
        if point.state != PointState::Counts {
            notes.push(format!("{}, not counted", point.state.as_str()));
        } else if point.suspect_left_out > 0 {
            notes.push(format!("{} suspect left out", grouped(point.suspect_left_out)));
        }
        if let Some(jump) = &point.jump {
            notes.push(percent(jump.ratio));
        }
        notes.extend(Some(beside(&point.changed)).filter(|beside| !beside.is_empty()));
        vec![
            when(point.at, history.bucket),
            point.median_ns.map_or_else(|| "none".to_owned(), |median| times.show(median)),
            point
                .interval
                .map_or_else(String::new, |found| times.range(found.low_ns, found.high_ns)),
            grouped(point.hosts),
            notes.join("; "),
        ]
    };
    Grid {
        title: format!("{} {}: {}", line.scenario, line.spawner, line.workload),
        columns: vec![
            ("from", Align::Left),
            ("median", Align::Right),
            ("interval", Align::Right),
            ("hosts", Align::RightAside),
            ("marks", Align::Verdict),
        ],
        rows: line.points.iter().map(row).collect(),
    }
}

/// Which facts changed, each once.
pub(super) fn beside(changes: &[GroupChange]) -> String {
    let mut facts: Vec<&str> = changes.iter().map(|change| change.change.fact.as_str()).collect();
    facts.dedup();
    facts.join(", ")
}

pub(super) fn changes(subject: &Subject, history: &History) -> Grid {
    let row = |GroupChange { at, change, hosts }: &GroupChange| {
        let (from, to) = match change.fact == BOOT {
            true => ("", "restarted"),
            false => (change.from.as_str(), change.to.as_str()),
        };
        vec![
            when(*at, history.bucket),
            change.fact.clone(),
            from.to_owned(),
            to.to_owned(),
            grouped(*hosts),
        ]
    };
    // Each host that restarts does so from a boot of its own.
    let mut rows: Vec<GroupChange> = Vec::new();
    for change in &subject.changes {
        let is_boot = change.change.fact == BOOT;
        let same =
            |row: &&mut GroupChange| is_boot && row.change.fact == BOOT && row.at == change.at;
        match rows.iter_mut().find(same) {
            Some(row) => row.hosts += change.hosts,
            None => rows.push(change.clone()),
        }
    }
    Grid {
        title: "what changed".to_owned(),
        columns: vec![
            ("from", Align::Left),
            ("fact", Align::Left),
            ("was", Align::Left),
            ("became", Align::Left),
            ("hosts", Align::Right),
        ],
        rows: rows.iter().map(row).collect(),
    }
}

pub(super) fn jumps(subject: &Subject, history: &History) -> Grid {
    let mut rows = Vec::new();
    for line in &subject.lines {
        for point in &line.points {
            let Some(jump) = &point.jump else { continue };
            let beside = match jump.beside.is_empty() {
                true => "nothing recorded".to_owned(),
                false => beside(&jump.beside),
            };
            rows.push((
                point.at,
                vec![
                    when(point.at, history.bucket),
                    line.scenario.to_string(),
                    line.spawner.to_string(),
                    percent(jump.ratio),
                    beside,
                ],
            ));
        }
    }
    rows.sort_by_key(|(at, _)| *at);
    Grid {
        title: "what jumped".to_owned(),
        columns: vec![
            ("from", Align::Left),
            ("scenario", Align::Left),
            ("spawner", Align::Left),
            ("change", Align::Right),
            ("beside it", Align::Left),
        ],
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    }
}

/// Buckets by their day, runs to the second.
pub(super) fn when(at: Timestamp, bucket: Option<Bucket>) -> String {
    match bucket {
        Some(_) => at.strftime("%Y-%m-%d").to_string(),
        None => time(at),
    }
}

/// A line a point.
fn points_csv(history: &History) -> String {
    #[derive(Serialize)]
    struct Row<'a> {
        subject: &'a str,
        host_id: Option<&'a str>,
        profile_id: Option<&'a str>,
        scenario: &'a str,
        spawner: &'a str,
        workload: String,
        units: u64,
        at: String,
        build: &'a str,
        median_ns: Option<u64>,
        low_ns: Option<u64>,
        high_ns: Option<u64>,
        confidence: Option<f64>,
        hosts: u64,
        suspect_left_out: u64,
        partial_left_out: u64,
        state: &'a str,
        jump: Option<f64>,
        changed: String,
    }
    let lines = history
        .subjects
        .iter()
        .flat_map(|subject| subject.lines.iter().map(move |line| (subject, line)));
    csv(lines.flat_map(|(subject, line)| {
        line.points.iter().map(move |point| Row {
            subject: &subject.name,
            host_id: subject.host.as_ref().map(|host| host.id.as_str()),
            profile_id: subject.profile.as_ref().map(|profile| profile.id.as_str()),
            scenario: line.scenario.name(),
            spawner: line.spawner.name(),
            workload: line.workload.to_string(),
            units: line.units,
            at: time(point.at),
            build: &point.build,
            median_ns: point.median_ns.map(|median| median.0),
            low_ns: point.interval.map(|found| found.low_ns.0),
            high_ns: point.interval.map(|found| found.high_ns.0),
            confidence: point.interval.map(|found| found.confidence),
            hosts: point.hosts,
            suspect_left_out: point.suspect_left_out,
            partial_left_out: point.partial_left_out,
            state: point.state.as_str(),
            jump: point.jump.as_ref().map(|jump| jump.ratio),
            changed: beside(&point.changed),
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_shows_steps_and_no_noise() {
        let of = |values: &[Option<u64>]| {
            let points: Vec<Point> = values
                .iter()
                .map(|value| Point {
                    at: Timestamp::UNIX_EPOCH,
                    build: String::new(),
                    median_ns: value.map(Nanos),
                    interval: None,
                    hosts: 1,
                    suspect_left_out: 0,
                    partial_left_out: 0,
                    state: value.map_or(PointState::Suspect, |_| PointState::Counts),
                    changed: vec![],
                    jump: None,
                })
                .collect();
            course(&points)
        };
        assert_eq!(of(&[Some(1_000), Some(1_010), None, Some(1_250)]), "▁▁·█");
        assert_eq!(of(&[Some(1_000), Some(1_002)]), "▁▁");
        assert_eq!(of(&[Some(0), Some(0)]), "▁▁");
        assert_eq!(of(&[None]), "·");
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[Some(5); 100]).chars().count(), 32);
    }
}
