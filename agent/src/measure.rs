//! Takes the samples of a plan in a clean child process, and watches over it.
//!
//! The child is a re-exec of the running binary, so that nothing of the parent (its runtime, its memory, its threads)
//! is in the way. The parent says `go` for each sample and then sleeps; the child answers with one line. Between line
//! and `go` the child sleeps, and the parent may do what it likes: draw progress, read evidence, ping a watchdog. A
//! child that misses a deadline or dies costs the cell that it was in; a new one measures the rest.

mod child;
mod conversation;
mod series;

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use fleetmark_proto::{
    report::{Cell, Failure, FailureKind, Usage},
    unit::Nanos,
};

pub use child::take_over;
pub use conversation::Program;
use conversation::{Child, Kind, Line, Reply, Used};
pub use series::series;

use crate::{
    plan::{Plan, PlannedCell, Precision},
    spawner::{Beside, Sample},
};

/// What came of a plan.
#[derive(Clone, Debug)]
pub struct Measured {
    /// In the order of the plan.
    pub cells: Vec<Cell>,
    /// What each sample of these cells told beside its duration, cold ones left out.
    pub beside: Vec<Vec<Beside>>,
    /// Measured rounds; more than the plan's where it asked for a precision.
    pub rounds: u32,
    /// The blocking pool had to be ended before other cells.
    pub blocking_pool_ended: bool,
    /// What the children used for all samples together; `None` where the host does not count.
    pub usage: Option<Usage>,
    /// The most memory that a child held at once.
    pub peak_memory_bytes: Option<u64>,
    /// How long the children lived, all of them together.
    pub child_life: Duration,
    /// The sum of all samples that they took, cold ones and those of cells that failed later included.
    pub sampled: Duration,
    /// Why it ended before the plan did, if it did.
    pub stopped: Option<String>,
}

impl Measured {
    /// Whether any sample was taken or any cell failed, so that there is something to tell.
    #[must_use]
    pub fn is_something(&self) -> bool {
        let told = |cell: &Cell| {
            cell.cold_ns.is_some() || !cell.samples_ns.is_empty() || cell.failure.is_some()
        };
        self.cells.iter().any(told)
    }
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
    /// What the children used for all samples of the plan so far; nothing where the host does not count.
    pub usage: Usage,
}

/// Whether a run goes on; if not, why, for a person.
pub type Continue = ControlFlow<String>;

/// Measures a plan. Never fails as a whole: what cannot be measured is a failed cell with its reason. `between` is asked
/// before each sample, and may end the run.
pub fn measure(
    plan: &Plan,
    program: &Program,
    between: impl FnMut(Progress<'_>) -> Continue,
) -> Measured {
    let begin = Instant::now();
    let mut sampler = Sampler::new(plan, program);
    let stretches = plan.stretches();
    let total = fleetmark_proto::unit::count(stretches.iter().map(Vec::len).sum());
    let mut steps = Steps { plan, done: 0, total, between };
    let mut all = stretches.into_iter().flatten();
    let mut went = all.try_for_each(|index| steps.step(&mut sampler, index));
    if let (Continue::Continue(()), Some(precision)) = (&went, plan.precision) {
        went = go_on(plan, precision, begin, &mut sampler, &mut steps);
    }
    Measured { stopped: went.break_value(), ..sampler.finish() }
}

/// Doubles the rounds until every interval is narrow enough, or no time is left for another round.
fn go_on(
    plan: &Plan,
    Precision { target, max_time }: Precision,
    begin: Instant,
    sampler: &mut Sampler<'_>,
    steps: &mut Steps<'_, impl FnMut(Progress<'_>) -> Continue>,
) -> Continue {
    while sampler.is_short_of(target) && sampler.rounds < plan.most_rounds {
        let next = sampler.rounds.saturating_mul(2).min(plan.most_rounds);
        let more = u64::from(next - sampler.rounds);
        steps.total += more * fleetmark_proto::unit::count(plan.cells.len());
        for round in sampler.rounds + 1..=next {
            if begin.elapsed() >= max_time {
                return Continue::Continue(());
            }
            // A round that is broken off counts, as its samples are there: a partial run may lack some.
            sampler.rounds = round;
            plan.round(round).into_iter().try_for_each(|index| steps.step(sampler, index))?;
        }
    }
    Continue::Continue(())
}

/// Takes one sample after the other, and asks before each.
struct Steps<'a, F> {
    plan: &'a Plan,
    done: u64,
    total: u64,
    between: F,
}

