//! The passes beside the eleven cells as tables, of one run or of a profile.

mod grain;

use super::{
    grid::{Align, Grid},
    look::Look,
};
use crate::{
    neighbours::bearable,
    plan::{CellKey, Scenario, Spawner, Workload},
    samples::Interval,
    series::{Metric, Pass, SeriesKey, Variant},
    unit::{Nanos, Times},
};

/// What is known of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Which pass, variant and metric.
    pub key: SeriesKey,
    /// Which cell.
    pub cell: CellKey,
    /// What was asked of it.
    pub workload: Workload,
    /// The units of one run that came of it.
    pub units: u64,
    /// The median of the metric.
    pub median: Option<Nanos>,
    /// Of that median.
    pub interval: Option<Interval>,
    /// The highest value of all.
    pub worst: Option<Nanos>,
    /// Why there is no median.
    pub failure: Option<String>,
}

/// A table with what follows from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// Of which pass; `None` of what failed in any.
    pub pass: Option<Pass>,
    /// The table.
    pub grid: Grid,
    /// The same as a chart for a terminal, if there is one.
    pub chart: Vec<String>,
    /// Sentences that follow, a line each.
    pub lines: Vec<String>,
}

impl Section {
    /// The table with all that stands below it.
    #[must_use]
    pub fn shown(&self, look: Look) -> String {
        let chart = look.lines(&self.chart);
        let apart = if self.chart.is_empty() || self.lines.is_empty() { "" } else { "\n" };
        format!("{}{chart}{apart}{}", look.grid(&self.grid), look.sentences(&self.lines))
    }
}

/// The passes as tables. `kernel_time` is how long a million rounds of the kernel take on one core, where it is known.
#[must_use]
pub fn sections(entries: &[Entry], kernel_time: Option<Nanos>) -> Vec<Section> {
    let of = |pass: Pass| -> Vec<&Entry> {
        entries.iter().filter(|entry| entry.key.pass == pass).collect()
    };
    let grain = of(Pass::Grain);
    let mut sections = Vec::new();
    sections.extend(article(&of(Pass::Article)));
    sections.extend(grain::sections(&grain, kernel_time));
    sections.extend(neighbours(&of(Pass::Neighbours)));
    sections.extend(diagnose(&of(Pass::Diagnose)));
    sections.extend(failures(entries));
    sections
}

/// What the article published for the cells of its crate on an Apple M4 Pro with 12 cores, in hundredths of a
/// millisecond.
fn published(key: CellKey) -> Option<Nanos> {
    let hundredths = match (key.scenario, key.spawner) {
        (Scenario::SpawnOverhead, Spawner::Thread) => 1_424,
        (Scenario::SpawnOverhead, Spawner::Tokio) => 42,
        (Scenario::Waiting, Spawner::Thread) => 2_707,
        (Scenario::Waiting, Spawner::Tokio) => 1_439,
        (Scenario::CpuBound, Spawner::Thread) => 9_175,
        (Scenario::CpuBound, Spawner::Tokio) => 9_958,
        (Scenario::CpuBound, Spawner::SpawnBlocking) => 9_128,
        _ => return None,
    };
    Some(Nanos(hundredths * 10_000))
}

fn article(entries: &[&Entry]) -> Option<Section> {
    let here = times(entries);
    let there = Times::of(entries.iter().filter_map(|entry| published(entry.cell)));
    let row = |entry: &&Entry| {
        vec![
            entry.cell.scenario.to_string(),
            entry.cell.spawner.to_string(),
            shown(entry.median, here),
            range(entry.interval, here),
            shown(published(entry.cell), there),
        ]
    };
    (!entries.is_empty()).then(|| Section {
            pass: Some(Pass::Article),
        grid: Grid {
            title: "article: its crate on this hardware, beside its published medians".to_owned(),
            columns: vec![
                ("scenario", Align::Left),
                ("spawner", Align::Left),
                ("median", Align::Right),
                ("interval", Align::RightAside),
                ("published", Align::Right),
            ],
            rows: entries.iter().map(row).collect(),
        },
        chart: vec![],
        lines: vec![
            "Published: Apple M4 Pro, 8 performance and 4 efficiency cores, Rust 1.93.1, Tokio 1.50.0."
                .to_owned(),
        ],
    })
}

/// What one spawner did to its neighbour.
struct Held {
    spawner: Spawner,
    median: Option<Nanos>,
    p99: Option<Nanos>,
    worst: Option<Nanos>,
}

