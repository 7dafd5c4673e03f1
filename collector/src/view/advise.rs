//! Which spawner for which kind of work, a profile at a time, and on which evidence.
//!
//! The rules. Each kind of work goes by the build and the workload that most hosts have measured.
//!
//! 1. Many short tasks and waiting go by wall time. The best spawner is compared with each other: what is slower is behind, a tie is as
//!    good, and what is unresolved is not told apart. Where nothing is told apart from the best, nothing is advised.
//! 2. CPU-bound work never goes by wall time alone, which hides what such work does to others. A spawner is fit if its wall time is
//!    not slower, if it is within 10% of the best for units long enough, and if it does not hold up what shares its runtime. Of the
//!    fit, the one is advised that is good from the shortest unit on. Tasks of Tokio run where other tasks do, so without the pass
//!    that measures neighbours nothing is known of `tokio`. Without any pass nothing is advised.
//! 3. CPU-bound work beside others goes by how late these become: as in 1, and who makes them more than twice as late as the
//!    kindest does, and more than 2 ms, holds them up.
//! 4. What is missing is told with the command that measures it.
//!
//! Suspect and partial runs and collided hosts enter nothing, and an incomplete profile gets no advice; all of them are told.

mod evidence;
mod words;

use std::collections::BTreeSet;

use fleetmark_proto::{
    id::{HostId, ProfileId},
    plan::{Scenario, Spawner, Workload},
    samples::Interval,
    series::Metric,
    unit::{Nanos, count},
    verdict::{Outcome, Verdict},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Facet, Filter, grouped,
    medians::{groups, kernel_time},
    partial, suspect,
};
use crate::{stats::collided, store::StoredRun};
use evidence::{Evidence, Ranking};

/// The name and version of the advice's JSON.
const SCHEMA: &str = "fleetmark.advice/1";

/// Advice for each profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// `fleetmark.advice/1`.
    pub schema: &'static str,
    /// When it was made.
    pub generated_at: Timestamp,
    /// What was asked for.
    pub filter: Filter,
    /// In the order of their names.
    pub profiles: Vec<ProfileAdvice>,
}

/// Advice for the hosts of one profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProfileAdvice {
    /// Short hash of the profile's key.
    pub id: ProfileId,
    /// Readable, not unique.
    pub name: String,
    /// Hosts with a run in the window.
    pub hosts: u64,
    /// Their runs in the window.
    pub runs: u64,
    /// Those that are suspect.
    pub suspect_runs: u64,
    /// Those that ended before their plan did; they enter nothing.
    pub partial_runs: u64,
    /// Hosts of which no run counts, as all are suspect or partial.
    pub uncounted_hosts: Vec<HostId>,
    /// Hosts of which two machines claim to be one; they enter nothing.
    pub collisions: Vec<HostId>,
    /// Builds that were measured with, and that no advice goes by.
    pub other_builds: Vec<String>,
    /// Whether enough is known of the hardware; otherwise nothing is advised.
    pub complete: bool,
    /// How long a million rounds of the kernel take on one core.
    pub kernel_time_ns: Option<Nanos>,
    /// One for each kind of work that is asked for.
    pub works: Vec<WorkAdvice>,
}

/// A kind of work.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Many tasks that take next to nothing.
    ShortTasks,
    /// Tasks that mostly wait.
    Waiting,
    /// Tasks that burn CPU, with nothing else to do.
    CpuBound,
    /// The same beside tasks that must answer in time.
    CpuBesideOthers,
}

/// Advice for one kind of work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkAdvice {
    /// Which.
    pub work: Work,
    /// The spawner to use; `null` if the evidence does not suffice.
    pub recommended: Option<Spawner>,
    /// The advice in words.
    pub advice: String,
    /// What the medians and ratios are of.
    pub measure: Metric,
    /// What was asked of the units that were measured.
    pub workload: Option<Workload>,
    /// What was measured with.
    pub build: Option<String>,
    /// Each spawner, best first.
    pub spawners: Vec<SpawnerAdvice>,
    /// What to keep in mind.
    pub caveats: Vec<String>,
    /// What the evidence lacks.
    pub missing: Vec<Missing>,
}

