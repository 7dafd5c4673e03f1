//! Cells over time, with what changed beside them.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use fleetmark_proto::{
    id::HostId,
    plan::{Scenario, Spawner, Workload},
    report::Cell,
    samples::Interval,
    unit::{Nanos, count},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Change, Facet, FacetValue, Filter, HostLabel, ProfileLabel, fact::changes, grouped,
    medians::name, partial, suspect,
};
use crate::{
    stats::{Group, LeftOut, Standing, collided},
    store::StoredRun,
};

/// From what share of the value before on a step is a jump. Both intervals must be apart, too, so that no noise is one.
const JUMP: f64 = 0.05;

/// What one point of a line is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Bucket {
    /// The runs of a day, in UTC.
    Day,
    /// The runs of a week from Monday on, in UTC.
    Week,
}

impl Bucket {
    /// When the bucket began in which this is.
    fn start(self, at: Timestamp) -> Timestamp {
        const DAY: i64 = 24 * 60 * 60;
        let day = at.as_second().div_euclid(DAY);
        let start = match self {
            Self::Day => day,
            // The first day of 1970 was a Thursday.
            Self::Week => day - (day + 3).rem_euclid(7),
        };
        Timestamp::from_second(start * DAY).unwrap_or(at)
    }
}

/// Cells over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    /// `fleetmark.history/1`.
    pub schema: &'static str,
    /// When it was made.
    pub generated_at: Timestamp,
    /// What was asked for.
    pub filter: Filter,
    /// What parts the subjects.
    pub by: Vec<Facet>,
    /// What each point is made of; `null` if it is one run.
    pub bucket: Option<Bucket>,
    /// A value that differs from the one before by this share at least, with intervals that are apart, is a jump.
    pub jump_from: f64,
    /// Whose history it is: hosts or profiles, or what else was asked for.
    pub subjects: Vec<Subject>,
}

/// A host, a profile, or another group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subject {
    /// What it is called.
    pub name: String,
    /// The host, if it is one.
    pub host: Option<HostLabel>,
    /// The profile, if all of its runs are of one.
    pub profile: Option<ProfileLabel>,
    /// What makes it.
    pub by: Vec<FacetValue>,
    /// Its hosts.
    pub hosts: u64,
    /// Their runs.
    pub runs: u64,
    /// Those that are suspect.
    pub suspect_runs: u64,
    /// Those that ended before their plan did.
    pub partial_runs: u64,
    /// Hosts that two machines claim to be. In a group they are left out.
    pub collisions: Vec<HostId>,
    /// Recorded facts that changed, oldest first.
    pub changes: Vec<GroupChange>,
    /// One a scenario, spawner and workload.
    pub lines: Vec<Line>,
}

/// A recorded fact that changed on hosts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct GroupChange {
    /// When the first run ended that shows it, or when the bucket of these runs began.
    pub at: Timestamp,
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
    /// On how many hosts.
    pub hosts: u64,
}

/// A cell over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// What units do.
    pub scenario: Scenario,
    /// How they are started.
    pub spawner: Spawner,
    /// What was asked.
    pub workload: Workload,
    /// The units that came of it.
    pub units: u64,
    /// Oldest first. Where several builds were measured in one bucket, each has its own.
    pub points: Vec<Point>,
}

/// A cell at one time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// When the run ended, or when the bucket began.
    pub at: Timestamp,
    /// What was measured with.
    pub build: String,
    /// The run's median, or that of the hosts' newest clean runs in the bucket; `null` if none counts.
    pub median_ns: Option<Nanos>,
    /// Of that median.
    pub interval: Option<Interval>,
    /// Hosts that gave a value.
    pub hosts: u64,
    /// Runs with this cell that did not count, as they are suspect.
    pub suspect_left_out: u64,
    /// Runs with this cell that did not count, as they are partial.
    pub partial_left_out: u64,
    /// Whether it counts.
    pub state: PointState,
    /// What changed since the point before.
    pub changed: Vec<GroupChange>,
    /// Whether the value jumped.
    pub jump: Option<Jump>,
}

/// Whether a point counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointState {
    /// It does.
    Counts,
    /// Its runs are suspect.
    Suspect,
    /// Its runs ended before their plan did.
    Partial,
    /// The cell failed.
    Failed,
}

