//! Whether verdicts can be trusted: how often a cell is called faster or slower than itself, whether intervals cover what
//! they promise, and how large a difference is seen.
//!
//! `cargo bench -p fleetmark-agent --bench verdicts`

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
    thread,
};

use clap::Parser as _;
use fleetmark_agent::{
    args::{Cli, Command},
    measure::{self, Program},
    plan::Plan,
};
use fleetmark_proto::{
    plan::Scenario,
    samples,
    unit::{Nanos, approximate, count, rounded},
    verdict::{Outcome, judge, judge_rounds},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Runs in which each of the eleven cells is compared with itself: 660 comparisons.
const RUNS: u32 = 60;
/// The comparisons that a run without flags makes; they share the chance of an error.
const COMPARISONS: usize = 8;
/// What may be called faster or slower than itself.
const FALSE_RATE: f64 = 0.01;
/// Repetitions for one size and distribution: one standard error is a tenth of a point.
const REPETITIONS: u64 = 40_000;
/// How far coverage may be from the stated confidence.
const POINT: f64 = 0.01;
/// Repetitions for one power.
const POWER_REPETITIONS: u64 = 4_000;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    if let Some(child) = measure::take_over(&arguments) {
        return child;
    }
    if same_against_same().and_then(|()| coverage()).and_then(|()| power()).is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Measures every cell twice in the same rounds, and judges the two as if they were two spawners.
fn same_against_same() -> io::Result<()> {
    let words =
        "fleetmark-agent run --spawn-units 100 --wait-units 50 --wait 1ms --cpu-rounds 500000";
    let Command::Run(run) = Cli::parse_from(words.split(' ')).command else { return Ok(()) };
    let workers = thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let workers = u32::try_from(workers).unwrap_or(1);
    let program = Program::this()?;
    let mut outcomes: BTreeMap<Scenario, BTreeMap<&str, u32>> = BTreeMap::new();
    for _ in 0..RUNS {
        let plan = Plan::new(&run.measure.asked(), workers).map_err(io::Error::other)?;
        let cells = plan.cells.len();
        let twice = Plan { cells: plan.cells.repeat(2), ..plan };
        let measured = measure::measure(&twice, &program, |_| measure::Continue::Continue(()));
        let (first, second) = measured.cells.split_at(cells);
        for (one, other) in first.iter().zip(second) {
            let Some(judged) = judge_rounds(one, other, COMPARISONS) else { continue };
            let of_scenario = outcomes.entry(one.key.scenario).or_default();
            *of_scenario.entry(judged.outcome.name()).or_default() += 1;
        }
    }
    let mut out = io::stdout().lock();
    writeln!(out, "A cell against itself, 11 rounds: how often each verdict was given")?;
    let (mut all, mut wrong) = (0, 0);
    for (scenario, given) in &outcomes {
        let of = |outcome: Outcome| given.get(outcome.name()).copied().unwrap_or(0);
        let told: Vec<String> =
            given.iter().map(|(name, times)| format!("{name} {times}")).collect();
        writeln!(out, "  {scenario:15} {}", told.join(", "))?;
        all += given.values().sum::<u32>();
        wrong += of(Outcome::Faster) + of(Outcome::Slower);
    }
    let rate = f64::from(wrong) / f64::from(all.max(1));
    let word = if rate <= FALSE_RATE && all >= 300 { "met" } else { "missed" };
    writeln!(
        out,
        "  false: {wrong} of {all}, {:.2}%, at most {:.0}%: {word}\n",
        rate * 100.0,
        FALSE_RATE * 100.0
    )
}

/// The inverse of a distribution function, whose value at 0.5 is the median.
type Quantile = fn(f64) -> f64;

/// Distributions of the kinds that samples have.
const DISTRIBUTIONS: [(&str, Quantile); 3] = [
    ("exponential", |u| 1e6 * (1.0 - (1.0 - u).ln())),
    ("heavy tail", |u| 1e6 * (u / (1.0 - u)).cbrt()),
    ("two humps", |u| if u < 0.8 { 1e6 * (1.0 + u / 20.0) } else { 1e6 * (2.0 + u) }),
];

/// How often the interval of a sample's median covers the true one.
fn coverage() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "Coverage of the interval less what it states, in points, {REPETITIONS} repetitions"
    )?;
    write!(out, "  {:12}", "values")?;
    let sizes = [5, 6, 8, 11, 16, 22, 44, 88, 150, 200];
    for size in sizes {
        write!(out, "{size:>7}")?;
    }
    writeln!(out)?;
    let mut worst: f64 = 0.0;
    for (name, quantile) in DISTRIBUTIONS {
        write!(out, "  {name:12}")?;
        for size in sizes {
            let off = coverage_of(size, quantile);
            worst = worst.max(off.abs());
            write!(out, "{:>+7.2}", off * 100.0)?;
        }
        writeln!(out)?;
    }
    let word = if worst <= POINT { "met" } else { "missed" };
    writeln!(out, "  worst {:.2} points, at most 1: {word}\n", worst * 100.0)
}

fn coverage_of(size: usize, quantile: Quantile) -> f64 {
    let truth = Nanos(rounded(quantile(0.5)));
    let one = |seed: u64| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let samples: Vec<Nanos> =
            (0..size).map(|_| Nanos(rounded(quantile(random.random())))).collect();
        let Some(interval) = samples::interval(&samples) else { return (0.0, 0.0) };
        let covers = interval.low_ns <= truth && truth <= interval.high_ns;
        (f64::from(u8::from(covers)), interval.confidence)
    };
    let (covered, stated) = (0..REPETITIONS)
        .into_par_iter()
        .map(|repetition| one(repetition * 1_000 + count(size)))
        .reduce(|| (0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
    (covered - stated) / approximate(REPETITIONS)
}

/// How often a spawner that takes 5% longer is called slower, by the noise of a ratio and the rounds.
fn power() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "How often 5% longer is called slower (and the same is called different)")?;
    let rounds = [11, 22, 44, 88, 176];
    write!(out, "  {:12}", "rounds")?;
    for n in rounds {
        write!(out, "{n:>18}")?;
    }
    writeln!(out)?;
    for noise in [0.01, 0.02, 0.05, 0.10] {
        write!(out, "  {:12}", format!("noise {:.0}%", noise * 100.0))?;
        for n in rounds {
            let seen = share(n, 1.05, noise, |outcome| outcome == Outcome::Slower);
            let wrong = share(n, 1.0, noise, |outcome| {
                matches!(outcome, Outcome::Slower | Outcome::Faster)
            });
            write!(out, "{:>18}", format!("{:.1}% ({:.2}%)", seen * 100.0, wrong * 100.0))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The share of simulated comparisons that end so. Ratios are log-normal around `truth`.
fn share(rounds: usize, truth: f64, noise: f64, counts: fn(Outcome) -> bool) -> f64 {
    let one = |seed: u64| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let ratios: Vec<f64> =
            (0..rounds).map(|_| truth * (noise * normal(&mut random)).exp()).collect();
        judge(&ratios, COMPARISONS).is_some_and(|judged| counts(judged.outcome))
    };
    let hits = (0..POWER_REPETITIONS)
        .into_par_iter()
        .filter(|repetition| one(repetition * 1_000 + count(rounds)))
        .count();
    approximate(count(hits)) / approximate(POWER_REPETITIONS)
}

/// A standard normal number, by the method of Box and Muller.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
