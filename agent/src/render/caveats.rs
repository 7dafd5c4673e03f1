//! What a reader of the tables must know beside them. Each comes from what was seen on this host, none from a list.

use fleetmark_proto::{
    plan::{CellKey, Scenario, Spawner},
    report::{Cell, Report},
    samples,
    series::Pass,
    unit::{Nanos, approximate, grouped},
};

/// A cold sample counts as such from this many times the median on.
const COLD: f64 = 1.5;
/// The article's machine had this many kinds of cores.
const ARTICLE_CORE_KINDS: usize = 2;

/// The caveats of a report.
pub(super) fn caveats(report: &Report) -> Vec<String> {
    let cells = measured(report);
    [
        few_rounds(report),
        unknown_model(report),
        report.evidence.blocking_pool_ended.then(|| {
            "The host's thread limit does not hold the blocking pool beside the threads of other cells: the pool was ended before each of these, and spawn-blocking started its threads anew.".to_owned()
        }),
        short_of_precision(report),
        waves(&cells),
        mostly_making_threads(&cells),
        timer(&cells),
        cold(report, &cells),
        article_tie(report),
        article_cores(report),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The cells of the run, and those of the article's crate, which are cells in all but their rounds.
fn measured(report: &Report) -> Vec<&Cell> {
    report.cells.iter().chain(article(report)).filter(|cell| cell.median().is_some()).collect()
}

fn article(report: &Report) -> impl Iterator<Item = &Cell> {
    let series = report.series.iter().filter(|series| series.key.pass == Pass::Article);
    series.map(|series| &series.cell)
}

fn find<'a>(cells: &[&'a Cell], scenario: Scenario, spawner: Spawner) -> Option<&'a Cell> {
    cells.iter().find(|cell| cell.key == CellKey { scenario, spawner }).copied()
}

fn few_rounds(report: &Report) -> Option<String> {
    let counts = report.cells.iter().map(|cell| cell.samples_ns.len());
    let in_series = report.series.iter().map(|series| series.cell.samples_ns.len());
    let rounds = counts.chain(in_series).filter(|&count| count > 0).min()?;
    let missing = samples::missing(rounds);
    (missing > 0).then(|| format!(
        "An interval at 95% takes {} rounds, and these are {rounds}; what is shown is the range, and how sure it is.",
        rounds + missing
    ))
}

fn unknown_model(report: &Report) -> Option<String> {
    (!report.profile.facets.is_complete()).then(|| {
        "This host does not show its CPU's model: the profile is incomplete and gets no verdicts.".to_owned()
    })
}

fn short_of_precision(report: &Report) -> Option<String> {
    let target = report.precision?;
    let short: Vec<String> = report.short_of_precision().map(|cell| cell.key.to_string()).collect();
    (!short.is_empty()).then(|| format!(
        "After {} rounds these intervals are still wider than ±{}%: {}; allow more with --max-time.",
        grouped(report.rounds.into()),
        target * 100.0,
        short.join(", ")
    ))
}

/// A pool that is smaller than the units that wait in it takes them one lot after the other.
fn waves(cells: &[&Cell]) -> Option<String> {
    let cell = find(cells, Scenario::Waiting, Spawner::SpawnBlocking)?;
    let threads = cell.threads_reached.filter(|&threads| threads > 0)?;
    let waves = cell.units.div_ceil(threads);
    (waves > 1).then(|| format!(
        "The blocking pool reached {} threads for {} waiting units: they wait in {waves} waves, one after the other.",
        grouped(threads),
        grouped(cell.units)
    ))
}

fn mostly_making_threads(cells: &[&Cell]) -> Option<String> {
    let making = find(cells, Scenario::SpawnOverhead, Spawner::Thread)?;
    let waiting = find(cells, Scenario::Waiting, Spawner::Thread)?;
    let (made, waited) = making.median().zip(waiting.median())?;
    let wait = waiting.workload.wait_ns?;
    (making.units == waiting.units && waited.0 > wait.0 && made.0 > wait.0).then(|| format!(
        "Waiting in threads mostly measures the making of threads: {} of them take {made} when they do nothing, {waited} when each waits {wait}.",
        grouped(making.units)
    ))
}

fn timer(cells: &[&Cell]) -> Option<String> {
    let cell = find(cells, Scenario::Waiting, Spawner::Tokio)?;
    let (median, wait) = cell.median().zip(cell.workload.wait_ns)?;
    let over = Nanos(median.0.saturating_sub(wait.0));
    (over.to_f64() > wait.to_f64() * 0.05).then(|| format!(
        "Waiting in tasks took {over} longer than the wait: Tokio's timer goes in whole milliseconds and rounds up."
    ))
}

