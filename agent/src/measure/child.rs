//! The measuring child: awaits `go`, takes a sample, writes a line, and does nothing else.

use std::{
    ffi::OsString,
    io::{self, BufRead, Write},
    panic,
    process::ExitCode,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use fleetmark_proto::report::{Failure, FailureKind};

use super::conversation::{COMMAND, Kind, Line, Orders, Used};
use crate::{spawner::Spawners, usage};

/// Makes this process the measuring child if its only argument says so. To be called before anything else is set up.
#[must_use]
pub fn take_over(arguments: &[OsString]) -> Option<ExitCode> {
    match arguments {
        [_, command] if command == COMMAND => Some(run()),
        _ => None,
    }
}

fn run() -> ExitCode {
    die_with_parent();
    die_first();
    meet_allocator();
    // A panic in a unit is told in the line; the terminal belongs to the parent.
    panic::set_hook(Box::new(|_| {}));
    match obey(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn obey(mut orders: impl BufRead, mut answers: impl Write) -> io::Result<()> {
    let mut line = String::new();
    orders.read_line(&mut line)?;
    let Orders { workers, cells } = serde_json::from_str(&line)?;
    let mut spawners = Spawners::new(workers);
    loop {
        line.clear();
        if orders.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let index = line.trim_end().strip_prefix("go ").and_then(|index| index.parse().ok());
        let Some(work) = index.and_then(|index: usize| cells.get(index)) else {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        };
        let before = usage::own();
        let outcome = spawners.sample(work).map_err(|Failure { kind, message }| match kind {
            FailureKind::LimitedThreads => (Kind::LimitedThreads, message),
            _ => (Kind::Panic, message),
        });
        let used = before.zip(usage::own()).map(|(before, after)| Used {
            usage: after.since(&before),
            peak_memory_bytes: after.peak_memory_bytes,
        });
        let answer = Line { outcome, pool_ended: spawners.pool_ended(), used };
        let mut text = serde_json::to_string(&answer)?;
        text.push('\n');
        answers.write_all(text.as_bytes())?;
        answers.flush()?;
    }
}

/// When a ninth thread wants memory, glibc's allocator reads how many CPUs there are, to decide how many arenas it may
/// have. It does so once in the life of a process; that belongs to no sample, not even to a cold one.
fn meet_allocator() {
    const THREADS: usize = 12;
    let held = Arc::new(Mutex::new(()));
    let guard = held.lock();
    let (met, all_met) = mpsc::channel();
    let greet = |met: mpsc::Sender<Vec<u8>>, held: Arc<Mutex<()>>| {
        move || {
            // The vector is made here, which is the point. All threads then stay until each has made one.
            let _ = met.send(vec![1]);
            drop(held.lock());
        }
    };
    let threads: Vec<_> = (0..THREADS)
        .filter_map(|_| thread::Builder::new().spawn(greet(met.clone(), Arc::clone(&held))).ok())
        .collect();
    drop(met);
    all_met.iter().take(threads.len()).for_each(drop);
    drop(guard);
    for thread in threads {
        // They end now that the lock is free, and cannot panic.
        let _ = thread.join();
    }
}

/// A child whose parent was killed must not go on measuring.
#[cfg(target_os = "linux")]
fn die_with_parent() {
    // Where this is refused, the end of standard input still ends the child after its sample.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

/// Where memory runs out, the measurement is what the host can best do without. Anybody may raise this number.
fn die_first() {
    // A kernel without such a number has no use for it.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Elsewhere the end of standard input ends the child after its sample.
#[cfg(not(target_os = "linux"))]
fn die_with_parent() {}
