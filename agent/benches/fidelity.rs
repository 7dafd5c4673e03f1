//! Whether the harness adds anything: each cell, measured by the clean child under `go`, beside the same work as a bare
//! loop that is written out here, in a process of its own, in turns. The paired ratio of the two must be 1.
//!
//! `cargo bench -p fleetmark-agent --bench fidelity`

#[path = "support/pairs.rs"]
mod pairs;

use std::{
    env,
    ffi::OsString,
    hint::black_box,
    io::{self, Write as _},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Parser as _;
use fleetmark_agent::{
    args::{Cli, Command},
    measure::{self, Program, Sampler},
    plan::{Plan, PlannedCell},
};
use fleetmark_proto::{
    plan::{Scenario, Spawner},
    unit::{Nanos, rounded},
};
use pairs::{Bare, burn, judged, obey, of_pair, threads};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::{runtime::Runtime, task::JoinSet};

/// What all rounds of one cell may take, both sides together: short cells get more rounds.
const BUDGET: Duration = Duration::from_secs(24);
/// Pairs of processes for one cell. Where a process happens to lie in memory is worth some percent of a short cell, with
/// the same code on both sides too. So a pair counts once, by the median of its rounds, and the interval is over pairs.
const PAIRS: u32 = 40;
const FEWEST_ROUNDS: u32 = 3;
const MOST_ROUNDS: u32 = 250;
/// The argument that makes this binary the process with the bare loop of one cell.
const BARE: &str = "bare";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    if let Some(child) = measure::take_over(&arguments) {
        return child;
    }
    let workers = thread::available_parallelism().map_or(1, |cpus| cpus.get());
    // The default parameters are those of a `run` without flags.
    let Command::Run(run) = Cli::parse_from(["fleetmark-agent", "run"]).command else {
        return ExitCode::FAILURE;
    };
    let Ok(plan) = Plan::new(&run.measure.asked(), u32::try_from(workers).unwrap_or(1)) else {
        return ExitCode::FAILURE;
    };
    let outcome = match &arguments[..] {
        [_, command, index] if command == BARE => {
            let index = index.to_str().and_then(|index| index.parse::<usize>().ok());
            index.and_then(|index| plan.cells.get(index)).map_or(Ok(()), |cell| {
                let loops = Loops::new(cell.key.spawner, workers);
                obey(|_| loops.sample(cell))
            })
        }
        _ => compare_all(&plan),
    };
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn compare_all(plan: &Plan) -> io::Result<()> {
    let program = Program::this()?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "ratio = the harness's time / a bare loop's, paired; met: its 95% interval overlaps 0.99 to 1.01 and is within 5%"
    )?;
    for index in 0..plan.cells.len() {
        writeln!(out, "{}", compare(plan, index, &program)?)?;
    }
    let measured = measure::measure(plan, &program, |_| measure::Continue::Continue(()));
    let ratio = measured.child_life.as_secs_f64() / measured.sampled.as_secs_f64();
    let word = if ratio <= 1.10 { "met" } else { "missed" };
    writeln!(
        out,
        "the child's life: {} for {} of samples, ratio {ratio:.3}, at most 1.10: {word}",
        Nanos::from(measured.child_life),
        Nanos::from(measured.sampled)
    )
}

/// Measures one cell both ways in turns, and says what came of it.
fn compare(plan: &Plan, index: usize, program: &Program) -> io::Result<String> {
    let mut ratios = Vec::new();
    let mut rounds_in_all = 0;
    let mut name = String::new();
    for pair in 0..PAIRS {
        let mut sampler = Sampler::new(plan, program);
        let mut bare = Bare::start(&[BARE, &index.to_string()])?;
        // Both sides begin with a cold sample that does not count.
        sampler.sample(index);
        bare.sample(index)?;
        let estimate = bare.sample(index)?;
        let share = BUDGET.as_secs_f64() / f64::from(PAIRS) / 2.0;
        let fitting = rounded(share / Duration::from(estimate).as_secs_f64());
        let rounds =
            u32::try_from(fitting).unwrap_or(MOST_ROUNDS).clamp(FEWEST_ROUNDS, MOST_ROUNDS);
        let mut loops = Vec::new();
        for round in 0..rounds {
            // Who goes first alternates, so that neither always follows the other.
            if (round + pair) % 2 == 0 {
                sampler.sample(index);
                loops.push(bare.sample(index)?);
            } else {
                loops.push(bare.sample(index)?);
                sampler.sample(index);
            }
        }
        let measured = sampler.finish();
        let Some(cell) = measured.cells.get(index) else { continue };
        name = cell.key.to_string();
        rounds_in_all += loops.len();
        ratios.extend(of_pair(&cell.samples_ns, &loops));
    }
    Ok(judged(&name, &ratios, rounds_in_all, 0.01))
}

