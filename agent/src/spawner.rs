//! The ways of starting units. Each takes a sample: the duration from the first spawn to the last join.
//!
//! Inside the timed region there is the measured work and nothing else. Runtimes, pools and the memory for handles are
//! made before it, and what went wrong is worked out after it.

mod blocking_pool;
mod rayon_pool;
mod runtime;
mod split;
mod threads;
mod ticker;
mod tokio_tasks;

pub use split::Parts;
pub use ticker::Lateness;

use std::{any::Any, panic, time::Duration};

use fleetmark_proto::{
    plan::Spawner,
    report::{Failure, FailureKind},
    unit::Nanos,
};
use serde::{Deserialize, Serialize};

use crate::scenario::{CpuBound, Scenario, SpawnOverhead, Waiting};
use blocking_pool::BlockingPool;
use rayon_pool::RayonPool;
use split::Stamps;
use tokio_tasks::TokioTasks;

/// What one cell is to do, once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Work {
    /// What units do.
    pub task: Task,
    /// How they are started.
    pub spawner: Spawner,
    /// How many of them.
    pub units: u64,
    /// What is otherwise than in the eleven cells.
    pub mode: Mode,
}

/// How units are started, and what goes on meanwhile.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Mode {
    /// As in the eleven cells.
    Plain,
    /// From inside a worker of the runtime or pool.
    FromWorker,
    /// With handles in a vector, awaited in order, instead of a `JoinSet`.
    Vector,
    /// On a new runtime, whose blocking pool has no thread yet.
    ColdPool,
    /// One unit alone, which is not spawned.
    Single,
    /// With a clock read at the end of each unit, to tell the parts of the sample.
    Split,
    /// Beside a task that wants to run every millisecond.
    BesideTicker,
}

/// What one unit does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Task {
    /// Return at once.
    SpawnOverhead,
    /// Sleep this long.
    Waiting(Duration),
    /// Run this many rounds of the kernel.
    CpuBound(u64),
}

/// What one cell gave, once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sample {
    /// From the first spawn to the last join, in nanoseconds.
    pub elapsed_ns: u64,
    /// The wrapping sum of what the units returned.
    pub sum: u64,
    /// Threads that the spawner kept for it.
    pub threads: u64,
    /// What its mode told beside.
    #[serde(default)]
    pub beside: Beside,
}

/// What a mode tells beside the duration.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Beside {
    /// Nothing.
    #[default]
    Nothing,
    /// The parts of the sample: [`Mode::Split`].
    Parts(Parts),
    /// How late the neighbour was: [`Mode::BesideTicker`].
    Lateness(Lateness),
}

/// What is told when the last unit was spawned; nobody, as a rule.
trait Mark: Send {
    fn spawned(self);
}

impl Mark for () {
    fn spawned(self) {}
}

impl Sample {
    fn new(elapsed: Duration, sum: u64, threads: u64) -> Self {
        let elapsed_ns = Nanos::from(elapsed).0;
        Self { elapsed_ns, sum, threads, beside: Beside::Nothing }
    }

    /// The duration of the sample.
    #[must_use]
    pub fn elapsed(&self) -> Nanos {
        Nanos(self.elapsed_ns)
    }
}

/// All spawners with what they keep between samples. Each is built when it is first used, outside the timed region.
#[derive(Debug)]
pub struct Spawners {
    workers: usize,
    tokio: Option<TokioTasks>,
    blocking: Option<BlockingPool>,
    rayon: Option<RayonPool>,
    stamps: Option<&'static Stamps>,
    pool_ended: bool,
}

