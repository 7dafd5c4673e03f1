//! One side of a fleet compared with another: profiles, builds, kernels, labels, times.

mod holding;
mod matching;

use std::collections::BTreeSet;

use fleetmark_proto::{
    plan::{Scenario, Spawner, Workload},
    unit::count,
    verdict::Outcome,
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Facet, Filter, NotOne, ProfileDiff, ProfileLabel, Side, check_profiles, diff, what_would_match,
};
use crate::{
    stats::{Measure, SidesBasis, SidesVerdict, Values, collided, comparable, confidence, sides},
    store::StoredRun,
};
use holding::Holding;
use matching::{Pairing, pairings};

/// The name and version of the view's JSON.
const SCHEMA: &str = "fleetmark.comparison/1";

/// What may be faster on other hardware, and is not told by any cell.
const NOT_MEASURED: [&str; 4] = ["memory bandwidth", "caches", "disks", "networks"];

/// Sides compared with the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// `fleetmark.comparison/1`.
    pub schema: &'static str,
    /// When it was made.
    pub generated_at: Timestamp,
    /// What all sides are filtered by.
    pub filter: Filter,
    /// How many comparisons share the chance of an error.
    pub comparisons: u64,
    /// The confidence that each interval of a ratio has for that, at least.
    pub confidence: f64,
    /// What is compared; the first is the base.
    pub sides: Vec<SideView>,
    /// Each other side against the base.
    pub against_base: Vec<AgainstBase>,
    /// What parts machines beside what is measured; empty if the sides are of the same hardware.
    pub not_measured: Vec<&'static str>,
}

/// What one side holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideView {
    /// `A`, `B`, …
    pub letter: char,
    /// As it was typed.
    pub side: Side,
    /// No run that ended before.
    pub since: Option<Timestamp>,
    /// No run that ended then or later.
    pub until: Option<Timestamp>,
    /// Hosts with a run that counts.
    pub hosts: u64,
    /// Runs that count, of which each host's newest gives its values.
    pub runs: u64,
    /// Runs that do not count, as they are suspect.
    pub suspect_left_out: u64,
    /// Runs that do not count, as they ended before their plan did.
    pub partial_left_out: u64,
    /// Hosts that do not count, as two machines claim to be one.
    pub collided_left_out: u64,
    /// Hosts of whose CPU the model is unknown.
    pub incomplete: u64,
    /// The hosts' profiles.
    pub profiles: Vec<ProfileLabel>,
    /// The hosts' numbers of workers.
    pub workers: BTreeSet<u32>,
}

/// One side against the base.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgainstBase {
    /// The letter of the side.
    pub letter: char,
    /// What parts their hardware, if each is of one profile, and not of the same.
    pub hardware: Option<ProfileDiff>,
    /// What else parts the hosts, of what is recorded of them.
    pub differs: Vec<Differs>,
    /// What is on one side alone and so was not compared, or not directly; for a person.
    pub notes: Vec<String>,
    /// Whether enough is known of the hardware for verdicts.
    pub complete: bool,
    /// One for each two builds that were compared.
    pub builds: Vec<BuildView>,
}

/// A facet that is not the same on both sides.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Differs {
    /// Which.
    pub facet: Facet,
    /// What it is on the base's hosts.
    pub a: BTreeSet<String>,
    /// What it is on the other side's.
    pub b: BTreeSet<String>,
}

/// What was measured with one build, compared with what was measured with the same, or with the other side's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BuildView {
    /// The base's build.
    pub build_a: String,
    /// The other side's.
    pub build_b: String,
    /// The cells that both sides have with the same units.
    pub cells: Vec<Compared>,
    /// What follows from cells, whatever the number of workers.
    pub derived: Vec<Compared>,
}

/// One cell, or what follows from it, on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// What is compared.
    pub measure: Measure,
    /// The unit of the medians.
    pub unit: &'static str,
    /// What units do.
    pub scenario: Scenario,
    /// How they are started.
    pub spawner: Spawner,
    /// What was asked.
    pub workload: Workload,
    /// The units that came of it, of a cell; `null` of what follows, as these may differ.
    pub units: Option<u64>,
    /// Both medians, and what can be said of the two.
    #[serde(flatten)]
    pub verdict: SidesVerdict,
}

