//! Whether the seven cells of the article come out as by its own way of measuring: one process, one runtime, no child, no
//! `go`. Both ways in turns; the paired ratio must be 1.
//!
//! `cargo bench -p fleetmark-agent --bench article`

#[path = "support/pairs.rs"]
mod pairs;

use std::{
    env,
    ffi::OsString,
    hint::black_box,
    io::{self, Write as _},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Parser as _;
use fleetmark_agent::{
    args::{Cli, Command},
    measure::{self, Program, Sampler},
    plan::{Passes, Plan, PlannedCell},
};
use fleetmark_proto::{
    plan::{Scenario, Spawner},
    unit::Nanos,
};
use pairs::{Bare, burn, judged, obey, of_pair, threads};
use tokio::{runtime::Runtime, task::JoinSet};

/// Pairs of processes; each counts once, by the median of its rounds.
const PAIRS: usize = 100;
/// Rounds of one pair, after one that does not count.
const ROUNDS: usize = 3;
/// How far from 1 a ratio may be.
const TOLERANCE: f64 = 0.05;
/// The argument that makes this binary measure in the article's way.
const BARE: &str = "bare";
const WAIT: Duration = Duration::from_millis(10);
const KERNEL_ROUNDS: u64 = 20_000_000;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    if let Some(child) = measure::take_over(&arguments) {
        return child;
    }
    let workers = thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let words = ["fleetmark-agent", "run", "--preset", "article"];
    let Command::Run(run) = Cli::parse_from(words).command else { return ExitCode::FAILURE };
    let passes = Passes::new(&run.measure.asked(), u32::try_from(workers).unwrap_or(1));
    let Some(plan) = passes.ok().and_then(|passes| Some(passes.plans().next()?.clone())) else {
        return ExitCode::FAILURE;
    };
    let outcome = match &arguments[..] {
        [_, command] if command == BARE => measure_as_the_article(&plan, workers),
        _ => compare(&plan),
    };
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn compare(plan: &Plan) -> io::Result<()> {
    let program = Program::this()?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "ratio = the harness's time / the article's way of measuring, paired; met: its 95% interval overlaps 0.95 to 1.05 and is within 5%"
    )?;
    let mut ratios = vec![Vec::new(); plan.cells.len()];
    for pair in 0..PAIRS {
        let mut sampler = Sampler::new(plan, &program);
        let mut bare = Bare::start(&[BARE])?;
        let mut theirs = vec![Vec::new(); plan.cells.len()];
        for round in 0..=ROUNDS {
            for (cell, samples) in theirs.iter_mut().enumerate() {
                // Who goes first alternates, so that neither always follows the other.
                if (round + pair).is_multiple_of(2) {
                    sampler.sample(cell);
                    samples.push(bare.sample(cell)?);
                } else {
                    samples.push(bare.sample(cell)?);
                    sampler.sample(cell);
                }
            }
        }
        let measured = sampler.finish();
        for ((cell, theirs), ratios) in measured.cells.iter().zip(&theirs).zip(&mut ratios) {
            // The first round is cold on both sides; the article's plan counts it, this comparison does not.
            let warm = |samples: &[Nanos]| samples.get(1..).unwrap_or_default().to_vec();
            ratios.extend(of_pair(&warm(&cell.samples_ns), &warm(theirs)));
        }
    }
    for (cell, ratios) in plan.cells.iter().zip(&ratios) {
        let rounds = PAIRS * ROUNDS;
        writeln!(out, "{}", judged(&cell.key.to_string(), ratios, rounds, TOLERANCE))?;
    }
    Ok(())
}

/// One process, one runtime with the time driver alone, and the cells on the main thread.
fn measure_as_the_article(plan: &Plan, workers: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()?;
    obey(|cell| plan.cells.get(cell).map_or(Duration::ZERO, |cell| sample(&runtime, cell)))
}

fn sample(runtime: &Runtime, cell: &PlannedCell) -> Duration {
    let units = cell.units;
    match (cell.key.scenario, cell.key.spawner) {
        (Scenario::SpawnOverhead, Spawner::Thread) => threads(units, |id| id),
        (Scenario::Waiting, Spawner::Thread) => threads(units, |id| {
            thread::sleep(WAIT);
            id
        }),
        (Scenario::CpuBound, Spawner::Thread) => threads(units, |id| burn(id, KERNEL_ROUNDS)),
        (Scenario::SpawnOverhead, _) => tasks(runtime, units, |set, id| {
            set.spawn(async move { id });
        }),
        (Scenario::Waiting, _) => tasks(runtime, units, |set, id| {
            set.spawn(async move {
                tokio::time::sleep(WAIT).await;
                id
            });
        }),
        (Scenario::CpuBound, Spawner::SpawnBlocking) => tasks(runtime, units, |set, id| {
            set.spawn_blocking(move || burn(id, KERNEL_ROUNDS));
        }),
        (Scenario::CpuBound, _) => tasks(runtime, units, |set, id| {
            set.spawn(async move { burn(id, KERNEL_ROUNDS) });
        }),
    }
}

fn tasks(runtime: &Runtime, units: u64, start: impl Fn(&mut JoinSet<u64>, u64)) -> Duration {
    let begin = Instant::now();
    let sum = runtime.block_on(async {
        let mut set = JoinSet::new();
        for id in 0..units {
            start(&mut set, id);
        }
        let mut sum: u64 = 0;
        while let Some(value) = set.join_next().await {
            sum = sum.wrapping_add(value.unwrap_or(0));
        }
        sum
    });
    let elapsed = begin.elapsed();
    black_box(sum);
    elapsed
}