impl PointState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::Suspect => "suspect",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// A step from one value to the next that is no noise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Jump {
    /// The value by the one before that counts.
    pub ratio: f64,
    /// The facts that changed meanwhile; none if nothing that is recorded did.
    pub beside: Vec<GroupChange>,
}

/// Cells over time: of hosts, where some are asked for, otherwise of groups.
#[must_use]
pub fn history(
    runs: &[StoredRun],
    filter: &Filter,
    by: &[Facet],
    bucket: Option<Bucket>,
    now: Timestamp,
) -> History {
    let in_window = runs.iter().filter(|run| filter.in_window(run));
    let collided = collided(in_window.map(|run| &run.report));
    let (by, bucket) = match filter.host.is_empty() {
        true => (by, Some(bucket.unwrap_or(Bucket::Week))),
        false => (&[Facet::Host][..], bucket),
    };
    let mut subjects: Vec<Subject> = grouped(&filter.runs(runs), by)
        .into_values()
        .filter_map(|runs| subject(&runs, filter, by, bucket, &collided))
        .collect();
    subjects.sort_by(|a, b| (&a.name, &a.by).cmp(&(&b.name, &b.by)));
    History {
        schema: "fleetmark.history/1",
        generated_at: now,
        filter: filter.clone(),
        by: by.to_vec(),
        bucket,
        jump_from: JUMP,
        subjects,
    }
}

/// What became of one group, of runs that come oldest first.
fn subject(
    runs: &[&StoredRun],
    filter: &Filter,
    by: &[Facet],
    bucket: Option<Bucket>,
    collided: &BTreeSet<&HostId>,
) -> Option<Subject> {
    let newest = runs.last()?;
    let is_host = by == [Facet::Host];
    let hosts: BTreeSet<&HostId> = runs.iter().map(|run| &run.report.host.id).collect();
    let is_in = |run: &&StoredRun| is_host || !collided.contains(&run.report.host.id);
    let counted: Vec<&StoredRun> = runs.iter().copied().filter(is_in).collect();
    let changes = all_changes(&counted, bucket);
    let same_profile = runs.iter().all(|run| run.report.profile.id == newest.report.profile.id);
    Some(Subject {
        name: match is_host {
            true => HostLabel::from(&newest.report).to_string(),
            false => name(by, newest),
        },
        host: is_host.then(|| HostLabel::from(&newest.report)),
        profile: same_profile.then(|| ProfileLabel::from(&newest.report.profile)),
        by: by.iter().map(|facet| FacetValue::of(facet, newest)).collect(),
        hosts: count(hosts.len()),
        runs: count(runs.len()),
        suspect_runs: suspect(runs),
        partial_runs: partial(runs),
        collisions: hosts.into_iter().filter(|host| collided.contains(host)).cloned().collect(),
        lines: lines(&counted, filter, bucket, &changes),
        changes,
    })
}

/// What changed between any two runs of a host that follow each other, suspect or not.
fn all_changes(runs: &[&StoredRun], bucket: Option<Bucket>) -> Vec<GroupChange> {
    let mut before: BTreeMap<&HostId, &StoredRun> = BTreeMap::new();
    let mut found: BTreeMap<(Timestamp, Change), u64> = BTreeMap::new();
    for run in runs {
        if let Some(earlier) = before.insert(&run.report.host.id, run) {
            for change in changes(earlier, run) {
                *found.entry((begins(bucket, run), change)).or_default() += 1;
            }
        }
    }
    found.into_iter().map(|((at, change), hosts)| GroupChange { at, change, hosts }).collect()
}

/// The time of the point that a run belongs to.
fn begins(bucket: Option<Bucket>, run: &StoredRun) -> Timestamp {
    bucket.map_or_else(|| run.time(), |bucket| bucket.start(run.time()))
}

/// What a point is made of.
struct Slot<'a> {
    at: Timestamp,
    build: String,
    group: Group<'a>,
    /// The run, if it is of one.
    only: Option<(&'a Cell, Standing)>,
}

