//! Which builds and loads of two sides are compared, and what is left out as it is on one alone.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    plan::Workload,
    report::Build,
    unit::{count, grouped},
};

use super::holding::{BuildLoads, Came, Holding, Load};
use crate::{
    stats::Group,
    view::{Facet, Filter, Side},
};

/// Two builds of which results are compared, never put together.
pub(super) struct Pairing<'a> {
    pub(super) a: One<'a>,
    pub(super) b: One<'a>,
}

impl<'a> Pairing<'a> {
    /// What the other side has of a load of the first, and the workload that they share. What follows from cells is compared, too,
    /// where each side was asked for other numbers of workers, if there is no doubt which.
    pub(super) fn other(&self, load: &Load) -> Option<(Workload, &'a Group<'a>)> {
        if let Some(same) = self.b.loads.get(load) {
            return Some((load.workload, same));
        }
        let ours: Vec<_> = self.a.akin(load).collect();
        let theirs: Vec<_> = self.b.akin(load).collect();
        match (&ours[..], &theirs[..]) {
            ([_], [only]) if load.came.is_none() => Some((bare(load.workload), only)),
            _ => None,
        }
    }
}

impl<'a> One<'a> {
    /// What differs from this load in nothing but the number of workers that was asked for.
    fn akin(&self, load: &Load) -> impl Iterator<Item = &'a Group<'a>> {
        let alike = move |other: &Load| {
            (other.scenario, other.came, bare(other.workload))
                == (load.scenario, load.came, bare(load.workload))
        };
        self.loads.iter().filter(move |(other, _)| alike(other)).map(|(_, group)| group)
    }
}

/// The workload without the number of workers that was asked for.
fn bare(workload: Workload) -> Workload {
    Workload { workers: None, ..workload }
}

/// What one side measured with its build.
#[derive(Clone, Copy)]
pub(super) struct One<'a> {
    build: &'a Build,
    pub(super) loads: &'a BTreeMap<Load, Group<'a>>,
}

impl One<'_> {
    /// The build's key.
    pub(super) fn key(&self) -> String {
        self.build.key()
    }
}

/// The builds of two sides that are compared: the same with the same, but for what both sides are chosen by. Another
/// architecture has another target of necessity, so where no target is on both sides, it need not be the same.
pub(super) fn pairings<'a>(base: &'a Holding<'_>, other: &'a Holding<'_>) -> Vec<Pairing<'a>> {
    let chosen = Chosen::by(&base.view.side, &other.view.side);
    let of = |same: &dyn Fn(&Build) -> Vec<String>| {
        let mut found = Vec::new();
        for a in base.builds.values() {
            let fitting = other.builds.values().filter(|b| same(a.build) == same(b.build));
            found.extend(fitting.map(|b| Pairing { a: a.one(), b: b.one() }));
        }
        found
    };
    let same = of(&|build| chosen.rest(build, true));
    match same.is_empty() {
        true => of(&|build| chosen.rest(build, false)),
        false => same,
    }
}

impl<'a> BuildLoads<'a> {
    fn one(&self) -> One<'_> {
        One { build: self.build, loads: &self.loads }
    }
}

/// The parts of builds that both sides are chosen by.
struct Chosen {
    tokio: bool,
    rustc: bool,
    all: bool,
}

impl Chosen {
    fn by(a: &Side, b: &Side) -> Self {
        let all = |side: &Side| side.names(&Facet::Build);
        let part = |facet| [a, b].iter().all(|side| all(side) || side.names(&facet));
        Self { tokio: part(Facet::Tokio), rustc: part(Facet::Rustc), all: all(a) && all(b) }
    }

    /// What must be the same in two builds.
    fn rest(&self, build: &Build, with_architecture: bool) -> Vec<String> {
        let Build { meter, tokio, rustc, target, optimisation, allocator, agent_version: _ } =
            build;
        let target = match target.split_once('-') {
            Some((_, system)) if !with_architecture => system,
            _ => target,
        };
        let mut rest = vec![target.to_owned()];
        if self.all {
            return rest;
        }
        rest.extend([meter.to_string(), optimisation.clone(), allocator.clone()]);
        if !self.tokio {
            rest.push(tokio.clone());
        }
        if !self.rustc {
            rest.push(rustc.clone());
        }
        rest
    }
}

