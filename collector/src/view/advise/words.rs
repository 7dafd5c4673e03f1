//! Advice as sentences.

use fleetmark_proto::{
    plan::Spawner,
    unit::{Nanos, approximate, grouped, rounded},
    verdict::{Basis, Outcome, Verdict},
};

use super::{
    Fit, GoodFromView, Missing, SpawnerAdvice, Work, WorkAdvice,
    evidence::{Evidence, Ranking},
};

/// What measures the passes.
const PASSES: &str = "fleetmark-agent run --preset grain --neighbours";
/// What measures the cells.
const CELLS: &str = "fleetmark-agent run";

/// The advice itself, with the numbers that it rests on.
pub(super) fn sentence(advice: &WorkAdvice, evidence: &Evidence<'_>) -> String {
    let best = advice.spawners.iter().find(|it| it.fit == Fit::Use);
    let Some(best) = best else { return insufficient(advice, evidence) };
    let mut parts = vec![opening(advice, best)];
    let others = advice.spawners.iter().filter(|it| it.spawner != best.spawner);
    parts.extend(others.filter_map(|it| other(advice.work, it)));
    parts.join("; ") + "."
}

/// Which spawner, and what it costs.
fn opening(advice: &WorkAdvice, best: &SpawnerAdvice) -> String {
    let SpawnerAdvice { spawner, median_ns, hosts, .. } = best;
    let hosts = many(*hosts, "host");
    let median = median_ns.map_or_else(|| "unknown".to_owned(), |median| median.to_string());
    match (advice.work, &best.good_from) {
        (Work::ShortTasks, _) => {
            let units = advice.workload.map_or(1, |workload| workload.amount.units(1));
            let each = median_ns.map(|it| rounded(it.to_f64() / approximate(units.max(1))));
            let each = each.map_or(median, |each| Nanos(each).to_string());
            format!("Use {spawner}: a task costs {each} ({hosts})")
        }
        (Work::Waiting, _) => {
            let asked = advice.workload.and_then(|workload| workload.wait_ns);
            let asked = asked.map_or_else(String::new, |wait| format!(" for a wait of {wait}"));
            format!("Use {spawner}: all tasks are done after {median}{asked} ({hosts})")
        }
        (Work::CpuBound, Some(from)) => {
            format!("Use {spawner}: {} the best {}", within(from), lengths(from))
        }
        (Work::CpuBound, None) => {
            format!("Use {spawner}, for units as long as those that were measured ({hosts})")
        }
        (Work::CpuBesideOthers, _) => {
            format!(
                "Use {spawner}: a tick beside it is {median} late at the 99th percentile ({hosts})"
            )
        }
    }
}

/// What is said of another spawner; `None` if nothing is known of it.
fn other(work: Work, it: &SpawnerAdvice) -> Option<String> {
    let SpawnerAdvice { spawner, verdict, good_from, late_p99_ns, .. } = it;
    let waits = late_p99_ns.map_or_else(
        || "holds up whatever shares its runtime".to_owned(),
        |late| format!("makes whatever shares its runtime wait for {late}"),
    );
    if work != Work::CpuBound {
        let verdict = verdict.as_ref()?;
        let later = match verdict.verdict {
            Outcome::Slower if work == Work::CpuBesideOthers => {
                format!(
                    "{spawner} makes it {}",
                    Verdict::to_string(verdict).replace("slower", "later")
                )
            }
            Outcome::Slower | Outcome::Faster => format!("{spawner} is {verdict}"),
            Outcome::Tie => format!("{spawner} ties"),
            Outcome::Unresolved => format!("{spawner} is not told apart from it yet"),
        };
        let out = if it.fit == Fit::HoldsUp { ": keep such work out of it" } else { "" };
        return Some(later + out);
    }
    let of_length = good_from.as_ref().map(lengths);
    Some(match (it.fit, of_length) {
        (Fit::HoldsUp, Some(lengths)) => format!("{spawner} is as fast {lengths}, but {waits}"),
        (Fit::HoldsUp, None) => format!("{spawner} {waits}"),
        (Fit::Behind, _) => match verdict.as_ref().filter(|it| it.verdict == Outcome::Slower) {
            Some(verdict) => format!("{spawner} is {verdict}"),
            None => format!("{spawner} costs over 10% more than the best at the longest units too"),
        },
        (Fit::Unknown, _) => {
            format!("what {spawner} does to others that share its runtime was not measured")
        }
        (_, Some(lengths)) => format!("{spawner} is as good {lengths}"),
        (_, None) => format!("{spawner} is as good"),
    })
}

/// Why nothing is advised.
fn insufficient(advice: &WorkAdvice, evidence: &Evidence<'_>) -> String {
    let why = match advice.work {
        _ if advice.spawners.is_empty() => "no run that counts has measured it".to_owned(),
        Work::CpuBound => match advice.spawners.iter().all(|it| it.fit == Fit::Unknown) {
            true => "there is only wall time, which hides what such work does to other tasks \
                     and how long a unit must be"
                .to_owned(),
            false => "each spawner is slower or holds others up".to_owned(),
        },
        _ if advice.spawners.len() == 1 => "only one spawner was measured".to_owned(),
        _ => "no spawner is told apart from another yet".to_owned(),
    };
    let tie = advice.work == Work::CpuBound
        && evidence.wall.get(&advice.work.scenario()).is_some_and(ties);
    let tie = if tie { "; by that, no spawner is slower than another" } else { "" };
    format!("The evidence does not suffice: {why}{tie}.")
}

