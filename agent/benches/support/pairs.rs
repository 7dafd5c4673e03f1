//! What benchmarks need that compare the harness with a process of their own, in turns.

use std::{
    env,
    hint::black_box,
    io::{self, BufRead as _, BufReader, Lines, Write as _},
    process::{self, Child, ChildStdin, ChildStdout, Stdio},
    thread,
    time::{Duration, Instant},
};

use fleetmark_proto::{
    samples::{CONFIDENCE, Ranks, median_ratio, sorted_ratios},
    unit::Nanos,
};

/// A process of this benchmark that takes a sample for every line it gets, and answers with nanoseconds.
pub(crate) struct Bare {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Bare {
    /// Starts this benchmark once more, with these arguments.
    ///
    /// # Errors
    ///
    /// If the process cannot be started.
    pub(crate) fn start(arguments: &[&str]) -> io::Result<Self> {
        let mut process = process::Command::new(env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let orders = process.stdin.take().ok_or_else(missing)?;
        let answers = BufReader::new(process.stdout.take().ok_or_else(missing)?).lines();
        Ok(Self { process, orders, answers })
    }

    /// Takes a sample of the cell with this number.
    ///
    /// # Errors
    ///
    /// If the process ended, or said what is no number.
    pub(crate) fn sample(&mut self, cell: usize) -> io::Result<Nanos> {
        self.orders.write_all(format!("{cell}\n").as_bytes())?;
        let line =
            self.answers.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
        line.parse().map(Nanos).map_err(io::Error::other)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It is idle, and has nothing to lose.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other side: samples the cell of every number that comes in, until there are no more.
///
/// # Errors
///
/// If the parent speaks no numbers, or is gone.
pub(crate) fn obey(mut sample: impl FnMut(usize) -> Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let cell = line?.parse().map_err(io::Error::other)?;
        writeln!(out, "{}", sample(cell).as_nanos())?;
        out.flush()?;
    }
    Ok(())
}

/// The median of the ratios of samples that were taken in turns: what one pair of processes says.
#[must_use]
pub(crate) fn of_pair(harness: &[Nanos], bare: &[Nanos]) -> Option<f64> {
    let ratios: Vec<f64> =
        harness.iter().zip(bare).map(|(ours, theirs)| ours.to_f64() / theirs.to_f64()).collect();
    median_ratio(&ratios)
}

/// What the pairs of processes say of one cell together: met, if the interval at 95% overlaps 1 ± `tolerance` and its
/// half width is under 5%.
#[must_use]
pub(crate) fn judged(name: &str, ratios: &[f64], rounds: usize, tolerance: f64) -> String {
    let sorted = sorted_ratios(ratios);
    let ends = Ranks::at_least(CONFIDENCE, sorted.len())
        .and_then(|ranks| Some((*sorted.get(ranks.low)?, *sorted.get(ranks.high)?)));
    let Some((ratio, (low, high))) = median_ratio(ratios).zip(ends) else {
        return format!("{name:30} failed");
    };
    let narrow = (high - low) / 2.0 < 0.05 * ratio;
    let word = match (narrow, low <= 1.0 + tolerance && high >= 1.0 - tolerance) {
        (true, true) => "met",
        (true, false) => "missed",
        (false, _) => "unresolved",
    };
    format!(
        "{name:30} ratio {ratio:.4}, {low:.4} to {high:.4}, {} pairs of processes, {rounds} rounds: {word}",
        ratios.len()
    )
}

/// A thread a unit, joined in the order of spawning, as anybody would write it.
pub(crate) fn threads(units: u64, unit: impl Fn(u64) -> u64 + Copy + Send + 'static) -> Duration {
    let mut handles = Vec::with_capacity(usize::try_from(units).unwrap_or(0));
    let start = Instant::now();
    for id in 0..units {
        handles.push(thread::spawn(move || unit(id)));
    }
    let mut sum: u64 = 0;
    for handle in handles {
        sum = sum.wrapping_add(handle.join().unwrap_or(0));
    }
    let elapsed = start.elapsed();
    black_box(sum);
    elapsed
}

/// The kernel once more, so that it shares nothing with the harness.
pub(crate) fn burn(id: u64, rounds: u64) -> u64 {
    let mut value = id.wrapping_add(0x9E37_79B9_7F4A_7C15);
    for round in 0..black_box(rounds) {
        value ^= round.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = value.rotate_left(13).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^= value >> 17;
    }
    value
}