/// What the sides do not share, and so is not compared or not directly.
pub(super) fn notes(base: &Holding<'_>, other: &Holding<'_>, filter: &Filter) -> Vec<String> {
    let pairings = pairings(base, other);
    let (a, b) = (base.view.letter, other.view.letter);
    let mut notes = Vec::new();
    if pairings.is_empty() {
        let of = |holding: &Holding<'_>| parts(holding.builds.values().map(|it| it.build));
        let (ours, theirs) = (of(base), of(other));
        let differ =
            ours.iter().zip(&theirs).filter(|(ours, theirs)| ours.1.is_disjoint(&theirs.1));
        let differ: Vec<String> = differ
            .map(|((name, ours), (_, theirs))| {
                format!("{name} {} on {a} and {} on {b}", listed(ours), listed(theirs))
            })
            .collect();
        let what = if differ.is_empty() { "in combination".to_owned() } else { differ.join(", ") };
        let how = "name it on both sides to compare it, such as tokio=VERSION or build=TEXT";
        notes.push(format!("no build is on both sides, they differ in {what}; {how}"));
    }
    let left_out = |holding: &Holding<'_>, side: fn(&Pairing<'_>) -> String| {
        let compared: BTreeSet<String> = pairings.iter().map(side).collect();
        holding.builds.keys().filter(|key| !compared.contains(*key)).cloned().collect::<Vec<_>>()
    };
    if !pairings.is_empty() {
        let both = [(a, left_out(base, |it| it.a.key())), (b, left_out(other, |it| it.b.key()))];
        for (letter, builds) in both {
            notes.extend(
                builds.iter().map(|build| format!("on {letter} alone, and left out: {build}")),
            );
        }
    }
    for Pairing { a: ours, b: theirs } in &pairings {
        notes.extend(loads_apart((a, ours), (b, theirs), filter));
    }
    let same = base.same_runs(other);
    if same > 0 {
        let (hosts, plural) = (grouped(count(same)), if same == 1 { "" } else { "s" });
        notes.push(format!(
            "{hosts} host{plural} left out, of which both sides have the same run; choose sides apart"
        ));
    }
    notes.dedup();
    notes
}

/// That groups are of several kinds of machines, and not of the same.
pub(super) fn mixed_hardware(base: &Holding<'_>, other: &Holding<'_>) -> Option<String> {
    let (ours, theirs) = (base.profiles(), other.profiles());
    let mixed = ours != theirs && (ours.len() > 1 || theirs.len() > 1);
    mixed.then(|| {
        let (a, b) = (base.view.letter, other.view.letter);
        let (ours, theirs) = (ours.len(), theirs.len());
        format!("other hardware: {ours} profiles on {a}, {theirs} on {b}; --profile keeps to one")
    })
}

/// Each part of builds by name.
fn parts<'a>(builds: impl Iterator<Item = &'a Build>) -> Vec<(&'static str, BTreeSet<String>)> {
    let names = ["meter", "tokio", "rustc", "target", "optimisation", "allocator"];
    let mut parts: Vec<_> = names.map(|name| (name, BTreeSet::new())).into();
    for build in builds {
        let Build { meter, tokio, rustc, target, optimisation, allocator, agent_version: _ } =
            build;
        let system = target.split_once('-').map_or(target.as_str(), |(_, system)| system);
        let values = [&meter.to_string(), tokio, rustc, system, optimisation, allocator];
        for ((_, found), value) in parts.iter_mut().zip(values) {
            found.insert(value.to_owned());
        }
    }
    parts
}

fn listed(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
}

/// In which scenarios two builds have no workload, or no number of units, in common.
fn loads_apart(
    (a, ours): (char, &One<'_>),
    (b, theirs): (char, &One<'_>),
    filter: &Filter,
) -> Vec<String> {
    let scenarios = |one: &One<'_>| one.loads.keys().map(|it| it.scenario).collect::<BTreeSet<_>>();
    let both = &scenarios(ours) & &scenarios(theirs);
    let mut notes = Vec::new();
    for scenario in both.into_iter().filter(|it| filter.wants_scenario(*it)) {
        let workloads = |one: &One<'_>| {
            let loads = one.loads.keys().filter(|it| it.scenario == scenario);
            loads.map(|it| it.workload).collect::<BTreeSet<Workload>>()
        };
        let (of_a, of_b) = (workloads(ours), workloads(theirs));
        if of_a.is_disjoint(&of_b) {
            let said =
                |all: &BTreeSet<Workload>| listed(&all.iter().map(ToString::to_string).collect());
            let all_bare =
                |all: &BTreeSet<Workload>| all.iter().copied().map(bare).collect::<BTreeSet<_>>();
            let apart = all_bare(&of_a).is_disjoint(&all_bare(&of_b));
            let (of_a, of_b) = (said(&of_a), said(&of_b));
            notes.push(match apart {
                true => format!("{scenario} is not compared: {of_a} on {a}, {of_b} on {b}"),
                false => format!(
                    "{scenario}: {of_a} on {a}, {of_b} on {b}; compared by what follows alone"
                ),
            });
        }
        for workload in of_a.intersection(&of_b) {
            let came = |one: &One<'_>| {
                let loads = one.loads.keys();
                let loads = loads.filter(|it| (it.scenario, it.workload) == (scenario, *workload));
                loads.filter_map(|it| it.came).collect::<BTreeSet<_>>()
            };
            let (of_a, of_b) = (came(ours), came(theirs));
            if of_a.is_disjoint(&of_b) {
                let said = |all: &BTreeSet<Came>| {
                    let each = all.iter().map(|came| match came.workers {
                        Some(workers) => format!("{workers} workers"),
                        None => format!("{} units", grouped(came.units)),
                    });
                    listed(&each.collect())
                };
                let (of_a, of_b) = (said(&of_a), said(&of_b));
                notes.push(format!(
                    "{scenario}: {of_a} on {a}, {of_b} on {b}; compared by what follows alone"
                ));
            }
        }
    }
    notes
}