/// What is said of one spawner for one kind of work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpawnerAdvice {
    /// Which.
    pub spawner: Spawner,
    /// Whether to use it.
    pub fit: Fit,
    /// The median of the hosts' values.
    pub median_ns: Option<Nanos>,
    /// Of that median.
    pub interval: Option<Interval>,
    /// Hosts that gave a value.
    pub hosts: u64,
    /// The comparison with the best by this measure; `null` for the best.
    pub verdict: Option<Verdict>,
    /// From which length of work on it is within 10% of the best; told of CPU-bound work, where it was measured.
    pub good_from: Option<GoodFromView>,
    /// How late a tick beside it was: the 99th percentile; told of CPU-bound work, where it was measured.
    pub late_p99_ns: Option<Nanos>,
}

/// Whether a spawner fits a kind of work.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// It is the one to use.
    Use,
    /// As good.
    AsGood,
    /// Not told apart from the best.
    Unresolved,
    /// Worse than the best.
    Behind,
    /// It holds up what shares its runtime.
    HoldsUp,
    /// Nobody has measured what counts.
    Unknown,
}

/// From which length of work on a spawner is within 10% of the best.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct GoodFromView {
    /// Rounds of the kernel in a unit: 0 is every length, `null` no length, or not the longest.
    pub rounds: Option<u64>,
    /// How long such a unit takes by itself on one core.
    pub about_ns: Option<Nanos>,
    /// Hosts that measured it.
    pub hosts: u64,
    /// Those of which the same can be said alone: as good from there on, or not at all.
    pub hosts_agree: u64,
}

/// What the evidence lacks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Missing {
    /// What is not known.
    pub what: String,
    /// What measures it; `null` if nothing would.
    pub command: Option<String>,
}

impl Work {
    /// All of them, in the order of every report.
    pub const ALL: [Self; 4] =
        [Self::ShortTasks, Self::Waiting, Self::CpuBound, Self::CpuBesideOthers];

    /// The name that programs read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ShortTasks => "short-tasks",
            Self::Waiting => "waiting",
            Self::CpuBound => "cpu-bound",
            Self::CpuBesideOthers => "cpu-beside-others",
        }
    }

    /// The scenario that it is measured by.
    #[must_use]
    pub fn scenario(self) -> Scenario {
        match self {
            Self::ShortTasks => Scenario::SpawnOverhead,
            Self::Waiting => Scenario::Waiting,
            Self::CpuBound | Self::CpuBesideOthers => Scenario::CpuBound,
        }
    }
}

impl Fit {
    /// The name that programs read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Use => "use",
            Self::AsGood => "as-good",
            Self::Unresolved => "unresolved",
            Self::Behind => "behind",
            Self::HoldsUp => "holds-up",
            Self::Unknown => "unknown",
        }
    }
}

/// Advises on the hardware profiles of these runs.
#[must_use]
pub fn advise(runs: &[StoredRun], filter: &Filter, now: Timestamp) -> Advice {
    let in_window = runs.iter().filter(|run| filter.in_window(run));
    let collided = collided(in_window.map(|run| &run.report));
    let mut profiles: Vec<ProfileAdvice> = grouped(&filter.runs(runs), &[Facet::Profile])
        .into_values()
        .filter_map(|runs| profile(&runs, filter, &collided))
        .collect();
    profiles.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Advice { schema: SCHEMA, generated_at: now, filter: filter.clone(), profiles }
}