fn neighbours(entries: &[&Entry]) -> Vec<Section> {
    let of = |metric: Metric| entries.iter().filter(move |entry| entry.key.metric == metric);
    let twin = |entry: &Entry, metric: Metric| {
        of(metric).find(|other| (other.cell, other.workload) == (entry.cell, entry.workload))
    };
    let elapsed: Vec<&&Entry> = of(Metric::Elapsed).collect();
    let mut workloads: Vec<Workload> = elapsed.iter().map(|entry| entry.workload).collect();
    workloads.dedup();
    let section = |workload: Workload| {
        let these = elapsed.iter().filter(|entry| entry.workload == workload);
        let held: Vec<Held> = these
            .map(|entry| Held {
                spawner: entry.cell.spawner,
                median: entry.median,
                p99: twin(entry, Metric::LatenessP99).and_then(|twin| twin.median),
                worst: twin(entry, Metric::LatenessWorst).and_then(|twin| twin.worst),
            })
            .collect();
        let medians = Times::of(held.iter().filter_map(|held| held.median));
        let late = Times::of(held.iter().flat_map(|held| [held.p99, held.worst]).flatten());
        let row = |Held { spawner, median, p99, worst }: &Held| {
            vec![
                spawner.to_string(),
                shown(*median, medians),
                shown(*p99, late),
                shown(*worst, late),
            ]
        };
        Section {
            pass: Some(Pass::Neighbours),
            grid: Grid {
                title: format!(
                    "neighbours: a task that ticks every millisecond beside cpu-bound: {workload}"
                ),
                columns: vec![
                    ("spawner", Align::Left),
                    ("median", Align::Right),
                    ("tick late, p99", Align::Right),
                    ("tick late, worst", Align::Right),
                ],
                rows: held.iter().map(row).collect(),
            },
            chart: vec![],
            lines: politeness(&held).into_iter().collect(),
        }
    };
    workloads.into_iter().map(section).collect()
}

/// Who leaves its neighbours in peace.
fn politeness(held: &[Held]) -> Option<String> {
    let late = held.iter().filter_map(|held| Some((held.p99?, held.spawner)));
    let ((least, kindest), (most, rudest)) = late.clone().min().zip(late.max())?;
    if most < bearable(least) {
        return Some(format!(
            "No spawner holds its neighbours up much more than another: {least} to {most}."
        ));
    }
    Some(format!(
        "CPU-bound work in {rudest} holds other tasks up for {most}, in {kindest} for {least}: keep it out of {rudest} where other tasks must answer in time."
    ))
}

fn diagnose(entries: &[&Entry]) -> Vec<Section> {
    let mut groups: Vec<(Scenario, Workload)> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.key.variant != Variant::Single) {
        let group = (entry.cell.scenario, entry.workload);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut sections: Vec<Section> = groups
        .into_iter()
        .flat_map(|group| {
            let these: Vec<&Entry> = entries
                .iter()
                .filter(|entry| (entry.cell.scenario, entry.workload) == group)
                .copied()
                .collect();
            [variants(group, &these), parts(group, &these)]
        })
        .filter(|section| !section.grid.rows.is_empty())
        .collect();
    sections.extend(overshoot(entries));
    sections
}

fn variants((scenario, workload): (Scenario, Workload), entries: &[&Entry]) -> Section {
    let elapsed = || entries.iter().filter(|entry| entry.key.metric == Metric::Elapsed);
    let plain = |entry: &Entry| {
        elapsed()
            .find(|other| other.key.variant == Variant::Plain && other.cell == entry.cell)?
            .median
    };
    let mut these: Vec<&Entry> = elapsed().copied().collect();
    these.sort_by_key(|entry| (entry.cell.spawner, entry.key.variant));
    let times = times(&these);
    let row = |entry: &&Entry| {
        let ratio = entry.median.zip(plain(entry)).filter(|(_, plain)| plain.0 > 0);
        vec![
            entry.cell.spawner.to_string(),
            entry.key.variant.to_string(),
            shown(entry.median, times),
            range(entry.interval, times),
            ratio.map_or_else(String::new, |(here, plain)| {
                format!("{:.2}×", here.to_f64() / plain.to_f64())
            }),
        ]
    };
    Section {
        pass: Some(Pass::Diagnose),
        grid: Grid {
            title: format!("diagnose: {scenario}: {workload}"),
            columns: vec![
                ("spawner", Align::Left),
                ("variant", Align::Left),
                ("median", Align::Right),
                ("interval", Align::RightAside),
                ("to plain", Align::Right),
            ],
            rows: these.iter().map(row).collect(),
        },
        chart: vec![],
        lines: vec![],
    }
}

fn parts((scenario, workload): (Scenario, Workload), entries: &[&Entry]) -> Section {
    let of = |spawner: Spawner, metric: Metric| {
        let found = entries
            .iter()
            .find(|entry| (entry.cell.spawner, entry.key.metric) == (spawner, metric));
        found.and_then(|entry| entry.median)
    };
    let metrics = [Metric::Spawn, Metric::Run, Metric::Join].map(|metric| {
        let times = Times::of(Spawner::ALL.into_iter().filter_map(|spawner| of(spawner, metric)));
        (metric, times)
    });
    let rows = Spawner::ALL.into_iter().filter_map(|spawner| {
        let parts = metrics.map(|(metric, times)| (of(spawner, metric), times));
        let known = parts.iter().any(|(part, _)| part.is_some());
        let shown = parts.map(|(part, times)| shown(part, times));
        known.then(|| std::iter::once(spawner.to_string()).chain(shown).collect())
    });
    Section {
        pass: Some(Pass::Diagnose),
        grid: Grid {
            title: format!("diagnose: parts of {scenario}: {workload}"),
            columns: vec![
                ("spawner", Align::Left),
                ("spawn", Align::Right),
                ("run", Align::Right),
                ("join", Align::Right),
            ],
            rows: rows.collect(),
        },
        chart: vec![],
        lines: vec![],
    }
}

