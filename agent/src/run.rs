//! One run: looks at the host, measures, looks again, and writes the report. The whole of it, whoever asks.

use std::path::Path;

use fleetmark_proto::{
    id::ReportId,
    profile::{Millicpus, Profile},
    report::Report,
    shell::output::tell,
};
use jiff::Timestamp;

use crate::{
    args::MeasureArgs,
    build,
    evidence::{self, Before, Place},
    hardware::{self, Hardware},
    identity::{self, IdentityError},
    measure::{self, Measured, Program},
    plan::{Passes, Plan, PlanError},
    preflight::{RunLock, Seen},
    progress,
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
    /// The host has no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The binary does not find itself.
    #[error("cannot find the path of this binary, to start it again as the measuring process")]
    Program(#[source] std::io::Error),
}

/// Measures this host. Takes as long as the samples do. What would spoil the run is warned of before it begins; if
/// `strict`, it is a reason not to begin.
///
/// # Errors
///
/// If nothing could be measured at all; a cell that fails is in the report.
pub fn run(arguments: &MeasureArgs, state_dir: &Path, strict: bool) -> Result<Report, RunError> {
    let root = Path::new("/");
    let hardware = hardware::detect_live(root);
    let Hardware { facets, system, quota, .. } = hardware.clone();
    let workers = hardware.workers(arguments.workers);
    let asked = arguments.asked();
    let passes = Passes::new(&asked, workers.count)?;
    let lock = RunLock::take(state_dir);
    warn(&Seen::look(root, &passes, &lock), strict)?;
    let host = identity::host(root, arguments.host_id.clone(), state_dir)?;
    let program = Program::this().map_err(RunError::Program)?;

    let before = Before::look(root, lock.other_run());
    let started_at = Timestamp::now();
    let mut measured: Vec<Measured> =
        passes.plans().map(|plan| measure_pass(plan, &program)).collect();
    let ended_at = Timestamp::now();
    let evidence = before.after(root, &measured);
    drop(lock);

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
        labels: arguments.label.iter().cloned().collect(),
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
        partial: None,
        cells: cells.map(|cells| cells.cells).unwrap_or_default(),
        series,
    })
}

fn warn(seen: &Seen, strict: bool) -> Result<(), RunError> {
    let findings = seen.findings();
    if strict && !findings.is_empty() {
        return Err(RunError::Refused(findings.join("; ")));
    }
    for finding in findings {
        tell(format_args!("warning: {finding}"));
    }
    Ok(())
}

fn measure_pass(plan: &Plan, program: &Program) -> Measured {
    let mut bar = progress::Bar::new();
    let measured = measure::measure(plan, program, |progress| bar.show(progress));
    bar.finish();
    measured
}

/// The series of all passes but that of the cells, which comes first where it is there.
fn series(passes: &Passes, measured: &[Measured]) -> Vec<fleetmark_proto::series::Series> {
    let beside = measured.iter().skip(usize::from(passes.cells.is_some()));
    let of_pass = passes.beside.iter().zip(beside);
    of_pass.flat_map(|((pass, plan), measured)| measure::series(*pass, plan, measured)).collect()
}
