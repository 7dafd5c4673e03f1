//! One host, on a terminal, in a document, and for programs.

use fleetmark_proto::{
    report::System,
    shell::{
        grid::{Align, Grid, csv},
        look::Look,
        output::Form,
    },
    unit::{Times, grouped},
};
use serde::Serialize;

use super::{RenderError, json, outliers, table::time};
use crate::view::{CellRow, HostView, PointState, RunRow, SlowCellView};

/// How many reasons and builds are told.
const TOLD: usize = 5;

/// All that is known of a host.
///
/// # Errors
///
/// If the form refuses a value.
pub fn host(view: &HostView, form: Form) -> Result<String, RenderError> {
    match form {
        Form::Json => json(view),
        Form::Csv => Ok(lines(view)),
        Form::People(look) => Ok(table(view, look)),
    }
}

fn table(view: &HostView, look: Look) -> String {
    let mut text = look.heading(&format!("host {}", view.host));
    text.push_str(&look.facts(&identity(view)));
    for grid in [cells(view), runs(&view.last_runs)] {
        text.push('\n');
        text.push_str(&look.grid(&grid));
    }
    text
}

fn identity(view: &HostView) -> Vec<(&'static str, String)> {
    [standing(view), machine(view)].concat()
}

/// Whether it is well, who it is, and how much is known of it.
pub(super) fn standing(view: &HostView) -> Vec<(&'static str, String)> {
    let mut facts = vec![("state", state(view))];
    if let Some(slow) = &view.slow {
        let of_group = ["profile", "group"];
        facts
            .extend(outliers::facts(slow).into_iter().filter(|(name, _)| !of_group.contains(name)));
    }
    facts.push(("id from", view.id_source.words().to_owned()));
    let labels: Vec<String> =
        view.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !labels.is_empty() {
        facts.push(("labels", labels.join(" ")));
    }
    facts.push(("runs", counted(view)));
    facts.extend(
        view.reasons.iter().take(TOLD).map(|it| {
            ("not counted", format!("{} run{}: {}", it.runs, plural(it.runs), it.reason))
        }),
    );
    facts.push((
        "clock",
        match view.clock {
            Some(skew) => format!("{skew} the collector's"),
            None => "as the collector's, as far as it tells".to_owned(),
        },
    ));
    facts.push(("profile", view.profile.to_string()));
    facts
}

/// Its hardware, what runs on it, and what it was measured with.
pub(super) fn machine(view: &HostView) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    facts.extend(view.facets.named());
    facts.extend(system(&view.system));
    facts.extend(view.builds.iter().take(TOLD).map(|it| {
        ("build", format!("{} ({} run{})", it.build, grouped(it.runs), plural(it.runs)))
    }));
    facts
}

