//! `run`.

use std::path::Path;

use fleetmark_proto::{
    convert::{Encoded, Outcome},
    limits,
    report::Report,
    shell::{Exit, output::tell},
};

use super::{Stopped, brief_courier, collectors::Collectors, run_error, spool_folder, wait_for};
use crate::{
    args::{MeasureArgs, RunArgs},
    credentials::Membership,
    delivery::{Fate, Flushed},
    measure::Continue,
    preflight::RunLock,
    progress::Bar,
    render,
    run::{self, Findings, Request, RunError},
    spool::Spool,
};

pub(super) fn run(arguments: &RunArgs, state_dir: &Path) -> Result<Exit, Stopped> {
    let collectors = Collectors::of(&arguments.collectors, state_dir)?;
    collectors.check(&arguments.collectors, &arguments.measure)?;
    let Collectors { urls, keyring, membership } = collectors;
    let findings = if arguments.strict { Findings::Refuse } else { Findings::Warn };
    // Without a collector the result is what is printed: a spool that nobody empties would only fill up.
    let room = match urls.is_empty() {
        true => None,
        false => {
            let spool = Spool::open(&spool_folder(state_dir), arguments.bounds.into())?;
            Some((spool.reserve()?, spool))
        }
    };
    let report = measured(&arguments.measure, membership.as_ref(), state_dir, findings)
        .map_err(run_error)?;
    let spooled = room.map(|(room, spool)| room.commit(&Encoded::new(&report)).map(|()| spool));
    arguments.output.write(&render::report(&report, arguments.output.form())?)?;
    // Only now: what was measured is printed even where it cannot be kept.
    let Some(spool) = spooled.transpose()? else {
        return Ok(conclude(&report, arguments.strict, None));
    };
    let mut courier = brief_courier(urls, keyring, spool);
    let flushed = wait_for(courier.flush(Some(report.id), limits::DELIVERY))?;
    Ok(conclude(&report, arguments.strict, Some(&flushed)))
}

/// Measures this host, as who it is to its collector if it joined one, with progress on a terminal.
///
/// # Errors
///
/// If nothing could be measured at all; a cell that fails is in the report.
pub fn measured(
    arguments: &MeasureArgs,
    membership: Option<&Membership>,
    state_dir: &Path,
    findings: Findings,
) -> Result<Report, RunError> {
    let lock = RunLock::take(state_dir);
    let mut bar = Bar::new();
    let request = Request { measure: arguments, membership, state_dir, findings, lock: &lock };
    let report = run::run(request, &mut |progress| {
        bar.show(progress);
        Continue::Continue(())
    });
    bar.finish();
    report
}

/// How a command ends that measured a report and perhaps delivered it. Says what went wrong, on standard error.
pub fn conclude(report: &Report, strict: bool, flushed: Option<&Flushed>) -> Exit {
    let mut exits = vec![Exit::Success];
    if !report.is_whole() {
        exits.push(Exit::Failed);
    }
    if strict && !report.quality.is_clean() {
        tell(format_args!("error: the run is suspect: {}", report.quality.reasons.join("; ")));
        exits.push(Exit::Suspect);
    }
    if let Some(flushed) = flushed {
        match &flushed.first {
            Some(
                Fate::Answered { outcome: Outcome::Stored | Outcome::Duplicate, .. }
                | Fate::Elsewhere,
            ) => {}
            Some(Fate::Answered { .. } | Fate::SetAside(_)) => exits.push(Exit::Failed),
            Some(Fate::Waiting) | None => {
                tell(format_args!(
                    "not delivered yet, and kept in the spool: {}; the next run delivers it, or `fleetmark-agent spool flush`",
                    flushed.why()
                ));
                exits.extend(strict.then_some(Exit::Undelivered));
            }
        }
    }
    exits.into_iter().min().unwrap_or(Exit::Success)
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::{convert, id::Digest, invalid::Invalid, report::Quality};

    use super::*;

    /// A whole and clean run of version 1.
    fn report() -> Report {
        let bytes = include_bytes!("../../../proto/tests/golden/report-v1.bin");
        let report = convert::decode(bytes).unwrap();
        assert!(report.is_whole());
        Report { quality: Quality::from_reasons(vec![]), ..report }
    }

    fn flushed(fate: Fate) -> Flushed {
        Flushed {
            first: Some(fate),
            stored: 0,
            duplicate: 0,
            quarantined: 0,
            left: None,
            foreign: 0,
            reason: None,
        }
    }

    fn answered(outcome: Outcome) -> Fate {
        Fate::Answered { url: "http://127.0.0.1:7600".parse().unwrap(), outcome }
    }

    #[test]
    fn a_report_that_waits_is_a_failure_to_the_strict_alone() {
        let exits = |fate: Fate| {
            let flushed = flushed(fate);
            [false, true].map(|strict| conclude(&report(), strict, Some(&flushed)))
        };
        assert_eq!(exits(answered(Outcome::Stored)), [Exit::Success; 2]);
        assert_eq!(exits(answered(Outcome::Duplicate)), [Exit::Success; 2]);
        assert_eq!(exits(Fate::Elsewhere), [Exit::Success; 2]);
        assert_eq!(exits(Fate::Waiting), [Exit::Success, Exit::Undelivered]);
        let conflict = Outcome::Conflict(Digest::of(b""));
        assert_eq!(exits(answered(conflict)), [Exit::Failed; 2]);
        let rejected = Outcome::Rejected(Invalid::new("host.id", "is another's"));
        assert_eq!(exits(answered(rejected)), [Exit::Failed; 2]);
        assert_eq!(exits(Fate::SetAside("it is too old".into())), [Exit::Failed; 2]);
    }

    #[test]
    fn the_worse_ending_wins() {
        let suspect = Report { quality: Quality::from_reasons(vec!["busy".into()]), ..report() };
        let waiting = flushed(Fate::Waiting);
        assert_eq!(conclude(&suspect, true, Some(&waiting)), Exit::Undelivered);
        assert_eq!(conclude(&suspect, true, None), Exit::Suspect);
        assert_eq!(conclude(&suspect, false, None), Exit::Success);
    }
}
