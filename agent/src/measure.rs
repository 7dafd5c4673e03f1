//! Takes the samples of a plan in a clean child process, and watches over it.
//!
//! The child is a re-exec of the running binary, so that nothing of the parent (its runtime, its memory, its threads)
//! is in the way. The parent says `go` for each sample and then sleeps; the child answers with one line. Between line
//! and `go` the child sleeps, and the parent may do what it likes: draw progress, read evidence, ping a watchdog. A
//! child that misses a deadline or dies costs the cell that it was in; a new one measures the rest.

mod child;
mod conversation;

use std::time::Duration;

use fleetmark_proto::{
    report::{Cell, Failure, FailureKind},
    unit::Nanos,
};

pub use child::take_over;
pub use conversation::Program;
use conversation::{Child, Reply};

use crate::{
    plan::{Plan, PlannedCell},
    spawner::Sample,
};

/// What came of a plan.
#[derive(Clone, Debug)]
pub struct Measured {
    /// In the order of the plan.
    pub cells: Vec<Cell>,
    /// The blocking pool had to be ended before thread cells.
    pub blocking_pool_ended: bool,
    /// How long the children lived, all of them together.
    pub child_life: Duration,
    /// The sum of all samples that they took, cold ones and those of cells that failed later included.
    pub sampled: Duration,
}

/// How far a run has come, told between samples.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Samples taken or given up.
    pub done: u64,
    /// Samples that the plan asks for, cold ones included.
    pub total: u64,
    /// What is measured next.
    pub next: &'a PlannedCell,
}

/// Measures a plan. Never fails as a whole: what cannot be measured is a failed cell with its reason.
pub fn measure(plan: &Plan, program: &Program, mut between: impl FnMut(Progress<'_>)) -> Measured {
    let mut sampler = Sampler::new(plan, program);
    let per_round = fleetmark_proto::unit::count(plan.cells.len());
    let total = per_round * (u64::from(plan.rounds) + 1);
    let mut done = 0;
    for round in 0..=plan.rounds {
        for index in plan.order(round) {
            if let Some(next) = plan.cells.get(index) {
                between(Progress { done, total, next });
            }
            sampler.sample(index);
            done += 1;
        }
    }
    sampler.finish()
}

/// A plan while it is measured. Most want [`measure`]; this is for who decides the order of samples.
#[derive(Debug)]
pub struct Sampler<'a> {
    plan: &'a Plan,
    program: &'a Program,
    cells: Vec<Cell>,
    expected_sums: Vec<u64>,
    child: Option<Child>,
    blocking_pool_ended: bool,
    child_life: Duration,
    sampled: Duration,
}

impl<'a> Sampler<'a> {
    /// Nothing is started yet; expected sums are computed.
    #[must_use]
    pub fn new(plan: &'a Plan, program: &'a Program) -> Self {
        let cell = |planned: &PlannedCell| Cell {
            key: planned.key,
            workload: planned.workload,
            units: planned.units,
            samples_ns: Vec::with_capacity(usize::try_from(plan.rounds).unwrap_or_default()),
            cold_ns: None,
            failure: None,
            threads_reached: None,
        };
        Self {
            plan,
            program,
            cells: plan.cells.iter().map(cell).collect(),
            expected_sums: expected_sums(&plan.cells),
            child: None,
            blocking_pool_ended: false,
            child_life: Duration::ZERO,
            sampled: Duration::ZERO,
        }
    }

    /// Takes one sample of the cell with this index in the plan, unless the cell has failed before. The first is cold.
    pub fn sample(&mut self, index: usize) {
        if self.cells.get(index).is_none_or(|cell| cell.failure.is_some()) {
            return;
        }
        let outcome = self.ask(index);
        let (Some(cell), Some(&expected)) =
            (self.cells.get_mut(index), self.expected_sums.get(index))
        else {
            return;
        };
        match outcome {
            Ok(sample) => {
                self.sampled += Duration::from(sample.elapsed());
                record(cell, sample, expected);
            }
            Err(failure) => cell.failure = Some(failure),
        }
    }

    fn ask(&mut self, index: usize) -> Result<Sample, Failure> {
        let child = match &mut self.child {
            Some(child) => child,
            none => none.insert(Child::start(self.program, self.plan).map_err(|error| {
                died(format!("the measuring process cannot be started: {error}"))
            })?),
        };
        match child.go(index, self.plan.deadline) {
            Reply::Sample { sample, pool_ended } => {
                self.blocking_pool_ended |= pool_ended;
                Ok(sample)
            }
            Reply::Failed { failure, pool_ended } => {
                self.blocking_pool_ended |= pool_ended;
                Err(failure)
            }
            Reply::Deadline => {
                self.abandon_child();
                Err(Failure {
                    kind: FailureKind::Deadline,
                    message: format!(
                        "a sample took longer than {}; allow more with --deadline, or ask for less work",
                        Nanos::from(self.plan.deadline)
                    ),
                })
            }
            Reply::Died(how) => {
                self.abandon_child();
                Err(died(how))
            }
        }
    }

    fn abandon_child(&mut self) {
        if let Some(child) = self.child.take() {
            self.child_life += child.abandon();
        }
    }

    /// Ends the child.
    #[must_use]
    pub fn finish(mut self) -> Measured {
        if let Some(child) = self.child.take() {
            self.child_life += child.end();
        }
        Measured {
            cells: self.cells,
            blocking_pool_ended: self.blocking_pool_ended,
            child_life: self.child_life,
            sampled: self.sampled,
        }
    }
}