/// Advice for one profile's runs, which come oldest first.
fn profile(
    runs: &[&StoredRun],
    filter: &Filter,
    collided: &BTreeSet<&HostId>,
) -> Option<ProfileAdvice> {
    let profile = &runs.last()?.report.profile;
    let hosts: BTreeSet<&HostId> = runs.iter().map(|run| &run.report.host.id).collect();
    let counted: BTreeSet<&HostId> = runs
        .iter()
        .filter(|run| run.report.counts(filter.include_suspect))
        .map(|run| &run.report.host.id)
        .collect();
    let (collisions, others): (Vec<&HostId>, Vec<&HostId>) =
        hosts.iter().copied().partition(|host| collided.contains(host));
    let complete = profile.facets.is_complete();
    let groups = groups(runs, filter, collided);
    let evidence = Evidence::of(&groups, filter);
    let kernel_time_ns = kernel_time(runs, collided);
    let wanted = Work::ALL.into_iter().filter(|work| filter.wants_scenario(work.scenario()));
    let works: Vec<WorkAdvice> = wanted
        .filter(|_| complete)
        .map(|work| work_advice(work, &evidence, kernel_time_ns))
        .collect();
    // A build with suspect or partial runs only has nothing to be asked for.
    let measured = groups.iter().filter(|(_, group)| group.newest().is_some());
    let builds: BTreeSet<&String> = measured.map(|(key, _)| &key.build).collect();
    let is_used = |build: &String| works.iter().any(|it| it.build.as_ref() == Some(build));
    let other_builds = builds.into_iter().filter(|it| !is_used(it)).cloned().collect();
    Some(ProfileAdvice {
        id: profile.id.clone(),
        name: profile.name.clone(),
        hosts: count(hosts.len()),
        runs: count(runs.len()),
        suspect_runs: suspect(runs),
        partial_runs: partial(runs),
        uncounted_hosts: others.into_iter().filter(|it| !counted.contains(it)).cloned().collect(),
        collisions: collisions.into_iter().cloned().collect(),
        complete,
        kernel_time_ns,
        works,
        other_builds,
    })
}

fn work_advice(work: Work, evidence: &Evidence<'_>, kernel_time: Option<Nanos>) -> WorkAdvice {
    let (ranking, measure) = match work {
        Work::CpuBesideOthers => (evidence.late.as_ref(), Metric::LatenessP99),
        work => (evidence.wall.get(&work.scenario()), Metric::Elapsed),
    };
    let mut spawners = match work {
        Work::ShortTasks | Work::Waiting => ranking.map_or_else(Vec::new, by_ranking),
        Work::CpuBound => cpu_bound(ranking, evidence, kernel_time),
        Work::CpuBesideOthers => beside_others(ranking, evidence),
    };
    spawners.sort_by_key(|it| (it.fit, it.good_from.is_none(), it.order()));
    let key = ranking.map(|ranking| ranking.key);
    // Where the cells were not measured, the passes still were.
    let key = key
        .or_else(|| evidence.lengths.as_ref().map(|it| it.key).filter(|_| work == Work::CpuBound));
    let mut advice = WorkAdvice {
        work,
        recommended: spawners.iter().find(|it| it.fit == Fit::Use).map(|it| it.spawner),
        advice: String::new(),
        measure,
        workload: key.map(|key| key.workload),
        build: key.map(|key| key.build.clone()),
        spawners,
        caveats: Vec::new(),
        missing: Vec::new(),
    };
    advice.missing = words::missing(&advice, evidence);
    advice.caveats = words::caveats(&advice, evidence);
    advice.advice = words::sentence(&advice, evidence);
    advice
}

/// By one measure alone.
fn by_ranking(ranking: &Ranking<'_>) -> Vec<SpawnerAdvice> {
    let told = ranking.verdicts.values().any(|verdict| verdict.verdict != Outcome::Unresolved);
    let fit = |spawner: Spawner| match ranking.outcome(spawner) {
        None if spawner == ranking.leader && told => Fit::Use,
        None if spawner == ranking.leader => Fit::Unresolved,
        None => Fit::Unknown,
        Some(Outcome::Slower) => Fit::Behind,
        Some(Outcome::Tie | Outcome::Faster) => Fit::AsGood,
        Some(Outcome::Unresolved) => Fit::Unresolved,
    };
    let spawners = ranking.medians.keys();
    spawners.map(|&spawner| SpawnerAdvice::of(spawner, fit(spawner), Some(ranking))).collect()
}