/// Sides cannot be compared.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotComparable {
    /// What was typed is no profile, or several.
    #[error(transparent)]
    Profile(#[from] NotOne),
    /// Two sides are the same.
    #[error("{0} is there twice; a side is compared with another")]
    Twice(String),
    /// The filter lets nothing in, or a side's facets do not.
    #[error("{0}")]
    Nothing(String),
}

/// Two medians, before anything is said of them.
struct Row<'a> {
    measure: Measure,
    scenario: Scenario,
    spawner: Spawner,
    workload: Workload,
    units: Option<u64>,
    a: Values<'a>,
    b: Values<'a>,
}

/// What two builds give to compare.
struct Rows<'a> {
    pairing: Pairing<'a>,
    cells: Vec<Row<'a>>,
    derived: Vec<Row<'a>>,
}

/// That a side has runs, but none in the time that is asked for; of all runs that there are.
#[must_use]
pub fn only_earlier(
    all: &[StoredRun],
    filter: &Filter,
    asked: &[Side],
    now: Timestamp,
) -> Option<String> {
    let untimed = Filter { since: None, until: None, ..filter.clone() };
    asked.iter().find_map(|side| {
        let window = side.window(filter, now);
        let mut held: Vec<&StoredRun> = untimed.runs(all);
        held.retain(|run| side.holds(run));
        let newest = held.iter().map(|run| run.time()).max()?;
        if held.iter().any(|run| window.in_window(run)) {
            return None;
        }
        let newest = newest.strftime("%Y-%m-%dT%H:%M:%SZ");
        Some(format!("{side} has no run in this time, the newest is of {newest}; say --since or time=FROM..TO"))
    })
}

/// The earliest time of which runs are needed.
#[must_use]
pub fn earliest(sides: &[Side], filter: &Filter, now: Timestamp) -> Option<Timestamp> {
    let starts: Option<Vec<Timestamp>> =
        sides.iter().map(|side| side.window(filter, now).since).collect();
    starts?.into_iter().min()
}

/// Compares each side with the first.
///
/// # Errors
///
/// If a side is nothing, or has nothing to compare with the first.
pub fn compare(
    runs: &[StoredRun],
    filter: &Filter,
    asked: &[Side],
    now: Timestamp,
) -> Result<Comparison, NotComparable> {
    if let Some(twice) = asked.iter().enumerate().find(|(at, side)| asked[..*at].contains(side)) {
        return Err(NotComparable::Twice(twice.1.to_string()));
    }
    check_profiles(runs, &filter.profile)?;
    asked.iter().try_for_each(|side| side.check_profiles(runs))?;
    // Two machines under one id are two whatever is asked for, so this looks at all runs.
    let collided = collided(runs.iter().map(|run| &run.report));
    let holdings: Vec<Holding<'_>> = asked
        .iter()
        .zip('A'..)
        .map(|(side, letter)| {
            let window = side.window(filter, now);
            let all = window.runs(runs);
            let held: Vec<&StoredRun> = all.iter().copied().filter(|run| side.holds(run)).collect();
            let nothing = |why: String| NotComparable::Nothing(why);
            if all.is_empty() {
                return Err(nothing(format!("{side}: {}", what_would_match(runs, &window))));
            }
            if held.is_empty() {
                return Err(nothing(format!("nothing is {side}; {}", side.why_nothing(&all))));
            }
            Ok(Holding::new(letter, side, &window, &held, &collided))
        })
        .collect::<Result<_, _>>()?;
    let none = |holding: &&Holding<'_>| holding.view.hosts == 0;
    if let Some(left_out) = holdings.iter().find(none) {
        return Err(NotComparable::Nothing(left_out.why_nothing_counts()));
    }
    let [base, others @ ..] = &holdings[..] else {
        return Err(NotComparable::Nothing(String::new()));
    };
    let rows: Vec<Vec<Rows<'_>>> = others.iter().map(|other| rows(base, other, filter)).collect();
    let each = || rows.iter().flatten().flat_map(|rows| rows.cells.iter().chain(&rows.derived));
    let comparisons = each().count();
    if comparisons == 0 {
        let notes = others.iter().flat_map(|other| matching::notes(base, other, filter));
        let notes: Vec<String> = notes.collect();
        return Err(NotComparable::Nothing(format!("nothing to compare: {}", notes.join("; "))));
    }
    let against_base: Vec<AgainstBase> = others
        .iter()
        .zip(&rows)
        .map(|(other, rows)| against(runs, (base, other), rows, filter, comparisons))
        .collect();
    let apart = |(other, found): (&Holding<'_>, &AgainstBase)| {
        other.profiles() != base.profiles() && found.has_groups()
    };
    let hardware = others.iter().zip(&against_base).any(apart);
    Ok(Comparison {
        schema: SCHEMA,
        generated_at: now,
        filter: filter.clone(),
        comparisons: count(comparisons),
        confidence: confidence(comparisons),
        against_base,
        not_measured: if hardware { NOT_MEASURED.to_vec() } else { Vec::new() },
        sides: holdings.into_iter().map(|holding| holding.view).collect(),
    })
}

