//! Tables for people, on a terminal or in a document.

use fleetmark_proto::{
    plan::{Amount, CellKey},
    shell::{
        grid::{Align, Grid},
        look::Look,
        passes::{self, Entry, Section},
    },
    unit::{Nanos, Times, grouped, rounded},
    verdict::{Basis, Outcome},
};
use jiff::Timestamp;

use crate::view::{
    CellView, Facet, FacetValue, HostRow, ProfileDiff, ProfileRow, ProfileView, Pruning,
    SeriesView, VerdictView, View,
};

/// What stands above all that is said of a group.
fn heading(profile: &ProfileView, look: Look) -> String {
    match look {
        Look::Text(_) if is_profile(profile) => look.heading(&format!("profile {}", name(profile))),
        _ => look.heading(&name(profile)),
    }
}

fn is_profile(profile: &ProfileView) -> bool {
    matches!(profile.by[..], [FacetValue { facet: Facet::Profile, .. }, ..])
}

/// What a group is called, with the id if it is a profile.
pub(super) fn name(profile: &ProfileView) -> String {
    let ProfileView { name, id, .. } = profile;
    match id.as_ref().filter(|_| is_profile(profile)) {
        Some(id) => format!("{name} ({id})"),
        None => name.clone(),
    }
}

pub(super) fn medians(view: &View, look: Look) -> String {
    let against = view.against.against();
    let profiles: Vec<String> =
        view.profiles.iter().map(|profile| one_profile(profile, against, look)).collect();
    profiles.join("\n")
}

fn one_profile(profile: &ProfileView, against: &'static str, look: Look) -> String {
    let mut text = heading(profile, look);
    text.push_str(&look.facts(&facts(profile)));
    let groups = profile.cells.chunk_by(same_group);
    for ((mut grid, settled), cells) in cells(profile, against).into_iter().zip(groups) {
        if matches!(look, Look::Text(_)) {
            add_bars(&mut grid, cells);
        }
        text.push('\n');
        text.push_str(&look.grid(&grid));
        if let Some(Settled { verdicts, who }) = settled {
            text.push_str(&look.sentences(&[format!("{verdicts}; {who}")]));
        }
    }
    for section in passes_of(profile) {
        text.push('\n');
        text.push_str(&section.shown(look));
    }
    text
}

/// The cells that may be compared with each other, a table each, with what is settled by it.
pub(super) fn cells(profile: &ProfileView, against: &'static str) -> Vec<(Grid, Option<Settled>)> {
    let table = |cells: &[CellView]| {
        let first = cells.first()?;
        Some((grid(first, cells, profile, against), settled(first, profile)))
    };
    profile.cells.chunk_by(same_group).filter_map(table).collect()
}

/// What is settled of a scenario over several hosts.
pub(super) struct Settled {
    /// What is said of each spawner.
    verdicts: String,
    /// How many hosts say so by themselves.
    pub(super) who: String,
}

fn settled(first: &CellView, profile: &ProfileView) -> Option<Settled> {
    let here = |found: &&VerdictView| {
        found.verdict.scenario == first.scenario
            && (found.workload, found.units, &found.build)
                == (first.workload, first.units, &first.build)
    };
    // One host says it in its table.
    let is_settled =
        |found: &&VerdictView| found.hosts > 1 && found.verdict.verdict != Outcome::Unresolved;
    let found: Vec<&VerdictView> =
        profile.verdicts.iter().filter(here).filter(is_settled).collect();
    let least = found.iter().min_by_key(|it| (it.agree, it.hosts))?;
    let (agree, hosts) = (grouped(least.agree), grouped(least.hosts));
    let words: Vec<String> =
        found.iter().map(|it| format!("{} {}", it.verdict.spawner, it.verdict)).collect();
    Some(Settled {
        verdicts: words.join(", "),
        who: match found.iter().all(|it| it.agree == it.hosts) {
            true => format!("{hosts} hosts agree"),
            false => format!("at least {agree} of {hosts} hosts agree"),
        },
    })
}

/// What the passes measured, build by build.
pub(super) fn passes_of(profile: &ProfileView) -> Vec<Section> {
    let builds = profile.series.chunk_by(|a, b| a.cell.build == b.cell.build);
    builds
        .flat_map(|build| {
            let entries: Vec<Entry> = build.iter().map(entry).collect();
            passes::sections(&entries, profile.kernel_time_ns)
        })
        .collect()
}