fn plural(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// Whether it is well, as far as anybody can tell.
fn state(view: &HostView) -> String {
    if view.collision {
        return "collision: two machines claim this id, so it enters no median".to_owned();
    }
    if let Some(slow) = &view.slow {
        return format!("slow among hosts of its profile, {}", slow.state.words());
    }
    let in_window = |cell: &CellRow| view.since.is_none_or(|since| cell.at >= since);
    let counts = |cell: &CellRow| cell.state == PointState::Counts && in_window(cell);
    match &view.looked {
        Some(_) if !view.cells.iter().any(counts) => {
            "not judged, as no run of it in the window counts".to_owned()
        }
        None => "not judged, as it has no run in the window".to_owned(),
        Some(looked) => outliers::not_judged(looked).unwrap_or_else(|| {
            format!("as others: {} hosts of its profile were judged", grouped(looked.judged))
        }),
    }
}

fn counted(view: &HostView) -> String {
    let (first, last) = (time(view.first_seen), time(view.last_seen));
    let mut runs = grouped(view.runs);
    if view.suspect_runs > 0 {
        runs.push_str(&format!(", {} of them suspect", grouped(view.suspect_runs)));
    }
    if view.partial_runs > 0 {
        runs.push_str(&format!(", {} of them partial", grouped(view.partial_runs)));
    }
    format!("{runs}; {first} to {last}")
}

fn system(system: &System) -> Vec<(&'static str, String)> {
    let System { kernel, os, libc, microcode, mitigations, instance_type, memory_bytes } = system;
    let memory = memory_bytes.map(|bytes| format!("{} MiB", grouped(bytes >> 20)));
    let mitigations = mitigations.as_ref().map(|text| {
        let vulnerable = text.lines().filter(|line| line.contains("Vulnerable")).count();
        match vulnerable {
            0 => format!("{} known, vulnerable to none", text.lines().count()),
            some => format!("{} known, vulnerable to {some}", text.lines().count()),
        }
    });
    let facts = [
        ("kernel", kernel.clone()),
        ("os", os.clone()),
        ("libc", libc.clone()),
        ("microcode", microcode.clone()),
        ("vulnerabilities", mitigations),
        ("instance type", instance_type.clone()),
        ("memory", memory),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Whether the host is slow in this cell.
fn is_slow(view: &HostView, cell: &CellRow) -> bool {
    let same = |slow: &SlowCellView| {
        (slow.scenario, slow.spawner, slow.workload, slow.units, &slow.build)
            == (cell.scenario, cell.spawner, cell.workload, cell.units, &cell.build)
    };
    view.slow.as_ref().is_some_and(|slow| slow.cells.iter().any(same))
}

pub(super) fn cells(view: &HostView) -> Grid {
    let values = view.cells.iter().flat_map(|cell| [Some(cell.value_ns), cell.median_ns]);
    let times = Times::of(values.flatten());
    let row = |cell: &CellRow| {
        vec![
            cell.scenario.to_string(),
            cell.spawner.to_string(),
            times.show(cell.value_ns),
            cell.median_ns.map_or_else(|| "none".to_owned(), |median| times.show(median)),
            cell.ratio.map_or_else(String::new, |ratio| format!("{:+.1}%", 100.0 * (ratio - 1.0))),
            grouped(cell.hosts),
            match cell.state {
                PointState::Counts if is_slow(view, cell) => "slow".to_owned(),
                PointState::Counts => String::new(),
                state => format!("{}, not counted", state.as_str()),
            },
        ]
    };
    Grid {
        title: "newest values".to_owned(),
        columns: vec![
            ("scenario", Align::Left),
            ("spawner", Align::Left),
            ("host", Align::Right),
            ("profile", Align::Right),
            ("off", Align::Right),
            ("hosts", Align::RightAside),
            ("state", Align::Verdict),
        ],
        rows: view.cells.iter().map(row).collect(),
    }
}

pub(super) fn runs(runs: &[RunRow]) -> Grid {
    let row = |run: &RunRow| {
        let mut why = run.reasons.clone();
        why.extend(run.partial.clone());
        if run.failed_cells > 0 {
            why.push(format!("{} cells failed", run.failed_cells));
        }
        vec![
            time(run.at),
            if run.partial.is_some() { "partial" } else { run.quality.name() }.to_owned(),
            run.kernel.clone().unwrap_or_default(),
            why.join("; "),
        ]
    };
    Grid {
        title: "newest runs".to_owned(),
        columns: vec![
            ("ended", Align::Left),
            ("quality", Align::Verdict),
            ("kernel", Align::LeftAside),
            ("why", Align::Left),
        ],
        rows: runs.iter().map(row).collect(),
    }
}

/// A line a cell.
fn lines(view: &HostView) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        host_id: &'a str,
        host_name: &'a str,
        profile_id: &'a str,
        profile_name: &'a str,
        scenario: &'a str,
        spawner: &'a str,
        workload: String,
        units: u64,
        build: &'a str,
        at: String,
        state: &'a str,
        value_ns: u64,
        median_ns: Option<u64>,
        hosts: u64,
        ratio: Option<f64>,
    }
    csv(view.cells.iter().map(|cell| Line {
        host_id: view.host.id.as_str(),
        host_name: &view.host.name,
        profile_id: view.profile.id.as_str(),
        profile_name: &view.profile.name,
        scenario: cell.scenario.name(),
        spawner: cell.spawner.name(),
        workload: cell.workload.to_string(),
        units: cell.units,
        build: &cell.build,
        at: time(cell.at),
        state: cell.state.as_str(),
        value_ns: cell.value_ns.0,
        median_ns: cell.median_ns.map(|median| median.0),
        hosts: cell.hosts,
        ratio: cell.ratio,
    }))
}