/// Computed once for all spawners of a scenario.
fn expected_sums(cells: &[PlannedCell]) -> Vec<u64> {
    let mut sums: Vec<u64> = Vec::with_capacity(cells.len());
    for (index, cell) in cells.iter().enumerate() {
        let same = cells.iter().take(index).position(|earlier| earlier.workload == cell.workload);
        let known = same.and_then(|earlier| sums.get(earlier).copied());
        sums.push(known.unwrap_or_else(|| cell.expected_sum()));
    }
    sums
}

/// The first sample of a cell is its cold one.
fn record(cell: &mut Cell, sample: Sample, expected_sum: u64) {
    if sample.sum != expected_sum {
        cell.failure = Some(Failure {
            kind: FailureKind::WrongChecksum,
            message: format!(
                "the units summed up to {:#018x} instead of {expected_sum:#018x}; this host computes wrongly, or the build is broken",
                sample.sum
            ),
        });
        return;
    }
    cell.threads_reached = cell.threads_reached.max(Some(sample.threads));
    match cell.cold_ns {
        None => cell.cold_ns = Some(sample.elapsed()),
        Some(_) => cell.samples_ns.push(sample.elapsed()),
    }
}

fn died(message: String) -> Failure {
    Failure { kind: FailureKind::ChildDied, message }
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::{
        plan::{Amount, Scenario, Spawner},
        report::Failure,
    };

    use super::*;
    use crate::plan::Asked;

    fn plan(rounds: u32) -> Plan {
        let asked = Asked {
            rounds,
            scenarios: vec![Scenario::SpawnOverhead],
            spawners: vec![Spawner::Thread, Spawner::Tokio],
            spawn_amount: Amount::Units(2),
            wait_amount: Amount::Units(1),
            wait: Duration::from_millis(1),
            cpu_amount: Amount::Units(1),
            cpu_rounds: 1,
            workers: None,
            seed: 1,
            deadline: Duration::from_secs(3),
            against: Spawner::Thread,
        };
        Plan::new(&asked, 1).unwrap()
    }

    /// A child of `sh` that answers each `go` with what stands in the script.
    fn child(answer: &str) -> Program {
        Program::shell(&format!("read orders; while read go index; do {answer}; done"))
    }

    const GOOD: &str =
        r#"echo '{"outcome":{"Ok":{"elapsed_ns":5,"sum":1,"threads":2}},"pool_ended":false}'"#;

    fn failures(measured: &Measured) -> Vec<Option<(FailureKind, usize)>> {
        let of = |cell: &Cell| {
            let Failure { kind, .. } = cell.failure.as_ref()?;
            Some((*kind, cell.samples_ns.len()))
        };
        measured.cells.iter().map(of).collect()
    }

    #[test]
    fn cold_samples_stay_apart() {
        let measured = measure(&plan(3), &child(GOOD), |_| ());
        for cell in &measured.cells {
            assert_eq!(cell.cold_ns, Some(Nanos(5)));
            assert_eq!(cell.samples_ns, [Nanos(5); 3]);
            assert_eq!(cell.threads_reached, Some(2));
            assert_eq!(cell.failure, None);
        }
        assert_eq!(measured.sampled, Duration::from_nanos(40));
        assert!(measured.child_life > measured.sampled);
    }

    #[test]
    fn a_deadline_costs_its_cell_only() {
        let script = format!("if [ $index = 1 ]; then sleep 100; else {GOOD}; fi");
        let measured = measure(&plan(2), &child(&script), |_| ());
        assert_eq!(failures(&measured), [None, Some((FailureKind::Deadline, 0))]);
        assert_eq!(measured.cells[0].samples_ns.len(), 2, "a new child measured the rest");
    }

    #[test]
    fn a_death_costs_its_cell_only() {
        let script = format!("if [ $index = 0 ]; then kill -9 $$; else {GOOD}; fi");
        let measured = measure(&plan(2), &child(&script), |_| ());
        assert_eq!(failures(&measured), [Some((FailureKind::ChildDied, 0)), None]);
        let message = &measured.cells[0].failure.as_ref().unwrap().message;
        assert!(message.contains("signal: 9"), "{message}");
    }

    #[test]
    fn a_wrong_sum_and_nonsense_are_failures() {
        let wrong =
            r#"echo '{"outcome":{"Ok":{"elapsed_ns":5,"sum":2,"threads":2}},"pool_ended":false}'"#;
        let measured = measure(&plan(1), &child(wrong), |_| ());
        assert_eq!(failures(&measured), [Some((FailureKind::WrongChecksum, 0)); 2]);
        let measured = measure(&plan(1), &child("echo nonsense"), |_| ());
        assert_eq!(failures(&measured), [Some((FailureKind::ChildDied, 0)); 2]);
        let missing = Program::shell("exit 3");
        assert_eq!(
            failures(&measure(&plan(1), &missing, |_| ())),
            [Some((FailureKind::ChildDied, 0)); 2]
        );
    }

    #[test]
    fn a_failure_is_told_with_its_words() {
        let refused =
            r#"echo '{"outcome":{"Err":["LimitedThreads","no more"]},"pool_ended":true}'"#;
        let measured = measure(&plan(1), &child(refused), |_| ());
        assert_eq!(failures(&measured), [Some((FailureKind::LimitedThreads, 0)); 2]);
        assert!(measured.blocking_pool_ended);
    }

    #[test]
    fn progress_is_told_between_samples() {
        let mut seen = Vec::new();
        measure(&plan(1), &child(GOOD), |progress| seen.push((progress.done, progress.total)));
        assert_eq!(seen, [(0, 4), (1, 4), (2, 4), (3, 4)]);
    }
}