/// Which cell differed most in its first sample.
fn cold(report: &Report, cells: &[&Cell]) -> Option<String> {
    let ratio = |cell: &&Cell| {
        // The article's crate has no cold round: its first sample is one of the five.
        let first = cell.cold_ns.or_else(|| cell.samples_ns.first().copied())?;
        Some((first.to_f64() / cell.median()?.to_f64().max(1.0), cell.key, first))
    };
    let most = cells.iter().filter_map(ratio).max_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, key, first) = most.filter(|(ratio, ..)| *ratio > COLD)?;
    let counted = if report.cells.is_empty() { "and counts here" } else { "and does not count" };
    Some(format!(
        "The first sample of {key} took {first}, {ratio:.1}× the median: threads, caches and clock were cold, {counted}."
    ))
}

/// Whether five rounds tell a CPU-bound winner.
fn article_tie(report: &Report) -> Option<String> {
    let cpu_bound: Vec<&Cell> = article(report)
        .filter(|cell| cell.key.scenario == Scenario::CpuBound && cell.median().is_some())
        .collect();
    let fastest = cpu_bound.iter().min_by_key(|cell| cell.median())?;
    let next =
        cpu_bound.iter().filter(|cell| cell.key != fastest.key).min_by_key(|cell| cell.median())?;
    let apart = next.median()?.to_f64() / fastest.median()?.to_f64().max(1.0) - 1.0;
    let (low, high) = (fastest.interval()?, next.interval()?);
    let overlap = low.high_ns >= high.low_ns;
    overlap.then(|| format!(
        "CPU-bound, {} is ahead of {} by {:.1}%, but the ranges of their {} rounds overlap: this way of measuring names a winner by chance.",
        fastest.key.spawner,
        next.key.spawner,
        apart * 100.0,
        fastest.samples_ns.len()
    ))
}

fn article_cores(report: &Report) -> Option<String> {
    article(report).next()?;
    let kinds = report.profile.facets.core_kinds.len();
    let units = article(report).find(|cell| cell.key.scenario == Scenario::CpuBound)?.units;
    let workers = report.workers.count;
    let alike = match kinds {
        0 => "cores whose kinds are unknown",
        1 => "cores that are all alike",
        ARTICLE_CORE_KINDS => "two kinds of cores, as it had",
        _ => "more kinds of cores than it had",
    };
    let ratio = approximate(units) / 24.0;
    Some(format!(
        "The article's machine had 12 workers on two kinds of cores and 24 CPU-bound units; this host has {workers} on {alike} and {units} units, {ratio:.2}× the work: compare the ratios between spawners, not the times."
    ))
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::{
        plan::{Amount, Workload},
        report::Failure,
        report::FailureKind,
    };

    use super::*;

    fn cell(scenario: Scenario, spawner: Spawner, median_ms: u64) -> Cell {
        Cell {
            key: CellKey { scenario, spawner },
            workload: Workload {
                amount: Amount::Units(1_000),
                wait_ns: (scenario == Scenario::Waiting).then_some(Nanos(10_000_000)),
                kernel_rounds: (scenario == Scenario::CpuBound).then_some(20_000_000),
                workers: None,
            },
            units: 1_000,
            samples_ns: vec![Nanos(median_ms * 1_000_000); 11],
            cold_ns: Some(Nanos(median_ms * 1_000_000)),
            failure: None,
            threads_reached: Some(1_000),
            usage: None,
        }
    }

    #[test]
    fn waves_are_told_where_the_pool_was_smaller_than_its_units() {
        let pool = cell(Scenario::Waiting, Spawner::SpawnBlocking, 25);
        assert_eq!(waves(&[&pool]), None, "it had a thread for each");
        let small = Cell { threads_reached: Some(512), ..pool };
        assert!(waves(&[&small]).unwrap().contains("512 threads for 1,000 waiting units"));
        assert!(waves(&[&small]).unwrap().contains("2 waves"));
        assert_eq!(waves(&[]), None);
    }

    #[test]
    fn threads_that_wait_are_set_beside_threads_that_do_nothing() {
        let making = cell(Scenario::SpawnOverhead, Spawner::Thread, 60);
        let waiting = cell(Scenario::Waiting, Spawner::Thread, 80);
        let told = mostly_making_threads(&[&making, &waiting]).unwrap();
        assert!(told.contains("60.0 ms") && told.contains("80.0 ms"), "{told}");
        let quick = cell(Scenario::SpawnOverhead, Spawner::Thread, 3);
        assert_eq!(mostly_making_threads(&[&quick, &waiting]), None);
        let other = Cell { units: 9, ..making };
        assert_eq!(mostly_making_threads(&[&other, &waiting]), None, "another workload");
    }

    #[test]
    fn the_timer_is_told_by_what_it_added() {
        let late = cell(Scenario::Waiting, Spawner::Tokio, 12);
        assert!(timer(&[&late]).unwrap().contains("2.00 ms longer"));
        let exact = cell(Scenario::Waiting, Spawner::Tokio, 10);
        assert_eq!(timer(&[&exact]), None);
        let broken = Cell {
            failure: Some(Failure { kind: FailureKind::Deadline, message: "late".into() }),
            ..late
        };
        assert_eq!(timer(&[&broken]), None);
    }
}
