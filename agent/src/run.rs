//! One run: looks at the host, measures, looks again, and writes the report. The whole of it, whoever asks.

use std::{path::Path, time::Instant};

use fleetmark_proto::{
    host::HostIdSource,
    id::{HostId, ReportId},
    profile::{Millicpus, Profile},
    report::Report,
    shell::output::tell,
};
use jiff::Timestamp;

use crate::{
    args::MeasureArgs,
    build,
    credentials::Membership,
    evidence::{self, Before, Place},
    hardware::{self, Hardware},
    identity::{self, IdentityError},
    measure::{self, Continue, Measured, Program, Progress},
    plan::{Passes, PlanError},
    preflight::{RunLock, Seen},
};

/// Nothing could be measured at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What was asked for makes no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Something would spoil the run, and `--strict` was asked for. Holds the findings.
    #[error("not measured, as --strict asks: {0}")]
    Refused(String),
    /// It was ended before anything was measured. Holds the reason.
    #[error("nothing was measured: {0}")]
    Ended(String),
    /// The host has no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The binary does not find itself.
    #[error("cannot find the path of this binary, to start it again as the measuring process")]
    Program(#[source] std::io::Error),
}

/// What one run is to be.
#[derive(Debug)]
pub struct Request<'a> {
    /// What to measure, and in whose name.
    pub measure: &'a MeasureArgs,
    /// Who this host is to its collector, if it joined one.
    pub membership: Option<&'a Membership>,
    /// Where the host's identity is kept.
    pub state_dir: &'a Path,
    /// What to do about what would spoil the run.
    pub findings: Findings,
    /// Held by the caller until the run is over.
    pub lock: &'a RunLock,
}

/// What to do about what would spoil a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Findings {
    /// Say it, and measure.
    Warn,
    /// Do not measure.
    Refuse,
}

/// Measures this host. Takes as long as the samples do. `between` is asked before each sample; where it ends the run, what
/// was measured until then is a partial run.
///
/// # Errors
///
/// If nothing could be measured at all; a cell that fails is in the report.
pub fn run(
    request: Request<'_>,
    between: &mut dyn FnMut(Progress<'_>) -> Continue,
) -> Result<Report, RunError> {
    let Request { measure: arguments, membership, state_dir, findings, lock } = request;
    let root = Path::new("/");
    let hardware = hardware::detect_live(root);
    let Hardware { facets, system, quota, .. } = hardware.clone();
    let workers = hardware.workers(arguments.workers);
    let asked = arguments.asked();
    let passes = Passes::new(&asked, workers.count)?;
    warn(&Seen::look(root, &passes, lock), findings)?;
    let host = identity::host(root, known(arguments, membership), state_dir)?;
    let labels = arguments.label.iter().cloned().collect();
    let program = Program::this().map_err(RunError::Program)?;

    let before = Before::look(root, lock.other_run());
    let started_at = Timestamp::now();
    let begin = Instant::now();
    let mut measured = measure_passes(&passes, &program, between);
    // A wall clock that is set meanwhile must not make a run end before it began.
    let ended_at = started_at + begin.elapsed();
    let evidence = before.after(root, &measured);
    let partial = measured.last_mut().and_then(|last| last.stopped.take());
    if let Some(reason) = &partial
        && !measured.iter().any(Measured::is_something)
    {
        return Err(RunError::Ended(reason.clone()));
    }

    let place = Place {
        quota: quota.as_ref().map(|quota| (Millicpus(quota.millicpus), quota.level.as_str())),
        usable_cpus: facets.usable_cpus,
        allowed_cpus: evidence::allowed_cpus(root),
    };
    let quality = evidence::quality(&evidence, &place);
    let series = series(&passes, &measured);
    let rounds = measured.first().map_or(asked.rounds, |first| first.rounds);
    let cells = passes.cells.as_ref().map(|_| measured.remove(0));
    Ok(Report {
        id: ReportId::now(),
        host,
        labels: match membership {
            Some(membership) => membership.beside(labels),
            None => labels,
        },
        profile: Profile::new(facets, system.instance_type.as_deref()),
        system,
        build: build::this(),
        workers,
        seed: asked.seed,
        rounds,
        against: asked.against,
        precision: asked.precision.map(|precision| precision.target),
        evidence,
        quality,
        started_at,
        ended_at,
        partial,
        cells: cells.map(|cells| cells.cells).unwrap_or_default(),
        series,
    })
}

/// Who this host is, where it joined as somebody or its owner says so.
#[must_use]
pub fn known(
    arguments: &MeasureArgs,
    membership: Option<&Membership>,
) -> Option<(HostId, HostIdSource)> {
    let joined = membership.map(|joined| (joined.host.clone(), joined.id_source));
    joined.or_else(|| Some((arguments.host_id.clone()?, HostIdSource::Flag)))
}

fn warn(seen: &Seen, then: Findings) -> Result<(), RunError> {
    let findings = seen.findings();
    if then == Findings::Refuse && !findings.is_empty() {
        return Err(RunError::Refused(findings.join("; ")));
    }
    for finding in findings {
        tell(format_args!("warning: {finding}"));
    }
    Ok(())
}

/// Measures one pass after the other, until one is stopped.
fn measure_passes(
    passes: &Passes,
    program: &Program,
    between: &mut dyn FnMut(Progress<'_>) -> Continue,
) -> Vec<Measured> {
    let mut all: Vec<Measured> = Vec::new();
    for plan in passes.plans() {
        let measured = measure::measure(plan, program, &mut *between);
        let stopped = measured.stopped.is_some();
        all.push(measured);
        if stopped {
            break;
        }
    }
    all
}

/// The series of all passes but that of the cells, which comes first where it is there.
fn series(passes: &Passes, measured: &[Measured]) -> Vec<fleetmark_proto::series::Series> {
    let beside = measured.iter().skip(usize::from(passes.cells.is_some()));
    let of_pass = passes.beside.iter().zip(beside);
    of_pass.flat_map(|((pass, plan), measured)| measure::series(*pass, plan, measured)).collect()
}