fn entry(series: &SeriesView) -> Entry {
    let SeriesView { key, cell, worst_ns } = series;
    Entry {
        key: *key,
        cell: CellKey { scenario: cell.scenario, spawner: cell.spawner },
        workload: cell.workload,
        units: cell.units,
        median: cell.median_ns,
        interval: cell.interval,
        worst: *worst_ns,
        failure: None,
    }
}

/// Whether two cells may be compared.
pub(super) fn same_group(a: &CellView, b: &CellView) -> bool {
    (a.scenario, a.workload, a.units, &a.build) == (b.scenario, b.workload, b.units, &b.build)
}

/// What a profile's runs are, and what of them was left out.
pub(super) fn facts(profile: &ProfileView) -> Vec<(&'static str, String)> {
    let mut runs = grouped(profile.runs);
    if profile.suspect_runs > 0 {
        runs.push_str(&format!(", {} of them suspect", grouped(profile.suspect_runs)));
    }
    if profile.partial_runs > 0 {
        runs.push_str(&format!(", {} of them partial", grouped(profile.partial_runs)));
    }
    let mut facts = vec![("hosts", grouped(profile.hosts)), ("runs", runs)];
    if profile.profiles > 1 {
        facts.push(("profiles", format!("{}, put together", grouped(profile.profiles))));
    }
    if let [only] = builds(profile)[..] {
        facts.push(("build", only.to_owned()));
    }
    if let Some(hint) = no_median(profile) {
        facts.push(("hint", hint.to_owned()));
    }
    if !profile.complete {
        let hint = "the CPU's model is unknown: no verdicts";
        facts.push(("incomplete", hint.to_owned()));
    }
    if !profile.collisions.is_empty() {
        let hosts: Vec<&str> = profile.collisions.iter().map(|host| host.as_str()).collect();
        let hint = format!("{}: two machines claim this id, left out", hosts.join(", "));
        facts.push(("collision", hint));
    }
    facts
}

/// Why no run of a profile counts, if none does.
fn no_median(profile: &ProfileView) -> Option<&'static str> {
    let series = profile.series.iter().map(|series| &series.cell);
    let mut suspect = 0;
    for cell in profile.cells.iter().chain(series) {
        if cell.median_ns.is_some() {
            return None;
        }
        suspect += cell.suspect_left_out;
    }
    match (suspect, profile.partial_runs) {
        (0, 0) => None,
        (0, _) => Some(
            "every run ended before its plan did, so there is no median; `export --format json` \
             says why",
        ),
        (_, 0) => Some(
            "every run is suspect, so there is no median; --include-suspect shows one, \
             `export --format json` the reasons",
        ),
        (_, _) => Some(
            "every run is suspect or ended before its plan did, so there is no median; \
             --include-suspect shows one, `export --format json` the reasons",
        ),
    }
}

fn grid(
    first: &CellView,
    cells: &[CellView],
    profile: &ProfileView,
    against: &'static str,
) -> Grid {
    let verdict_of = |cell: &CellView| {
        profile.verdicts.iter().find(|found| {
            (found.verdict.scenario, found.verdict.spawner) == (cell.scenario, cell.spawner)
                && (found.workload, found.units) == (cell.workload, cell.units)
                && found.build == cell.build
        })
    };
    let ends = |cell: &CellView| {
        let interval = cell.interval.into_iter().flat_map(|found| [found.low_ns, found.high_ns]);
        cell.median_ns.into_iter().chain(interval).collect::<Vec<Nanos>>()
    };
    let times = Times::of(cells.iter().flat_map(ends));
    let row = |cell: &CellView| {
        let verdict = verdict_of(cell).map(|found| match found.verdict.basis {
            // One host speaks for itself; that many do so needs saying.
            Basis::Rounds if cell.hosts > 1 => format!("{}, each host by itself", found.verdict),
            _ => found.verdict.to_string(),
        });
        vec![
            cell.spawner.to_string(),
            cell.median_ns.map_or_else(|| "none".to_owned(), |median| times.show(median)),
            cell.interval
                .map_or_else(String::new, |found| times.range(found.low_ns, found.high_ns)),
            cell.interval
                .map_or_else(String::new, |found| format!("{:.1}%", found.confidence * 100.0)),
            grouped(cell.hosts),
            grouped(cell.samples),
            verdict.unwrap_or_default(),
        ]
    };
    Grid {
        title: title(first, profile),
        columns: vec![
            ("spawner", Align::Left),
            ("median", Align::Right),
            ("interval", Align::Right),
            ("confidence", Align::RightAside),
            ("hosts", Align::Right),
            ("samples", Align::RightAside),
            (against, Align::Verdict),
        ],
        rows: cells.iter().map(row).collect(),
    }
}