/// By wall time, lengths and neighbours together: see rule 2.
fn cpu_bound(
    wall: Option<&Ranking<'_>>,
    evidence: &Evidence<'_>,
    kernel_time: Option<Nanos>,
) -> Vec<SpawnerAdvice> {
    let lengths = evidence.lengths.as_ref();
    let of_lengths = lengths.map(|lengths| lengths.grain.spawners()).unwrap_or_default();
    let of_wall = wall.into_iter().flat_map(|wall| wall.medians.keys().copied());
    let all: BTreeSet<Spawner> = of_wall.chain(of_lengths).collect();
    let any_pass = lengths.is_some() || evidence.late.is_some();
    let mut spawners: Vec<SpawnerAdvice> = Vec::new();
    for spawner in all {
        let good_from = lengths.and_then(|lengths| lengths.from(spawner, kernel_time));
        let never = good_from.is_some_and(|from| from.rounds.is_none());
        let slower = wall.and_then(|wall| wall.outcome(spawner)) == Some(Outcome::Slower);
        let fit = match evidence.holds_up(spawner) {
            _ if !any_pass => Fit::Unknown,
            _ if never || slower => Fit::Behind,
            Some(true) => Fit::HoldsUp,
            None if spawner == Spawner::Tokio => Fit::Unknown,
            _ => Fit::AsGood,
        };
        let late_p99_ns = evidence.late_p99(spawner);
        let of = SpawnerAdvice::of(spawner, fit, wall);
        spawners.push(SpawnerAdvice { good_from, late_p99_ns, ..of });
    }
    let fit = spawners.iter_mut().filter(|it| it.fit == Fit::AsGood);
    if let Some(best) = fit.min_by_key(|it| (it.good_from.is_none(), it.order())) {
        best.fit = Fit::Use;
    }
    spawners
}

/// By how late others become: see rule 3.
fn beside_others(late: Option<&Ranking<'_>>, evidence: &Evidence<'_>) -> Vec<SpawnerAdvice> {
    let mut spawners = late.map_or_else(Vec::new, by_ranking);
    for it in &mut spawners {
        if evidence.holds_up(it.spawner) == Some(true) {
            it.fit = Fit::HoldsUp;
        }
        it.late_p99_ns = evidence.late_p99(it.spawner);
    }
    spawners
}

impl Evidence<'_> {
    fn late_p99(&self, spawner: Spawner) -> Option<Nanos> {
        Some(self.late.as_ref()?.medians.get(&spawner)?.median)
    }
}

impl SpawnerAdvice {
    fn of(spawner: Spawner, fit: Fit, ranking: Option<&Ranking<'_>>) -> Self {
        let found = ranking.and_then(|ranking| ranking.medians.get(&spawner));
        let verdict = ranking.and_then(|ranking| ranking.verdicts.get(&spawner));
        Self {
            spawner,
            fit,
            median_ns: found.map(|found| found.median),
            interval: found.and_then(|found| found.interval).map(|(interval, _)| interval),
            hosts: found.map_or(0, |found| found.hosts),
            verdict: verdict.cloned(),
            good_from: None,
            late_p99_ns: None,
        }
    }

    /// The best first: good from the shortest unit on, then kind to others, then fast.
    fn order(&self) -> (Option<u64>, Option<Nanos>, Option<Nanos>) {
        let from = self.good_from.map(|from| from.rounds.unwrap_or(u64::MAX));
        (from, self.late_p99_ns, self.median_ns)
    }
}

#[cfg(test)]
mod tests;
