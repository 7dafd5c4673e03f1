//! Slow hosts, on a terminal, in a document, and for programs.

use fleetmark_proto::{
    shell::{
        grid::{Align, Grid},
        look::Look,
        output::Form,
    },
    unit::{Times, grouped},
};

use super::{RenderError, json, table::time};
use crate::view::{Looked, LookedState, OutliersView, SlowCellView, SlowHost};

/// Hosts that are slow, and what was looked at.
///
/// # Errors
///
/// If the form refuses a value.
pub fn outliers(view: &OutliersView, form: Form) -> Result<String, RenderError> {
    match form {
        Form::Json => json(view),
        Form::Csv => Ok(lines(view)),
        Form::People(look) => Ok(table(view, look)),
    }
}

fn table(view: &OutliersView, look: Look) -> String {
    let mut text = String::new();
    for host in &view.hosts {
        text.push_str(&slow(host, look));
        text.push('\n');
    }
    if view.hosts.is_empty() {
        text.push_str(if view.groups.iter().any(|group| group.judged > 0) {
            "no host is slow\n\n"
        } else {
            "no host could be judged\n\n"
        });
    }
    text.push_str(&look.grid(&looked(&view.groups)));
    text.push('\n');
    text.push_str(&look.sentences(&notes(view)));
    text
}

/// A host that is slow: since when, why, and in what.
fn slow(host: &SlowHost, look: Look) -> String {
    let mut text = look.heading(&title(host));
    text.push_str(&look.facts(&facts(host)));
    text.push('\n');
    text.push_str(&look.grid(&cells(&host.cells)));
    text
}

/// Which host is slow, and how sure that is.
pub(super) fn title(host: &SlowHost) -> String {
    let among = match host.group_profiles {
        0 | 1 => String::new(),
        kinds => format!(" among {} kinds of machines", grouped(kinds)),
    };
    format!("host {} is slow{among}, {}", host.host, host.state.words())
}

/// What is told of a slow host in words.
pub(super) fn facts(host: &SlowHost) -> Vec<(&'static str, String)> {
    let mut facts = vec![("profile", host.profile.to_string())];
    if host.group != host.profile.name {
        facts.push(("group", host.group.clone()));
    }
    let before = if host.or_before { " or before, as no older run is in the window" } else { "" };
    facts.push(("since", format!("{}{before}", time(host.since))));
    facts.push((
        "slow runs",
        format!("{} in a row, the newest of {}", host.runs, time(host.newest)),
    ));
    if host.differs.is_empty() {
        facts.push(("beside it", "nothing that is recorded differs from its group".to_owned()));
    }
    facts.extend(
        host.differs.iter().map(|it| {
            ("beside it", format!("{} is {}, in its group {}", it.fact, it.host, it.group))
        }),
    );
    facts
}

pub(super) fn cells(cells: &[SlowCellView]) -> Grid {
    let times = Times::of(cells.iter().flat_map(|cell| [cell.value_ns, cell.median_ns]));
    let row = |cell: &SlowCellView| {
        vec![
            cell.scenario.to_string(),
            cell.spawner.to_string(),
            times.show(cell.value_ns),
            times.show(cell.median_ns),
            format!("+{:.1}%", 100.0 * (cell.deviation.ratio - 1.0)),
            cell.deviation.score.map_or_else(|| "∞".to_owned(), |score| format!("{score:.1}")),
            if cell.confirmed { "slow too" } else { "" }.to_owned(),
        ]
    };
    Grid {
        title: String::new(),
        columns: vec![
            ("scenario", Align::Left),
            ("spawner", Align::Left),
            ("host", Align::Right),
            ("group", Align::Right),
            ("slower", Align::Right),
            ("score", Align::RightAside),
            ("run before", Align::Verdict),
        ],
        rows: cells.iter().map(row).collect(),
    }
}

pub(super) fn looked(groups: &[Looked]) -> Grid {
    let row = |group: &Looked| {
        vec![
            group.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            group.name.clone(),
            grouped(group.hosts),
            grouped(group.judged),
            grouped(group.slow),
        ]
    };
    Grid {
        title: "looked at".to_owned(),
        columns: vec![
            ("id", Align::Left),
            ("name", Align::Left),
            ("hosts", Align::Right),
            ("judged", Align::Right),
            ("slow", Align::Right),
        ],
        rows: groups.iter().map(row).collect(),
    }
}

