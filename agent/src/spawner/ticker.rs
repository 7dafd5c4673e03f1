//! A neighbour: a task that wants to run every millisecond, and how late it gets to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fleetmark_proto::unit::Nanos;
use serde::{Deserialize, Serialize};
use tokio::{runtime::Runtime, time};

/// How often the neighbour wants to run: Tokio's timer has no finer step.
const PERIOD: Duration = Duration::from_millis(1);
/// How long it runs by itself before the work begins, so that its first steps are not the work's fault.
const WARM_UP: Duration = Duration::from_millis(5);
/// Ticks that are kept: over a minute of them, so that memory is never asked for while they are taken.
const MOST_TICKS: usize = 65_536;

/// How late the neighbour's ticks were.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lateness {
    /// The 99th percentile, by nearest rank.
    pub p99_ns: u64,
    /// The latest.
    pub worst_ns: u64,
}

/// Does what is given while a task on the runtime ticks, and tells how late those ticks were that were due meanwhile.
///
/// A tick that was missed is late as well: ticks are due at fixed times, however long the one before had to wait.
pub(super) fn beside<T>(runtime: &Runtime, work: impl FnOnce() -> T) -> (T, Lateness) {
    let origin = Instant::now();
    let end_ns = Arc::new(AtomicU64::new(u64::MAX));
    let ticker = runtime.spawn(tick(origin, Arc::clone(&end_ns)));
    thread::sleep(WARM_UP);
    let begin = origin.elapsed();
    let done = work();
    // One tick more, so that the shortest work has one.
    let end = origin.elapsed() + PERIOD;
    end_ns.store(Nanos::from(end).0, Ordering::Release);
    let ticks = runtime.block_on(ticker).unwrap_or_default();
    (done, Lateness::of(&ticks, begin, end))
}

/// When a tick was due, and how late it came.
#[derive(Clone, Copy, Debug)]
struct Tick {
    due: Duration,
    late: Duration,
}

async fn tick(origin: Instant, end_ns: Arc<AtomicU64>) -> Vec<Tick> {
    let mut ticks = Vec::with_capacity(MOST_TICKS);
    let mut due = Duration::ZERO;
    while Nanos::from(due).0 < end_ns.load(Ordering::Acquire) && ticks.len() < MOST_TICKS {
        due += PERIOD;
        time::sleep_until((origin + due).into()).await;
        ticks.push(Tick { due, late: origin.elapsed().saturating_sub(due) });
    }
    ticks
}

impl Lateness {
    fn of(ticks: &[Tick], begin: Duration, end: Duration) -> Self {
        let within = ticks.iter().filter(|tick| (begin..=end).contains(&tick.due));
        let mut late: Vec<Nanos> = within.map(|tick| Nanos::from(tick.late)).collect();
        late.sort_unstable();
        let rank = (late.len() * 99).div_ceil(100).saturating_sub(1);
        Self {
            p99_ns: late.get(rank).map_or(0, |late| late.0),
            worst_ns: late.last().map_or(0, |late| late.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_ticks_due_meanwhile() {
        let ms = Duration::from_millis;
        let ticks: Vec<Tick> = (1..=200)
            .map(|i| Tick { due: ms(i), late: if i > 100 { ms(i - 100) } else { ms(999) } })
            .collect();
        let found = Lateness::of(&ticks, ms(101), ms(200));
        assert_eq!((found.p99_ns, found.worst_ns), (99_000_000, 100_000_000));
        let none = Lateness::of(&ticks, ms(300), ms(301));
        assert_eq!(none, Lateness { p99_ns: 0, worst_ns: 0 });
    }

    #[test]
    fn a_runtime_that_is_held_up_makes_its_neighbour_late() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
        let runtime = runtime.unwrap();
        let hold = Duration::from_millis(60);
        let ((), late) = beside(&runtime, || {
            runtime
                .block_on(async { tokio::spawn(async move { thread::sleep(hold) }).await })
                .unwrap();
        });
        assert!(late.worst_ns >= 50_000_000, "{late:?}");
        assert!(late.p99_ns <= late.worst_ns);
    }
}