fn ties(wall: &Ranking<'_>) -> bool {
    wall.verdicts.values().all(|verdict| verdict.verdict == Outcome::Tie)
}

/// What the evidence lacks, and what would measure it.
pub(super) fn missing(advice: &WorkAdvice, evidence: &Evidence<'_>) -> Vec<Missing> {
    let lacks = |what: &str, command: &str| Missing {
        what: what.to_owned(),
        command: Some(command.to_owned()),
    };
    let mut missing = Vec::new();
    match advice.work {
        Work::ShortTasks | Work::Waiting => {
            if advice.spawners.len() < 2 {
                missing.push(lacks("how long the spawners take", CELLS));
            }
        }
        Work::CpuBound => {
            if evidence.lengths.is_none() {
                missing.push(lacks("from which length of work on each spawner is as good", PASSES));
            }
            if evidence.late.is_none() {
                missing.push(lacks("what such work does to tasks beside it", PASSES));
            }
            if !evidence.wall.contains_key(&advice.work.scenario()) {
                missing.push(lacks("how long full units take in each spawner", CELLS));
            }
        }
        Work::CpuBesideOthers => {
            if evidence.late.is_none() {
                missing.push(lacks("what such work does to tasks beside it", PASSES));
            }
        }
    }
    // Wall time decides nothing of CPU-bound work that the passes do not.
    if advice.work != Work::CpuBound {
        let unresolved = advice.spawners.iter().filter_map(|it| it.verdict.as_ref());
        let unresolved = unresolved.filter(|verdict| verdict.verdict == Outcome::Unresolved);
        missing.extend(unresolved.map(unresolved_yet));
    }
    missing
}

fn unresolved_yet(verdict: &Verdict) -> Missing {
    let Verdict { spawner, against, basis, needed, .. } = verdict;
    let two = format!("whether {spawner} or {against} is better");
    match (needed, basis) {
        (Some(rounds), Basis::Rounds) => Missing {
            what: format!("{two}: it would take {} rounds", grouped(*rounds)),
            command: Some(format!("{CELLS} --rounds {rounds}")),
        },
        (Some(hosts), Basis::Hosts) => Missing {
            what: format!("{two}: it would take {} hosts of this profile", grouped(*hosts)),
            command: Some(CELLS.to_owned()),
        },
        (None, _) => Missing { what: format!("{two}: more runs will not tell"), command: None },
    }
}

/// What to keep in mind of this work and of the spawner that is advised.
pub(super) fn caveats(advice: &WorkAdvice, evidence: &Evidence<'_>) -> Vec<String> {
    let mut caveats = Vec::new();
    let mut say = |caveat: &str| caveats.push(caveat.to_owned());
    match (advice.work, advice.recommended) {
        (Work::ShortTasks, Some(Spawner::Rayon)) => {
            let tokio = advice.spawners.iter().find(|it| it.spawner == Spawner::Tokio);
            let tokio = tokio.and_then(|it| it.verdict.as_ref());
            let tokio = tokio.map_or_else(String::new, |it| format!(", tokio, which is {it}"));
            say(&format!("rayon's jobs cannot await: async tasks need a runtime{tokio}"));
        }
        (Work::ShortTasks, Some(Spawner::Thread)) => {
            say("each thread takes a stack, and limits bound their number");
        }
        (Work::Waiting, Some(_)) => {
            say("a timer was waited for: sockets, files and databases were not measured");
        }
        (Work::CpuBound | Work::CpuBesideOthers, Some(_)) => {
            say("the kernel works in registers: caches and memory were not measured");
        }
        _ => {}
    }
    if advice.work == Work::CpuBesideOthers
        && let (Some(best), Some(beside)) = (advice.recommended, &evidence.beside)
        && beside.outcome(best) == Some(Outcome::Slower)
        && let Some(verdict) = beside.verdicts.get(&best)
    {
        say(&format!("the work itself is {verdict} in it than in {}", verdict.against));
    }
    let judged = advice.spawners.iter().filter_map(|it| it.verdict.as_ref());
    let by_rounds = judged.clone().any(|verdict| verdict.basis == Basis::Rounds);
    let most = advice.spawners.iter().map(|it| it.hosts).max().unwrap_or(0);
    if most == 1 {
        say("one host has measured this, and speaks for itself alone");
    } else if by_rounds {
        say("hosts are few: the verdicts are what each says by itself");
    }
    for from in advice.spawners.iter().filter_map(|it| Some((it.spawner, it.good_from?))) {
        let (spawner, GoodFromView { hosts, hosts_agree, .. }) = from;
        if hosts_agree * 4 < hosts * 3 {
            say(&format!(
                "hosts differ on {spawner}: only {hosts_agree} of {hosts} are as good from there on"
            ));
        }
    }
    if let Some(lengths) = &evidence.lengths
        && advice.work == Work::CpuBound
        && advice.build.as_ref().is_some_and(|build| *build != lengths.key.build)
    {
        say(&format!("lengths were measured with another build: {}", lengths.key.build));
    }
    caveats
}

/// Where a spawner is as good as the best.
fn lengths(from: &GoodFromView) -> String {
    match (from.rounds, from.about_ns) {
        (Some(0), _) => "at every length".to_owned(),
        (Some(_), Some(about)) => format!("from units of about {about} on"),
        (Some(rounds), None) => format!("from units of {} kernel rounds on", grouped(rounds)),
        (None, _) => "at no length".to_owned(),
    }
}

fn within(from: &GoodFromView) -> String {
    format!("on {} of {} it is within 10% of", from.hosts_agree, many(from.hosts, "host"))
}

fn many(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}
