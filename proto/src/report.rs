//! A report: one run of a plan on one host.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    host::Host,
    id::ReportId,
    plan::{CellKey, Spawner, Workload},
    profile::Profile,
    samples::{self, Interval},
    series::{Series, SeriesKey},
    unit::Nanos,
    verdict::{self, Verdict},
};

/// One run of a plan on one host.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Made when the run ended.
    pub id: ReportId,
    /// Whose run it was.
    pub host: Host,
    /// What the owner calls the host.
    pub labels: BTreeMap<String, String>,
    /// What the host's hardware is.
    pub profile: Profile,
    /// Recorded beside the profile, never part of its key.
    pub system: System,
    /// What was measured with.
    pub build: Build,
    /// How Tokio and rayon were sized.
    pub workers: Workers,
    /// Seed of the order of cells within rounds.
    pub seed: u64,
    /// Measured rounds, the cold one not counted.
    pub rounds: u32,
    /// The spawner that the others are compared with.
    pub against: Spawner,
    /// How narrow each interval was to be: half its width as a share of the median, where that was asked for.
    pub precision: Option<f64>,
    /// What the host did meanwhile.
    pub evidence: Evidence,
    /// What follows from the evidence.
    pub quality: Quality,
    /// When the first sample was about to be taken, by the agent's clock.
    pub started_at: Timestamp,
    /// When the last sample was done, by the agent's clock.
    pub ended_at: Timestamp,
    /// Why the run ended before its plan did, for a person; `None` if it did not. A partial run enters no median.
    pub partial: Option<String>,
    /// One for each scenario and spawner of the plan; empty only where there are series.
    pub cells: Vec<Cell>,
    /// What passes beside these cells measured; enters no median of theirs.
    pub series: Vec<Series>,
}

impl Report {
    /// Compares each spawner with [`Report::against`] by the ratios within rounds. Cells that failed, profiles that are
    /// incomplete and runs that are partial get no verdict.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        if self.partial.is_some() || !self.profile.facets.is_complete() {
            return Vec::new();
        }
        verdict::within_rounds(&self.cells, self.against)
    }

    /// All that was measured: the cells, which are of no pass, and then the cell of each series with what it is of.
    pub fn measured(&self) -> impl Iterator<Item = (Option<SeriesKey>, &Cell)> {
        let cells = self.cells.iter().map(|cell| (None, cell));
        let series = self.series.iter().map(|series| (Some(series.key), &series.cell));
        cells.chain(series)
    }

    /// Whether the run may enter medians: it is whole, and clean unless suspect ones are let in.
    #[must_use]
    pub fn counts(&self, include_suspect: bool) -> bool {
        self.partial.is_none() && (include_suspect || self.quality.is_clean())
    }

    /// Whether no cell failed, those of passes included.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let of_passes = self.series.iter().map(|series| &series.cell);
        self.cells.iter().chain(of_passes).all(|cell| cell.failure.is_none())
    }

    /// The cells whose interval is wider than [`Report::precision`] asks.
    pub fn short_of_precision(&self) -> impl Iterator<Item = &Cell> {
        let cells = self.cells.iter().filter(|cell| cell.failure.is_none());
        cells.filter(|cell| self.precision.is_some_and(|target| !cell.is_precise(target)))
    }
}

/// Facts of the host that key nothing. `None` is unknown.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
pub struct System {
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Name and version of the operating system.
    pub os: Option<String>,
    /// C library that the agent was built for.
    pub libc: Option<String>,
    /// Revision of the CPU's microcode.
    pub microcode: Option<String>,
    /// CPU vulnerabilities and what the kernel does about them, one a line.
    pub mitigations: Option<String>,
    /// The cloud's name for the kind of machine.
    pub instance_type: Option<String>,
    /// Memory that the kernel manages, in bytes.
    pub memory_bytes: Option<u64>,
}