/// All that two sides have in common.
fn rows<'a>(base: &'a Holding<'_>, other: &'a Holding<'_>, filter: &Filter) -> Vec<Rows<'a>> {
    let of = |pairing: Pairing<'a>| {
        let (mut cells, mut derived) = (Vec::new(), Vec::new());
        for (load, a) in pairing.a.loads {
            let Some((workload, b)) = pairing.other(load) else { continue };
            let spawners = a.spawners().filter(|it| filter.wants(load.scenario, *it));
            for spawner in spawners {
                let row = |measure| Row {
                    measure,
                    scenario: load.scenario,
                    spawner,
                    workload,
                    units: load.came.map(|came| came.units),
                    a: Values::of(a, spawner, measure),
                    b: Values::of(b, spawner, measure),
                };
                match load.came {
                    Some(_) => cells.push(row(Measure::Elapsed)),
                    None => {
                        derived.extend(Measure::derived(load.scenario).iter().map(|it| row(*it)))
                    }
                }
            }
        }
        for rows in [&mut cells, &mut derived] {
            rows.retain(|row: &Row<'_>| comparable(&row.a, &row.b));
        }
        derived.sort_by_key(|row| (row.measure, row.workload, row.spawner));
        Rows { pairing, cells, derived }
    };
    let rows = pairings(base, other).into_iter().map(of);
    rows.filter(|rows| !rows.cells.is_empty() || !rows.derived.is_empty()).collect()
}

impl Row<'_> {
    fn view(&self, comparisons: usize, complete: bool) -> Option<Compared> {
        let verdict = sides(&self.a, &self.b, comparisons)?;
        let verdict = match complete {
            true => verdict,
            // Nobody knows what is compared.
            false => SidesVerdict { verdict: Outcome::Unresolved, needed: None, ..verdict },
        };
        Some(Compared {
            measure: self.measure,
            unit: self.measure.unit(),
            scenario: self.scenario,
            spawner: self.spawner,
            workload: self.workload,
            units: self.units,
            verdict,
        })
    }
}

impl AgainstBase {
    /// Whether anything is compared by groups, which hosts of other hardware are.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        let mut all = self.builds.iter().flat_map(|build| build.cells.iter().chain(&build.derived));
        all.any(|row| row.verdict.basis == SidesBasis::Groups)
    }
}

fn against(
    runs: &[StoredRun],
    (base, other): (&Holding<'_>, &Holding<'_>),
    rows: &[Rows<'_>],
    filter: &Filter,
    comparisons: usize,
) -> AgainstBase {
    let complete = base.view.incomplete == 0 && other.view.incomplete == 0;
    let views = |rows: &[Row<'_>]| -> Vec<Compared> {
        rows.iter().filter_map(|row| row.view(comparisons, complete)).collect()
    };
    let mut found = AgainstBase {
        letter: other.view.letter,
        hardware: None,
        differs: base.differs(other),
        notes: matching::notes(base, other, filter),
        complete,
        builds: rows
            .iter()
            .map(|rows| BuildView {
                build_a: rows.pairing.a.key(),
                build_b: rows.pairing.b.key(),
                cells: views(&rows.cells),
                derived: views(&rows.derived),
            })
            .collect(),
    };
    if found.has_groups() {
        found.hardware = hardware(runs, base, other);
        found.notes.extend(matching::mixed_hardware(base, other));
    }
    found
}

/// What parts the hardware of two sides that are of one profile each.
fn hardware(runs: &[StoredRun], base: &Holding<'_>, other: &Holding<'_>) -> Option<ProfileDiff> {
    match (&base.view.profiles[..], &other.view.profiles[..]) {
        ([a], [b]) if a.id != b.id => diff(runs, a.id.as_str(), b.id.as_str()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