/// A bar a cell, as long as its median is beside the longest of these.
fn add_bars(grid: &mut Grid, cells: &[CellView]) {
    let longest = cells.iter().filter_map(|cell| cell.median_ns).max().map_or(1.0, Nanos::to_f64);
    grid.columns.push(("time", Align::LeftAside));
    for (row, cell) in grid.rows.iter_mut().zip(cells) {
        row.push(cell.median_ns.map(|median| bar(median.to_f64() / longest)).unwrap_or_default());
    }
}

/// A share of one as a bar of at most eight characters; the least is a sliver.
fn bar(share: f64) -> String {
    const PARTS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = rounded(64.0 * share.clamp(0.0, 1.0)).max(1);
    let (whole, part) = (eighths / 8, eighths % 8);
    let mut bar = "█".repeat(usize::try_from(whole).unwrap_or_default());
    let part = part.checked_sub(1).and_then(|part| usize::try_from(part).ok());
    bar.extend(part.and_then(|part| PARTS.get(part)));
    bar
}

/// What was asked, and what came of it where that differs by profile; and of its build what parts it from others here.
pub(super) fn title(first: &CellView, profile: &ProfileView) -> String {
    let CellView { scenario, workload, units, .. } = first;
    let units = match workload.amount {
        Amount::UnitsPerWorker(_) if profile.profiles > 1 => {
            format!(" ({} units)", grouped(*units))
        }
        _ => String::new(),
    };
    format!("{scenario}: {workload}{units}{}", build_here(&first.build, profile))
}

/// What parts a build from the others of its profile.
pub(super) fn build_here(build: &str, profile: &ProfileView) -> String {
    let builds = builds(profile);
    let parts: Vec<&str> = build
        .split(" · ")
        .filter(|part| !builds.iter().all(|other| other.split(" · ").any(|it| it == *part)))
        .collect();
    if parts.is_empty() { String::new() } else { format!(", {}", parts.join(" · ")) }
}

/// The builds of a profile's cells and series, each once.
fn builds(profile: &ProfileView) -> Vec<&str> {
    let series = profile.series.iter().map(|series| &series.cell);
    let mut builds: Vec<&str> =
        profile.cells.iter().chain(series).map(|cell| cell.build.as_str()).collect();
    builds.sort_unstable();
    builds.dedup();
    builds
}

pub(super) fn profiles(rows: &[ProfileRow]) -> Grid {
    Grid {
        title: String::new(),
        columns: vec![
            ("id", Align::Left),
            ("name", Align::Left),
            ("hosts", Align::Right),
            ("runs", Align::Right),
            ("suspect", Align::RightAside),
            ("partial", Align::RightAside),
            ("last_seen", Align::LeftAside),
        ],
        rows: rows
            .iter()
            .map(|row| {
                vec![
                    row.id.to_string(),
                    row.name.clone(),
                    row.hosts.to_string(),
                    row.runs.to_string(),
                    row.suspect_runs.to_string(),
                    row.partial_runs.to_string(),
                    time(row.last_seen),
                ]
            })
            .collect(),
    }
}

pub(super) fn profile_diff(diff: &ProfileDiff, look: Look) -> String {
    let mut text = look.facts(&[("a", diff.a.to_string()), ("b", diff.b.to_string())]);
    text.push('\n');
    if diff.facets.is_empty() {
        text.push_str("the same hardware\n");
    } else {
        text.push_str(&look.grid(&facets(diff)));
    }
    text
}

pub(super) fn facets(diff: &ProfileDiff) -> Grid {
    let differing = diff.facets.iter();
    Grid {
        title: String::new(),
        columns: vec![("facet", Align::Left), ("a", Align::Left), ("b", Align::Left)],
        rows: differing
            .map(|differs| vec![differs.facet.to_owned(), differs.a.clone(), differs.b.clone()])
            .collect(),
    }
}