/// What was measured with. Results of different builds never enter one median; the agent's version keys nothing.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Build {
    /// Raised only when measuring code changes.
    pub meter: u32,
    /// Version of Tokio.
    pub tokio: String,
    /// Version of rustc.
    pub rustc: String,
    /// Target triple.
    pub target: String,
    /// Optimisation level, and `debug-assertions` where they are on.
    pub optimisation: String,
    /// The allocator's name.
    pub allocator: String,
    /// Recorded; keys nothing.
    pub agent_version: String,
}

impl Build {
    /// The part that keys medians, on one line: all but the agent's version.
    #[must_use]
    pub fn key(&self) -> String {
        let Self { meter, tokio, rustc, target, optimisation, allocator, agent_version: _ } = self;
        format!(
            "meter {meter} · tokio {tokio} · rustc {rustc} · {target} · {optimisation} · {allocator}"
        )
    }
}

/// How many worker threads, and why.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Workers {
    /// Worker threads of Tokio and of rayon; at least 1.
    pub count: u32,
    /// Why that number, for a person.
    pub reason: String,
}

/// What the host did during the run. `None` is unknown, never 0.
#[derive(Clone, Debug, Default, JsonSchema, PartialEq, Serialize)]
pub struct Evidence {
    /// The canary, [`CANARY_ROUNDS`] of the kernel, before the run.
    pub canary_before_ns: Option<Nanos>,
    /// The canary after the run.
    pub canary_after_ns: Option<Nanos>,
    /// Share of all CPU time that the hypervisor gave to others, 0 to 1.
    pub steal_fraction: Option<f64>,
    /// Throttling by the cgroup's quota.
    pub throttling: Option<Throttling>,
    /// The blocking pool had to be ended before other cells, as the host's thread limit could not hold both.
    pub blocking_pool_ended: bool,
    /// CPUs that other programs used on average during the run, of those that the run might use.
    pub others_cpus: Option<f64>,
    /// Threads that could run right before the run, the reader's own included.
    pub procs_running_before: Option<u64>,
    /// The same right after it.
    pub procs_running_after: Option<u64>,
    /// Share of the ten seconds before the run in which some thread of the host waited for a CPU, 0 to 1.
    pub cpu_pressure_before: Option<f64>,
    /// The same over the run itself, whose own threads make most of it.
    pub cpu_pressure_during: Option<f64>,
    /// Times that a core was slowed for heat, summed over cores.
    pub thermal_throttles: Option<u64>,
    /// Mean clock of the CPUs that the run might use, before it.
    pub frequency_before_khz: Option<u64>,
    /// The same after it.
    pub frequency_after_khz: Option<u64>,
    /// The frequency governors of these CPUs, each once.
    pub governor: Option<String>,
    /// What drives the frequency.
    pub frequency_driver: Option<String>,
    /// Whether the clock may rise over its base.
    pub turbo: Option<bool>,
    /// What the measuring processes used for all samples together.
    pub usage: Option<Usage>,
    /// The most memory that a measuring process held at once.
    pub peak_memory_bytes: Option<u64>,
    /// The most threads that a spawner kept alive at once.
    pub peak_threads: Option<u64>,
    /// Another run went on with the same state folder when this one began.
    pub other_run: bool,
}

impl Evidence {
    /// How long so many rounds of the kernel take on one core of this host, by the faster canary.
    #[must_use]
    pub fn kernel_time(&self, rounds: u64) -> Option<Nanos> {
        let canary = self.canary_before_ns.into_iter().chain(self.canary_after_ns).min()?;
        let time = u128::from(canary.0) * u128::from(rounds) / u128::from(CANARY_ROUNDS);
        u64::try_from(time).ok().map(Nanos)
    }
}

/// Rounds of the kernel in one canary: well under a millisecond on any machine of this century.
pub const CANARY_ROUNDS: u64 = 200_000;

/// What a process used of its host.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Usage {
    /// CPU time in user space.
    pub user_ns: Nanos,
    /// CPU time in the kernel.
    pub system_ns: Nanos,
    /// Times that a thread gave up its CPU to wait.
    pub voluntary_switches: u64,
    /// Times that the scheduler took a thread off its CPU.
    pub involuntary_switches: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        let Self { user_ns, system_ns, voluntary_switches, involuntary_switches } = self;
        user_ns.0 = user_ns.0.saturating_add(other.user_ns.0);
        system_ns.0 = system_ns.0.saturating_add(other.system_ns.0);
        *voluntary_switches = voluntary_switches.saturating_add(other.voluntary_switches);
        *involuntary_switches = involuntary_switches.saturating_add(other.involuntary_switches);
    }
}

