//! One run: looks at the host, measures, looks again, and writes the report. The whole of it, whoever asks.

use std::path::Path;

use fleetmark_proto::{
    id::ReportId,
    profile::{Millicpus, Profile},
    report::Report,
};
use jiff::Timestamp;

use crate::{
    args::MeasureArgs,
    build,
    evidence::{self, Before},
    hardware::{self, Hardware},
    identity::{self, IdentityError},
    measure::{self, Measured, Program},
    plan::{Plan, PlanError},
    progress,
};

/// Nothing could be measured at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What was asked for makes no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The host has no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The binary does not find itself.
    #[error("cannot find the path of this binary, to start it again as the measuring process")]
    Program(#[source] std::io::Error),
}

/// Measures this host. Takes as long as the samples do.
///
/// # Errors
///
/// If nothing could be measured at all; a cell that fails is in the report.
pub fn run(arguments: &MeasureArgs, state_dir: &Path) -> Result<Report, RunError> {
    let root = Path::new("/");
    let hardware = hardware::detect_live(root);
    let Hardware { facets, system, quota, .. } = hardware.clone();
    let workers = hardware.workers(arguments.workers);
    let plan = Plan::new(&arguments.asked(), workers.count)?;
    let host = identity::host(root, arguments.host_id.clone(), state_dir)?;
    let program = Program::this().map_err(RunError::Program)?;

    let before = Before::look(root);
    let started_at = Timestamp::now();
    let mut bar = progress::Bar::new();
    let Measured { cells, blocking_pool_ended, .. } =
        measure::measure(&plan, &program, |progress| bar.show(progress));
    bar.finish();
    let ended_at = Timestamp::now();
    let evidence = before.after(root, blocking_pool_ended);

    let quota = quota.as_ref().map(|quota| (Millicpus(quota.millicpus), quota.level.as_str()));
    let quality = evidence::quality(&evidence, quota);
    Ok(Report {
        id: ReportId::now(),
        host,
        labels: arguments.label.iter().cloned().collect(),
        profile: Profile::new(facets, system.instance_type.as_deref()),
        system,
        build: build::this(),
        workers,
        seed: plan.seed,
        rounds: plan.rounds,
        against: plan.against,
        evidence,
        quality,
        started_at,
        ended_at,
        cells,
    })
}