impl<F: FnMut(Progress<'_>) -> Continue> Steps<'_, F> {
    fn step(&mut self, sampler: &mut Sampler<'_>, index: usize) -> Continue {
        if let Some(next) = self.plan.cells.get(index) {
            let usage = sampler.usage.unwrap_or_default();
            (self.between)(Progress { done: self.done, total: self.total, next, usage })?;
        }
        self.done += 1;
        sampler.sample(index);
        Continue::Continue(())
    }
}

/// A plan while it is measured. Most want [`measure`]; this is for who decides the order of samples.
#[derive(Debug)]
pub struct Sampler<'a> {
    plan: &'a Plan,
    program: &'a Program,
    cells: Vec<Cell>,
    beside: Vec<Vec<Beside>>,
    rounds: u32,
    expected_sums: Vec<u64>,
    child: Option<Child>,
    blocking_pool_ended: bool,
    usage: Option<Usage>,
    peak_memory_bytes: Option<u64>,
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
            usage: None,
        };
        Self {
            plan,
            program,
            cells: plan.cells.iter().map(cell).collect(),
            beside: vec![Vec::new(); plan.cells.len()],
            rounds: plan.rounds,
            expected_sums: expected_sums(&plan.cells),
            child: None,
            blocking_pool_ended: false,
            usage: None,
            peak_memory_bytes: None,
            child_life: Duration::ZERO,
            sampled: Duration::ZERO,
        }
    }

    /// Takes one sample of the cell with this index in the plan, unless the cell has failed before. The first is cold.
    pub fn sample(&mut self, index: usize) {
        if self.cells.get(index).is_none_or(|cell| cell.failure.is_some()) {
            return;
        }
        let (outcome, used) = self.ask(index);
        if let Some(Used { usage, peak_memory_bytes }) = used {
            *self.usage.get_or_insert_default() += usage;
            self.peak_memory_bytes = self.peak_memory_bytes.max(Some(peak_memory_bytes));
        }
        let (Some(cell), Some(beside), Some(&expected)) =
            (self.cells.get_mut(index), self.beside.get_mut(index), self.expected_sums.get(index))
        else {
            return;
        };
        if let Some(Used { usage, .. }) = used {
            *cell.usage.get_or_insert_default() += usage;
        }
        match outcome {
            Ok(sample) => {
                self.sampled += Duration::from(sample.elapsed());
                let cold = self.plan.cold_rounds() > 0 && cell.cold_ns.is_none();
                if record(cell, sample, cold, expected) {
                    beside.push(sample.beside);
                }
            }
            Err(failure) => cell.failure = Some(failure),
        }
    }

    fn is_short_of(&self, precision: f64) -> bool {
        let mut cells = self.cells.iter().filter(|cell| cell.failure.is_none());
        cells.any(|cell| !cell.is_precise(precision))
    }

    fn ask(&mut self, index: usize) -> (Result<Sample, Failure>, Option<Used>) {
        let child = match &mut self.child {
            Some(child) => child,
            none => match Child::start(self.program, self.plan) {
                Ok(child) => none.insert(child),
                Err(error) => {
                    let how = format!("the measuring process cannot be started: {error}");
                    return (Err(died(how)), None);
                }
            },
        };
        let failure = match child.go(index, self.plan.deadline) {
            Reply::Line(Line { outcome, pool_ended, used }) => {
                self.blocking_pool_ended |= pool_ended;
                let failed = |(kind, message): (Kind, _)| Failure { kind: kind.into(), message };
                return (outcome.map_err(failed), used);
            }
            Reply::Deadline => Failure {
                kind: FailureKind::Deadline,
                message: format!(
                    "a sample took longer than {}; allow more with --deadline, or ask for less work",
                    Nanos::from(self.plan.deadline)
                ),
            },
            Reply::Died(how) => died(how),
        };
        self.abandon_child();
        (Err(failure), None)
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
            beside: self.beside,
            rounds: self.rounds,
            usage: self.usage,
            peak_memory_bytes: self.peak_memory_bytes,
            blocking_pool_ended: self.blocking_pool_ended,
            child_life: self.child_life,
            sampled: self.sampled,
            stopped: None,
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

/// Takes a sample into its cell, and tells whether it counts.
fn record(cell: &mut Cell, sample: Sample, cold: bool, expected_sum: u64) -> bool {
    if sample.sum != expected_sum {
        cell.failure = Some(Failure {
            kind: FailureKind::WrongChecksum,
            message: format!(
                "the units summed up to {:#018x} instead of {expected_sum:#018x}; this host computes wrongly, or the build is broken",
                sample.sum
            ),
        });
        return false;
    }
    cell.threads_reached = cell.threads_reached.max(Some(sample.threads));
    if cold {
        cell.cold_ns = Some(sample.elapsed());
    } else {
        cell.samples_ns.push(sample.elapsed());
    }
    !cold
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
            precision: None,
            preset: None,
            beside: vec![],
        };
        Plan::new(&asked, 1).unwrap()
    }

    /// A child of `sh` that answers each `go` with what stands in the script.
    fn child(answer: &str) -> Program {
        Program::shell(&format!("read orders; while read go index; do {answer}; done"))
    }

    const GOOD: &str =
        r#"echo '{"outcome":{"Ok":{"elapsed_ns":5,"sum":1,"threads":2}},"pool_ended":false}'"#;

    fn go_on_always(_: Progress<'_>) -> Continue {
        Continue::Continue(())
    }

    fn failures(measured: &Measured) -> Vec<Option<(FailureKind, usize)>> {
        let of = |cell: &Cell| {
            let Failure { kind, .. } = cell.failure.as_ref()?;
            Some((*kind, cell.samples_ns.len()))
        };
        measured.cells.iter().map(of).collect()
    }

    #[test]
    fn cold_samples_stay_apart() {
        let measured = measure(&plan(3), &child(GOOD), go_on_always);
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
        let measured = measure(&plan(2), &child(&script), go_on_always);
        assert_eq!(failures(&measured), [None, Some((FailureKind::Deadline, 0))]);
        assert_eq!(measured.cells[0].samples_ns.len(), 2, "a new child measured the rest");
    }

    #[test]
    fn a_death_costs_its_cell_only() {
        let script = format!("if [ $index = 0 ]; then kill -9 $$; else {GOOD}; fi");
        let measured = measure(&plan(2), &child(&script), go_on_always);
        assert_eq!(failures(&measured), [Some((FailureKind::ChildDied, 0)), None]);
        let message = &measured.cells[0].failure.as_ref().unwrap().message;
        assert!(message.contains("signal: 9"), "{message}");
    }

    #[test]
    fn a_wrong_sum_and_nonsense_are_failures() {
        let wrong =
            r#"echo '{"outcome":{"Ok":{"elapsed_ns":5,"sum":2,"threads":2}},"pool_ended":false}'"#;
        let measured = measure(&plan(1), &child(wrong), go_on_always);
        assert_eq!(failures(&measured), [Some((FailureKind::WrongChecksum, 0)); 2]);
        let measured = measure(&plan(1), &child("echo nonsense"), go_on_always);
        assert_eq!(failures(&measured), [Some((FailureKind::ChildDied, 0)); 2]);
        let missing = Program::shell("exit 3");
        assert_eq!(
            failures(&measure(&plan(1), &missing, go_on_always)),
            [Some((FailureKind::ChildDied, 0)); 2]
        );
    }

    #[test]
    fn a_failure_is_told_with_its_words() {
        let refused =
            r#"echo '{"outcome":{"Err":["LimitedThreads","no more"]},"pool_ended":true}'"#;
        let measured = measure(&plan(1), &child(refused), go_on_always);
        assert_eq!(failures(&measured), [Some((FailureKind::LimitedThreads, 0)); 2]);
        assert!(measured.blocking_pool_ended);
    }

    #[test]
    fn progress_is_told_between_samples() {
        let mut seen = Vec::new();
        measure(&plan(1), &child(GOOD), |progress| {
            seen.push((progress.done, progress.total));
            Continue::Continue(())
        });
        assert_eq!(seen, [(0, 4), (1, 4), (2, 4), (3, 4)]);
    }

    #[test]
    fn whoever_is_asked_between_samples_may_end_the_run() {
        let after = |samples: u64| {
            measure(&plan(3), &child(GOOD), move |progress| match progress.done {
                done if done < samples => Continue::Continue(()),
                _ => Continue::Break("enough".into()),
            })
        };
        let partial = after(5);
        assert_eq!(partial.stopped.as_deref(), Some("enough"));
        let taken: Vec<_> = partial.cells.iter().map(|cell| cell.samples_ns.len()).collect();
        assert_eq!(taken.iter().sum::<usize>(), 3, "five, of which two are cold: {taken:?}");
        assert!(partial.is_something());
        assert!(!after(0).is_something());
        assert_eq!(after(99).stopped, None);
    }
}
