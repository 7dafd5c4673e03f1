//! What a collector does when four times as much comes as it can take: how much it still stores, how much memory it needs,
//! and whether everybody else is told when to come again.
//!
//! `cargo bench -p fleetmark-collector --bench overload`
//!
//! The real collector stores in SQLite on this machine's disk. Half of the CPUs are the collector's and half the clients',
//! so that the clients' work does not pass for the collector's. The peak is what the collector stores of as much as it asks for,
//! for as long as the overload lasts and right before and after it: a shorter burst would be one that the disk has not seen yet.
//!
//! Batches of one report are shown and not judged: one client core cannot make four times as many calls as one collector core
//! takes.

#[path = "support/collector.rs"]
mod collector;

use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

use collector::{Collector, Split, approximate, conclude, cpu_of, judge, say};
use fleetmark_collector::{
    load::{Link, Load, Seen, Supply, closed, open},
    simulate::Fleet,
};
use fleetmark_proto::unit::{Nanos, grouped, rounded};

/// Hosts of the fleet.
const HOSTS: u32 = 10_000;
/// Connections that the clients share.
const LINKS: usize = 64;
/// Callers that together find the collector's peak.
const CALLERS: [usize; 4] = [16, 48, 96, 192];
/// How long each number of callers is tried.
const PROBE: Duration = Duration::from_secs(3);
/// How long the overload lasts, and each measurement of the peak.
const OVERLOAD: Duration = Duration::from_secs(15);
/// How much more comes than the collector can take.
const TIMES: f64 = 4.0;
/// Calls that may be on their way at a time: as many as the connections carry.
const UNANSWERED: usize = 8_192;
/// What must still be stored of the peak.
const SHARE: f64 = 0.8;
/// The most memory that the collector may ever have held.
const MEMORY_KIB: u64 = 256 * 1024;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    conclude(benchmark())
}

/// Whether everything came out as it should.
fn benchmark() -> Outcome<bool> {
    let split = Split::of_this_machine();
    split.keep_to(&split.clients)?;
    say(format_args!("{}\n", split.words()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(overload(&split, 1))?;
    runtime.block_on(overload(&split, 16))
}

/// Overloads a collector of its own with batches of so many reports.
async fn overload(split: &Split, reports: usize) -> Outcome<bool> {
    let collector = Collector::start(split)?;
    let url = collector.url.clone();
    let mut fleet = Fleet::new("sim", HOSTS, 4)?;
    let links = Link::open_many(&url, LINKS).await?;
    say(format_args!("batches of {reports}: {LINKS} connections, a fleet of {HOSTS} hosts\n"))?;

    let (mut callers, mut most) = (0, 0.0);
    for tried in CALLERS {
        // More than anybody can take in that time.
        let supply = Supply::of(&mut fleet, 90_000 / reports.min(8), reports);
        let load = Load { links: links.clone(), supply, lasting: PROBE };
        let seen = closed(&load, tried).await;
        if seen.goodput() > most {
            (callers, most) = (tried, seen.goodput());
        }
        say(format_args!("  {tried:>4} callers    {}\n", line(&seen)))?;
    }
    let enough = |reports_per_s: f64| {
        rounded(1.3 * reports_per_s / approximate(reports) * OVERLOAD.as_secs_f64())
    };
    let supply = Supply::of(&mut fleet, usize::try_from(enough(most))?, reports);
    let load = Load { links, supply: Arc::clone(&supply), lasting: OVERLOAD };
    let before = closed(&load, callers).await;
    say(format_args!("  peak before     {}\n", line(&before)))?;

    let calls_per_s = TIMES * before.goodput() / approximate(reports);
    let waiting = rounded(calls_per_s);
    supply.fill(&mut fleet, usize::try_from(enough(before.goodput()) + waiting)?, reports);
    let cpu = (collector.cpu()?, cpu_of("self")?);
    let seen = open(&load, calls_per_s, UNANSWERED).await;
    let busy =
        |now: Duration, before: Duration| (now - before).as_secs_f64() / OVERLOAD.as_secs_f64();
    let busy = (busy(collector.cpu()?, cpu.0), busy(cpu_of("self")?, cpu.1));
    say(format_args!("  {TIMES} × the peak   {}\n", line(&seen)))?;
    say(format_args!("  CPUs in use     collector {:.2}, clients {:.2}\n", busy.0, busy.1))?;
    for (how, times) in &seen.failed {
        say(format_args!("  failed {times} times: {how}\n"))?;
    }

    supply.fill(&mut fleet, usize::try_from(enough(most))?, reports);
    let after = closed(&load, callers).await;
    say(format_args!("  peak after      {}\n", line(&after)))?;
    let peak = f64::midpoint(before.goodput(), after.goodput());
    let share = seen.goodput() / peak;
    let memory_kib = collector.peak_memory_kib()?;
    let silent = seen.refused_untold + seen.failures();
    let refused = seen.refused + seen.refused_untold;
    let offered = approximate(seen.calls) / OVERLOAD.as_secs_f64() / calls_per_s * TIMES;
    let told = if refused == 0 { 1.0 } else { approximate(seen.refused) / approximate(refused) };
    let results = [
        judge("offered", format!("{offered:.2} × the peak"), offered >= 0.95 * TIMES),
        judge(
            "goodput",
            format!("{:.0}% of the peak, at least 80%", share * 100.0),
            share >= SHARE,
        ),
        judge(
            "peak memory",
            format!("{} MiB, at most 256", memory_kib / 1024),
            memory_kib <= MEMORY_KIB,
        ),
        judge(
            "refusals with RetryInfo",
            format!("{:.2}% of {}", told * 100.0, grouped(refused)),
            seen.refused_untold == 0,
        ),
        judge("calls that failed otherwise", grouped(seen.failures()), silent == 0),
    ];
    let mut met = true;
    for (text, is_met) in results {
        say(format_args!("{text}"))?;
        met &= is_met;
    }
    collector.stop()?;
    Ok(met)
}

fn line(seen: &Seen) -> String {
    let quantile = |times: &[Duration], share: usize| {
        let mut times = times.to_vec();
        times.sort_unstable();
        let place = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(place).map_or_else(|| "-".to_owned(), |time| Nanos::from(*time).to_string())
    };
    format!(
        "{:>6} reports/s stored; {} calls, {} refused{}{}; answered in {}, 99% in {}; refused in {}, 99% in {}",
        grouped(rounded(seen.goodput())),
        grouped(seen.calls),
        grouped(seen.refused + seen.refused_untold),
        if seen.held_back > 0 { format!(", {} held back", seen.held_back) } else { String::new() },
        if seen.ran_dry { ", ran dry" } else { "" },
        quantile(&seen.answering, 50),
        quantile(&seen.answering, 99),
        quantile(&seen.refusing, 50),
        quantile(&seen.refusing, 99),
    )
}