/// What one bare loop needs, and nothing else.
struct Loops {
    runtime: Option<Runtime>,
    pool: Option<ThreadPool>,
}

impl Loops {
    fn new(spawner: Spawner, workers: usize) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(workers).enable_time().thread_keep_alive(Duration::from_secs(3_600));
        let tokio = matches!(spawner, Spawner::Tokio | Spawner::SpawnBlocking);
        let rayon = spawner == Spawner::Rayon;
        Self {
            runtime: tokio.then(|| builder.build().ok()).flatten(),
            pool: rayon
                .then(|| ThreadPoolBuilder::new().num_threads(workers).build().ok())
                .flatten(),
        }
    }

    /// The work of a cell, once, as anybody would write it.
    fn sample(&self, cell: &PlannedCell) -> Duration {
        let units = cell.units;
        let wait = Duration::from_millis(10);
        let rounds = 20_000_000;
        match (cell.key.scenario, cell.key.spawner) {
            (Scenario::SpawnOverhead, Spawner::Thread) => threads(units, |id| id),
            (Scenario::Waiting, Spawner::Thread) => threads(units, move |id| {
                thread::sleep(wait);
                id
            }),
            (Scenario::CpuBound, Spawner::Thread) => threads(units, move |id| burn(id, rounds)),
            (Scenario::SpawnOverhead, Spawner::Tokio) => self.tasks(units, |id| async move { id }),
            (Scenario::Waiting, Spawner::Tokio) => self.tasks(units, move |id| async move {
                tokio::time::sleep(wait).await;
                id
            }),
            (Scenario::CpuBound, Spawner::Tokio) => {
                self.tasks(units, move |id| async move { burn(id, rounds) })
            }
            (Scenario::SpawnOverhead, Spawner::SpawnBlocking) => self.blocking(units, |id| id),
            (Scenario::Waiting, Spawner::SpawnBlocking) => self.blocking(units, move |id| {
                thread::sleep(wait);
                id
            }),
            (Scenario::CpuBound, Spawner::SpawnBlocking) => {
                self.blocking(units, move |id| burn(id, rounds))
            }
            (Scenario::CpuBound, Spawner::Rayon) => self.jobs(units, move |id| burn(id, rounds)),
            (_, Spawner::Rayon) => self.jobs(units, |id| id),
        }
    }

    fn tasks<F: Future<Output = u64> + Send + 'static>(
        &self,
        units: u64,
        unit: impl Fn(u64) -> F,
    ) -> Duration {
        let Some(runtime) = &self.runtime else { return Duration::ZERO };
        let start = Instant::now();
        let sum = runtime.block_on(async {
            let mut set = JoinSet::new();
            for id in 0..units {
                set.spawn(unit(id));
            }
            let mut sum: u64 = 0;
            while let Some(value) = set.join_next().await {
                sum = sum.wrapping_add(value.unwrap_or(0));
            }
            sum
        });
        let elapsed = start.elapsed();
        black_box(sum);
        elapsed
    }

    fn blocking(&self, units: u64, unit: impl Fn(u64) -> u64 + Copy + Send + 'static) -> Duration {
        let Some(runtime) = &self.runtime else { return Duration::ZERO };
        let start = Instant::now();
        let sum = runtime.block_on(async {
            let mut set = JoinSet::new();
            for id in 0..units {
                set.spawn_blocking(move || unit(id));
            }
            let mut sum: u64 = 0;
            while let Some(value) = set.join_next().await {
                sum = sum.wrapping_add(value.unwrap_or(0));
            }
            sum
        });
        let elapsed = start.elapsed();
        black_box(sum);
        elapsed
    }

    fn jobs(&self, units: u64, unit: impl Fn(u64) -> u64 + Copy + Send + Sync) -> Duration {
        let Some(pool) = &self.pool else { return Duration::ZERO };
        let sum = AtomicU64::new(0);
        let start = Instant::now();
        pool.in_place_scope(|scope| {
            for id in 0..units {
                let sum = &sum;
                scope.spawn(move |_| {
                    sum.fetch_add(unit(id), Ordering::Relaxed);
                });
            }
        });
        let elapsed = start.elapsed();
        black_box(sum.into_inner());
        elapsed
    }
}