/// How often a cgroup's quota stopped the run.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Throttling {
    /// Periods of the quota in which the cgroup ran.
    pub periods: u64,
    /// Those in which it was stopped.
    pub throttled_periods: u64,
    /// For how long, summed over CPUs.
    pub throttled_ns: Nanos,
}

/// Whether a run's numbers can be trusted.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Quality {
    /// `suspect` exactly if there are reasons.
    pub verdict: QualityVerdict,
    /// For a person, each with what to do about it.
    pub reasons: Vec<String>,
}

impl Quality {
    /// Clean exactly if there are no reasons.
    #[must_use]
    pub fn from_reasons(reasons: Vec<String>) -> Self {
        let verdict =
            if reasons.is_empty() { QualityVerdict::Clean } else { QualityVerdict::Suspect };
        Self { verdict, reasons }
    }

    /// Whether the run may enter medians.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.verdict == QualityVerdict::Clean
    }
}

/// The two qualities of a run.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QualityVerdict {
    /// Nothing speaks against the numbers.
    Clean,
    /// Something does; the run is kept and shown, and by default enters no median.
    Suspect,
}

impl QualityVerdict {
    /// The name that is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Suspect => "suspect",
        }
    }
}

/// What came of one scenario with one spawner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cell {
    /// Which.
    pub key: CellKey,
    /// What was asked.
    pub workload: Workload,
    /// The units that came of it.
    pub units: u64,
    /// One a measured round, in the order of the rounds; fewer only if the cell failed.
    pub samples_ns: Vec<Nanos>,
    /// The sample of the uncounted first round.
    pub cold_ns: Option<Nanos>,
    /// Why the cell has no result, if it has none.
    pub failure: Option<Failure>,
    /// The most threads that the spawner kept alive, as far as it shows them.
    pub threads_reached: Option<u64>,
    /// What the measuring process used for all samples of the cell, cold ones included.
    pub usage: Option<Usage>,
}

impl Cell {
    /// The median of the samples; `None` if the cell failed.
    #[must_use]
    pub fn median(&self) -> Option<Nanos> {
        match self.failure {
            Some(_) => None,
            None => samples::median(&self.samples_ns),
        }
    }

    /// The interval of that median; `None` if the cell failed or has fewer than two samples.
    #[must_use]
    pub fn interval(&self) -> Option<Interval> {
        match self.failure {
            Some(_) => None,
            None => samples::interval(&self.samples_ns),
        }
    }

    /// Whether the interval at 95% is at most twice `target` × median wide.
    #[must_use]
    pub fn is_precise(&self, target: f64) -> bool {
        let (Some(median), Some(interval)) = (self.median(), self.interval()) else { return false };
        let half_width = (interval.high_ns.to_f64() - interval.low_ns.to_f64()) / 2.0;
        interval.confidence >= samples::CONFIDENCE && half_width <= target * median.to_f64()
    }
}

/// Why a cell has no result.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Failure {
    /// What kind of thing went wrong.
    pub kind: FailureKind,
    /// For a person: what happened, and what to do about it.
    pub message: String,
}

/// The ways in which a cell fails.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// A sample took longer than the deadline.
    Deadline,
    /// The host refused a thread, or a limit kept a pool small.
    LimitedThreads,
    /// The units did not return the sum that they must.
    WrongChecksum,
    /// The measuring code panicked.
    Panic,
    /// The measuring process died, or said what its parent does not understand.
    ChildDied,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Deadline => "deadline",
            Self::LimitedThreads => "limited-threads",
            Self::WrongChecksum => "wrong-checksum",
            Self::Panic => "panic",
            Self::ChildDied => "child-died",
        })
    }
}