pub(super) fn hosts(rows: &[HostRow]) -> Grid {
    Grid {
        title: String::new(),
        columns: vec![
            ("id", Align::Left),
            ("name", Align::LeftAside),
            ("profile", Align::Left),
            ("runs", Align::Right),
            ("suspect", Align::RightAside),
            ("partial", Align::RightAside),
            ("last_seen", Align::LeftAside),
            ("labels", Align::LeftAside),
            ("state", Align::Verdict),
        ],
        rows: rows
            .iter()
            .map(|row| {
                let labels: Vec<String> =
                    row.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let mut state = vec![];
                if row.collision {
                    state.push("collision".to_owned());
                }
                if let Some(skew) = row.clock {
                    state.push(format!("clock {skew}"));
                }
                vec![
                    row.id.to_string(),
                    row.name.clone(),
                    format!("{} ({})", row.profile_name, row.profile_id),
                    row.runs.to_string(),
                    row.suspect_runs.to_string(),
                    row.partial_runs.to_string(),
                    time(row.last_seen),
                    labels.join(" "),
                    state.join(", "),
                ]
            })
            .collect(),
    }
}

pub(super) fn pruning(pruning: &Pruning) -> Grid {
    let Pruning { dry_run, retention, removed } = pruning;
    let row = |what: &str, before, rows: u64| vec![what.to_owned(), time(before), rows.to_string()];
    Grid {
        title: if *dry_run { "would be removed" } else { "removed" }.to_owned(),
        columns: vec![("what", Align::Left), ("before", Align::Left), ("rows", Align::Right)],
        rows: vec![
            row("runs", retention.runs_before, removed.runs),
            row("keys", retention.keys_before, removed.keys),
            row("audit", retention.runs_before, removed.audit),
        ],
    }
}

/// From one to another, with the unit once if both have the same.
pub(super) fn range(low: Nanos, high: Nanos) -> String {
    let (low, high) = (low.to_string(), high.to_string());
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number}–{high}"),
        _ => format!("{low}–{high}"),
    }
}

/// To the second, in UTC.
pub(super) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::{report::Quality, shell::screen::Screen};

    use super::*;
    use crate::{
        store::StoredRun,
        testing,
        view::{self, Filter, Question},
    };

    /// What the table says of runs, `whole` or not and `clean` or not.
    fn said(runs: &[(bool, bool)]) -> String {
        let run = |&(whole, clean): &(bool, bool)| {
            let mut report = testing::pair("a", 0.5);
            report.partial = (!whole).then(|| "the agent was stopped".to_owned());
            let reasons = if clean { vec![] } else { vec!["throttled".to_owned()] };
            report.quality = Quality::from_reasons(reasons);
            StoredRun { received_at: report.ended_at, sent_at: None, report }
        };
        let runs: Vec<StoredRun> = runs.iter().map(run).collect();
        let (filter, question) = (Filter::default(), Question::default());
        medians(
            &view::medians(&runs, &filter, &question, Timestamp::now()),
            Look::Text(Screen::default()),
        )
    }

    #[test]
    fn tables_of_one_profile_say_what_parts_their_builds() {
        let runs = ["1.54.1", "1.55.0"].map(|tokio| {
            let mut report = testing::pair(tokio, 0.5);
            report.build.tokio = tokio.to_owned();
            StoredRun { received_at: report.ended_at, sent_at: None, report }
        });
        let (filter, question) = (Filter::default(), Question::default());
        let view = view::medians(&runs, &filter, &question, Timestamp::now());
        let text = medians(&view, Look::Text(Screen::default()));
        for title in ["1,000 units, tokio 1.54.1\n", "1,000 units, tokio 1.55.0\n"] {
            assert!(text.contains(title), "{text}");
        }
        let one = medians(
            &view::medians(&runs[..1], &filter, &question, Timestamp::now()),
            Look::Text(Screen::default()),
        );
        assert!(one.contains("spawn-overhead: 1,000 units\n"), "{one}");
    }

    #[test]
    fn bars_are_shares_of_the_longest() {
        assert_eq!(bar(1.0), "████████");
        assert_eq!(bar(0.5), "████");
        assert_eq!(bar(0.32), "██▌");
        assert_eq!(bar(0.0), "▏");
    }

    #[test]
    fn what_is_left_out_is_said_and_why_there_is_no_median() {
        let whole = said(&[(true, true), (false, true), (true, false)]);
        assert!(whole.contains("3, 1 of them suspect, 1 of them partial"), "{whole}");
        assert!(!whole.contains("hint"), "{whole}");
        let partial = said(&[(false, true), (false, false)]);
        assert!(partial.contains("every run ended before its plan did"), "{partial}");
        assert!(!partial.contains("--include-suspect"), "which would not help: {partial}");
        assert!(said(&[(true, false)]).contains("every run is suspect, so there is no median"));
        assert!(said(&[(true, false), (false, true)]).contains("suspect or ended before"));
    }
}