impl Spawners {
    /// Spawners whose runtimes and pools have this many workers. Nothing is built yet.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers, tokio: None, blocking: None, rayon: None, stamps: None, pool_ended: false }
    }

    /// Whether the host's thread limit could not hold the blocking pool beside the threads of another cell. From then on
    /// the pool is ended before each of these.
    #[must_use]
    pub fn pool_ended(&self) -> bool {
        self.pool_ended
    }

    /// Takes one sample. Where the host refuses a thread while the blocking pool holds some of its own, the pool is ended
    /// and the sample taken again: what a limit leaves is for the cell that is measured.
    ///
    /// # Errors
    ///
    /// If the host refused a thread, or the work panicked.
    pub fn sample(&mut self, work: &Work) -> Result<Sample, Failure> {
        let of_others = work.spawner != Spawner::SpawnBlocking;
        if self.pool_ended && of_others {
            self.blocking = None;
        }
        let pool_held = self.blocking.is_some();
        let sample = self.attempt(work);
        let refused =
            matches!(&sample, Err(failure) if failure.kind == FailureKind::LimitedThreads);
        if refused && of_others && pool_held {
            self.blocking = None;
            self.pool_ended = true;
            return self.attempt(work);
        }
        sample
    }

    fn attempt(&mut self, work: &Work) -> Result<Sample, Failure> {
        let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| match work.task {
            Task::SpawnOverhead => self.dispatch(work, SpawnOverhead),
            Task::Waiting(wait) => self.dispatch(work, Waiting { wait }),
            Task::CpuBound(rounds) => self.dispatch(work, CpuBound { rounds }),
        }));
        outcome.unwrap_or_else(|payload| {
            // What a panic left behind cannot be trusted with another sample.
            *self = Self {
                pool_ended: self.pool_ended,
                stamps: self.stamps,
                ..Self::new(self.workers)
            };
            Err(panicked(payload.as_ref()))
        })
    }

    fn dispatch<S: Scenario>(&mut self, work: &Work, scenario: S) -> Result<Sample, Failure> {
        match work.mode {
            Mode::Plain | Mode::FromWorker | Mode::Vector => self.start(work, scenario, ()),
            Mode::ColdPool => {
                let pool = BlockingPool::new(self.workers)?;
                pool.sample(scenario, work.units, work.mode, ())
            }
            Mode::Single => match work.spawner {
                Spawner::Tokio => self.tokio()?.single(scenario),
                _ => Ok(threads::single(scenario)),
            },
            Mode::Split => {
                let stamps = *self.stamps.get_or_insert_with(Stamps::leaked);
                let (stamped, mark) = stamps.begin(scenario);
                let sample = self.start(work, stamped, mark)?;
                let parts = stamps.parts(sample.elapsed().into());
                Ok(Sample { beside: Beside::Parts(parts), ..sample })
            }
            Mode::BesideTicker => self.beside_ticker(work, scenario),
        }
    }

    fn start<S: Scenario>(
        &mut self,
        work: &Work,
        scenario: S,
        mark: impl Mark + Copy,
    ) -> Result<Sample, Failure> {
        let Work { units, mode, .. } = *work;
        match work.spawner {
            Spawner::Thread => threads::sample(scenario, units, mark),
            Spawner::Tokio => self.tokio()?.sample(scenario, units, mode, mark),
            Spawner::SpawnBlocking => self.blocking()?.sample(scenario, units, mode, mark),
            Spawner::Rayon => {
                let rayon = made(&mut self.rayon, || RayonPool::new(self.workers))?;
                Ok(match mode {
                    Mode::FromWorker => rayon.sample_from_worker(scenario, units),
                    _ => rayon.sample(scenario, units, mark),
                })
            }
        }
    }

    /// The neighbour lives on the runtime that the units use; threads and rayon's jobs have none, and leave it to the one
    /// for tasks.
    fn beside_ticker<S: Scenario>(&mut self, work: &Work, scenario: S) -> Result<Sample, Failure> {
        let (sample, lateness) = match work.spawner {
            Spawner::SpawnBlocking => {
                let pool = self.blocking()?;
                pool.beside_ticker(|| pool.sample(scenario, work.units, work.mode, ()))
            }
            Spawner::Tokio => {
                let tasks = self.tokio()?;
                tasks.beside_ticker(|| tasks.sample(scenario, work.units, work.mode, ()))
            }
            Spawner::Thread | Spawner::Rayon => {
                // Taken out meanwhile, as starting units needs the other spawners.
                let tasks = match self.tokio.take() {
                    Some(tasks) => tasks,
                    None => TokioTasks::new(self.workers)?,
                };
                let told = tasks.beside_ticker(|| self.start(work, scenario, ()));
                self.tokio = Some(tasks);
                told
            }
        };
        Ok(Sample { beside: Beside::Lateness(lateness), ..sample? })
    }

    fn tokio(&mut self) -> Result<&TokioTasks, Failure> {
        made(&mut self.tokio, || TokioTasks::new(self.workers))
    }

    fn blocking(&mut self) -> Result<&BlockingPool, Failure> {
        made(&mut self.blocking, || BlockingPool::new(self.workers))
    }
}

/// What is in the slot, made first if nothing is.
fn made<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T, Failure>) -> Result<&T, Failure> {
    match slot {
        Some(there) => Ok(there),
        None => Ok(slot.insert(make()?)),
    }
}

/// The failure of a host that refuses threads.
fn limited(message: String) -> Failure {
    let hint = "raise `ulimit -u`, pids.max or TasksMax, or ask for fewer units";
    Failure { kind: FailureKind::LimitedThreads, message: format!("{message}; {hint}") }
}