fn lines(
    runs: &[&StoredRun],
    filter: &Filter,
    bucket: Option<Bucket>,
    changes: &[GroupChange],
) -> Vec<Line> {
    type Key = (Scenario, Workload, u64, Spawner);
    let mut lines: BTreeMap<Key, Vec<Slot<'_>>> = BTreeMap::new();
    for run in runs {
        let report = &run.report;
        let (at, build) = (begins(bucket, run), report.build.key());
        let standing = Standing::of(report, filter.include_suspect);
        let wanted = |cell: &&Cell| filter.wants(cell.key.scenario, cell.key.spawner);
        for cell in report.cells.iter().filter(wanted) {
            let key = (cell.key.scenario, cell.workload, cell.units, cell.key.spawner);
            let slots = lines.entry(key).or_default();
            let same =
                |slot: &Slot<'_>| slot.only.is_none() && slot.at == at && slot.build == build;
            // Those of one time are the last ones.
            let back = slots.iter().rev().take_while(|slot| slot.at == at).position(same);
            let place = back.map(|back| slots.len() - 1 - back).unwrap_or_else(|| {
                let only = bucket.is_none().then_some((cell, standing));
                let group = Group::default();
                slots.push(Slot { at, build: build.clone(), group, only });
                slots.len() - 1
            });
            if let Some(slot) = slots.get_mut(place) {
                slot.group.add(report, cell, standing);
            }
        }
    }
    lines
        .into_iter()
        .map(|((scenario, workload, units, spawner), slots)| {
            let points = slots.iter().map(|slot| point(slot, spawner)).collect();
            let points = marked(points, bucket, changes);
            Line { scenario, spawner, workload, units, points }
        })
        .collect()
}

fn point(slot: &Slot<'_>, spawner: Spawner) -> Point {
    let Slot { at, build, group, only } = slot;
    let LeftOut { suspect, partial } = group.left_out(spawner);
    let found = group.median(spawner);
    let (median_ns, interval) = match only {
        // A run that does not count is shown all the same.
        Some((cell, _)) => (cell.median(), cell.interval()),
        None => (
            found.as_ref().map(|found| found.median),
            found.as_ref().and_then(|found| found.interval).map(|(interval, _)| interval),
        ),
    };
    let state = match only {
        Some((_, Standing::Suspect)) => PointState::Suspect,
        Some((_, Standing::Partial)) => PointState::Partial,
        _ if median_ns.is_some() => PointState::Counts,
        _ if suspect > 0 => PointState::Suspect,
        _ if partial > 0 => PointState::Partial,
        _ => PointState::Failed,
    };
    Point {
        at: *at,
        build: build.clone(),
        median_ns,
        interval,
        hosts: found.map_or(0, |found| found.hosts),
        suspect_left_out: suspect,
        partial_left_out: partial,
        state,
        changed: vec![],
        jump: None,
    }
}

/// Marks what changed between points, and which of them jump: from the run before, or from the last bucket with this build, as in
/// one bucket some hosts may have another than others; a build's first bucket is compared with the one before it, whatever its build.
fn marked(mut points: Vec<Point>, bucket: Option<Bucket>, changes: &[GroupChange]) -> Vec<Point> {
    // Of one time are points of several builds; what changed then is between any two of them.
    let between = |from: Timestamp, to: Timestamp| -> Vec<GroupChange> {
        let is_between = |at: Timestamp| at > from && at <= to || from == to && at == to;
        changes.iter().filter(|change| is_between(change.at)).cloned().collect()
    };
    let mut before: Option<Timestamp> = None;
    let mut last: Option<(Timestamp, Nanos, Interval)> = None;
    let mut of_build = BTreeMap::new();
    for point in &mut points {
        if let Some(before) = before.replace(point.at) {
            point.changed = between(before, point.at);
        }
        let (Some(median), Some(interval)) = (point.median_ns, point.interval) else { continue };
        if point.state != PointState::Counts {
            continue;
        }
        let this = (point.at, median, interval);
        let same_build = of_build.insert(point.build.clone(), this);
        let compared = last.replace(this);
        let compared = same_build.filter(|_| bucket.is_some()).or(compared);
        if let Some((at, earlier, other)) = compared {
            let ratio = median.to_f64() / earlier.to_f64().max(1.0);
            let apart = interval.low_ns > other.high_ns || interval.high_ns < other.low_ns;
            if apart && (ratio >= 1.0 + JUMP || ratio <= 1.0 / (1.0 + JUMP)) {
                point.jump = Some(Jump { ratio, beside: between(at, point.at) });
            }
        }
    }
    points
}

#[cfg(test)]
mod tests;
