//! Whether comparisons of groups of hosts can be trusted: whether the interval of a shift covers what it states, and how
//! large a difference is seen with how many hosts.
//!
//! `cargo bench -p fleetmark-collector --bench shifts`

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Instant,
};

use fleetmark_collector::stats::{confidence, shift};
use fleetmark_proto::{
    unit::{approximate, count},
    verdict::{Outcome, RatioInterval, settle},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Repetitions for one coverage: one standard error is a sixth of a point.
const REPETITIONS: u32 = 20_000;
/// How far coverage may be from what is stated.
const POINT: f64 = 0.01;
/// Repetitions for one power.
const POWER_REPETITIONS: u32 = 2_000;
/// The comparisons that `compare` makes of two sides with eleven cells each.
const COMPARISONS: usize = 26;
/// What a comparison of 5,000 hosts a side may take, in seconds.
const LONGEST: f64 = 1.0;

fn main() -> ExitCode {
    match coverage().and_then(|()| power()).and_then(|()| many()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

type Draw = fn(&mut ChaCha8Rng) -> f64;

/// Distributions of the kinds that hosts' values have, in logarithms.
const DISTRIBUTIONS: [(&str, Draw); 3] = [
    ("normal", normal),
    ("heavy tail", |random| {
        let share: f64 = random.random();
        (share / (1.0 - share)).cbrt()
    }),
    ("two humps", |random| {
        let share: f64 = random.random();
        if share < 0.8 { share / 20.0 } else { 1.0 + share }
    }),
];

/// How often the interval of a shift covers the true one.
fn coverage() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "Coverage of the interval less what it states, in points, {REPETITIONS} repetitions"
    )?;
    write!(out, "  {:12}", "hosts")?;
    let sizes = [(4, 4), (5, 12), (8, 8), (16, 15), (30, 30), (10, 200), (80, 80)];
    for (a, b) in sizes {
        write!(out, "{:>9}", format!("{a}, {b}"))?;
    }
    writeln!(out)?;
    let mut worst: f64 = 0.0;
    for ((name, draw), seed) in DISTRIBUTIONS.into_iter().zip(1..) {
        write!(out, "  {name:12}")?;
        for (a, b) in sizes {
            let off = coverage_of(a, b, draw, seed);
            worst = worst.max(off.abs());
            write!(out, "{:>+9.2}", off * 100.0)?;
        }
        writeln!(out)?;
    }
    let word = if worst <= POINT { "met" } else { "missed" };
    writeln!(out, "  worst {:.2} points, at most 1: {word}\n", worst * 100.0)
}

/// The seed must differ by distribution: of the same draws, the order of values and so what is covered is the same.
fn coverage_of(a: usize, b: usize, draw: Draw, seed: u64) -> f64 {
    const SHIFT: f64 = 0.25;
    let mut random = ChaCha8Rng::seed_from_u64(seed * 1_000_000 + count(a * 1_000 + b));
    let mut off = 0.0;
    for _ in 0..REPETITIONS {
        let first: Vec<f64> = (0..a).map(|_| draw(&mut random)).collect();
        let second: Vec<f64> = (0..b).map(|_| SHIFT + draw(&mut random)).collect();
        if let Some(found) = shift(&first, &second, 0.95).and_then(|found| found.interval) {
            let covers = found.low <= SHIFT && SHIFT <= found.high;
            off += f64::from(u8::from(covers)) - found.confidence;
        }
    }
    off / f64::from(REPETITIONS)
}

/// How often hosts that take 5% longer are called slower, by how much hosts differ and how many there are.
fn power() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "How often 5% longer is called slower (and the same is called different), of {COMPARISONS} comparisons"
    )?;
    write!(out, "  {:12}", "hosts a side")?;
    let sizes = [6, 8, 12, 16, 32, 64];
    for n in sizes {
        write!(out, "{n:>16}")?;
    }
    writeln!(out)?;
    for noise in [0.01, 0.02, 0.05, 0.10] {
        write!(out, "  {:12}", format!("noise {:.0}%", noise * 100.0))?;
        for n in sizes {
            let seen = share(n, 1.05, noise, |outcome| outcome == Outcome::Slower);
            let wrong = share(n, 1.0, noise, |outcome| {
                matches!(outcome, Outcome::Slower | Outcome::Faster)
            });
            write!(out, "{:>16}", format!("{:.1}% ({:.2}%)", seen * 100.0, wrong * 100.0))?;
        }
        writeln!(out)?;
    }
    writeln!(out)
}

/// The share of simulated comparisons that end so. Hosts' values are log-normal.
fn share(hosts: usize, truth: f64, noise: f64, counts: fn(Outcome) -> bool) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(count(hosts));
    let mut hits = 0_u32;
    for _ in 0..POWER_REPETITIONS {
        let first: Vec<f64> = (0..hosts).map(|_| noise * normal(&mut random)).collect();
        let second: Vec<f64> =
            (0..hosts).map(|_| truth.ln() + noise * normal(&mut random)).collect();
        let Some(found) = shift(&first, &second, confidence(COMPARISONS)) else { continue };
        let Some(interval) = found.interval else { continue };
        let interval = RatioInterval {
            low: interval.low.exp(),
            high: interval.high.exp(),
            confidence: interval.confidence,
        };
        hits += u32::from(counts(settle(found.estimate.exp(), interval, hosts).outcome));
    }
    f64::from(hits) / f64::from(POWER_REPETITIONS)
}

/// How long a comparison of many hosts takes.
fn many() -> io::Result<()> {
    const HOSTS: usize = 5_000;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut group = || (0..HOSTS).map(|_| normal(&mut random)).collect::<Vec<_>>();
    let (a, b) = (group(), group());
    let begun = Instant::now();
    let found = shift(&a, &b, confidence(COMPARISONS));
    let seconds = begun.elapsed().as_secs_f64();
    let word = if found.is_some() && seconds <= LONGEST { "met" } else { "missed" };
    let pairs = approximate(count(HOSTS * HOSTS)) / 1e6;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{HOSTS} hosts a side, {pairs:.0} million pairs: {:.1} ms, at most {LONGEST:.0} s: {word}",
        seconds * 1e3
    )
}

/// A standard normal number, by the method of Box and Muller.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