/// What a panic said. Tokio panics where the host refuses a thread that it cannot do without.
fn panicked(payload: &(dyn Any + Send)) -> Failure {
    let said = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    if said.contains("can't spawn") {
        return limited(said.to_owned());
    }
    Failure { kind: FailureKind::Panic, message: format!("the work panicked: {said}") }
}

/// What a task that did not end well said.
fn lost(error: tokio::task::JoinError) -> Failure {
    match error.try_into_panic() {
        Ok(payload) => panicked(payload.as_ref()),
        Err(error) => Failure { kind: FailureKind::Panic, message: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{cpu_bound::expected_sum, sum_of_ids};

    #[test]
    fn every_spawner_runs_every_unit_once() {
        let mut spawners = Spawners::new(2);
        for spawner in Spawner::ALL {
            for (task, sum) in [
                (Task::SpawnOverhead, sum_of_ids(100)),
                (Task::Waiting(Duration::from_millis(1)), sum_of_ids(100)),
                (Task::CpuBound(500), expected_sum(100, 500)),
            ] {
                let work = Work { task, spawner, units: 100, mode: Mode::Plain };
                let sample = spawners.sample(&work).unwrap();
                assert_eq!(sample.sum, sum, "{work:?}");
                assert!(sample.threads >= 1, "{work:?}");
                if let Task::Waiting(wait) = task {
                    assert!(Duration::from(sample.elapsed()) >= wait, "{work:?}");
                }
            }
        }
    }

    #[test]
    fn every_mode_runs_every_unit_once() {
        let modes = [
            (Mode::FromWorker, vec![Spawner::Tokio, Spawner::SpawnBlocking, Spawner::Rayon]),
            (Mode::Vector, vec![Spawner::Tokio, Spawner::SpawnBlocking]),
            (Mode::ColdPool, vec![Spawner::SpawnBlocking]),
            (Mode::Split, Spawner::ALL.to_vec()),
            (Mode::BesideTicker, Spawner::ALL.to_vec()),
        ];
        let mut spawners = Spawners::new(2);
        for (mode, spawner) in modes
            .iter()
            .flat_map(|(mode, these)| these.iter().map(move |spawner| (*mode, *spawner)))
        {
            let work = Work { task: Task::CpuBound(2_000), spawner, units: 50, mode };
            let sample = spawners.sample(&work).unwrap();
            assert_eq!(sample.sum, expected_sum(50, 2_000), "{work:?}");
            match (mode, sample.beside) {
                (Mode::Split, Beside::Parts(Parts { spawn_ns, run_ns, join_ns })) => {
                    assert_eq!(spawn_ns + run_ns + join_ns, sample.elapsed_ns, "{work:?}");
                    assert!(spawn_ns > 0, "{work:?}");
                }
                (Mode::BesideTicker, Beside::Lateness(late)) => assert!(late.worst_ns > 0),
                (_, beside) => assert_eq!(beside, Beside::Nothing, "{work:?}"),
            }
        }
        for spawner in [Spawner::Thread, Spawner::Tokio] {
            let wait = Duration::from_millis(2);
            let work = Work { task: Task::Waiting(wait), spawner, units: 1, mode: Mode::Single };
            let sample = spawners.sample(&work).unwrap();
            assert!(Duration::from(sample.elapsed()) >= wait);
            assert_eq!(sample.sum, 0);
        }
    }

    #[test]
    fn the_blocking_pool_grows_as_waits_need_it() {
        let mut spawners = Spawners::new(1);
        let work = Work {
            task: Task::Waiting(Duration::from_millis(500)),
            spawner: Spawner::SpawnBlocking,
            units: 40,
            mode: Mode::Plain,
        };
        assert_eq!(spawners.sample(&work).unwrap().threads, 40);
    }

    #[test]
    fn a_panic_is_a_failure_with_its_words() {
        #[derive(Clone, Copy)]
        struct Broken;
        impl Scenario for Broken {
            fn run_blocking(self, _: u64) -> u64 {
                panic!("out of luck")
            }
            async fn run_async(self, id: u64) -> u64 {
                self.run_blocking(id)
            }
        }
        for spawner in Spawner::ALL {
            let mut spawners = Spawners::new(1);
            let work = Work { task: Task::SpawnOverhead, spawner, units: 3, mode: Mode::Plain };
            let outcome =
                panic::catch_unwind(panic::AssertUnwindSafe(|| spawners.dispatch(&work, Broken)));
            let failure = match outcome {
                Ok(outcome) => outcome.unwrap_err(),
                Err(payload) => panicked(payload.as_ref()),
            };
            assert_eq!(failure.kind, FailureKind::Panic);
            assert!(failure.message.contains("out of luck"), "{failure:?}");
        }
    }
}