fn overshoot(entries: &[&Entry]) -> Option<Section> {
    let these = entries.iter().filter(|entry| entry.key.metric == Metric::Overshoot).copied();
    let these: Vec<&Entry> = these.collect();
    let waits = Times::of(these.iter().filter_map(|entry| entry.workload.wait_ns));
    let times = times(&these);
    let row = |entry: &&Entry| {
        vec![
            entry.cell.spawner.to_string(),
            shown(entry.workload.wait_ns, waits),
            shown(entry.median, times),
            range(entry.interval, times),
        ]
    };
    let rows: Vec<_> = these.iter().map(row).collect();
    (!rows.is_empty()).then(|| Section {
        pass: Some(Pass::Diagnose),
        grid: Grid {
            title: "diagnose: how much longer than asked a single sleep takes".to_owned(),
            columns: vec![
                ("spawner", Align::Left),
                ("sleep", Align::Right),
                ("overshoot", Align::Right),
                ("interval", Align::RightAside),
            ],
            rows,
        },
        chart: vec![],
        lines: vec![],
    })
}

fn failures(entries: &[Entry]) -> Option<Section> {
    let row = |entry: &Entry| {
        let failure = entry.failure.clone()?;
        Some(vec![
            format!("{} {}", entry.key.pass, entry.key.variant),
            entry.cell.to_string(),
            entry.workload.to_string(),
            failure,
        ])
    };
    let mut rows: Vec<_> = entries.iter().filter_map(row).collect();
    rows.dedup();
    (!rows.is_empty()).then(|| Section {
        pass: None,
        grid: Grid {
            title: "failed".to_owned(),
            columns: vec![
                ("pass", Align::Left),
                ("cell", Align::Left),
                ("workload", Align::Left),
                ("failure", Align::Left),
            ],
            rows,
        },
        chart: vec![],
        lines: vec![],
    })
}

/// How the medians of these entries and their intervals are shown.
fn times(entries: &[&Entry]) -> Times {
    let ends = |found: Interval| [found.low_ns, found.high_ns];
    let intervals = entries.iter().filter_map(|entry| entry.interval).flat_map(ends);
    Times::of(entries.iter().filter_map(|entry| entry.median).chain(intervals))
}

fn shown(value: Option<Nanos>, times: Times) -> String {
    value.map_or_else(|| "none".to_owned(), |value| times.show(value))
}

fn range(interval: Option<Interval>, times: Times) -> String {
    interval.map_or_else(String::new, |found| times.range(found.low_ns, found.high_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Amount;

    pub(super) fn entry(
        key: (Pass, Variant, Metric),
        spawner: Spawner,
        rounds: u64,
        median: u64,
    ) -> Entry {
        let (pass, variant, metric) = key;
        Entry {
            key: SeriesKey { pass, variant, metric },
            cell: CellKey { scenario: Scenario::CpuBound, spawner },
            workload: Workload {
                amount: Amount::Units(1_000),
                wait_ns: None,
                kernel_rounds: Some(rounds),
                workers: None,
            },
            units: 1_000,
            median: Some(Nanos(median)),
            interval: None,
            worst: Some(Nanos(median * 2)),
            failure: None,
        }
    }

    #[test]
    fn neighbours_say_who_holds_them_up() {
        let of = |spawner, elapsed, p99| {
            [(Metric::Elapsed, elapsed), (Metric::LatenessP99, p99), (Metric::LatenessWorst, p99)]
                .map(|(metric, median)| {
                    entry((Pass::Neighbours, Variant::Plain, metric), spawner, 9, median)
                })
        };
        let entries = [
            of(Spawner::Thread, 70_000_000, 5_000_000),
            of(Spawner::Tokio, 70_000_000, 75_000_000),
        ];
        let sections = sections(&entries.concat(), None);
        let [Section { grid, lines, .. }] = &sections[..] else { panic!("{sections:?}") };
        assert_eq!(grid.rows[1], ["tokio", "70.0 ms", "75.00 ms", "150.00 ms"]);
        assert!(lines[0].starts_with(
            "CPU-bound work in tokio holds other tasks up for 75.0 ms, in thread for 5.00 ms"
        ));
    }

    #[test]
    fn passes_that_were_not_measured_are_not_there_and_failures_are() {
        assert_eq!(sections(&[], None), []);
        let elapsed = (Pass::Diagnose, Variant::ColdPool, Metric::Elapsed);
        let mut failed = entry(elapsed, Spawner::SpawnBlocking, 1, 1);
        failed.median = None;
        failed.failure = Some("no more threads".into());
        let sections = sections(&[failed], None);
        let rows: Vec<_> = sections.iter().flat_map(|section| &section.grid.rows).collect();
        assert_eq!(rows[0][2], "none");
        assert_eq!(rows[1][3], "no more threads");
    }
}