/// Why groups and hosts were not judged, and by which rule the others were.
pub(super) fn notes(view: &OutliersView) -> Vec<String> {
    let mut lines = Vec::new();
    for group in &view.groups {
        let name = &group.name;
        lines.extend(not_judged(group).map(|why| format!("{name}: {why}")));
        if group.without_clean_run > 0 {
            let hosts = grouped(group.without_clean_run);
            lines.push(format!("{name}: {hosts} without a run that counts"));
        }
        if !group.collisions.is_empty() {
            let hosts: Vec<&str> = group.collisions.iter().map(|host| host.as_str()).collect();
            let hosts = hosts.join(", ");
            lines.push(format!("{name}: {hosts} left out, as two machines claim this id"));
        }
        if group.profiles > 1 {
            lines.push(format!("{name}: {} profiles, put together", grouped(group.profiles)));
        }
    }
    let rule = &view.rule;
    lines.push(format!(
        "slow: over {} by the modified z-score and {:.0}% over the median, among {} hosts or more",
        rule.score,
        100.0 * rule.off,
        rule.hosts
    ));
    lines
}

/// Why a group was not judged, or not all of it.
pub(super) fn not_judged(group: &Looked) -> Option<String> {
    match group.state {
        LookedState::TooFew => Some(format!(
            "not judged, {} more host{} needed that {} measured with one build",
            group.missing_hosts,
            if group.missing_hosts == 1 { " is" } else { "s are" },
            if group.missing_hosts == 1 { "was" } else { "were" },
        )),
        LookedState::Incomplete => Some("not judged, as the CPU's model is unknown".to_owned()),
        LookedState::Judged => {
            let counted = group.hosts.saturating_sub(group.without_clean_run);
            let counted =
                counted.saturating_sub(fleetmark_proto::unit::count(group.collisions.len()));
            let rest = counted.saturating_sub(group.judged);
            (rest > 0).then(|| {
                format!("{} not judged, as too few others were measured like them", grouped(rest))
            })
        }
    }
}

/// A line a slow cell; the names of the columns are there without any, too.
fn lines(view: &OutliersView) -> String {
    let columns = [
        "host_id",
        "host_name",
        "profile_id",
        "profile_name",
        "group",
        "state",
        "since",
        "or_before",
        "runs",
        "newest",
        "scenario",
        "spawner",
        "workload",
        "units",
        "build",
        "value_ns",
        "median_ns",
        "hosts",
        "ratio",
        "score",
        "confirmed",
        "differs",
    ];
    let rows =
        view.hosts.iter().flat_map(|host| host.cells.iter().map(move |cell| line(host, cell)));
    let columns = columns.into_iter().map(|name| (name, Align::Left)).collect();
    Grid { title: String::new(), columns, rows: rows.collect() }.csv()
}

/// In the order of the columns.
fn line(host: &SlowHost, cell: &SlowCellView) -> Vec<String> {
    let differs = host.differs.iter().map(|it| format!("{}: {} ({})", it.fact, it.host, it.group));
    vec![
        host.host.id.to_string(),
        host.host.name.clone(),
        host.profile.id.to_string(),
        host.profile.name.clone(),
        host.group.clone(),
        host.state.as_str().to_owned(),
        time(host.since),
        host.or_before.to_string(),
        host.runs.to_string(),
        time(host.newest),
        cell.scenario.to_string(),
        cell.spawner.to_string(),
        cell.workload.to_string(),
        cell.units.to_string(),
        cell.build.clone(),
        cell.value_ns.0.to_string(),
        cell.median_ns.0.to_string(),
        cell.hosts.to_string(),
        cell.deviation.ratio.to_string(),
        cell.deviation.score.map(|score| score.to_string()).unwrap_or_default(),
        cell.confirmed.to_string(),
        differs.collect::<Vec<_>>().join("; "),
    ]
}
